# SPDX-License-Identifier: Apache-2.0
"""The main path: programs write at paris, the copies at lyon are equal."""

import unittest

from support import content, writers
from support.pair import Group, PairTest
from support.waiting import LONG

ONE = Group("main", {"zones": "zones"})
TWO = Group("main", {"first": "first", "second": "second"})


class Pair(PairTest):
    def test_a_python_writers_environment_and_its_copy_are_equal(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 300)
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("zones")), 300)
        self.assert_no_gap()

    def test_status_names_the_role_the_numbers_and_a_verdict_on_both_nodes(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.wait_applied()
        master, slave = self.paris.status(), self.lyon.status()
        self.assertEqual((master["role"], slave["role"]), ("master", "slave"))
        self.assertEqual(master["made"], master["published"])
        self.assertEqual(master["made"], master["applied"])
        self.assertEqual(slave["applied"], master["made"])
        self.assertEqual(master["queue_updates"], 0)
        for status in (master, slave):
            for key in (
                "name role epoch state verdict made published sent journaled applied queue_updates "
                "queue_bytes lag_seconds exposure_updates exposure_seconds test_round_trip_ms "
                "master_address peers incidents"
            ).split():
                self.assertIn(key, status)
        self.assertIn("PROTECTED by lyon", self.paris.command("status").stdout.splitlines()[0])
        self.assertIn("READY", self.lyon.command("status").stdout.splitlines()[0])

    def test_a_slave_without_paths_keeps_its_copies_in_its_state_directory(self):
        self.start_pair(Group("main", {"zones": "zones"}, copies_anywhere=True))
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 50)
        self.assert_equal_copies()

    def test_files_that_match_a_pattern_join_when_they_appear(self):
        self.start_pair(Group("main", {"shard": "shard.lmdb*"}))
        source = """
import lmdb, sys
for name in sys.argv[2:]:
    env = lmdb.open(sys.argv[1] + "/shard.lmdb" + name, subdir=False, max_dbs=4)
    db = env.open_db(b"records", dupsort=True)
    for n in range(20):
        with env.begin(write=True) as txn:
            txn.put(b"key%d" % (n // 3), name.encode() + b"%d" % n, db=db)
"""
        self.paris.python(source, self.paris.data, "", "-0", "-1")
        self.assertEqual(self.assert_equal_copies(), 3)
        self.paris.python(source, self.paris.data, *[f"-{n}" for n in range(2, 40)])
        self.assertEqual(self.assert_equal_copies(), 41)
        self.assert_no_gap()

    def test_several_groups_run_side_by_side(self):
        self.start_pair(Group("dns", {"zones": "dns/zones"}), Group("mail", {"maps": "mail/maps"}))
        for relative in ("dns/zones", "mail/maps"):
            self.paris.python(writers.NUMBERED, self.paris.path(relative), 100)
        self.assertEqual(self.assert_equal_copies(), 2)
        for group in ("dns", "mail"):
            self.assert_no_gap(group)

    def test_one_transaction_in_one_environment_is_one_number(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 1)
        before = self.paris.status()["made"]
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 25)
        self.assertEqual(self.paris.status()["made"], before + 25)

    def test_every_environment_flag_that_programs_use_is_captured(self):
        self.start_pair(Group("main", {"flags": "flags-*"}))
        source = """
import lmdb, sys
asked = dict(writemap=dict(writemap=True), nosync=dict(sync=False), async_=dict(writemap=True, map_async=True),
             nometa=dict(metasync=False), nolock=dict(lock=False), nordahead=dict(readahead=False),
             file=dict(subdir=False))
for name, options in asked.items():
    env = lmdb.open(sys.argv[1] + "/flags-" + name, max_dbs=4, map_size=64 << 20, **options)
    db = env.open_db(b"db")
    for n in range(40):
        with env.begin(write=True) as txn:
            txn.put(b"%d" % n, name.encode() * (n + 1), db=db)
            if n % 3 == 0: txn.put(b"main%d" % n, b"m")
    env.sync(True)
    env.close()
"""
        self.paris.python(source, self.paris.data)
        self.assertEqual(self.assert_equal_copies(), 7)

    def test_two_processes_of_four_threads_leave_no_gap_and_equal_copies(self):
        self.start_pair(TWO)
        seconds = 60 if LONG else 10
        paths = [self.paris.path("first"), self.paris.path("second")]
        programs = [
            self.background_python(self.paris, writers.THREADS, seconds, seed, 4, *paths)
            for seed in (1, 2)
        ]
        committed = 0
        for program in programs:
            program.finish(seconds + 60)
            committed += int(program.log.split()[-1])
        self.assertEqual(self.assert_equal_copies(120), 2)
        self.assertGreaterEqual(self.assert_no_gap(), committed)

    def test_a_child_after_fork_may_open_the_environment_itself(self):
        self.start_pair(ONE)
        source = """
import lmdb, os, sys
env = lmdb.open(sys.argv[1], max_dbs=4)
with env.begin(write=True) as txn: txn.put(b"parent", b"1")
children = []
for n in range(3):
    pid = os.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c",
            "import lmdb,sys\\nenv=lmdb.open(sys.argv[1],max_dbs=4)\\n"
            "with env.begin(write=True) as t: t.put(b'child' + sys.argv[2].encode(), b'2')",
            sys.argv[1], str(n)])
    children.append(pid)
for pid in children: assert os.waitpid(pid, 0)[1] == 0
with env.begin(write=True) as txn: txn.put(b"parent", b"3")
"""
        self.paris.python(source, self.paris.path("zones"))
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("zones")), 4)


if __name__ == "__main__":
    unittest.main(verbosity=2)
