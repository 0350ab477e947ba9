# SPDX-License-Identifier: Apache-2.0
"""Whose files are: a group's user and mode hold whoever writes first, with whatever umask; servers
that are not root; strangers."""

import json
import os
import pathlib
import pwd
import shutil
import stat
import subprocess
import unittest

from support.content import count
from support.pair import Group, PairTest
from support.processes import as_user

USER = "nobody"  # the group's
SERVERS = "games"  # what the servers run as
STRANGER = "daemon"

# What the units in tools/package/ give the servers.
CAPABILITIES = ["+chown", "+dac_override", "+sys_ptrace"]

WRITE = """
import lmdb, os, sys
os.umask(int(sys.argv[3], 8))
env = lmdb.open(sys.argv[1], subdir=False, max_dbs=4, map_size=1 << 26, mode=0o660)
for n in range(int(sys.argv[4])):
    with env.begin(write=True) as txn:
        txn.put(b"%s-%d" % (sys.argv[2].encode(), n), os.urandom(4000))
"""


def unprivileged(user):
    """The words in front of a server's command line: no root, three capabilities, no more."""
    only = ",".join(["-all", *CAPABILITIES])
    return [
        "setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups", "--no-new-privs",
        f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}", "--",
    ]  # fmt: skip


def shown(path):
    status = path.lstat()
    return pwd.getpwuid(status.st_uid).pw_name, oct(stat.S_IMODE(status.st_mode))


@unittest.skipUnless(os.geteuid() == 0, "needs root to run programs as several users")
class Ownership(PairTest):
    def setUp(self):
        self.make_pair(
            Group("main", {"zones": "dns/zones*"}, user=USER, mode="0660", options='segment_size = "1 MB"')
        )
        for node in (self.paris, self.lyon):
            shutil.chown(node.path("dns"), USER, "nogroup")
            node.path("dns").chmod(0o755)

    def write(self, name, who, user=None, umask="077", times=3, expect=0, node=None, capture=True):
        node = node or self.paris
        return node.python(WRITE, node.path(f"dns/{name}"), who, umask, times, user=user, expect=expect, capture=capture)

    def assert_all_belong(self, node):
        """Every file of the group and its environments; returns how many."""
        seen = 0
        state = node.state / "groups" / "main"
        for path in [*node.path("dns").iterdir(), state, *state.rglob("*")]:
            if path.is_symlink():
                continue
            mode = 0o770 if path.is_dir() else 0o660
            try:
                found = shown(path)
            except FileNotFoundError:
                continue  # of a file that is just being replaced
            self.assertEqual(found, (USER, oct(mode)), path)
            seen += 1
        return seen

    def test_user_and_mode_hold_whoever_writes_first_and_with_whatever_umask(self):
        os.umask(0o077)
        self.at_end(lambda: os.umask(0o022))
        self.start_pair()
        self.write("zones1", "root")
        self.write("zones1", "user", USER)
        self.write("zones2", "user", USER)
        self.write("zones2", "root", umask="0")
        for round_ in range(4):  # both make segments
            self.write("zones1", f"root{round_}", times=200)
            self.write("zones1", f"user{round_}", USER, times=200)
        self.paris.command("status")
        self.lyon.command("pause", "main")
        self.lyon.command("resume", "main")
        self.assertEqual(self.assert_equal_copies(), 2)
        self.assertGreater(len(self.paris.journal_segments()), 4)
        for node in (self.paris, self.lyon):
            self.assertGreater(self.assert_all_belong(node), 10)

    def test_servers_without_root_need_three_capabilities(self):
        for node in (self.paris, self.lyon):
            # As the packages make it.
            node.state.mkdir(mode=0o750)
            shutil.chown(node.state, SERVERS, SERVERS)
        self.write("zones0", "before", USER, umask="007", capture=False)
        program = self.background_python(
            self.paris,
            "import lmdb, sys, time\nenv = lmdb.open(sys.argv[1], subdir=False)\nprint('open')\ntime.sleep(600)",
            self.paris.path("dns/zones0"),
            user=USER,
            capture=False,
        )
        program.wait_for("open")
        self.init_pair()
        for node, role in ((self.lyon, "slave"), (self.paris, "master")):
            node.start(role, prefix=unprivileged(SERVERS))
            status = pathlib.Path(f"/proc/{node.server.pid}/status").read_text()
            self.assertIn(f"Uid:\t{pwd.getpwnam(SERVERS).pw_uid}", status)
        # The watch sees other users' programs.
        self.wait_state(self.paris, ["waiting for capture"])
        program.end()
        self.write("zones1", "root", times=400)
        self.write("zones1", "user", USER, times=400)
        self.write("zones2", "user", USER, times=10)
        self.assertEqual(self.assert_equal_copies(), 3)
        # The copy is its user's to read, and nobody's to write.
        done = self.write("zones1", "no", USER, node=self.lyon, expect=None)
        self.assertIn("Permission denied", done.stderr)
        self.assertEqual(count(self.lyon.path("dns/zones2")), 10)
        for node in (self.paris, self.lyon):
            self.assert_all_belong(node)
            for path in (node.state, node.state / "groups"):
                self.assertEqual(shown(path)[0], SERVERS, path)
                self.assertEqual(path.stat().st_mode & 0o007, 0, path)
            for name in ("identity.key", "identity.crt"):
                self.assertEqual(shown(node.state / name), (SERVERS, "0o600"), name)

    def test_strangers_see_nothing_of_the_state(self):
        self.start_pair()
        self.write("zones1", "user", USER)
        for path in (self.paris.state, self.paris.state / "groups", self.paris.state / "groups/main"):
            done = subprocess.run([*as_user(STRANGER), "ls", str(path)], capture_output=True, check=False)
            self.assertNotEqual(done.returncode, 0, path)
        # The group's user passes to his group, and lists nothing on the way.
        done = subprocess.run(
            [*as_user(USER), "ls", str(self.paris.state)], capture_output=True, check=False
        )
        self.assertNotEqual(done.returncode, 0)

    def test_no_secret_is_in_logs_status_or_process_lists(self):
        self.start_pair()
        self.write("zones1", "user", USER)
        self.wait_applied()
        for node in (self.paris, self.lyon):
            lines = (node.state / "identity.key").read_text().splitlines()
            secret = next(line for line in lines if not line.startswith("-----"))
            self.assertGreater(len(secret), 40)
            shown_to_others = [
                node.server.log,
                pathlib.Path(f"/proc/{node.server.pid}/cmdline").read_text(),
                node.command("status", "--json").stdout,
                node.command("config", "--json").stdout,
                node.command("identity").stdout,
                (node.state / "groups/main/commands.log").read_text(),
            ]
            for text in shown_to_others:
                self.assertTrue(text)
                self.assertNotIn(secret[-24:], text)


