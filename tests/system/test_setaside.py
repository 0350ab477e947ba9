# SPDX-License-Identifier: Apache-2.0
"""Updates that a slave cannot apply, and pause, resume, retry, skip."""

import json
import unittest

import lmdb

from support import content, writers
from support.content import make_main_dupsort
from support.pair import Group, PairTest
from support.waiting import wait_until

TWO = Group("main", {"one": "one", "two": "two"})

# argv: path, key, bytes. One item in the main database.
IN_MAIN = """
import lmdb, sys
with lmdb.open(sys.argv[1]) as env, env.begin(write=True) as txn:
    txn.put(sys.argv[2].encode(), b"x" * int(sys.argv[3]))
"""


class SetAside(PairTest):
    def write(self, environment, first, count=10):
        self.paris.python(writers.NUMBERED, self.paris.path(environment), count, first)

    def wait_stopped(self):
        return wait_until(
            lambda: (lambda s: s if s["applying"] == "stopped" else None)(self.lyon.status()),
            "applying to stop",
        )

    def poison(self):
        """Environment "two" cannot be made on lyon: its place is taken. Returns the status."""
        self.start_pair(TWO)
        self.write("one", 0)
        self.assert_one_equal()
        stranger = self.lyon.path("two")
        stranger.mkdir(exist_ok=True)
        with lmdb.open(str(stranger)) as env, env.begin(write=True) as txn:
            txn.put(b"not", b"ours")
        self.write("two", 0)
        return self.wait_stopped()

    def assert_one_equal(self):
        self.wait_applied()
        self.assertEqual(self.differences("one"), [])

    def differences(self, environment):
        return content.differences(self.paris.path(environment), self.lyon.path(environment))

    def make_room(self):
        self.lyon.path("two").rename(self.lyon.path("stranger"))

    def commands(self):
        log = self.lyon.state / "groups/main/commands.log"
        return [json.loads(line) for line in log.read_text().splitlines()]

    def test_a_poison_update_is_set_aside_and_receiving_goes_on(self):
        status = self.poison()
        number = status["stopped_at"]
        self.assertEqual(status["incidents"][0]["code"], "HB-apply-failed")
        self.assertIn("holds items", status["incidents"][0]["text"])
        self.assertIn("STOPPED", status["verdict"])
        self.assertFalse(status["good"])
        folder = self.lyon.state / "groups/main/setaside"
        self.assertIn(f"update      {number}\n", (folder / f"{number}.txt").read_text())
        self.assertGreater((folder / f"{number}.frames").stat().st_size, 128)
        self.write("one", 10, 50)
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        status = self.lyon.status()
        self.assertEqual(status["state"], "idle")
        self.assertGreaterEqual(status["journaled"], number + 50)
        self.assertLess(status["applied"], number)
        self.assertEqual(self.lyon.command("status", "--check", expect=4).returncode, 4)

    def test_retry_fails_again_until_the_reason_is_mended_then_everything_arrives(self):
        number = self.poison()["stopped_at"]
        failed = self.lyon.command("retry", "main", expect=1)
        self.assertIn(f"update {number} cannot be applied", failed.stderr)
        self.make_room()
        self.lyon.command("retry", "main")
        self.write("one", 10)
        self.assert_equal_copies()
        self.assertEqual(self.lyon.status()["incidents"], [])
        self.assertEqual(list((self.lyon.state / "groups/main/setaside").iterdir()), [])
        self.lyon.command("retry", "main", expect=3)
        self.assertEqual(sum("retry" in entry["command"] for entry in self.commands()), 2)

    def test_retry_without_a_server_counts_at_its_next_start(self):
        self.poison()
        self.lyon.server.stop()
        self.make_room()
        answer = self.lyon.json("retry", "main")
        self.assertEqual(answer["applying"], "waiting for server")
        self.lyon.start("slave")
        self.assert_equal_copies()

    def put_in_main(self, key, size):
        self.paris.python(IN_MAIN, self.paris.path("two"), key, size)

    def test_a_skipped_update_leaves_the_copy_marked_until_a_seed(self):
        self.start_pair(TWO)
        self.write("one", 0)
        self.put_in_main("first", 10)
        self.assert_equal_copies()
        # Where somebody made the copy's main database DUPSORT, no value of 600 bytes has room.
        self.lyon.server.stop()
        make_main_dupsort(self.lyon.path("two"))
        self.lyon.start("slave")
        self.put_in_main("large", 600)
        self.put_in_main("last", 10)
        self.write("one", 10)
        number = self.wait_stopped()["stopped_at"]
        text = (self.lyon.state / f"groups/main/setaside/{number}.txt").read_text()
        self.assertIn("environment two\ndatabase    (main)\nkey         large\n", text)
        self.lyon.command("skip", "main", number + 1, "--reason", "a typing error", expect=3)
        self.lyon.command("skip", "main", number, "--reason", " ", expect=2)
        self.lyon.command("skip", "main", number, expect=2)
        self.lyon.command("skip", number, "--reason", "the customer agreed")
        self.wait_applied()
        self.assertEqual(self.differences("one"), [])
        self.assertNotEqual(self.differences("two"), [])
        self.lyon.command("skip", "main", number, "--reason", "twice", expect=3)
        entry = self.commands()[-1]
        self.assertIn("the customer agreed", entry["command"])
        self.assertTrue(entry["user"] and entry["time"])

        self.lyon.server.stop()
        (self.lyon.state / "groups/main/control").unlink()  # as a reboot does
        self.lyon.start("slave")
        status = wait_until(
            lambda: (lambda s: s if "DIFFERS" in s["verdict"] else None)(self.lyon.status()),
            "the verdict to say that the copy differs",
        )
        self.assertFalse(status["good"])
        self.assertIn("the customer agreed", status["verdict"])
        self.assertIn("HB-copy-differs", [entry["code"] for entry in status["incidents"]])
        self.put_in_main("later", 10)
        self.wait_applied()
        with content.reading(self.lyon.path("two")) as (_, txn):
            self.assertIsNone(txn.get(b"large"))
            self.assertIsNotNone(txn.get(b"last"))
            self.assertIsNotNone(txn.get(b"later"))

    def test_pause_holds_over_a_restart_while_updates_are_journaled(self):
        self.start_pair(TWO)
        self.write("one", 0)
        self.write("two", 0)
        self.assert_equal_copies()
        self.assertEqual(self.lyon.json("pause", "main")["applying"], "paused")
        self.lyon.command("pause", "main")  # no harm
        paused_at = self.lyon.status()["applied"]
        self.write("one", 10, 30)
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        self.lyon.server.kill()
        self.lyon.start("slave")
        self.write("one", 40, 30)
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        status = self.lyon.status()
        self.assertEqual((status["applying"], status["applied"]), ("paused", paused_at))
        self.assertIn("applying paused", status["verdict"])
        self.assertIn("READY", status["verdict"])
        self.lyon.command("wait", "main", "--timeout", "0", expect=5)
        self.lyon.command("resume", "main")
        self.assert_equal_copies()
        self.assertEqual(self.lyon.status()["applying"], "running")

    def test_pause_and_resume_without_a_server_count_when_it_starts(self):
        self.start_pair(TWO)
        self.write("one", 0)
        self.write("two", 0)
        self.assert_equal_copies()
        self.lyon.server.stop()
        self.assertFalse(self.lyon.json("pause", "main")["server"])
        self.assertEqual(self.lyon.status()["applying"], "paused")
        self.lyon.start("slave")
        self.write("one", 10)
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        self.assertGreater(self.lyon.status()["journaled"], self.lyon.status()["applied"])
        self.lyon.server.stop()
        self.lyon.command("resume", "main")
        self.lyon.start("slave")
        self.assert_equal_copies()

    def test_a_group_configured_as_paused_waits_for_resume(self):
        self.start_pair(Group("main", {"one": "one"}, options='apply = "paused"'))
        self.write("one", 0)
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        self.write("one", 10)
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "20 s")
        self.assertEqual(self.lyon.status()["applying"], "paused")
        self.lyon.command("resume", "main")
        self.assert_equal_copies()
        self.lyon.server.stop()
        self.lyon.start("slave")
        self.write("one", 20)
        self.assert_equal_copies()

    def test_these_commands_are_for_a_slave(self):
        self.start_pair(Group("main", {"one": "one"}))
        for words in (["pause"], ["resume"], ["retry"], ["skip", "main", "4", "--reason", "x"]):
            self.assertIn("slave", self.paris.command(*words, expect=3).stderr)
        self.lyon.command("retry", "main", expect=3)
        self.lyon.command("skip", "main", "4", "--reason", "x", expect=3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
