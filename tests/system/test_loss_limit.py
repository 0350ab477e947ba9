# SPDX-License-Identifier: Apache-2.0
"""The loss limit with real servers: a frozen slave, and a master machine that dies."""

import array
import random
import re
import signal
import subprocess
import time
import unittest

from support.pair import Group, PairTest
from support.places import find
from support.waiting import LONG, wait_until

ENVIRONMENTS = {"one": "one", "two": "two"}


ONE = {"one": "one"}


class LossLimit(PairTest):
    def begin(self, options, environments=ENVIRONMENTS):
        self.start_pair(Group("main", environments, options=options))
        self.program = find("limit_program")
        self.records = []
        for name in environments:
            self.paris.path(name).mkdir()
        self.paris.command("init", "main", "--role", "master")  # places the links in them

    def writer(self, environment):
        record = self.root / f"record-{len(self.records)}"
        self.records.append(record)
        return self.background(
            self.paris, [self.program, "write", self.paris.path(environment), record]
        )

    def told(self):
        """Every update number that a writer was told of."""
        numbers = []
        for record in self.records:
            if not record.exists() or record.stat().st_size == 0:
                continue
            with open(record, "rb") as file:
                count = array.array("Q", file.read(8))[0]
                numbers += array.array("Q", file.read(8 * count))
        return numbers

    def wait_for_more(self, count):
        before = len(self.told())
        wait_until(lambda: len(self.told()) >= before + count, f"{count} more commits", 60)

    def frozen_slave(self, options, limit, rounds=3):
        """Writers against a slave that is stopped and goes on again; returns the most exposed."""
        self.begin(options)
        writers = [self.writer(name) for name in ("one", "one", "two", "two")]
        self.wait_for_more(50)
        watcher = subprocess.Popen(
            [self.program, "watch", self.paris.state / "groups" / "main", *self.records],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.at_end(watcher.kill)
        for _ in range(rounds * (10 if LONG else 1)):
            self.wait_for_more(100)
            self.lyon.server.process.send_signal(signal.SIGSTOP)
            wait_until(
                lambda: self.paris.status()["exposure_updates"] >= limit * 0.9, "the limit to be reached", 60
            )
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                self.assertLessEqual(self.paris.status()["exposure_updates"], limit)
            frozen = len(self.told())
            self.assertLessEqual(len(self.told()) - frozen, limit)
            self.lyon.server.process.send_signal(signal.SIGCONT)
        for writer in writers:
            self.assertTrue(writer.running(), writer.log[-500:])
        out, _ = watcher.communicate("")
        most, samples = map(int, re.fullmatch(r"most (\d+) samples (\d+)\n", out).groups())
        for writer in writers:
            writer.end()
        self.assertGreater(samples, 10_000)
        self.assertGreaterEqual(most, limit * 0.9)
        self.assertLessEqual(most, limit)
        self.assert_equal_copies()
        print(f"{options!r}: most {most} exposed in {samples} samples, {len(self.told())} commits")

    def test_with_a_frozen_slave_never_more_than_the_limit_is_exposed_when_it_refuses(self):
        self.frozen_slave('loss_limit = "100 updates"\nat_limit = "refuse"', 100)

    def test_with_a_frozen_slave_never_more_than_the_limit_is_exposed_when_it_waits(self):
        self.frozen_slave('loss_limit = "100 updates"\nat_limit = "wait"\nwait_max = "off"', 100)

    def test_with_limit_0_a_killed_master_machine_loses_nothing_that_a_caller_was_told_of(self):
        self.begin('loss_limit = "0"\nwait_max = "off"')
        rnd = random.Random(3)
        for number in range(100 if LONG else 6):
            writers = [self.writer(name) for name in ("one", "one", "two", "two")]
            self.wait_for_more(rnd.randrange(1, 60))
            if number % 3 == 1:  # the slave's death is no loss either
                self.lyon.server.kill()
                self.lyon.start("slave")
                self.wait_for_more(rnd.randrange(1, 20))
            ends = [*[writer.process for writer in writers], self.paris.server.process]
            rnd.shuffle(ends)
            for process in ends:
                process.kill()
            for process in ends:
                process.wait()
            self.paris.server.kill()
            told = self.told()
            has = self.lyon.status()["journaled"]
            self.assertEqual(len(told), len(set(told)))
            self.assertGreaterEqual(has, max(told))
            if number % 3 == 2:
                listed = self.lyon.json("log", "main", seconds=300)["updates"]
                there = {entry["number"] for entry in listed if not entry.get("void")}
                first = min(entry["number"] for entry in listed)
                self.assertEqual({n for n in told if n >= first} - there, set())
            self.paris.start("master")
        self.assert_equal_copies()
        print(f"{len(self.told())} commits told, none lost")

    def test_limit_0_without_a_master_server_waits_and_then_says_so(self):
        self.begin('loss_limit = "0"\nwait_max = "700 ms"')
        self.paris.server.kill()
        begun = time.monotonic()
        self.paris.python(
            "import lmdb,sys\nwith lmdb.open(sys.argv[1]).begin(write=True) as t: t.put(b'k', b'v')",
            self.paris.path("one"),
        )
        self.assertGreaterEqual(time.monotonic() - begun, 0.7)
        status = self.paris.status()
        self.assertTrue(status["limit_passed"], status)
        self.assertIn("HB-loss-limit", [incident["code"] for incident in status["incidents"]])
        self.assertFalse(status["good"])
        self.paris.start("master")
        wait_until(lambda: not self.paris.status()["incidents"], "the incident to be cleared")
        self.assertFalse(self.paris.status()["limit_passed"])

    def test_a_limit_that_is_changed_holds_for_running_programs_after_a_reload(self):
        self.begin('loss_limit = "off"', ONE)
        writer = self.writer("one")
        self.wait_for_more(20)
        self.lyon.server.process.send_signal(signal.SIGSTOP)
        self.wait_for_more(20)
        text = self.paris.config.read_text().replace(
            'loss_limit = "off"', 'loss_limit = "0"\nat_limit = "refuse"\nwait_max = "100 ms"'
        )
        self.paris.config.write_text(text)
        self.paris.server.process.send_signal(signal.SIGHUP)
        status = wait_until(
            lambda: (lambda s: s if s["limit_refuses"] else None)(self.paris.status()), "refusals"
        )
        self.assertEqual(status["loss_limit"], "0")
        self.assertIn("commits are refused (loss limit 0)", status["verdict"])
        count = len(self.told())
        self.lyon.server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: len(self.told()) > count + 20, "commits to go on", 60)
        wait_until(lambda: not self.paris.status()["limit_passed"], "the limit to hold again")
        writer.end()
        self.assert_equal_copies()

    def test_an_alarm_of_time_is_raised_while_nobody_commits_and_cleared(self):
        self.begin('loss_limit = "300 ms"', ONE)
        writer = self.writer("one")
        self.wait_for_more(10)
        self.lyon.server.process.send_signal(signal.SIGSTOP)
        self.wait_for_more(10)
        writer.end()
        codes = lambda: [incident["code"] for incident in self.paris.status()["incidents"]]
        wait_until(lambda: "HB-loss-limit" in codes(), "the alarm")
        self.lyon.server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "HB-loss-limit" not in codes(), "the alarm to be cleared", 60)
        self.assert_equal_copies()


if __name__ == "__main__":
    unittest.main(verbosity=2)
