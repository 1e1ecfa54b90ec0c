"""Runs what the recipes install and lay out, and looks at what came of it."""

import os
import pathlib
import re
import shlex
import shutil
import tempfile

from layer_check import HERE, LAYER, ROOT, YOCTO, check, equal, holds, parsed, run

# The functions of core that the recipes' own call.
PRELUDE = """set -eu
cargo_do_install() { install -d "$D/usr/bin"; : > "$D/usr/bin/toono"; chmod 755 "$D/usr/bin/toono"; }
bbfatal() { echo "$*" >&2; exit 1; }
"""


def shell(recipe, function, folder, source=ROOT):
    """Runs a shell function of a recipe as it is after expansion, on a source tree and into a folder."""
    body = f"toono_say_state() {{\n{recipe['toono_say_state'] or ':'}\n}}\n{recipe[function]}"
    body = re.sub(r"\S*/work/[^/\s]+/image", str(folder), body)
    body = re.sub(r"\S*/work/[^/\s]+/rootfs", str(folder), body)
    body = re.sub(r"/\S*/work/([^/\s]+)(?:/sources)?/\1/", f"{source}/", body)
    if os.getuid():
        body = re.sub(r" -o \d+ -g \d+", "", body)  # only root gives away
    run(["sh", "-c", PRELUDE + body], env={**os.environ, "D": str(folder)})


def tree(folder):
    """What is in a folder: path and mode of its files, and of folders that are not for everybody."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        mode = path.stat().st_mode & 0o777
        if path.is_file() or mode != 0o755:
            found["/" + str(path.relative_to(folder))] = oct(mode)[2:]
    return found


ALWAYS = {
    "/etc/default/toono": "644", "/etc/init.d/toono": "755", "/etc/toono/toono.toml": "644", "/usr/bin/toono": "755",
    "/usr/lib/systemd/system/toono.service": "644",
}
SYSV = {"/etc/default/volatiles/50_toono": "644"}
STATE = {"/var/lib/toono": "700"}
UNITS = "/usr/lib/systemd/system"
DROP_IN = {f"{UNITS}/toono.service.d/50-state.conf": "644"}


def settings(file):
    """NAME="value" lines of a shell file that say where the state is, as sh reads them."""
    return run(["sh", "-c", f'. {shlex.quote(str(file))} && echo "$TOONO_STATE_DIR,$TOONO_STATE_MOUNT"']).strip()


def systemd(folder):
    """Settings of the drop-in for the state, after systemd itself has read it with the unit."""
    drop_in = pathlib.Path(f"{folder}{UNITS}/toono.service.d/50-state.conf")
    for program in ("bin/sh", "usr/bin/toono"):
        pathlib.Path(folder, program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/sh", f"{folder}/{program}")
    run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={folder}", f"{UNITS}/toono.service"])
    lines = [line.split("=", 1) for line in drop_in.read_text().splitlines() if "=" in line]
    before = [value for name, value in lines if name == "ExecStartPre"]
    make = shlex.split(before[1].removeprefix("+"))
    equal([before[0], *make[:2], before[2].split()[:2]], ["", "/bin/sh", "-c", ["/usr/bin/toono", "check"]])
    run(["sh", "-n", "-c", make[2]])
    return {name: value for name, value in lines if name != "ExecStartPre"}


def package():
    """do_install of the recipe, from the working tree."""
    on_data = ['TOONO_STATE_MOUNT = "/data"', 'TOONO_STATE_DIR = "/data/toono"']
    for what, lines, should, said in [
        ("sysvinit", ['DISTRO_FEATURES = "sysvinit"'], ALWAYS | SYSV | STATE, "/var/lib/toono,"),
        ("systemd", ['DISTRO_FEATURES = "systemd"'], ALWAYS | STATE, "/var/lib/toono,"),
        ("systemd and a data partition", ['DISTRO_FEATURES = "systemd"', *on_data], ALWAYS | DROP_IN, "/data/toono,/data"),
    ]:
        def installs():
            with tempfile.TemporaryDirectory() as folder:
                recipe = parsed("wrynose", set=lines, recipe="toono")["toono"]
                shell(recipe, "do_install", folder)
                equal(tree(folder), should)
                equal(settings(f"{folder}/etc/default/toono"), said)
                for file in recipe["CONFFILES:${PN}"].split():
                    holds(os.path.exists(folder + file), f"CONFFILES names {file}, which is not installed")
        check(f"the recipe installs what is there, {what}", installs)

    def without():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(YOCTO, f"{folder}/source/yocto")
            os.unlink(f"{folder}/source/yocto/init/toono.sysv")
            shell(parsed("wrynose", recipe="toono")["toono"], "do_install", f"{folder}/root", f"{folder}/source")
    check("control: a script that is gone is noticed", lambda: raises(without, "toono.sysv"))

    def kubelet():
        with tempfile.TemporaryDirectory() as folder:
            shell(parsed("wrynose", recipe="toono-kubelet")["toono-kubelet"], "do_install", folder)
            equal(tree(folder), {"/etc/kubernetes/toono.kubeconfig": "644", "/usr/lib/systemd/system/kubelet.service.d/50-toono.conf": "644"})
            drop_in = pathlib.Path(f"{folder}/usr/lib/systemd/system/kubelet.service.d/50-toono.conf").read_text()
            named = re.search(r"--kubeconfig=(\S+?)\"", drop_in).group(1)
            holds("server: http://127.0.0.1:10261\n" in pathlib.Path(folder + named).read_text(), f"{named} has no such server")
    check("the kubelet's drop-in names the kubeconfig that comes with it", kubelet)


def raises(does, with_):
    """A control: `does` must raise, with these words."""
    try:
        does()
    except AssertionError as error:
        holds(with_ in str(error), f"it failed with something else: {error}")
    else:
        raise AssertionError("nobody minded")


def image():
    """The data partition in the image's root, and the partition table."""
    recipe = parsed("wrynose", recipe="toono-image")["toono-image"]

    def rooted(default, unit=False):
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(f"{folder}/etc/default")
            pathlib.Path(f"{folder}/etc/fstab").write_text("/dev/root / auto ro 1 1\n")
            pathlib.Path(f"{folder}/etc/default/toono").write_text(default)
            if unit:
                os.makedirs(f"{folder}{UNITS}")
                shutil.copy(YOCTO / "init/toono.service", f"{folder}{UNITS}")
            shell(recipe, "toono_data_partition", folder)
            if unit:
                return systemd(folder)
            owner = os.stat(f"{folder}/data/toono").st_uid
            return (tree(folder)["/data/toono"], owner if os.getuid() == 0 else 961,
                    pathlib.Path(f"{folder}/etc/fstab").read_text().splitlines()[1:], settings(f"{folder}/etc/default/toono"))

    default = (YOCTO / "init/toono.default").read_text()
    check("the image mounts the data partition and keeps the state on it", lambda: equal(rooted(default), (
        "700", 961, ["/dev/vda4 /data ext4 noatime,nodev,nosuid,noexec,nofail 0 0"], "/data/toono,/data")))
    check("the image's unit waits for the partition, may write to it, and systemd takes it", lambda: equal(
        rooted(default, unit=True), {"RequiresMountsFor": "/data", "ReadWritePaths": "-/data/toono"}))
    check("control: a settings file that names no state folder is noticed",
          lambda: raises(lambda: rooted("# nothing\n"), "no line for the state folder"))
    check("its root is read-only, a squashfs, and the disk's layout is the layer's", lambda: equal(
        ["read-only-rootfs" in recipe["IMAGE_FEATURES"].split(), recipe["IMAGE_FSTYPES"].split(), os.path.realpath(recipe["WKS_FILE"])],
        [True, ["squashfs-xz", "wic"], str(LAYER / "files/wic/toono-ab.wks")]))

    def layout():
        lines = [shlex.split(line) for line in (LAYER / "files/wic/toono-ab.wks").read_text().splitlines() if line and line[0] != "#"]
        parts = []
        for words in lines:
            if words[0] == "part":
                flags = dict(word.lstrip("-").split("=", 1) for word in words if word.startswith("--") and "=" in word)
                after = dict(zip(words, words[1:]))
                parts.append((after["--part-name"], flags["fstype"], after["--source"]))
        equal(lines[0], ["bootloader", "--ptable", "gpt"])
        equal(parts, [("boot", "vfat", "bootimg-partition"), ("root-a", "squashfs", "rootfs"), ("root-b", "squashfs", "rootfs"),
                      ("data", "ext4", "rootfs")])
        holds(recipe["TOONO_DATA_DEVICE"].endswith(str(1 + [name for name, _, _ in parts].index("data"))), "data is another partition")
    check("boot, two slots, and data where fstab looks for it", layout)


