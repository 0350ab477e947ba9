# SPDX-License-Identifier: Apache-2.0
"""A master that comes back with updates which its new master does not have."""

import os
import re
import signal
import socket
import threading
import unittest

from support.content import contents, differences
from support.pair import Group
from support.roles import RolesTest
from support.waiting import LONG, wait_until

ONE = Group("main", {"zones": "zones"})
TWO = Group("main", {"zones": "zones", "users": "users"})

# argv: path, items
FILL = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=4 << 30, max_dbs=8, subdir=True)
db = env.open_db(b"items")
many = int(sys.argv[2])
for first in range(0, many, 50000):
    with env.begin(write=True) as txn:
        for n in range(first, min(many, first + 50000)):
            txn.put(b"%08d" % n, b"the value of item %d, which is long enough" % n, db=db)
"""

COMMON = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=8)
items, dups, gone = env.open_db(b"items"), env.open_db(b"dups", dupsort=True), env.open_db(b"gone")
with env.begin(write=True) as txn:
    for n in range(100):
        txn.put(b"%04d" % n, b"common", db=items)
    for n in range(20):
        txn.put(b"many", b"%04d" % n, db=dups)
    for n in range(30):
        txn.put(b"%04d" % n, b"in a database that one side drops", db=gone)
"""

# What only the old master has: 50 updates.
OLD = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=8)
items, dups, gone = env.open_db(b"items"), env.open_db(b"dups", dupsort=True), env.open_db(b"gone")
for n in range(46):
    with env.begin(write=True) as txn:
        txn.put(b"%04d" % (n * 2), b"only on the old side %d" % n, db=items)
with env.begin(write=True) as txn:
    txn.put(b"many", b"old", db=dups)
    txn.delete(b"many", b"0003", db=dups)
with env.begin(write=True) as txn:
    txn.drop(gone)
with env.begin(write=True) as txn:
    made = env.open_db(b"made", txn=txn)
    txn.put(b"a", b"b", db=made)
with env.begin(write=True) as txn:
    txn.put(b"orphan", b"to be applied", db=items)
"""

NEW = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=8)
items, dups, gone = env.open_db(b"items"), env.open_db(b"dups", dupsort=True), env.open_db(b"gone")
with env.begin(write=True) as txn:
    txn.put(b"0002", b"new side", db=items)
    txn.delete(b"0004", db=items)
    txn.put(b"many", b"new", db=dups)
    txn.put(b"0001", b"changed by the new side", db=gone)
"""

PUT_ITEMS = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=4 << 30, max_dbs=8)
db = env.open_db(b"items")
for word in sys.argv[3:]:
    with env.begin(write=True) as txn:
        txn.put(word.encode(), sys.argv[2].encode(), db=db)
