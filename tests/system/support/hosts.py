# SPDX-License-Identifier: Apache-2.0
"""Two hosts on this machine: each a network and a pid namespace, a cable to the other, and its own /etc,
/var, /usr and /run over the machine's (an overlay in a mount namespace). Nothing of it stays."""

import os
import pathlib
import re
import subprocess
import unittest

from .places import find
from .waiting import wait_until

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "tools" / "package"

_MAKE = """
set -e
mount -t tmpfs tmpfs {base}
mkdir {base}/packages
for place in etc var usr; do
  mkdir {base}/$place {base}/$place.work
  mount -t overlay overlay -o lowerdir=/$place,upperdir={base}/$place,workdir={base}/$place.work /$place
done
mount -t tmpfs tmpfs /run
ip link set lo up
touch {base}/ready
exec sleep infinity
"""


class Host:
    """Commands run in its namespaces. Everything in them ends with it."""

    def __init__(self, base, name):
        self.name = name
        self.base = base / name
        self.base.mkdir()
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
             _MAKE.format(base=self.base)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait_until(self._is_ready, f"host {name}", 20)
        self.first = int(pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text())
        self.run(f"hostname {name}")

    def _is_ready(self):
        if self.holder.poll() is not None:
            said = self.holder.stderr.read().decode()
            if re.search("not permitted|ermission denied|unknown filesystem|root filesystem propagation", said):
                raise unittest.SkipTest(f"no hosts can be made on this machine: {said}")
            raise AssertionError(f"host {self.name}: {said}")
        children = pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        return bool(children) and (pathlib.Path(f"/proc/{children[0]}/root{self.base}") / "ready").exists()

    def words(self, command):
        return ["nsenter", "-t", str(self.first), "--net", "--mount", "--uts", "--pid", "--", "bash", "-ec", command]

    def environment(self):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HOTBACKUP", "LD_"))}
        return {**kept, "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}

    def run(self, command, expect=0, seconds=90):
        done = subprocess.run(
            self.words(command), capture_output=True, text=True, timeout=seconds, check=False,
            env=self.environment(), stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"on {self.name}: {command}\nended with {done.returncode}\n{done.stdout}{done.stderr}{self.logs()}"
            )
        return done

    def background(self, command):
        return subprocess.Popen(
            self.words(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=self.environment(), cwd="/",
        )  # fmt: skip

    def logs(self):
        done = subprocess.run(
            self.words("tail -n 15 /run/services/*.log"), capture_output=True, text=True, check=False
        )
        return "\n" + done.stdout

    def install(self):
        """As the packages do it: the same files in the same places, then their postinst."""
        programs = [(find(name), "/usr/bin") for name in ("hotbackup", "hotbackup-resync", "hotbackup-master", "hotbackup-slave")]
        programs.append((find("libhotbackup.so"), "/usr/lib"))  # where any build looks: ../lib
        for path, folder in programs:
            self.run(f"install -m 755 {path} {folder}/")
        build = pathlib.Path(os.environ["HOTBACKUP_BIN"]).resolve() / "tools/package"
        units = " ".join(map(str, [*build.glob("*.service"), *PACKAGE.glob("systemd/*.socket"), *PACKAGE.glob("systemd/*.target")]))
        self.run(f"install -m 644 {units} /usr/lib/systemd/system/")
        self.run("sed -i 's,^ExecStart=.*/hotbackup,ExecStart=/usr/bin/hotbackup,' /usr/lib/systemd/system/hotbackup*")
        self.run(f"install -m 755 {HERE}/systemctl /usr/local/bin/systemctl")
        self.run(f"sed '/confmodule/d' {PACKAGE}/debian/servers/postinst >/run/postinst; sh /run/postinst configure")

    def end(self):
        """With its first process every other one ends too."""
        self.holder.kill()
        self.holder.wait()
        self.holder.stderr.close()


def cable(one, other):
    """A link between two hosts: 10.99.0.1 and 10.99.0.2."""
    a, b = f"hb{one.first}", f"hb{other.first}"
    subprocess.run(["ip", "link", "add", a, "netns", str(one.first), "type", "veth", "peer", "name", b,
                    "netns", str(other.first)], check=True)  # fmt: skip
    for host, name, number in ((one, a, 1), (other, b, 2)):
        host.device = name
        host.run(f"ip address add 10.99.0.{number}/24 dev {name} && ip link set {name} up")
        host.run("printf '10.99.0.1 paris.example.org paris\\n10.99.0.2 lyon.example.org lyon\\n' >>/etc/hosts")
