"""The cluster in one picture: a word for the whole, a line for each part, causes with codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from runbook.declare.operations import Marks
from runbook.declare.probes import CLUSTER_WIDE, ERROR, OK, UNKNOWN, WARN, Cause, Finding, Level
from runbook.errors import AccessError, RunbookError
from runbook.execute.survey import Survey
from runbook.inventory.cluster import Cluster, Host

from ...shared.silence import DOWN, HANGS, NO_ACCESS, UNREACHABLE, left, way_back
from ...shared.vitals import Vitals
from .reachability import NETWORK, SSH, Reachability

EXIT = {OK: 0, WARN: 1, ERROR: 2}
UNREACHABLE_EXIT = 3

ODD = Cause("ANSWER_ODD", "unknown; the answer could not be read")

STATES = {DOWN: "down", HANGS: "hangs", UNREACHABLE: "unreachable", NO_ACCESS: "refuses"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its code, the hosts, its impact, the fix, what follows from it."""

    code: str
    level: Level
    part: str
    hosts: tuple[str, ...]
    says: tuple[str, ...]
    impact: str
    fix: tuple[str, ...]
    follows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One subsystem: its level, its current state, and which failure would cause no outage."""

    name: str
    level: Level
    now: str
    redundancy: str


@dataclass(frozen=True)
class Server:
    """One host: up, down, unreachable, hangs or refuses; and its vitals, if it answered."""

    host: Host
    state: str
    why: str = ""
    vitals: Optional[Vitals] = None
    clock: Optional[float] = None


@dataclass
class Picture:
    """Everything that a status shows; `survey` has all findings behind it."""

    cluster: Cluster
    survey: Survey
    when: float
    seconds: float
    parts: list[Part] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    marks: list[Marks] = field(default_factory=list)

    @property
    def level(self) -> Level:
        """The most serious level of the parts and problems: ok, warn or error."""
        return gravest(
            [*(part.level for part in self.parts), *(one.level for one in self.problems)]
        )

    @property
    def word(self) -> str:
        """OK, WARN or ERROR."""
        return str(self.level).upper()

    @property
    def exit_code(self) -> int:
        """0 ok, 1 warn, 2 error, 3 if a host could not be reached and nothing worse is known."""
        if self.level == ERROR:
            everybody = all(server.state == "unreachable" for server in self.servers)
            return UNREACHABLE_EXIT if everybody else EXIT[ERROR]
        unasked = any(server.state in ("unreachable", "refuses") for server in self.servers)
        return UNREACHABLE_EXIT if unasked else EXIT[self.level]


def gravest(levels: Iterable[Level]) -> Level:
    """The most serious level; unknown counts as a warning."""
    found = set(levels)
    return ERROR if ERROR in found else WARN if found & {WARN, UNKNOWN} else OK


Silences = dict[str, tuple[Cause, str]]


def silences(cluster: Cluster, survey: Survey, seen: dict[str, Reachability]) -> Silences:
    """Each host that did not answer: the cause, and a sentence."""
    return {
        name: silence(host, survey.silent[name], seen.get(name, Reachability()))
        for name, host in cluster.hosts.items()
        if name in survey.silent
    }


def gone(silent: Silences) -> frozenset[str]:
    """The hosts that no longer work, whatever other hosts still report about them."""
    return frozenset(name for name, (kind, _) in silent.items() if kind in (DOWN, HANGS))


def silence(host: Host, error: RunbookError, sighting: Reachability) -> tuple[Cause, str]:
    """The cause and a sentence for a host that did not answer.

    It is down if no other host sees it; unreachable if others do, or if none could be asked."""
    said = str(error).rstrip(".")
    if isinstance(error, AccessError):
        return NO_ACCESS, said
    by = ", ".join(sighting.by)
    if sighting.seen == SSH:
        return UNREACHABLE, f"{said}; but {by} reach{'es' if len(sighting.by) == 1 else ''} it"
    if sighting.seen == NETWORK:
        return HANGS, f"{said}; its network answers {by}, its sshd does not"
    if not by:
        return UNREACHABLE, f"{said}; no other host could be asked"
    nobody = f"none of {by} sees" if len(sighting.by) > 1 else f"{by} does not see"
    return DOWN, f"it does not answer, and {nobody} it"


def host_problem(
    host: Host,
    kind: Cause,
    sentence: str,
    cluster: Cluster,
    away: frozenset[str],
    follows: Sequence[str],
) -> Problem:
    """The problem of a host that did not answer; `follows` are the findings that result from it."""
    known = kind in (DOWN, HANGS)
    return Problem(
        kind.code,
        ERROR if known else UNKNOWN,
        "hosts",
        (host.name,),
        (sentence if sentence.startswith(host.name) else f"{host.name}: {sentence}",),
        left(host, cluster, away) if known else kind.impact,
        (way_back(host, kind, cluster),),
        tuple(dict.fromkeys(follows)),
    )


def problems(
    findings: Sequence[Finding], silent: Silences, cluster: Cluster, labels: Mapping[str, str]
) -> list[Problem]:
    """What is wrong, the most serious first; what follows from a silent host is part of that.

    `labels`: the names of sections in a status, each after those that it depends on.
    """
    away = gone(silent)
    wrong = [one for one in findings if one.level != OK]
    follows: dict[str, list[str]] = {name: [] for name in silent}
    own: list[Finding] = []
    for one in wrong:
        if not (one.about and set(one.about) <= set(silent)):
            own.append(one)
            continue
        for name in one.about:
            follows[name].append(sentence(one))
    hosts = [
        host_problem(cluster.hosts[name], kind, why, cluster, away, follows[name])
        for name, (kind, why) in silent.items()
    ]
    hosts.sort(key=lambda one: one.level != ERROR)
    plain = [one for one in own if not one.redundancy]
    explained = {one.section for one in plain} | {one.section for one in wrong if one not in own}
    spares = [one for one in own if one.redundancy and one.section not in explained]
    return [*hosts, *alike([*plain, *spares], labels)]


def alike(findings: Sequence[Finding], labels: Mapping[str, str]) -> list[Problem]:
    """One problem for all findings of one code, errors first."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.section, (one.cause or ODD).code), []).append(one)
    whole_first = sorted(groups.values(), key=lambda group: group[0].host != CLUSTER_WIDE)
    found = [_problem(group, labels[group[0].section]) for group in whole_first]
    order = list(labels.values())
    return sorted(found, key=lambda problem: (problem.level != ERROR, order.index(problem.part)))


