"""Use another installation of the same Airflow, server by server, and the way back. By name only.

Nothing under a running service is changed: each server gets settings and units that name the other
directory, and restarts its services, as systemd.restart does. The version of Airflow, and with it
the schema, stays; airflow.upgrade changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runbook.declare.answers import Word, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command, precondition, wait_for
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, Stage, asked_again, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import no_such

from ..shared import copies
from ..shared.airflow import hosts
from ..shared.versions import Versions
from . import services, transport
from .all_servers import refuse_a_part, using
from .common import database_answers, first_scheduler, same_version, section
from .importing import imports_the_dags
from .installation import (
    INSTALLATIONS,
    OPT,
    Installations,
    Name,
    folder,
    known,
    version_of,
    wanted,
    wanted_if_known,
)
from .settings import Airflow

SHOWN = 20
"""Packages that a question names."""


def _contents(text: str) -> dict[str, dict[str, str]]:
    """Parse the answer of CONTENTS: for each installation, its packages and their versions."""
    found: dict[str, dict[str, str]] = {}
    for line in filter(None, text.splitlines()):
        name, *packages = line.split()
        words = [one(word, Word).rpartition(".dist-info")[0].partition("-") for word in packages]
        found[one(name, Name)] = {copies.distribution(word[0]): word[2] for word in words}
    return found


CONTENTS = Fact(
    "the packages of each installation",
    on=first_scheduler,
    command=lambda cluster, host: (
        f"cd {OPT} && for name in [0-9]*; do\n"
        "[[ -d $name/lib && $name =~ ^[0-9.]+(-[0-9a-f]{8})?$ ]] || continue\n"
        "find \"$name/lib\" -maxdepth 3 -name '*.dist-info' -printf '%f ' | "
        'sed "s/^/$name /"; echo; done'
    ),
    parse=_contents,
    absent="it cannot be asked",
)

NEEDS: tuple[Fact[Any], ...] = (*transport.NEEDS, CONTENTS)


@section.procedure(needs=NEEDS)
def switch(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Use the installation that hosts.yaml describes, server by server. Asks first.

    It has to be on every server. Tasks go on: a worker ends its own before it restarts. Services
    that do not run start. If it is interrupted, rerun the command to complete it, or go back with
    airflow.rollback.
    """
    refuse_a_part("airflow.switch", hosts, cluster, facts)
    yield from changed_to(wanted(cluster), cluster, facts, go_on=False)


@section.procedure(
    needs=NEEDS,
    help={
        "to": "the installation, if not the one before (fab airflow.installations lists all)",
        "broken_dags": "go back even if DAGs that work now cannot be imported then",
    },
)
def rollback(
    hosts: Sequence[Host],
    cluster: Cluster,
    facts: Facts,
    *,
    to: str = "",
    broken_dags: bool = False,
) -> Procedure:
    """Use the installation from before the last switch, server by server. Asks first.

    Afterwards, hosts.yaml still describes the other one: put the former airflow.packages back
    there, or run airflow.switch when what was wrong is corrected.
    """
    refuse_a_part("airflow.rollback", hosts, cluster, facts)
    if to:
        everywhere = common(cluster, facts)
        if to not in everywhere:
            raise no_such(f"{to} is not installed on every server", to, everywhere)
    target = to or one_before(cluster, facts)
    yield from changed_to(target, cluster, facts, go_on=broken_dags)


def common(cluster: Cluster, facts: Facts) -> list[str]:
    """The installations that are on every server, the newest first."""
    first, *others = [known(host, facts) for host in hosts(cluster)]
    return [name for name in first.newest_first if all(name in other.there for other in others)]


def one_before(cluster: Cluster, facts: Facts) -> str:
    """What airflow.rollback goes back to, also after a switch that was cut off halfway."""
    servers = [known(host, facts) for host in hosts(cluster)]
    candidates = [
        name
        for name in dict.fromkeys(name for one in servers for name in (one.before, one.in_use))
        if all(name and name in (one.before, one.in_use) for one in servers)
        and not all(one.in_use == name for one in servers)
    ]
    if len(candidates) > 1:
        candidates = [name for name in candidates if name != wanted_if_known(cluster)]
    if len(candidates) != 1:
        raise RunbookError(
            "It is not clear which installation was before: not every server has the same one. "
            "See fab airflow.installations; then: fab airflow.rollback --to NAME"
        )
    return candidates[0]


def changed_to(target: str, cluster: Cluster, facts: Facts, go_on: bool) -> Procedure:
    """Let every server use an installation of the same Airflow."""
    refuse_another_version(target, cluster, facts)
    yield may_begin(target, cluster, go_on)
    yield Question(told(target, cluster, facts))
    for batch in cluster.apart(hosts(cluster)):
        yield switched(batch, target, cluster, facts)
    yield asked_again(INSTALLATIONS)
    yield stage(
        "older installations are removed",
        hosts(cluster),
        lambda host: prune(host, cluster, facts),
    )
    yield the_end(target, cluster, facts)


