# SPDX-License-Identifier: Apache-2.0
"""A planned change of roles under load: nothing is lost, no commit fails, writers wait a moment."""

import time
import unittest

from support.pair import Group
from support.roles import COUNTING, PUT, RolesTest
from support.waiting import wait_until

TWO = Group("main", {"zones": "zones", "users": "users"})

# One transaction of a second, again and again, until it is refused at its first change.
LONG = r"""
import lmdb, sys, time
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=4)
number = 0
while True:
    with env.begin(write=True) as txn:
        try:
            txn.put(b"long-%08d" % (number + 1), b"x" * 20)
            print(*sys.argv[3:], end="\n" if sys.argv[3:] else "", flush=True)
        except lmdb.Error as error:
            print("refused at", number + 1, type(error).__name__, error, flush=True)
            break
        time.sleep(float(sys.argv[2]))
    number += 1
    print(number, flush=True)
"""

# Writes in two environments at once: begins both, changes both, commits both.
BOTH = """
import lmdb, sys
one = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=4)
two = lmdb.open(sys.argv[2], map_size=1 << 28, max_dbs=4)
number = 0
while True:
    with one.begin(write=True) as first:
        try:
            first.put(b"both-%08d" % (number + 1), b"x" * 20)
        except lmdb.Error as error:
            print("refused at", number + 1, type(error).__name__, error, flush=True)
            break
        with two.begin(write=True) as second:
            second.put(b"both-%08d" % (number + 1), b"x" * 20)
    number += 1
    print(number, flush=True)
"""


def committed(writer):
    lines = [line for line in writer.log.split("\n") if line.isdigit()]
    return int(lines[-1]) if lines else 0


class Switch(RolesTest):
    def assert_refused(self, writer):
        wait_until(lambda: "refused at" in writer.log, "a writer to be refused")
        self.assertIn("Permission denied", writer.log, writer.log[-500:])

    def test_writers_wait_and_nothing_is_lost(self):
        self.start_all("paris", "lyon", group=TWO)
        zones, users = self.paris.path("zones"), self.paris.path("users")
        for path in (zones, users):
            self.paris.python(PUT, path, "first")
        writers = [
            self.background_python(self.paris, COUNTING, zones, "one"),
            self.background_python(self.paris, LONG, users, "0.05"),
            self.background_python(self.paris, BOTH, zones, users),
        ]
        wait_until(lambda: all(committed(writer) > 20 for writer in writers), "all writers to write")
        answer = self.paris.json("switch", "main", "--to", "lyon")
        print(f"switch under load: pause {answer['pause_ms']:.0f} ms;", answer["steps"])
        self.assertEqual(answer["lost"], "nothing")
        self.assertLess(answer["pause_ms"], 1000)
        for writer in writers:
            self.assert_refused(writer)
        counts = [committed(writer) for writer in writers]
        in_zones = self.keys(self.lyon, self.lyon.path("zones"))
        in_users = self.keys(self.lyon, self.lyon.path("users"))
        self.assertEqual(sum(key.startswith("one-") for key in in_zones), counts[0])
        self.assertEqual(sum(key.startswith("long-") for key in in_users), counts[1])
        self.assertEqual(sum(key.startswith("both-") for key in in_zones), counts[2])
        self.assertEqual(sum(key.startswith("both-") for key in in_users), counts[2])
        self.lyon.python(PUT, self.lyon.path("zones"), "after")
        self.wait_role(self.paris, "slave")
        self.lyon.command("wait", "--for", "applied", "--timeout", "20 s")
        self.assertIn("after", self.keys(self.paris, zones))
        self.wait_good(self.lyon)
        self.wait_good(self.paris)

    def test_there_and_back_from_the_side_that_takes_over(self):
        self.start_all("paris", "lyon", group=TWO)
        self.paris.python(PUT, self.paris.path("zones"), "a")
        there = self.lyon.json("switch", "--to", "lyon")
        self.lyon.python(PUT, self.lyon.path("zones"), "b")
        self.wait_good(self.lyon)
        back = self.paris.json("switch", "--to", "paris", "--compare")
        print(f"switch of idle nodes: pause {there['pause_ms']:.0f} ms, with contents {back['pause_ms']:.0f} ms")
        self.paris.python(PUT, self.paris.path("zones"), "c")
        self.wait_good(self.paris)
        self.paris.command("wait", "--for", "applied")
        self.assertEqual(self.keys(self.lyon, self.lyon.path("zones")), ["a", "b", "c"])
        self.assertEqual(self.paris.status()["epoch"], 3)

    def test_what_fails_is_undone_and_writers_go_on(self):
        self.start_all("paris", "lyon", group=TWO, options='before_promote = "exit 3"')
        self.paris.python(PUT, self.paris.path("zones"), "a")
        hook = self.paris.command("switch", "--to", "lyon", expect=3)
        self.assertIn("before_promote", hook.stderr)
        self.paris.python(PUT, self.paris.path("zones"), "b")
        self.assertEqual(self.paris.status()["role"], "master")
        self.lyon.command("pause")
        self.assertIn("hotbackup resume", self.paris.command("switch", "--to", "lyon", expect=3).stderr)
        self.assertEqual(self.lyon.status()["role"], "slave")

    def hold_a_transaction(self):
        endless = self.background_python(self.paris, LONG, self.paris.path("users"), "600", "begun")
        wait_until(lambda: "begun" in endless.log, "the transaction to begin")
        writer = self.background_python(self.paris, COUNTING, self.paris.path("zones"), "one", "0.01")
        wait_until(lambda: committed(writer) > 10, "the writer to write")
        return endless, writer

    def goes_on(self, writer):
        before = committed(writer)
        wait_until(lambda: committed(writer) > before + 10, "the writer to go on by itself", 10)

    def test_a_transaction_that_does_not_end_undoes_the_switch_and_writers_go_on(self):
        self.start_all("paris", "lyon", group=TWO)
        endless, writer = self.hold_a_transaction()
        failed = self.paris.command("switch", "--to", "lyon", expect=5)
        self.assertIn("write transaction", failed.stderr)
        self.goes_on(writer)
        self.assertEqual(self.paris.status()["role"], "master")
        endless.end()
        writer.end()

    def test_a_switch_whose_command_is_killed_leaves_the_master_as_it_was(self):
        self.start_all("paris", "lyon", group=TWO)
        endless, writer = self.hold_a_transaction()
        command = [self.paris.programs.hotbackup, "switch", "--to", "lyon"]
        switch = self.background(self.paris, command, capture=False)
        seen = [committed(writer), time.monotonic()]

        def waits():
            if committed(writer) != seen[0]:
                seen[:] = [committed(writer), time.monotonic()]
            return time.monotonic() - seen[1] > 0.3

        wait_until(waits, "the writer to wait at the gate")
        switch.process.kill()
        switch.wait()
        self.goes_on(writer)
        endless.end()
        writer.end()
        self.assertEqual(self.paris.json("switch", "--to", "lyon")["lost"], "nothing")


if __name__ == "__main__":
    unittest.main()
