# SPDX-License-Identifier: Apache-2.0
"""Promotion, fencing, and what bad use is told."""

import json
import signal
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

    def test_the_other_slave_follows_the_new_master_and_one_that_has_less_is_not_promoted(self):
        self.start_all("paris", "lyon", "rome", group=ONE)
        self.paris.python(PUT, self.paris.path("zones"), "a")
        self.paris.command("wait", "--for", "applied")
        wait_until(lambda: self.rome.status()["applied"] == self.paris.status()["made"], "rome to have it")
        self.kill_node(self.rome)
        self.paris.python(PUT, self.paris.path("zones"), "b")
        made = self.paris.status()["made"]
        wait_until(lambda: self.lyon.status()["applied"] == made, "lyon to have all of it")
        self.kill_node(self.paris)
        self.start_node(self.rome)
        less = self.rome.command("promote", "--yes", expect=3)
        self.assertIn("hotbackup promote main on lyon", less.stderr)
        self.lyon.command("promote", "--yes")
        self.lyon.python(PUT, self.lyon.path("zones"), "c")
        everything = ["a", "b", "c"]
        wait_until(lambda: self.keys(self.rome, self.rome.path("zones")) == everything, "rome to follow lyon")
        self.assertEqual(self.rome.status()["master_name"], "lyon")
        self.start_node(self.paris)
        wait_until(lambda: self.keys(self.paris, self.paris.path("zones")) == everything, "paris to follow lyon")
        self.wait_role(self.paris, "slave")

    def test_hooks_hear_what_happened_and_before_promote_can_stop_it(self):
        notes = self.root / "notes"
        stop = self.root / "stop"
        hook = f"""'''echo "$HOTBACKUP_GROUP $HOTBACKUP_ROLE $HOTBACKUP_EPOCH $HOTBACKUP_PEER" >> {notes}'''"""
        options = f'before_promote = "test ! -e {stop}"\non_promote = {hook}\non_demote = {hook}'
        self.start_all("paris", "lyon", group=ONE, options=options)
        self.paris.python(PUT, self.paris.path("zones"), "a")
        self.paris.command("wait", "--for", "applied")
        self.kill_node(self.paris)
        stop.touch()
        self.assertIn("before_promote", self.lyon.command("promote", "--yes", expect=3).stderr)
        self.assertEqual(self.lyon.status()["role"], "slave")
        stop.unlink()
        self.lyon.command("promote", "--yes")
        self.assertEqual(notes.read_text(), "main master 2 paris\n")
        self.start_node(self.paris)
        wait_until(lambda: "main fenced 2 lyon" in notes.read_text(), "on_demote of the fenced master")

    def test_a_failed_hook_after_the_promotion_is_exit_6(self):
        self.start_all("paris", "lyon", group=ONE, options='on_promote = "exit 9"')
        self.kill_node(self.paris)
        done = self.lyon.command("promote", "--yes", expect=6)
        self.assertIn("on_promote", done.stderr)
        self.assertEqual(self.lyon.status()["role"], "master")

    def test_a_group_of_three_environments_changes_roles_as_one(self):
        self.start_all("paris", "lyon", group=THREE)
        paths = ("zones", "users", "shard-1")
        for path in paths:
            self.paris.python(PUT, self.paris.path(path), "a")
        answer = self.paris.json("switch", "--to", "lyon")
        for path in paths:
            refused = self.paris.python(PUT, self.paris.path(path), "old", expect=1)
            self.assertIn("Permission denied", refused.stderr)
            self.lyon.python(PUT, self.lyon.path(path), "b")
        self.wait_role(self.paris, "slave")
        self.lyon.command("wait", "--for", "applied", "--timeout", "20 s")
        for path in paths:
            self.assertEqual(self.keys(self.paris, self.paris.path(path)), ["a", "b"])
        after = [e for e in self.lyon.json("log")["updates"] if e["number"] > answer["number"]]
        self.assertEqual([e["kind"] for e in after[:7]], ["epoch"] + ["environment", "baseline"] * 3)

    def test_a_file_that_appears_on_the_promoted_node_joins_the_group(self):
        self.start_all("paris", "lyon", group=THREE)
        self.paris.python(PUT, self.paris.path("shard-1"), "a")
        self.paris.command("switch", "--to", "lyon")
        self.lyon.python(PUT, self.lyon.path("shard-9"), "new")
        self.wait_role(self.paris, "slave")
        self.lyon.command("wait", "--for", "applied", "--timeout", "20 s")
        environments = {e["name"]: e["path"] for e in self.paris.status()["environments"]}
        self.assertEqual(self.keys(self.paris, environments["shards-2"]), ["new"])


