# SPDX-License-Identifier: Apache-2.0
"""Updates and copies far larger than the memory the servers may hold."""

import unittest

from support import writers
from support.pair import Group, PairTest
from support.processes import forget_peak, peak_resident_mb
from support.waiting import LONG

MEGABYTES = 2000 if LONG else 300
RESIDENT_MB_MAX = 100

# argv: path, megabytes. One transaction: half of it in large values, half in small items.
ONE_TRANSACTION = """
import lmdb, random, sys
megabytes = int(sys.argv[2])
env = lmdb.open(sys.argv[1], map_size=megabytes * 4 << 20, max_dbs=4)
large, small = env.open_db(b"large"), env.open_db(b"small")
block = random.Random(1).randbytes(1 << 20)
with env.begin(write=True) as txn:
    for n in range(megabytes // 2):
        txn.put(b"%06d" % n, block[n:] + block[:n], db=large)
    for n in range(megabytes // 2 * 1000):
        txn.put(b"%09d" % (n * 7919 % 999_999_937), block[n % 1000 : n % 1000 + 1000], db=small)
print("committed")
"""


class Large(PairTest):
    def assert_small_servers(self):
        for node in (self.paris, self.lyon):
            peak = peak_resident_mb(node.server.pid)
            print(f"{node.name}: peak resident {peak:.1f} MB", flush=True)
            self.assertLess(peak, RESIDENT_MB_MAX, f"the server on {node.name}")

    def test_one_huge_update_passes_with_little_memory_on_both_sides(self):
        self.start_pair(Group("main", {"bulk": "bulk"}))
        # The copy is there before, so that the update is streamed and not seeded.
        self.paris.python(writers.NUMBERED, self.paris.path("bulk"), 5)
        self.wait_applied()
        before = self.paris.status()["made"]
        self.paris.python(ONE_TRANSACTION, self.paris.path("bulk"), MEGABYTES, seconds=900)
        self.assert_equal_copies(900)
        self.assertGreater(self.paris.status()["made"], before)
        self.assert_small_servers()

    def test_a_large_environment_is_seeded_with_little_memory_on_both_sides(self):
        self.make_pair(Group("main", {"bulk": "bulk"}))
        self.paris.python(
            ONE_TRANSACTION, self.paris.path("bulk"), MEGABYTES, capture=False, seconds=900
        )
        self.init_pair()
        self.lyon.start("slave")
        self.paris.start("master")
        self.assert_equal_copies(900)
        self.assert_small_servers()

    def test_a_long_backlog_is_caught_up_with_little_memory(self):
        self.start_pair(Group("main", {"bulk": "bulk"}))
        self.paris.python(writers.NUMBERED, self.paris.path("bulk"), 5)
        self.wait_applied()
        self.lyon.server.stop()
        source = """
import lmdb, random, sys
env = lmdb.open(sys.argv[1], map_size=4 << 30, max_dbs=4, sync=False)
items = env.open_db(b"backlog")
block = random.Random(2).randbytes(1 << 16)
for n in range(int(sys.argv[2])):
    with env.begin(write=True) as txn: txn.put(b"%07d" % (n % 30000), block[: n % 60000], db=items)
"""
        self.paris.python(source, self.paris.path("bulk"), MEGABYTES * 30, seconds=600)
        self.lyon.start("slave")
        forget_peak(self.paris.server.pid)
        self.assert_equal_copies(600)
        self.assert_small_servers()


if __name__ == "__main__":
    unittest.main(verbosity=2)
