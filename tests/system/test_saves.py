# SPDX-License-Identifier: Apache-2.0
"""Saves that are made by themselves: [group.saves], on a master and on a slave, filters, archives."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from support import content
from support.pair import Group, PairTest
from support.waiting import wait_until

PUT = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=4)
named = env.open_db(b"named")
for n in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])):
    with env.begin(write=True) as txn:
        txn.put(b"%08d" % n, b"value of %d" % n)
        txn.put(b"%08d" % n, b"named %d" % n, db=named)
"""


def flip(path, at=None):
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 if at is None else at] ^= 1
    path.write_bytes(damaged)


class SavesTest(PairTest):
    def configure(self, saves, options=""):
        lines = "\n".join([options, "[group.saves]", saves])
        self.make_pair(Group("main", {"zones": "zones"}, options=lines))
        self.zones = self.paris.path("zones")

    def master(self, saves, options=""):
        """A master alone."""
        self.configure(saves, options)
        self.paris.command("init", "main", "--role", "master")
        self.put(1, 20)
        self.paris.start("master")

    def put(self, first, count):
        self.paris.python(PUT, self.zones, first, count)

    def place(self, name="saves"):
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def saves(self, node, *places):
        answer = node.resync("saves", "--from", *(places or [self.root / "saves"]))
        return answer["saves"]

    def verified(self, place, kind="save"):
        return [one for one in self.saves(self.paris, place)
                if one["kind"] == kind and one.get("verified")]  # fmt: skip

    def incidents(self, node=None):
        answer = (node or self.paris).json("incidents", "main")
        return {one["code"]: one["text"] for one in answer["incidents"]
                if one["code"].startswith("HB-save") and not one["cleared"]}  # fmt: skip

    def wait_clear(self, *codes):
        """Others of them may come and go: the periods are short, and the machine may be slow."""
        wait_until(lambda: not set(codes) & set(self.incidents()), f"the all-clear of {codes}", 60)

    def restored(self, *sources, words=(), expect=0):
        into = self.root / f"restored-{len(list(self.root.glob('restored-*')))}"
        self.paris.resync("restore", *[w for s in sources for w in ("--from", s)], "--into", into, *words, expect=expect)
        return into / "zones"


