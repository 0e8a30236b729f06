"""The cluster in one picture: a word for the whole, a line for each part, causes with codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ...engine.cluster import Cluster, Host
from ...engine.errors import AccessError, RunbookError
from ...engine.probes import ERROR, OK, REDUNDANCY, UNKNOWN, WARN, Cause
from ...engine.results import TOGETHER
from ...engine.survey import Judged, Survey
from ...vitals import Vitals
from .sightings import NETWORK, SSH, Sighting

EXIT = {OK: 0, WARN: 1, ERROR: 2}
UNREACHABLE_EXIT = 3

DOWN = Cause("HOST_DOWN", "")
HANGS = Cause("HOST_HANGS", "")
UNREACHABLE = Cause(
    "HOST_UNREACHABLE", "nobody can say from here how it is; it may well be at work"
)
NO_ACCESS = Cause("HOST_NO_ACCESS", "it runs, and nobody can say how it is")
ODD = Cause("ANSWER_ODD", "what it means cannot be said")

STATES = {DOWN: "down", HANGS: "hangs", UNREACHABLE: "unreachable", NO_ACCESS: "refuses"}

NAMES = {
    "haproxy": "HAProxy server",
    "flower": "Flower",
    "postgres": "database server",
    "rabbitmq": "queue node",
    "nfs": "NFS server",
    "dag-processor": "DAG processor",
}
"""What a host of a role is called, where the role's own name does not say it."""

