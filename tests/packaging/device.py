#!/usr/bin/env python3
"""Runs the layer's runtime test, lib/oeqa/runtime/cases/toono.py, as testimage would, against a device of namespaces.

    tests/packaging/device.py BINARY

As root. The device is a read-only root with BusyBox, the script and settings that the recipe installs, and a tmpfs in the place of the
data partition, in mount, process and network namespaces of its own. What of oeqa the test uses is stood in for here: the
decorators, and a target whose commands run there instead of over SSH.
"""

import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASE = ROOT / "yocto/meta-toono/lib/oeqa/runtime/cases/toono.py"
INIT = ROOT / "yocto/init"


class Device:
    """Namespaces with a root of their own. `run` is what oeqa's target has."""

    def __init__(self, folder, binary):
        self.root = pathlib.Path(folder)
        self.root.chmod(0o755)
        for name in ("bin", "proc", "dev", "run", "tmp", "data", "usr/bin", "etc/init.d", "etc/default", "etc/toono"):
            (self.root / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), self.root / "bin/busybox")
        (self.root / "sbin").symlink_to("bin")
        applets = subprocess.run(["busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
        for applet in set(applets) - {"busybox"}:
            (self.root / "bin" / applet).symlink_to("busybox")
        shutil.copy(binary, self.root / "usr/bin/toono")
        for line in subprocess.run(["ldd", binary], capture_output=True, text=True).stdout.splitlines():
            for word in line.split():
                if word.startswith("/"):
                    (self.root / word[1:]).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(word, self.root / word[1:])
        shutil.copy(INIT / "toono.sysv", self.root / "etc/init.d/toono")
        shutil.copy(ROOT / "yocto/toono.toml", self.root / "etc/toono/toono.toml")
        settings = (INIT / "toono.default").read_text().splitlines()
        settings += ['TOONO_STATE_DIR="/data/toono"', 'TOONO_STATE_MOUNT="/data"']  # as toono-image says
        (self.root / "etc/default/toono").write_text("\n".join(settings) + "\n")
        (self.root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\ntoono:x:961:961::/data/toono:/sbin/nologin\n")
        (self.root / "etc/group").write_text("root:x:0:\ntoono:x:961:\n")
        script = (f"set -e; mount --make-rprivate /; mount --bind {folder} {folder}; mount -t proc proc {folder}/proc;"
                  f"mount -t tmpfs dev {folder}/dev; mknod -m 666 {folder}/dev/null c 1 3; mount -t tmpfs run {folder}/run;"
                  f"mount -t tmpfs data {folder}/data; mount -o remount,bind,ro {folder}; chroot {folder} ip link set lo up;"
                  f"touch {folder}/run/up; while :; do sleep 1; done")
        self.holder = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc", "sh", "-c", script])
        deadline = time.monotonic() + 30
        while not self.up():
            if time.monotonic() > deadline or self.holder.poll() is not None:
                raise SystemExit("the namespaces did not come up")
            time.sleep(0.1)

    def up(self):
        """Whether all is mounted; finds the first process of the namespaces."""
        children = pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        if not children:
            return False
        self.first = children[0]
        return self.run("[ -e /run/up ]")[0] == 0

    def run(self, command):
        """Exit code and output of a command there."""
        done = subprocess.run(["nsenter", "-t", self.first, "--mount", "--pid", "--net", "--ipc", "--uts", "chroot", str(self.root), "/bin/sh", "-c",
                               "PATH=/usr/bin:/bin; " + command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        return done.returncode, done.stdout

    def close(self):
        """Ends all that runs there."""
        self.holder.kill()
        self.holder.wait()


def stand_ins():
    """The modules of oeqa that the case imports. What depends on what is kept, to run in that order."""
    def depends(names):
        def mark(test):
            test.depends = names
            return test
        return mark
    for name in ("oeqa", "oeqa.core", "oeqa.core.decorator", "oeqa.core.decorator.depends", "oeqa.runtime", "oeqa.runtime.case",
                 "oeqa.runtime.decorator", "oeqa.runtime.decorator.package"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["oeqa.core.decorator.depends"].OETestDepends = depends
    sys.modules["oeqa.runtime.case"].OERuntimeTestCase = type("OERuntimeTestCase", (unittest.TestCase,), {"td": {}})
    sys.modules["oeqa.runtime.decorator.package"].OEHasPackage = lambda _: lambda test: test


def ordered(case):
    """The case's tests, each after what it depends on."""
    names = [name for name in vars(case) if name.startswith("test_")]
    done = []
    while len(done) < len(names):
        ready = [name for name in names if name not in done and all(
            each.rpartition(".")[2] in done or each.startswith("ssh.") for each in getattr(case, name).depends)]
        if not ready:
            raise SystemExit(f"{set(names) - set(done)} depend on what there is not")
        done += ready[:1]
    return done


def main():
    stand_ins()
    spec = importlib.util.spec_from_file_location("case", CASE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="toono-device-") as folder:
        device = Device(folder, sys.argv[1])
        try:
            module.ToonoTest.target = device
            names = ordered(module.ToonoTest)
            for name in names:
                result = unittest.TestResult()
                module.ToonoTest(name).run(result)
                found = [text for _, text in result.failures + result.errors]
                failed += bool(found)
                why = f": {' / '.join(found[0].strip().splitlines()[-2:])}" if found else ""
                print(f"{'FAIL' if found else 'ok  '} device: {name}{why}", flush=True)
        finally:
            device.close()
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
