# SPDX-License-Identifier: Apache-2.0
"""What an administrator meets on a real machine: setup, capture, units, hooks, manual, completion."""

import json
import os
import pathlib
import pty
import re
import shutil
import socket
import subprocess
import threading
import unittest

from support.pair import PYTHON, Group, PairTest
from support.places import Programs, scratch_directory

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "tools" / "package"
UNITS = ["hotbackup-master.service", "hotbackup-slave.service", "hotbackup-recover.service"]


def package_file(name):
    """A file of tools/package as the build made it, or as it was installed."""
    root = pathlib.Path(os.environ.get("HOTBACKUP_BIN", "."))
    for place in ("tools/package", "lib/systemd/system", "share/man/man1", "share/man/man5", "share/man/man8"):
        if (root / place / name).is_file():
            return root / place / name
    return SOURCE / "systemd" / name


class Scratch(unittest.TestCase):
    def setUp(self):
        self.root = scratch_directory()
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.programs = Programs(self.root)

    def hotbackup(self, *words, expect=0, **named):
        done = subprocess.run(
            [str(self.programs.hotbackup), *map(str, words)],
            capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL, **named,
        )  # fmt: skip
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done


class Units(Scratch):
    def placed(self):
        """The units in a directory of their own, with the programs under test."""
        folder = self.root / "units"
        folder.mkdir()
        names = [*UNITS, "hotbackup-hooks@.service", "hotbackup-hooks.socket", "hotbackup.target"]
        programs = {
            "hotbackup-master": self.programs.master,
            "hotbackup-slave": self.programs.slave,
            "hotbackup": self.programs.hotbackup,
        }
        for name in names:
            text = package_file(name).read_text()
            text = re.sub(
                r"^ExecStart=\S*/(hotbackup[a-z-]*)", lambda m: f"ExecStart={programs[m[1]]}", text, flags=re.M
            )
            # This machine need not have the user.
            (folder / name).write_text(re.sub("^(User|Group|SocketUser)=hotbackup$", r"\1=root", text, flags=re.M))
        return folder, names

    @unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd-analyze")
    def test_systemd_finds_nothing_wrong_with_them(self):
        folder, names = self.placed()
        names.remove("hotbackup-hooks@.service")
        shutil.copy(folder / "hotbackup-hooks@.service", folder / "hotbackup-hooks@1.service")
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=one"]
            + [str(folder / name) for name in [*names, "hotbackup-hooks@1.service"]],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertEqual([line for line in done.stderr.splitlines() if "hotbackup" in line], [])

    @unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd-analyze")
    def test_the_servers_are_exposed_little(self):
        folder, _ = self.placed()
        for name in UNITS:
            unit = folder / name
            unit.write_text(unit.read_text().replace("User=root", "User=hotbackup"))
            done = subprocess.run(
                ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--json=short", "--threshold=30", str(unit)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, f"{name}\n{done.stdout}{done.stderr}")

    def test_the_watchdog_is_fed_and_recovery_comes_first(self):
        for role in ("master", "slave"):
            text = package_file(f"hotbackup-{role}.service").read_text()
            self.assertIn("WatchdogSec=", text)
            self.assertIn("Type=notify", text)
            self.assertRegex(text, "After=.*hotbackup-recover.service")


class Capture(Scratch):
    def unit(self, text, name="pdns.service", place="lib/systemd/system"):
        path = self.root / "image" / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def drop_in(self, name="pdns.service"):
        return self.root / "image/etc/systemd/system" / (name + ".d") / "hotbackup.conf"

    def capture(self, *words, **named):
        return self.hotbackup("capture", *words, "--root", self.root / "image", **named)

    def test_a_unit_gets_a_drop_in_that_can_be_taken_away(self):
        self.unit("[Service]\nExecStart=/usr/sbin/pdns_server\n")
        done = self.capture("pdns")
        self.assertIn("systemctl restart pdns.service", done.stdout)
        text = self.drop_in().read_text()
        self.assertIn(f"Environment=LD_PRELOAD={self.programs.library}\n", text)
        self.assertIn("After=hotbackup-recover.service\n", text)
        self.assertEqual(self.drop_in().stat().st_mode & 0o777, 0o644)
        self.assertIn("unchanged", self.capture("pdns.service").stdout)
        self.capture("pdns", "--remove")
        self.assertFalse(self.drop_in().parent.exists())

    def test_what_a_unit_preloads_already_stays(self):
        self.unit('[Service]\nEnvironment="LD_PRELOAD=/usr/lib/libjemalloc.so.2" A=b\n', "x@.service", "etc/systemd/system")
        self.capture("x@one")
        self.assertIn("/libhotbackup.so:/usr/lib/libjemalloc.so.2\n", self.drop_in("x@one.service").read_text())

    def test_a_unit_that_hides_the_boot_id_sees_it_under_capture(self):
        self.unit("[Service]\nProcSubset=pid\n")
        self.assertIn("ProcSubset", self.capture("pdns").stdout)
        self.assertIn("\nProcSubset=all\n", self.drop_in().read_text())

    def test_what_would_run_uncaptured_is_refused(self):
        self.unit("[Service]\nRootDirectory=/srv/jail\n")
        self.assertIn("RootDirectory", self.capture("pdns", expect=1).stderr)
        self.assertIn("no unit", self.capture("nothing", expect=1).stderr)
        self.assertIn("HB-config", self.capture("../../x", expect=2).stderr)
        self.capture(expect=2)

    def test_the_whole_system(self):
        preload = self.root / "image/etc/ld.so.preload"
        preload.parent.mkdir(parents=True)
        preload.write_text("/usr/lib/other.so\n")
        self.capture("--system")
        self.capture("--system")
        self.assertEqual(preload.read_text(), f"{self.programs.library}\n/usr/lib/other.so\n")
        self.capture("--system", "--remove")
        self.assertEqual(preload.read_text(), "/usr/lib/other.so\n")


class Setup(Scratch):
    def setUp(self):
        super().setUp()
        self.data = self.root / "srv"
        self.config = self.root / "etc" / "hotbackup.toml"
        fill = (
            "import lmdb, sys\n"
            "for path in sys.argv[1:]:\n"
            "    with lmdb.open(path, subdir=path.endswith('shop')) as env:\n"
            "        with env.begin(write=True) as txn: txn.put(b'k', b'v')\n"
        )
        paths = ["dns/pdns.lmdb", "dns/pdns.lmdb-0", "dns/pdns.lmdb-1", "maps/a.lmdb", "maps/b.lmdb", "shop"]
        for path in paths:
            (self.data / path).parent.mkdir(parents=True, exist_ok=True)
        (self.data / "maps/noise.lmdb").write_text("this is no environment")
        subprocess.run([PYTHON, "-c", fill, *(str(self.data / path) for path in paths)], check=True)

    def setup_command(self, *words, **named):
        return self.hotbackup(
            "--config", self.config, "setup", "--scan", self.data, "--state", self.root / "state", *words, **named
        )

    def test_it_writes_the_file_that_a_person_would(self):
        done = self.setup_command("--yes", "--name", "paris", "--peer", "lyon=127.0.0.1:2999", "--listen", "127.0.0.1:2000")
        self.assertIn("hotbackup init", done.stdout)
        text = self.config.read_text()
        for path in ("dns/pdns.lmdb*", "maps/*.lmdb", "shop"):
            self.assertIn(f'path = "{self.data / path}"', text)
        self.assertEqual(text.count("[[group.env]]"), 3)
        checked = subprocess.run(
            [str(self.programs.master), "--config", str(self.config), "--check"], capture_output=True, text=True, check=False
        )
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr + text)
        self.hotbackup("--config", self.config, "config")
        again = self.setup_command("--yes", expect=1)
        self.assertIn("exists already", again.stderr)

    def test_it_names_the_programs_and_their_users(self):
        program = subprocess.Popen(
            [PYTHON, "-uc", "import lmdb, sys\nenv = lmdb.open(sys.argv[1])\nprint('open')\nsys.stdin.read()", str(self.data / "shop")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.addCleanup(program.wait)
        self.addCleanup(program.stdin.close)
        self.addCleanup(program.stdout.close)
        self.assertEqual(program.stdout.readline(), b"open\n")
        answer = json.loads(self.setup_command("--yes", "--dry-run", "--json").stdout)
        self.assertFalse(self.config.exists())
        holders = [p for group in answer["groups"] for p in group["programs"] if p["pid"] == program.pid]
        self.assertEqual(len(holders), 1, answer)
        self.assertEqual(holders[0]["user"], "root" if os.geteuid() == 0 else os.environ["USER"])

    def test_without_a_terminal_it_does_not_guess(self):
        self.assertIn("--yes", self.setup_command(expect=2).stderr)
        self.assertFalse(self.config.exists())

    def test_answers_on_a_terminal_count(self):
        master, slave = pty.openpty()
        program = subprocess.Popen(
            [str(self.programs.hotbackup), "--config", str(self.config), "setup", "--scan", str(self.data / "dns"), str(self.data / "maps")],
            stdin=slave, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(slave)
        os.write(master, b"yes\nno\nlyon\nyes\n")
        self.assertEqual(program.wait(30), 0)
        os.close(master)
        text = self.config.read_text()
        self.assertIn('name = "lyon"', text)
        self.assertEqual(text.count("[[group]]"), 1)


class Hook(Scratch):
    """The socket unit's part is played by the test: accept, and run the server's end on it."""

    def setUp(self):
        super().setUp()
        self.hooks = self.root / "hooks"
        self.hooks.mkdir()
        self.socket = self.root / "hooks.sock"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.socket))
        self.listener.listen()
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()
        self.addCleanup(self.thread.join)
        self.addCleanup(self.listener.close)
        self.addCleanup(lambda: self.listener.shutdown(socket.SHUT_RDWR))

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                subprocess.run(
                    [str(self.programs.hotbackup), "hook", "--serve", "--hooks", str(self.hooks)],
                    stdin=connection, stdout=connection, stderr=subprocess.DEVNULL, check=False,
                )  # fmt: skip

    def hook(self, name, text, mode=0o755):
        path = self.hooks / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(mode)
        return path

    def call(self, name, expect=0, **variables):
        return self.hotbackup(
            "hook", name, "--socket", self.socket, expect=expect,
            env={"PATH": "/nowhere", "SECRET": "x", "HOTBACKUP_GROUP": "dns", **variables},
        )  # fmt: skip

    def test_a_hook_runs_with_the_events_variables_and_its_code_comes_back(self):
        self.hook("move", 'echo "moves $HOTBACKUP_GROUP $HOTBACKUP_EPOCH$SECRET"; id -u >/dev/null\n')
        self.assertEqual(self.call("move", HOTBACKUP_EPOCH="3").stdout, "moves dns 3\n")
        self.hook("fails", "echo no; exit 7\n")
        self.assertIn("ended with 7", self.call("fails", expect=1).stderr)

    def test_only_files_that_are_roots_own_are_run(self):
        marker = self.root / "ran"
        text = f"touch {marker}\n"
        self.hook("writable", text, 0o777)
        shutil.copy(self.hook("elsewhere", text), self.root / "elsewhere")
        (self.hooks / "link").symlink_to(self.root / "elsewhere")
        if os.geteuid() == 0:
            shutil.chown(self.hook("theirs", text), "nobody")
            self.call("theirs", expect=1)
        for name in ("writable", "link", "missing"):
            self.call(name, expect=1)
        for name in ("../elsewhere", ".hidden"):
            self.call(name, expect=2)
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(self.socket))
            raw.sendall(b"../elsewhere\n\n")
            self.assertIn(b"no name of a hook", raw.makefile("rb").read())
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(self.socket))
            raw.sendall(b"elsewhere\nLD_PRELOAD=/tmp/x.so\n\n")
            self.assertIn(b"a variable that no hook gets", raw.makefile("rb").read())
        self.call("elsewhere", expect=1, HOTBACKUP_PEER="$(reboot)")
        self.assertFalse(marker.exists())
        self.hooks.chmod(0o777)
        self.call("elsewhere", expect=1)
        self.assertFalse(marker.exists())


