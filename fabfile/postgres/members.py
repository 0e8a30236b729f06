"""What Patroni's members report about themselves and each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Union

import msgspec

from runbook.declare.answers import HttpCode, Name, lines_of, of_json, one, plain
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step
from runbook.declare.templates import script
from runbook.errors import MissingFact, RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import between, named

from ..shared.roles import POSTGRES
from ..shared.tls import TRUSTED
from .common import PATRONI, data, members, rest


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


Words = Annotated[str, named("state or role (letters, `_`, spaces)", "[A-Za-z_][A-Za-z_ -]{0,60}")]
Moment = Annotated[str, named("time", "[0-9 :.+TZ-]{0,40}")]
Timeline = Annotated[int, between(0, 2**32)]
Lag = Union[Annotated[int, between(0, 2**63 - 1)], Literal["unknown"]]


class _Own(msgspec.Struct):
    name: Name


class _Reason(msgspec.Struct):
    old_value: Union[str, int, float, bool, None] = None
    new_value: Union[str, int, float, bool, None] = None


class _State(msgspec.Struct):
    """What a member prints at /patroni, as far as it is used."""

    patroni: _Own
    state: Words
    timeline: Timeline = 0
    pending_restart: bool = False
    pending_restart_reason: dict[str, _Reason] = {}
    postmaster_start_time: Optional[Moment] = None


class _Listed(msgspec.Struct):
    """A member as another one lists it at /cluster."""

    name: Name
    role: Words
    state: Union[Words, msgspec.UnsetType] = msgspec.UNSET
    timeline: Union[Timeline, msgspec.UnsetType] = msgspec.UNSET
    lag: Union[Lag, msgspec.UnsetType] = msgspec.UNSET


class _View(msgspec.Struct):
    members: list[_Listed] = []
    pause: bool = False


def _lowers(reasons: dict[str, _Reason]) -> bool:
    return any(
        name in NEVER_BELOW_THE_LEADER
        and one(str(reason.new_value), int) < one(str(reason.old_value), int)
        for name, reason in reasons.items()
    )


def parse(text: str) -> Member:
    """Parse the answer of MEMBER: two status codes, /patroni, /cluster."""
    codes, own, together = lines_of(text, 3, 3)
    primary, replica = (one(code, HttpCode) for code in codes.split())
    state, view = of_json(own, _State), of_json(together, _View)
    return Member(
        name=state.patroni.name,
        primary=primary == "200",
        healthy="200" in (primary, replica),
        state=state.state,
        timeline=state.timeline,
        pending_restart=state.pending_restart,
        lowers=_lowers(state.pending_restart_reason),
        started=state.postmaster_start_time or "",
        cluster={listed.name: plain(listed) for listed in view.members},
        paused=view.pause,
    )


def _questions(cluster: Cluster, host: Host) -> str:
    api = rest(host)
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
    api = rest(host)
    return (
        f"curl -sf -o /dev/null {api}/primary || "
        f"curl -sf -o /dev/null {api}'/replica?replication_state=streaming'"
    )


def in_its_place(host: Host, cluster: Cluster, title: str = "") -> Step:
    """Wait until this server leads or follows: as long as its copy or its replay makes progress.

    A copy of a large database takes hours.
    """
    wait = script(
        "postgres/follows.sh",
        address=host.address,
        settings=PATRONI,
        trusted=TRUSTED,
        data=data(cluster),
        patience=600,
    )
    title = title or f"{host.name} leads or follows"
    return Step(title, serves(host), wait, timeout=7 * 24 * 3600, waits=True)


def leader(cluster: Cluster, facts: Facts) -> Host:
    """The server that accepts writes; MissingFact if none does, refused if several say so."""
    found = claiming(cluster, facts)
    if len(found) > 1:
        names = " and ".join(host.name for host in found)
        raise RunbookError(f"{names} all report that they lead the database; see postgres.check.")
    if not found:
        raise MissingFact("no server leads the database now; fab postgres.check shows the reason.")
    return found[0]


def claiming(cluster: Cluster, facts: Facts) -> list[Host]:
    """The servers that report that they lead."""
    known = facts.known(MEMBER)
    return [host for host in members(cluster) if host.name in known and known[host.name].primary]


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
    found = claiming(cluster, facts)
    return facts.known(MEMBER)[found[0].name] if found else None


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
