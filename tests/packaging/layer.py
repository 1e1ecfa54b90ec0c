#!/usr/bin/env python3
"""Checks everything in yocto/ but the scripts of yocto/init. `layer.sh` sets up what this needs and runs it.

Each check has a control beside it: the same thing broken, which must be noticed.
"""

import hashlib
import json
import pathlib
import re
import shutil
import sys
import tomllib
import types

import layer_buildroot
import layer_check
import layer_install
from layer_check import CACHE, HERE, LAYER, RECIPE, ROOT, SERIES, YOCTO, Copy, check, equal, fails, holds, parse_words, parsed, run

SUPPRESSED = [
    "oelint.vars.homepageping",  # asks the network
    "oelint.var.mandatoryvar.HOMEPAGE",  # there is no page yet
    "oelint.vars.inconspaces",  # the form of BitBake's own list of crates
]


def recipes():
    """The layer parses in each series, to the values that it is meant to have."""
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    head = run(["git", "-C", ROOT, "rev-parse", "HEAD"]).strip()
    for series in SERIES:
        found = {}
        check(f"{series}: every recipe parses", lambda: found.update(parsed(series)))
        if not found:
            continue
        toono, image = found["toono"], found["toono-image"]
        check(f"{series}: the recipe is of the version of Cargo.toml", lambda: equal(toono["PV"], version))
        check(f"{series}: the source is this repository at its commit", lambda: equal(
            (toono["SRCREV"], toono["SRC_URI"].split()[0]), (head, f"git://{ROOT};protocol=file;nobranch=1;destsuffix={toono['BP']}")))
        unpacked = "" if series == "scarthgap" else "/sources"
        check(f"{series}: it is unpacked where S is", lambda: holds(
            toono["S"].endswith(f"/work/{toono['BP']}{unpacked}/{toono['BP']}"), toono["S"]))
        check(f"{series}: no QA test is skipped, no task but do_fetch has the network, no package is drawn in", lambda: equal(
            [toono[name] for name in ("INSANE_SKIP:${PN}", "network", "RDEPENDS:${PN}", "RRECOMMENDS:${PN}")], [None, [], None, None]))
        check(f"{series}: built frozen, the agent alone, and not stripped", lambda: equal(
            [flag in toono["CARGO_BUILD_FLAGS"] for flag in (" --frozen ", " --bin toono")] + [toono["CARGO_PROFILE_RELEASE_STRIP"]],
            [True, True, "none"]))
        check(f"{series}: its account has a fixed number", lambda: equal(
            re.findall(r"--[ug]id (\d+)", toono["USERADD_PARAM:${PN}"] + toono["GROUPADD_PARAM:${PN}"]), ["961", "961"]))
        check(f"{series}: tests are built after the agent was installed", lambda: holds(
            "do_install" in toono["tasks"]["do_compile_ptest_cargo"], toono["tasks"]["do_compile_ptest_cargo"]))
        check(f"{series}: the state is on flash: the package's, the image's", lambda: equal(
            [toono["TOONO_STATE_DIR"], toono["TOONO_STATE_MOUNT"], image["TOONO_STATE_DIR"], image["TOONO_STATE_MOUNT"]],
            ["/var/lib/toono", "", "/data/toono", "/data"]))
        check(f"{series}: the kubelet's drop-in comes with meta-virtualization and only with it", lambda: equal(
            [sorted(found), sorted(parsed(series, virtualization=False))],
            [["toono", "toono-image", "toono-kubelet"], ["toono", "toono-image"]]))
    check("one setting moves the state in package and image", moved_state)
    check("control: an ended series is refused", lambda: fails(parse_words("whinlatter"), "not compatible"))
    for what, file, old, new, with_ in [
        ("a line that is no BitBake", "toono_0.1.0.bb", 'SECTION = "net"', "SECTION is net", "unparsed line"),
        ("a list that is not there", "toono_0.1.0.bb", "require toono-settings.inc", "require toono-setting.inc", "toono-setting.inc"),
        ("a function that is no Python", "toono-source.inc", "return commit.strip()", "return commit.strip(", "SyntaxError"),
    ]:
        check(f"control: {what} is noticed", lambda: broken(file, old, new, with_))
    check("where the layer lies is in no signature, what is built is", signed)
    check("a layer outside of a repository says what to set", no_repository)


def moved_state():
    found = parsed("wrynose", set=['TOONO_STATE_MOUNT = "/srv"', 'TOONO_STATE_DIR = "/srv/hub"'])
    equal([found[name]["TOONO_STATE_DIR"] for name in ("toono", "toono-image")], ["/srv/hub"] * 2)


