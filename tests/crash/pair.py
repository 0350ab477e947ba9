# SPDX-License-Identifier: Apache-2.0
"""The pair under test: two nodes below one directory in memory, servers and writers under the interposer."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from support.pair import Group, Node
from support.places import Programs, free_port

from oracle import Broken

# Two environments of one group; the second is so tight that puts and commits fail with MDB_MAP_FULL.
ENVIRONMENTS = {"wide": 64 << 20, "tight": 512 << 10}
GROUP = Group("main", {name: name for name in ENVIRONMENTS}, options='segment_size = "1 MB"\nboot_wait = "off"')


def scratch():
    """In memory: syncs cost nothing there, and no cycle here needs a real disk."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return pathlib.Path(tempfile.mkdtemp(prefix="hotbackup-crash-", dir=base))


def find(name):
    """A program of this folder in the build tree."""
    path = pathlib.Path(os.environ.get("HOTBACKUP_BIN", ".")) / "tests/crash" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: set HOTBACKUP_BIN to the build tree")
    return str(path.resolve())


class Process:
    """A process under the interposer, with its rules."""

    def __init__(self, name, command, log, environment):
        self.name = name
        self.log = log
        with open(log, "ab") as file:
            self.popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, cwd="/"
            )

    def running(self):
        return self.popen.poll() is None

    def wait_death(self, seconds):
        """Whether it died within this time."""
        try:
            self.popen.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill(self):
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def must_have_been_killed(self, allowed=()):
        """Nothing but SIGKILL may end it."""
        code = self.popen.poll()
        if code is not None and code != -signal.SIGKILL and code not in allowed:
            raise Broken(f"{self.name} ended with {code}:\n{self.log.read_text(errors='replace')[-3000:]}")


class CrashPair:
    def __init__(self, root, writers=3):
        self.root = root
        self.programs = Programs(root)
        self.paris = Node(self.programs, root, "paris", free_port())
        self.lyon = Node(self.programs, root, "lyon", free_port())
        self.paris.configure(self.lyon, [GROUP])
        self.lyon.configure(self.paris, [GROUP])
        self.said = root / "said"
        self.said.mkdir()
        self.report = root / "report"
        self.report.touch()
        self.log_file = None  # set: record
        self.processes = {}  # "master", "slave", "writer0"…: Process
        self.writers = writers
        self.lives = 0
        self.life_of = {}  # writer name: life
        self._interpose = find("interpose.so")

    def init(self):
        for name in ENVIRONMENTS:
            self.paris.path(name).mkdir()
        self.paris.command("init", "main", "--role", "master")
        self.lyon.command("init", "main", "--role", "slave")

    def environment_path(self, index, node=None):
        return (node or self.paris).path(list(ENVIRONMENTS)[index])

    def _start(self, name, command, rules, captured):
        environment = dict(self.paris.environment)
        environment["LD_PRELOAD"] = self._interpose + (f":{self.programs.library}" if captured else "")
        environment["CRASH_ROOTS"] = f"{self.root}/paris:{self.root}/lyon:{self.said}"
        environment["CRASH_RULES"] = rules
        environment["CRASH_REPORT"] = str(self.report)
        if self.log_file:
            environment["CRASH_LOG"] = str(self.log_file)
        process = Process(name, command, self.root / f"{name}.log", environment)
        self.processes[name] = process
        return process

    def start_server(self, name, rules=""):
        node = self.paris if name == "master" else self.lyon
        program = self.programs.master if name == "master" else self.programs.slave
        return self._start(name, [str(program), "--config", str(node.config)], rules, captured=False)

    def start_writer(self, name, seed, rules="", transactions=0):
        self.lives += 1
        life = f"L{self.lives}"
        self.life_of[name] = life
        command = [find("crash_writer"), str(self.said / f"{life}.oracle"), str(self.root / "order")]
        command += [life, str(seed), str(transactions)]
        for environment, size in ENVIRONMENTS.items():
            command += [str(self.paris.path(environment)), str(size)]
        return self._start(name, command, rules, captured=True)

    def start(self, name, seed, rules=""):
        if name in ("master", "slave"):
            return self.start_server(name, rules)
        return self.start_writer(name, seed, rules)

    def alive_lives(self):
        return {
            life.encode() for name, life in self.life_of.items() if self.processes[name].running()
        }

    def keep_stacks(self):
        """Where the servers stand, for who looks at a broken promise."""
        if not shutil.which("gdb"):
            return
        for name in ("master", "slave"):
            process = self.processes.get(name)
            if process and process.running():
                words = ["gdb", "-batch", "-p", str(process.popen.pid), "-ex", "thread apply all bt 16"]
                with open(self.root / f"{name}.stacks", "wb") as file:
                    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)

    def end(self):
        for process in self.processes.values():
            if process.running():
                process.kill()

    def wait_applied(self, seconds=60):
        self.paris.command(
            "wait", "main", "--for", "applied", "--timeout", f"{seconds} s", seconds=seconds + 10
        )


def now():
    return time.monotonic()
