# SPDX-License-Identifier: Apache-2.0
"""Bad input from the user, the disk and the network: one clear error, no crash, nothing lost."""

import os
import shutil
import socket
import subprocess
import unittest

from support import content, writers
from support.pair import Group, PairTest
from support.waiting import wait_until

ONE = Group("main", {"zones": "zones"})
SMALL = Group("main", {"zones": "zones"}, options='segment_size = "1 MB"')

# argv: path, first number. Writes until something is refused; prints what it committed and the error.
UNTIL_REFUSED = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=8)
number = int(sys.argv[2])
try:
    while True:
        with env.begin(write=True) as txn:
            txn.put(b"%08d" % number, b"x" * 20_000)
        number += 1
except lmdb.Error as error:
    print(error)
print(number)
"""


class Configuration(PairTest):
    def server_fails(self, node, role, code):
        node.start(role, wait=False)
        self.assertEqual(node.server.wait_end(), code, node.server.log)
        return node.server.log

    def test_an_unknown_key_is_refused_by_every_program_with_line_and_column(self):
        self.start_pair(ONE)
        self.paris.config.write_text(self.paris.config.read_text() + '\nlsten = "127.0.0.1:1"\n')
        line = len(self.paris.config.read_text().splitlines())
        where = f"{self.paris.config}:{line}:"
        self.paris.server.stop()
        self.assertIn(where, self.server_fails(self.paris, "master", 2))
        done = self.paris.command("status", expect=2)
        self.assertIn(where, done.stderr)
        self.assertIn("lsten", done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)

    def test_check_reads_the_configuration_and_says_what_is_wrong(self):
        self.make_pair(ONE)
        for program in (self.paris.programs.master, self.paris.programs.slave):
            words = [str(program), "--check", "--config", str(self.paris.config)]
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.paris.config.write_text("[node]\nname = 7\n")
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
        self.assertIn(done.returncode, (2, 4))
        self.assertIn(":2:", done.stdout + done.stderr)

    def test_a_missing_configuration_file_is_named(self):
        self.make_pair(ONE)
        self.paris.config.unlink()
        self.assertIn(str(self.paris.config), self.paris.command("status", expect=2).stderr)
        self.assertIn(str(self.paris.config), self.server_fails(self.paris, "master", 2))

    def test_a_port_in_use_is_named(self):
        self.make_pair(ONE)
        self.init_pair()
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", self.lyon.port))
            holder.listen()
            log = self.server_fails(self.lyon, "slave", 1)
        self.assertIn(str(self.lyon.port), log)
        self.assertIn("in use", log)

    def test_a_peer_elsewhere_without_a_fingerprint_is_refused(self):
        self.make_pair(ONE)
        text = self.paris.config.read_text()
        self.paris.config.write_text(text.replace(f"127.0.0.1:{self.lyon.port}", "192.0.2.1:2000"))
        self.assertIn("fingerprint", self.server_fails(self.paris, "master", 2))

    def test_wrong_usage_ends_with_2(self):
        self.make_pair(ONE)
        for words in (["nonsense"], ["init"], ["init", "main", "--role", "king"], ["log", "main", "--from-number", "x"]):
            self.paris.command(*words, expect=2)
        self.paris.command("status", "nogroup", expect=2)
        self.paris.command("--version")
        self.paris.command("--help")

    def test_commands_before_init_say_what_to_do(self):
        self.make_pair(ONE)
        done = self.paris.command("log", "main", expect=None)
        self.assertIn(done.returncode, (1, 3))
        self.assertIn("init", done.stderr)
        self.assertIn("init", self.paris.command("status", expect=None).stdout)


class Environments(PairTest):
    def refused(self, words):
        self.make_pair(ONE)
        place = self.paris.path("zones")
        yield place
        done = self.paris.command("init", "main", "--role", "master", expect=1)
        self.assertIn(str(place), done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertFalse((self.paris.state / "groups" / "main" / "control").exists(), words)
        self.assertEqual(list(self.paris.data.rglob(".hotbackup")), [])

    def test_a_file_that_is_no_environment_is_refused_and_nothing_is_changed(self):
        for place in self.refused("text"):
            place.write_text("this is not LMDB\n" * 1000)

    def test_an_environment_with_a_damaged_meta_page_is_refused(self):
        for place in self.refused("damaged"):
            self.paris.python(writers.NUMBERED, place, 10, capture=False)
            with open(place / "data.mdb", "r+b") as file:
                file.write(b"\xff" * 8192)

    def test_a_path_into_nowhere_is_an_error_or_waited_for_but_never_a_crash(self):
        self.make_pair(Group("main", {"zones": "no/such/directory/zones"}))
        done = self.paris.command("init", "main", "--role", "master", expect=None)
        self.assertIn(done.returncode, (0, 1))
        if done.returncode == 1:
            self.assertIn("no/such/directory", done.stderr)

    def test_an_environment_that_belongs_to_another_group_is_refused(self):
        self.make_pair(ONE)
        self.paris.command("init", "main", "--role", "master")
        self.groups = (Group("other", {"zones": "zones"}),)
        self.paris.configure(self.lyon, self.groups)
        done = self.paris.command("init", "other", "--role", "master", expect=1)
        self.assertIn(".hotbackup", done.stderr)

    def test_a_capture_link_that_leads_nowhere_lets_reads_pass_and_refuses_writes(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        self.paris.server.stop()
        groups = self.paris.state / "groups"
        groups.rename(self.paris.state / "away")
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], max_dbs=8)
items = env.open_db(b"items", create=False)
with env.begin() as txn: assert txn.stat(items)["entries"] == 10
with env.begin(write=True) as txn: assert txn.get(b"00000001", db=items)
try:
    with env.begin(write=True) as txn: txn.put(b"new", b"1", db=items)
except lmdb.Error as error: print(error)
else: sys.exit("not refused")
"""
        done = self.paris.python(source, self.paris.path("zones"))
        self.assertIn("Permission denied", done.stdout)
        (self.paris.state / "away").rename(groups)
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10, 10)
        self.assert_equal_copies()

    def test_a_damaged_group_file_or_control_file_is_one_clear_error(self):
        for name, damage in (("group.toml", b"id = [broken"), ("control", b"\xff" * 4096)):
            with self.subTest(file=name):
                self.start_pair(ONE)
                self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
                self.wait_applied()
                self.paris.server.stop()
                path = self.paris.state / "groups" / "main" / name
                with open(path, "r+b") as file:
                    file.write(damage)
                done = self.paris.command("log", "main", expect=None)
                self.assertIn(done.returncode, (0, 1), done.stderr)
                if done.returncode:
                    self.assertIn(name, done.stderr)
                    self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
                self.paris.command("status", expect=None)
                done = self.paris.python(writers.NUMBERED, self.paris.path("zones"), 1, 50, expect=None)
                self.assertIn(done.returncode, (0, 1), "the program was hurt")
                self.paris.start("master", wait=False)
                self.assertTrue(self.paris.server.running() or self.paris.server.wait_end() in (1, 2))
                self.paris.server.kill()
                self.lyon.server.kill()
                for node in (self.paris, self.lyon):
                    shutil.rmtree(node.root)


