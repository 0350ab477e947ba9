# SPDX-License-Identifier: Apache-2.0
"""hotbackup pair: two nodes come to know each other by a code that is good for one try."""

import re
import socket
import ssl
import subprocess
import threading
import unittest

from support import writers
from support.pair import Group, Node, PairTest
from support.places import Programs, free_port

ENV = "zones"


class Pairing(PairTest):
    def make_nodes(self):
        programs = Programs(self.root)
        self.groups = (Group("main", {ENV: ENV}),)
        self.paris = Node(programs, self.root, "paris", free_port())
        self.lyon = Node(programs, self.root, "lyon", free_port())
        for node in (self.paris, self.lyon):
            node.config.write_text(
                f'# by hand\n[node]\nname = "{node.name}"\nstate = "{node.state}"\n'
                f'listen = "127.0.0.1:{node.port}"\n'
            )
            self.at_end(lambda node=node: node.server and node.server.kill())
        with self.paris.config.open("a") as file:
            file.write(
                '\n# the zones\n[[group]]\nname = "main"\ncheck_period = "500 ms"  # quick\n'
                f'  [[group.env]]\n  name = "{ENV}"\n  path = "{self.paris.path(ENV)}"\n'
            )

    def listen(self, *words):
        """Starts `pair --listen` at paris; returns the process, its code and port."""
        process = subprocess.Popen(
            [str(self.paris.programs.hotbackup), "pair", "--listen", *words],
            env=self.paris.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.at_end(lambda: (process.poll() is None and process.kill(), process.communicate()))
        found = re.fullmatch(r"code (\d{3}-\d{3}-\d{3})  port (\d+)\n", process.stdout.readline())
        self.assertTrue(found)
        return process, found[1], int(found[2])

    def before(self):
        return self.paris.config.read_text(), self.lyon.config.read_text()

    def test_two_nodes_are_paired_and_the_pair_streams_under_tls(self):
        self.make_nodes()
        process, code, port = self.listen()
        answer = self.lyon.json("pair", f"127.0.0.1:{port}", code)
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 0, out + err)
        self.assertTrue(answer["reaches_peer"] and answer["peer_reaches"])
        self.assertIn("paris → lyon at", out)
        self.assertEqual(out.count(": reached"), 2, out)
        text = self.paris.config.read_text()
        for line in ("# by hand\n", "# the zones\n", 'check_period = "500 ms"  # quick\n', 'peers = ["lyon"]\n'):
            self.assertIn(line, text)
        lyons = self.lyon.json("config")
        self.assertEqual(lyons["peer"][0]["fingerprint"], self.paris.command("identity").stdout.strip())
        self.assertEqual(lyons["group"][0]["check_period"], "500 ms")
        # On one machine the copy cannot lie where the original does.
        self.lyon.config.write_text(
            self.lyon.config.read_text().replace(str(self.paris.path(ENV)), str(self.lyon.path(ENV)))
        )
        self.start_pair()
        self.paris.python(writers.NUMBERED, self.paris.path(ENV), 50)
        self.assert_equal_copies()

    def test_a_wrong_code_is_refused_on_both_sides_and_was_the_only_try(self):
        self.make_nodes()
        texts = self.before()
        process, code, port = self.listen()
        wrong = code[:-1] + str((int(code[-1]) + 1) % 10)
        refused = self.lyon.command("pair", f"127.0.0.1:{port}", wrong, expect=1)
        self.assertIn("void", refused.stderr)
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertIn("tried a wrong code", err)
        self.lyon.command("pair", f"127.0.0.1:{port}", code, expect=1)
        self.assertEqual(self.before(), texts)

    def test_who_sits_between_fails_even_with_both_sides_working(self):
        self.make_nodes()
        texts = self.before()
        process, code, port = self.listen()
        key, certificate = self.root / "m.key", self.root / "m.crt"
        subprocess.run(
            f"openssl req -x509 -newkey ed25519 -nodes -keyout {key} -out {certificate} -subj /CN=hotbackup",
            shell=True, check=True, capture_output=True,
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        for context in (server, client):
            context.load_cert_chain(certificate, key)
        server.verify_mode = ssl.CERT_NONE  # lyon shows its own all the same
        listener = socket.create_server(("127.0.0.1", 0))
        self.at_end(listener.close)

        def relay():
            caller, _ = listener.accept()
            inside = server.wrap_socket(caller, server_side=True)
            outside = client.wrap_socket(socket.create_connection(("127.0.0.1", port)))

            def pump(source, sink):
                try:
                    while part := source.recv(65536):
                        sink.sendall(part)
                except OSError:
                    pass
                sink.close()

            pumps = [threading.Thread(target=pump, args=pair) for pair in ((inside, outside), (outside, inside))]
            for one in pumps:
                one.start()
            for one in pumps:
                one.join()

        between = threading.Thread(target=relay)
        between.start()
        refused = self.lyon.command("pair", f"127.0.0.1:{listener.getsockname()[1]}", code, expect=1)
        self.assertIn("somebody is between", refused.stderr)
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1, out + err)
        self.assertIn("somebody is between", err)
        between.join(20)
        self.assertEqual(self.before(), texts)

    def test_noise_does_not_use_up_the_code(self):
        self.make_nodes()
        process, code, port = self.listen()
        for noise in (b"", b"GET / HTTP/1.0\r\n\r\n", bytes(1000)):
            with socket.create_connection(("127.0.0.1", port)) as link:
                link.sendall(noise)
        self.lyon.command("pair", f"127.0.0.1:{port}", code)
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 0, out + err)

    def test_nobody_calls_and_listening_gives_up(self):
        self.make_nodes()
        process, _, _ = self.listen("--timeout", "200 ms")
        _, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 5, err)

    def test_what_is_no_code_is_wrong_usage(self):
        self.make_nodes()
        self.lyon.command("pair", "127.0.0.1:1", "12-34", expect=2)
        self.lyon.command("pair", expect=2)

    def test_a_peer_that_cannot_be_dialled_back_is_said_and_the_pairing_stands(self):
        self.make_nodes()
        process, code, port = self.listen()
        done = self.lyon.command(
            "pair", f"127.0.0.1:{port}", code, "--address", f"127.0.0.1:{free_port()}", expect=6
        )
        self.assertIn("roles reverse who dials", done.stderr)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 6)
        self.assertIn('[[peer]]\nname = "lyon"', self.paris.config.read_text())


if __name__ == "__main__":
    unittest.main()
