# SPDX-License-Identifier: Apache-2.0
"""Keep-local data: each node has its own, whatever comes over the link."""

import unittest

import lmdb

from support import content
from support.pair import Group, PairTest
from support.waiting import wait_until

RULES = 'keep_local = ["licence", "settings:host.*", ":own*"]'

# argv: environment, then DATABASE KEY VALUE three by three; "-" is the main database, and a value
# of "-" deletes. All in one transaction; prints the error where there is one.
WRITE = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=16, subdir=True)
words = sys.argv[2:]
try:
    with env.begin(write=True) as txn:
        for name, key, value in zip(words[::3], words[1::3], words[2::3]):
            db = env.open_db(None if name == "-" else name.encode(), txn)
            if value == "-":
                txn.delete(key.encode(), db=db)
            else:
                txn.put(key.encode(), value.encode(), db=db)
except (lmdb.Error, PermissionError) as error:
    sys.exit(str(error))
"""

EMPTY = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=16)
db = env.open_db(None if sys.argv[2] == "-" else sys.argv[2].encode())
with env.begin(write=True) as txn:
    txn.drop(db, delete=sys.argv[3] == "drop")
"""


def items(path):
    """{database name or "": {key: value}} as text."""
    return {
        (name or b"").decode(): {key.decode(): value.decode() for key, value in pairs}
        for name, (_, pairs) in content.contents(path).items()
    }


class KeepLocal(PairTest):
    def start(self, rules=RULES):
        self.start_pair(Group("main", {"zones": "zones"}, env_options=rules))
        self.master, self.copy = self.paris.path("zones"), self.lyon.path("zones")

    def write(self, node, *words, expect=0):
        return node.python(WRITE, node.path("zones"), *words, expect=expect)

    def incident(self, node, code):
        return [one for one in node.status()["incidents"] if one["code"] == code]

    def test_each_node_keeps_its_own_and_the_rest_is_equal(self):
        self.start()
        self.write(
            self.paris, "licence", "key", "paris", "settings", "host.name", "paris",
            "settings", "theme", "dark", "-", "own", "paris", "-", "shared", "1",
        )  # fmt: skip
        self.wait_applied()
        self.assertEqual(items(self.copy), {"": {"shared": "1"}, "settings": {"theme": "dark"}})
        self.write(
            self.lyon, "licence", "key", "lyon", "settings", "host.name", "lyon", "-", "own", "lyon"
        )
        for words in (("settings", "theme", "x"), ("-", "shared", "x"), ("new", "a", "b")):
            self.write(self.lyon, *words, expect=1)
        self.write(
            self.paris, "licence", "key", "paris 2", "settings", "host.name", "-",
            "settings", "theme", "light", "-", "own", "paris 2", "-", "shared", "2",
        )  # fmt: skip
        self.wait_applied()
        mine = {
            "": {"own": "lyon", "shared": "2"},
            "licence": {"key": "lyon"},
            "settings": {"host.name": "lyon", "theme": "light"},
        }
        self.assertEqual(items(self.copy), mine)
        self.assertEqual(items(self.master)["licence"], {"key": "paris 2"})
        # A drop over kept keys, and of everything.
        self.paris.python(EMPTY, self.master, "settings", "drop")
        self.wait_applied()
        del mine["settings"]["theme"]
        self.assertEqual(items(self.copy), mine)
        self.paris.python(EMPTY, self.master, "-", "empty")
        self.wait_applied()
        del mine[""]["shared"]
        self.assertEqual(items(self.copy), mine)
        self.assertEqual(items(self.master), {"": {}})
        self.assertEqual(self.lyon.status()["incidents"], [])
        self.assertEqual(self.paris.status()["incidents"], [])

    def test_own_writes_while_the_stream_runs_are_no_foreign_writes_and_foreign_ones_are_noticed(self):
        self.start()
        self.write(self.paris, "licence", "key", "paris", "settings", "theme", "0")
        self.wait_applied()
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=16)
licence = env.open_db(b"licence")
for n in range(int(sys.argv[2])):
    with env.begin(write=True) as txn:
        txn.put(b"key", b"lyon %d" % n, db=licence)
