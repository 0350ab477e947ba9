# SPDX-License-Identifier: Apache-2.0
"""Nodes that change roles: every node runs both servers, and has its environments at paths of its own."""

from .pair import Node, PairTest
from .places import Programs, free_port
from .processes import Server
from .waiting import wait_until

# Commits "KEY SEQUENCE" one at a time until it is refused; prints each number that was committed.
COUNTING = """
import lmdb, sys, time
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=4)
name, pause = sys.argv[2].encode(), float(sys.argv[3]) if len(sys.argv) > 3 else 0
number = 0
while True:
    try:
        with env.begin(write=True) as txn:
            txn.put(name + b"-%08d" % (number + 1), b"x" * 20)
    except lmdb.Error as error:
        print("refused at", number + 1, type(error).__name__, error, flush=True)
        break
    number += 1
    print(number, flush=True)
    if pause:
        time.sleep(pause)
"""

PUT = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=4)
with env.begin(write=True) as txn:
    for key in sys.argv[2:]:
        txn.put(key.encode(), b"value of " + key.encode())
"""

KEYS = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=4)
with env.begin() as txn:
    for key, value in txn.cursor():
        print(key.decode())
"""


class RolesTest(PairTest):
    """self.nodes, all of them in one group's peers; the first is its master."""

    def make_nodes(self, *names, group, options="", peers=None):
        programs = Programs(self.root)
        self.groups = [group]
        self.nodes = [Node(programs, self.root, name, free_port()) for name in names]
        self.servers = {}
        for node in self.nodes:
            setattr(self, node.name, node)
            self.configure(node, group, options)

    def configure(self, node, group, options=""):
        others = [other for other in self.nodes if other is not node]
        node.configure(others[0], [group])
        text = node.config.read_text()
        first = f'[[peer]]\nname = "{others[0].name}"\naddress = ["127.0.0.1:{others[0].port}"]'
        every = "\n".join(
            f'[[peer]]\nname = "{other.name}"\naddress = ["127.0.0.1:{other.port}"]' for other in others
        )
        names = ", ".join(f'"{other.name}"' for other in others)
        text = text.replace(first, every)
        text = text.replace(f'peers = ["{others[0].name}"]', f"peers = [{names}]\n{options}")
        node.config.write_text(text)

    def start_server(self, node, role):
        program = node.programs.master if role == "master" else node.programs.slave
        server = Server(program, node.config, node.root / f"{role}.log", node.root / f"{role}.notify", None)
        server.wait_ready()
        self.servers[node.name, role] = server
        self.at_end(server.kill)
        return server

    def start_node(self, node):
        for role in ("slave", "master"):
            self.start_server(node, role)

    def kill_node(self, node):
        for role in ("slave", "master"):
            self.servers[node.name, role].kill()

    def start_all(self, *names, options="", group=None):
        self.make_nodes(*names, group=group, options=options)
        for node in self.nodes:
            role = "master" if node is self.nodes[0] else "slave"
            for one in self.groups:
                node.command("init", one.name, "--role", role)
        for node in self.nodes[1:] + self.nodes[:1]:
            self.start_node(node)
        self.nodes[0].command("wait", group.name, "--for", "applied", "--timeout", "30 s")

    def wait_role(self, node, role, group="main", seconds=20):
        wait_until(
            lambda: node.command("role", group, "--is", role, expect=None).returncode == 0,
            f"{node.name} to be {role}",
            seconds,
        )

    def wait_good(self, node, group="main", seconds=30):
        """Until its verdict is good; returns the status."""
        last = {}

        def good():
            last.update(node.status(group))
            return last["good"]

        try:
            wait_until(good, f"a good verdict on {node.name}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; status is {last}") from error
        return last

    def keys(self, node, path):
        return node.python(KEYS, path, capture=False).stdout.split()
