# SPDX-License-Identifier: Apache-2.0
"""Environments that join a pair which runs already, and those that are quiet for a long time."""

import os
import shutil
import signal
import unittest

from support import content, writers
from support.pair import Group, PairTest
from support.waiting import wait_until

MANY = Group("main", {"zones": "zones", "many": "many/*.lmdb"})

# argv: file, number of items. What any program leaves that knows nothing of hotbackup.
MAKE = """
import lmdb, sys
with lmdb.open(sys.argv[1], subdir=False, map_size=1 << 26) as env, env.begin(write=True) as txn:
    for number in range(int(sys.argv[2])): txn.put(b"old%04d" % number, b"v" * 100)
"""
ADD = """
import lmdb, sys
with lmdb.open(sys.argv[1], subdir=sys.argv[1].endswith("env"), map_size=1 << 26) as env:
    with env.begin(write=True) as txn: txn.put(sys.argv[2].encode(), b"new")
"""
# argv: directory, number of transactions of 100 KB.
BIG = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28)
for number in range(int(sys.argv[2])):
    with env.begin(write=True) as txn: txn.put(b"big%d" % number, b"z" * 100_000)
"""


class Join(PairTest):
    def start(self):
        self.start_pair(MANY)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()

    def codes(self):
        return {incident["code"] for incident in self.paris.status()["incidents"]}

    def assert_well(self):
        wait_until(lambda: not self.codes(), "no incident on paris")
        self.paris.command("status", "--check")
        self.assert_equal_copies()

    def test_a_file_that_appears_with_data_is_seeded(self):
        self.start()
        self.paris.python(MAKE, self.paris.path("many/x.lmdb"), 50, capture=False)
        wait_until(lambda: len(self.paris.status()["environments"]) == 2, "the file to join")
        wait_until(lambda: self.lyon.path("many/x.lmdb").exists(), "its copy")
        self.assert_well()
        self.paris.python(ADD, self.paris.path("many/x.lmdb"), "later")
        self.assert_well()

    def test_a_file_with_data_whose_first_look_is_a_captured_write_is_seeded(self):
        self.start()
        self.paris.server.stop()
        self.paris.python(MAKE, self.paris.path("many/x.lmdb"), 50, capture=False)
        self.paris.python(ADD, self.paris.path("many/x.lmdb"), "later")
        self.assertEqual(self.codes() - {"HB-server-down"}, {"HB-unlogged"})
        self.paris.start("master")
        self.assert_well()

    def test_what_a_second_init_adds_is_seeded_with_its_data(self):
        self.start_pair(Group("main", {"zones": "zones"}))
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        more = Group("main", {"zones": "zones", "b": "b.lmdb", "d": "deep/env"})
        self.groups = (more,)
        self.paris.configure(self.lyon, self.groups)
        self.lyon.configure(self.paris, self.groups, with_paths=False)
        self.paris.python(MAKE, self.paris.path("b.lmdb"), 50, capture=False)
        self.paris.python(ADD, self.paris.path("deep/env"), "before", capture=False)
        for node, role in ((self.paris, "master"), (self.lyon, "slave")):
            node.command("init", "main", "--role", role)
            os.kill(node.server.pid, signal.SIGHUP)
        wait_until(lambda: self.lyon.path("b.lmdb").exists(), "the new copy")
        self.assert_well()
        self.assertEqual(self.paris.python(ADD, self.paris.path("deep/env"), "after").stderr, "")
        self.assert_well()

    def test_who_writes_uncaptured_to_what_has_joined_empty_is_told(self):
        self.start()
        self.paris.python(MAKE, self.paris.path("many/x.lmdb"), 0, capture=False)
        wait_until(lambda: len(self.paris.status()["environments"]) == 2, "the file to join")
        self.paris.command("status", "--check")
        self.paris.python(MAKE, self.paris.path("many/x.lmdb"), 5, capture=False)
        wait_until(lambda: "HB-unlogged" in self.codes(), "the incident")

    def test_who_writes_uncaptured_after_the_first_seed_is_told(self):
        self.make_pair(Group("main", {"many": "many/*.lmdb"}))
        self.paris.python(MAKE, self.paris.path("many/x.lmdb"), 5, capture=False)
        self.start_pair()
        self.assert_equal_copies()
        self.paris.python(MAKE, self.paris.path("many/x.lmdb"), 7, capture=False)
        wait_until(lambda: "HB-unlogged" in self.codes(), "the incident")

    def test_a_quiet_environment_is_watched_when_the_journal_has_forgotten_it(self):
        self.start_pair(
            Group("main", MANY.environments, options='keep_journal = "off"\nsegment_size = "1 MB"')
        )
        self.paris.python(ADD, self.paris.path("many/x.lmdb"), "once")
        first = self.paris.journal_segments()[0]
        self.paris.python(BIG, self.paris.path("zones"), 40)
        self.assert_equal_copies()
        wait_until(lambda: not first.exists(), "the oldest segment to go")
        self.paris.server.stop()
        (self.paris.state / "groups/main/control").unlink()  # as after a reboot
        self.paris.start("master")
        self.assert_well()
        self.paris.server.stop()
        (self.paris.state / "groups/main/control").unlink()
        self.paris.python(ADD, self.paris.path("many/x.lmdb"), "foreign", capture=False)
        self.paris.start("master")
        wait_until(lambda: "HB-unlogged" in self.codes(), "the incident")

    def test_another_file_of_the_same_age_is_told_at_the_next_captured_write(self):
        self.start()
        for name in ("x", "y"):
            self.paris.python(ADD, self.paris.path(f"many/{name}.lmdb"), name)
        self.assert_equal_copies()
        self.paris.server.stop()
        shutil.copy(self.paris.path("many/y.lmdb"), self.paris.path("many/other"))
        self.paris.path("many/other").rename(self.paris.path("many/x.lmdb"))
        self.paris.python(ADD, self.paris.path("many/x.lmdb"), "more")
        self.assertIn("HB-replaced", self.codes())
        self.assertGreater(content.count(self.paris.path("many/x.lmdb")), 0)


if __name__ == "__main__":
    unittest.main()