class Journal(PairTest):
    def flip(self, segment, frames_from_end):
        """Flips a bit in the body of a frame; returns (offset, old byte)."""
        data = bytearray(segment.read_bytes())
        offset = len(data)
        for _ in range(frames_from_end):
            offset = data.rindex(b"HBF1", 0, offset)
        offset += 128 + 9
        with open(segment, "r+b") as file:
            file.seek(offset)
            file.write(bytes([data[offset] ^ 0x10]))
        return offset, data[offset]

    def test_a_flipped_byte_in_the_masters_journal_stops_the_stream_there_and_is_named(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.wait_applied()
        self.lyon.server.stop()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 40, 10)
        self.paris.server.stop()
        last = self.paris.status()["made"]
        segment = self.paris.journal_segments()[-1]
        offset, old = self.flip(segment, 20)
        self.lyon.start("slave")
        self.paris.start("master")
        wait_until(
            lambda: segment.name in self.paris.server.log + self.paris.command("status").stdout,
            "the damaged segment to be named",
        )
        self.assertLessEqual(self.lyon.status()["applied"], last - 20)
        self.assertTrue(self.paris.server.running() and self.lyon.server.running())
        done = self.paris.command("log", "main", expect=1)
        self.assertIn(segment.name, done.stderr)
        with open(segment, "r+b") as file:
            file.seek(offset)
            file.write(bytes([old]))
        self.paris.server.stop()
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10, 50)
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("zones")), 60)

    def test_a_flipped_byte_in_the_slaves_journal_crashes_nothing(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 30)
        self.assert_equal_copies()
        self.lyon.server.stop()
        self.flip(self.lyon.journal_segments()[-1], 10)
        self.lyon.start("slave")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 30, 30)
        wait_until(
            lambda: self.lyon.status()["applied"] == self.paris.status()["made"]
            or self.lyon.journal_segments()[-1].name in self.lyon.command("status").stdout,
            "the slave to go on, or to name the damaged segment",
        )
        self.assertTrue(self.lyon.server.running())


