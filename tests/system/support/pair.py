# SPDX-License-Identifier: Apache-2.0
"""Two nodes on this machine: paris, the master, and lyon, the slave."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

from . import content
from .places import Programs, free_port, scratch_directory
from .processes import Background, Server, as_user
from .waiting import wait_until

PYTHON = "/usr/bin/python3"  # Debian's, which has python3-lmdb


@dataclasses.dataclass
class Group:
    """A group as both nodes configure it. Paths are under each node's data directory."""

    name: str
    environments: dict  # name: path relative to data/, may hold one '*'
    user: str = ""
    mode: str = ""
    options: str = ""  # further lines of TOML, both nodes
    env_options: str = ""  # further lines of TOML in each environment, both nodes
    copies_anywhere: bool = False  # the slave gets no paths and chooses by itself


class Node:
    """One node: its directories, its configuration, its server, its commands."""

    def __init__(self, programs, root, name, port):
        self.programs = programs
        self.root = root / name
        self.name = name
        self.port = port
        self.data = self.root / "data"
        self.state = self.root / "state"
        self.config = self.root / "hotbackup.toml"
        self.server = None
        self._runs = 0
        self.data.mkdir(parents=True)
        self.root.chmod(0o755)
        self.data.chmod(0o777)
        self.environment = dict(os.environ, HOTBACKUP_CONFIG=str(self.config))
        self.environment.pop("LD_PRELOAD", None)

    def path(self, relative):
        return self.data / relative

    def copy_path(self, group, environment):
        """Where a slave without a configured path keeps its copy."""
        return self.state / "groups" / group / "copies" / environment

    def journal_segments(self, group="main"):
        return sorted((self.state / "groups" / group / "journal").glob("*.hbj"))

    def configure(self, peer, groups, with_paths=True, node_lines="", peer_lines=""):
        """Writes the configuration; makes the directories that the environments lie in."""
        for relative in [path for group in groups for path in group.environments.values()]:
            if relative.startswith("no/"):
                continue  # for a test of paths into nowhere
            folder = self.path(relative).parent
            folder.mkdir(parents=True, exist_ok=True)
            if folder != self.data:
                folder.chmod(0o777)
        text = [
            "[node]",
            f'name = "{self.name}"',
            f'state = "{self.state}"',
            f'listen = "127.0.0.1:{self.port}"',
            "" if "status" in node_lines else 'status = "off"',  # many nodes on one machine
            node_lines,
            "[[peer]]",
            f'name = "{peer.name}"',
            f'address = ["127.0.0.1:{peer.port}"]',
            peer_lines,
        ]
        for group in groups:
            text += ["[[group]]", f'name = "{group.name}"', f'peers = ["{peer.name}"]']
            if "check_period" not in group.options:
                text.append('check_period = "500 ms"')
            if "test_period" not in group.options:
                text.append('test_period = "off"')
            if group.user:
                text.append(f'user = "{group.user}"')
            if group.mode:
                text.append(f'mode = "{group.mode}"')
            text.append(group.options)
            for name, relative in group.environments.items():
                text += ["  [[group.env]]", f'  name = "{name}"']
                if with_paths or not group.copies_anywhere:
                    text.append(f'  path = "{self.data / relative}"')
                text.append(group.env_options)
        self.config.write_text("\n".join(text) + "\n")
        self.config.chmod(0o644)

    def command(self, *words, expect=0, seconds=60):
        """Runs `hotbackup WORDS`; the test fails when the exit code is not `expect` (None: any)."""
        done = subprocess.run(
            [str(self.programs.hotbackup), *map(str, words)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd="/",
        )
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"on {self.name}: hotbackup {' '.join(map(str, words))} ended with {done.returncode}, "
                f"not {expect}\n{done.stdout}{done.stderr}"
            )
        return done

    def resync(self, *words, expect=0, seconds=120, **named):
        """Runs `hotbackup-resync WORDS --json`: its object; with another `expect`, what it said."""
        done = subprocess.run(
            [str(self.programs.resync), *map(str, words), "--json"], env=self.environment,
            stdin=named.pop("stdin", subprocess.DEVNULL), capture_output=True, timeout=seconds, cwd="/", **named,
        )  # fmt: skip
        if done.returncode != expect:
            raise AssertionError(
                f"on {self.name}: hotbackup-resync {' '.join(map(str, words))} ended with {done.returncode}, "
                f"not {expect}\n{done.stdout[-3000:]!r}{done.stderr.decode(errors='replace')}"
            )
        return json.loads(done.stdout) if expect == 0 else done.stderr.decode(errors="replace")

    def json(self, *words, expect=0, seconds=60):
        return json.loads(self.command(*words, "--json", expect=expect, seconds=seconds).stdout)

    def status(self, group="main"):
        """The status object of one group."""
        answer = self.json("status", group)
        return next(entry for entry in answer["groups"] if entry["name"] == group)

    def start(self, role, wait=True, environment=None, prefix=()):
        """Starts this node's server; `environment`: more variables, e.g. of a Fault; `prefix`:
        words in front of its command line."""
        program = self.programs.master if role == "master" else self.programs.slave
        self.server = Server(
            program,
            self.config,
            self.root / f"{role}.log",
            self.root / f"{role}.notify",
            environment,
            prefix,
        )
        if wait:
            self.server.wait_ready()
        return self.server

    def captured(self, command, user=None):
        """The command line that runs `command` under capture on this node, as this user."""
        words = [str(self.programs.hotbackup), "run", "--", *map(str, command)]
        return as_user(user) + words if user else words

    def run(self, command, user=None, expect=0, seconds=120, input=None, capture=True):
        """Runs a program of this node to its end, under capture unless told otherwise."""
        words = list(map(str, command))
        if capture:
            words = self.captured(words, user)
        elif user:
            words = as_user(user) + words
        done = subprocess.run(
            words,
            env=self.environment,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd="/",
        )
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"on {self.name}: {' '.join(words)[:300]} ended with {done.returncode}, not {expect}\n"
                f"{done.stdout[-2000:]}{done.stderr[-3000:]}"
            )
        return done

    def python(self, source, *arguments, user=None, expect=0, seconds=120, capture=True):
        """Runs Python source under capture with sys.argv[1:] = arguments."""
        command = [PYTHON, "-c", source, *map(str, arguments)]
        return self.run(command, user, expect, seconds, capture=capture)

    def background(self, command, user=None, capture=True):
        words = list(map(str, command))
        if capture:
            words = self.captured(words, user)
        elif user:
            words = as_user(user) + words
        self._runs += 1
        return Background(words, self.root / f"program-{self._runs}.log", self.environment)

    def background_python(self, source, *arguments, user=None, capture=True):
        command = [PYTHON, "-u", "-c", source, *map(str, arguments)]
        return self.background(command, user, capture)


