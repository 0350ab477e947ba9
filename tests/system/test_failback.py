# SPDX-License-Identifier: Apache-2.0
"""The way home as one command, which may be killed anywhere and typed again."""

import subprocess

from support.pair import Group
from support.roles import PUT, RolesTest

ONE = Group("main", {"zones": "zones"})


class Failback(RolesTest):
    def go_astray(self):
        """paris is lost with an update that nobody has, lyon goes on; paris is back."""
        self.start_all("paris", "lyon", group=ONE)
        self.paris.python(PUT, self.paris.path("zones"), "first")
        self.paris.command("wait", "main", "--for", "applied", "--timeout", "20 s")
        self.kill_node(self.paris)
        self.paris.python(PUT, self.paris.path("zones"), "orphan")
        self.lyon.command("promote", "main", "--force", "--yes")
        self.lyon.python(PUT, self.lyon.path("zones"), "second")
        self.start_node(self.paris)

    def kill_at(self, node, step):
        """Types failback, and ends it with a kill as soon as it says that it has come that far."""
        program = subprocess.Popen(
            [node.programs.resync, "failback", "main"], env=node.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        for line in program.stderr:
            if line.strip().startswith(step):
                program.kill()
                break
        program.wait(60)
        program.stderr.close()

    def test_killed_at_every_step_and_typed_again_it_ends_at_home(self):
        self.go_astray()
        for step in ("begun", "rejoined", "drained", "compared"):
            self.kill_at(self.lyon, step)
        for _ in range(2):  # at home it stays
            self.lyon.resync("failback", "main")
            self.wait_role(self.paris, "master")
            self.wait_role(self.lyon, "slave")
        self.paris.python(PUT, self.paris.path("zones"), "third")
        self.paris.command("wait", "main", "--for", "applied", "--timeout", "20 s")
        for node in self.nodes:
            self.assertEqual(self.keys(node, node.path("zones")), ["first", "second", "third"])

    def test_ahead_of_the_quiet_hour_everything_but_the_switch(self):
        self.go_astray()
        self.lyon.resync("failback", "main", "--no-switch")
        self.wait_role(self.paris, "slave")
        self.wait_role(self.lyon, "master")
        self.paris.resync("failback", "main")  # from the other node
        self.wait_role(self.paris, "master")
