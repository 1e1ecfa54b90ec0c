"""The service on the device, for testimage: it starts, answers, reads its configuration again, comes back, and stops.

The API server that it is told of is an address that nobody has (192.0.2.0/24 is for documentation), so what is tested is a node
that boots without its cloud: the agent runs, says that it is not ready, and refuses what it does not know with 503.

    IMAGE_CLASSES += "testimage"
    TEST_SUITES = "ping ssh toono"
"""

import time

from oeqa.core.decorator.depends import OETestDepends
from oeqa.runtime.case import OERuntimeTestCase
from oeqa.runtime.decorator.package import OEHasPackage

CONFIG = "/etc/toono/toono.toml"
# A read-only root has its configuration covered by one on a tmpfs.
TEST_CONFIG = "/run/toono-test.toml"
TEST_CA = "/run/toono-test.crt"
# An authority that never signed anything: openssl req -x509 -newkey ec -nodes -keyout /dev/null.
CA = """-----BEGIN CERTIFICATE-----
MIIBkTCCATegAwIBAgIUJRS6iT8ty9hm5okIGLP/clWEQMowCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSbm9ib2R5J3MgYXV0aG9yaXR5MCAXDTI2MTEyNDE5MTUzNVoY
DzIxMjYxMDMxMTkxNTM1WjAdMRswGQYDVQQDDBJub2JvZHkncyBhdXRob3JpdHkw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQ0PI26Z3TT0saahyz+7bqyKK6NYVkP
0pEuuu2v2TSQm7senILEApPmpLNqPYicQZqu5O06CF3Hiq13wccwuCyzo1MwUTAd
BgNVHQ4EFgQUXFJc1eYm9U4D06uYE1fP6qlj3EkwHwYDVR0jBBgwFoAUXFJc1eYm
9U4D06uYE1fP6qlj3EkwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBF
AiBkTIaM7i25Bf6Jf9iP0B6ss3diO+tDhnPD/B3Zb4kk+wIhAMo2rimKegJzhlwf
deAFa8eCDdzV7AXBGeed8i2UE5zB
-----END CERTIFICATE-----"""
AGENT = "http://127.0.0.1:10261"
ADMIN = "http://127.0.0.1:10267"
SECONDS = 30


class ToonoTest(OERuntimeTestCase):
    """Each step stands on the one before it."""

    def run_ok(self, command):
        """What the command says; the test fails if it does."""
        status, output = self.target.run(command)
        self.assertEqual(status, 0, "%s: %s" % (command, output))
        return output.strip()

    def service(self, verb):
        """The service's script or unit."""
        return self.target.run("if [ -d /run/systemd/system ]; then systemctl %s toono; else /etc/init.d/toono %s; fi" % (verb, verb))

    def pids(self):
        """The agents that run, without those that supervise."""
        _, output = self.target.run("pidof toono")
        return output.split()

    def wait(self, what, holds):
        """Asks until it holds."""
        deadline = time.monotonic() + SECONDS
        while not holds():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(1)

    def code(self, address):
        """The first line of the answer to a GET."""
        _, output = self.target.run("wget -S -O /dev/null %s 2>&1 | grep -m 1 HTTP/" % address)
        return output

    @OETestDepends(["ssh.SSHTest.test_ssh"])
    @OEHasPackage(["toono"])
    def test_installed(self):
        """The program is there, and its account has the number that outlives a firmware update."""
        self.run_ok("toono version")
        uid = self.td.get("TOONO_UID") or "961"
        self.assertEqual(self.run_ok("id -u toono"), uid)

    @OETestDepends(["toono.ToonoTest.test_installed"])
    def test_not_configured(self):
        """As it is installed it knows no server: it does not run, and says so."""
        status, output = self.target.run("toono check")
        self.assertEqual(status, 78, output)

    @OETestDepends(["toono.ToonoTest.test_not_configured"])
    def test_start(self):
        """With a server that can't be reached it runs."""
        lines = ['server = "https://192.0.2.10:6443"', 'ca = "%s"' % TEST_CA, 'node-name = "test"']
        self.run_ok("printf '%%s\\n' '%s' > %s" % ("' '".join(lines), TEST_CONFIG))
        self.run_ok("echo '%s' > %s" % (CA, TEST_CA))
        self.run_ok("chmod 0644 %s %s" % (TEST_CONFIG, TEST_CA))
        self.run_ok("mount -o bind %s %s" % (TEST_CONFIG, CONFIG))
        status, output = self.service("restart")
        self.assertEqual(status, 0, output)
        self.wait("the agent listens", lambda: " 200" in self.code(ADMIN + "/v1/healthz"))
        status, output = self.service("status")
        self.assertEqual(status, 0, output)

    @OETestDepends(["toono.ToonoTest.test_start"])
    def test_offline(self):
        """What was never known is 503, never an empty list."""
        self.assertIn(" 503", self.code(AGENT + "/api/v1/pods"))

    @OETestDepends(["toono.ToonoTest.test_start"])
    def test_reload(self):
        """SIGHUP ends nobody."""
        before = self.pids()
        self.assertTrue(before, "nobody runs")
        status, output = self.service("reload")
        self.assertEqual(status, 0, output)
        self.assertEqual(self.pids(), before)

    @OETestDepends(["toono.ToonoTest.test_reload"])
    def test_respawn(self):
        """Killed, it comes back."""
        before = self.pids()
        self.assertTrue(before, "nobody runs")
        newest = max(before, key=int)
        self.run_ok("kill -9 %s" % newest)
        self.wait("the agent is back", lambda: self.pids() and newest not in self.pids()
                  and " 200" in self.code(ADMIN + "/v1/healthz"))

    @OETestDepends(["toono.ToonoTest.test_respawn"])
    def test_stop(self):
        """Stopped, nothing of it is left."""
        status, output = self.service("stop")
        self.assertEqual(status, 0, output)
        self.wait("nobody is left", lambda: not self.pids())
        self.run_ok("umount %s" % CONFIG)