class Manual(Scratch):
    def test_every_command_and_option_is_in_the_manual(self):
        page = package_file("hotbackup.1").read_text().replace("\\-", "-")
        listed = self.hotbackup("--help").stdout.split("Subcommands:")[1]
        commands = re.findall(r"^  ([a-z][a-z-]+)", listed, re.M)
        self.assertGreater(len(commands), 15)
        for command in commands:
            self.assertIn(f".SS hotbackup {command}", page)
            for option in re.findall(r"^  (--[a-z-]+)", self.hotbackup(command, "--help").stdout, re.M):
                self.assertIn(option, page, command)
        self.assertIn("keep_journal", package_file("hotbackup.toml.5").read_text())
        for role in ("master", "slave"):
            self.assertIn("\\-\\-check", package_file(f"hotbackup-{role}.8").read_text())

    @unittest.skipUnless(shutil.which("man"), "needs man")
    def test_the_pages_are_well_formed(self):
        for name in ("hotbackup.1", "hotbackup.toml.5", "hotbackup-master.8", "hotbackup-slave.8"):
            done = subprocess.run(
                ["man", "--warnings=w,all", "-l", str(package_file(name))],
                capture_output=True, text=True, check=True, env={**os.environ, "MANPAGER": "cat", "LC_ALL": "C.UTF-8"},
            )  # fmt: skip
            self.assertEqual([line for line in done.stderr.splitlines() if "warning" in line and "break" not in line], [])
            self.assertGreater(len(done.stdout), 500)

    def test_bash_completes_commands_options_and_groups(self):
        config = self.root / "c.toml"
        config.write_text('[node]\nname = "paris"\n[[group]]\nname = "dns"\n[[group.env]]\nname = "zones"\n')

        def complete(*words):
            script = (
                f"source {SOURCE}/completion/hotbackup.bash; COMP_WORDS=({self.programs.hotbackup} \"$@\"); "
                'COMP_CWORD=$#; _hotbackup; echo "${COMPREPLY[@]}"'
            )
            done = subprocess.run(
                ["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True,
                env={**os.environ, "HOTBACKUP_CONFIG": str(config)},
            )  # fmt: skip
            return done.stdout.split()

        self.assertEqual(complete("stat"), ["status"])
        self.assertIn("init", complete(""))
        self.assertEqual(complete("status", ""), ["dns"])
        self.assertEqual(complete("init", "--rep"), ["--replace"])
        self.assertEqual(complete("init", "--role", "sl"), ["slave"])


class Recover(PairTest):
    def test_all_groups_are_recovered_and_those_without_init_left_out(self):
        self.make_pair(Group("main", {"a": "1/a"}), Group("more", {"b": "2/b"}), Group("later", {"c": "3/c"}))
        for name in ("main", "more"):
            self.paris.command("init", name, "--role", "master")
        done = self.paris.command("recover", "--all")
        self.assertIn("main: nothing was due", done.stdout)
        self.assertIn("more: nothing was due", done.stdout)
        self.assertNotIn("later", done.stdout + done.stderr)
        (self.paris.state / "groups/main/group.toml").write_text("broken")
        (self.paris.state / "groups/main/control").unlink()
        done = self.paris.command("recover", "--all", expect=1)
        self.assertIn("more: nothing was due", done.stdout)
        self.assertIn("group main", done.stderr)


if __name__ == "__main__":
    unittest.main()
