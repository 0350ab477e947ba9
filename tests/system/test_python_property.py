# SPDX-License-Identifier: Apache-2.0
"""Random operations through python-lmdb: the model, the environment and the copy are equal."""

import os
import pathlib
import pickle
import random
import unittest

from support import content
from support.pair import Group, PairTest
from support.waiting import LONG

PROGRAM = (pathlib.Path(__file__).parent / "support" / "random_program.py").read_text()


class PythonProperty(PairTest):
    def compare_with_model(self, place, model):
        found = content.contents(place)
        self.assertEqual(
            {name for name in found if name is not None}, {name for name in model if name is not None}
        )
        for name, expected in model.items():
            flags, items = found[name]
            self.assertEqual({k: v for k, v in flags.items() if v}, expected["flags"], f"flags of {name}")
            self.assertEqual(len(items), len(set(items)))
            self.assertEqual(sorted(items), sorted(expected["items"]), f"items of {name} in {place}")

    def test_model_environment_and_copy_are_equal_after_random_operations(self):
        self.start_pair(Group("main", {"one": "one"}))
        seed = int(os.environ.get("HOTBACKUP_SEED", random.randrange(1 << 30)))
        rounds, transactions = (30, 400) if LONG else (5, 250)
        print(f"seed {seed}", flush=True)
        place, saved = self.paris.path("one"), self.paris.root / "model"
        for round_number in range(rounds):
            with self.subTest(seed=seed, round=round_number):
                self.paris.python(
                    PROGRAM, place, saved, seed + round_number, transactions, seconds=300
                )
                model = pickle.loads(saved.read_bytes())
                self.compare_with_model(place, model)
                self.assert_equal_copies()
                self.compare_with_model(self.lyon.path("one"), model)

    # Of every kind of database some keys, and one whole; with what a program at the copy has there.
    RULES = ["reversed", "plain:key1*", "integers:0x05*", "sorted:key2*", "all:0x0700000000000000", ":key3*"]
    OWN = r"""
import lmdb, random, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=32)
n = b"lyon " + sys.argv[2].encode()
number = (b"%d" % random.randrange(10**7)).zfill(8)
with env.begin(write=True) as txn:
    def put(name, flags, *pairs):
        db = env.open_db(name, txn, **flags)
        for key, value in pairs:
            txn.delete(key, db=db)
            txn.put(key, value, db=db)
    put(b"reversed", dict(reverse_key=True), (b"key9", n), (b"mine", n))
    put(b"plain", {}, (b"key1", n), (b"key10\0own", n))
    put(b"integers", dict(integerkey=True), (b"\5" + b"\0" * 7, n), (b"\5\1" + b"\0" * 6, n))
    put(b"sorted", dict(dupsort=True), (b"key2", n), (b"key22own", n))
    put(b"all", dict(dupsort=True, dupfixed=True, integerdup=True, integerkey=True),
        (b"\7" + b"\0" * 7, number))
    put(None, {}, (b"key3", n), (b"key31own", n))
"""

    def kept(self, name, key):
        for rule in self.RULES:
            database, colon, text = rule.partition(":")
            if database.encode() != (name or b""):
                continue
            prefix = text.rstrip("*")
            start = bytes.fromhex(prefix[2:]) if prefix.startswith("0x") else prefix.encode()
            if not colon or (key.startswith(start) if text.endswith("*") else key == start):
                return True
        return False

    def split(self, place):
        """({database: what is sent of it}, {database: what is kept})."""
        sent, kept = {}, {}
        for name, (_, items) in content.contents(place).items():
            kept[name] = [item for item in items if self.kept(name, item[0])]
            if name != b"reversed":
                sent[name] = [item for item in items if not self.kept(name, item[0])]
        return sent, {name: items for name, items in kept.items() if items}

    def test_kept_items_differ_on_both_nodes_and_all_others_are_equal_after_random_operations(self):
        rules = ", ".join(f'"{rule}"' for rule in self.RULES)
        self.start_pair(Group("main", {"one": "one"}, env_options=f"keep_local = [{rules}]"))
        seed = int(os.environ.get("HOTBACKUP_SEED", random.randrange(1 << 30)))
        rounds, transactions = (30, 400) if LONG else (4, 150)
        print(f"seed {seed}", flush=True)
        place, copy = self.paris.path("one"), self.lyon.path("one")
        saved = self.paris.root / "model"
        own = {}
        for number in range(rounds):
            with self.subTest(seed=seed, round=number):
                self.paris.python(PROGRAM, place, saved, seed + number, transactions, seconds=300)
                self.compare_with_model(place, pickle.loads(saved.read_bytes()))
                self.wait_applied()
                (here, _), (there, kept) = self.split(place), self.split(copy)
                self.assertEqual(here, {name: there.get(name) for name in here})
                self.assertEqual([name for name in there if name not in here and there[name]], [])
                self.assertEqual(kept, own)
                self.lyon.python(self.OWN, copy, number)
                own = self.split(copy)[1]
                self.assertEqual(len(own), 6)
        self.assertEqual(self.lyon.status()["incidents"], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
