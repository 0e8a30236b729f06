"""A login that curl reads from its configuration, and sends as it is."""

from __future__ import annotations

import base64
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from fabfile.shared.curl import login


class Remembers(BaseHTTPRequestHandler):
    """Answers everything, and keeps the login that was sent last."""

    seen = ""

    def do_GET(self):
        kind, _, encoded = self.headers["Authorization"].partition(" ")
        assert kind == "Basic"
        Remembers.seen = base64.b64decode(encoded).decode()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def server():
    listening = HTTPServer(("127.0.0.1", 0), Remembers)
    Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}/"
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize(
    "password",
    ["plain", 'a"quote', "back\\slash", "\\", '\\"', "a b#c", "new\\nline", "co:lon", "$x'"],
)
def test_a_password_arrives_as_it_is(server, password):
    line = login("admin", password)
    subprocess.run(
        ["curl", "-sf", "-m", "10", "--noproxy", "*", "-K", "-", server],
        input=f"{line}\n".encode(),
        check=True,
    )
    assert Remembers.seen == f"admin:{password}"
