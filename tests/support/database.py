"""The database as the tests see it: who leads, a table, and a client that writes all the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from fabfile.postgres.common import etcdctl
from lab.machine import Lab

SQL = ("sql1", "sql2", "sql3")
DATABASE = (*SQL, "nfs2")
"""The database, and where its backups are."""
ADDRESSES = {"sql1": "192.168.83.148", "sql2": "192.168.83.147", "sql3": "192.168.83.149"}
ETCDCTL = etcdctl()
"""etcdctl as root on a server of the database."""
CLIENT = "192.168.83.1/32"
"""The controller's address; the writer runs there."""


@dataclass
class Outcome:
    """What a writer met: its longest pause in seconds, and acknowledged rows that are gone."""

    pause: float
    acknowledged: int
    lost: int
    errors: list[str]

    def __str__(self) -> str:
        return f"{self.pause:.1f} s without writes, {self.lost} of {self.acknowledged} rows lost"


def let_in(lab: Lab, folder: Path) -> dict[str, str]:
    """The environment of runs with the lab's settings, and the writer let in."""
    override = folder / "override.yaml"
    data = yaml.safe_load(Path(lab.environment()["RUNBOOK_OVERRIDE"]).read_text())
    override.write_text(yaml.safe_dump({**data, "postgres": {"clients": [CLIENT]}}))
    return {"RUNBOOK_OVERRIDE": str(override)}


