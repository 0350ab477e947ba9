# SPDX-License-Identifier: Apache-2.0
"""The journal by hand: volumes, replay in rounds, points in time, the way home."""

import random
import shutil
import signal
import subprocess

from support import content, writers
from support.pair import Group, PairTest
from support.waiting import LONG, wait_until

ONE = Group("main", {"zones": "zones"})

# argv: path, transactions, first. Prints the state's model after each: one item says all before it.
COUNTED = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=8)
for n in range(int(sys.argv[3]), int(sys.argv[3]) + int(sys.argv[2])):
    with env.begin(write=True) as txn:
        txn.put(b"count", b"%d" % n)
        txn.put(b"item%d" % (n % 97), b"%d" % n)
        if n % 5 == 0:
            txn.delete(b"item%d" % (n * 7 % 97))
print("done")
"""


def model(through):
    """What COUNTED leaves after `through` transactions."""
    items = {}
    for n in range(1, through + 1):
        items[b"count"] = b"%d" % n
        items[b"item%d" % (n % 97)] = b"%d" % n
        if n % 5 == 0:
            items.pop(b"item%d" % (n * 7 % 97), None)
    return items


class Volumes(PairTest):
    def make_master(self):
        self.make_pair(ONE)
        self.paris.command("init", "main", "--role", "master")
        self.zones = self.paris.path("zones")
        self.saves = self.root / "saves"
        self.write(1, 1)  # the environment is there

    def write(self, first, many):
        self.paris.python(COUNTED, self.zones, many, first)

    def items(self, path):
        return dict(content.contents(path)[None][1])

    def count_of(self, number):
        """How many of COUNTED's transactions the updates through `number` hold."""
        updates = self.paris.json("log", "main", "--to-number", number)["updates"]
        return sum(1 for update in updates if update["kind"] == "update")


