# SPDX-License-Identifier: Apache-2.0
"""A hostile client: thousands of connections that are no peer's, while the pair works under load."""

import os
import pathlib
import random
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
import unittest

from support import writers
from support.pair import Group, PairTest
from support.waiting import wait_until

LONG = bool(os.environ.get("HOTBACKUP_LONG"))
CONNECTIONS = 10_000 if LONG else 2_000
WARM = max(CONNECTIONS // 5, 1_200)  # buffers and tables have grown by then
THREADS = 4
HOSTS = 250  # loopback addresses that the client calls from
ONE = Group("main", {"zones": "zones"})


def resident_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ValueError(pid)


def field(number, value):
    """One field of a protobuf message: bytes, or a number."""
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(number):
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def message(kind, body):
    inner = field(kind, body)
    return struct.pack("<I", len(inner)) + inner


def hello(node=b"paris", group=b"main", protocol=1, more=b""):
    body = field(1, protocol) + field(2, b"hotbackup 0.1.0") + field(3, node) + field(4, 7)
    return message(1, body + field(5, group) + field(6, bytes(range(16))) + more)


class HostileClient:
    """Calls lyon in every way that is wrong; counts what it did."""

    def __init__(self, test, seed):
        self.test = test
        self.port = test.lyon.port
        self.random = random.Random(seed)
        self.done = 0
        self.answered = 0  # bytes that a stranger got and that are no handshake's
        self.held = []

    def connect(self):
        link = socket.socket()
        link.settimeout(3)
        link.bind((f"127.0.1.{self.random.randrange(1, HOSTS)}", 0))
        link.connect(("127.0.0.1", self.port))
        return link

    def tls(self, keys=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if keys:
            context.load_cert_chain(keys[1], keys[0])
        return context

    def drain(self, link):
        got = 0
        try:
            while part := link.recv(65536):
                got += len(part)
        except (OSError, ssl.SSLError):
            pass
        return got

    def garbage(self):
        with self.connect() as link:
            link.sendall(self.random.randbytes(self.random.randrange(1, 5000)))
            link.shutdown(socket.SHUT_WR)
            self.drain(link)

    def truncated_tls(self):
        flight = self.test.client_flight
        with self.connect() as link:
            link.sendall(flight[: self.random.randrange(1, len(flight))])
            link.shutdown(socket.SHUT_WR)
            self.drain(link)

    def mutated_tls(self):
        flight = bytearray(self.test.client_flight)
        for _ in range(self.random.randrange(1, 6)):
            flight[self.random.randrange(len(flight))] = self.random.randrange(256)
        with self.connect() as link:
            link.sendall(flight)
            link.shutdown(socket.SHUT_WR)
            self.drain(link)

    def replayed(self):
        """What a genuine master has sent, word for word: its hello is in it, under TLS."""
        with self.connect() as link:
            link.sendall(self.test.recorded)
            link.shutdown(socket.SHUT_WR)
            self.drain(link)

    def oversized_record(self):
        with self.connect() as link:
            link.sendall(b"\x16\x03\x01\xff\xff" + self.random.randbytes(30_000))
            self.drain(link)

    def wrong_key(self):
        with self.connect() as link, self.tls(self.test.stranger).wrap_socket(link) as inside:
            self.answered += self.drain(inside)

    def no_key(self):
        with self.connect() as link, self.tls().wrap_socket(link) as inside:
            self.answered += self.drain(inside)

    def closed_at_once(self):
        link = self.connect()
        if self.random.randrange(2):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()

    def slow(self):
        """Held open, a byte now and then, and closed by the other side."""
        link = self.connect()
        link.sendall(b"\x16")
        self.held.append(link)
        if len(self.held) > 8:
            self.held.pop(0).close()

    def right_key(self, said):
        """Lyon answers a peer that breaks the rules with one refusal at most."""
        with self.connect() as link, self.tls(self.test.peer).wrap_socket(link) as inside:
            inside.sendall(said)
            self.test.assertLess(self.drain(inside), 2000)

    def right_key_wrong_group(self):
        self.right_key(hello(group=self.random.choice([b"other", b"../main", b"", b"x" * 5000])))

    def right_key_other_name(self):
        self.right_key(hello(node=self.random.choice([b"lyon", b"paris2", b"", b"x" * 70_000])))

    def right_key_nonsense(self):
        self.right_key(
            self.random.choice(
                [
                    hello(protocol=99),
                    struct.pack("<I", 0xFFFFFFFF),
                    struct.pack("<I", 65_537) + bytes(70_000),
                    struct.pack("<I", 0),
                    message(8, field(1, b"frames before a hello")),
                    message(15, b"no such kind"),
                    struct.pack("<I", 500) + self.random.randbytes(500),
                    hello(more=field(10, field(1, b"zones") + field(2, b"x" * 60_000))),
                ]
            )
        )

    def ways(self):
        return [
            self.garbage, self.truncated_tls, self.mutated_tls, self.replayed, self.oversized_record,
            self.wrong_key, self.no_key, self.closed_at_once, self.slow,
            self.right_key_wrong_group, self.right_key_other_name, self.right_key_nonsense,
        ]  # fmt: skip

    def one(self, way):
        try:
            way()
        except (OSError, ssl.SSLError):
            pass  # not answered, or closed in the middle: that is what it is for
        self.done += 1

    def run(self, count):
        for _ in range(count):
            self.one(self.random.choice(self.ways()))
        for link in self.held:
            link.close()


class Hostile(PairTest):
    def make_keys(self, name):
        key, certificate = self.root / f"{name}.key", self.root / f"{name}.crt"
        subprocess.run(
            f"openssl req -x509 -newkey ed25519 -nodes -keyout {key} -out {certificate} -subj /CN=hotbackup",
            shell=True, check=True, capture_output=True,
        )  # fmt: skip
        return key, certificate

    def record_master(self):
        """What the master sends on a link, through a relay between the two."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.at_end(listener.close)
        recorded = bytearray()

        def relay():
            caller, _ = listener.accept()
            called = socket.create_connection(("127.0.0.1", self.lyon.port))

            def back():
                try:
                    while part := called.recv(65536):
                        caller.sendall(part)
                except OSError:
                    pass

            threading.Thread(target=back, daemon=True).start()
            try:
                while part := caller.recv(65536):
                    recorded.extend(part)
                    called.sendall(part)
            except OSError:
                pass
            called.close()
            caller.close()

        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        text = self.paris.config.read_text()
        port = listener.getsockname()[1]
        self.paris.config.write_text(text.replace(f"127.0.0.1:{self.lyon.port}", f"127.0.0.1:{port}"))
        self.paris.start("master")
        self.paris.python(writers.NUMBERED, self.paris.path("zones"), 5)
        self.wait_applied()
        self.paris.server.stop()
        thread.join(10)
        self.paris.config.write_text(text)
        return bytes(recorded)

    def rate(self, seconds):
        """Updates a second that the writer commits and lyon acknowledges."""
        before, began = self.paris.status()["journaled"], time.monotonic()
        deadline = began + seconds
        wait_until(lambda: time.monotonic() > deadline, "the end of a measurement", seconds + 5)
        return (self.paris.status()["journaled"] - before) / (time.monotonic() - began)

    def attack(self, connections, first_seed):
        clients = [HostileClient(self, first_seed + n) for n in range(THREADS)]
        threads = [threading.Thread(target=c.run, args=(connections // THREADS,)) for c in clients]
        for thread in threads:
            thread.start()
        return clients, threads

    def test_thousands_of_wrong_connections_leave_a_pair_under_load_as_it_was(self):
        self.make_pair(ONE)
        self.exchange_keys()
        self.init_pair()
        self.stranger = self.make_keys("stranger")
        self.peer = self.paris.state / "identity.key", self.paris.state / "identity.crt"
        self.lyon.start("slave")
        self.recorded = self.record_master()
        self.client_flight = self.recorded[:500]
        self.assertGreater(len(self.recorded), 700)
        self.paris.start("master")
        self.wait_applied()
        writer = self.background_python(self.paris, writers.ENDLESS, self.paris.path("zones"))
        pid = self.lyon.server.pid
        wait_until(lambda: self.paris.status()["journaled"] > 50, "the writer", 30)
        calm = self.rate(3)

        first = HostileClient(self, 1)  # each way once, while the log has room for its reason
        for way in first.ways():
            first.one(way)
        clients, threads = self.attack(WARM, 100)  # buffers, tables: what grows once
        for thread in threads:
            thread.join()
        warm = resident_kb(pid)
        began = time.monotonic()
        clients, threads = self.attack(CONNECTIONS - WARM, 200)
        under_fire = self.rate(3)
        for thread in threads:
            thread.join(1200)
        seconds = time.monotonic() - began
        grown = resident_kb(pid) - warm
        print(
            f"\n{CONNECTIONS} connections, the last {sum(c.done for c in clients)} in {seconds:.0f} s: "
            f"{calm:.0f} updates/s before, {under_fire:.0f} meanwhile; resident {warm} kB, {grown:+} kB"
        )
        self.assertEqual(sum(c.done for c in clients), (CONNECTIONS - WARM) // THREADS * THREADS)
        self.assertEqual(sum(c.answered for c in clients), 0)
        self.assertTrue(self.lyon.server.running())
        self.assertLess(grown, 4000)
        self.assertGreater(under_fire, calm / 4)  # the client itself takes most of a processor
        writer.end()
        self.assert_equal_copies()
        self.assert_no_gap()
        self.check_log()

    def check_log(self):
        """Each reason of each host at most once in ten minutes, and every kind of reason there."""
        log = self.lyon.server.log
        counts = r"( \(and \d+ times before\))?(; \d+ other refusals are not shown)?$"
        refusals = [
            re.sub(counts, "", line) for line in re.findall(r"warning: (127\.0\.1\.\d+: .*)", log)
        ]
        repeated = {line for line in refusals if refusals.count(line) > 1}
        self.assertEqual(repeated, set())
        for reason in ("not TLS 1.3", "not known here", "shown no key", "and its key is that of paris"):
            self.assertIn(reason, log)
        minutes = len(set(re.findall(r"^(\S{16})", log, re.MULTILINE)))
        self.assertLess(len(refusals), 60 * (minutes + 2))
        self.assertEqual(re.findall(r"\b(?:error|critical): .*", log), [])


if __name__ == "__main__":
    unittest.main()
