# SPDX-License-Identifier: Apache-2.0
"""On the slave: the first change is refused, reading works, also by write transactions."""

import unittest

from support import content, writers
from support.pair import Group, PairTest

ONE = Group("main", {"zones": "zones"})

TRY = """
import errno, lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=8)
items = env.open_db(b"items")  # MDB_CREATE of a database that is there passes
def refused(name, action):
    txn = env.begin(write=True)
    try:
        assert txn.get(b"00000003", db=items).startswith(b"value 3")
        action(txn)
    except lmdb.Error as error:
        text = str(error)
        assert "Permission denied" in text or "EACCES" in text, (name, text)
    else:
        sys.exit(f"{name} was not refused")
    finally:
        txn.abort()
def new_database(txn): env.open_db(b"other", txn=txn)
def by_cursor(txn):
    cursor = txn.cursor(items)
    assert cursor.first()
    cursor.delete()
def many(txn): txn.cursor(items).putmulti([(b"a", b"b"), (b"c", b"d")])
refused("put", lambda txn: txn.put(b"new", b"1", db=items))
refused("put into main", lambda txn: txn.put(b"new", b"1"))
refused("delete", lambda txn: txn.delete(b"00000003", db=items))
refused("drop", lambda txn: txn.drop(items, delete=False))
refused("new database", new_database)
refused("cursor delete", by_cursor)
refused("putmulti", many)
refused("replace", lambda txn: txn.replace(b"00000003", b"1", db=items))
refused("pop", lambda txn: txn.pop(b"00000003", db=items))
# A write transaction that only reads is committed without complaint.
for _ in range(20):
    with env.begin(write=True) as txn:
        assert txn.stat(items)["entries"] == 40
print("all refused")
"""


class Gate(PairTest):
    def test_every_way_of_changing_the_copy_is_refused_and_reading_works(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 40)
        self.assert_equal_copies()
        self.assertIn("all refused", self.lyon.python(TRY, self.lyon.path("zones")).stdout)
        self.assert_equal_copies()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 40, 40)
        self.assert_equal_copies()

    def test_the_gate_stays_closed_when_the_slave_server_is_down(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 40)
        self.assert_equal_copies()
        self.lyon.server.kill()
        self.assertIn("all refused", self.lyon.python(TRY, self.lyon.path("zones")).stdout)

    def test_a_program_that_is_first_on_the_slave_cannot_make_the_environment_its_own(self):
        self.make_pair(ONE)
        self.lyon.configure(self.paris, self.groups)
        self.init_pair()
        self.lyon.python(
            writers.NUMBERED, self.lyon.path("zones"), 5, expect=None
        )  # refused, before the first copy
        self.lyon.start("slave")
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 40)
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("zones")), 40)

    def test_readers_of_the_copy_follow_while_it_is_written(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 10)
        self.assert_equal_copies()
        source = """
import lmdb, sys, time
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=8)
items = env.open_db(b"items", create=False)
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    with env.begin(write=True) as txn:
        if txn.stat(items)["entries"] == 510:
            sys.exit(0)
sys.exit("never saw the last item")
"""
        reader = self.background_python(self.lyon, source, self.lyon.path("zones"))
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 500, 10)
        reader.finish()
        self.assert_equal_copies()

    def test_the_role_is_printed_and_asked_for_quickly(self):
        self.start_pair(ONE)
        self.assertEqual(self.paris.command("role", "main").stdout.strip(), "master")
        self.assertEqual(self.lyon.command("role", "main").stdout.strip(), "slave")
        self.paris.command("role", "main", "--is", "master")
        self.paris.command("role", "main", "--is", "slave", expect=3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
