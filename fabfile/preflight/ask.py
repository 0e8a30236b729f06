"""Run the checks of a preflight on all servers: one script each, and one for the clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from runbook.declare.answers import SHAPELESS
from runbook.declare.facts import Fact, Facts, hosts_on
from runbook.declare.probes import ERROR, UNKNOWN, Answer, Finding, Probe, Verdict
from runbook.declare.step import Step
from runbook.errors import RunbookError, SettingsError
from runbook.execute.survey import Told, add_all, plain, put, timed
from runbook.inventory.cluster import Cluster, Host
from runbook.results import CHECK
from runbook.script import compile_script

from ..shared.vitals import TIME
from . import login, network, packages, reach, system, trouble
from .enter import entered
from .network import Network

if TYPE_CHECKING:
    from runbook.execute.run import Run

LIMIT = packages.SECONDS + 30
"""Timeout for one server, in seconds; dnf takes the longest."""


@dataclass
class Asked:
    """The answers of the servers: findings, facts to compare; `silent`: errors of the others."""

    run: Run
    hosts: Sequence[Host]
    paths: list[reach.Path]
    findings: list[Finding] = field(default_factory=list)
    values: dict[Fact[Any], dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    seen: dict[str, dict[str, str]] = field(default_factory=dict)
    silent: dict[str, RunbookError] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, hosts: Sequence[Host]) -> Asked:
        """Ask these servers, all at the same time."""
        asked = cls(run, hosts, reach.needed(run.cluster))
        for found in run.parallel(hosts, asked.one):
            asked.findings += found
        asked.findings += asked.compared()
        return asked

    @property
    def cluster(self) -> Cluster:
        """The inventory."""
        return self.run.cluster

    @property
    def tried(self) -> list[reach.Path]:
        """The paths whose callers reported a result."""
        return [path for path in self.paths if path.caller in self.seen]

    @property
    def reach(self) -> reach.Reach:
        """Which ports the servers reach on each other."""
        return reach.Reach(self.cluster, self.seen, self.networks)

    def one(self, host: Host) -> list[Finding]:
        """Run all checks on one server, and return their findings."""
        try:
            return entered(self.run, host, lambda: list(self._answers(host)))
        except SettingsError:
            raise
        except RunbookError as error:
            self.silent[host.name] = error
            return [_closed(host, error)]

    def _answers(self, host: Host) -> Iterator[Finding]:
        contents, cluster = self.run.contents, self.cluster
        steps = list(packages.known_steps(contents, cluster, host))
        guards = list(dict.fromkeys(step for step in steps if step.early))
        facts = [fact for fact in self._facts() if host in hosts_on(fact.on, cluster)]
        asked: list[Probe] = plain(
            [
                network.command(cluster, host),
                login.command(contents, cluster, host),
                reach.command(self.paths, cluster, host),
                packages.command(steps),
                *(fact.question(cluster, host) for fact in facts if not fact.timed),
            ]
        )
        probes = list(self._probes(host))
        yield from self._keep(host, timed(cluster, host, facts, self._ask))
        script = compile_script(guards, [*asked, *(one for _, one in probes)], CHECK, at_once=LIMIT)
        answers = put(self.run, host, script)
        yield from _refusals(host, guards, answers)
        rest = answers[len(guards) :]
        yield from self._read(host, rest, [fact for fact in facts if not fact.timed])
        for (section, probe), answer in zip(probes, rest[len(asked) :]):
            yield probe.finding(answer, section, host.name)

    def _read(
        self, host: Host, answers: Sequence[Answer], facts: Sequence[Fact[Any]]
    ) -> Iterator[Finding]:
        """Findings of the checks that are not probes of a section."""
        contents, cluster = self.run.contents, self.cluster
        own, logins, paths, installs, *others = answers
        told = Told()
        add_all(told, host, facts, others)
        yield from self._keep(host, told)
        if system.SYSTEM in told.values:
            yield from system.findings(host, cluster, told.values[system.SYSTEM])

        def of_network() -> Iterator[Finding]:
            self.networks[host.name] = network.parse(own.text)
            return network.findings(host, cluster, self.networks[host.name])

        yield from _judged(host, "network", of_network)
        yield from _judged(
            host, "sshd", lambda: login.findings(contents, cluster, host, login.parse(logins.text))
        )
        self.seen[host.name] = reach.parse(paths.text)
        yield from _judged(
            host, "packages", lambda: packages.findings(host, packages.parse(installs.text))
        )

    def _keep(self, host: Host, told: Told) -> Iterator[Finding]:
        """Keep the facts of a server; findings on answers that cannot be any."""
        for fact, value in told.values.items():
            self.values.setdefault(fact, {})[host.name] = value
        for doubt in told.distrusted.values():
            yield trouble.of(host.name, UNKNOWN, "answers", str(doubt), "")

    def _facts(self) -> list[Fact[Any]]:
        """The facts that this module and the sections compare."""
        needs = [fact for one in self.run.contents.sections for fact in one.requires.facts]
        return list(dict.fromkeys([system.SYSTEM, TIME, *needs]))

    def _probes(self, host: Host) -> Iterator[tuple[str, Probe]]:
        for section in self.run.contents.sections:
            probes = section.requires.probes
            if probes and host in hosts_on(section.everywhere, self.cluster):
                for probe in probes(host, self.cluster):
                    yield section.name, probe

    def _ask(self, host: Host, commands: Sequence[str]) -> list[Answer]:
        return put(self.run, host, compile_script([], plain(commands), CHECK, at_once=LIMIT))

    def compared(self) -> Iterator[Finding]:
        """Findings that need the answers of several servers."""
        facts = Facts(self.values)
        yield from reach.findings(self.reach, self.tried)
        for section in self.run.contents.sections:
            if section.requires.cluster_check:
                yield from section.requires.cluster_check(self.cluster, facts)


def _refusals(host: Host, guards: Sequence[Step], answers: Sequence[Answer]) -> Iterator[Finding]:
    """Findings on the preconditions; the last line that a failed one prints is the way out."""
    for guard, answer in zip(guards, answers):
        *what, way_out = answer.text.strip().splitlines() or [""]
        if way_out:
            said = "; ".join(line for line in what if not line.startswith("Filesystem "))
            yield trouble.stops(host.name, guard.title, said or way_out, way_out)
        else:
            yield trouble.fine(host.name, guard.title)


def _judged(host: Host, title: str, judge: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a judge; unknown if it cannot parse the answer."""
    try:
        yield from list(judge())
    except (*SHAPELESS, StopIteration):
        yield trouble.of(host.name, UNKNOWN, title, "the answer could not be parsed", "")


def _closed(host: Host, error: RunbookError) -> Finding:
    """The finding for a server that cannot be checked; `requiretty` has a way out of its own."""
    fix = "follow the message, then rerun"
    if "tty" in str(error) or "terminal" in str(error):
        fix = "on the server, as root: echo 'Defaults !requiretty' >/etc/sudoers.d/00-tty"
    return Finding("login", Verdict(ERROR, str(error)), fix, about=(host.name,), host=host.name)
