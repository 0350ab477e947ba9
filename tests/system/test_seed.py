# SPDX-License-Identifier: Apache-2.0
"""The first copy: made over the stream, while writers go on, never over something else."""

import shutil
import unittest

import lmdb

from support import content, writers
from support.pair import Group, PairTest
from support.waiting import LONG, wait_until

ONE = Group("main", {"zones": "zones"})

FILL = """
import lmdb, random, sys
env = lmdb.open(sys.argv[1], map_size=4 << 30, max_dbs=8)
plain, dups = env.open_db(b"plain"), env.open_db(b"dups", dupsort=True, dupfixed=True)
rnd = random.Random(5)
for block in range(int(sys.argv[2])):
    with env.begin(write=True) as txn:
        for n in range(1000):
            txn.put(b"%08d" % (block * 1000 + n), rnd.randbytes(rnd.randrange(400)), db=plain)
            txn.put(b"%04d" % n, b"%08d" % block, db=dups)
        txn.put(b"big%d" % block, rnd.randbytes(300_000))
"""


class Seed(PairTest):
    def test_data_from_before_init_are_the_first_seed(self):
        self.make_pair(ONE)
        self.paris.python(FILL, self.paris.path("zones"), 20, capture=False)
        self.init_pair()
        self.lyon.start("slave")
        self.paris.start("master")
        self.assert_equal_copies()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 50)
        self.assert_equal_copies()

    def test_writers_go_on_during_the_seed(self):
        self.make_pair(Group("main", {"zones": "zones", "more": "more"}))
        for relative in ("zones", "more"):
            self.paris.python(
                FILL, self.paris.path(relative), 800 if LONG else 150, capture=False, seconds=300
            )
        self.init_pair()
        paths = [self.paris.path("zones"), self.paris.path("more")]
        writer = self.background_python(self.paris, writers.THREADS, 120, 3, 2, *paths)
        self.paris.start("master")
        self.lyon.start("slave")
        wait_until(lambda: self.lyon.status()["applied"] > 0, "the seed to arrive")
        self.assertTrue(writer.running(), "the seed took longer than the writer")
        writer.end()
        self.assertEqual(self.assert_equal_copies(), 2)

    def test_a_slave_that_comes_late_is_seeded_with_everything(self):
        self.make_pair(ONE)
        self.init_pair()
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 200)
        self.assertGreater(self.paris.status()["queue_updates"], 0)
        self.lyon.start("slave")
        self.assert_equal_copies()

    def test_a_program_that_writes_uncaptured_is_named_and_waited_for(self):
        self.make_pair(ONE)
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], max_dbs=4)
with env.begin(write=True) as txn: txn.put(b"from", b"before")
print("open", flush=True)
sys.stdin.read()
import time
time.sleep(600)
"""
        program = self.background_python(self.paris, source, self.paris.path("zones"), capture=False)
        program.wait_for("open")
        done = self.paris.command("init", "main", "--role", "master")
        self.assertIn(str(program.pid), done.stdout + done.stderr)
        self.lyon.command("init", "main", "--role", "slave")
        self.lyon.start("slave")
        self.paris.start("master")
        self.wait_state(self.paris, ["waiting for capture"])
        self.assertIn(str(program.pid), self.paris.command("status").stdout)
        self.assertFalse(self.lyon.path("zones/data.mdb").exists())
        program.end()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()

    def test_a_copy_that_holds_something_else_is_refused_and_left_alone(self):
        self.make_pair(ONE)
        self.lyon.configure(self.paris, self.groups)
        with lmdb.open(str(self.lyon.path("zones"))) as env, env.begin(write=True) as txn:
            txn.put(b"mine", b"precious")
        self.paris.command("init", "main", "--role", "master")
        done = self.lyon.command("init", "main", "--role", "slave", expect=1)
        self.assertIn(str(self.lyon.path("zones")), done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertEqual(content.count(self.lyon.path("zones")), 1)
        self.lyon.command("init", "main", "--role", "slave", "--replace")
        kept = [path for path in self.lyon.data.glob("zones*") if "replaced" in path.name]
        self.assertEqual(len(kept), 1)
        self.assertEqual(content.count(kept[0]), 1)
        self.lyon.start("slave")
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()

    def test_a_copy_filled_after_init_by_somebody_else_is_refused_and_left_alone(self):
        self.make_pair(ONE)
        self.init_pair()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        with lmdb.open(str(self.lyon.path("zones"))) as env, env.begin(write=True) as txn:
            txn.put(b"mine", b"precious")
        self.lyon.start("slave")
        self.paris.start("master")
        text = wait_until(
            lambda: (lambda t: t if str(self.lyon.path("zones")) in t else None)(
                self.lyon.command("status").stdout + self.lyon.server.log
            ),
            "the refusal to be named",
        )
        self.assertTrue(text)
        with content.reading(self.lyon.path("zones")) as (_, txn):
            self.assertEqual(txn.get(b"mine"), b"precious")
        self.assertTrue(self.lyon.server.running() and self.paris.server.running())

    def test_an_environment_without_items_counts_as_absent(self):
        self.make_pair(ONE)
        with lmdb.open(str(self.lyon.path("zones")), max_dbs=4) as env:
            env.open_db(b"empty")
        self.init_pair()
        self.lyon.start("slave")
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()

    def test_a_copy_has_the_masters_map_size_and_grows_when_the_master_does(self):
        self.start_pair(ONE)
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=8 << 20)
with env.begin(write=True) as txn: txn.put(b"first", b"1")
env.set_mapsize(96 << 20)
for n in range(60):
    with env.begin(write=True) as txn: txn.put(b"%d" % n, b"z" * (1 << 20))
"""
        self.paris.python(source, self.paris.path("zones"))
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("zones")), 61)

    def test_a_seed_cut_short_by_kills_on_either_side_begins_again(self):
        self.make_pair(Group("main", {"zones": "zones", "more": "more"}))
        for relative in ("zones", "more"):
            self.paris.python(FILL, self.paris.path(relative), 60, capture=False)
        self.init_pair()
        writer = self.background_python(self.paris, writers.ENDLESS, self.paris.path("zones"))
        self.paris.start("master")
        for pause in range(4):
            self.lyon.start("slave")
            wait_until(
                lambda: "has called" in self.lyon.server.log, "the master to call the slave"
            )
            wait_until(lambda: self.lyon.path("zones").exists(), "the seed to begin")
            victim, role = ((self.lyon, "slave"), (self.paris, "master"))[pause % 2]
            victim.server.kill()
            if victim is self.lyon:
                self.lyon.server.log_path.unlink()
            else:
                victim.start(role)
                self.lyon.server.stop()
                self.lyon.server.log_path.unlink()
        self.lyon.start("slave")
        wait_until(lambda: self.lyon.status()["applied"] > 0, "the seed to arrive", 60)
        writer.end()
        self.assertEqual(self.assert_equal_copies(), 2)

    def test_a_slave_that_lost_its_state_is_seeded_anew_after_init_replace(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 100)
        self.assert_equal_copies()
        self.lyon.server.stop()
        shutil.rmtree(self.lyon.state)
        for link in self.lyon.data.rglob(".hotbackup"):
            link.unlink()
        self.lyon.command("init", "main", "--role", "slave", expect=1)
        self.lyon.command("init", "main", "--role", "slave", "--replace")
        self.lyon.start("slave")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10, 100)
        self.assert_equal_copies()

    def test_an_environment_added_to_the_configuration_later_is_copied_too(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 20)
        self.wait_applied()
        self.paris.python(FILL, self.paris.path("late"), 3, capture=False)
        both = Group("main", {"zones": "zones", "late": "late"})
        self.groups = (both,)
        for node, role in ((self.lyon, "slave"), (self.paris, "master")):
            peer = self.lyon if node is self.paris else self.paris
            node.configure(peer, self.groups)
            node.command("init", "main", "--role", role)
            self.assertEqual(node.server.stop(), 0)
            node.start(role)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 20, 20)
        self.paris.python(FILL, self.paris.path("late"), 4)
        self.assert_equal_copies()


if __name__ == "__main__":
    unittest.main(verbosity=2)
