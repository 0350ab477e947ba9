# SPDX-License-Identifier: Apache-2.0
"""Servers that are killed, stopped and started again in the middle of writes."""

import json
import re
import signal
import unittest

from support import writers
from support.pair import Group, PairTest
from support.waiting import wait_until

ONE = Group("main", {"zones": "zones"})


class Restart(PairTest):
    def written(self, writer):
        numbers = writer.log.split()
        return int(numbers[-1]) if numbers and numbers[-1].isdigit() else 0

    def start_writing(self):
        writer = self.background_python(self.paris, writers.ENDLESS, self.paris.path("zones"))
        wait_until(lambda: self.written(writer) > 200, "the writer to write")
        return writer

    def let_it_write(self, writer, more=300):
        before = self.written(writer)
        wait_until(lambda: self.written(writer) > before + more, "the writer to go on")
        self.assertTrue(writer.running(), writer.log[-2000:])

    def test_a_slave_killed_in_the_middle_of_writes_catches_up(self):
        self.start_pair(ONE)
        writer = self.start_writing()
        for _ in range(5):
            self.lyon.server.kill()
            self.let_it_write(writer)
            self.lyon.start("slave")
            self.let_it_write(writer)
        writer.end()
        self.assert_equal_copies()
        self.assert_no_gap()

    def test_a_master_server_killed_in_the_middle_of_writes_goes_on_where_it_was(self):
        self.start_pair(ONE)
        writer = self.start_writing()
        for _ in range(5):
            self.paris.server.kill()
            self.let_it_write(writer)
            self.paris.start("master")
            self.let_it_write(writer)
        writer.end()
        self.assert_equal_copies()
        self.assert_no_gap()

    def test_both_servers_killed_together_lose_nothing(self):
        self.start_pair(ONE)
        writer = self.start_writing()
        for _ in range(3):
            self.paris.server.kill()
            self.lyon.server.kill()
            self.let_it_write(writer)
            self.paris.start("master")
            self.lyon.start("slave")
            self.let_it_write(writer)
        writer.end()
        self.assert_equal_copies()
        self.assert_no_gap()

    def test_writers_killed_in_the_middle_of_commits_leave_equal_copies(self):
        self.start_pair(ONE)
        for _ in range(12):
            writer = self.start_writing()
            self.let_it_write(writer, 50)
            writer.process.send_signal(signal.SIGKILL)
            writer.wait()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5, 90_000)
        self.assert_equal_copies()

    def test_what_a_killed_writer_left_open_is_settled_without_another_writer(self):
        self.start_pair(ONE)
        for signal_number in (signal.SIGTERM, signal.SIGKILL) * 4:
            writer = self.start_writing()
            writer.process.send_signal(signal_number)
            writer.wait()
            self.assert_equal_copies()

    def test_writers_of_two_environments_killed_at_random_leave_equal_copies(self):
        self.start_pair(Group("main", {"one": "one", "two": "two"}))
        survivor = self.background_python(self.paris, writers.ENDLESS, self.paris.path("two"))
        for _ in range(15):
            writer = self.background_python(self.paris, writers.ENDLESS, self.paris.path("one"))
            wait_until(lambda w=writer: self.written(w) > 20, "the writer to write")
            writer.process.send_signal(signal.SIGKILL)
            writer.wait()
        self.assertTrue(survivor.running(), survivor.log[-1000:])
        survivor.end()
        self.assert_equal_copies()
        self.assert_no_gap()

    def test_a_reader_of_the_copy_never_sees_time_go_back_while_the_slave_is_killed(self):
        self.start_pair(ONE)
        counter = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28)
with env.begin(write=True) as txn: number = int(txn.get(b"number", b"0"))
while True:
    number += 1
    with env.begin(write=True) as txn:
        txn.put(b"number", b"%d" % number)
        txn.put(b"twin", b"%d" % number)
    print(number, flush=True)
"""
        reader_source = """
import lmdb, sys, time
env = lmdb.open(sys.argv[1], readonly=True, create=False)
last = 0
while True:
    try:
        with env.begin() as txn:
            number, twin = int(txn.get(b"number", b"0")), int(txn.get(b"twin", b"0"))
    except lmdb.MapResizedError:
        env.set_mapsize(0)
        continue
    if number != twin or number < last:
        sys.exit(f"saw {number} and {twin} after {last}")
    last = number
    print(number, flush=True)
    time.sleep(0.0005)
"""
        writer = self.background_python(self.paris, counter, self.paris.path("zones"))
        wait_until(lambda: self.lyon.path("zones/data.mdb").exists(), "the copy to appear")
        self.wait_applied()
        reader = self.background_python(self.lyon, reader_source, self.lyon.path("zones"))
        for _ in range(8):
            self.let_it_write(writer, 100)
            self.lyon.server.kill()
            self.let_it_write(writer, 20)
            self.lyon.start("slave")
            seen = self.written(reader)
            wait_until(
                lambda seen=seen: self.written(reader) > seen or not reader.running(), "reader to go on"
            )
            self.assertTrue(reader.running(), reader.log[-500:])
        writer.end()
        self.assert_equal_copies()
        self.assertTrue(reader.running(), reader.log[-500:])

    def test_status_says_that_a_server_is_down_and_how_it_ended(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.wait_applied()
        self.assertEqual(self.paris.server.stop(), 0)
        self.assertEqual(self.lyon.server.stop(), 0)
        for node in (self.paris, self.lyon):
            self.assertRegex(node.command("status").stdout, re.compile("stopped|down", re.I))
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10, 10)
        status = self.paris.status()
        self.assertGreaterEqual(status["queue_updates"], 10)
        self.paris.start("master")
        self.lyon.start("slave")
        self.assert_equal_copies()
        self.lyon.server.kill()
        text = wait_until(
            lambda: (lambda t: t if re.search("killed|crash|not.*clean|unexpected|died", t, re.I) else None)(
                self.lyon.command("status").stdout
            ),
            "status to say that the slave server did not end by itself",
            5,
        )
        self.assertTrue(text)

    def test_a_restarted_pair_goes_on_from_its_numbers_without_a_new_seed(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 100)
        self.wait_applied()
        before = self.lyon.path("zones/data.mdb").stat().st_ino
        seeds = self.paris.server.log.count("seeding")
        for node, role in ((self.paris, "master"), (self.lyon, "slave")):
            self.assertEqual(node.server.stop(), 0)
            node.start(role)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 100, 100)
        self.assert_equal_copies()
        self.assertEqual(self.lyon.path("zones/data.mdb").stat().st_ino, before)
        self.assertEqual(self.paris.server.log.count("seeding"), seeds)

    def test_sighup_reads_the_configuration_again_and_keeps_the_old_one_when_it_is_wrong(self):
        self.start_pair(ONE)
        good = self.paris.config.read_text()
        for text in (good, good + "\nnonsense = 1\n"):
            self.paris.config.write_text(text)
            self.paris.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "nonsense" in self.paris.server.log, "the log to name the unknown key")
        self.paris.config.write_text(good)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 30)
        self.assert_equal_copies()

    def test_log_prints_each_update_once_with_its_operations(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 20)
        self.wait_applied()
        entries = self.paris.json("log", "main")["updates"]
        self.assertEqual([entry["number"] for entry in entries], list(range(1, len(entries) + 1)))
        self.assertTrue(json.dumps(entries))
        self.assertEqual(self.paris.json("log", "main", "--unsent")["updates"], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
