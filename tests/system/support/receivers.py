# SPDX-License-Identifier: Apache-2.0
"""What the notify list reaches in the tests: a real SMTP server and a web server that keep what they get."""

import email
import http.server
import json
import threading

from .places import free_port


class WebReceiver:
    """Keeps the JSON bodies of POST requests in `messages`; answers `status`."""

    def __init__(self, status=200):
        self.status = status
        self.messages = []
        self.requests = 0
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                receiver.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.messages.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self):
        self._server.shutdown()
        self._server.server_close()


class MailReceiver:
    """Keeps mails in `messages`: (recipients, email.message)."""

    def __init__(self):
        from aiosmtpd.controller import Controller  # Debian's python3-aiosmtpd

        self.messages = []
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_DATA(self, _server, _session, envelope):
        self.messages.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content)))
        return "250 OK"

    def end(self):
        self._controller.stop()