class Schedule(SavesTest):
    def test_a_master_saves_verifies_and_follows_with_volumes(self):
        into = self.place()
        self.master(f'full = "1 h"\ndifferential = "500 ms"\ninto = ["{into}"]')
        wait_until(lambda: self.verified(into), "the first save")
        self.assertEqual(self.verified(into)[0]["verified_how"], "restore")
        self.put(21, 30)
        made = self.paris.status()["made"]
        wait_until(lambda: any(v["last"] >= made for v in self.verified(into, "volume")), "the volumes")
        self.assertEqual(content.differences(self.zones, self.restored(into)), [])
        self.put(51, 5)
        made = self.paris.status()["made"]
        wait_until(lambda: any(v["last"] >= made for v in self.verified(into, "volume")), "more volumes")
        self.assertEqual(content.differences(self.zones, self.restored(into)), [])
        self.assertEqual(len(self.verified(into)), 1)
        self.assertEqual(list(into.glob(".*")), [], "a trial restore has left something")
        self.assertEqual(self.incidents(), {})

    def test_a_slave_saves_by_its_own_configuration(self):
        into = self.place()
        self.configure('full = "off"')
        text = self.lyon.config.read_text()
        self.lyon.config.write_text(text.replace('full = "off"', f'full = "2 s"\ninto = ["{into}"]'))
        self.init_pair()
        self.lyon.start("slave")
        self.paris.start("master")
        self.wait_state(self.paris, ["replicating", "idle"])
        self.put(1, 40)
        self.wait_applied()
        applied = self.lyon.status()["applied"]
        wait_until(lambda: any(s["number"] >= applied for s in self.verified(into)), "the slave's save")
        self.assertEqual(content.differences(self.zones, self.restored(into)), [])
        self.assertFalse((self.paris.state / "groups/main/saves-plan.json").exists())

    def test_retention_over_many_rounds_leaves_what_can_be_restored(self):
        into = self.place()
        self.master(f'full = "1 s"\ndifferential = "200 ms"\nkeep = "3 s"\nverify = "read"\ninto = ["{into}"]')
        seen = set()
        number = 21
        while len(seen) < 8:
            seen.update(one["path"] for one in self.verified(into))
            self.put(number, 1)
            number += 1
        made = self.paris.status()["made"]
        wait_until(lambda: any(v["number"] >= made for v in self.verified(into)), "a save of everything")
        wait_until(lambda: len(list(into.glob("*.hbs"))) < len(seen), "old saves to go")
        self.paris.server.stop()
        marked = {path.name.removesuffix(".verified") for path in into.glob("*.verified")}
        self.assertLessEqual(marked, {path.name for path in into.iterdir()})
        self.assertEqual(content.differences(self.zones, self.restored(into)), [])

    def test_a_server_that_stops_ends_the_save_and_leaves_nothing_of_it(self):
        into = self.place()
        slow = self.root / "slow"
        slow.write_text("#!/bin/sh\ntouch $1\nsleep 600\ncat\n")
        slow.chmod(0o755)
        self.master(f'full = "1 h"\nfilter = "{slow} {self.root}/begun"\nverify = "read"\ninto = ["{into}"]')
        wait_until(lambda: (self.root / "begun").exists(), "the save to be in its filter")
        self.assertTrue(list(into.glob("*.part")))
        begun = time.monotonic()
        self.paris.server.stop()
        self.assertLess(time.monotonic() - begun, 20)
        alive = subprocess.run(["pgrep", "-f", f"{slow} {self.root}"], capture_output=True, text=True).stdout
        self.assertEqual(alive, "")
        self.assertEqual(list(into.iterdir()), [])

    def test_never_two_at_once(self):
        into = self.place()
        self.configure(f'full = "1 h"\nverify = "read"\ninto = ["{into}"]')
        self.paris.command("init", "main", "--role", "master")
        self.put(1, 5)
        # A save by hand that goes on until its filter ends.
        begun, works = self.root / "begun", self.root / "works"
        slow = f"touch {begun}; while ! test -e {works}; do sleep 0.1; done; cat"
        hand = subprocess.Popen(
            [self.paris.programs.resync, "save", "main", "--into", self.root / "by-hand.hbs", "--filter", slow],
            env=self.paris.environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.at_end(lambda: (works.touch(), hand.wait(20)))
        wait_until(begun.exists, "the save by hand to begin")
        self.assertIn("another save", self.paris.command("scheduled", "main").stderr)
        self.assertEqual(list(into.iterdir()), [])
        self.assertEqual(self.incidents(), {})
        works.touch()
        self.assertEqual(hand.wait(20), 0)
        self.paris.command("scheduled", "main")
        self.assertEqual(len(self.verified(into)), 1)


class Destinations(SavesTest):
    def test_a_place_that_cannot_be_written_is_an_incident_and_the_other_has_the_save(self):
        good = self.place("good")
        bad = self.root / "nowhere/bad"
        self.master(f'full = "2 s"\nverify = "read"\ninto = ["{good}", "{bad}"]')
        wait_until(lambda: self.verified(good), "the save in the good place")
        wait_until(lambda: "HB-save-failed" in self.incidents(), "the incident")
        self.assertIn("nowhere", self.incidents()["HB-save-failed"])
        wait_until(lambda: "HB-save-one-place" in self.incidents(), "the other incident")
        self.assertIn(str(bad), self.incidents()["HB-save-one-place"])
        bad.parent.mkdir()  # the disk is mounted
        wait_until(lambda: bad.exists() and self.verified(bad), "the save in the other place")
        self.wait_clear("HB-save-failed", "HB-save-one-place")
        self.assertEqual(content.differences(self.zones, self.restored(bad)), [])

    def test_a_full_disk_is_an_incident_and_leaves_nothing_of_the_save(self):
        full = self.place("full")
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", full], check=False)
        if mounted.returncode != 0:
            self.skipTest("no tmpfs can be mounted here")
        self.at_end(lambda: subprocess.run(["umount", full], check=False))
        good = self.place("good")
        self.configure(f'full = "2 s"\nverify = "restore"\ninto = ["{full}", "{good}"]')
        self.paris.command("init", "main", "--role", "master")
        self.paris.python(
            "import lmdb, os, sys\nenv = lmdb.open(sys.argv[1], map_size=1 << 28)\n"
            "with env.begin(write=True) as t:\n  t.put(b'large', os.urandom(400_000))",
            self.zones,
        )
        self.paris.start("master")
        wait_until(lambda: "HB-save-failed" in self.incidents(), "the incident")
        self.assertIn("No space left", self.incidents()["HB-save-failed"])
        wait_until(lambda: self.verified(good), "the save in the good place")
        self.assertEqual(content.differences(self.zones, self.restored(good)), [])
        self.paris.server.stop()
        self.assertEqual(list(full.iterdir()), [])

    def test_a_flipped_byte_at_one_place_is_an_incident_and_the_other_place_is_used(self):
        one, two = self.place("one"), self.place("two")
        self.master(f'full = "1 h"\nverify = "restore"\ninto = ["{one}", "{two}"]')
        wait_until(lambda: self.verified(one) and self.verified(two), "both saves")
        self.paris.server.stop()
        save = next(two.glob("*.hbs"))
        flip(save)
        # Nobody has seen it yet: the restore does.
        into = self.restored(one, two, expect=6)
        self.assertEqual(content.differences(self.zones, into), [])
        # What one would fall back on is read again when the next save is there.
        text = self.paris.config.read_text()
        self.paris.config.write_text(text.replace('full = "1 h"', 'full = "1 s"'))
        self.paris.start("master")
        mark = pathlib.Path(str(save) + ".invalid")
        wait_until(mark.exists, "the damaged save to be marked")
        self.assertIn("damaged at byte", json.loads(mark.read_text())["text"])
        self.assertFalse(pathlib.Path(str(save) + ".verified").exists())
        log = self.paris.json("incidents", "main")["incidents"]
        told = [entry for entry in log if entry["code"] == "HB-save-failed" and save.name in entry["text"]]
        self.assertTrue(told, log)
        self.paris.server.stop()
        invalid = [entry for entry in self.saves(self.paris, two) if entry["path"] == str(save)]
        self.assertIn("marked invalid", invalid[0]["problem"])
        # A restore passes it over, also where it is the only one.
        self.paris.resync("restore", "--from", save, "--into", self.root / "no", expect=1)
        flip(save)
        self.paris.command("check", save, "--record")
        self.assertFalse(mark.exists(), "good again, and still marked")

    def test_the_applications_own_check_decides_which_save_counts(self):
        into = self.place()
        works = self.root / "works"
        check = self.root / "check"
        check.write_text(f'#!/bin/sh\ntest "$HOTBACKUP_EVENT" = verify -a -d "$HOTBACKUP_INTO/zones" -a -e {works}\n')
        check.chmod(0o755)
        self.master(f'full = "4 s"\nverify = "app"\ninto = ["{into}"]', f'drill = "{check}"')
        wait_until(lambda: "HB-save-failed" in self.incidents(), "the application to refuse")
        self.assertIn("the application's check: verify failed", self.incidents()["HB-save-failed"])
        wait_until(lambda: "HB-save-too-old" in self.incidents(), "no verified save for two periods")
        refused = self.paris.resync("restore", "--from", into, "--into", self.root / "no", expect=1)
        self.assertIn("marked invalid", refused)
        works.touch()
        self.wait_clear("HB-save-failed", "HB-save-too-old")
        self.assertEqual(self.verified(into)[-1]["verified_how"], "app")
        self.assertEqual(content.differences(self.zones, self.restored(into, expect=6)), [])

    def test_a_save_that_takes_longer_than_its_period_is_told_while_it_does(self):
        into = self.place()
        works = self.root / "works"
        slow = f"while ! test -e {works}; do sleep 0.1; done"
        self.master(f'full = "1 s"\nverify = "app"\ninto = ["{into}"]', f'drill = "{slow}"')
        wait_until(lambda: "HB-save-slow" in self.incidents(), "the incident")
        works.touch()
        wait_until(lambda: "HB-save-slow" not in self.incidents(), "the all-clear")


class Plan(SavesTest):
    def test_the_plan_names_what_comes_its_space_and_what_goes(self):
        into = self.place()
        self.master(f'full = "6 h"\ndifferential = "15 min"\nkeep = "1 h"\ninto = ["{into}"]')
        wait_until(lambda: self.verified(into), "the first save")
        plan = self.paris.resync("saves", "main", "--plan")["plan"]
        kinds = [event["kind"] for event in plan["events"]]
        self.assertEqual(kinds, ["differential", "full"])
        self.assertLess(plan["events"][0]["time"], plan["events"][1]["time"])
        there = plan["places"][0]
        self.assertEqual(there["path"], str(into))
        self.assertEqual(there["used_bytes"], next(into.glob("*.hbs")).stat().st_size)
        self.assertEqual(there["expected_bytes"], 2 * there["used_bytes"])
        self.assertEqual(there["next_removals"], [str(next(into.glob("*.hbs")))])
        said = self.paris.command("saves", "main", "--plan").stdout
        self.assertIn("goes at", said)

    def test_saves_that_are_switched_off_take_their_incidents_with_them(self):
        self.master(f'full = "1 h"\ninto = ["{self.root}/nowhere/x"]')
        wait_until(lambda: "HB-save-failed" in self.incidents(), "the incident")
        text = self.paris.config.read_text()
        self.paris.config.write_text(text.replace('full = "1 h"', 'full = "off"'))
        os.kill(self.paris.server.pid, signal.SIGHUP)
        wait_until(lambda: self.incidents() == {}, "the all-clear")
        self.assertIn("nothing is planned", self.paris.command("saves", "main", "--plan").stdout)


class Filtered(SavesTest):
    def make(self):
        self.configure("")
        self.paris.command("init", "main", "--role", "master")
        self.put(1, 30)
        into = self.place()
        self.paris.resync("save", "main", "--into", into, "--filter", "gzip -c")
        self.put(31, 20)
        self.paris.resync("export", "main", "--into", into, "--filter", "gzip -c")
        return into

    def test_filtered_files_are_listed_checked_and_chosen_without_the_key(self):
        into = self.make()
        listed = self.saves(self.paris, into)
        self.assertEqual([(one["kind"], one["filtered"]) for one in listed], [("save", True), ("volume", True)])
        self.assertEqual(listed[1]["last"], self.paris.status()["made"])
        good = self.paris.resync("check", into)["files"]
        self.assertEqual([one["how"] for one in good], ["filtered", "filtered"])
        opened = self.paris.resync("check", into, "--filter", "gzip -d")["files"]
        self.assertEqual([one["how"] for one in opened], ["read", "read"])
        self.assertIn("--filter names", self.paris.resync("restore", "--from", into, "--into", self.root / "no", expect=2))
        zones = self.restored(into, words=["--filter", "gzip -d"])
        self.assertEqual(content.differences(self.zones, zones), [])
        # Until an update: the chain is chosen without the key.
        first = listed[0]["number"]
        early = self.restored(into, words=["--filter", "gzip -d", "--until", first])
        self.assertNotEqual(content.differences(self.zones, early), [])

    def test_a_flipped_byte_of_a_filtered_file_is_found_with_and_without_the_key(self):
        into = self.make()
        save = next(into.glob("*.hbs"))
        size = save.stat().st_size
        for at in (0, 9, size // 3, size // 2, size - 1):
            flip(save, at)
            for words in ([], ["--filter", "gzip -d"]):
                said = self.paris.command("check", save, *words, expect=4)
                self.assertIn("damaged at byte", said.stdout)
            flip(save, at)
        info = pathlib.Path(str(save) + ".info")
        flip(info, info.stat().st_size // 2)
        self.paris.command("check", save, expect=4)

    def test_the_sidecar_names_no_key_value_path_or_database(self):
        into = self.make()
        for info in into.glob("*.info"):
            text = info.read_text()
            for secret in ("named", "value of", str(self.zones), "environments", "databases"):
                self.assertNotIn(secret, text)

    def test_scheduled_saves_go_through_their_filter_and_back(self):
        into = self.place()
        self.master(
            f'full = "1 h"\ndifferential = "300 ms"\ninto = ["{into}"]\nfilter = "gzip -c"\nunfilter = "gzip -d"'
        )
        wait_until(lambda: self.verified(into), "the save")
        self.assertEqual(self.verified(into)[0]["verified_how"], "restore")
        self.put(21, 5)
        made = self.paris.status()["made"]
        wait_until(lambda: any(v["last"] >= made for v in self.verified(into, "volume")), "the volume")
        self.assertEqual(content.differences(self.zones, self.restored(into, words=["--filter", "gzip -d"])), [])


class BothLost(SavesTest):
    def test_from_the_save_directory_alone_the_last_archived_update(self):
        into = self.place()
        self.configure(f'full = "1 h"\ndifferential = "200 ms"\ninto = ["{into}"]')
        self.init_pair()
        self.lyon.start("slave")
        self.paris.start("master")
        self.wait_state(self.paris, ["replicating", "idle"])
        wait_until(lambda: self.verified(into), "the first save")
        for turn in range(5):
            self.put(100 * turn, 20)
        made = self.paris.status()["made"]
        wait_until(lambda: any(v["last"] >= made for v in self.verified(into, "volume")), "the volumes")
        expected = self.root / "expected"
        shutil.copytree(self.zones, expected)
        for node in (self.paris, self.lyon):
            node.server.kill()
            shutil.rmtree(node.root)
        empty = self.root / "empty"
        done = subprocess.run(
            [self.lyon.programs.resync, "restore", "--from", into, "--into", empty, "--json"],
            env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["number"], made)
        self.assertEqual(content.differences(expected, empty / "zones"), [])

    def test_segments_of_the_archive_command_are_volumes_for_a_restore(self):
        archive = self.place("archive")
        options = f'archive = "cp %p {archive}/%f"\nsegment_size = "1 MB"'
        self.configure("", options)
        self.paris.command("init", "main", "--role", "master")
        self.put(1, 10)
        self.paris.start("master")
        into = self.place()
        self.paris.resync("save", "main", "--into", into)
        big = (
            "import lmdb, os, sys\nenv = lmdb.open(sys.argv[1], map_size=1 << 28)\n"
            "for n in range(40):\n  with env.begin(write=True) as t:\n    t.put(b'big%d' % n, os.urandom(100_000))"
        )
        self.paris.python(big, self.zones)
        wait_until(lambda: len(list(archive.glob("*.hbj"))) >= 3, "three archived segments")
        self.paris.server.stop()
        listed = [one for one in self.saves(self.paris, into, archive) if one["kind"] == "segment"]
        last = max(one["last"] for one in listed)
        report = self.paris.resync("restore", "--from", into, "--from", archive, "--into", self.root / "all")
        self.assertEqual(report["number"], last)
        with content.reading(self.root / "all/zones") as (_, txn):
            there = sum(txn.get(b"big%d" % n) is not None for n in range(40))
        with content.reading(self.zones) as (_, txn):
            for n in range(there):
                self.assertEqual(
                    txn.get(b"big%d" % n),
                    content_of(self.root / "all/zones", b"big%d" % n),
                )
        self.assertGreater(there, 5)
        # A damaged one ends the chain before it; it is never applied.
        first = sorted(archive.glob("*.hbj"))[1]
        flip(first, 200_000)
        less = self.root / "less"
        said = self.paris.command("restore", "--from", into, "--from", archive, "--into", less, expect=6)
        self.assertIn("a volume is missing", said.stderr)
        with content.reading(less / "zones") as (_, txn):
            self.assertLess(sum(txn.get(b"big%d" % n) is not None for n in range(40)), there)


def content_of(path, key):
    with content.reading(path) as (_, txn):
        return txn.get(key)
