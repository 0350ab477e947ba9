# SPDX-License-Identifier: Apache-2.0
"""How long the journal stays: claims of slaves, limits, the archive, history that is gone."""

import os
import re
import stat
import unittest

from support import content, writers
from support.pair import Group, PairTest
from support.waiting import wait_until

LINES = """
segment_size = "1 MB"
keep_journal = "off"
check_period = "100 ms"
"""

# argv: path, transactions, first number, bytes each. Prints how many were committed, and the error.
BULK = """
import lmdb, sys
path, many, first, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
env = lmdb.open(path, map_size=1 << 30, max_dbs=8)
done = 0
try:
    for number in range(first, first + many):
        with env.begin(write=True) as txn:
            txn.put(b"%08d" % number, b"%d" % number * (size // len(b"%d" % number)))
        done += 1
except lmdb.Error as error:
    print(done, error)
else:
    print(done)
"""


def group(extra=""):
    return Group("main", {"zones": "zones"}, options=LINES + extra)


class Retention(PairTest):
    def write(self, many, first=0, size=10_000):
        done = self.paris.python(BULK, self.paris.path("zones"), many, first, size)
        return done.stdout.strip()

    def journal(self):
        return self.paris.status()["journal"]

    def peer(self):
        return self.paris.status()["peers"][0]

    def incident(self, code, node=None):
        node = node or self.paris
        return next((i for i in node.status()["incidents"] if i["code"] == code), None)

    def wait_incident(self, code, node=None, seconds=30):
        return wait_until(lambda: self.incident(code, node), f"incident {code}", seconds)

    def wait_no_incident(self, code, node=None, seconds=30):
        wait_until(lambda: not self.incident(code, node), f"incident {code} to be cleared", seconds)

    def start_equal(self, extra=""):
        self.start_pair(group(extra))
        self.write(5)
        self.assert_equal_copies()
        self.wait_state(self.paris, ["idle"])

    def test_segments_go_when_the_slave_has_them_and_stay_while_it_is_away(self):
        self.start_equal()
        self.write(400, 5)
        self.assert_equal_copies()
        wait_until(lambda: self.journal()["segments"] == 1, "acknowledged segments to go")
        self.lyon.server.stop()
        self.write(400, 405)
        status = self.paris.status()
        pins = self.peer()["pins"]
        # Over a kill of the master server and what it knew in memory too.
        self.paris.server.kill()
        self.paris.start("master")
        self.write(200, 805)
        journal = self.journal()
        self.assertGreaterEqual(journal["segments"], 5)
        self.assertLessEqual(journal["first"], pins + 1)
        self.assertIn("slave lyon", journal["kept_for"])
        self.assertIn("kept for slave lyon", self.paris.command("status").stdout)
        seeds = self.paris.server.log.count("seeding")
        self.lyon.start("slave")
        self.assert_equal_copies()
        self.assertEqual(self.paris.server.log.count("seeding"), seeds)
        wait_until(lambda: self.journal()["segments"] == 1, "the queue to go")
        self.assertGreaterEqual(status["journal"]["segments"], 3)

    def test_at_the_limit_the_slave_that_is_away_is_forgotten_and_seeded_when_it_returns(self):
        self.start_equal('journal_limit = "4 MB"\nat_journal_limit = "forget slave"\n')
        self.lyon.server.stop()
        self.write(800, 5)
        incident = self.wait_incident("HB-slave-forgotten")
        self.assertIn("lyon", incident["text"])
        wait_until(lambda: self.journal()["bytes"] <= 4 << 20, "the journal to shrink")
        self.assertTrue(self.peer()["needs_seed"])
        self.assertIsNone(self.peer()["pins"])
        self.assertIn("needs a seed", self.paris.command("status").stdout)
        before = self.lyon.path("zones/data.mdb").stat().st_ino
        seeds = self.paris.server.log.count("seeding")
        self.lyon.start("slave")
        self.assert_equal_copies()
        self.assertEqual(self.paris.server.log.count("seeding"), seeds + 1)
        # Filled through LMDB: a program that reads there goes on.
        self.assertEqual(self.lyon.path("zones/data.mdb").stat().st_ino, before)
        self.wait_no_incident("HB-slave-forgotten")
        self.write(50, 900)
        self.assert_equal_copies()

    def test_at_the_limit_commits_are_refused_until_the_slave_is_back(self):
        self.start_equal('journal_limit = "3 MB"\nat_journal_limit = "refuse"\n')
        self.lyon.server.stop()
        done, error = self.write(1000, 5).split(" ", 1)
        self.assertIn("No space left", error)
        self.assertLess(int(done), 400)
        self.assertLessEqual(self.journal()["bytes"], 3 << 20)
        incident = self.wait_incident("HB-journal-limit")
        self.assertIn("slave lyon", incident["text"])
        # The same without a master server, which then says so itself.
        self.paris.server.stop()
        self.assertEqual(self.write(3, 2000, 1_500_000).split()[0], "0")
        self.assertIn("no hotbackup-master", self.incident("HB-journal-limit")["text"])
        self.paris.start("master")
        # What was refused is nowhere; what was not is in the copy.
        self.lyon.start("slave")
        self.wait_no_incident("HB-journal-limit")
        self.assertEqual(self.write(20, 1005), "20")
        self.assert_equal_copies()
        self.assertEqual(content.count(self.paris.path("zones")), 5 + int(done) + 20)

    def test_at_the_limit_an_alarm_changes_nothing(self):
        self.start_equal('journal_limit = "3 MB"\nat_journal_limit = "alarm"\n')
        self.lyon.server.stop()
        self.assertEqual(self.write(600, 5), "600")
        incident = self.wait_incident("HB-journal-limit")
        self.assertIn("slave lyon", incident["text"])
        self.assertGreater(self.journal()["bytes"], 3 << 20)
        seeds = self.paris.server.log.count("seeding")
        self.lyon.start("slave")
        self.assert_equal_copies()
        self.assertEqual(self.paris.server.log.count("seeding"), seeds)
        self.wait_no_incident("HB-journal-limit")

    def test_forget_releases_a_dead_slave_which_is_seeded_when_it_comes_back(self):
        self.start_equal()
        done = self.paris.command("forget", "main", "lyon", expect=3)
        self.assertIn("stop hotbackup-slave there first", done.stderr)
        self.paris.command("forget", "main", "nobody", expect=2)
        self.lyon.command("forget", "main", "paris", expect=3)
        self.lyon.server.stop()
        self.write(400, 5)
        self.assertGreater(self.journal()["segments"], 3)
        answer = self.paris.json("forget", "main", "lyon")
        self.assertTrue(answer["released"])
        wait_until(lambda: self.journal()["segments"] == 1, "the released segments to go")
        # The mark survives the servers' ends.
        self.paris.server.kill()
        self.paris.start("master")
        self.assertTrue(self.peer()["needs_seed"])
        self.assertFalse(self.paris.json("forget", "main", "lyon")["released"])
        seeds = self.paris.server.log.count("seeding")
        self.lyon.start("slave")
        self.assert_equal_copies()
        self.assertEqual(self.paris.server.log.count("seeding"), seeds + 1)
        self.assertFalse(self.peer()["needs_seed"])

    def test_a_slave_whose_history_is_gone_is_refused_with_the_command_that_helps(self):
        self.start_equal()
        self.lyon.server.stop()
        self.write(400, 5)
        # The record of claims is lost and so is the history: nobody can know what the copy is.
        self.paris.server.stop()
        (self.paris.state / "groups/main/retention").unlink()
        for segment in self.paris.journal_segments()[:-1]:
            segment.unlink()
        self.paris.start("master")
        before = content.contents(self.lyon.path("zones"))
        self.lyon.start("slave")
        incident = self.wait_incident("HB-slave-needs-seed")
        command = "hotbackup init main --role slave --replace"
        self.assertIn(command, incident["text"])
        self.assertIn(command, self.paris.command("status").stdout)
        self.assertEqual(content.contents(self.lyon.path("zones")), before)
        self.lyon.command(*command.split()[1:])
        self.assert_equal_copies()
        kept = [path for path in self.lyon.data.glob("zones.replaced-*")]
        self.assertEqual(len(kept), 1)
        self.assertEqual(content.contents(kept[0]), before)
        self.wait_no_incident("HB-slave-needs-seed")

    def test_a_seed_over_a_forgotten_copy_that_is_cut_short_begins_again(self):
        self.start_equal()
        self.lyon.server.stop()
        self.write(400, 5)
        self.paris.command("forget", "main", "lyon")
        wait_until(lambda: self.journal()["segments"] == 1, "the released segments to go")
        writer = self.background_python(self.paris, writers.ENDLESS, self.paris.path("zones"))
        for kill in ("slave", "master", "slave", "master"):
            self.lyon.start("slave")
            wait_until(lambda: "has called" in self.lyon.server.log, "the call")
            if kill == "slave":
                self.lyon.server.kill()
            else:
                self.paris.server.kill()
                self.lyon.server.kill()
                self.paris.start("master")
            self.lyon.server.log_path.unlink()
        self.lyon.start("slave")
        writer.end()
        self.assert_equal_copies()

    def script(self, text):
        path = self.root / "archive.sh"
        path.write_text('#!/bin/sh\n[ "$HOTBACKUP_NODE" = paris ] || exit 0\n' + text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def archived(self):
        return sorted(path.name for path in (self.root / "archive").glob("*.hbj"))

    def test_no_segment_goes_before_the_archive_command_took_it(self):
        (self.root / "archive").mkdir()
        script = self.script(f"""
echo "$1" >> {self.root}/tries
test -e {self.root}/works || {{ echo "the tape is full" >&2; exit 1; }}
test -z "$NOTIFY_SOCKET" || exit 2
cp "$1" {self.root}/archive/"$2".part && mv {self.root}/archive/"$2".part {self.root}/archive/"$2"
""")
        self.start_equal(f"archive = '{script} %p %f'\n")
        self.write(400, 5)
        self.assert_equal_copies()
        incident = self.wait_incident("HB-archive-failed")
        self.assertIn("the tape is full", incident["text"])
        self.assertEqual(self.journal()["first"], 1)
        self.assertIn("archive command", self.journal()["kept_for"])
        tries = lambda: (self.root / "tries").read_text().split()  # noqa: E731
        wait_until(lambda: len(tries()) >= 3, "the command to be tried again")
        self.assertEqual(len(set(tries())), 1, "one segment at a time, oldest first")
        (self.root / "works").touch()
        self.wait_no_incident("HB-archive-failed", seconds=60)
        wait_until(lambda: self.journal()["segments"] == 1, "archived segments to go", 60)
        first = self.journal()["first"]
        numbers = [int(name.split(".")[0]) for name in self.archived()]
        self.assertEqual(numbers[0], 1)
        self.assertEqual(self.journal()["archived"], first - 1)
        self.assertNotIn(first, numbers, "the active segment is not archived")

    def test_a_master_server_killed_in_the_middle_of_archiving_skips_nothing(self):
        (self.root / "archive").mkdir()
        script = self.script(f"""
echo "$2" >> {self.root}/tries
while test -e {self.root}/slow; do sleep 0.05; done
cp "$1" {self.root}/archive/"$2"
""")
        (self.root / "slow").touch()
        self.start_equal(f"archive = '{script} %p %f'\n")
        names = set()
        for turn in range(4):
            self.write(150, 5 + turn * 150)
            wait_until((self.root / "tries").exists, "the command to run")
            names |= {path.name for path in self.paris.journal_segments()}
            self.paris.server.kill()
            if turn == 2:
                (self.root / "slow").unlink()
            self.paris.start("master")
            names |= {path.name for path in self.paris.journal_segments()}
        wait_until(lambda: self.journal()["segments"] == 1, "archived segments to go", 60)
        active = {path.name for path in self.paris.journal_segments()}
        self.assertEqual(set(self.archived()), names - active)
        self.assert_equal_copies()

    def test_a_stopped_server_ends_its_archive_command_and_goes_at_once(self):
        script = self.script(f"echo $$ > {self.root}/pid; sleep 600\n")
        self.start_equal(f"archive = '{script} %p'\n")
        self.write(200, 5)
        pid = wait_until(
            lambda: (self.root / "pid").exists() and (self.root / "pid").read_text().strip(), "the command"
        )
        self.assertEqual(self.paris.server.stop(10), 0)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the command to be gone")

    def test_the_slaves_own_journal_keeps_to_its_limit_too(self):
        self.start_equal('journal_limit = "3 MB"\nat_journal_limit = "refuse"\n')
        self.write(1500, 5)
        self.assert_equal_copies()
        for node in (self.paris, self.lyon):
            self.assertLessEqual(node.status()["journal"]["bytes"], 3 << 20)
        self.wait_no_incident("HB-journal-limit", self.lyon)
        self.assertRegex(self.lyon.command("status").stdout, re.compile(r"journal +from update"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
