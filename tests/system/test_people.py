# SPDX-License-Identifier: Apache-2.0
"""Incidents reach people: the permanent log, every kind of entry of the notify list, once each."""

import json
import signal
import time

from support import writers
from support.pair import Group, PairTest
from support.receivers import MailReceiver, WebReceiver
from support.waiting import wait_until

FAST = 'check_period = "300 ms"'


class PeopleTest(PairTest):
    def told_pair(self, *entries, options="", node_lines="", group_options=FAST):
        """A running pair; `entries`: targets of the master's notify list; `options`: lines of each."""
        self.make_pair(Group("main", {"zones": "zones"}, options=group_options))
        self.notify(*entries, options=options, node_lines=node_lines)
        self.start_pair()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 3)
        self.wait_applied()

    def notify(self, *entries, options="", node_lines=""):
        lists = "\n".join(f"[[notify]]\nto = '{entry}'\n{options}" for entry in entries)
        self.paris.configure(self.lyon, self.groups, node_lines=node_lines)
        self.paris.config.write_text(self.paris.config.read_text() + lists)

    def file_channel(self, name="told"):
        path = self.root / name
        return path, f"file:{path}"

    def messages(self, path):
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def incidents(self, code, node=None):
        found = (node or self.paris).json("incidents", "main")["incidents"]
        return [incident for incident in found if incident["code"] == code]

    def wait_incident(self, code, cleared=False, node=None, seconds=15):
        return wait_until(
            lambda: [i for i in self.incidents(code, node) if (i["cleared"] is not None) == cleared],
            f"{code} {'cleared' if cleared else 'raised'}",
            seconds,
        )[0]

    def freeze(self, server):
        server.process.send_signal(signal.SIGSTOP)
        self.at_end(lambda: server.running() and server.process.send_signal(signal.SIGCONT))


class NotifyList(PeopleTest):
    def test_a_frozen_slave_is_told_to_every_channel_once_and_so_is_its_return(self):
        web, mail = WebReceiver(), MailReceiver()
        self.at_end(web.end)
        self.at_end(mail.end)
        path, target = self.file_channel()
        ran = self.root / "ran"
        self.told_pair(
            target, web.url, "mailto:ops@example.org", f'exec:echo "$HOTBACKUP_CODE" >>{ran}', "syslog:",
            node_lines=f'smtp = "127.0.0.1:{mail.port}"',
        )  # fmt: skip
        self.freeze(self.lyon.server)
        began = time.monotonic()
        incident = self.wait_incident("HB-link-down")
        # Three silent periods and two more to tell it; the rest is this machine's load.
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("hotbackup promote main --dry-run", incident["action"])
        wait_until(lambda: path.exists() and web.messages and mail.messages and ran.exists(), "all channels")
        self.lyon.server.process.send_signal(signal.SIGCONT)
        self.wait_incident("HB-link-down", cleared=True)

        def of_link(messages):
            found = [i for message in messages for i in message["incidents"] if i["code"] == "HB-link-down"]
            return [incident["cleared"] is None for incident in found]

        for name, messages in (("file", lambda: self.messages(path)), ("web", lambda: web.messages)):
            wait_until(lambda m=messages: len(of_link(m())) >= 2, f"the all-clear by {name}")
            self.assertEqual(of_link(messages()), [True, False], name)
        wait_until(lambda: len(mail.messages) >= 2, "the all-clear by mail")
        recipients, first = mail.messages[0]
        self.assertEqual(recipients, ["ops@example.org"])
        self.assertIn("HB-link-down lyon", first["Subject"])
        self.assertIn("Next: ", first.get_payload())
        self.assertIn("is over", mail.messages[1][1]["Subject"])
        wait_until(lambda: ran.read_text().split().count("HB-link-down") == 2, "the command twice")

    def test_a_flapping_link_is_one_message_with_a_count(self):
        path, target = self.file_channel()
        self.told_pair(target)
        server = self.lyon.server
        self.at_end(lambda: server.running() and server.process.send_signal(signal.SIGCONT))
        for times in range(1, 4):
            server.process.send_signal(signal.SIGSTOP)
            wait_until(lambda t=times: len(self.incidents("HB-link-down")) >= t, f"incident {times}")
            server.process.send_signal(signal.SIGCONT)
            self.wait_incident("HB-link-down", cleared=True)
            wait_until(
                lambda: all(i["cleared"] for i in self.incidents("HB-link-down")), "all are over"
            )
        wait_until(lambda: self.messages(path), "a message")

        def told():
            return [i for message in self.messages(path) for i in message["incidents"]]

        wait_until(lambda: sum(i["count"] for i in told() if i["cleared"]) >= 3, "its ends, with their count")
        # Never more than one message about its begin before one about its end.
        begins = [i["cleared"] is None for i in told()]
        self.assertNotIn((True, True), list(zip(begins, begins[1:])))

    def test_who_cannot_be_reached_is_an_incident_and_hears_of_everything_later(self):
        web = WebReceiver(status=503)
        self.at_end(web.end)
        path, target = self.file_channel()
        self.told_pair(target, web.url)
        self.freeze(self.lyon.server)
        failed = self.wait_incident("HB-notify-failed")
        self.assertIn("503", failed["text"])
        self.assertNotIn("/hook", failed["subject"])
        codes = lambda: [i["code"] for m in self.messages(path) for i in m["incidents"]]  # noqa: E731
        wait_until(lambda: "HB-notify-failed" in codes(), "the other channel is told")
        # What waits outlives the server that tried.
        self.paris.server.kill()
        self.paris.start("master")
        web.status = 200
        wait_until(lambda: web.messages, "the message, later", 30)
        self.assertEqual(web.messages[0]["incidents"][0]["code"], "HB-link-down")
        self.wait_incident("HB-notify-failed", cleared=True)

    def test_severity_and_group_choose(self):
        path, target = self.file_channel()
        other, other_target = self.file_channel("other")
        self.make_pair(Group("main", {"zones": "zones"}, options=FAST))
        self.notify(target, options="from = 'error'")
        text = self.paris.config.read_text()
        self.paris.config.write_text(text + f"\n[[notify]]\nto = '{other_target}'\ngroups = ['elsewhere']\n")
        self.start_pair()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 3)
        self.wait_applied()
        self.lyon.server.stop()
        self.wait_incident("HB-link-down")
        wait_until(lambda: self.messages(path), "the message")
        self.assertFalse(other.exists())