@unittest.skipUnless(os.geteuid() == 0, "needs root to mount a small file system")
class FullDisk(PairTest):
    def small_disk(self, place, megabytes, ballast_megabytes):
        """A file system of this size; returns the path of a file in it to remove for room."""
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "none", str(place)],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            self.skipTest("this machine does not let us mount a tmpfs")
        self.at_end(lambda: subprocess.run(["umount", "-l", str(place)], check=False))
        ballast = place / "ballast"
        ballast.write_bytes(b"b" * (ballast_megabytes << 20))
        return ballast

    def finish(self, ballast, first):
        """Makes room; everything goes on and is equal."""
        ballast.unlink()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 20, first)
        self.assert_equal_copies()
        self.assertTrue(self.paris.server.running() and self.lyon.server.running())

    def test_a_full_journal_disk_on_the_master_refuses_commits_and_loses_none(self):
        # Its own limit would make room for a writer that is slow enough.
        no_limit = 'segment_size = "1 MB"\njournal_limit = "off"'
        self.make_pair(Group("main", {"zones": "zones"}, options=no_limit))
        ballast = self.small_disk(self.paris.state, 24, 12)
        self.start_pair()
        done = self.paris.python(UNTIL_REFUSED, self.paris.path("zones"), 0)
        self.assertIn("No space left", done.stdout)
        committed = int(done.stdout.split()[-1])
        self.assertEqual(content.count(self.paris.path("zones")), committed)
        self.assert_equal_copies()
        # Still full: the next program is refused as well, cleanly.
        done = self.paris.python(UNTIL_REFUSED, self.paris.path("zones"), committed)
        self.assertIn("No space left", done.stdout)
        self.finish(ballast, 100_000)

    def test_a_full_disk_under_the_environment_leaves_no_trace_of_failed_commits(self):
        self.make_pair(SMALL)
        ballast = self.small_disk(self.paris.path("zones"), 12, 4)
        self.start_pair()
        done = self.paris.python(UNTIL_REFUSED, self.paris.path("zones"), 0)
        self.assertRegex(done.stdout, "No space left|Input/output")
        committed = int(done.stdout.split()[-1])
        self.assertEqual(content.count(self.paris.path("zones")), committed)
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("zones")), committed)
        self.finish(ballast, 100_000)

    def test_a_full_journal_disk_on_the_slave_stops_acknowledging_until_there_is_room(self):
        self.make_pair(SMALL)
        ballast = self.small_disk(self.lyon.state, 24, 16)
        self.start_pair()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.wait_applied()
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=8)
for n in range(1000):
    with env.begin(write=True) as txn: txn.put(b"big%06d" % n, b"x" * 20_000)
