# SPDX-License-Identifier: Apache-2.0
"""Promotion, fencing, and what bad use is told."""

import json
import time
import unittest

from support.pair import Group
from support.roles import COUNTING, PUT, RolesTest
from support.waiting import wait_until

ONE = Group("main", {"zones": "zones"})
THREE = Group("main", {"zones": "zones", "users": "users", "shards": "shard-*"})


class Promote(RolesTest):
    def test_a_slave_takes_over_from_a_killed_master_and_its_programs_write(self):
        self.start_all("paris", "lyon", group=ONE)
        self.paris.python(PUT, self.paris.path("zones"), "a", "b")
        self.paris.command("wait", "--for", "applied")
        refused = self.lyon.python(PUT, self.lyon.path("zones"), "early", expect=1)
        self.assertIn("Permission denied", refused.stderr)
        self.kill_node(self.paris)
        begun = time.monotonic()
        answer = self.lyon.json("promote", "main", "--yes")
        self.lyon.python(PUT, self.lyon.path("zones"), "c")
        took = time.monotonic() - begun
        print(f"promote after kill -9: {took * 1000:.0f} ms to the first commit;", answer["steps"])
        self.assertLess(took, 1.0)
        self.assertEqual(answer["epoch"], 2)
        self.assertRegex(answer["lost"], r"^unknown since 20\d\d-")
        self.assertEqual(self.lyon.command("role").stdout.strip(), "master")
        self.assertEqual(self.keys(self.lyon, self.lyon.path("zones")), ["a", "b", "c"])
        kept = (self.lyon.state / "groups/main/promotions").read_text().splitlines()
        self.assertEqual(json.loads(kept[-1])["lost"], answer["lost"])
        updates = self.lyon.json("log")["updates"]
        kinds = [entry["kind"] for entry in updates]
        self.assertEqual(kinds[-1], "update")
        self.assertIn("epoch", kinds)

    def test_a_master_that_comes_back_is_fenced_before_it_takes_a_write_and_then_follows(self):
        self.start_all("paris", "lyon", group=ONE)
        self.paris.python(PUT, self.paris.path("zones"), "a")
        self.paris.command("wait", "--for", "applied")
        writer = self.background_python(self.paris, COUNTING, self.paris.path("zones"), "old", "0.01")
        self.kill_node(self.paris)
        writer.end()
        self.lyon.command("promote", "main", "--yes", "--force")
        self.lyon.python(PUT, self.lyon.path("zones"), "new")
        self.start_node(self.paris)
        wait_until(lambda: self.paris.status()["role"] != "master", "paris to hear of epoch 2")
        late = self.paris.python(PUT, self.paris.path("zones"), "late", expect=1)
        self.assertIn("Permission denied", late.stderr)
        status = self.paris.status()
        self.assertEqual(status["master_name"], "lyon")

    def test_an_old_master_without_writes_of_its_own_streams_on_from_the_new_one(self):
        self.start_all("paris", "lyon", group=THREE)
        for path in ("zones", "users", "shard-1", "shard-2"):
            self.paris.python(PUT, self.paris.path(path), "a", "b")
        self.paris.command("wait", "--for", "applied")
        self.kill_node(self.paris)
        answer = self.lyon.json("promote", "main", "--yes")
        for path in ("zones", "users", "shard-1", "shard-2"):
            self.lyon.python(PUT, self.lyon.path(path), "c")
        self.start_node(self.paris)
        self.wait_role(self.paris, "slave")
        self.lyon.command("wait", "--for", "applied", "--timeout", "20 s")
        for path in ("zones", "users", "shard-1", "shard-2"):
            self.assertEqual(self.keys(self.paris, self.paris.path(path)), ["a", "b", "c"])
        self.assertEqual(self.paris.status()["epoch"], answer["epoch"])
        self.wait_good(self.lyon)
        self.wait_good(self.paris)

    def test_bad_use_says_what_to_type_instead(self):
        self.start_all("paris", "lyon", group=ONE)
        alive = self.lyon.command("promote", "main", "--yes", expect=3)
        self.assertIn("hotbackup switch main --to lyon", alive.stderr)
        self.lyon.command("promote", "nobody", "--yes", expect=2)
        self.lyon.command("promote", "--from", "nobody", "--yes", expect=2)
        self.assertIn("hotbackup status", self.paris.command("promote", "--yes", expect=3).stderr)
        self.assertIn("hotbackup status", self.paris.command("switch", "--to", "paris", expect=3).stderr)
        self.paris.command("switch", "--to", "rome", expect=2)
        unsafe = self.lyon.command("promote", "--if-safe", "--force", "--yes", expect=3)
        self.assertIn("no lease is configured", unsafe.stderr)
        self.kill_node(self.lyon)
        gone = self.paris.command("switch", "--to", "lyon", expect=3)
        self.assertIn("hotbackup status main", gone.stderr)
        self.kill_node(self.paris)
        self.start_node(self.lyon)
        asked = self.lyon.command("promote", expect=2)
        self.assertIn("--yes", asked.stderr)
        dry = self.lyon.json("promote", "--dry-run")
        self.assertTrue(dry["dry_run"])
        self.assertEqual(self.lyon.status()["role"], "slave")
        self.lyon.command("promote", "--from", "paris", "--yes")
        twice = self.lyon.command("promote", "--yes", expect=3)
        self.assertIn("hotbackup status main", twice.stderr)


if __name__ == "__main__":
    unittest.main()