class PointInTime(Volumes):
    def test_random_targets_show_the_model_at_that_update(self):
        self.make_master()
        self.paris.resync("save", "main", "--into", self.saves)
        for turn in range(4):
            self.write(2 + turn * 50, 50)
            self.paris.resync("export", "main", "--into", self.saves, "--volume-size", "10 KB")
        self.assertGreaterEqual(len(list(self.saves.glob("*.hbv"))), 4)
        last = self.paris.status()["made"]
        first = self.paris.resync("saves", "main")["saves"][0]["number"]
        rnd = random.Random(4)
        for turn in range(200 if LONG else 15):
            number = rnd.randrange(first, last + 1)
            into = self.root / f"at-{turn}"
            done = self.lyon.resync("restore", "--from", self.saves, "--into", into, "--until", number)
            self.assertEqual(done["number"], number)
            self.assertEqual(self.items(into / "zones"), model(self.count_of(number)), f"update {number}")
            shutil.rmtree(into)
        end = self.lyon.resync("restore", "--from", self.saves, "--into", self.root / "end")
        self.assertEqual(end["number"], last)

    def test_a_mark_and_a_time_are_targets_and_one_outside_fails_before_anything_is_touched(self):
        self.make_master()
        self.paris.resync("save", "main", "--into", self.saves)
        self.write(2, 10)
        self.paris.command("mark", "main", "before the migration")
        time = self.paris.json("log", "main")["updates"][-1]["time"]
        self.write(12, 10)
        self.paris.resync("export", "main", "--into", self.saves)
        into = self.root / "mark"
        self.lyon.resync("restore", "--from", self.saves, "--into", into, "--until", "mark:before the migration")
        self.assertEqual(self.items(into / "zones"), model(11))
        into = self.root / "time"
        later = time[:-1] + "999Z"  # the millisecond's end
        self.lyon.resync("restore", "--from", self.saves, "--into", into, "--until", later)
        self.assertEqual(self.items(into / "zones"), model(11))
        for target in ("900", "mark:none", "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"):
            into = self.root / "outside"
            said = self.lyon.resync("restore", "--from", self.saves, "--into", into, "--until", target, expect=1)
            self.assertIn("what can be restored", said + " what can be restored" * ("mark" in target))
            self.assertFalse(into.exists())
        said = self.lyon.resync(
            "restore", "--from", self.saves, "--into", into, "--until", "2026-11-21 06:00:00", expect=2
        )
        self.assertIn("if it is UTC", said)

    def test_a_missing_volume_is_named_and_a_foreign_group_is_refused(self):
        self.make_master()
        self.paris.resync("save", "main", "--into", self.saves)
        for turn in range(3):
            self.write(2 + turn * 5, 5)
            self.paris.resync("export", "main", "--into", self.saves)
        volumes = sorted(self.saves.glob("*.hbv"))
        aside = self.root / volumes[1].name
        volumes[1].rename(aside)
        done = self.lyon.command("restore", "--from", self.saves, "--into", self.root / "gap", expect=6)
        self.assertIn("a volume is missing", done.stderr)
        place = self.root / "place"
        self.lyon.resync("restore", "--from", self.saves, "--into", place, "--until",
                         volumes[0].name.split("-")[2].split(".")[0].lstrip("0"))  # fmt: skip
        before = self.items(place / "zones")
        said = self.lyon.resync("load", "main", "--from", volumes[2], "--into", place, expect=1)
        self.assertIn("a volume is missing", said)
        aside.rename(volumes[1])
        other = Group("other", {"zones": "other/zones"})
        self.paris.configure(self.lyon, (ONE, other))
        self.paris.command("init", "other", "--role", "master")
        self.paris.python(COUNTED, self.paris.path("other/zones"), 3, 1)
        self.paris.resync("export", "other", "--into", self.root / "foreign")
        said = self.lyon.resync("load", "main", "--from", self.root / "foreign", "--into", place, expect=1)
        self.assertIn("another group", said)
        self.assertEqual(self.items(place / "zones"), before)
        self.lyon.resync("load", "main", "--from", self.saves, "--into", place)
        self.assertEqual(self.items(place / "zones"), model(16))
        again = self.lyon.resync("load", "main", "--from", self.saves, "--into", place)
        self.assertEqual(again["updates"], 0)

    def test_selected_items_go_to_another_name(self):
        self.make_master()
        self.paris.resync("save", "main", "--into", self.saves)
        self.write(2, 40)
        self.paris.resync("export", "main", "--into", self.saves)
        place = self.root / "place"
        self.lyon.resync("restore", "--from", self.saves, "--into", place, "--until",
                         self.paris.resync("saves", "main")["saves"][0]["number"])  # fmt: skip
        before = self.items(place / "zones")
        self.lyon.resync("load", "main", "--from", self.saves, "--into", place, "--key", "item7",
                         "--as", "zones=looked-at")  # fmt: skip
        self.assertEqual(self.items(place / "zones"), before)
        self.assertEqual(self.items(place / "looked-at"), {b"item7": b"7"})
        listed = self.lyon.json("load", "main", "--from", self.saves, "--list")["updates"]
        self.assertEqual(len([u for u in listed if u["kind"] == "update"]), 41)

    def test_a_flipped_byte_in_a_volume_is_found_and_not_applied(self):
        self.make_master()
        self.paris.resync("save", "main", "--into", self.saves)
        self.write(2, 40)
        self.paris.resync("export", "main", "--into", self.saves)
        volume = next(self.saves.glob("*.hbv"))
        good = volume.read_bytes()
        place = self.root / "place"
        number = self.paris.resync("saves", "main")["saves"][0]["number"]
        self.lyon.resync("restore", "--from", self.saves, "--into", place, "--until", number)
        rnd = random.Random(9)
        for _ in range(300 if LONG else 25):
            bad = bytearray(good)
            bad[rnd.randrange(len(bad))] ^= 1 << rnd.randrange(8)
            volume.write_bytes(bad)
            self.lyon.command("check", volume, expect=4)
            self.lyon.resync("load", "main", "--from", volume, "--into", place, expect=1)
        volume.write_bytes(good)
        self.lyon.resync("load", "main", "--from", volume, "--into", place)
        self.assertEqual(self.items(place / "zones"), model(41))


