"""Runs what the Buildroot package installs, and reads its options. Buildroot itself is not to be had as a package."""

import hashlib
import os
import pathlib
import re
import shutil
import sys
import tempfile
import tomllib

from layer_check import ROOT, YOCTO, check, equal, holds, run
from layer_install import ALWAYS, DROP_IN, STATE, raises, settings, systemd, tree

STUB_MK = """
qstrip = $(strip $(subst ",,$(1)))
INSTALL = install
SED = sed -i -e
cargo-package =
include {external}/external.mk
install: {source}/.stamp_target_installed
# Its folder is $(@D), as in Buildroot.
.PHONY: {source}/.stamp_target_installed
{source}/.stamp_target_installed:
\t$(TOONO_INSTALL_INIT_SYSV)
\t$(TOONO_INSTALL_INIT_OPENRC)
\t$(TOONO_INSTALL_INIT_SYSTEMD)
\t$(foreach hook,$(TOONO_POST_INSTALL_TARGET_HOOKS),$($(hook))$(sep))
show-%:
\t@echo '$($*)'
define sep


endef
"""


def checks():
    """The package by make, its options by a Kconfig parser, without Buildroot, which is not to be had as a package."""
    external = YOCTO / "buildroot"
    config = {"BR2_PACKAGE_TOONO_STATE_DIR": '"/var/lib/toono"', "BR2_PACKAGE_TOONO_STATE_MOUNT": '""'}

    def make(*targets, source=ROOT, folder="/nonexistent", **more):
        with tempfile.NamedTemporaryFile("w", suffix=".mk") as file:
            file.write(STUB_MK.replace("{external}", str(external)).replace("{source}", str(source)))
            file.flush()
            said = {**config, "BR2_EXTERNAL_TOONO_PATH": external, "TARGET_DIR": folder, **more}
            return run(["make", "-s", "-f", file.name, *[f"{name}={value}" for name, value in said.items()], *targets])

    init = {"/etc/init.d/S60toono": "755", "/etc/init.d/toono": "755", "/etc/conf.d/toono": "644"}
    files = {name: mode for name, mode in ALWAYS.items() if name != "/usr/bin/toono"} | init

    def installs(state, mount, should):
        with tempfile.TemporaryDirectory() as folder:
            make("install", folder=folder, BR2_PACKAGE_TOONO_STATE_DIR=f'"{state}"', BR2_PACKAGE_TOONO_STATE_MOUNT=f'"{mount}"')
            equal(tree(folder), should)
            for file in ("/etc/default/toono", "/etc/conf.d/toono"):
                equal(settings(folder + file), f"{state},{mount}")
            if mount:
                equal(systemd(folder), {"RequiresMountsFor": mount, "ReadWritePaths": f"-{state}"})
    check("Buildroot installs what is there for each init", lambda: installs("/var/lib/toono", "", files | STATE))
    check("Buildroot, the state on a data partition", lambda: installs("/data/toono", "/data", files | DROP_IN))

    def without():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(YOCTO, f"{folder}/source/yocto")
            os.unlink(f"{folder}/source/yocto/init/toono.confd")
            make("install", source=f"{folder}/source", folder=f"{folder}/root")
    check("control: Buildroot, a file that is gone is noticed", lambda: raises(without, "toono.confd"))
    head = run(["git", "-C", ROOT, "rev-parse", "HEAD"]).strip()
    check("Buildroot builds this repository at its commit", lambda: equal(
        make("show-TOONO_SITE", "show-TOONO_SITE_METHOD", "show-TOONO_VERSION").split(), [f"file://{ROOT}", "git", head]))
    release = {"opt-level": "z", "lto": "fat", "codegen-units": "1", "panic": "abort", "overflow-checks": "true"}

    def profile():
        own = tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]["release"]
        equal({name: str(own[name]).lower() for name in release}, release)
        said = dict(word.split("=") for word in make("show-TOONO_CARGO_ENV").split())
        equal(said, {f"CARGO_PROFILE_RELEASE_{name.upper().replace('-', '_')}": value for name, value in release.items()})
    check("Buildroot builds with the profile of Cargo.toml", profile)
    check("the account is the one of the Yocto package", lambda: equal(make("show-TOONO_USERS").split()[:4], ["toono", "961", "toono", "961"]))

    def licence():
        lines = [line.split("  ") for line in (external / "package/toono/toono.hash").read_text().splitlines() if line[0] != "#"]
        equal(lines, [["sha256", hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest(), "LICENSE"]])
    check("toono.hash has the licence's sum, in Buildroot's form", licence)

    kconfig = ("import kconfiglib, sys; k = kconfiglib.Kconfig(sys.argv[1], warn_to_stderr=False);"
               "k.syms['BR2_PACKAGE_TOONO'].set_value('y');"
               "print(','.join(f'{n}={k.syms[n].str_value}' for n in sorted(k.syms) if k.syms[n].nodes)); assert not k.warnings, k.warnings")

    def options(text):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "toono.in").write_text(text)
            pathlib.Path(folder, "Config.in").write_text(
                "config BR2_PACKAGE_HOST_RUSTC_TARGET_ARCH_SUPPORTS\n\tdef_bool y\nconfig BR2_PACKAGE_HOST_RUSTC\n\tbool\n"
                f'source "{folder}/toono.in"\n')
            return run([sys.executable, "-I", "-c", kconfig, f"{folder}/Config.in"]).strip().split(",")
    text = (external / "package/toono/Config.in").read_text()
    check("Buildroot's options are Kconfig, and select Rust", lambda: equal(options(text), [
        "BR2_PACKAGE_HOST_RUSTC=y", "BR2_PACKAGE_HOST_RUSTC_TARGET_ARCH_SUPPORTS=y", "BR2_PACKAGE_TOONO=y",
        "BR2_PACKAGE_TOONO_STATE_DIR=/var/lib/toono", "BR2_PACKAGE_TOONO_STATE_MOUNT="]))
    check("control: an option that is no Kconfig is noticed", lambda: raises(lambda: options(text.replace("\tselect", "\tselekt")), "selekt"))
    check("external.desc names the tree that the files name", lambda: equal(
        re.search(r"^name: (\w+)$", (external / "external.desc").read_text(), re.MULTILINE).group(1), "TOONO"))
    check("Buildroot's Config.in sources the package's", lambda: holds(
        (external / "Config.in").read_text() == 'source "$BR2_EXTERNAL_TOONO_PATH/package/toono/Config.in"\n', "another"))
