# SPDX-License-Identifier: Apache-2.0
"""Incidents that no other test raises: tests/unit/incident checks that none is left out."""

import shutil

from support import writers
from support.fault import Fault
from support.pair import PYTHON, Group, PairTest
from support.roles import PUT, RolesTest
from support.waiting import wait_until


# argv: path. Writes another value over the newest test update, again and again.
FORGE = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 24, sync=False)
print("open", flush=True)
while True:
    with env.begin(write=True) as txn: txn.put(b"test", b"forged")
"""

# argv: path. An item that is kept local; the commit happens although a sync failed.
LOCAL = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 24, max_dbs=4)
licence = env.open_db(b"licence")
open(sys.argv[2], "w").close()
try:
    with env.begin(write=True) as txn: txn.put(b"key", b"paris", db=licence)
except lmdb.Error as error: print(error)
"""


def wait_no_incident(node, code, seconds=30):
    wait_until(
        lambda: code not in {i["code"] for i in node.status()["incidents"]}, f"{code} to be over on {node.name}", seconds
    )


def wait_incident(node, code, seconds=30):
    def found():
        return [i for i in node.status()["incidents"] if i["code"] == code]

    return wait_until(found, f"{code} on {node.name}", seconds)[0]


class OfCopies(PairTest):
    def running_pair(self):
        self.start_pair(Group("main", {"zones": "zones"}))
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 3)
        self.wait_applied()

    def test_a_damaged_note_of_what_is_applied_stops_the_slave_with_a_command_that_mends_it(self):
        self.running_pair()
        self.lyon.server.stop()
        (self.lyon.state / "groups" / "main" / "applied").write_text("rubbish\n")
        self.lyon.start("slave")
        action = wait_incident(self.lyon, "HB-applied-unknown")["action"]
        self.assertIn("hotbackup init main --role slave --replace", action)
        self.lyon.server.stop()
        self.lyon.command("init", "main", "--role", "slave", "--replace")
        self.lyon.start("slave")
        self.lyon.command("wait", "main", "--timeout", "20 s")  # for its first seed
        self.assert_equal_copies()
        self.assertEqual(self.lyon.status()["incidents"], [])

    def test_a_master_that_was_rolled_back_does_not_rewind_its_slave(self):
        self.running_pair()
        self.paris.server.stop()
        kept = self.root / "kept"
        for name in ("state", "data"):
            shutil.copytree(self.paris.root / name, kept / name, symlinks=True)
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 3, 10)
        self.wait_applied()
        before = self.lyon.status()["journaled"]
        self.paris.server.stop()
        for name in ("state", "data"):
            shutil.rmtree(self.paris.root / name)
            shutil.copytree(kept / name, self.paris.root / name, symlinks=True)
        self.paris.start("master")
        text = wait_incident(self.paris, "HB-slave-ahead")["text"]
        self.assertIn("lyon", text)
        self.assertEqual(self.lyon.status()["journaled"], before)


class OfTests(PairTest):
    def test_a_test_update_that_arrives_as_something_else_is_wrong(self):
        self.start_pair(Group("main", {"zones": "zones"}))
        self.paris.command("test", "main")
        copy = self.lyon.copy_path("main", "hotbackup-test")
        forger = self.background_python(self.lyon, FORGE, copy, capture=False)
        forger.wait_for("open")
        wait_until(
            lambda: self.paris.command("test", "main", expect=None).returncode == 4, "a wrong test update"
        )
        self.assertIn("another test update", wait_incident(self.paris, "HB-test-wrong")["text"])
        forger.end()
        self.paris.command("test", "main")
        wait_no_incident(self.paris, "HB-test-wrong")

    def test_a_test_update_that_cannot_be_written_is_told_as_what_programs_meet(self):
        options = 'loss_limit = "0"\nat_limit = "refuse"'
        self.start_pair(Group("main", {"zones": "zones"}, options=options))
        self.paris.command("test", "main")
        self.lyon.server.stop()
        # The first may still wait for its acknowledgement; at the limit the next is refused.
        wait_until(
            lambda: self.paris.command("test", "main", expect=None).returncode == 1, "a refused test update", 60
        )
        self.assertIn("hotbackup test main", wait_incident(self.paris, "HB-test-failed")["action"])
        self.lyon.start("slave")
        wait_until(lambda: self.paris.command("test", "main", expect=None).returncode == 0, "an echo", 60)
        wait_no_incident(self.paris, "HB-test-failed")