class WarmStandby(Volumes):
    def test_a_slave_fed_by_volumes_goes_over_to_the_stream_without_a_seed(self):
        self.make_master()
        self.write(2, 200)
        self.lyon.command("init", "main", "--role", "slave")
        self.paris.resync("save", "main", "--into", self.saves)
        self.lyon.resync("restore", "--from", self.saves, "--group", "main")
        self.lyon.start("slave")
        exporter = self.background(
            self.paris, [self.paris.programs.resync, "export", "main", "--into", self.saves, "--follow",
                         "--every", "200 ms"], capture=False)  # fmt: skip
        loader = self.background(
            self.lyon, [self.lyon.programs.resync, "load", "main", "--from", self.saves, "--follow"], capture=False
        )
        for turn in range(3):  # rounds of replay, while the writer goes on
            self.write(202 + turn * 30, 30)
            made = self.paris.status()["made"]
            wait_until(lambda: self.lyon.status()["applied"] >= made, "the volumes to arrive")
        exporter.process.send_signal(signal.SIGTERM)
        exporter.process.wait(20)
        loader.process.send_signal(signal.SIGTERM)
        loader.process.wait(20)
        before = self.lyon.status()["applied"]
        self.paris.start("master")
        self.write(292, 10)
        self.wait_applied()
        self.assertEqual(self.assert_equal_copies(), 1)
        self.assertGreater(self.lyon.status()["applied"], before)
        self.assertNotIn("seeding", (self.paris.root / "master.log").read_text())
        self.assertEqual(self.lyon.json("log", "main")["updates"][0]["number"] > 1, True)

    def test_both_machines_lost_and_the_last_exported_update_is_back(self):
        self.make_master()
        self.paris.resync("save", "main", "--into", self.saves)
        self.write(2, 77)
        self.paris.resync("export", "main", "--into", self.saves)
        shutil.rmtree(self.paris.root)
        into = self.root / "empty-machine"
        subprocess.run(
            [self.lyon.programs.resync, "restore", "--from", self.saves, "--into", into],
            env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True,
        )  # fmt: skip
        self.assertEqual(self.items(into / "zones"), model(78))

    def test_a_dead_masters_tail_is_taken_by_its_slave(self):
        self.start_pair(ONE)
        self.zones = self.paris.path("zones")
        self.write(1, 20)
        self.wait_applied()
        self.paris.server.kill()
        self.write(21, 30)  # nobody has these
        listed = self.lyon.json("tail", "main", "--from", self.paris.state, "--list")
        self.assertEqual(len([u for u in listed["updates"] if u["kind"] == "update"]), 30)
        taken = self.lyon.resync("tail", "main", "--from", self.paris.state)
        self.assertEqual((taken["updates"], taken["open"]), (30, []))
        wait_until(lambda: self.lyon.status()["applied"] == taken["number"], "the tail to be applied")
        self.assertEqual(self.items(self.lyon.path("zones") if self.lyon.path("zones").exists()
                                    else self.lyon.copy_path("main", "zones")), model(50))  # fmt: skip
        self.assertEqual(self.lyon.resync("tail", "main", "--from", self.paris.state)["updates"], 0)

    def test_drain_waits_for_the_queue_and_a_drill_disturbs_nothing(self):
        self.start_pair(ONE)
        self.zones = self.paris.path("zones")
        self.write(1, 300)
        self.assertEqual(self.paris.resync("drain", "main")["queue_updates"], 0)
        self.lyon.server.kill()
        self.write(301, 5)
        self.assertIn("still in the queue", self.paris.resync("drain", "main", "--timeout", "1 s", expect=5))
        self.lyon.start("slave")
        self.paris.resync("drain", "main", "--timeout", "30 s")
        self.wait_applied()
        drill = self.lyon.resync("drill", "main", "start", "--into", self.root / "drill")
        self.assertGreater(drill["first_write_seconds"], 0)
        self.assertEqual(self.items(self.root / "drill/zones"), model(305))
        self.write(306, 5)
        self.wait_applied()
        self.assertIn("is on", self.lyon.resync("drill", "main", "start", "--into", self.root / "x", expect=3))
        self.lyon.resync("drill", "main", "end")
        self.assertFalse((self.root / "drill").exists())
        self.assertEqual(len((self.lyon.state / "groups/main/drills.log").read_text().splitlines()), 2)
