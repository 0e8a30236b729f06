"""The message queue as the lab's tests see it: past the product, and as its clients do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from support.strangers import in_the_place_of

MQ = ("mq1", "mq2", "mq3")
ADDRESSES = {"mq1": "192.168.83.135", "mq2": "192.168.83.136", "mq3": "192.168.83.137"}


@dataclass
class Outcome:
    """What a publisher and a consumer met."""

    pause: float = 0
    confirmed: int = 0
    lost: int = 0
    twice: int = 0
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.pause:.1f} s without confirms, {self.lost} of {self.confirmed} messages lost, "
            f"{self.twice} twice"
        )


class Queue:
    """The message queue, looked at past the product."""

    def __init__(self, lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder

    def shell(self, host: str, command: str) -> str:
        done = self.lab.root_shell(host, command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def leader(self) -> str:
        """Who leads the queue of the publisher."""
        listed = self.shell("mq1", "rabbitmqctl -q list_queues -p airflow name leader --silent")
        return next(
            line.split()[1].partition("@")[2]
            for line in listed.splitlines()
            if line.startswith("lab")
        )

    def login(self, first: str = "mq1") -> dict[str, str]:
        """The environment of a client, which tries `first` before the other nodes."""
        state = Path(self.lab.environment()["RUNBOOK_STATE"])
        secrets = yaml.safe_load((state / "secrets.yaml").read_text())
        order = [first, *(name for name in MQ if name != first)]
        return {
            **os.environ,
            "AMQP_USER": "airflow",
            "AMQP_PASSWORD": secrets["rabbitmq_airflow"],
            "AMQP_HOSTS": ",".join(ADDRESSES[name] for name in order),
            "AMQP_CA": self.authority(),
        }

    @contextmanager
    def talking(self, first: str = "mq1"):
        """A publisher and a consumer work as long as this lasts."""
        environment = self.login(first)
        program = str(Path(__file__).with_name("messenger.py"))
        self.shell("mq1", "rabbitmqctl -q purge_queue -p airflow lab 2>/dev/null || :")
        logs = {kind: self.folder / f"{kind}.log" for kind in ("publish", "consume")}
        outcome = Outcome()
        with in_the_place_of(self.lab, "worker1") as there:
            running = {
                kind: subprocess.Popen(
                    [*there, sys.executable, program, kind, str(log)], env=environment
                )
                for kind, log in logs.items()
            }
            try:
                time.sleep(3)
                yield outcome
                time.sleep(3)
                running["publish"].terminate()
                running["publish"].wait(timeout=30)
                ended = time.time()
                self._wait_for_the_last_to_be_consumed(*logs.values())
            finally:
                for process in running.values():
                    process.terminate()
                    process.wait(timeout=30)
        self._fill(outcome, ended, *(logs[kind].read_text() for kind in ("publish", "consume")))

    def confirms(self, seconds: float = 60) -> None:
        """Wait until the publisher has a message confirmed again."""
        log = self.folder / "publish.log"
        before = settled(log)
        deadline = time.monotonic() + seconds
        while settled(log) == before:
            assert time.monotonic() < deadline, log.read_text()[-500:]
            time.sleep(0.3)

    def authority(self) -> str:
        """A file with the cluster's CA; empty if there is none."""
        known = self.shell("mq1", "cat /etc/pki/airflow-runbook/ca.crt 2>/dev/null || :")
        file = self.folder / "ca.crt"
        file.write_text(known)
        return str(file) if known else ""

    def _wait_for_the_last_to_be_consumed(self, published: Path, consumed: Path) -> None:
        """What is not consumed by then counts as lost; `consumed` says who is waited for."""
        deadline = time.monotonic() + 20
        while settled(published) - settled(consumed) and time.monotonic() < deadline:
            time.sleep(0.3)
        time.sleep(1)

    def _fill(self, outcome: Outcome, ended: float, published: str, consumed: str) -> None:
        lines = [line.split(" ", 2) for line in published.splitlines()]
        confirmed = [(float(when), int(number)) for when, kind, number in lines if kind == "ok"]
        assert confirmed, lines[:3]
        outcome.errors = [text for _, kind, text in lines if kind == "error"]
        outcome.confirmed = len(confirmed)
        times = [when for when, _ in confirmed]
        outcome.pause = max(after - before for before, after in zip(times, [*times[1:], ended]))
        got = [
            int(line.split(" ", 2)[2])
            for line in consumed.splitlines()
            if line.split(" ", 2)[1] == "ok"
        ]
        outcome.lost = len({number for _, number in confirmed} - set(got))
        outcome.twice = len(got) - len(set(got))


def settled(log: Path) -> set[int]:
    """The numbers that a client's log calls confirmed, or acknowledged."""
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
    return {int(line[2]) for line in lines if line[1] == "ok"}


def declared(*names: str) -> str:
    """The command that makes quorum queues; the node that carries it out leads them."""
    listed = ", ".join(f'<<"{name}">>' for name in names)
    return (
        'rabbitmqctl -q eval \'[rabbit_amqqueue:declare(rabbit_misc:r(<<"airflow">>, queue, Name), '
        'true, false, [{<<"x-queue-type">>, longstr, <<"quorum">>}], none, <<"lab">>) '
        f"|| Name <- [{listed}]].'"
    )


def filled(name: str, count: int) -> str:
    """The command that puts messages into a queue, which nobody reads.

    RabbitMQ 4 has no rabbit_basic:publish any more.
    """
    return f"""rabbitmqctl -q eval '
Name = rabbit_misc:r(<<"airflow">>, exchange, <<>>),
Properties = rabbit_basic:properties([{{delivery_mode, 2}}]),
Publish = case erlang:function_exported(rabbit_basic, publish, 4) of
  true -> fun() -> rabbit_basic:publish(Name, <<"{name}">>, Properties, <<"one">>) end;
  false ->
    Content = rabbit_basic:build_content(Properties, <<"one">>),
    {{ok, Message}} = mc_amqpl:message(Name, <<"{name}">>, Content),
    Exchange = rabbit_exchange:lookup_or_die(Name),
    fun() -> rabbit_queue_type:publish_at_most_once(Exchange, Message) end
end,
[Publish() || _ <- lists:seq(1, {count})].'"""


def starts(queue: Queue) -> list[str]:
    return [
        queue.shell(name, "systemctl show -p ExecMainStartTimestampMonotonic rabbitmq-server")
        for name in MQ
    ]


def told(fab: Any, words: str, level: str = "error") -> bool:
    """Whether the check says so."""
    return any(words in title for _, title in fab("rabbitmq.check").steps(level))


def waits(fab: Any, words: str, level: str = "error") -> None:
    """Wait until the check says so; the nodes' figures may be some seconds old."""
    deadline = time.monotonic() + 60
    while True:
        answer = fab("rabbitmq.check")
        if any(words in title for _, title in answer.steps(level)):
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(2)
