# SPDX-License-Identifier: Apache-2.0
"""A slave whose disks are full or fail: nothing acknowledged that is not durable, nothing lost, and
it goes on by itself."""

import re
import unittest

from support import content, writers
from support.fault import Fault
from support.pair import PYTHON, Group, PairTest
from support.waiting import wait_until

ONE = Group("main", {"zones": "zones"})


# Puts a key while writes to the journal fail behind the program's back, then another.
REFUSED_WRITE = """
import lmdb, os, sys
env = lmdb.open(sys.argv[1], map_size=1 << 24)
with env.begin(write=True) as txn: txn.put(b"before", b"1")
open(sys.argv[2], "w").close()
try:
    with env.begin(write=True) as txn: txn.put(b"refused", b"1")
    sys.exit("the commit was not refused")
except lmdb.Error:
    pass
if sys.argv[3] == "go on":
    os.unlink(sys.argv[2])
    with env.begin(write=True) as txn: txn.put(b"after", b"1")
"""


class Faults(PairTest):
    def start_with(self, path, **rules):
        """A pair of which lyon's server meets this fault; some updates are there already."""
        self.make_pair(ONE)
        self.init_pair()
        fault = Fault(self.root, path, **rules)
        self.lyon.start("slave", environment=fault.environment())
        self.paris.start("master")
        self.write(0, 20)
        self.assert_equal_copies()
        return fault

    def write(self, first, count):
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), count, first)

    def wait_incident(self, code):
        def found():
            status = self.lyon.status()
            return status if code in self.codes(status) else None

        return wait_until(found, f"the incident {code} on lyon")

    def wait_no_incident(self, *codes):
        wait_until(
            lambda: not set(codes) & set(self.codes(self.lyon.status())), f"{codes} to be over"
        )

    @staticmethod
    def codes(status):
        return [incident["code"] for incident in status["incidents"]]

    def applied_range(self):
        text = (self.lyon.state / "groups/main/applied").read_text()
        return [int(number) for number in re.findall(r"(?:lower|upper) (\d+)", text)]

    def assert_all_well(self, total):
        """Everything arrives without a restart, and is there after a kill as well."""
        self.assert_equal_copies()
        self.assert_no_gap()
        self.lyon.server.kill()
        self.lyon.start("slave")
        self.write(total, 5)
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("zones")), total + 5)

    def assert_stands_still(self, fault, code):
        """While the journal's disk fails nothing is acknowledged, and the master's writers go on."""
        before = self.paris.status()["journaled"]
        fault.on()
        self.write(20, 30)
        status = self.wait_incident(code)
        self.assertFalse(status["good"])
        self.assertEqual(self.paris.status()["journaled"], before)
        hits = fault.hits()
        wait_until(lambda: fault.hits() > hits, "the link to be tried again")
        self.assertEqual(self.paris.status()["journaled"], before)
        text = wait_until(
            lambda: self.paris.status()["peers"][0]["text"], "the master to be told why"
        )
        self.assertIn("lyon refuses", text)
        fault.off()
        self.assert_all_well(50)

    def test_a_journal_that_cannot_be_synced_acknowledges_nothing_until_it_can(self):
        fault = self.start_with("/journal/", sync="EIO")
        self.assert_stands_still(fault, "HB-journal-sync-failed")

    def test_a_journal_that_cannot_be_written_acknowledges_nothing_until_it_can(self):
        fault = self.start_with("/journal/", write="EIO")
        self.assert_stands_still(fault, "HB-journal-sync-failed")

    def test_a_journal_goes_on_in_a_new_segment_after_one_that_cannot_be_synced(self):
        self.start_pair(ONE)
        self.write(0, 20)
        self.assert_equal_copies()
        (segment,) = self.lyon.journal_segments()
        self.lyon.server.stop()
        fault = Fault(self.root, segment.name, sync="EIO")
        self.lyon.start("slave", environment=fault.environment())
        fault.on()
        self.write(20, 30)
        self.assert_equal_copies()
        self.assertGreater(fault.hits(), 0)
        self.assertEqual(len(self.lyon.journal_segments()), 2)
        self.wait_incident("HB-journal-sync-failed")
        self.assert_all_well(50)

    def test_a_full_disk_of_the_journal_is_waited_for(self):
        fault = self.start_with("/journal/", write="ENOSPC", allocate="ENOSPC")
        self.assert_stands_still(fault, "HB-disk-full")
        self.wait_no_incident("HB-disk-full")

    def test_a_slave_killed_while_its_journal_cannot_be_synced_goes_on_when_it_can(self):
        fault = self.start_with("/journal/", sync="EIO")
        before = self.paris.status()["journaled"]
        fault.on()
        self.write(20, 30)
        self.wait_incident("HB-journal-sync-failed")
        self.lyon.server.kill()
        self.lyon.start("slave", environment=fault.environment())
        hits = fault.hits()
        wait_until(lambda: fault.hits() > hits, "the link to be tried again")
        self.assertEqual(self.paris.status()["journaled"], before)
        fault.off()
        self.assert_all_well(50)

    def test_incidents_of_a_slave_that_was_killed_in_trouble_do_not_outlive_the_trouble(self):
        fault = self.start_with("/zones/data.mdb", msync="EIO", sync="EIO")
        fault.on()
        self.write(20, 10)
        self.wait_incident("HB-copy-failed")
        self.lyon.server.kill()
        fault.off()
        full = Fault(self.root, "/journal/", write="ENOSPC", allocate="ENOSPC")
        full.on()
        self.lyon.start("slave", environment=full.environment())
        self.write(30, 10)
        self.wait_incident("HB-disk-full")
        self.lyon.server.kill()
        self.lyon.start("slave")
        self.write(40, 10)
        self.assert_equal_copies()
        self.wait_no_incident("HB-copy-failed", "HB-disk-full")

    def assert_applying_waits(self, fault, code, first=20, count=30):
        """While the copy's disk fails, applying waits and receiving goes on."""
        applied = self.lyon.status()["applied"]
        lower = self.applied_range()[0]
        fault.on()
        self.write(first, count)
        status = self.wait_incident(code)
        self.assertFalse(status["good"])
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        self.assertEqual(self.lyon.status()["applied"], applied)
        self.assertEqual(self.applied_range()[0], lower)
        self.assertEqual(self.lyon.status()["applying"], "running")
        fault.off()
        self.assert_equal_copies()
        self.wait_no_incident(code)
        self.lyon.command("status", "--check")
        self.assert_all_well(first + count)

    def test_a_copy_that_cannot_be_synced_is_not_believed_and_done_again(self):
        fault = self.start_with("/zones/data.mdb", msync="EIO", sync="EIO")
        self.assert_applying_waits(fault, "HB-copy-failed")

    def test_a_full_disk_of_a_copy_is_waited_for(self):
        fault = self.start_with("/zones/data.mdb", allocate="ENOSPC")
        fault.on()
        big = """
import lmdb, sys
with lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=8) as env:
    items = env.open_db(b"items")
    with env.begin(write=True) as txn:
        for number in range(20, 60):
            txn.put(b"%08d" % number, b"x" * 200_000, db=items)
"""
        self.paris.python(big, self.paris.path("zones"))
        self.wait_incident("HB-no-space")
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        fault.off()
        self.assert_all_well(60)
        self.wait_no_incident("HB-no-space")

    def test_the_file_applied_that_cannot_be_written_does_not_move(self):
        fault = self.start_with("/applied.new", write="ENOSPC", create="EIO")
        lower, upper = self.applied_range()
        fault.on()
        self.write(20, upper - lower + 100)
        self.wait_incident("HB-copy-failed")
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "30 s")
        self.assertEqual(self.applied_range(), [lower, upper])
        self.assertLessEqual(self.lyon.status()["applied"], upper)
        fault.off()
        self.assert_all_well(20 + upper - lower + 100)

    def refuse_a_write(self, then):
        """A commit whose write to the journal fails although it happened, and a reboot."""
        self.make_pair(ONE)
        self.paris.command("init", "main", "--role", "master")
        fault = Fault(self.root, "/journal/", written="EIO")
        more = fault.environment()
        shell = 'LD_PRELOAD="$LD_PRELOAD $1" HOTBACKUP_TEST_FAULT="$2"; shift 2; exec "$@"'
        words = ["sh", "-ac", shell, "sh", more["LD_PRELOAD"], more["HOTBACKUP_TEST_FAULT"]]
        zones = self.paris.path("zones")
        self.paris.run([*words, PYTHON, "-c", REFUSED_WRITE, zones, fault.trigger, then])
        self.assertGreater(fault.hits(), 0)
        (self.paris.state / "groups/main/control").unlink()  # as a reboot does
        self.paris.command("recover", "main")
        with content.reading(zones) as (_, txn):
            self.assertIsNotNone(txn.get(b"before"))
            self.assertIsNone(txn.get(b"refused"))

    def test_a_commit_refused_for_a_failed_write_stays_refused_after_a_reboot(self):
        self.refuse_a_write("stop")

    def test_a_commit_refused_for_a_failed_write_stays_refused_behind_a_later_one(self):
        self.refuse_a_write("go on")


if __name__ == "__main__":
    unittest.main(verbosity=2)
