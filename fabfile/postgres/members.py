"""What Patroni's members report about themselves and each other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step
from runbook.declare.templates import script
from runbook.errors import MissingFact
from runbook.inventory.cluster import Cluster, Host

from ..shared.roles import POSTGRES
from .common import data, members


@dataclass(frozen=True)
class Member:
    """One server's Patroni: its own state, and the cluster as it sees it."""

    name: str
    primary: bool
    healthy: bool
    state: str
    timeline: int
    pending_restart: bool
    lowers: bool
    started: str
    cluster: dict[str, dict[str, Any]]
    paused: bool = False

    @property
    def role(self) -> str:
        """leader, sync_standby, replica, or unknown, as the cluster lists this member."""
        return str(self.cluster.get(self.name, {}).get("role", "unknown"))

    def streams(self, name: str) -> bool:
        """Whether this member sees the other one stream from the leader."""
        return self.cluster.get(name, {}).get("state") == "streaming"

    def is_synchronous(self, name: str) -> bool:
        """Whether this member sees the other one as a synchronous standby."""
        return self.cluster.get(name, {}).get("role") in {"sync_standby", "quorum_standby"}

    @property
    def lag(self) -> Optional[int]:
        """Bytes that this member is behind, as far as that is known."""
        lag = self.cluster.get(self.name, {}).get("lag", 0)
        return lag if isinstance(lag, int) else None


NEVER_BELOW_THE_LEADER = {
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
}
"""Parameters that a replica must not have lower than its leader (PostgreSQL 15, "Hot Standby")."""


def _lowers(reasons: dict[str, dict[str, str]]) -> bool:
    return any(
        name in NEVER_BELOW_THE_LEADER and int(reason["new_value"]) < int(reason["old_value"])
        for name, reason in reasons.items()
    )


def parse(text: str) -> Member:
    """Parse the answer of MEMBER: two status codes, /patroni, /cluster."""
    codes, own, together = text.splitlines()[:3]
    primary, replica = codes.split()
    state = json.loads(own)
    view = json.loads(together)
    listed = {one["name"]: one for one in view.get("members", [])}
    return Member(
        name=state["patroni"]["name"],
        primary=primary == "200",
        healthy="200" in (primary, replica),
        state=state["state"],
        timeline=int(state.get("timeline", 0)),
        pending_restart=bool(state.get("pending_restart")),
        lowers=_lowers(state.get("pending_restart_reason", {})),
        started=state.get("postmaster_start_time", ""),
        cluster=listed,
        paused=bool(view.get("pause")),
    )


def _questions(cluster: Cluster, host: Host) -> str:
    api = f"http://{host.address}:8008"
    code = "curl -s -m 3 -o /dev/null -w '%{http_code}' -X OPTIONS"
    return f"""echo $({code} {api}/primary) $({code} {api}/replica)
curl -s -m 3 {api}/patroni && echo || exit
curl -s -m 3 {api}/cluster && echo || exit"""


MEMBER = Fact(
    "the state of Patroni",
    on=POSTGRES,
    command=_questions,
    parse=parse,
    absent="Patroni does not answer there; see fab postgres.check",
)


def serves(host: Host) -> str:
    """A test: this server leads, or streams from the leader."""
    api = f"http://{host.address}:8008"
    return (
        f"curl -sf -o /dev/null {api}/primary || "
        f"curl -sf -o /dev/null '{api}/replica?replication_state=streaming'"
    )


def in_its_place(host: Host, cluster: Cluster, title: str = "") -> Step:
    """Wait until this server leads or follows: as long as its copy or its replay makes progress.

    A copy of a large database takes hours.
    """
    wait = script("postgres/follows.sh", address=host.address, data=data(cluster), patience=600)
    title = title or f"{host.name} leads or follows"
    return Step(title, serves(host), wait, timeout=7 * 24 * 3600, waits=True)


def leader(cluster: Cluster, facts: Facts) -> Host:
    """The server that accepts writes; MissingFact if none does."""
    for member in members(cluster):
        known = facts.known(MEMBER).get(member.name)
        if known and known.primary:
            return member
    raise MissingFact("no server leads the database now; fab postgres.check shows the reason.")


def replicas(cluster: Cluster, facts: Facts) -> list[Host]:
    """The members that answer and do not lead."""
    known = facts.known(MEMBER)
    return [
        member
        for member in members(cluster)
        if member.name in known and not known[member.name].primary
    ]


def leading(cluster: Cluster, facts: Facts) -> Optional[Member]:
    """The state of the leader, from itself; None if no server leads."""
    try:
        return facts.known(MEMBER)[leader(cluster, facts).name]
    except MissingFact:
        return None


def seen_leading(cluster: Cluster, facts: Facts) -> str:
    """A server that does not answer, but leads according to others; empty if there is none."""
    known = facts.known(MEMBER)
    silent = {host.name for host in members(cluster)} - set(known) - facts.gone
    seen = {
        name
        for member in known.values()
        for name, one in member.cluster.items()
        if name in silent and one.get("role") == "leader" and one.get("state") == "running"
    }
    return min(seen, default="")
