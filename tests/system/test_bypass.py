# SPDX-License-Identifier: Apache-2.0
"""Writes that capture did not see, files that were replaced: shown, never a silent difference."""

import os
import shutil
import subprocess
import unittest

import lmdb

from support import content, writers
from support.pair import Group, PairTest
from support.waiting import wait_until

CAN_MOUNT = (
    os.geteuid() == 0 and shutil.which("unshare") is not None and
    subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
)
ONE = Group("main", {"zones": "zones"})


class Bypass(PairTest):
    def assert_told(self):
        """Status names the environment in an incident, and does not call the group protected."""
        status = wait_until(
            lambda: (lambda s: s if s["incidents"] else None)(self.paris.status()),
            "an incident on paris",
        )
        self.assertIn("zones", status["incidents"][0]["text"])
        self.assertTrue(status["incidents"][0]["action"])
        self.paris.command("status", "--check", expect=4)

    def test_a_write_without_capture_is_told_at_the_next_captured_one(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        self.paris.command("status", "--check")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5, 10, capture=False)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5, 15)
        self.assert_told()
        self.wait_applied()  # what was captured goes on
        with content.reading(self.lyon.path("zones")) as (env, txn):
            items = env.open_db(b"items", txn, create=False)
            self.assertIsNotNone(txn.get(b"%08d" % 19, db=items))

    def test_a_write_without_capture_is_told_though_nobody_else_writes_and_a_seed_mends_it(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5, 10, capture=False)
        self.assert_told()
        status = self.paris.status()
        self.assertEqual(status["incidents"][0]["code"], "HB-unlogged")
        self.assertEqual(status["state"], "unlogged")
        self.lyon.server.stop()
        self.lyon.command("unlink", "main", "--yes")
        self.lyon.command("init", "--role", "slave", "--replace")
        self.lyon.start("slave")
        wait_until(lambda: not self.paris.status()["incidents"], "the seed to mend it")
        self.assert_equal_copies()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5, 15)
        self.assert_equal_copies()
        self.assertEqual(self.paris.status()["incidents"], [])

    def test_a_writer_without_locks_is_told(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        # Somebody who has it open keeps the lock file's view of the last transaction.
        self.background_python(
            self.paris,
            "import lmdb, sys, time\nenv = lmdb.open(sys.argv[1], max_dbs=9, readonly=True)\n"
            "open(sys.argv[2], 'w').close()\ntime.sleep(600)",
            self.paris.path("zones"),
            self.root / "opened",
        )
        wait_until((self.root / "opened").exists, "the reader to open")
        source = ("import lmdb, sys\nenv = lmdb.open(sys.argv[1], max_dbs=9, lock=False)\n"
                  "with env.begin(write=True) as txn: txn.put(b'k', b'v')")
        self.paris.python(source, self.paris.path("zones"), capture=False)
        self.assert_told()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5, 15)
        codes = {incident["code"] for incident in self.paris.status()["incidents"]}
        self.assertIn("HB-nolock-writer", codes)

    def test_a_data_file_that_is_replaced_while_nobody_writes_is_told(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        data = self.paris.path("zones") / "data.mdb"
        shutil.copy(data, str(data) + ".new")
        (data.parent / "data.mdb.new").rename(data)
        self.assert_told()
        codes = {incident["code"] for incident in self.paris.status()["incidents"]}
        self.assertIn("HB-replaced", codes)

    def run_elsewhere(self, source, command, **places):
        """Runs Python under capture behind a command that gives it another view of the machine."""
        words = [*command, "/usr/bin/python3", "-c", source, self.paris.path("zones")]
        done = subprocess.run(self.paris.captured(words), env=self.paris.environment,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def codes(self):
        return {incident["code"] for incident in self.paris.status()["incidents"]}

    def refused_elsewhere(self, command):
        """A program there may read and not write, while one here goes on."""
        self.start_pair(ONE)
        writer = self.background_python(self.paris, writers.ENDLESS, self.paris.path("zones"))
        writer.wait_for("\n20\n")
        out = self.run_elsewhere("""
import lmdb, sys
env = lmdb.open(sys.argv[1], max_dbs=9)
with env.begin() as txn: print(txn.stat()["entries"] > 0)
try:
    with env.begin(write=True) as txn: txn.put(b"k", b"v")
    print("written")
except lmdb.Error as error: print("refused")
""", command)
        self.assertEqual(out.split()[-2:], ["True", "refused"])
        self.assertTrue(writer.running(), writer.log[-2000:])
        writer.end()
        self.assert_equal_copies()
        self.assert_no_gap()
        history = self.paris.command("incidents", "main").stdout
        self.assertRegex(history, "HB-pid-namespace.*python3")
        wait_until(lambda: "HB-pid-namespace" not in self.codes(), "the incident to go")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "needs root")
    def test_a_program_in_another_pid_namespace_may_read_and_not_write(self):
        # In a chroot no mount can be made private: there it goes without a /proc of its own.
        own_proc = ["--mount-proc"] if CAN_MOUNT else []
        self.refused_elsewhere(["unshare", "--pid", "--fork", *own_proc])

    @unittest.skipUnless(CAN_MOUNT, "needs root, and mounts that can be private")
    def test_a_program_that_cannot_read_the_boot_id_may_read_and_not_write(self):
        hidden = "mount -t proc -o subset=pid proc /proc"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
        if subprocess.run([*command, hidden + " && [ ! -e /proc/sys ]"], capture_output=True).returncode != 0:
            self.skipTest("this kernel has no proc with subset=pid")
        self.refused_elsewhere([*command, hidden + '; exec "$@"', "sh"])

    @unittest.skipUnless(CAN_MOUNT, "needs root, and mounts that can be private")
    def test_a_container_with_a_boot_id_of_its_own_may_read_and_not_write(self):
        boot = self.root / "boot"
        boot.write_text("11111111-2222-3333-4444-555555555555\n")
        self.refused_elsewhere(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c",
                                f'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec "$@"', "sh"])

    @unittest.skipUnless(CAN_MOUNT, "needs root, and mounts that can be private")
    def test_a_program_without_proc_may_read_and_not_write(self):
        self.refused_elsewhere(["unshare", "--mount", "--pid", "--fork", "--propagation", "private", "sh", "-c",
                                'mount -t tmpfs none /proc; exec "$@"', "sh"])

    def test_a_data_file_that_is_removed_and_made_anew_is_told(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        for name in ("data.mdb", "lock.mdb"):
            (self.paris.path("zones") / name).unlink()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 3, 50)
        self.assert_told()

    @unittest.skipUnless(shutil.which("mdb_load"), "needs lmdb-utils")
    def test_mdb_load_which_has_lmdb_inside_is_told(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        command = self.paris.captured(["mdb_load", "-T", self.paris.path("zones")])
        text = "key\nvalue\nkey2\nvalue2\n"
        subprocess.run(command, input=text, text=True, check=True, env=self.paris.environment)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 1, 10)
        self.assert_told()