def refuse_another_version(target: str, cluster: Cluster, facts: Facts) -> None:
    """Refuse to change the version of Airflow, whose schema has to change with it."""
    version = cluster[Versions].airflow
    if version_of(target) != version:
        raise RunbookError(
            f"{target} is Airflow {version_of(target)}, and {cluster.file.name} says {version}. "
            f"To change the version: set versions.airflow to {version_of(target)} there, then "
            "fab airflow.install airflow.ship airflow.receive airflow.upgrade"
        )
    lacking = [host.name for host in hosts(cluster) if target not in known(host, facts).there]
    if lacking:
        first = "fab airflow.install airflow.ship airflow.receive"
        if target != wanted_if_known(cluster):
            first = f"put its packages back into {cluster.file.name}, then {first} airflow.switch"
        raise RunbookError(
            f"{', '.join(lacking)} does not have {target}. First: {first}. Nothing was changed."
        )
    unused = [host.name for host in hosts(cluster) if not known(host, facts).in_use]
    if unused:
        raise UsageError(
            f"{', '.join(unused)} uses no installation yet: fab airflow systemd sets it up."
        )


def may_begin(target: str, cluster: Cluster, go_on: bool) -> Stage:
    """Check first what could stop it halfway: a damaged installation, DAGs that would break."""

    def asked(host: Host) -> Steps:
        yield same_version(cluster)
        yield undamaged(target)
        if host in first_scheduler(cluster):
            yield database_answers(cluster)
            if not go_on:
                yield imports_the_dags(target, cluster)

    return stage("may it begin?", hosts(cluster), asked)


def undamaged(name: str) -> Step:
    """Every file of an installation is as it was when it was made."""
    path = folder(name)
    return precondition(
        f"{path} is complete and undamaged",
        copies.unchanged(path),
        f"echo '{path} is damaged or incomplete. To replace the one that hosts.yaml describes:'\n"
        "echo 'fab airflow.install airflow.ship airflow.receive'",
    )


def told(target: str, cluster: Cluster, facts: Facts) -> str:
    """What is about to change, in words."""
    present = sorted({known(host, facts).in_use for host in hosts(cluster)} - {target})
    if not present:
        return f"Every server uses {target} already. Services that do not run start."
    return (
        f"Airflow's services change from {' and '.join(present)} to {target}, server by server, "
        "never two of a role at once. Tasks go on; a worker ends its own before it restarts. "
        f"{difference(present[0], target, cluster, facts)} "
        "If a server does not work with it, the next ones are not changed: fab airflow.rollback."
    )


def difference(one: str, other: str, cluster: Cluster, facts: Facts) -> str:
    """Which packages come, go and change from one installation to another."""
    [first] = first_scheduler(cluster)
    contents = facts.known(CONTENTS).get(first.name, {})
    if one not in contents or other not in contents:
        return "Which packages differ is not known."
    lines = list(changes(contents[one], contents[other]))
    if not lines:
        return "Both have the same packages."
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"Packages: {', '.join(lines[:SHOWN])}{more}."


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Each package that goes, comes or changes, in words."""
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"without {name} {before[name]}"
        elif name not in before:
            yield f"with {name} {after[name]}"
        elif before[name] != after[name]:
            yield f"{name} {before[name]} becomes {after[name]}"


def switched(batch: Sequence[Host], target: str, cluster: Cluster, facts: Facts) -> Stage:
    """Some servers use an installation, and work with it."""

    def anew(host: Host) -> Steps:
        yield from using(target, host, cluster, facts)
        if services.components(host):
            yield from services.started(host, cluster)
            yield from services.proven(host)

    names = ", ".join(host.name for host in batch)
    return stage(f"{target} on {names}", batch, anew)


def the_end(target: str, cluster: Cluster, facts: Facts) -> Stage:
    """How to go back, as the title of a stage that does nothing."""
    way = f"every server uses {target}; to go back: fab airflow.rollback"
    name = wanted_if_known(cluster)
    if target != name:
        way = (
            f"every server uses {target}, but {cluster.file.name} describes {name or 'another'}: "
            "change airflow.packages there, or fab airflow.switch"
        )
    done = wait_for(f"{folder(target)} is in use", f"[[ -d {folder(target)} ]]")
    return stage(way, first_scheduler(cluster), done)


# What is there


@section.table(needs=[INSTALLATIONS])
def installations(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """Show the installations of Airflow on each server, and which of them is in use."""
    name = wanted_if_known(cluster)
    rows = []
    for host in hosts(cluster):
        here = known(host, facts)
        for there in here.newest_first:
            said = {
                "in use": there == here.in_use,
                "a service still runs from it": there in here.runs and there != here.in_use,
                "the one before": there == here.before and there != here.in_use,
                "that of hosts.yaml": there == name,
            }
            words = ", ".join(word for word, so in said.items() if so)
            rows.append({"host": host.name, "installation": there, "": words})
    return rows


@section.task(needs=[INSTALLATIONS])
def prune(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Remove old installations, beyond airflow.keep_installations.

    The one in use, the one before it, that of hosts.yaml and the newest of each version stay.
    """
    for name in removable(known(host, facts), cluster):
        path = folder(name)
        yield command(
            f"{path}, which nothing uses, is removed",
            script("airflow/remove.sh", folder=path),
            unless=f"[[ ! -e {path} ]] || grep -lqsF ' {path}/' /proc/[0-9]*/maps",
        )


def removable(here: Installations, cluster: Cluster) -> list[str]:
    """The installations of a server that go: the oldest of those that nothing needs."""
    versions: dict[str, str] = {}
    for name in here.newest_first:
        versions.setdefault(version_of(name), name)
    described = wanted_if_known(cluster)
    if not here.in_use or not described:
        return []
    needed = {here.in_use, here.before, described, *here.runs, *versions.values()}
    kept = [name for name in here.newest_first if name in needed]
    others = [name for name in here.newest_first if name not in needed]
    return others[max(0, cluster[Airflow].keep_installations - len(kept)) :]
