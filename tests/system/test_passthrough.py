# SPDX-License-Identifier: Apache-2.0
"""Environments in no group are not touched, whatever the library is loaded into."""

import os
import pathlib
import unittest


from support import content, writers
from support.pair import Group, PairTest

ONE = Group("main", {"zones": "group/zones"})


class Passthrough(PairTest):
    def test_an_environment_in_no_group_is_written_as_by_plain_lmdb(self):
        self.start_pair(ONE)
        source = (
            writers.NUMBERED
            + """
print("mapped" if "/control" in open("/proc/self/maps").read() else "not mapped")
"""
        )
        done = self.paris.python(source, self.paris.path("elsewhere"), 50)
        self.assertIn("not mapped", done.stdout)
        self.paris.python(writers.NUMBERED, self.paris.path("plain"), 50, capture=False)
        self.assertEqual(
            content.differences(self.paris.path("elsewhere"), self.paris.path("plain")), []
        )
        first, second = (
            (self.paris.path(name) / "data.mdb").read_bytes() for name in ("elsewhere", "plain")
        )
        self.assertEqual(first, second, "the data files are not the same byte for byte")
        self.assertEqual(
            sorted(os.listdir(self.paris.path("elsewhere"))), ["data.mdb", "lock.mdb"]
        )

    def test_a_program_with_both_kinds_of_environment_has_only_the_groups_captured(self):
        self.start_pair(ONE)
        source = """
import lmdb, sys
envs = [lmdb.open(path, max_dbs=4) for path in sys.argv[1:]]
for n in range(60):
    for env in envs:
        with env.begin(write=True) as txn: txn.put(b"%d" % n, env.path().encode())
"""
        self.paris.python(source, self.paris.path("elsewhere"), self.paris.path("group/zones"))
        self.assert_equal_copies()
        text = self.paris.command("log", "main").stdout
        self.assertNotIn("elsewhere", text)

    def test_a_file_beside_a_captured_one_that_matches_nothing_is_left_alone(self):
        self.start_pair(Group("main", {"one": "maps/one.lmdb"}))
        source = """
import lmdb, sys
for path in sys.argv[1:]:
    env = lmdb.open(path, subdir=False)
    for n in range(10):
        with env.begin(write=True) as txn: txn.put(b"%d" % n, b"v")
    env.close()
"""
        self.paris.path("maps").mkdir(exist_ok=True)
        self.paris.python(source, self.paris.path("maps/one.lmdb"), self.paris.path("maps/two.lmdb"))
        self.assert_equal_copies()
        self.assertFalse(self.lyon.path("maps/two.lmdb").exists())

    def test_unlink_turns_capture_off_and_leaves_the_data(self):
        self.start_pair(ONE)
        self.paris.python(writers.NUMBERED, self.paris.path("group/zones"), 10)
        self.assert_equal_copies()
        self.paris.command("unlink", "main", expect=2)  # a question without a terminal
        self.paris.command("unlink", "main", "--yes")
        links = [path for path in pathlib.Path(self.paris.data).rglob(".hotbackup")]
        self.assertEqual(links, [])
        self.paris.python(writers.NUMBERED, self.paris.path("group/zones"), 10, 10)
        self.assertEqual(content.count(self.paris.path("group/zones")), 20)
        self.assertEqual(content.count(self.lyon.path("group/zones")), 10)

    def test_programs_without_lmdb_run_under_capture_as_without(self):
        self.make_pair(ONE)
        done = self.paris.run(["sh", "-c", "echo out; echo err >&2; exit 7"], expect=7)
        self.assertEqual((done.stdout, done.stderr), ("out\n", "err\n"))
        self.paris.run(["/nonexistent/program"], expect=127)
        self.paris.run(["/etc/passwd"], expect=126)

    def test_python_lmdbs_own_calls_behave_as_without_capture(self):
        self.start_pair(ONE)
        source = """
import lmdb, sys
env = lmdb.open(sys.argv[1], max_dbs=4, map_size=1 << 20)
print(sorted(env.flags().items()), env.info()["map_size"], env.max_key_size())
db = env.open_db(b"db", dupsort=True)
for action in (lambda: env.open_db(b"none", create=False), lambda: lmdb.open("/nonexistent/x"),
               lambda: env.begin(write=True, parent=None).put(b"", b"x"),
               lambda: env.begin().put(b"a", b"b"),
               lambda: env.begin(write=True).put(b"k" * 600, b"b")):
    try: print(action())
    except Exception as error: print(type(error).__name__, str(error).replace(sys.argv[1], ""))
try:
    with env.begin(write=True) as txn:
        for n in range(1000): txn.put(b"%d" % n, b"x" * 400, db=db); txn.put(b"m%d" % n, b"x" * 4000)
except lmdb.MapFullError: print("map full")
with env.begin(write=True) as txn: print(txn.put(b"a", b"b"), txn.put(b"a", b"c", overwrite=False))
print(env.stat()["entries"])
"""
        plain = self.paris.python(source, self.paris.path("plain"), capture=False).stdout
        captured = self.paris.python(source, self.paris.path("group/zones")).stdout
        self.assertEqual(captured, plain)
        self.assertIn("map full", plain)
        self.assert_equal_copies()


if __name__ == "__main__":
    unittest.main(verbosity=2)
