"""PgBouncer's pools: how large they are, and what PgBouncer reports about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from runbook.declare.answers import Count, lines_of, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.inventory.cluster import Cluster, Host
from runbook.output.quantities import duration

from ..shared import tls
from ..shared.airflow import connections, transactions
from ..shared.roles import POSTGRES
from .common import MAKE, members, proxies, section
from .settings import Postgres

UNIT = "pgbouncer.service"
USER = "pgbouncer"
"""PgBouncer's account, and its role in the database."""
PORT = 6432
SETTINGS = "/etc/pgbouncer"
INI = f"{SETTINGS}/pgbouncer.ini"
CONSOLE = f"timeout 5 runuser -u {USER} -- psql -X -q --csv -h /run/pgbouncer -p {PORT} {USER} -c"
"""How root asks PgBouncer: it lets its own account in, on its socket."""

LOGINS = 5
"""Connections at most with which PgBouncer looks up whose login is right."""

LONG, STUCK = 5, 30
"""Seconds that a client waits for a connection before it is a warning, an error."""

DOWN = section.cause(
    "PG_POOLER_DOWN", "clients of HAProxy cannot log in to the database while this server leads it"
)
WAITS = section.cause("PG_POOL_FULL", "Airflow's queries wait for a connection to PostgreSQL")
UNWANTED = section.cause("PG_POOLER_UNWANTED", "a service runs that hosts.yaml does not ask for")


def pooled(cluster: Cluster) -> list[Host]:
    """The database servers, if they run PgBouncer."""
    return members(cluster) if cluster[Postgres].pooler else []


POOLER_TLS = tls.service("pgbouncer", pooled, USER, MAKE, also=proxies)


def size(cluster: Cluster) -> int:
    """How many connections to PostgreSQL PgBouncer shares out."""
    return cluster[Postgres].pool_size or max(20, transactions(cluster))


def opened(cluster: Cluster) -> int:
    """The most connections to PostgreSQL that Airflow opens, with PgBouncer or without."""
    return size(cluster) + LOGINS if cluster[Postgres].pooler else connections(cluster)


@dataclass(frozen=True)
class Pool:
    """Airflow's pool on one server: its clients, and its connections that are in a transaction.

    `waiting`: clients that wait for a connection, the first of them for `waited` seconds.
    """

    clients: int
    busy: int
    waiting: int
    waited: int

    def __str__(self) -> str:
        return f"{self.clients + self.waiting} clients, {self.busy} connections busy"


@dataclass(frozen=True)
class Pooler:
    """PgBouncer on one server: whether it runs, and its pool if it answers."""

    runs: bool
    pool: Optional[Pool] = None


COLUMNS = ("cl_active", "sv_active", "cl_waiting", "maxwait")
"""PgBouncer's names for what a Pool has."""


def parse(text: str) -> Pooler:
    """Parse the answer of POOLER: the unit's state, then `show pools` as CSV."""
    state, *lines = lines_of(text, 1)
    if state != "active":
        return Pooler(False)
    if not lines:
        return Pooler(True)
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","))) for line in lines[1:]]
    for row in rows:
        if row["database"] == row["user"] == "airflow":
            return Pooler(True, Pool(*(one(row[name], Count) for name in COLUMNS)))
    return Pooler(True, Pool(0, 0, 0, 0))


POOLER = Fact(
    "what PgBouncer reports about its pools",
    on=POSTGRES,
    command=lambda cluster, host: (
        f"systemctl is-active {UNIT} || exit 0\n{CONSOLE} 'show pools' 2>/dev/null || :"
    ),
    parse=parse,
    absent="it does not answer",
)


def poolers(cluster: Cluster, facts: Facts) -> Findings:
    """PgBouncer runs where hosts.yaml asks for it, and nobody waits long for a connection."""
    for name, pooler in facts.known(POOLER).items():
        if cluster[Postgres].pooler:
            yield from _pooler(name, pooler)
        elif pooler.runs:
            yield Finding(
                f"{name} runs no PgBouncer",
                Verdict(WARN, "it runs, although postgres.pooler is off"),
                fix="fab haproxy.configure; an hour later, when nobody uses it: "
                "fab postgres.pooler",
                cause=UNWANTED,
                about=(name,),
            )


def _pooler(name: str, pooler: Pooler) -> Findings:
    """One server's PgBouncer and its pool."""
    again = f"fab -H {name} postgres.pooler; see journalctl -u pgbouncer there"
    if not pooler.pool:
        sentence = "it does not answer" if pooler.runs else "it does not run"
        verdict = Verdict(ERROR, sentence)
        yield Finding(f"PgBouncer on {name} answers", verdict, again, DOWN, (name,))
        return
    yield Finding(f"PgBouncer on {name} answers", Verdict(OK))
    pool, level = pooler.pool, OK
    if pool.waited >= LONG:
        level = ERROR if pool.waited >= STUCK else WARN
    sentence = f"{pool.waiting} wait, the first for {duration(pool.waited)}" if level != OK else ""
    yield Finding(
        f"the pool of {name} has connections left",
        Verdict(level, sentence),
        fix="end long transactions: select * from pg_stat_activity order by xact_start; or raise "
        "postgres.pool_size, then: fab postgres.settings postgres.pooler postgres.restart",
        cause=WAITS,
        about=(name,),
    )
