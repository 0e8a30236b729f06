"""What the proxies report about the servers behind them, and what clients reach there."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from runbook.declare.answers import Count, Line, Unexpected, Word, lines_of, one
from runbook.declare.facts import Fact
from runbook.declare.step import quote
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import Address
from runbook.inventory.entry import Port as PortNumber

from ..postgres.common import AIRFLOW
from ..postgres.transport import SESSIONS_OVER_TLS, verify
from ..shared.keepalived import vips
from ..shared.roles import HAPROXY, POSTGRES
from ..shared.tls import TRUSTED
from .common import AWAY, HEALTH, READ, WRITE, proxies


@dataclass(frozen=True)
class View:
    """One proxy: its version, whether keepalived runs, and what it reports about its servers."""

    version: str
    keepalived: bool
    away: bool
    answers: bool
    sessions: int
    up: dict[str, frozenset[str]]
    """By backend: the servers that it considers up."""


def parse(text: str) -> View:
    """Parse the answer of VIEW: version, keepalived's state, the mark, HAProxy's statistics."""
    version, keepalived, away, *lines = lines_of(text, 3)
    rows = table(lines)
    servers = [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]
    return View(
        version=one(version, Line),
        keepalived=keepalived == "active",
        away=away == "away",
        answers=bool(rows),
        sessions=sum(
            one(row["scur"], Count)
            for row in rows
            if row["svname"] == "FRONTEND" and row["pxname"] not in ("health", "stats")
        ),
        up={
            backend: frozenset(
                one(row["svname"], Word).partition(":")[0]
                for row in servers
                if row["pxname"] == backend and row["status"].startswith("UP")
            )
            for backend in {one(row["pxname"], Word) for row in servers}
        },
    )


def table(lines: list[str]) -> list[dict[str, str]]:
    """HAProxy's statistics, a mapping for each row."""
    try:
        return list(csv.DictReader(line.lstrip("# ") for line in lines))
    except csv.Error:
        raise Unexpected("\n".join(lines), "HAProxy's statistics as CSV") from None


VIEW = Fact(
    "what HAProxy reports about its servers",
    on=HAPROXY,
    command=lambda cluster, host: (
        f"""version=$(haproxy -v 2>/dev/null | head -1)
[[ ! $version =~ ersion\\ ([0-9.]+) ]] || version=${{BASH_REMATCH[1]}}
echo "$version"
systemctl is-active keepalived
if [[ -e {AWAY} ]]; then echo away; else echo here; fi
curl -sf -m 3 '{HEALTH}/stats;csv' || :"""
    ),
    parse=parse,
    absent="it does not answer",
)


@dataclass(frozen=True)
class Reply:
    """What a client reached at a port: a writable primary, a replica, or an error."""

    writable: bool = False
    replica: bool = False
    error: str = ""


Replies = dict[tuple[str, int], Reply]


def doors(cluster: Cluster) -> list[str]:
    """The addresses that clients may use: the VIPs, and each proxy's own."""
    addresses = [vip.address for vip in vips(cluster, "haproxy")]
    return [*addresses, *(host.address for host in proxies(cluster))]


def _knocks(cluster: Cluster, host: Host) -> str:
    ask = "select pg_is_in_recovery(), current_setting('transaction_read_only')"
    return f"""type psql >/dev/null || exit
knock() {{
  answer=$(timeout 10 psql -X -w -q -A -t "host=$1 port=$2 user=airflow dbname=airflow
    connect_timeout=5" -c {quote(ask)} 2>&1 </dev/null | head -1)
  echo "$1 $2 ${{answer:-no answer}}"
}}
export PGPASSWORD={quote(cluster.secret(AIRFLOW))}
if {SESSIONS_OVER_TLS}; then export PGSSLMODE={verify(cluster)} PGSSLROOTCERT={TRUSTED}; fi
for address in {" ".join(doors(cluster))}; do
  knock "$address" {WRITE} &
  knock "$address" {READ} &
done
wait"""


def reason(answer: str) -> str:
    """Why psql could not connect, without where."""
    return answer.rpartition("failed: ")[2]


def heard(text: str) -> Replies:
    """Parse the answer of REPLIES: address, port, and what psql printed last."""
    replies: Replies = {}
    for line in text.splitlines():
        address, port, answer = line.split(" ", 2)
        replies[one(address, Address), one(port, PortNumber)] = {
            "f|off": Reply(writable=True),
            "t|on": Reply(replica=True),
        }.get(answer, Reply(error=answer.partition("FATAL: ")[2].strip() or reason(answer)))
    return replies


REPLIES = Fact(
    "what clients reach through the proxies",
    on=POSTGRES,
    command=_knocks,
    parse=heard,
    absent="it has no psql yet, or does not answer",
)