class Lease(RolesTest):
    def test_a_master_that_nobody_confirms_takes_no_commit_and_if_safe_waits_for_that(self):
        group = Group("main", {"zones": "zones"}, options='lease = "1 s"\ncheck_period = "200 ms"')
        self.start_all("paris", "lyon", group=group)
        writer = self.background_python(self.paris, COUNTING, self.paris.path("zones"), "old", "0.005")
        wait_until(lambda: "\n" in writer.log, "the writer to write")
        servers = [self.servers["paris", role].process for role in ("slave", "master")]
        for process in servers:
            process.send_signal(signal.SIGSTOP)  # a machine whose network is gone
        wait_until(lambda: self.lyon.status()["state"] == "waiting for call", "lyon to miss paris")
        self.lyon.command("promote", "--if-safe", "--yes")
        # Before anything is written here, the old side's last success was told: its next commit is
        # refused, or waits for a lease that does not come.
        told = writer.log.split("refused")[0].splitlines()
        self.lyon.python(PUT, self.lyon.path("zones"), "new")
        for process in servers:
            process.send_signal(signal.SIGCONT)
        wait_until(lambda: self.paris.status()["role"] != "master", "paris to be fenced")
        wait_until(lambda: "refused at" in writer.log, "the writer to be refused")
        self.assertIn("Permission denied", writer.log)
        self.assertEqual(writer.log.split("refused")[0].splitlines(), told)


class Boot(RolesTest):
    def reboot(self, node):
        """As after a reboot: the control file is made anew."""
        self.kill_node(node)
        (node.state / "groups/main/control").unlink()

    def test_after_a_reboot_writers_of_a_master_wait_for_a_peer_or_for_boot_wait(self):
        self.start_all("paris", "lyon", group=ONE, options='boot_wait = "2 s"')
        self.paris.python(PUT, self.paris.path("zones"), "a")
        self.kill_node(self.lyon)
        self.reboot(self.paris)
        begun = time.monotonic()
        self.paris.command("status")  # makes the control file
        self.paris.python(PUT, self.paris.path("zones"), "alone")
        self.assertGreater(time.monotonic() - begun, 1.5)
        self.start_node(self.paris)

        def unconfirmed():
            return any(e["code"] == "HB-boot-unconfirmed" for e in self.paris.status()["incidents"])

        wait_until(unconfirmed, "the incident")
        self.start_node(self.lyon)
        self.wait_good(self.paris)

    def test_a_master_that_reboots_after_a_promotion_takes_no_write_before_it_is_fenced(self):
        self.start_all("paris", "lyon", group=ONE, options='boot_wait = "60 s"')
        self.paris.python(PUT, self.paris.path("zones"), "a")
        self.paris.command("wait", "--for", "applied")
        self.reboot(self.paris)
        self.lyon.command("promote", "--yes")
        self.paris.command("status")
        late = self.background_python(self.paris, COUNTING, self.paris.path("zones"), "late")
        self.start_node(self.paris)
        wait_until(lambda: "refused at" in late.log, "the writer to be refused")
        self.assertIn("refused at 1 ", late.log)


if __name__ == "__main__":
    unittest.main()