class Database:
    """The lab's database cluster, looked at past the product."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self._writers = 0

    @classmethod
    def with_table(cls, lab: Lab, folder: Path) -> Database:
        """The database, with a table that the role airflow writes to."""
        database = cls(lab, folder)
        database.psql("create table if not exists writes (id bigint primary key)")
        database.psql("alter table writes owner to airflow")
        return database

    def cluster(self) -> list[dict]:
        """The members as the leader's Patroni lists them; empty while nobody leads.

        The others may list what they saw last: a leader that was cut off still lists itself as
        leader for five seconds after the network is back.
        """
        return self.of_leader("cluster").get("members", [])

    def of_leader(self, path: str) -> dict:
        """What the leader's Patroni answers; empty while nobody leads."""
        leader = self.leader()
        if not leader:
            return {}
        done = self._ask(leader, path, "-f")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def _ask(self, name: str, path: str, *options: str) -> subprocess.CompletedProcess:
        """What a server's Patroni answers, over TLS or, if it does not speak that, in clear."""
        for scheme in ("https", "http"):
            url = f"{scheme}://{ADDRESSES[name]}:8008/{path}"
            done = self.lab.exec(
                ["curl", "-sk", "-m", "2", *options, url], capture_output=True, text=True
            )
            if done.returncode in (0, 22):
                break
        return done

    def leader(self) -> str:
        """Who leads, and says so itself; empty if nobody does."""
        return next(iter(self.primaries()), "")

    def primaries(self) -> list[str]:
        """Every server that says itself that it is the primary."""
        code = ("-o", "/dev/null", "-w", "%{http_code}")
        return [name for name in ADDRESSES if self._ask(name, "primary", *code).stdout == "200"]

    def healthy(self) -> bool:
        """One leader, all others stream on its timeline, and one may take over."""
        members = self.cluster()
        leaders = [m for m in members if m["role"] == "leader" and m["state"] == "running"]
        return (
            len(leaders) == 1
            and len(members) == len(SQL)
            and all(
                m["state"] == "streaming" and m["timeline"] == leaders[0]["timeline"]
                for m in members
                if m["role"] != "leader"
            )
            and (any(m["role"] == "sync_standby" for m in members) or not self.synchronous())
        )

    def synchronous(self) -> bool:
        """Whether commits wait for a standby, the one server that may then take over."""
        return bool(self.of_leader("config").get("synchronous_mode"))

    def wait_until_healthy(self, seconds: float = 120) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        while not self.healthy():
            assert time.monotonic() - began < seconds, self.cluster()
            time.sleep(0.3)
        return time.monotonic() - began

    def etcd_leader(self) -> str:
        """Who leads etcd, as a member says of itself; empty if nobody does."""
        for host in SQL:
            status = self.lab.root_shell(host, f"{ETCDCTL} endpoint status").stdout.split(", ")
            if len(status) > 4 and status[4] == "true":
                return host
        return ""

    def lead_etcd(self, host: str) -> None:
        """This member leads etcd now."""
        member = f"$({ETCDCTL} member list | awk -F ', ' '$3 == \"{host}\" {{ print $1 }}')"
        done = self.lab.root_shell(self.etcd_leader(), f"{ETCDCTL} move-leader {member}")
        assert done.returncode == 0, done.stderr

    def wait_until_apart(self, seconds: float = 30) -> None:
        """etcd's leader is not where the database's is, as it is but for some seconds."""
        deadline = time.monotonic() + seconds
        while self.etcd_leader() in ("", self.leader()):
            assert time.monotonic() < deadline, f"{self.leader()} leads both"
            time.sleep(0.5)

    def wait_for_leader_other_than(self, name: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while True:
            leader = self.leader()
            if leader not in ("", name):
                return leader
            assert time.monotonic() < deadline, f"{leader or 'nobody'} leads"
            time.sleep(0.3)

    def psql(self, query: str, host: str = "", database: str = "airflow") -> str:
        """The answer of a server, as its superuser."""
        done = self.lab.root_shell(
            host or self.leader(),
            f'runuser -u postgres -- psql -X -A -t -q -d {database} -c "{query}"',
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def environment(self, through: str = "") -> dict[str, str]:
        """libpq's, for a client that wants the leader, or ADDRESS:PORT."""
        address, _, port = through.partition(":")
        state = Path(self.lab.environment()["RUNBOOK_STATE"])
        secrets = yaml.safe_load((state / "secrets.yaml").read_text())
        return {
            "PGHOST": address or ",".join(ADDRESSES.values()),
            "PGPORT": port or "5432",
            "PGUSER": "airflow",
            "PGDATABASE": "airflow",
            "PGPASSWORD": secrets["postgres_airflow"],
            "PGTARGETSESSIONATTRS": "any" if through else "read-write",
        }

    @contextmanager
    def writing(
        self, patient: bool = False, through: str = "", anew: bool = False
    ) -> Iterator[Outcome]:
        """A client writes as long as this lasts; the outcome is filled in at the end.

        It asks the servers for the leader, or writes `through` the port of a proxy, and may connect
        `anew` for each row.
        """
        self._writers += 1
        log = self.folder / f"writer-{self._writers}.log"
        first = int(time.time()) * 100_000
        outcome = Outcome(0, 0, 0, [])
        writer = subprocess.Popen(
            self.lab.inside(
                [sys.executable, str(Path(__file__).with_name("writer.py")), str(log), str(first)]
            ),
            env={
                **os.environ,
                **self.environment(through),
                "WRITER_PATIENT": "1" if patient else "0",
                "WRITER_ANEW": "1" if anew else "0",
            },
        )
        try:
            self._wait_for_first_row(log)
            time.sleep(1)
            yield outcome
            time.sleep(2)
        finally:
            writer.terminate()
            writer.wait(timeout=60)
        self._fill(outcome, log, first)

    def _wait_for_first_row(self, log: Path) -> None:
        deadline = time.monotonic() + 30
        while not log.exists() or " ok " not in log.read_text():
            assert time.monotonic() < deadline, log.read_text() if log.exists() else "no writer"
            time.sleep(0.1)

    def _fill(self, outcome: Outcome, log: Path, first: int) -> None:
        lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
        written = [(float(when), int(row)) for when, kind, row in lines if kind == "ok"]
        outcome.errors = [text for _, kind, text in lines if kind == "error"]
        outcome.acknowledged = len(written)
        assert written, outcome.errors[:3]
        times = [when for when, _ in written]
        outcome.pause = max(after - before for before, after in zip(times, [*times[1:], times[-1]]))
        self.wait_until_healthy()
        present = {
            int(row) for row in self.psql(f"select id from writes where id > {first}").splitlines()
        }
        outcome.lost = len({row for _, row in written} - present)