def _problem(group: Sequence[Finding], part: str) -> Problem:
    cause = group[0].cause or ODD
    return Problem(
        cause.code,
        gravest(one.level for one in group),
        part,
        tuple(dict.fromkeys(name for one in group for name in one.about)),
        tuple(dict.fromkeys(sentence(one) for one in group)),
        cause.impact,
        tuple(dict.fromkeys(one.fix for one in group if one.fix)),
    )


def sentence(one: Finding) -> str:
    """A finding as title and answer, with its host."""
    where = f"{one.host}: " if one.host != CLUSTER_WIDE else ""
    asked = ":" if one.redundancy else "?"
    return f"{where}{one.title}{asked} {one.verdict.sentence or 'no'}"


def level_of(
    part: str, own: Sequence[Finding], wrong: Sequence[Problem], silent: set[str]
) -> Level:
    """A part's level: what follows from a silent host is only a warning here."""
    levels = (
        WARN if one.about and set(one.about) <= silent else one.level
        for one in own
        if one.level != OK
    )
    return gravest([*levels, *(one.level for one in wrong if one.part == part)])


def redundancy(own: Sequence[Finding]) -> str:
    """Which failure would cause no outage, as the section's own check says."""
    return next((one.verdict.sentence for one in own if one.redundancy), "")
