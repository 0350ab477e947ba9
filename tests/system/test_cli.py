# SPDX-License-Identifier: Apache-2.0
"""The commands of `hotbackup`: what they answer, what they change, how they end."""

import json
import os
import pathlib
import pwd
import resource
import shutil
import stat
import subprocess
import unittest

from support import content, writers
from support.pair import PYTHON, Group, PairTest
from support.waiting import wait_until

FILL = """
import lmdb, os, sys
path = sys.argv[1]
env = lmdb.open(path, subdir=not path.endswith(".lmdb"), max_dbs=4)
names = env.open_db(b"names")
for number in range(int(sys.argv[2])):
    with env.begin(write=True) as txn:
        txn.put(b"key-%d" % number, b"value", db=names)
"""


def one_line(text):
    return text.count("\n") == 1 and text.startswith("hotbackup: HB-")


class CommandTest(PairTest):
    """A pair that is configured; nothing runs."""

    def configured(self, *groups):
        self.make_pair(*(groups or [Group("main", {"zones": "zones"})]))

    def fill(self, path, items=3, node=None, **how):
        (node or self.paris).python(FILL, path, items, **how)

    def refused(self, *words, node=None, code=1, says=()):
        """The command fails with this exit code and one line that says all of this."""
        done = (node or self.paris).command(*words, expect=code)
        self.assertTrue(one_line(done.stderr), done.stderr)
        for part in [says] if isinstance(says, str) else says:
            self.assertIn(part, done.stderr)
        return done

    def group(self, node=None, name="main"):
        return (node or self.paris).state / "groups" / name

    def link(self, directory):
        return pathlib.Path(directory) / ".hotbackup"


