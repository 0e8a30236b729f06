"""Airflow as the tests see it: its database, its API on the VIP, and a DAG with tasks in flight."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from support.trusting import WEB, trusting

from lab.errors import LabError
from lab.machine import Lab

SQL = ("sql1", "sql2", "sql3")
VIP = "192.168.83.210"
DAGS = "/app1/airflow/dags"
WORKERS = ("worker1",)


@dataclass
class Outcome:
    """How a drill ended: seconds in all, the tasks' states, who was tried or ran more than once."""

    seconds: float
    states: dict[str, int]
    retried: list[str]
    twice: list[str]

    def __str__(self) -> str:
        twice = f", ran twice: {', '.join(self.twice)}" if self.twice else ""
        retried = f", retried: {', '.join(self.retried)}" if self.retried else ""
        states = ", ".join(f"{count} {state}" for state, count in self.states.items())
        return f"{self.seconds:.0f} s, {states}{retried}{twice}"


class Airflow:
    """The lab's Airflow, looked at past the product."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        state = Path(lab.environment()["RUNBOOK_STATE"])
        self.secrets = yaml.safe_load((state / "secrets.yaml").read_text())

    def active(self) -> str:
        """Who holds the share's VIP."""
        return next(
            server
            for server in ("ftp", "nfs2")
            if "inet" in self.shell(server, "ip -o -4 addr show to 192.168.83.220")
        )

    def shell(self, host: str, command: str) -> str:
        done = self.lab.root_shell(host, command)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def installation(self, host: str) -> str:
        """The installation of Airflow that a server uses, such as 2.9.0-3f2a9c01."""
        return self.shell(host, "readlink /opt/airflow/current")

    def ask(self, query: str) -> list[list[str]]:
        """Rows of Airflow's database; none while it has no leader."""
        command = (
            "runuser -u postgres -- psql -XqAt -F ' ' -d airflow -c "
            f'"select \'leader\' where not pg_is_in_recovery()" -c "{query}" 2>/dev/null'
        )
        for host in SQL:
            try:
                done = self.lab.root_shell(host, command)
            except LabError:  # it has no power
                continue
            lines = done.stdout.splitlines()
            if done.returncode == 0 and lines[:1] == ["leader"]:
                return [line.split() for line in lines[1:]]
        return []

    def api(self, path: str, body: dict[str, Any] | None = None, base: str = "") -> Any:
        """What the REST API says, on the VIP or at `base`; None if it does not answer."""
        login = f'user = "admin:{self.secrets["airflow_admin"]}"'
        post = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body else []
        url = f"{base or WEB}/api/v1/{path}"
        done = self.lab.exec(
            ["curl", "-sS", "-m", "20", *trusting(self.lab), "-K", "-", *post, url],
            input=login,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout) if done.stdout.startswith("{") else None

    def deploy_drill(self, active: str) -> None:
        """The drill DAG is on the share and known to the schedulers."""
        text = Path(__file__).with_name("drill_dag.py").read_text()
        self.shell(active, f"cat >{DAGS}/drill.py <<'DAG'\n{text}DAG")
        self.wait_for("select 1 from dag where dag_id = 'drill' and is_active", 90)

    def wait_for(self, query: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.ask(query):
            assert time.monotonic() < deadline, query
            time.sleep(0.5)

    def start(self, run: str) -> float:
        """A run of the drill; returns when it began."""
        for _ in range(10):
            told = self.api("dags/drill/dagRuns", {"dag_run_id": run})
            if told and told.get("dag_run_id") == run:
                return time.monotonic()
            time.sleep(1)
        raise AssertionError(f"the drill could not be started: {told}")

    def running(self, run: str) -> int:
        query = f"select count(*) from task_instance where run_id = '{run}' and state = 'running'"
        rows = self.ask(query)
        return int(rows[0][0]) if rows else 0

    def wait_until_in_flight(self, run: str) -> None:
        """At least two of its tasks run."""
        deadline = time.monotonic() + 60
        while self.running(run) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.3)

    def outcome(self, run: str, began: float, patience: float = 420) -> Outcome:
        """Wait for the end of a run, and say what became of its tasks."""
        deadline = began + patience
        while True:
            rows = self.ask(f"select state from dag_run where run_id = '{run}'")
            if rows and rows[0][0] in ("success", "failed"):
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        seconds = time.monotonic() - began
        rows = self.ask(
            "select task_id, coalesce(state, 'none'), try_number from task_instance "
            f"where run_id = '{run}'"
        )
        ran = "\n".join(
            self.shell(worker, "cat /app1/airflow_logs/ran.log 2>/dev/null || :")
            for worker in WORKERS
        )
        ends = Counter(
            words[1]
            for words in (line.split() for line in ran.splitlines())
            if words[0] == run and words[3] == "end"
        )
        return Outcome(
            seconds,
            dict(Counter(state for _, state, _ in rows)),
            sorted(task for task, _, tries in rows if int(tries) > 1),
            sorted(f"t{int(number):02}" for number, count in ends.items() if count > 1),
        )
