# SPDX-License-Identifier: Apache-2.0
"""hotbackup compare: the copies at one update number, while work goes on."""

import os
import unittest

import lmdb

from support import content, writers
from support.pair import Group, PairTest
from support.processes import Server

ONE = Group("main", {"one": "one"})
LOCAL = Group("main", {"one": "one"}, env_options='keep_local = ["licence", "items:local*"]')

# argv: path. Plain items, sorted duplicates, items of the main database.
CONTENT = """
import lmdb, sys
with lmdb.open(sys.argv[1], map_size=1 << 28, max_dbs=8) as env:
    items, dups = env.open_db(b"items"), env.open_db(b"dups", dupsort=True)
    with env.begin(write=True) as txn:
        for n in range(3000):
            txn.put(b"%06d" % n, b"value %d" % n * (n % 9 + 1), db=items)
            txn.put(b"%03d" % (n % 300), b"dup %06d" % n, db=dups)
        txn.put(b"large", b"z" * 700000, db=items)
"""


def foreign(path):
    """The copy, as a program without the library opens it."""
    return lmdb.open(str(path), map_size=1 << 28, max_dbs=8)


def plant(copy):
    """One of each kind; returns what the comparison has to find."""
    with foreign(copy) as env:
        items = env.open_db(b"items", create=False)
        dups = env.open_db(b"dups", dupsort=True, create=False)
        with env.begin(write=True) as txn:
            txn.put(b"000007", b"not the value", db=items)
            txn.delete(b"000011", db=items)
            txn.put(b"large", b"z" * 699999 + b"y", db=items)
            txn.put(b"stranger", b"x", db=items)
            txn.delete(b"012", b"dup 000312", db=dups)
    return {
        ("items", "000007", "wrong value"),
        ("items", "000011", "missing"),
        ("items", "large", "wrong value"),
        ("items", "stranger", "extra"),
        ("dups", "012", "wrong duplicate"),
    }


# argv: path, number of items. 100 bytes each.
MANY = """
import lmdb, sys
many = int(sys.argv[2])
with lmdb.open(sys.argv[1], map_size=1 << 32, max_dbs=8) as env:
    items = env.open_db(b"items")
    for first in range(0, many, 50000):
        with env.begin(write=True) as txn:
            for n in range(first, min(first + 50000, many)):
                txn.put(b"%010d" % n, (b"value %d " % n).ljust(90, b"x"), db=items)
"""


# What an application would print of its data at this path.
REPORT = """
import lmdb
with lmdb.open("%s", readonly=True, max_dbs=8) as env:
    items = env.open_db(b"items", create=False)
    with env.begin() as txn:
        for key, value in txn.cursor(items):
            print(key.decode(), value[:40].decode(), len(value))
"""


def found(answer):
    return {(one["database"], one["key"], one["difference"]) for one in answer["differences"]}


