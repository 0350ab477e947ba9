# SPDX-License-Identifier: Apache-2.0
"""A slave that applies late on purpose, and points in the history that people name."""

import datetime
import time
import unittest

from support.roles import PUT, RolesTest
from support.pair import Group
from support.waiting import wait_until

ONE = Group("main", {"zones": "zones"})


class Delay(RolesTest):
    def start_delayed(self, delay="1 h"):
        """A pair whose slave, lyon, applies late; its first copy is there."""
        self.make_nodes("paris", "lyon", group=ONE)
        text = self.lyon.config.read_text()
        self.lyon.config.write_text(text.replace('name = "main"', f'name = "main"\napply = "{delay}"', 1))
        self.paris.command("init", "main", "--role", "master")
        self.lyon.command("init", "main", "--role", "slave")
        for node in (self.lyon, self.paris):
            self.start_node(node)
        self.put("first")
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "30 s")
        self.lyon.command("apply", "main", "--until", "end")

    def put(self, *keys):
        """One update on paris; its number."""
        self.paris.python(PUT, self.paris.path("zones"), *keys)
        self.paris.command("wait", "main", "--for", "journaled", "--timeout", "30 s")
        return self.paris.status()["published"]

    def seen(self):
        return [key for key in self.keys(self.lyon, self.lyon.path("zones")) if key != "first"]

    def test_updates_are_journaled_at_once_and_applied_late(self):
        self.start_delayed("3 s")
        began = time.monotonic()
        number = self.put("a")
        self.assertLess(self.lyon.status()["applied"], number)
        self.assertEqual(self.lyon.status()["journaled"], number)
        self.lyon.command("wait", "main", str(number), "--for", "applied", "--timeout", "20 s")
        self.assertGreater(time.monotonic() - began, 2.9)
        self.assertEqual(self.seen(), ["a"])

    def test_the_copy_is_brought_to_a_number_or_a_time_and_stays_there(self):
        self.start_delayed()
        self.put("a")
        good = self.put("b")
        between = datetime.datetime.now(datetime.timezone.utc)
        mistake = self.put("mistake")
        self.assertEqual(self.seen(), [])
        answer = self.lyon.json("apply", "main", "--until", good - 1)
        self.assertEqual((answer["applying"], answer["applied"]), ("paused", good - 1))
        self.assertEqual(self.seen(), ["a"])
        self.lyon.command("apply", "main", "--until", between.isoformat(timespec="milliseconds"))
        self.assertEqual(self.seen(), ["a", "b"])
        self.servers["lyon", "slave"].kill()
        self.start_server(self.lyon, "slave")
        self.assertEqual(self.lyon.status()["applying"], "paused")
        for until, code, words in (
            (good - 1, 3, "do not go back"),
            (mistake + 100, 3, "the last is"),
            ("2099-01-01T00:00:00Z", 3, "has not come yet"),
            ("2026-11-21T06:00", 2, "has no zone"),
            ("yesterday", 2, "no time"),
        ):
            with self.subTest(until=until):
                refused = self.lyon.command("apply", "main", "--until", until, expect=code)
                self.assertIn(words, refused.stderr)
        self.assertEqual(self.seen(), ["a", "b"])
        self.lyon.command("apply", "main", "--until", "end")
        self.assertEqual(self.seen(), ["a", "b", "mistake"])
        self.assertIn("slave", self.paris.command("apply", "main", "--until", "end", expect=3).stderr)

    def test_a_promotion_in_the_middle_of_the_delay_applies_everything(self):
        self.start_delayed()
        self.put("a")
        self.kill_node(self.paris)
        self.lyon.command("promote", "main", "--yes")
        self.assertEqual(self.seen(), ["a"])

    def test_a_promotion_leaves_a_mistake_out_and_the_old_master_comes_back_without_it(self):
        self.start_delayed()
        good = self.put("a", "b")
        self.put("mistake")
        self.put("after")
        self.kill_node(self.paris)
        asked = self.lyon.json("promote", "main", "--until", good, "--dry-run")
        self.assertIn("2 updates after", asked["left_out"])
        self.assertEqual(self.seen(), [])
        answer = self.lyon.json("promote", "main", "--until", good, "--yes")
        self.assertEqual(answer["number"], good)
        self.assertEqual(self.seen(), ["a", "b"])
        orphans = self.lyon.json("orphans", "main")["orphans"]
        self.assertEqual([one["number"] for one in orphans], [good + 1, good + 2])
        self.lyon.python(PUT, self.lyon.path("zones"), "new")
        self.start_node(self.paris)
        self.wait_role(self.paris, "slave", seconds=60)
        wait_until(
            lambda: self.keys(self.paris, self.paris.path("zones")) == ["a", "b", "first", "new"],
            "paris to have what lyon has",
            30,
        )

    def test_a_promotion_without_one_update_has_what_came_after_it(self):
        self.start_delayed()
        self.put("a")
        mistake = self.put("mistake")
        self.put("after")
        self.put("last")
        self.kill_node(self.paris)
        answer = self.lyon.json("promote", "main", "--without", mistake, "--yes")
        self.assertEqual(answer["hook_failed"], "")
        self.assertEqual(sorted(self.seen()), ["a", "after", "last"])
        orphans = self.lyon.json("orphans", "main")["orphans"]
        self.assertEqual(
            [(one["number"], one["state"]) for one in orphans],
            [(mistake, "open"), (mistake + 1, "applied"), (mistake + 2, "applied")],
        )

    def test_what_the_copies_show_cannot_be_left_out(self):
        self.start_delayed()
        self.put("a")
        shown = self.put("b")
        self.lyon.command("apply", "main", "--until", "end")
        self.kill_node(self.paris)
        for words in (["--until", shown - 1], ["--without", shown]):
            refused = self.lyon.command("promote", "main", *words, "--yes", expect=3)
            self.assertIn("do not go back", refused.stderr)
        both = self.lyon.command("promote", "main", "--until", "end", "--without", "5", "--yes", expect=2)
        self.assertIn("not both", both.stderr)
        self.lyon.command("promote", "main", "--yes")


if __name__ == "__main__":
    unittest.main(verbosity=2)
