# SPDX-License-Identifier: Apache-2.0
"""The hooks post_restore and drill: what they hear, and what their failure holds up."""

import shutil

from support.pair import Group, PairTest
from support.waiting import wait_until

PUT = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=4)
with env.begin(write=True) as txn:
    for n in range(int(sys.argv[2])):
        txn.put(b"%08d" % n, b"value")
"""


class Hooks(PairTest):
    def start(self, options):
        self.start_pair(Group("main", {"zones": "zones"}, options=options))
        self.paris.python(PUT, self.paris.path("zones"), 50)
        self.wait_applied()

    def test_the_drill_hook_runs_on_the_copy_and_its_failure_is_exit_6_and_kept(self):
        heard = self.root / "heard"
        works = self.root / "works"
        words = "$HOTBACKUP_GROUP $HOTBACKUP_ROLE $HOTBACKUP_EPOCH $HOTBACKUP_PEER $HOTBACKUP_EVENT $HOTBACKUP_INTO"
        self.start(f"""drill = '''echo "{words} $HOTBACKUP_PLACES" >> {heard}; test -e {works}'''""")
        place = self.root / "drill"
        said = self.lyon.command("drill", "main", "start", "--into", place, expect=6)
        self.assertIn("HB-hook-failed: drill failed (exit 1)", said.stderr)
        self.assertEqual(heard.read_text(), f"main slave 1 paris drill {place} zones={place}/zones\n")
        self.assertTrue((place / "zones").exists(), "the copy of a failed drill is gone")
        kept = (self.lyon.state / "groups/main/drills.log").read_text()
        self.assertIn("drill failed (exit 1)", kept)
        self.assertIn("first_write_seconds", kept)
        self.lyon.command("drill", "main", "end")
        works.touch()
        again = self.lyon.resync("drill", "main", "start", "--into", place)
        self.assertEqual(again["hook"], "")
        self.assertGreater(again["first_write_seconds"], 0)

    def test_a_copy_whose_post_restore_failed_is_not_promoted_until_it_has_succeeded(self):
        works = self.root / "works"
        heard = self.root / "heard"
        hook = f"""'''echo "$HOTBACKUP_EVENT $HOTBACKUP_ROLE $HOTBACKUP_PLACES" >> {heard}; test -e {works}'''"""
        self.start(f"post_restore = {hook}")
        saves = self.root / "saves"
        self.lyon.command("save", "main", "--into", saves)
        self.lyon.server.stop()
        copy = self.lyon.path("zones")
        said = self.lyon.command("restore", "--from", saves, "--group", "main", "--replace", expect=6)
        self.assertIn("post_restore failed (exit 1)", said.stderr)
        if not copy.exists():
            copy = self.lyon.copy_path("main", "zones")
        self.assertEqual(heard.read_text(), f"post_restore slave zones={copy}\n")
        self.lyon.start("slave")
        self.wait_state(self.paris, ["replicating", "idle"])
        self.assertIn("NOT PREPARED", self.lyon.command("status", "main").stdout)
        # Neither by a switch nor by a promotion, not even with --force.
        refused = self.paris.command("switch", "main", "--to", "lyon", expect=3)
        self.assertIn("lyon may not be promoted", refused.stderr)
        self.paris.server.kill()
        refused = self.lyon.command("promote", "main", "--yes", "--force", expect=3)
        self.assertIn("lyon may not be promoted: post_restore failed", refused.stderr)
        why = self.lyon.command("why", "main").stdout
        self.assertIn("HB-post-restore", why)
        self.assertIn("hotbackup restore --group main --hook", why)
        # It is a fact of the files: what is in shared memory goes with the machine.
        self.lyon.server.stop()
        (self.lyon.state / "groups/main/control").unlink()
        self.lyon.start("slave")
        self.assertIn("may not be promoted", self.lyon.command("promote", "main", "--yes", expect=3).stderr)
        self.assertIn("HB-post-restore", self.lyon.command("why", "main").stdout)
        self.lyon.command("restore", "--group", "main", "--hook", expect=1)
        works.touch()
        self.lyon.command("restore", "--group", "main", "--hook")
        self.assertNotIn("HB-post-restore", self.lyon.command("why", "main").stdout)
        self.lyon.command("promote", "main", "--yes")

    def test_a_new_seed_clears_what_a_failed_post_restore_left(self):
        self.start('post_restore = "exit 1"')
        saves = self.root / "saves"
        self.lyon.command("save", "main", "--into", saves)
        self.lyon.server.stop()
        self.lyon.command("restore", "--from", saves, "--group", "main", "--replace", expect=6)
        self.lyon.command("init", "main", "--role", "slave", "--replace")
        self.lyon.start("slave")
        self.wait_state(self.paris, ["replicating", "idle"])
        wait_until(
            lambda: "HB-post-restore" not in self.lyon.command("why", "main").stdout,
            "the seed to clear it",
        )
        self.paris.command("switch", "main", "--to", "lyon")

    def test_a_restored_master_whose_hook_failed_says_so_and_stays_master(self):
        works = self.root / "works"
        self.start(f'post_restore = "test -e {works}"')
        self.paris.command("save", "main", "--into", self.root / "saves")
        self.paris.command("restore", "--from", self.root / "saves", "--group", "main", "--replace", expect=6)
        self.assertEqual(self.paris.status()["role"], "master")
        self.assertIn("HB-post-restore", self.paris.command("why", "main").stdout)
        works.touch()
        self.paris.command("restore", "--group", "main", "--hook")
        self.assertNotIn("HB-post-restore", self.paris.command("why", "main").stdout)

    def test_a_restore_that_is_refused_leaves_the_copy_promotable(self):
        self.start('post_restore = "exit 1"')
        saves = self.root / "saves"
        self.lyon.command("save", "main", "--into", saves)
        self.lyon.server.stop()
        self.lyon.command("restore", "--from", saves, "--group", "main", "--until", "999999", expect=1)
        save = next(saves.glob("*.hbs"))
        damaged = bytearray(save.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        save.write_bytes(damaged)
        self.lyon.command("restore", "--from", saves, "--group", "main", "--replace", expect=1)
        shutil.rmtree(saves)
        self.paris.server.kill()
        self.lyon.start("slave")
        self.lyon.command("promote", "main", "--yes")

    def test_recover_is_a_command_of_both_programs(self):
        self.make_pair(Group("main", {"zones": "zones"}))
        self.paris.command("init", "main", "--role", "master")
        self.paris.python(PUT, self.paris.path("zones"), 5)
        done = [self.paris.resync("recover", "main"), self.paris.json("recover", "main")]
        self.assertEqual(done[0], done[1])
        self.assertEqual(done[0]["group"], "main")
