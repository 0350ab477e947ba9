# SPDX-License-Identifier: Apache-2.0
"""The status address: page, JSON, metrics, health, in every role; the page in a real browser."""

import json
import os
import shutil
import socket
import subprocess
import unittest
import urllib.error
import urllib.request

from support import writers
from support.pair import Group, PairTest
from support.places import free_port
from support.waiting import wait_until

CHROMIUM = shutil.which("chromium")


class PageTest(PairTest):
    def shown_pair(self):
        """A running pair; both nodes serve their page."""
        self.make_pair(Group("main", {"zones": "zones"}, options='check_period = "300 ms"'))
        for node, peer in ((self.paris, self.lyon), (self.lyon, self.paris)):
            node.page = free_port()
            node.configure(peer, self.groups, node is self.paris, f'status = "127.0.0.1:{node.page}"')
        self.start_pair()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 3)
        self.wait_applied()
        for node in (self.paris, self.lyon):
            wait_until(lambda node=node: self.answers(node), f"the page of {node.name}")

    def get(self, node, path="/"):
        """(status, body)"""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{node.page}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def answers(self, node):
        try:
            return self.get(node)[0] == 200
        except OSError:
            return False

    def health(self, node, path):
        return self.get(node, "/health" + path)[0]


class Address(PageTest):
    def test_it_is_right_as_master_slave_down_and_fenced(self):
        self.shown_pair()
        wait_until(lambda: self.health(self.paris, "") == 200, "paris is well")
        wait_until(lambda: self.health(self.lyon, "") == 200, "lyon is well")
        self.assertEqual([self.health(self.paris, path) for path in ("/master", "/slave")], [200, 503])
        self.assertEqual([self.health(self.lyon, path) for path in ("/master", "/slave?lag=5s")], [503, 200])
        self.assertIn("PROTECTED by lyon", self.get(self.paris)[1])
        served = json.loads(self.get(self.paris, "/status.json")[1])["groups"][0]
        printed = self.paris.status()
        self.assertEqual(served.keys(), printed.keys())
        self.assertEqual((served["role"], served["applied"]), (printed["role"], printed["applied"]))
        metrics = self.get(self.lyon, "/metrics")[1]
        self.assertIn('hotbackup_role{group="main",role="slave"} 1\n', metrics)
        self.assertIn(f'hotbackup_updates_applied_total{{group="main"}} {printed["applied"]}\n', metrics)

        # The master's server is killed: its node's other server takes the page over.
        master = self.paris.server
        other = self.paris.start("slave")
        self.at_end(other.kill)
        master.kill()
        wait_until(lambda: self.answers(self.paris), "the other server serves the page")
        self.assertIn("EXPOSED", self.get(self.paris)[1])
        self.assertIn('hotbackup_server_up{group="main",server="hotbackup-master"} 0', self.get(self.paris, "/metrics")[1])
        self.assertEqual(self.health(self.paris, "/master"), 200)  # programs still write
        self.assertEqual(self.health(self.paris, ""), 503)
        wait_until(lambda: self.health(self.lyon, "/slave?lag=5s") == 503, "lyon does not know its lag")

        # Lyon is promoted; paris hears of it, and is fenced, then its slave.
        self.lyon.command("promote", "main", "--force", "--yes")
        wait_until(lambda: self.health(self.lyon, "/master") == 200, "lyon is master")
        lyons = self.lyon.server
        self.at_end(lyons.kill)
        self.lyon.start("master")
        wait_until(lambda: self.health(self.paris, "/master") == 503, "paris is not master any more")
        self.assertIn('role="master"} 0', self.get(self.paris, "/metrics")[1])
        self.assertRegex(self.get(self.paris)[1], "FENCED|REJOINING|READY|MAY LOSE|SLAVE")

    def test_limits_hold_and_only_reading_is_possible(self):
        self.shown_pair()
        request = urllib.request.Request(f"http://127.0.0.1:{self.paris.page}/", data=b"x" * 100_000, method="POST")
        with self.assertRaises((urllib.error.HTTPError, OSError)) as refused:
            urllib.request.urlopen(request, timeout=10)
        if isinstance(refused.exception, urllib.error.HTTPError):
            self.assertEqual(refused.exception.code, 405)
            refused.exception.close()
        with socket.create_connection(("127.0.0.1", self.paris.page), 10) as long:
            try:
                long.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n")
                answer = long.recv(100)
            except OSError:
                answer = b""
            self.assertNotIn(b" 200 ", answer)
        # Connections beyond the limit are closed, and the page answers when some have gone.
        held = [socket.create_connection(("127.0.0.1", self.paris.page), 10) for _ in range(60)]
        for connection in held:
            connection.close()
        wait_until(lambda: self.answers(self.paris), "the page answers again")
        self.assertTrue(self.paris.server.running())

    def test_an_address_that_is_taken_is_no_incident(self):
        self.make_pair(Group("main", {"zones": "zones"}))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.paris.configure(self.lyon, self.groups, node_lines=f'status = "127.0.0.1:{port}"')
            self.start_pair()
            wait_until(lambda: "status page is not served" in self.paris.server.log, "the log says so")
        self.assertEqual(self.paris.status()["incidents"], [])


@unittest.skipUnless(CHROMIUM, "needs Debian's chromium")
class Browser(PageTest):
    def dump(self, url, *options):
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={self.root}/browser", "--timeout=8000", *options, "--dump-dom", url,
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True, cwd="/",
            env={**os.environ, "HOME": str(self.root)},
        )  # fmt: skip
        return done.stdout

    def test_the_page_is_whole_with_and_without_javascript(self):
        self.shown_pair()
        wait_until(lambda: "<polyline" in self.get(self.paris)[1], "the plot")
        url = f"http://127.0.0.1:{self.paris.page}/"
        # Five seconds of its own time: the script has fetched the page again, or would say so.
        text = self.dump(url, "--virtual-time-budget=5000")
        for part in ("PROTECTED by lyon", "<polyline", "status.json", "made "):
            self.assertIn(part, text)
        self.assertNotIn("<title>(no answer)", text)
        # What a browser without JavaScript shows: all of it is there before any script.
        plain = self.get(self.paris)[1].split("<script>")[0]
        for part in ("PROTECTED by lyon", "<polyline", "<table", "</main>", "http-equiv"):
            self.assertIn(part, plain)