NONE_LEFT = {
    "scheduler": "no DAG run starts",
    "triggerer": "deferred tasks wait",
    "webserver": "there is no web UI",
    "worker": "no task runs",
    "flower": "nobody can watch the workers there",
    "target": "tasks that reach it by SSH fail",
    "haproxy": "nobody reaches database and web UI",
    "postgres": "nothing can be written",
    "rabbitmq": "no task is handed out",
    "nfs": "DAGs cannot be read",
    "dag-processor": "changed DAGs are not taken up",
}
"""What it means if no host of a role is left."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its code, the hosts, what it costs, what mends it, what follows."""

    code: str
    level: str
    part: str
    hosts: tuple[str, ...]
    says: tuple[str, ...]
    costs: str
    mend: tuple[str, ...]
    follows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One subsystem: its word, what it does now, and what may fail next without an outage."""

    name: str
    level: str
    now: str
    redundancy: str


@dataclass(frozen=True)
class Server:
    """One host: up, down, unreachable, hangs or refuses; and how it is, if it could be asked."""

    host: Host
    state: str
    why: str = ""
    vitals: Optional[Vitals] = None
    clock: Optional[float] = None


@dataclass
class Picture:
    """All that a status says; `judged` is every question behind it."""

    cluster: Cluster
    survey: Survey
    when: float
    seconds: float
    parts: list[Part] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)

    @property
    def level(self) -> str:
        """The gravest of the parts and problems: ok, warn or error."""
        return gravest(
            [*(part.level for part in self.parts), *(one.level for one in self.problems)]
        )

    @property
    def word(self) -> str:
        """OK, WARN or ERROR."""
        return self.level.upper()

    @property
    def exit_code(self) -> int:
        """0 ok, 1 warn, 2 error, 3 if a host could not be asked and nothing worse is known."""
        if self.level == ERROR:
            everybody = all(server.state == "unreachable" for server in self.servers)
            return UNREACHABLE_EXIT if everybody else EXIT[ERROR]
        unasked = any(server.state in ("unreachable", "refuses") for server in self.servers)
        return UNREACHABLE_EXIT if unasked else EXIT[self.level]


def gravest(levels: Iterable[str]) -> str:
    """The gravest level; what is unknown is worth a warning."""
    found = set(levels)
    return ERROR if ERROR in found else WARN if found & {WARN, UNKNOWN} else OK


Silences = dict[str, tuple[Cause, str]]


def silences(cluster: Cluster, survey: Survey, seen: dict[str, Sighting]) -> Silences:
    """Each host that could not be asked: which kind of silence it is, and the sentence for it."""
    return {
        name: silence(host, survey.silent[name], seen.get(name, Sighting()))
        for name, host in cluster.hosts.items()
        if name in survey.silent
    }


def gone(silent: Silences) -> frozenset[str]:
    """The hosts that do no work any more, whatever others remember of them."""
    return frozenset(name for name, (kind, _) in silent.items() if kind in (DOWN, HANGS))


def silence(host: Host, error: RunbookError, sighting: Sighting) -> tuple[Cause, str]:
    """Down is what nobody sees; unreachable is what others see, or nobody could be asked about."""
    said = str(error).rstrip(".")
    if isinstance(error, AccessError):
        return NO_ACCESS, said
    by = ", ".join(sighting.by)
    if sighting.seen == SSH:
        return UNREACHABLE, f"{said}; but {by} reach{'es' if len(sighting.by) == 1 else ''} it"
    if sighting.seen == NETWORK:
        return HANGS, f"{said}; its network answers {by}, its sshd does not"
    if not by:
        return UNREACHABLE, f"{said}; there is nobody else to ask"
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
    """A host that could not be asked; what the parts say of it follows from that."""
    known = kind in (DOWN, HANGS)
    return Problem(
        kind.code,
        ERROR if known else UNKNOWN,
        "hosts",
        (host.name,),
        (sentence if sentence.startswith(host.name) else f"{host.name}: {sentence}",),
        left(host, cluster, away) if known else kind.costs,
        (way_back(host, kind, cluster),),
        tuple(dict.fromkeys(follows)),
    )


def left(host: Host, cluster: Cluster, away: frozenset[str]) -> str:
    """How many of its kind are left, for each of its roles."""
    told = []
    for role in host.roles:
        everybody = cluster.group(role)
        there = [other for other in everybody if other.name not in away]
        name = NAMES.get(role, role.replace("-", " "))
        if there:
            told.append(f"{len(there)} of {len(everybody)} {name}s left")
        else:
            told.append(f"no {name} left: {NONE_LEFT.get(role, 'its work is not done')}")
    return "; ".join(sorted(told, key=lambda text: not text.startswith("no "))) or "one host less"


def way_back(host: Host, kind: Cause, cluster: Cluster) -> str:
    """What to do about a host that could not be asked."""
    user = cluster.user(host)
    again = "inv cluster.status --wait 300"
    if kind == DOWN:
        return f"power {host.name} on, or plug it in; it comes back by itself: {again}"
    if kind == HANGS:
        return f"wait if it boots; else look at its console, and reset it if need be: {again}"
    if kind == NO_ACCESS:
        return f"fab -H {host.name} ssh.bootstrap"
    port = cluster.ssh_port(host)
    return f"mend the way from here (network, firewall, ssh): ssh -p {port} {user}@{host.address}"


def problems(
    judged: Sequence[Judged], silent: dict[str, tuple[Cause, str]], cluster: Cluster
) -> list[Problem]:
    """Hosts first; then what is wrong with the parts and does not follow from a silent host."""
    away = gone(silent)
    wrong = [one for one in judged if one.verdict.level != OK]
    follows: dict[str, list[str]] = {name: [] for name in silent}
    own: list[Judged] = []
    for one in wrong:
        explained = one.about and set(one.about) <= set(silent)
        if not explained:
            own.append(one)
            continue
        for name in one.about:
            follows[name].append(sentence(one))
    hosts = [
        host_problem(cluster.hosts[name], kind, why, cluster, away, follows[name])
        for name, (kind, why) in silent.items()
    ]
    plain = [one for one in own if one.title != REDUNDANCY]
    named = {one.section for one in plain}
    explained_parts = {one.section for one in wrong if one not in own}
    margins = [
        one
        for one in own
        if one.title == REDUNDANCY
        and one.section not in named
        and one.section not in explained_parts
    ]
    hosts.sort(key=lambda one: one.level != ERROR)
    return [*hosts, *alike([*plain, *margins])]


ORDER = ("hosts", "postgres", "rabbitmq", "nfs", "haproxy", "airflow", "systemd")
"""What stands on what: a fault below explains one above."""


def alike(judged: Sequence[Judged]) -> list[Problem]:
    """One problem for all findings of one code, errors first."""
    groups: dict[tuple[str, str], list[Judged]] = {}
    for one in judged:
        groups.setdefault((one.section, (one.cause or ODD).code), []).append(one)
    whole_first = sorted(groups.values(), key=lambda group: group[0].host != TOGETHER)
    found = [_problem(group) for group in whole_first]
    return sorted(found, key=lambda problem: (problem.level != ERROR, ORDER.index(problem.part)))


def _problem(group: Sequence[Judged]) -> Problem:
    cause = group[0].cause or ODD
    level = gravest(one.verdict.level for one in group)
    return Problem(
        cause.code,
        level,
        part_of(group[0].section),
        tuple(dict.fromkeys(name for one in group for name in one.about)),
        tuple(dict.fromkeys(sentence(one) for one in group)),
        cause.costs,
        tuple(dict.fromkeys(one.fix for one in group if one.fix)),
    )


def sentence(one: Judged) -> str:
    """A finding as question and answer, with its host."""
    where = f"{one.host}: " if one.host != TOGETHER else ""
    asked = ":" if one.title == REDUNDANCY else "?"
    return f"{where}{one.title}{asked} {one.verdict.sentence or 'no'}"


def part_of(section: str) -> str:
    """What a status calls the part that a section is about."""
    return "hosts" if section == "base" else section


def level_of(
    section: str, judged: Sequence[Judged], wrong: Sequence[Problem], silent: set[str]
) -> str:
    """A part's word: what follows from a silent host is but a warning here."""
    own = (
        WARN if one.about and set(one.about) <= silent else one.verdict.level
        for one in judged
        if one.section == section and one.verdict.level != OK
    )
    return gravest([*own, *(one.level for one in wrong if one.part == part_of(section))])


def redundancy(section: str, judged: Sequence[Judged]) -> str:
    """Which failure would cause no outage, as the section's own verdict says."""
    return next(
        (
            one.verdict.sentence
            for one in judged
            if one.section == section and one.title == REDUNDANCY
        ),
        "",
    )