"""


class Counter:
    """Carries bytes between a port of its own and another one, and counts them."""

    def __init__(self, to):
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    def _carry(self, a, b):
        try:
            while data := a.recv(1 << 16):
                self.bytes += len(data)
                b.sendall(data)
        except OSError:
            pass
        for end in (a, b):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._listener.close()


class Rejoin(RolesTest):
    def part_ways(self, old, new, group=ONE, options=""):
        """paris writes `old` unsent and dies; lyon is promoted and writes `new`."""
        self.servers["lyon", "slave"].kill()
        old(self.paris)
        self.kill_node(self.paris)
        self.servers["lyon", "master"].kill()
        self.start_node(self.lyon)
        self.lyon.command("promote", group.name, "--yes")
        new(self.lyon)

    def wait_rejoined(self, seconds=60):
        self.wait_role(self.paris, "slave", seconds=seconds)
        wait_until(
            lambda: not (self.paris.state / "groups/main/rejoin").exists(), "the rejoin's end", seconds
        )
        self.lyon.command("wait", "main", "--for", "applied", "--timeout", f"{seconds} s")

    def assert_equal(self, *paths):
        for path in paths:
            found = differences(self.lyon.path(path), self.paris.path(path))
            self.assertEqual(found, [], path)

    def test_the_old_master_rejoins_and_what_only_it_had_is_listed_and_can_be_applied(self):
        self.start_all("paris", "lyon", group=TWO)
        self.paris.python(COMMON, self.paris.path("zones"))
        self.paris.python(PUT_ITEMS, self.paris.path("users"), "common", "u1", "u2")
        self.paris.command("wait", "--for", "applied")

        def old(node):
            node.python(OLD, node.path("zones"))
            node.python(PUT_ITEMS, node.path("users"), "old", "u1", "u3")

        def new(node):
            node.python(NEW, node.path("zones"))
            node.python(PUT_ITEMS, node.path("users"), "new", "u4")

        self.part_ways(old, new, TWO)
        self.start_node(self.paris)
        self.wait_rejoined()
        self.assert_equal("zones", "users")
        orphans = self.paris.json("orphans", "main")["orphans"]
        self.assertEqual(len(orphans), 52)
        self.assertEqual({one["state"] for one in orphans}, {"open"})
        self.assertEqual({one["epoch"] for one in orphans}, {1})
        codes = [one["code"] for one in self.paris.status()["incidents"]]
        self.assertIn("HB-orphans", codes)

        by_text = {}
        for one in orphans:
            shown = self.paris.command("orphans", "show", "main", one["number"]).stdout
            by_text[shown] = one["number"]
        free = next(number for shown, number in by_text.items() if "to be applied" in shown)
        applied = self.paris.json("orphans", "apply", "main", free)
        self.assertEqual(applied["applied"][0]["conflicts"], [])
        became = applied["applied"][0]["became"]
        self.lyon.command("wait", "main", became, "--for", "applied", "--timeout", "20 s")
        for node in (self.lyon, self.paris):
            items = dict(contents(node.path("zones"))[b"items"][1])
            self.assertEqual(items[b"orphan"], b"to be applied")
        self.assertEqual(self.lyon.json("log", "main")["updates"][-1]["number"], became)
        self.assert_equal("zones", "users")
        again = self.paris.command("orphans", "apply", "main", free, expect=3)
        self.assertIn("nothing of that is open", again.stderr)

        held = next(number for shown, number in by_text.items() if re.search(r"old side 1(?!\d)", shown))
        conflict = self.paris.command("orphans", "apply", "main", held, expect=2)
        self.assertIn("0002 was changed meanwhile by update", conflict.stderr)
        forced = self.paris.json("orphans", "apply", "main", held, "--yes")
        self.assertEqual(len(forced["applied"][0]["conflicts"]), 1)
        self.lyon.command("wait", "main", "--for", "applied", "--timeout", "20 s")
        items = dict(contents(self.paris.path("zones"))[b"items"][1])
        self.assertEqual(items[b"0002"], b"only on the old side 1")

        self.paris.command("orphans", "show", "main", "999999", expect=2)
        self.paris.command("orphans", "drop", "main", "all", expect=2)
        self.paris.command("orphans", "drop", "main", "all", "--yes")
        self.assertEqual(self.paris.json("orphans", "main")["orphans"], [])
        self.wait_good(self.paris)
        self.assert_equal("zones", "users")

    def test_a_rejoin_moves_what_was_touched_and_not_the_database(self):
        many = 5_000_000 if LONG else 100_000
        self.make_nodes("paris", "lyon", group=ONE)
        counter = Counter(self.paris.port)
        self.at_end(counter.close)
        text = self.lyon.config.read_text()
        self.lyon.config.write_text(text.replace(f"127.0.0.1:{self.paris.port}", f"127.0.0.1:{counter.port}"))
        self.paris.command("init", "main", "--role", "master")
        self.lyon.command("init", "main", "--role", "slave")
        self.start_node(self.lyon)
        self.start_node(self.paris)
        self.paris.python(FILL, self.paris.path("zones"), many, seconds=600)
        self.paris.command("wait", "main", "--for", "applied", "--timeout", "600 s", seconds=620)
        keys = [f"{n * 1999:08d}" for n in range(50)]
        self.part_ways(
            lambda node: node.python(PUT_ITEMS, node.path("zones"), "old", *keys),
            lambda node: node.python(PUT_ITEMS, node.path("zones"), "new", "new1", "new2"),
        )
        before = counter.bytes
        self.start_node(self.paris)
        self.wait_rejoined(120)
        moved = counter.bytes - before
        print(f"rejoin after 50 updates, database of {many} items: {moved} bytes on the link")
        self.assertLess(moved, 60_000)
        self.assertEqual(len(self.paris.json("orphans", "main")["orphans"]), 50)
        self.assert_equal("zones")

    def test_with_ask_nothing_is_undone_until_the_configuration_says_so(self):
        self.start_all("paris", "lyon", group=ONE, options='rejoin = "ask"')
        self.paris.python(PUT_ITEMS, self.paris.path("zones"), "common", "a")
        self.paris.command("wait", "--for", "applied")
        self.part_ways(
            lambda node: node.python(PUT_ITEMS, node.path("zones"), "old", "b"),
            lambda node: node.python(PUT_ITEMS, node.path("zones"), "new", "c"),
        )
        self.start_node(self.paris)
        wait_until(
            lambda: "HB-rejoin-asks" in [one["code"] for one in self.paris.status()["incidents"]],
            "the question",
        )
        items = dict(contents(self.paris.path("zones"))[b"items"][1])
        self.assertEqual(items[b"b"], b"old")
        self.assertEqual(self.paris.json("orphans", "main")["orphans"], [])
        text = self.paris.config.read_text()
        self.paris.config.write_text(text.replace('"ask"', '"rewind"'))
        os.kill(self.servers["paris", "slave"].pid, signal.SIGHUP)
        self.wait_rejoined()
        self.assert_equal("zones")
        self.assertEqual(len(self.paris.json("orphans", "main")["orphans"]), 1)


if __name__ == "__main__":
    unittest.main()
