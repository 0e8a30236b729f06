"""The clients of drills, as they run on a server: here with this machine's Python and files."""

from __future__ import annotations

import importlib
import json
import signal
import ssl
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from types import ModuleType, SimpleNamespace

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


class Broker(ModuleType):
    """The library amqp, with a broker that confirms, refuses, or falls silent."""

    class AMQPError(Exception):
        """Most of its errors."""

    def __init__(self) -> None:
        super().__init__("amqp")
        self.PreconditionFailed = self.AMQPError
        self.exceptions = SimpleNamespace(MessageNacked=type("MessageNacked", (Exception,), {}))
        self.answers: list[Callable[[], None]] = []
        self.declared: list[dict] = []
        self.stored: list[str] = []
        self.opened = 0

    def Message(self, body: str, delivery_mode: int) -> str:
        return body

    def Connection(self, host: str, user: str, password: str, **options) -> Broker:
        self.about = (host, user, password, options)
        return self

    def connect(self) -> None:
        self.opened += 1

    def channel(self) -> Broker:
        return self

    def collect(self) -> None:
        return

    def queue_declare(self, name: str, arguments: dict, **options) -> None:
        self.declared.append(arguments)

    def queue_purge(self, name: str) -> None:
        return

    def basic_publish_confirm(self, message: str, **options) -> None:
        if self.answers:
            self.answers.pop(0)()
        self.stored.append(message)


@pytest.fixture
def broker(monkeypatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # files/ has text only
    monkeypatch.setitem(sys.modules, "amqp", made)
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    return made


@pytest.fixture
def messages(broker):
    """The client of messages, with Airflow's two brokers."""
    clients = importlib.import_module("clients")
    address = "amqps://airflow:p%25w@mq1:5671/airflow;amqps://airflow:p%25w@mq2:5671/airflow"
    options = Namespace(address=address, ca="ca.crt", name="rabbitmq", queue_type="quorum")
    options.replicas = 3
    return clients.Messages(options)


def test_a_message_goes_over_tls_to_a_queue_with_a_replica_on_every_node(messages, broker):
    messages.put(7)
    host, user, password, options = broker.about
    assert (host, user, password) == ("mq1:5671", "airflow", "p%w")
    assert options["virtual_host"] == "airflow"
    assert options["ssl"]["ca_certs"] == "ca.crt"
    assert options["ssl"]["server_hostname"] == "rabbitmq"
    assert options["ssl"]["cert_reqs"] == ssl.CERT_REQUIRED
    [arguments] = broker.declared
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-quorum-initial-group-size"] == 3


def test_a_broker_that_refuses_or_falls_silent_is_left_for_the_next(messages, broker, monkeypatch):
    """A queue without a leader refuses; amqp has no limit for some of what it waits for."""
    load = importlib.import_module("load")
    monkeypatch.setattr(importlib.import_module("clients"), "LONGEST", 0.2)

    def nacks() -> None:
        raise broker.exceptions.MessageNacked

    broker.answers = [nacks, lambda: time.sleep(60)]
    log = StringIO()
    assert load.acknowledged(messages, 7, log, time.monotonic() + 60)
    assert broker.stored == ["7"]
    assert broker.opened == 3
    assert broker.about[0] == "mq1:5671", "the second one was tried between"
    assert "no answer in time" in log.getvalue()


def test_what_fails_on_a_busy_server_is_tried_again(monkeypatch, broker):
    load = importlib.import_module("load")
    monkeypatch.setattr(load.time, "sleep", lambda seconds: None)
    client = load.Client()
    tried = []

    def act() -> str:
        tried.append(1)
        if len(tried) < 3:
            raise OSError("timeout expired")
        return "done"

    assert load.patiently(client, act) == "done"
    monkeypatch.setattr(load, "PATIENCE", -1)
    tried.clear()
    with pytest.raises(OSError, match="timeout expired"):
        load.patiently(client, act)


def test_a_client_that_has_not_begun_says_so(client):
    code, _, said = client("lines", "pulse")
    assert code == 1
    assert said.startswith("the client has not begun yet")
