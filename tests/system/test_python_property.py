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


if __name__ == "__main__":
    unittest.main(verbosity=2)