class PairTest(unittest.TestCase):
    """A test with a pair. Its directory and processes go with it; logs are shown when it failed."""

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        self.root = scratch_directory()
        self._ends = []
        super().run(result)
        failed = len(result.failures) + len(result.errors) > before
        for end in reversed(self._ends):
            end()
        if failed:
            for log in sorted(self.root.glob("*/*.log")):
                print(f"--- {log}", file=sys.stderr)
                print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
        if not (failed and os.environ.get("HOTBACKUP_KEEP")):
            shutil.rmtree(self.root, ignore_errors=True)

    def at_end(self, action):
        """Runs `action` after the test, newest first."""
        self._ends.append(action)

    def background(self, node, *arguments, **named):
        """node.background, ended with the test."""
        program = node.background(*arguments, **named)
        self.at_end(program.end)
        return program

    def background_python(self, node, *arguments, **named):
        program = node.background_python(*arguments, **named)
        self.at_end(program.end)
        return program

    def make_pair(self, *groups):
        """Configures both nodes; nothing is initialised or started yet."""
        programs = Programs(self.root)
        self.groups = groups
        self.paris = Node(programs, self.root, "paris", free_port())
        self.lyon = Node(programs, self.root, "lyon", free_port())
        self.paris.configure(self.lyon, groups)
        self.lyon.configure(self.paris, groups, with_paths=False)
        for node in (self.paris, self.lyon):
            self.at_end(lambda node=node: node.server and node.server.kill())

    def exchange_keys(self):
        """From here on the link is under TLS: each node's configuration names the other's key."""
        keys = [node.command("identity").stdout.strip() for node in (self.paris, self.lyon)]
        self.paris.configure(self.lyon, self.groups, peer_lines=f'fingerprint = "{keys[1]}"')
        self.lyon.configure(
            self.paris, self.groups, with_paths=False, peer_lines=f'fingerprint = "{keys[0]}"'
        )
        return keys

    def init_pair(self):
        for group in self.groups:
            self.paris.command("init", group.name, "--role", "master")
            self.lyon.command("init", group.name, "--role", "slave")

    def start_pair(self, *groups, settle=True):
        """The whole of it: configured, initialised, both servers running and, with `settle`, the copies
        seeded: what a test writes from here on goes through both journals."""
        if groups:
            self.make_pair(*groups)
        self.init_pair()
        self.lyon.start("slave")
        self.paris.start("master")
        if settle:
            for group in self.groups:
                self.wait_state(self.paris, ["replicating", "idle"], group.name)

    def wait_applied(self, group="main", seconds=60):
        """Until everything written so far is visible in the copy."""
        self.paris.command(
            "wait", group, "--for", "applied", "--timeout", f"{seconds} s", seconds=seconds + 10
        )

    def pairs_of_files(self, group):
        """(master's path, copy's path) of every environment of the group that exists on the master."""
        for name, relative in group.environments.items():
            if "*" not in relative:
                places = [self.paris.path(relative)]
            else:
                places = sorted(
                    path
                    for path in self.paris.data.glob(relative)
                    if not path.name.endswith("-lock") and path.name != ".hotbackup"
                )
            for place in places:
                if group.copies_anywhere:
                    yield place, self.lyon.copy_path(group.name, name)
                else:
                    yield place, self.lyon.data / place.relative_to(self.paris.data)

    def assert_equal_copies(self, seconds=60):
        """Waits for the slave, then compares every environment item by item; returns their number."""
        compared = 0
        for group in self.groups:
            self.wait_applied(group.name, seconds)
            for original, copy in self.pairs_of_files(group):
                self.assertTrue(pathlib.Path(copy).exists(), f"there is no copy {copy}")
                found = content.differences(original, copy)
                self.assertEqual(found, [], f"{original} and {copy} differ")
                compared += 1
        self.assertGreater(compared, 0)
        return compared

    def assert_no_gap(self, group="main"):
        """The journals of both nodes list every number once, in order; returns the last one."""
        numbers = []
        for node in (self.paris, self.lyon):
            entries = node.json("log", group, seconds=300)["updates"]
            numbers.append([entry["number"] for entry in entries])
        self.assertEqual(numbers[0], list(range(1, len(numbers[0]) + 1)))
        self.assertEqual(numbers[1], numbers[0][-len(numbers[1]) :])
        return len(numbers[0])

    def wait_state(self, node, wanted, group="main", seconds=30):
        """Until status shows one of the wanted states; returns the status."""
        last = {}

        def reached():
            last.update(node.status(group))
            return last["state"] in wanted

        try:
            wait_until(reached, f"state {wanted} on {node.name}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; status is {last}") from error
        return last