@unittest.skipUnless(os.geteuid() == 0, "needs root to run programs as several users")
class Strangers(PairTest):
    """A directory that somebody else may write, with a link that he made to a group of his own."""

    def setUp(self):
        self.make_pair(Group("main", {"zones": "shared/zones*"}))
        self.shared = self.paris.path("shared")
        shutil.chown(self.paris.root, STRANGER, STRANGER)
        for path in (self.paris.data, self.shared):
            shutil.chown(path, STRANGER, STRANGER)
        done = subprocess.run(
            [*as_user(STRANGER), str(self.paris.programs.hotbackup), "init", "main", "--role", "master"],
            env=self.paris.environment, capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.theirs = self.paris.state / "groups" / "main"
        self.assertEqual(shown(self.theirs)[0], STRANGER)

    def made(self):
        done = subprocess.run(
            [*as_user(STRANGER), str(self.paris.programs.hotbackup), "status", "--json"],
            env=self.paris.environment, capture_output=True, text=True, check=True, cwd="/",
        )  # fmt: skip
        return json.loads(done.stdout)["groups"][0]["made"]

    def test_a_link_that_an_attacker_made_is_not_trusted_with_somebody_elses_data(self):
        path = self.shared / "zones1"
        self.paris.python(WRITE, path, "before", "022", 3, capture=False)  # root's own data
        before = self.made()
        listed = sorted(self.theirs.rglob("*"))
        done = self.paris.python(WRITE, path, "victim", "022", 3, expect=None)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Permission denied", done.stderr)
        self.assertEqual(count(path), 3)  # reads pass
        self.assertEqual(self.made(), before)
        self.assertEqual(sorted(self.theirs.rglob("*")), listed)

    def test_an_attackers_group_gets_no_files_made_where_he_may_not_write(self):
        """His data in his directory is his to journal, but not to any place that he names."""
        path = self.shared / "zones1"
        self.paris.python(WRITE, path, "own", "022", 3, user=STRANGER)
        target = self.root / "roots-own"
        target.mkdir(mode=0o755)
        shutil.rmtree(self.theirs / "journal")
        (self.theirs / "journal").symlink_to(target)
        (self.theirs / "control").unlink()
        done = self.paris.python(WRITE, path, "root", "022", 3, expect=None)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(list(target.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
