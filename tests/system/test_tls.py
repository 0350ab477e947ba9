# SPDX-License-Identifier: Apache-2.0
"""The link under TLS: who has the right key gets in, nobody else does or learns anything."""

import os
import signal
import socket
import ssl
import struct
import subprocess
import time
import unittest

from support import writers
from support.pair import Group, PairTest
from support.places import free_port
from support.waiting import wait_until

ONE = Group("main", {"zones": "zones"})
FILL = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 28)
with env.begin(write=True) as txn:
    for n in range(80):
        txn.put(b"%04d" % n, b"x" * 100_000)
"""


def incident(node, code):
    return [entry for entry in node.status()["incidents"] if entry["code"] == code]


class Tls(PairTest):
    def make_tls_pair(self):
        self.make_pair(ONE)
        self.keys = self.exchange_keys()

    def make_key(self, name):
        """(key file, certificate file) of a stranger."""
        key, certificate = self.root / f"{name}.key", self.root / f"{name}.crt"
        subprocess.run(
            f"openssl req -x509 -newkey ed25519 -nodes -keyout {key} -out {certificate} "
            "-subj /CN=hotbackup -days 10",
            shell=True,
            check=True,
            capture_output=True,
        )
        return key, certificate

    def tls_call(self, key=None, certificate=None):
        """Everything that lyon says to a caller with this key (or none), and the peer's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if key:
            context.load_cert_chain(certificate, key)
        with socket.create_connection(("127.0.0.1", self.lyon.port), timeout=10) as plain:
            with context.wrap_socket(plain) as link:
                shown = link.getpeercert(binary_form=True)
                said = b""
                try:
                    while True:
                        part = link.recv(65536)
                        if not part:
                            break
                        said += part
                except (ssl.SSLError, ConnectionError):
                    pass
                return said, shown

    def test_a_pair_with_each_others_keys_streams(self):
        self.make_tls_pair()
        self.start_pair()
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 300)
        self.assert_equal_copies()
        self.assertIn("PROTECTED by lyon", self.paris.command("status").stdout)

    def test_a_stranger_is_refused_with_an_incident_and_learns_a_public_key_only(self):
        self.make_tls_pair()
        self.start_pair()
        self.wait_applied()
        for key in ((None, None), self.make_key("stranger")):
            said, shown = self.tls_call(*key)
            self.assertEqual(said, b"")
            for name in (b"lyon", b"paris", b"main", b"zones"):
                self.assertNotIn(name, shown)
            wait_until(lambda: incident(self.lyon, "HB-stranger"), "an incident on lyon", 10)
        self.assertIn("not known here", self.lyon.server.log)
        self.assertIn("shown no key", self.lyon.server.log)
        self.assertEqual(self.paris.status()["incidents"], [])

    def test_a_plain_caller_is_told_nothing_where_a_key_is_asked_for(self):
        self.make_tls_pair()
        self.start_pair()
        with socket.create_connection(("127.0.0.1", self.lyon.port), timeout=10) as link:
            link.sendall(struct.pack("<I", 20) + b"x" * 20)
            said = link.recv(100)
            self.assertNotIn(b"lyon", said)
            self.assertLessEqual(len(said), 10)  # at most TLS's own alert

    def test_a_master_with_another_key_is_refused_by_name_of_the_reason_on_both_sides(self):
        self.make_tls_pair()
        self.init_pair()
        (self.paris.state / "identity.key").write_bytes(self.make_key("other")[0].read_bytes())
        self.lyon.start("slave")
        self.paris.start("master")
        wait_until(lambda: incident(self.lyon, "HB-stranger"), "an incident on lyon", 20)
        self.wait_state(self.paris, ["refused"])
        self.assertIn("refuses this node's key", self.paris.command("status").stdout)

    def test_a_slave_with_another_key_is_not_spoken_to(self):
        self.make_tls_pair()
        self.init_pair()
        (self.lyon.state / "identity.key").write_bytes(self.make_key("other")[0].read_bytes())
        self.lyon.start("slave")
        self.paris.start("master")
        wait_until(lambda: incident(self.paris, "HB-peer-key"), "an incident on paris", 20)
        self.wait_state(self.paris, ["refused"])

    def test_addresses_are_tried_in_order_and_clocks_are_shown(self):
        self.make_tls_pair()
        text = self.paris.config.read_text()
        dead = free_port()
        self.paris.config.write_text(
            text.replace(f'["127.0.0.1:{self.lyon.port}"]', f'["127.0.0.1:{dead}", "localhost:{self.lyon.port}"]')
        )
        self.start_pair()
        self.wait_applied()
        self.assertIn("PROTECTED by lyon", self.paris.command("status").stdout)
        for node in (self.paris, self.lyon):
            self.assertLess(abs(node.status()["peers"][0]["clock_offset_seconds"]), 1)
        self.assertRegex(self.paris.command("status").stdout, r"clock [+-]0\.\d{3} s")

    def test_a_seed_keeps_to_the_rate(self):
        self.make_tls_pair()
        text = self.paris.config.read_text()
        self.paris.config.write_text(text.replace("fingerprint", 'rate = "4 MB/s"\nfingerprint'))
        self.paris.python(FILL, self.paris.path("zones"), capture=False)  # 8 MB
        self.init_pair()
        self.lyon.start("slave")
        began = time.monotonic()
        self.paris.start("master")
        self.wait_applied()
        seconds = time.monotonic() - began
        self.assertGreater(seconds, 1.2)
        self.assert_equal_copies()

    def test_a_key_changes_while_programs_write_and_nothing_is_lost(self):
        self.make_tls_pair()
        self.start_pair()
        writer = self.background_python(self.paris, writers.NUMBERED, self.paris.path("zones"), 3000)
        new_key = self.paris.command("identity", "--next").stdout.strip()
        self.assertNotEqual(new_key, self.keys[0])
        both = f'fingerprint = ["{self.keys[0]}", "{new_key}"]'
        self.lyon.configure(self.paris, self.groups, with_paths=False, peer_lines=both)
        os.kill(self.lyon.server.pid, signal.SIGHUP)
        wait_until(lambda: "reloaded" in self.lyon.server.log, "lyon's reload", 20)
        node = self.paris.json("identity")["node_id"]
        self.paris.command("identity", "--use-next")
        self.assertEqual(self.paris.command("identity").stdout.strip(), new_key)
        self.assertEqual(self.paris.json("identity")["node_id"], node)
        os.kill(self.paris.server.pid, signal.SIGHUP)
        wait_until(lambda: f"key is {new_key}" in self.paris.server.log, "paris's reload", 20)
        only_new = f'fingerprint = "{new_key}"'
        self.lyon.configure(self.paris, self.groups, with_paths=False, peer_lines=only_new)
        os.kill(self.lyon.server.pid, signal.SIGHUP)
        writer.finish()
        self.assert_equal_copies()
        self.assert_no_gap()
        self.assertEqual(self.paris.status()["incidents"], [])
        self.assertEqual(self.lyon.status()["incidents"], [])


if __name__ == "__main__":
    unittest.main()
