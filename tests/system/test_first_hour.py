# SPDX-License-Identifier: Apache-2.0
"""docs/operating/first-hour.md, command by command, on two hosts."""

import os
import pathlib
import re
import shutil
import unittest

from support.hosts import Host, cable
from support.places import scratch_directory
from support.waiting import wait_until

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/operating/first-hour.md"
CODE_OF_PAGE = "123-456-789"


def commands():
    """(host, command) in the order of the page."""
    for hosts, block in re.findall(r"^```sh (\w+)\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        for line in block.splitlines():
            for host in ("paris", "lyon") if hosts == "both" else (hosts,):
                yield host, line


@unittest.skipUnless(
    os.geteuid() == 0 and shutil.which("ip") and shutil.which("pdns_server"), "needs root, iproute2 and PowerDNS"
)
class FirstHour(unittest.TestCase):
    def setUp(self):
        self.root = scratch_directory()
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.hosts = {}
        for name in ("paris", "lyon"):
            self.hosts[name] = Host(self.root, name)
            self.addCleanup(self.hosts[name].end)
            # A machine without PowerDNS's data, whatever this one has.
            self.hosts[name].run("rm -rf /var/lib/powerdns/* /etc/hotbackup")
        cable(self.hosts["paris"], self.hosts["lyon"])

    def pair(self, command):
        """paris waits in the background; returns the code that it prints."""
        self.waiting = self.hosts["paris"].background(command)
        self.addCleanup(self.waiting.stdout.close)
        seen = ""
        for line in self.waiting.stdout:
            seen += line
            code = re.search(r"\b\d{3}[- ]\d{3}[- ]\d{3}\b", line)
            if code:
                return code[0]
        raise AssertionError(f"no code was printed:\n{seen}")

    def run_page(self):
        code = None
        outputs = {}
        for name, command in commands():
            host = self.hosts[name]
            if command.startswith("apt install"):
                if "./" in command:
                    host.install()
                continue
            if command == "hotbackup pair --listen":
                code = self.pair(command)
                continue
            if command.startswith("dig"):
                # PowerDNS has just been started, without systemd's notification.
                wait_until(lambda h=host, c=command: h.run(c, expect=None).stdout.strip(), f"{name}: {command}")
            if "pdns -- pdnsutil" in command or command.startswith("hotbackup setup"):
                wait_until(lambda h=host: h.run("test -e /var/lib/powerdns/pdns.lmdb", expect=None).returncode == 0, "PowerDNS")
            if "--check" in command and "status" in command:
                wait_until(lambda h=host, c=command: h.run(c, expect=None).returncode == 0, f"{name}: {command}", 60)
            outputs[name, command] = host.run(command.replace(CODE_OF_PAGE, code or CODE_OF_PAGE)).stdout
            if "hotbackup pair" in command:
                self.assertEqual(self.waiting.wait(30), 0)
        return outputs

    def test_every_command_of_the_page_works_and_a_cut_link_comes_back(self):
        paris, lyon = self.hosts["paris"], self.hosts["lyon"]
        outputs = self.run_page()
        self.assertIn("PROTECTED by lyon", outputs["paris", "hotbackup status --check"])
        self.assertEqual(outputs["lyon", "dig +short @127.0.0.1 www.example.org"].split(), ["192.0.2.80"])
        self.assertEqual(outputs["lyon", "dig +short @127.0.0.1 mail.example.org"].split(), ["192.0.2.25"])

        # As its users would find it: servers and PowerDNS under users of their own, over TLS.
        for host in (paris, lyon):
            self.assertEqual(host.run("stat -c %U /var/lib/powerdns/pdns.lmdb").stdout, "pdns\n")
            users = host.run("ps -o user= -C hotbackup-master,hotbackup-slave,pdns_server | sort -u").stdout.split()
            self.assertLessEqual(set(users), {"hotbacku+", "hotbackup", "pdns"}, users)
            self.assertIn("fingerprint", host.run("cat /etc/hotbackup/hotbackup.toml").stdout)
        refused = lyon.run("hotbackup run -- pdnsutil add-record example.org no A 300 192.0.2.1", expect=None)
        self.assertNotEqual(refused.returncode, 0)

        paris.run(f"ip link set {paris.device} down")
        paris.run("hotbackup run -- pdnsutil add-record example.org late A 300 192.0.2.99")
        self.assertEqual(paris.run("hotbackup wait --for applied --timeout '1 s'", expect=None).returncode, 5)
        wait_until(lambda: paris.run("hotbackup status --check", expect=None).returncode == 4, "status to say so", 40)
        paris.run(f"ip link set {paris.device} up")
        paris.run("hotbackup wait --for applied --timeout '60 s'")
        wait_until(
            lambda: lyon.run("dig +short @127.0.0.1 late.example.org").stdout.split() == ["192.0.2.99"], "lyon to answer", 60
        )
        for host in (paris, lyon):
            host.run("systemctl stop hotbackup-master hotbackup-slave pdns")


if __name__ == "__main__":
    unittest.main()