"""
        program = self.background_python(self.lyon, source, self.copy, 300)
        for n in range(100):
            self.write(self.paris, "settings", "theme", str(n)) if n % 10 == 0 else None
        program.finish()
        self.write(self.paris, "settings", "theme", "last")
        self.wait_applied()
        self.assertEqual(items(self.copy)["settings"], {"theme": "last"})
        self.assertEqual(items(self.copy)["licence"], {"key": "lyon 299"})
        self.assertEqual(self.lyon.status()["incidents"], [])
        with lmdb.open(str(self.copy), map_size=1 << 30, max_dbs=16) as env:
            with env.begin(write=True) as txn:
                txn.put(b"foreign", b"1")
        self.write(self.paris, "settings", "theme", "after")
        self.wait_applied()
        self.assertEqual(len(self.incident(self.lyon, "HB-copy-written")), 1)

    def test_a_copy_grows_by_what_is_applied_and_by_what_its_own_programs_write_at_once(self):
        self.start()
        self.write(self.paris, "licence", "key", "paris", "settings", "theme", "0")
        self.wait_applied()
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=16, sync=False)
db = env.open_db(sys.argv[2].encode())
for n in range(int(sys.argv[3])):
    with env.begin(write=True) as txn:
        for m in range(8):
            txn.put(b"%d-%d" % (n, m), b"%d" % n * 9000, db=db)
"""
        own = self.background_python(self.lyon, source, self.copy, "licence", 250)
        sent = self.background_python(self.paris, source, self.master, "zones", 250)
        own.finish(180)
        sent.finish(180)
        self.wait_applied(seconds=120)
        here, there = items(self.master), items(self.copy)
        self.assertEqual(there["zones"], here["zones"])
        self.assertEqual(len(here["zones"]), 2000)
        self.assertEqual(there["licence"], here["zones"])
        self.assertEqual(self.lyon.status()["incidents"], [])

    def test_a_seed_sends_nothing_kept_and_leaves_what_the_slave_has(self):
        self.make_pair(Group("main", {"zones": "zones"}, env_options=RULES))
        self.lyon.configure(self.paris, self.groups)
        self.master, self.copy = self.paris.path("zones"), self.lyon.path("zones")
        theirs = ["licence", "key", "paris", "licence", "more", "paris", "settings", "host.a", "paris"]
        self.paris.python(WRITE, self.master, *theirs, "settings", "theme", "dark", capture=False)
        own = ["licence", "key", "lyon", "settings", "host.a", "lyon", "-", "own", "lyon"]
        self.lyon.python(WRITE, self.copy, *own, "settings", "old", "1", capture=False)
        self.paris.command("init", "main", "--role", "master")
        refused = self.lyon.command("init", "main", "--role", "slave", expect=1)
        self.assertIn("holds items", refused.stderr)
        self.lyon.command("init", "main", "--role", "slave", "--replace")
        mine = {"": {"own": "lyon"}, "licence": {"key": "lyon"}, "settings": {"host.a": "lyon"}}
        self.assertEqual(items(self.copy), mine)
        self.lyon.start("slave")
        self.paris.start("master")
        self.wait_applied()
        mine["settings"]["theme"] = "dark"
        self.assertEqual(items(self.copy), mine)
        aside = list(self.lyon.data.glob("zones.replaced-*"))
        self.assertEqual(items(aside[0])["settings"], {"host.a": "lyon", "old": "1"})

    def test_an_environment_with_nothing_but_kept_data_is_no_obstacle_to_a_slave(self):
        self.make_pair(Group("main", {"zones": "zones"}, env_options=RULES))
        self.lyon.configure(self.paris, self.groups)
        self.lyon.python(WRITE, self.lyon.path("zones"), "licence", "key", "lyon", capture=False)
        self.init_pair()
        self.lyon.start("slave")
        self.paris.start("master")
        self.write(self.paris, "licence", "key", "paris", "settings", "theme", "1")
        self.wait_applied()
        self.assertEqual(
            items(self.lyon.path("zones")),
            {"": {}, "licence": {"key": "lyon"}, "settings": {"theme": "1"}},
        )

    def test_different_rules_are_refused_by_name_until_both_nodes_have_the_same(self):
        self.start('keep_local = ["licence"]')
        self.write(self.paris, "settings", "host.a", "1", "settings", "theme", "1")
        self.wait_applied()
        wider = Group("main", {"zones": "zones"}, env_options=RULES)
        self.paris.configure(self.lyon, (wider,))
        self.assertIn(
            "is not what is in force", self.paris.command("scope", "main").stderr
        )
        self.paris.command("init", "main", "--role", "master")
        for node, code in ((self.paris, "HB-rules-differ"), (self.lyon, "HB-rules-differ")):
            wait_until(lambda: self.incident(node, code), f"{code} on {node.name}", 30)
            text = self.incident(node, code)[0]["text"]
            self.assertIn("environment zones", text)
            self.assertIn('lyon keeps "licence"', text)
            self.assertIn('paris keeps ":own*" "licence" "settings:host.*"', text)
        self.write(self.paris, "settings", "host.a", "2", "settings", "theme", "2")
        self.lyon.configure(self.paris, (wider,))
        self.lyon.command("init", "main", "--role", "slave")
        self.wait_applied()
        self.assertEqual(items(self.copy)["settings"], {"host.a": "1", "theme": "2"})
        for node in (self.paris, self.lyon):
            wait_until(
                lambda: not self.incident(node, "HB-rules-differ"), f"peace on {node.name}", 30
            )
        rules = [one for one in self.paris.json("log", "main")["updates"] if one["kind"] == "rules"]
        self.assertEqual(
            [one["detail"] for one in rules],
            [
                "kept local in zones: licence",
                "kept local in zones: :own* licence settings:host.*",
            ],
        )
        kinds = [one["kind"] for one in self.lyon.json("log", "main")["updates"]]
        self.assertIn("rules", kinds)
        # Rules in force stay in force.
        narrow = Group("main", {"zones": "zones"}, env_options='keep_local = ["settings"]')
        self.paris.configure(self.lyon, (narrow,))
        self.paris.server.stop()
        self.paris.start("master")
        self.assertIn("is not what is in force", self.paris.server.log)
        refused = self.paris.command("init", "main", "--role", "master", expect=1)
        self.assertIn('":own*"', refused.stderr)

    def test_scope_tells_what_is_sent_and_what_stays_and_which_rule_is_idle(self):
        self.start('keep_local = ["licence", "settings:host.*", "settings:typo", ":own*"]')
        self.write(
            self.paris, "licence", "key", "1", "settings", "host.a", "1", "settings", "host.b", "1",
            "settings", "theme", "1", "-", "own", "1", "-", "x", "1",
        )  # fmt: skip
        found = self.paris.json("scope", "main")
        scope = {one["database"]: one for one in found["environments"][0]["databases"]}
        self.assertEqual(scope["licence"]["scope"], "keep-local")
        self.assertEqual(scope["licence"]["rules"], [{"rule": "licence", "items": 1}])
        self.assertEqual(scope["settings"]["scope"], "sent")
        self.assertEqual(scope["settings"]["items"], 3)
        self.assertEqual(scope["settings"]["rules"], [{"rule": "settings:host.*", "items": 2}])
        self.assertEqual(scope[""]["rules"], [{"rule": ":own*", "items": 1}])
        idle = 'environment zones: keep-local rule "settings:typo" matches nothing'
        self.assertEqual(found["warnings"], [idle])
        text = self.paris.command("scope", "main")
        self.assertIn("keep-local (settings:host.*)  2 items", text.stdout)
        self.assertIn("sent  1 items", text.stdout)
        self.assertIn(f"warning: {idle}", text.stderr)
        again = self.paris.command("init", "main", "--role", "master")
        self.assertIn('"settings:typo" matches nothing so far', again.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