class Init(CommandTest):
    def test_a_master_gets_its_directories_first_update_link_and_identity(self):
        self.configured()
        self.fill(self.paris.path("zones"), capture=False)
        answer = self.paris.json("init", "--role", "master")
        self.assertEqual(answer["group"], "main")
        self.assertEqual(len(answer["group_id"]), 32)
        names = {entry.name for entry in self.group().iterdir()}
        self.assertLessEqual({"group.toml", "control", "journal", "orphans", "setaside"}, names)
        link = self.link(self.paris.path("zones"))
        self.assertEqual(os.readlink(link), str(self.group()))
        self.assertEqual(stat.S_IMODE((self.paris.state / "identity.key").stat().st_mode), 0o600)
        updates = self.paris.json("log", "main")["updates"]
        self.assertEqual([(entry["number"], entry["kind"]) for entry in updates], [(1, "epoch")])
        status = self.paris.status()
        self.assertEqual((status["role"], status["epoch"], status["made"]), ("master", 1, 1))
        self.assertEqual([entry["name"] for entry in status["environments"]], ["zones"])

    def test_it_is_logged_with_user_time_and_command_line(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        (line,) = (self.group() / "commands.log").read_text().splitlines()
        entry = json.loads(line)
        self.assertEqual(entry["command"], "hotbackup init main --role master")
        self.assertTrue(entry["user"])
        self.assertRegex(entry["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_run_again_it_keeps_id_and_history_and_adds_what_is_new(self):
        self.configured()
        first = self.paris.json("init", "main", "--role", "master")
        self.fill(self.paris.path("zones"))
        made = self.paris.status()["made"]
        self.fill(self.paris.path("more"), capture=False)
        self.paris.configure(self.lyon, [Group("main", {"zones": "zones", "more": "more"})])
        second = self.paris.json("init", "main", "--role", "master")
        self.assertEqual(first["group_id"], second["group_id"])
        status = self.paris.status()
        self.assertEqual(status["made"], made)
        self.assertEqual([entry["name"] for entry in status["environments"]], ["zones", "more"])
        self.fill(self.paris.path("more"))
        self.assertGreater(self.paris.status()["made"], made)

    def test_a_dry_run_says_what_it_would_do_and_changes_nothing(self):
        self.configured()
        self.fill(self.paris.path("zones"), capture=False)
        said = self.paris.command("init", "main", "--role", "master", "--dry-run").stdout
        self.assertIn("would be initialised", said)
        self.assertFalse(self.paris.state.exists())
        self.assertFalse(self.link(self.paris.path("zones")).is_symlink())

    def test_another_role_than_the_present_one_is_the_wrong_state(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        self.refused("init", "main", "--role", "slave", code=3, says=["master", "unlink"])

    def test_data_on_a_slave_is_refused_and_kept_aside_only_on_demand(self):
        self.configured()
        self.lyon.configure(self.paris, self.groups)
        copy = self.lyon.path("zones")
        self.fill(copy, capture=False)
        self.refused("init", "main", "--role", "slave", node=self.lyon, says=["--replace", str(copy)])
        self.assertFalse(self.lyon.state.exists())
        self.assertEqual(content.count(copy), 3)
        (aside,) = self.lyon.json("init", "main", "--role", "slave", "--replace")["replaced"]
        self.assertRegex(aside, r"/zones\.replaced-\d{8}T\d{6}Z$")
        self.assertEqual(content.count(aside), 3)
        self.assertFalse((copy / "data.mdb").exists())
        self.assertTrue(self.link(copy).is_symlink())
        self.assertFalse(self.link(aside).is_symlink())

    def test_a_file_that_was_put_aside_never_joins_the_pattern_it_matches(self):
        self.configured(Group("main", {"zones": "z/a.lmdb*"}))
        self.lyon.configure(self.paris, self.groups)
        self.fill(self.lyon.path("z/a.lmdb"), capture=False)
        self.lyon.command("init", "main", "--role", "slave", "--replace")
        self.lyon.command("init", "main", "--role", "slave")
        self.assertEqual(self.lyon.status()["environments"], [])

    def test_an_environment_without_items_on_a_slave_counts_as_absent(self):
        self.configured()
        self.lyon.configure(self.paris, self.groups)
        self.fill(self.lyon.path("zones"), items=0, capture=False)
        self.assertEqual(self.lyon.json("init", "main", "--role", "slave")["replaced"], [])

    def test_what_is_no_environment_is_refused_by_name_and_nothing_is_changed(self):
        self.configured()
        path = self.paris.path("zones")

        def a_text_file():
            path.write_text("not LMDB, but long enough to hold the header of a page or two\n")

        def a_truncated_file():
            path.write_bytes(b"\0" * 20)

        def another_version():
            path.write_bytes(b"\0" * 16 + bytes.fromhex("dec0efbe") + b"\7\0\0\0" + b"\0" * 8000)

        def a_pipe():
            os.mkfifo(path)

        def a_link_to_a_file():
            self.fill(self.paris.path("real.lmdb"), capture=False)
            path.symlink_to(self.paris.path("real.lmdb"))

        for case in (a_text_file, a_truncated_file, another_version, a_pipe, a_link_to_a_file):
            with self.subTest(case.__name__):
                case()
                self.refused("init", "main", "--role", "master", says=str(path))
                self.assertFalse(self.paris.state.exists())
                path.unlink()

    def test_a_directory_that_is_missing_is_named_on_a_master(self):
        self.configured(Group("main", {"zones": "no/where/zones"}))
        self.refused("init", "main", "--role", "master", says="no/where")
        self.assertFalse(self.paris.state.exists())

    def test_a_link_of_another_group_or_into_nowhere_is_refused(self):
        self.configured()
        directory = self.paris.path("zones")
        directory.mkdir()
        other = self.paris.path("other")
        other.mkdir()
        self.link(directory).symlink_to(other)
        self.refused("init", "main", "--role", "master", says=[str(self.link(directory)), str(other)])
        other.rmdir()
        self.refused("init", "main", "--role", "master", says="is not there")
        self.assertFalse(self.paris.state.exists())

    def test_an_environment_whose_path_changed_is_refused(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        self.paris.configure(self.lyon, [Group("main", {"zones": "elsewhere"})])
        self.refused("init", "main", "--role", "master", says=["zones", "elsewhere"])

    def test_an_environment_made_after_init_is_captured_as_directory_or_file(self):
        self.configured(Group("main", {"dir": "dir", "file": "file.lmdb", "many": "m/*.lmdb"}))
        self.paris.command("init", "main", "--role", "master")
        for name in ("dir", "file.lmdb", "m/one.lmdb", "m/two.lmdb"):
            self.fill(self.paris.path(name))
        updates = [entry for entry in self.paris.json("log", "main")["updates"] if entry["kind"] == "update"]
        self.assertEqual(
            {entry["environment"] for entry in updates}, {"dir", "file", "many-1", "many-2"}
        )

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_files_belong_to_the_groups_user_and_programs_of_that_user_write(self):
        self.configured(Group("main", {"zones": "zones"}, user="nobody", mode="0600"))
        self.paris.path("zones").mkdir()
        owner = pwd.getpwnam("nobody")
        os.chown(self.paris.path("zones"), owner.pw_uid, owner.pw_gid)
        self.paris.command("init", "main", "--role", "master")
        for name, mode in (("", 0o700), ("journal", 0o700), ("control", 0o600)):
            status = (self.group() / name).stat()
            self.assertEqual((status.st_uid, stat.S_IMODE(status.st_mode)), (owner.pw_uid, mode), name)
        self.fill(self.paris.path("zones"), user="nobody")
        self.assertGreater(self.paris.status()["made"], 3)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_data_that_does_not_belong_to_the_groups_user_is_named_with_the_chown(self):
        self.configured(Group("main", {"zones": "zones", "many": "m/*"}, user="nobody"))
        notes = self.paris.json("init", "main", "--role", "master")["notes"]
        zones = str(self.paris.path("zones").parent)
        for place in (zones, str(self.paris.path("m"))):
            self.assertTrue([note for note in notes if note.endswith(f"type chown nobody {place}")], notes)
        self.assertIn("belongs to root", notes[0])
        # It says what is so: root's program is refused there, and not after that command.
        owner = pwd.getpwnam("nobody")
        refused = self.paris.python(FILL, self.paris.path("m/one.lmdb"), 1, expect=None)
        self.assertNotEqual(refused.returncode, 0)
        for left in self.paris.path("m").glob("one.lmdb*"):
            left.unlink()
        for place in (zones, self.paris.path("m")):
            os.chown(place, owner.pw_uid, owner.pw_gid)
        self.assertEqual(self.paris.json("init", "main", "--role", "master")["notes"], [])
        self.fill(self.paris.path("m/two.lmdb"))

    def test_its_own_link_is_no_file_that_a_pattern_leaves_out(self):
        self.configured(Group("main", {"many": "m/*"}))
        self.paris.command("init", "main", "--role", "master")
        self.assertTrue(self.link(self.paris.path("m")).is_symlink())
        self.assertEqual(self.paris.json("init", "main", "--role", "master")["notes"], [])

    def test_programs_that_write_already_are_named(self):
        self.configured()
        self.fill(self.paris.path("zones"), capture=False)
        program = self.background_python(
            self.paris,
            "import lmdb, sys, time\nenv = lmdb.open(sys.argv[1])\nprint('open')\ntime.sleep(600)",
            self.paris.path("zones"),
            capture=False,
        )
        program.wait_for("open")
        answer = self.paris.json("init", "main", "--role", "master")
        self.assertEqual([entry["pid"] for entry in answer["restart"]], [program.pid])


class Unlink(CommandTest):
    def test_it_asks_removes_the_links_and_leaves_the_data(self):
        self.configured(Group("main", {"zones": "zones", "many": "m/*.lmdb"}))
        self.paris.command("init", "main", "--role", "master")
        self.fill(self.paris.path("zones"))
        self.refused("unlink", "main", code=2, says="--yes")
        self.assertEqual(self.paris.command("role", "main").stdout, "master\n")
        links = [str(self.link(place)) for place in (self.paris.path("zones"), self.paris.data, self.paris.path("m"))]
        planned = self.paris.json("unlink", "main", "--dry-run")
        self.assertEqual(set(planned["removed"]), {link for link in links if os.path.islink(link)})
        self.assertTrue(planned["dry_run"] and planned["removed"])
        self.assertEqual(self.paris.command("role", "main").stdout, "master\n")
        self.assertEqual(self.paris.json("unlink", "main", "--yes")["removed"], planned["removed"])
        for place in (self.paris.path("zones"), self.paris.data, self.paris.path("m")):
            self.assertFalse(self.link(place).is_symlink(), place)
        self.assertEqual(content.count(self.paris.path("zones")), 3)
        self.assertEqual(self.paris.command("role", "main").stdout, "none\n")
        self.refused("log", "main", code=3, says="unlinked")
        self.fill(self.paris.path("zones"), 5)
        self.assertEqual(content.count(self.paris.path("zones")), 5)

    def test_init_after_it_begins_anew_and_keeps_the_old_history(self):
        self.configured()
        first = self.paris.json("init", "main", "--role", "master")
        self.paris.command("unlink", "main", "--yes")
        second = self.paris.json("init", "main", "--role", "master")
        self.assertNotEqual(first["group_id"], second["group_id"])
        self.assertEqual(len(list((self.paris.state / "groups").glob("main.unlinked-*"))), 1)


class Status(CommandTest):
    FIELDS = (
        "name role epoch state verdict made published sent journaled applied queue_updates queue_bytes "
        "lag_seconds exposure_updates exposure_seconds test_round_trip_ms master_address peers incidents"
    ).split()

    def test_a_group_that_is_not_initialised_says_the_command(self):
        self.configured()
        said = self.paris.command("status").stdout
        self.assertRegex(said, r"^main  paris  NOT INITIALISED\. Next: hotbackup init main --role")
        self.paris.command("status", "--check", expect=4)

    def test_other_commands_say_the_same_with_a_code_of_its_own(self):
        self.configured()
        for words in (["log", "main"], ["scope", "main"], ["wait", "main", "--timeout", "1"]):
            self.refused(*words, code=3, says=["HB-not-initialised: ", "hotbackup init main --role"])

    def test_without_a_group_there_is_nothing_to_show(self):
        self.make_pair()
        for words in (["status"], ["status", "--check"], ["role"]):
            self.refused(*words, code=2, says="has no [[group]]")

    def test_without_servers_it_tells_the_queue_and_what_to_start(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        self.fill(self.paris.path("zones"))
        said = self.paris.command("status", "main").stdout.splitlines()
        self.assertRegex(said[0], r"^main  MASTER paris  epoch 1  EXPOSED: losing this machine now loses everything")
        self.assertIn("Next: start hotbackup-master", said[0])
        status = self.paris.status()
        self.assertLessEqual(set(self.FIELDS), set(status))
        self.assertEqual(status["queue_updates"], status["made"])
        self.assertGreater(status["queue_bytes"], 128 * status["made"])
        self.assertGreater(status["exposure_seconds"], 0)
        self.assertEqual(status["state"], "stopped")
        self.paris.command("status", "--check", expect=4)

    def test_a_pair_at_rest_is_protected_and_ready(self):
        self.start_pair(Group("main", {"zones": "zones"}))
        self.fill(self.paris.path("zones"))
        self.wait_applied()
        wait_until(
            lambda: self.paris.command("status", "--check", expect=None).returncode == 0, "the master's check"
        )
        wait_until(
            lambda: self.lyon.command("status", "--check", expect=None).returncode == 0, "the slave's check"
        )
        made = f"{self.paris.status()['made']:,}"
        self.assertRegex(
            self.paris.command("status").stdout,
            r"^main  MASTER paris  epoch 1  PROTECTED by lyon: losing this machine now loses 0 updates "
            rf"\(equal at {made} \d\d:\d\d:\d\dZ\)",
        )
        self.assertRegex(
            self.lyon.command("status").stdout,
            r"^main  SLAVE lyon  epoch 1  READY: promoting now loses 0 \(paris heard [\d.]+ s ago\)",
        )
        self.assertEqual(self.paris.status()["state"], "idle")

    def test_a_queue_that_cannot_be_read_is_as_old_as_the_slaves_silence(self):
        self.start_pair(Group("main", {"zones": "zones"}))
        self.fill(self.paris.path("zones"), 3)
        self.wait_applied()
        self.lyon.server.kill()
        self.fill(self.paris.path("zones"), 1)
        segment = self.paris.journal_segments()[-1]
        damaged = bytearray(segment.read_bytes())
        at = damaged.rindex(b"key-0")
        damaged[at] ^= 1
        segment.write_bytes(damaged)
        wait_until(lambda: self.paris.status()["exposure_seconds"] > 0.5, "the exposure grows")
        status = self.paris.status()
        self.assertGreater(status["queue_updates"], 0)
        self.assertGreater(status["lag_seconds"], 0.5)

    def test_what_the_slave_refuses_is_told_on_the_master_in_its_words(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        self.lyon.start("slave")
        self.paris.start("master")
        wait_until(
            lambda: "lyon refuses: group main has not been made on lyon yet: run hotbackup init main --role slave"
            in self.paris.command("status").stdout.splitlines()[0],
            "the slave's refusal in the master's verdict",
        )

    def test_a_server_that_stopped_or_was_killed_is_told_apart(self):
        self.start_pair(Group("main", {"zones": "zones"}))
        wait_until(lambda: self.paris.status()["server"]["alive"], "the master server")
        self.lyon.server.stop()
        self.assertIn("hotbackup-slave stopped cleanly at 20", self.lyon.command("status").stdout)
        self.paris.server.kill()
        self.assertIn("hotbackup-master was killed; last alive at 20", self.paris.command("status").stdout)
        self.assertEqual(self.paris.status()["state"], "stopped")


class Role(CommandTest):
    def test_it_prints_the_role_or_answers_by_its_exit_code(self):
        self.configured()
        self.assertEqual(self.paris.command("role", "main").stdout, "none\n")
        self.paris.command("init", "main", "--role", "master")
        self.assertEqual(self.paris.command("role").stdout, "master\n")
        self.assertEqual(self.paris.json("role"), {"group": "main", "role": "master"})
        self.assertEqual(self.paris.command("role", "main", "--is", "master").stdout, "")
        self.paris.command("role", "main", "--is", "slave", expect=3)
        self.refused("role", "nogroup", code=2, says="nogroup")

    def test_it_answers_in_under_20_ms(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")

        def once():
            """Seconds of processor time: of what passes on the wall other programs take their part."""
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.paris.command("role", "main")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        self.assertLess(min(once() for _ in range(50)), 0.020)


class Log(CommandTest):
    def setUp(self):
        self.configured(Group("main", {"zones": "zones", "many": "m/*.lmdb"}))
        self.paris.command("init", "main", "--role", "master")

    def numbers(self, *words):
        return [entry["number"] for entry in self.paris.json("log", "main", *words)["updates"]]

    def test_every_published_update_is_listed_once_in_order(self):
        self.fill(self.paris.path("zones"), 10)
        made = self.paris.status()["made"]
        self.assertEqual(self.numbers(), list(range(1, made + 1)))
        self.assertEqual(len(self.paris.command("log", "main").stdout.splitlines()), made)
        self.assertEqual(self.numbers("--from-number", 5, "--to-number", 7), [5, 6, 7])
        self.assertEqual(self.numbers("--unsent"), list(range(1, made + 1)))
        self.assertEqual(self.numbers("--from-number", made + 10), [])

    def test_it_is_narrowed_to_an_environment_a_database_or_a_key(self):
        self.fill(self.paris.path("zones"), 3)
        self.fill(self.paris.path("m/a.lmdb"), 3)
        self.fill(self.paris.path("m/b.lmdb"), 3)
        environments = {
            entry["environment"] for entry in self.paris.json("log", "main", "--env", "many")["updates"]
        }
        self.assertEqual(environments, {"many-1", "many-2"})
        found = self.paris.json("log", "main", "--db", "names", "--key", "key-1", "--data")["updates"]
        operations = [entry["operations"] for entry in found]
        wanted = {
            "kind": "put", "database": "names", "main": False, "flags": 0,
            "key": "key-1", "value_bytes": 5, "value": "value",
        }
        self.assertEqual(operations, [[wanted]] * 3)
        self.assertEqual(self.numbers("--db", ""), [])
        by_bytes = self.numbers("--key", "0x6b65792d31")
        self.assertEqual(by_bytes, [entry["number"] for entry in found])

    def test_what_cannot_be_asked_for_is_wrong_usage(self):
        for words, said in (
            (["--env", "nope"], "no environment 'nope': there is zones, many"),
            (["--key", "0xzz"], "0xzz"),
            (["--db", "0x1"], "0x1"),
            (["--from-number", "7", "--to-number", "5"], "--from-number 7"),
        ):
            self.refused("log", "main", *words, code=2, says=said)
        self.assertEqual(self.numbers("--db", "never-mentioned"), [])
        self.assertEqual(self.numbers("--env", "many"), [])

    def test_follow_prints_updates_as_they_come(self):
        self.fill(self.paris.path("zones"), 1)
        made = self.paris.status()["made"]
        follow = subprocess.Popen(
            [self.paris.programs.hotbackup, "log", "main", "--follow", "--json", "--from-number", str(made + 1)],
            env=self.paris.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.fill(self.paris.path("zones"), 2)
            entries = [json.loads(follow.stdout.readline()) for _ in range(2)]
            self.assertEqual([entry["number"] for entry in entries], [made + 1, made + 2])
        finally:
            follow.kill()
            follow.wait()
            follow.stdout.close()

    def test_an_update_that_is_gone_is_named(self):
        self.fill(self.paris.path("zones"), 1)
        segment = self.paris.journal_segments()[0]
        segment.rename(segment.with_name("0000000000000100.hbj"))
        self.refused("log", "main", "--from-number", 1, says="begins at update 100")

    def test_the_queue_is_asked_of_the_master(self):
        self.lyon.command("init", "main", "--role", "slave")
        self.refused("log", "main", "--unsent", node=self.lyon, code=3, says="master")


class Wait(CommandTest):
    def test_it_gives_up_in_time_with_exit_5(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        for words in (["wait", "main", "--timeout", "0.2"], ["wait", "7", "--timeout", "100 ms"]):
            self.refused(*words, code=5, says="hotbackup status main")
        answer = json.loads(
            self.paris.command("wait", "--timeout", "0", "--json", expect=5).stdout
        )
        self.assertEqual((answer["done"], answer["for"], answer["number"]), (False, "journaled", 1))
        self.lyon.command("init", "main", "--role", "slave")
        self.refused("wait", "--timeout", "0", node=self.lyon, code=5, says="applied")
        self.refused("wait", "--timeout", "soon", code=2, says="soon")

    def test_it_returns_when_slave_or_copy_have_the_update(self):
        self.start_pair(Group("main", {"zones": "zones"}))
        self.fill(self.paris.path("zones"), 20)
        made = self.paris.status()["made"]
        for level in ("journaled", "applied"):
            answer = self.paris.json("wait", "main", "--for", level, "--timeout", "30 s")
            self.assertEqual((answer["done"], answer["number"]), (True, made))
        self.lyon.command("wait", "main", made, "--timeout", "30 s")
        self.assertEqual(content.count(self.lyon.path("zones")), 20)


class Run(CommandTest):
    def run_words(self, *words, expect=0, **environment):
        done = subprocess.run(
            [str(self.paris.programs.hotbackup), *words],
            env=dict(self.paris.environment, **environment),
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout

    def test_the_command_gets_its_words_and_its_exit_code_comes_back(self):
        self.configured()
        script = 'printf "%s|" "$@"; exit 7'
        for front in (["run", "--"], ["run"], ["--json", "run", "--"]):
            said = self.run_words(*front, "sh", "-c", script, "sh", "--json", "--", "a b", expect=7)
            self.assertEqual(said, "--json|--|a b|")

    def test_the_library_comes_first_and_other_preloads_stay(self):
        self.configured()
        other = next(pathlib.Path("/").glob("lib*/*/libm.so.6"))
        said = self.run_words("run", "--", "sh", "-c", "echo $LD_PRELOAD", LD_PRELOAD=str(other))
        first, second = said.strip().split(":")
        self.assertTrue(first.endswith("/libhotbackup.so"), first)
        self.assertEqual(second, str(other))

    def test_a_command_that_is_missing_or_not_executable_ends_as_in_a_shell(self):
        self.configured()
        self.run_words("run", "--", "no-such-command", expect=127)
        self.run_words("run", "--", str(self.paris.config), expect=126)
        self.run_words("run", expect=2)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_a_set_user_id_program_is_refused_as_it_would_write_uncaptured(self):
        self.configured()
        program = self.paris.path("program")
        shutil.copy("/bin/true", program)
        shutil.chown(program, "nobody")
        program.chmod(0o4755)
        self.run_words("run", "--", str(program), expect=1)


class Others(CommandTest):
    def test_wrong_usage_is_one_line_and_exit_2(self):
        self.configured()
        cases = (["nonsense"], ["status", "--nonsense"], [], ["init", "main"], ["log", "--from-number", "x"],
                 ["status", "--", "x"], ["role", "--is", "king"], ["wait", "main", "x"])
        for words in cases:
            with self.subTest(words=words):
                self.refused(*words, code=2)

    def test_a_number_that_is_none_is_wrong_usage_wherever_one_is_taken(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        self.lyon.command("init", "main", "--role", "slave")
        nothing = ("--into", str(self.root / "volumes"))
        for number in ("-5", "18446744073709551616", "1x", "0x10"):
            for node, words in (
                (self.paris, ["wait", "main", number, "--timeout", "1"]),
                (self.paris, ["log", "main", "--from-number", number]),
                (self.paris, ["log", "main", "--to-number", number]),
                (self.paris, ["orphans", "show", "main", number]),
                (self.paris, ["export", "main", "--from-number", number, *nothing]),
                (self.paris, ["incidents", "main", "--last", number]),
                (self.lyon, ["skip", "main", number, "--reason", "none"]),
                (self.lyon, ["apply", "main", "--until", number]),
                (self.lyon, ["promote", "main", "--without", number, "--dry-run"]),
                (self.lyon, ["promote", "main", "--until", number, "--dry-run"]),
            ):
                with self.subTest(words=words):
                    done = node.command(*words, expect=2)
                    self.assertRegex(done.stderr, r"^hotbackup(-resync)?: HB-[^\n]*\n$")
                    self.assertIn(number, done.stderr)
        self.refused("wait", "18446744073709551616", "--timeout", "1", code=2)
        self.refused("wait", "-5", "--timeout", "1", code=2, says="-5")
        answer = self.paris.command("wait", "main", "010", "--timeout", "0", "--json", expect=5)
        self.assertEqual(json.loads(answer.stdout)["number"], 10)

    def server(self, role, *words):
        program = self.paris.programs.master if role == "master" else self.paris.programs.slave
        words = [str(program), *words, "--config", str(self.paris.config)]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)

    def test_servers_check_as_json_with_codes_and_places(self):
        self.configured()
        for role in ("master", "slave"):
            done = self.server(role, "--check", "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout), {"ok": True, "problems": [], "warnings": []})
            done = self.server(role, "--chek")
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, rf"^hotbackup-{role}: HB-usage: .*--chek.*--help\n$")
            self.assertEqual(self.server(role, "--json").returncode, 2)
        good = self.paris.config.read_text()
        line = good[: good.index("[[group]]")].count("\n") + 2
        self.paris.config.write_text(good.replace("[[group]]\n", '[[group]]\nuser = "nosuchuser_"\n'))
        done = self.server("slave", "--check", "--json")
        self.assertEqual(done.returncode, 4)
        answer = json.loads(done.stdout)
        self.assertFalse(answer["ok"])
        place = f"HB-config: {self.paris.config}:{line}:1: group main: there is no user"
        self.assertTrue(answer["problems"][0].startswith(place), answer)
        self.assertEqual(done.stderr, f"hotbackup-slave: {answer['problems'][0]}\n")
        self.paris.config.write_text(good + "wrong = 7\n")
        done = self.server("master", "--check", "--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["ok"]), (2, False))
        self.assertRegex(self.server("master").stderr, r"^hotbackup-master: HB-config: .*wrong.*\n$")

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_who_may_not_is_told_who_may(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        for words in (["identity"], ["status"], ["log", "main"]):
            done = subprocess.run(
                [*nobody, str(self.paris.programs.hotbackup), *words],
                env=self.paris.environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            self.assertEqual(done.returncode, 1)
            self.assertTrue(one_line(done.stderr), done.stderr)
            self.assertTrue(done.stderr.endswith("; run it as root\n"), done.stderr)

    def test_help_and_version_work_everywhere(self):
        self.configured()
        self.assertRegex(self.paris.command("--version").stdout, r"^hotbackup \d+\.\d+\.\d+\n$")
        for command in ("init", "run", "status", "role", "scope", "log", "wait", "config", "identity", "unlink"):
            self.assertIn("Usage", self.paris.command(command, "--help").stdout)

    def test_config_prints_what_is_in_force_as_a_file_that_means_the_same(self):
        self.configured()
        first = self.paris.command("config").stdout
        self.paris.config.write_text(first)
        self.assertEqual(self.paris.command("config").stdout, first)
        self.assertEqual(self.paris.json("config")["node"]["name"], "paris")

    def test_the_configuration_is_found_by_option_variable_or_not_at_all(self):
        self.configured()
        self.assertIn("lyon", self.paris.command("--config", self.lyon.config, "identity", "--json").stdout)
        self.assertIn("lyon", self.paris.command("identity", "--config", self.lyon.config, "--json").stdout)
        self.refused("status", "--config", "/no/such.toml", code=2, says="/no/such.toml")

    def test_the_identity_stays_the_same(self):
        self.configured()
        first = self.paris.command("identity").stdout
        self.assertRegex(first, r"^SHA256:[A-Za-z0-9+/]{43}\n$")
        self.assertEqual(self.paris.command("identity").stdout, first)
        self.assertNotEqual(self.lyon.command("identity").stdout, first)

    def test_scope_lists_every_database_with_its_count(self):
        self.configured()
        self.paris.command("init", "main", "--role", "master")
        self.fill(self.paris.path("zones"), 4)
        (environment,) = self.paris.json("scope")["environments"]
        found = [(entry["database"], entry["items"], entry["scope"]) for entry in environment["databases"]]
        self.assertEqual(found, [("", 0, "sent"), ("names", 4, "sent")])

    def test_two_groups_ask_which_one_is_meant(self):
        self.configured(Group("one", {"a": "one/a"}), Group("two", {"b": "two/b"}))
        self.refused("role", code=2, says=["one", "two"])
        answer = self.paris.json("status")
        self.assertEqual([group["name"] for group in answer["groups"]], ["one", "two"])


if __name__ == "__main__":
    unittest.main()