class Copy(PairTest):
    """The slave server lives on whatever was done to the databases that it has open."""

    def start(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        self.assertEqual(self.lyon.status()["incidents"], [])

    def write_and_wait(self, wanted):
        """Until the slave says this of its applier; returns its open incidents by code."""
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5, 10)

        def said():
            self.assertTrue(self.lyon.server.running())
            return self.lyon.status()["applying"] == wanted

        wait_until(said, f"applying to be {wanted}")
        if wanted == "running":
            self.wait_applied()
        return {entry["code"]: entry["text"] for entry in self.lyon.status()["incidents"]}

    def test_a_database_that_a_foreign_program_dropped_is_made_again_and_repaired(self):
        self.start()
        with lmdb.open(str(self.lyon.path("zones")), max_dbs=9) as env:
            with env.begin(write=True) as txn:
                txn.drop(env.open_db(b"items", txn, create=False))
        self.assertIn("HB-copy-written", self.write_and_wait("running"))
        self.paris.command("compare", "main", "--repair")
        self.assert_equal_copies()

    def test_a_main_database_that_a_foreign_program_made_dupsort_stops_applying(self):
        self.start()
        content.make_main_dupsort(self.lyon.path("zones"))
        self.paris.command("compare", "main", expect=4)
        incidents = self.write_and_wait("stopped")
        self.assertIn("HB-copy-written", incidents)
        self.assertIn("database items", incidents["HB-apply-failed"])
        self.lyon.command("retry", "main", expect=1)
        self.assertTrue(self.lyon.server.running())


class Journal(PairTest):
    def test_segments_are_recycled_while_the_slave_follows(self):
        self.start_pair(
            Group("main", {"zones": "zones"}, options='segment_size = "1 MB"\nkeep_journal = "1 s"')
        )
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28)
for n in range(int(sys.argv[2]), int(sys.argv[2]) + 400):
    with env.begin(write=True) as txn: txn.put(b"%d" % (n % 100), b"v" * 60_000 + b"%d" % n)
"""
        for start in range(0, 2000, 400):
            self.paris.python(source, self.paris.path("zones"), start)
            self.assert_equal_copies()
        for node in (self.paris, self.lyon):
            # A slave keeps what it may have to apply again after a crash: up to 64 MB.
            wait_until(
                lambda node=node: node.journal_segments()[0].name > "0000000000000100",
                f"old segments to go on {node.name}",
            )
            self.assertLess(len(node.journal_segments()), 100)
        # Both go on from a journal that no longer begins at 1.
        for node, role in ((self.paris, "master"), (self.lyon, "slave")):
            node.server.kill()
            node.start(role)
        self.paris.python(source, self.paris.path("zones"), 2000)
        self.assert_equal_copies()

    def test_nothing_that_the_slave_lacks_is_given_up(self):
        self.start_pair(
            Group("main", {"zones": "zones"}, options='segment_size = "1 MB"\nkeep_journal = "1 s"')
        )
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.wait_applied()
        self.lyon.server.stop()
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28)
for n in range(300):
    with env.begin(write=True) as txn: txn.put(b"%d" % n, b"%d" % n * 8000)
"""
        self.paris.python(source, self.paris.path("zones"))
        before = self.paris.journal_segments()
        self.assertGreater(len(before), 5)
        alive = self.paris.status()["published"]
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10, 10)
        self.assertGreater(self.paris.status()["published"], alive)
        self.lyon.start("slave")
        self.assert_equal_copies()


if __name__ == "__main__":
    unittest.main(verbosity=2)
