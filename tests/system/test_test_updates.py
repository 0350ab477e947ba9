# SPDX-License-Identifier: Apache-2.0
"""Test updates: through the capture path, the link and the applier, and back."""

import http.server
import json
import signal
import threading
import unittest

from support.pair import Group
from support.roles import PUT, RolesTest
from support.waiting import wait_until

NEVER = Group("main", {"one": "one"}, options='test_period = "off"')
OFTEN = Group("main", {"one": "one"}, options='test_period = "1 s"')


class TestUpdates(RolesTest):
    def start(self, group):
        self.start_all("paris", "lyon", group=group)

    def codes(self, node=None):
        return {incident["code"] for incident in (node or self.paris).status()["incidents"]}

    def history(self):
        file = self.paris.state / "groups/main/tests"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def test_one_test_update_comes_back_and_users_see_nothing_of_its_environment(self):
        self.start(NEVER)
        self.paris.python(PUT, self.paris.path("one"), "a", "b")
        self.assertIsNone(self.paris.status()["test_round_trip_ms"])
        answer = self.paris.json("test", "main")
        self.assertGreater(answer["round_trip_ms"], 0)
        status = self.paris.status()
        self.assertEqual(status["test_round_trip_ms"], answer["round_trip_ms"])
        self.assertEqual([one["name"] for one in status["environments"]], ["one"])
        kinds = {one["number"]: one["kind"] for one in self.paris.json("log", "main")["updates"]}
        self.assertEqual(kinds[answer["number"]], "test")
        full = self.paris.command("test", "main", "--full").stdout.splitlines()
        self.assertRegex(full[-1], r"1 databases, 2 items, EQUAL at update")
        self.assertEqual(self.paris.json("compare", "main")["copies"][0]["databases"], 1)
        self.assertIn("master", self.lyon.command("test", "main", expect=3).stderr)

    def test_a_slave_that_stands_still_is_an_incident_until_echoes_return(self):
        self.start(OFTEN)
        wait_until(lambda: len(self.history()) > 1, "two test updates by themselves")
        self.assertEqual(self.codes(), set())
        server = self.servers["lyon", "slave"].process
        server.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: "HB-test-late" in self.codes(), "the incident", 30)
            failed = self.paris.command("test", "main", expect=5)
            self.assertIn("HB-test-late", failed.stderr)
            self.assertIsNone(self.paris.status()["test_round_trip_ms"])
        finally:
            server.send_signal(signal.SIGCONT)
        wait_until(lambda: "HB-test-late" not in self.codes(), "the all-clear", 30)
        self.assertIn("echoed", {one["result"] for one in self.history()})

    def test_a_paused_copy_is_no_incident_but_no_echo_either(self):
        self.start(NEVER)
        self.paris.command("test", "main")
        self.lyon.command("pause", "main")
        held = self.paris.command("test", "main", expect=3)
        self.assertIn("applying is paused on lyon, and has the update in its journal", held.stderr)
        self.assertEqual(self.codes(), set())
        self.assertEqual(self.history()[-1]["result"], "held")
        self.lyon.command("resume", "main")
        self.paris.command("test", "main")
        self.assertEqual(self.codes(), set())

    def test_after_a_switch_the_new_master_tests_through_the_same_environment(self):
        self.start(NEVER)
        self.paris.command("test", "main")
        self.paris.command("switch", "main", "--to", "lyon")
        self.wait_role(self.lyon, "master")
        self.wait_good(self.lyon)
        self.assertGreater(self.lyon.json("test", "main")["round_trip_ms"], 0)

    def test_the_heartbeat_address_is_asked_only_while_echoes_return(self):
        asked = []

        class Listener(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        listener = http.server.HTTPServer(("127.0.0.1", 0), Listener)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        self.at_end(listener.server_close)
        self.at_end(listener.shutdown)
        self.make_nodes("paris", "lyon", group=OFTEN)
        text = self.paris.config.read_text()
        url = f'heartbeat_url = "http://127.0.0.1:{listener.server_port}/alive"\n[[peer]]'
        self.paris.config.write_text(text.replace("[[peer]]", url, 1))
        self.paris.command("init", "main", "--role", "master")
        self.lyon.command("init", "main", "--role", "slave")
        self.start_node(self.lyon)
        self.start_node(self.paris)
        wait_until(lambda: asked, "a ping", 30)
        self.lyon.command("pause", "main")
        wait_until(lambda: self.history()[-1]["result"] == "held", "a test update without an echo", 30)
        before = len(asked)
        many = len(self.history())
        wait_until(lambda: len(self.history()) > many + 1, "two more test updates", 40)
        self.assertEqual(len(asked), before)

    def test_nobody_can_configure_an_environment_of_its_name(self):
        self.make_nodes("paris", "lyon", group=NEVER)
        text = self.paris.config.read_text()
        self.paris.config.write_text(text.replace('  name = "one"', '  name = "hotbackup-test"'))
        refused = self.paris.command("init", "main", "--role", "master", expect=2)
        self.assertIn("hotbackup's own", refused.stderr)


if __name__ == "__main__":
    unittest.main()