def broken(file, old, new, with_):
    with Copy() as copy:
        copy.change(f"recipes-toono/toono/{file}", old, new)
        fails(parse_words("wrynose", layer=copy.layer, work=f"{copy.folder.name}/work"), with_)


def signed():
    """Signatures of a recipe's tasks by where its layer lies."""
    with Copy() as here, Copy() as there:
        def of(copy):
            return parsed("wrynose", layer=copy.layer, work=f"{copy.folder.name}/work")["toono"]["signatures"]
        same = of(here)
        equal(of(there), same)
        there.change("recipes-toono/toono/toono_0.1.0.bb", "--bin toono", "--bins")
        equal([task for task, hash in of(there).items() if hash != same[task]], ["recipe:do_compile"])


def no_repository():
    with Copy() as copy:
        run(["rm", "-rf", f"{copy.folder.name}/.git"])
        words = parse_words("wrynose", layer=copy.layer, work=f"{copy.folder.name}/work", recipe="toono")
        holds("set TOONO_GIT and TOONO_COMMIT" in json.loads(run(words))[0]["skipped"], "it was not skipped for that")


def crates():
    """The lists are those of Cargo.lock, and the fetcher gets what they name."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    should = {f"{each['name']}-{each['version']}": each["checksum"] for each in lock if "source" in each}

    def named():
        found = parsed("wrynose", recipe="toono")["toono"]["sources"]
        equal({each["name"]: each["sha256"] for each in found if each["type"] == "crate"}, should)

    check(f"BitBake reads the {len(should)} crates of Cargo.lock with their sums", named)
    generate = [HERE / "generate.py", "--check"]
    check("the lists of crates and licences are what generate.py makes", lambda: run(generate))
    with Copy() as copy:
        lines = (copy.recipe / "toono-crates.inc").read_text().splitlines(True)
        gone = next(line for line in lines if "crate://" in line)
        copy.change("recipes-toono/toono/toono-crates.inc", gone, "")
        check("control: a missing crate is noticed", lambda: fails([*generate, "--only", "crates", "--into", copy.recipe], gone.strip()))
    with Copy() as copy:
        (copy.recipe / "Cargo.lock").write_text((ROOT / "Cargo.lock").read_text().replace('version = "2.0.1"\nsource', 'version = "2.0.2"\nsource', 1))
        check("control: a crate of another version is noticed", lambda: fails(
            [*generate, "--only", "crates", "--lock", copy.recipe / "Cargo.lock"], "adler2/2.0.2"))
        copy.change("recipes-toono/toono/toono-licenses.inc", "LICENSE-MIT;md5=", "LICENSE-MIT;md5=0")
        check("control: a wrong licence sum is noticed", lambda: fails([*generate, "--only", "licenses", "--into", copy.recipe], "md5=0"))

    fetched = {}
    check("BitBake's fetcher downloads every crate, checks its sum, and unpacks", lambda: fetched.update(
        parsed("wrynose", recipe="toono", fetch=True, unpack=True)["toono"]))
    if fetched:
        check(f"the {len(fetched['licences'])} licence files are there, with their sums", lambda: equal(
            [each["path"] for each in fetched["licences"]
             if hashlib.md5(pathlib.Path(each["path"]).read_bytes()).hexdigest() != each["md5"]], []))
    check("control: a crate with a wrong sum is refused", wrong_sum)


def wrong_sum():
    with Copy() as copy:
        name, version, checksum = "cfg-if", *re.search(
            r'SRC_URI\[cfg-if-(.*)\.sha256sum\] = "(.*)"', (RECIPE / "toono-crates.inc").read_text()).groups()
        (copy.recipe / "toono-crates.inc").write_text(
            f'SRC_URI = "crate://crates.io/{name}/{version};name={name}-{version}"\n'
            f'SRC_URI[{name}-{version}.sha256sum] = "{"0" * 64}"\n')
        # The crate is at hand, so that this needs no network either.
        downloads = pathlib.Path(copy.folder.name, "downloads")
        downloads.mkdir()
        shutil.copy(CACHE / f"downloads/{name}-{version}.crate", downloads)
        words = parse_words("wrynose", layer=copy.layer, recipe="toono", work=f"{copy.folder.name}/work", fetch=True,
                            set=[f'DL_DIR = "{downloads}"'])
        fails(words, checksum)


def lint():
    """oelint-adv finds nothing above a hint."""
    files = sorted(str(file.relative_to(ROOT)) for kind in ("*.bb", "*.inc", "layer.conf") for file in LAYER.rglob(kind))

    def words(series, files):
        said = [pathlib.Path(sys.executable).parent / "oelint-adv", "--quiet", "--relpaths", "--hide", "info", "--release", series]
        for rule in SUPPRESSED:
            said += ["--suppress", rule]
        return said + files

    for series in SERIES:
        check(f"oelint-adv, {series}: {len(files)} files", lambda: run(words(series, files), cwd=ROOT))
    with Copy() as copy:
        copy.change("recipes-toono/toono/toono_0.1.0.bb", 'CVE_PRODUCT = "toono"', 'S = "${WORKDIR}/git"')
        check("control: oelint-adv minds a source folder of old", lambda: fails(
            words("wrynose", [copy.recipe / "toono_0.1.0.bb"]), "WORKDIR"))


def kas_files():
    """Every combination of the files loads, by kas's own schema and its own way of merging."""
    import jsonschema
    import yaml
    import kas.context
    from kas.configschema import CONFIGSCHEMA
    from kas.includehandler import IncludeHandler
    kas.context.create_global_context(types.SimpleNamespace(no_color=True))
    files = {file.stem: file for file in sorted((YOCTO / "kas").glob("*.yml"))}
    machines = [name for name in files if name.startswith("qemu")]
    for name, file in files.items():
        check(f"kas: {name}.yml is of kas's schema, of a version that old kas reads", lambda: (
            jsonschema.validate(yaml.safe_load(file.read_text()), CONFIGSCHEMA),
            holds(yaml.safe_load(file.read_text())["header"]["version"] <= 19, "version")))
    check("control: kas, an unknown key is noticed", lambda: fails([sys.executable, "-I", "-c", (
        "import jsonschema, yaml; from kas.configschema import CONFIGSCHEMA;"
        f"jsonschema.validate(yaml.safe_load(open({str(files['base'])!r})) | {{'machines': 'x'}}, CONFIGSCHEMA)")], "machines"))

    def merged(names):
        config, missing = IncludeHandler([str(files[name]) for name in names], False).get_config()
        equal(missing, [])
        for layer in config["repos"]["toono"]["layers"]:
            holds((ROOT / layer / "conf/layer.conf").exists(), f"{layer} is no layer")
        return config

    check(f"kas: {', '.join(machines)} exist", lambda: equal(machines, ["qemuarm", "qemuarm64", "qemuriscv64", "qemux86-64"]))
    for machine in machines:
        for init in ("sysvinit", "systemd"):
            def loads(machine=machine, init=init):
                config = merged([machine, init, "readonly", "dev"])
                equal((config["machine"], config["target"]), (machine, "toono-image"))
                lines = "\n".join(config["local_conf_header"].values())
                for line in (f'INIT_MANAGER = "{init}"', 'TOONO_STATE_DIR = "/data/toono"', 'INHERIT += "externalsrc"'):
                    holds(line in lines, f"no line {line}")
                # BitBake reads the lines that kas would write.
                found = parsed("wrynose", set=lines.splitlines(), recipe="toono")
                equal(found["toono"]["TOONO_STATE_DIR"], "/data/toono")
            check(f"kas: {machine} with {init}, read-only root and the working tree", loads)
    check("kas: dev.yml builds this working tree", lambda: equal(parsed("wrynose", recipe="toono", set=yaml.safe_load(
        files["dev"].read_text())["local_conf_header"]["dev"].splitlines())["toono"]["EXTERNALSRC"], str(ROOT)))


def papers():
    """What yocto-check-layer asks of a layer's papers."""
    readme = (LAYER / "README.md").read_text()
    check("the layer's README names maintainer, patches and an address", lambda: equal(
        [bool(re.search(word, readme, re.IGNORECASE)) for word in ("maintainer", "patch", r"\S+@\S+\.\S+")], [True] * 3))
    check("it names every series that it supports", lambda: equal([series for series in SERIES if series not in readme], []))
    check("the layer has a SECURITY file", lambda: holds((LAYER / "SECURITY.md").read_text().strip(), "empty"))
    check("the runtime test compiles", lambda: compile((LAYER / "lib/oeqa/runtime/cases/toono.py").read_text(), "toono.py", "exec"))


if __name__ == "__main__":
    recipes()
    crates()
    lint()
    kas_files()
    papers()
    layer_install.checks()
    layer_buildroot.checks()
    sys.exit(layer_check.report())