class Log(PeopleTest):
    def test_it_outlives_servers_and_is_read_without_them(self):
        self.told_pair()
        self.freeze(self.lyon.server)
        first = self.wait_incident("HB-link-down")
        self.paris.server.stop()
        self.paris.start("master")
        self.lyon.server.process.send_signal(signal.SIGCONT)
        self.wait_incident("HB-link-down", cleared=True)
        self.paris.server.stop()
        found = self.incidents("HB-link-down")
        self.assertEqual([i["time"] for i in found], [first["time"]])
        self.assertLessEqual({"code", "severity", "time", "text", "action", "cleared"}, set(found[0]))
        text = self.paris.command("incidents").stdout
        self.assertIn("HB-link-down", text)
        self.assertIn("cleared", text)

    def test_follow_shows_each_as_it_happens(self):
        self.told_pair()
        watcher = self.background(
            self.paris, [self.paris.programs.hotbackup, "incidents", "--follow", "--json"], capture=False
        )
        self.lyon.server.stop()
        watcher.wait_for("HB-link-down")
        self.lyon.start("slave")
        wait_until(lambda: len(watcher.log.splitlines()) >= 2, "its end")
        lines = [json.loads(line) for line in watcher.log.splitlines()]
        self.assertEqual([line["cleared"] is None for line in lines], [True, False])

    def test_the_other_server_takes_the_watch_over(self):
        self.told_pair()
        slave = self.paris.server
        self.paris.server = None
        other = self.paris.start("slave")
        self.at_end(other.kill)
        slave.kill()  # the master's server
        self.wait_incident("HB-server-down", seconds=20)
        master = self.paris.start("master")
        self.at_end(master.kill)
        self.wait_incident("HB-server-down", cleared=True)

    def test_exposure_above_the_objective_is_an_incident(self):
        self.told_pair(group_options=FAST + '\nrpo = "1 s"\nloss_limit = "off"')
        self.assertEqual(self.incidents("HB-rpo-passed"), [])
        self.lyon.server.stop()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 3, 10)
        raised = self.wait_incident("HB-rpo-passed")
        self.assertIn("1 s", raised["text"])
        self.lyon.start("slave")
        self.wait_incident("HB-rpo-passed", cleared=True)