def ptest():
    """Of the test binaries those are kept that can run on a device."""
    recipe = parsed("wrynose", recipe="toono")["toono"]

    def kept(units):
        with tempfile.TemporaryDirectory() as folder:
            built = f"{folder}/target/triple/release/toono"
            names = {"units": b"\x7fELF tests", "agent": f"\x7fELF {built}\0".encode()}
            for name, content in names.items():
                pathlib.Path(folder, name).write_bytes(content)
            listed = pathlib.Path(folder, "list")
            listed.write_text("".join(f"{folder}/{name}\n" for name in names if units or name == "agent"))
            values = {"B": folder, "CARGO_TARGET_SUBDIR": "triple/release", "CARGO_TEST_BINARIES_FILES": str(listed)}

            class Data:
                getVar = staticmethod(values.get)

            class Bb:
                @staticmethod
                def fatal(why):
                    raise AssertionError(why)
            body = "def it(d, bb, os):\n" + recipe["toono_ptest_units"]
            scope = {}
            exec(body, scope)
            scope["it"](Data, Bb, os)
            return listed.read_text().replace(folder + "/", "").split()

    check("the device's tests are those that need no build folder", lambda: equal(kept(True), ["units"]))
    check("control: none left is an error", lambda: raises(lambda: kept(False), "every test binary"))


def scripts():
    """The shell of these checks."""
    for script in ("layer.sh", "oe_build.sh"):
        check(f"shellcheck: {script}", lambda: run(["shellcheck", "-s", "sh", HERE / script]))


def checks():
    """All of them."""
    package()
    image()
    ptest()
    scripts()