"""
        self.paris.python(source, self.paris.path("zones"))
        wait_until(
            lambda: "space" in (self.lyon.server.log + self.lyon.command("status").stdout).lower(),
            "the full disk to be named",
        )
        status = self.paris.status()
        self.assertLess(status["journaled"], status["made"])
        self.assertTrue(self.lyon.server.running())
        self.finish(ballast, 2000)

    def test_a_full_disk_under_the_copy_stops_applying_until_there_is_room(self):
        self.make_pair(SMALL)
        ballast = self.small_disk(self.lyon.path("zones"), 12, 8)
        self.start_pair()
        ballast_copy = ballast
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.wait_applied()
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=8)
for n in range(250):
    with env.begin(write=True) as txn: txn.put(b"big%06d" % n, b"x" * 20_000)
"""
        self.paris.python(source, self.paris.path("zones"))
        wait_until(
            lambda: "space" in (self.lyon.server.log + self.lyon.command("status").stdout).lower(),
            "the full disk to be named",
        )
        # Receiving does not wait for applying.
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        self.assertTrue(self.lyon.server.running())
        self.finish(ballast_copy, 2000)


class Peers(PairTest):
    def test_callers_that_speak_nonsense_or_nothing_disturb_nobody(self):
        self.start_pair(ONE)
        calls = []
        for payload in (
            b"",
            b"GET / HTTP/1.1\r\nHost: lyon\r\n\r\n",
            b"\xff" * 100_000,
            b"\x00\x00\x00\x00" * 1000,
            b"\xff\xff\xff\x7f" + b"x" * 1000,
            b"\x10\x00\x00\x00" + os.urandom(16),
            os.urandom(65536),
        ):
            call = socket.create_connection(("127.0.0.1", self.lyon.port), timeout=10)
            calls.append(call)
            try:
                call.sendall(payload)
            except OSError:
                pass  # closed in the middle, as it should be
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 50)
        self.assert_equal_copies()
        for call in calls:  # each is closed by the server, the silent one after a while
            call.settimeout(20)
            try:
                while call.recv(65536):
                    pass
            except ConnectionError:
                pass
            call.close()
        self.assertTrue(self.lyon.server.running())

    def test_many_silent_callers_do_not_keep_the_master_out(self):
        self.make_pair(ONE)
        self.init_pair()
        self.lyon.start("slave")
        calls = [socket.create_connection(("127.0.0.1", self.lyon.port), timeout=10) for _ in range(200)]
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 20)
        self.assert_equal_copies()
        for call in calls:
            call.close()

    def test_a_slave_that_speaks_nonsense_or_nothing_is_dialled_again(self):
        for answer in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 5000, os.urandom(3000)):
            with self.subTest(answer=answer[:20]):
                self.make_pair(ONE)
                self.init_pair()
                with socket.create_server(("127.0.0.1", self.lyon.port)) as false_slave:
                    false_slave.settimeout(20)
                    self.paris.start("master")
                    self.paris.python(writers.NUMBERED, self.paris.path("zones"), 20)
                    call, _ = false_slave.accept()
                    call.settimeout(30)
                    if answer:
                        call.sendall(answer)
                        try:
                            while call.recv(65536):
                                pass
                        except ConnectionError:
                            pass
                    call.close()
                self.assertTrue(self.paris.server.running())
                self.assertEqual(self.paris.status()["journaled"], 0)
                self.lyon.start("slave")
                self.assert_equal_copies()
                self.paris.server.stop()
                self.lyon.server.stop()
                for node in (self.paris, self.lyon):
                    shutil.rmtree(node.root)

    def test_a_slave_of_another_group_or_of_no_group_is_refused_by_name(self):
        self.make_pair(ONE)
        self.init_pair()
        self.lyon.command("unlink", "main", "--yes", expect=None)
        shutil.rmtree(self.lyon.state / "groups", ignore_errors=True)
        self.lyon.start("slave")
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5)
        wait_until(lambda: "main" in self.lyon.server.log, "the slave to name the group")
        self.assertTrue(self.paris.server.running() and self.lyon.server.running())
        self.lyon.command("init", "main", "--role", "slave")
        self.assert_equal_copies()


if __name__ == "__main__":
    unittest.main(verbosity=2)