class Commands(PeopleTest):
    def test_notify_test_says_who_could_not_be_reached(self):
        path, target = self.file_channel()
        self.make_pair(Group("main", {"zones": "zones"}))
        self.assertIn("[[notify]]", self.paris.command("notify-test", expect=2).stderr)
        self.notify(target)
        self.paris.command("notify-test")
        self.assertIn("test of the notify list", self.messages(path)[0]["title"])
        self.notify(target, "exec:echo no >&2; exit 1")
        answer = self.paris.json("notify-test", expect=6)
        self.assertEqual([entry["reached"] for entry in answer["notify"]], [True, False])
        self.assertIn("no", answer["notify"][1]["text"])
        self.notify("file:/nowhere/at/all")
        self.assertIn("NOT REACHED", self.paris.command("notify-test", expect=1).stdout)

    def test_explain_gives_meaning_and_action(self):
        self.make_pair(Group("main", {"zones": "zones"}))
        self.assertIn("Next: ", self.paris.command("explain", "HB-fenced").stdout)
        answer = self.paris.json("explain", "fenced")
        self.assertEqual((answer["code"], answer["severity"]), ("HB-fenced", "error"))
        self.assertIn("no incident", self.paris.command("explain", "HB-nothing", expect=2).stderr)

    def test_config_peer_shows_what_differs_and_nothing_that_belongs_to_a_site(self):
        self.told_pair()
        slave = self.paris.start("slave")  # questions go to slave servers
        self.at_end(slave.kill)
        self.assertIn("the same", self.paris.command("config", "--peer").stdout)
        text = self.lyon.config.read_text()
        self.lyon.config.write_text(text.replace('"300 ms"', '"400 ms"\nloss_limit = "off"\non_promote = "secret"'))
        self.lyon.server.process.send_signal(signal.SIGHUP)
        answer = wait_until(lambda: self.differing(), "the difference")
        self.assertEqual(
            {d["key"]: (d["here"], d["there"]) for d in answer},
            {"check_period": ('"300 ms"', '"400 ms"'), "loss_limit": ('"10 s"', '"off"')},
        )
        self.lyon.server.stop()
        self.assertIn("no answer", self.paris.command("config", "--peer", expect=1).stdout)

    def differing(self):
        done = self.paris.command("config", "--peer", "--json", expect=None)
        peer = json.loads(done.stdout)["groups"][0]["peers"][0]
        return peer["differences"] if done.returncode == 4 else []

    def test_trace_logs_messages_for_as_long_as_it_was_asked_for(self):
        self.told_pair()
        self.assertNotIn("heartbeat", self.paris.server.log)
        self.paris.command("trace", "on", "--for", "4 s")
        wait_until(lambda: "> acknowledge" in self.paris.server.log or "> heartbeat" in self.paris.server.log, "traces")
        wait_until(lambda: "trace ends" in self.paris.server.log, "the end of the trace")

    def test_report_measures_against_objectives(self):
        self.told_pair(group_options=FAST + '\nrpo = "2 s"\nrto = "1 h"\nloss_limit = "off"')
        answer = self.paris.json("report", "main", expect=None)
        self.assertLessEqual({"minutes", "exposure_seconds", "lag_seconds", "rpo", "rto", "changes"}, set(answer))
        self.assertIn("watched", self.paris.command("report", "--last", "7d", expect=None).stdout)
        self.paris.command("report", "--last", "soon", expect=2)
        self.lyon.server.stop()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 3, 10)
        self.wait_incident("HB-rpo-passed")
        # A minute is kept when it has ended, or when the watch ends.
        self.paris.server.stop()
        answer = self.paris.json("report", "main", expect=4)
        self.assertEqual(answer["rpo"]["met"], False)
        self.assertGreater(answer["exposure_seconds"]["max"], 2)
        self.assertIn("MISSED", self.paris.command("report", expect=4).stdout)
        self.assertEqual(answer["incidents"]["HB-rpo-passed"], 1)