class Compare(PairTest):
    def start(self, group):
        self.start_pair(group)
        self.paris.python(CONTENT, self.paris.path("one"))
        self.wait_applied()

    def start_second_server(self):
        """A question to paris is answered by its slave server, as after a change of roles."""
        paris = self.paris
        server = Server(
            paris.programs.slave, paris.config, paris.root / "slave.log", paris.root / "slave.notify"
        )
        self.at_end(server.kill)
        server.wait_ready()

    def compare(self, *words, node=None, expect=0):
        return (node or self.paris).json("compare", "main", *words, expect=expect)

    def test_differences_are_found_to_the_key_and_repaired_while_a_program_writes(self):
        self.start(ONE)
        writer = self.background_python(self.paris, writers.ENDLESS, self.paris.path("one"))
        writer.wait_for("\n100\n")
        self.assertEqual(self.compare()["differences"], [])
        planted = plant(self.lyon.path("one"))
        answer = self.compare(expect=4)
        # ENDLESS writes other keys, some of them in the copy's database that was written to.
        self.assertEqual(found(answer), planted)
        self.assertEqual(answer["copies"][0]["node"], "lyon")
        codes = {incident["code"] for incident in self.lyon.status()["incidents"]}
        self.assertIn("HB-copy-differs", codes)
        # The master, whose writer goes on, says so as well: until a comparison is clean.
        line = self.paris.command("status", "--check", expect=4).stdout.splitlines()[0]
        self.assertIn("NOT PROTECTED: lyon's copy is known to differ (HB-copy-differs: ", line)
        self.assertIn("Next: hotbackup compare main --repair", line)
        repaired = self.compare("--repair")
        self.assertEqual(repaired["copies"][0]["repaired"], len(planted))
        self.assertEqual(self.lyon.status()["incidents"], [])
        writer.end()
        self.wait_applied()
        self.assertEqual(content.differences(self.paris.path("one"), self.lyon.path("one")), [])

    def test_no_difference_is_found_under_load_where_there_is_none(self):
        self.start(ONE)
        self.background_python(self.paris, writers.THREADS, 120, 1, 3, self.paris.path("one"))
        numbers = []
        for _ in range(15):
            numbers.append(self.compare()["copies"][0]["number"])
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_missing_extra_and_differently_flagged_databases_are_repaired_whole(self):
        self.start(ONE)
        with foreign(self.lyon.path("one")) as env:
            with env.begin(write=True) as txn:
                txn.drop(env.open_db(b"dups", dupsort=True, txn=txn))
                txn.put(b"1", b"1", db=env.open_db(b"more", txn=txn))
                txn.drop(env.open_db(b"items", txn=txn))
            with env.begin(write=True) as txn:
                txn.put(b"1", b"2", db=env.open_db(b"items", dupsort=True, txn=txn))
        self.assertEqual(
            found(self.compare(expect=4)),
            {
                ("dups", None, "missing database"),
                ("items", None, "wrong flags"),
                ("more", None, "extra database"),
            },
        )
        self.compare("--repair")
        self.assertEqual(content.differences(self.paris.path("one"), self.lyon.path("one")), [])

    def test_local_items_are_counted_and_are_no_difference(self):
        self.start(LOCAL)
        with foreign(self.lyon.path("one")) as env:
            with env.begin(write=True) as txn:
                txn.put(b"local 1", b"lyon's", db=env.open_db(b"items", txn=txn))
                txn.put(b"1", b"lyon's", db=env.open_db(b"licence", txn=txn))
        answer = self.compare()
        self.assertEqual(answer["copies"][0]["local_items"], 2)

    def test_it_runs_on_the_slave_too_and_says_where_it_cannot(self):
        self.start(ONE)
        failed = self.lyon.command("compare", "main", expect=1)
        self.assertIn("paris", failed.stderr)  # no slave server answers there
        self.start_second_server()
        self.assertEqual(self.compare(node=self.lyon)["differences"], [])
        plant(self.lyon.path("one"))
        self.assertEqual(len(self.compare("--repair", node=self.lyon)["differences"]), 0)
        self.lyon.command("pause", "main")
        self.assertIn("paused", self.paris.command("compare", "main", expect=3).stderr)

    def test_an_applications_report_is_compared_at_one_number_under_load(self):
        self.start(ONE)
        for node in (self.paris, self.lyon):
            script = node.root / "report.py"
            script.write_text(REPORT % str(self.root / node.name / "data/one"))
            text = node.config.read_text()
            first = f'[group.reports]\nall = "/usr/bin/python3 {script}"\n  [[group.env]]'
            node.config.write_text(text.replace("  [[group.env]]", first, 1))
        self.background_python(self.paris, writers.ENDLESS, self.paris.path("one"))
        for _ in range(3):
            self.assertTrue(self.compare("--report", "all")["equal"])
        plant(self.lyon.path("one"))
        self.assertFalse(self.compare("--report", "all", expect=4)["equal"])
        self.paris.command("compare", "main", "--report", "none", expect=3)

    @unittest.skipUnless(os.environ.get("HOTBACKUP_LONG"), "takes minutes: HOTBACKUP_LONG=1")
    def test_1_10_and_1000_differences_in_three_large_environments_are_found_exactly(self):
        names = ("one", "two", "three")
        many = int(os.environ.get("HOTBACKUP_COMPARE_ITEMS", "5000000")) // len(names)
        self.start_pair(Group("main", {name: name for name in names}))
        for name in names:
            self.paris.python(MANY, self.paris.path(name), many, seconds=900)
        self.wait_applied(seconds=900)
        writer = self.background_python(self.paris, writers.ENDLESS, self.paris.path("one"))
        writer.wait_for("\n100\n")
        for wanted in (1, 10, 1000):
            planted = set()
            for place, name in enumerate(names):
                with lmdb.open(str(self.lyon.path(name)), map_size=1 << 32, max_dbs=8) as env:
                    items = env.open_db(b"items", create=False)
                    with env.begin(write=True) as txn:
                        for n in range(place, wanted, len(names)):
                            # ENDLESS writes other keys of "one": eight digits, not ten.
                            key = b"%010d" % (n * (many // wanted) // len(names) + 7)
                            what = ("wrong value", "missing", "extra")[n // 3 % 3]
                            if what == "extra":
                                key += b"x"
                                txn.put(key, b"x", db=items)
                            elif what == "missing":
                                txn.delete(key, db=items)
                            else:
                                txn.put(key, b"not it", db=items)
                            planted.add((name, key.decode(), what))
            answer = self.paris.json("compare", "main", expect=4, seconds=900)
            listed = {(d["environment"], d["key"], d["difference"]) for d in answer["differences"]}
            self.assertEqual(listed, planted)
            print(wanted, answer["copies"], flush=True)
            repaired = self.paris.json("compare", "main", "--repair", seconds=900)
            self.assertEqual(repaired["copies"][0]["repaired"], wanted)
            print("repaired", repaired["copies"], flush=True)

    @unittest.skipUnless(os.environ.get("HOTBACKUP_LONG"), "takes minutes: HOTBACKUP_LONG=1")
    def test_200_comparisons_under_load_find_nothing_that_is_not_there(self):
        self.start(ONE)
        self.background_python(self.paris, writers.THREADS, 900, 1, 3, self.paris.path("one"))
        for _ in range(200):
            self.assertEqual(self.compare()["differences"], [])


if __name__ == "__main__":
    unittest.main()
