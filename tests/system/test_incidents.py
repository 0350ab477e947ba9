# SPDX-License-Identifier: Apache-2.0
"""Incidents that no other test raises: tests/unit/incident checks that none is left out."""

import shutil

from support import writers
from support.pair import Group, PairTest
from support.roles import PUT, RolesTest
from support.waiting import wait_until


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


class OfRoles(RolesTest):
    def test_a_hook_that_fails_as_a_master_is_fenced_is_an_incident_there(self):
        group = Group("main", {"zones": "zones"})
        self.start_all("paris", "lyon", group=group, options='on_demote = "echo no address >&2; exit 9"')
        self.paris.python(PUT, self.paris.path("zones"), "a")
        self.paris.command("wait", "--for", "applied")
        self.kill_node(self.paris)
        self.lyon.command("promote", "--yes")
        self.start_node(self.paris)
        self.assertIn("no address", wait_incident(self.paris, "HB-hook-failed")["text"])