class OfDisks(PairTest):
    def test_keep_local_data_that_a_disk_did_not_take_are_told(self):
        self.make_pair(Group("main", {"zones": "zones"}, env_options='keep_local = ["licence"]'))
        self.paris.command("init", "main", "--role", "master")
        self.paris.python(LOCAL, self.paris.path("zones"), self.root / "unused")
        fault = Fault(self.root, "/zones/data.mdb", **{"sync+1": "EIO"})  # not the commit's own
        more = fault.environment()
        shell = 'LD_PRELOAD="$LD_PRELOAD $1" HOTBACKUP_TEST_FAULT="$2"; shift 2; exec "$@"'
        words = ["sh", "-ac", shell, "sh", more["LD_PRELOAD"], more["HOTBACKUP_TEST_FAULT"]]
        self.paris.run([*words, PYTHON, "-c", LOCAL, self.paris.path("zones"), fault.trigger])
        self.assertGreater(fault.hits(), 0)
        self.assertIn("keep-local", wait_incident(self.paris, "HB-local-unsynced")["text"])

    def test_an_environment_that_cannot_be_brought_level_after_a_boot_is_told_until_it_can(self):
        self.start_pair(Group("main", {"zones": "zones"}))
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5)
        self.wait_applied()
        self.paris.server.stop()
        (self.paris.state / "groups/main/control").unlink()  # as a reboot does
        data = self.paris.path("zones") / "data.mdb"
        kept = data.rename(data.with_name("kept"))
        data.write_bytes(b"rubbish" * 4096)
        self.paris.start("master")
        self.assertIn("zones", wait_incident(self.paris, "HB-recovery-failed")["text"])
        kept.rename(data)
        wait_no_incident(self.paris, "HB-recovery-failed")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5, 5)
        self.assert_equal_copies()


class OfRoles(RolesTest):
    def test_what_no_rejoin_can_undo_stops_it_with_a_command_that_begins_anew(self):
        self.start_all("paris", "lyon", group=Group("main", {"zones": "zones", "dups": "dups"}))
        self.paris.python(PUT, self.paris.path("zones"), "a")
        self.paris.command("wait", "--for", "applied")
        self.kill_node(self.lyon)
        source = """
import ctypes, sys
lmdb = ctypes.CDLL(None if hasattr(ctypes.CDLL(None), "mdb_env_create") else "liblmdb.so.0")
env, txn, database = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint()
for code in (lmdb.mdb_env_create(ctypes.byref(env)), lmdb.mdb_env_open(env, sys.argv[1].encode(), 0, 0o660),
             lmdb.mdb_txn_begin(env, None, 0, ctypes.byref(txn)),
             lmdb.mdb_dbi_open(txn, None, 0x04, ctypes.byref(database)), lmdb.mdb_txn_commit(txn)):
    assert code == 0, code
"""
        (self.paris.path("dups")).mkdir(exist_ok=True)
        self.paris.python(source, self.paris.path("dups"))
        self.kill_node(self.paris)
        self.start_node(self.lyon)
        self.lyon.command("promote", "--yes", "--force")
        self.start_node(self.paris)
        stopped = wait_incident(self.paris, "HB-rejoin-stopped")
        self.assertIn("main database", stopped["text"])
        self.assertIn("hotbackup init main --role slave --replace", stopped["action"])

    def test_a_hook_that_fails_as_a_master_is_fenced_is_an_incident_there(self):
        group = Group("main", {"zones": "zones"})
        self.start_all("paris", "lyon", group=group, options='on_demote = "echo no address >&2; exit 9"')
        self.paris.python(PUT, self.paris.path("zones"), "a")
        self.paris.command("wait", "--for", "applied")
        self.kill_node(self.paris)
        self.lyon.command("promote", "--yes")
        self.start_node(self.paris)
        self.assertIn("no address", wait_incident(self.paris, "HB-hook-failed")["text"])
