"""The clients of drills, as they run on a server: here with this machine's Python and files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import PROJECT

PROGRAM = PROJECT / "files/airflow/drill/load.py"


@pytest.fixture
def client(tmp_path):
    """client("lines", "pulse") -> what the program answers, with its log and file in tmp_path."""

    def command(kind: str, action: str, *more: str) -> list[str]:
        files = ("--log", str(tmp_path / "log"), "--file", str(tmp_path / "file"))
        return [sys.executable, "-B", "-E", "-s", str(PROGRAM), kind, action, *files, *more]

    def ask(kind: str, action: str, *more: str, wait: bool = True):
        if not wait:
            return subprocess.Popen(command(kind, action, *more))
        done = subprocess.run(command(kind, action, *more), capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return ask


def answer(told: tuple[int, str, str]) -> dict:
    assert told[0] == 0, told[2]
    return json.loads(told[1])


def at_work(client, kind: str) -> dict:
    """The pulse of a client that has had something acknowledged."""
    deadline = time.monotonic() + 60
    while True:
        code, said, _ = client(kind, "pulse")
        if not code and json.loads(said)["acknowledged"]:
            return json.loads(said)
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_lines_are_acknowledged_logged_and_there(client, tmp_path):
    assert client("lines", "prepare")[0] == 0
    running = client("lines", "run", "--seconds", "600", wait=False)
    pulse = at_work(client, "lines")
    assert abs(pulse["now"] - time.time()) < 60
    running.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    account = answer(client("lines", "account"))
    done = [item for item in account["items"] if len(item) == 3]
    assert {number for number, _, _ in done} <= set(account["there"])
    assert all(wanted <= end for _, wanted, end in done)
    assert account["errors"] == []
    assert (tmp_path / "file").exists(), "the controller removes it"
    assert client("lines", "clean")[0] == 0
    assert not (tmp_path / "file").exists()
    assert client("lines", "clean")[0] == 0


def test_what_is_not_acknowledged_is_wanted_again_under_the_same_number(client, tmp_path):
    file = tmp_path / "file"
    running = client("lines", "run", "--seconds", "600", wait=False)
    at_work(client, "lines")
    file.unlink()
    file.mkdir()
    deadline = time.monotonic() + 60
    while answer(client("lines", "pulse"))["waits"] < 1.5:
        assert time.monotonic() < deadline
    file.rmdir()
    before = answer(client("lines", "pulse"))["acknowledged"]
    while answer(client("lines", "pulse"))["acknowledged"] <= before:
        assert time.monotonic() < deadline
    running.terminate()
    running.wait()
    account = answer(client("lines", "account"))
    waits = [item[2] - item[1] for item in account["items"] if len(item) == 3]
    assert max(waits) >= 1.5
    assert "Is a directory" in account["errors"][-1]
    numbers = [item[0] for item in account["items"]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_client_that_nobody_stops_ends_and_removes_what_it_made(client, tmp_path):
    code, _, _ = client("lines", "run", "--seconds", "1")
    assert code == 0
    assert not (tmp_path / "file").exists()


def test_a_log_that_a_power_loss_cut_short_is_read_all_the_same(client, tmp_path):
    (tmp_path / "file").write_text("3\n7\n8\n")
    (tmp_path / "log").write_text("7 10.0\n7 10.0 10.1\nerror 11.0 lost it\n8 11.0\n8 11.0 1")
    account = answer(client("lines", "account"))
    assert account["items"] == [[7, 10.0, 10.1], [8, 11.0]]
    assert account["there"] == [7, 8], "smaller numbers are those of earlier drills"
    assert account["errors"] == ["lost it"]


class Page(BaseHTTPRequestHandler):
    """A web UI that is well, or not."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments) -> None:
        return


@pytest.fixture
def web():
    """The port of a web UI."""
    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_counts_only_if_it_is_well(client, web, monkeypatch):
    there = ("--address", f"http://webui:{web}", "--vip", "127.0.0.1", "--seconds", "1")
    assert client("pages", "run", *there)[0] == 0
    account = answer(client("pages", "account", *there))
    assert account["items"]
    assert account["there"] is None
    monkeypatch.setattr(Page, "status", 503)
    assert client("pages", "run", *there)[0] == 0
    account = answer(client("pages", "account", *there))
    assert [len(item) for item in account["items"]] == [2]
    assert account["errors"][-1] == "status 503"
