"""Exports of the definitions: users, vhosts, policies and queues, without their messages.

Every node keeps its own, so that the loss of two nodes leaves them. They contain hashes of
passwords: only the user rabbitmq, who knows these anyway, and root can read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from runbook.declare import steps
from runbook.declare.answers import Time, UnitState, lines_of, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import OK, WARN, Finding, Verdict
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host
from runbook.output.quantities import duration

from ..shared.roles import RABBITMQ
from .common import SCRIPTS, members, section
from .settings import Rabbitmq

FOLDER = "/var/lib/rabbitmq-definitions"
UNIT = "rabbitmq-definitions"

EXPORT = section.cause(
    "MQ_DEFINITIONS", "what was changed by hand would be lost with all nodes; nothing stops"
)


@section.task
def definitions(host: Host, cluster: Cluster) -> Steps:
    """Export the definitions on a schedule, readable by root and rabbitmq only."""
    yield steps.directory(FOLDER, "0700", "rabbitmq", "rabbitmq")
    yield steps.directory(SCRIPTS)
    script = f"{SCRIPTS}/export-definitions"
    yield steps.template(script, "rabbitmq/export-definitions", {}, mode="0755")
    about = {
        "script": script,
        "folder": FOLDER,
        "schedule": cluster[Rabbitmq].definitions.schedule,
        "keep": cluster[Rabbitmq].definitions.keep,
    }
    yield steps.unit(f"{UNIT}.service", f"rabbitmq/{UNIT}.service.j2", about)
    timer = f"{UNIT}.timer"
    yield steps.unit(timer, f"rabbitmq/{timer}.j2", about).then(steps.restarted(timer))
    yield steps.service(timer)
    yield steps.command(
        "there is a first export",
        f"systemctl start {UNIT}.service",
        unless=f"ls {FOLDER}/*.json",
    )


@dataclass(frozen=True)
class Export:
    """A node's exports: the age of the newest in seconds, None without one; how the last ended."""

    age: Optional[int]
    result: str
    scheduled: bool


def parse(text: str) -> Export:
    """Parse the answer of EXPORTS: the timer's state, the last result, the time, the newest."""
    timer, result, now, *newest = lines_of(text, 3, 4)
    age = one(now, Time) - one(newest[0], Time) if newest else None
    _, _, ended = result.partition("=")
    return Export(age, one(ended, UnitState), one(timer, UnitState) == "active")


EXPORTS = Fact(
    "the newest export of the definitions",
    on=RABBITMQ,
    command=lambda cluster, host: (
        f"""systemctl is-active {UNIT}.timer
systemctl show -p Result {UNIT}.service
date +%s
find {FOLDER} -name '*.json' -printf '%Ts\\n' | sort -n | tail -1"""
    ),
    parse=parse,
    absent="the server does not answer",
)


def exported(cluster: Cluster, facts: Facts) -> Finding:
    """Every node that answers exports its definitions on schedule."""
    title = "definitions are exported"
    known = {
        host.name: facts.known(EXPORTS)[host.name]
        for host in members(cluster)
        if host.name in facts.known(EXPORTS)
    }
    troubles = [sentence for name, one in known.items() for sentence in trouble(name, one)]
    if troubles:
        way_out = "fab rabbitmq.definitions; why it failed: journalctl -u rabbitmq-definitions"
        return Finding(title, Verdict(WARN, "; ".join(troubles)), fix=way_out, cause=EXPORT)
    newest = newest_of(facts)
    said = f"the newest {duration(newest)} ago" if newest is not None else ""
    return Finding(title, Verdict(OK, said))


def trouble(name: str, export: Export) -> list[str]:
    """What is wrong with a node's exports; nothing if the last one was written."""
    if export.age is None:
        return [f"{name} has none"]
    if not export.scheduled:
        return [f"{name} has no schedule, the newest is {duration(export.age)} old"]
    if export.result != "success":
        return [f"the last one failed on {name}, the newest is {duration(export.age)} old"]
    return []


def newest_of(facts: Facts) -> Optional[int]:
    """The age of the newest export on any node, in seconds."""
    return min(
        (one.age for one in facts.known(EXPORTS).values() if one.age is not None), default=None
    )
