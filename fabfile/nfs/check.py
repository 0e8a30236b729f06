"""Checks of the share: is it healthy on servers and clients, and what redundancy is left?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from runbook.declare.facts import Facts
from runbook.declare.probes import (
    ERROR,
    OK,
    UNKNOWN,
    WARN,
    Answer,
    Finding,
    Findings,
    Probes,
    Verdict,
    probe,
    succeeds,
)
from runbook.inventory.cluster import Cluster, Host

from ..shared.keepalived import heard_holding, one_holder
from .common import (
    AS_USER,
    NETWORK,
    RESCUED,
    SENTINEL,
    STATE,
    alone,
    may_write,
    section,
    servers,
    trees,
    vip,
)
from .mounts import answered, seen
from .retention import RUNS, cleaned
from .state import SERVER, Server, active

DISK = section.cause("NFS_DISK_FULL", "the share cannot be written, or copied to the standby")
MOUNT = section.cause("NFS_MOUNT_LOST", "this server does not see the DAGs")
READ_ONLY = section.cause("NFS_MOUNT_READ_ONLY", "DAGs cannot be changed from this server")
EXPORTS = section.cause("NFS_EXPORTS_DIFFER", "clients may get stale handles after a failover")
COPIES = section.cause("NFS_COPIES_WRONG", "the standby may overwrite the files that clients see")
NOT_COPYING = section.cause("NFS_NOT_COPYING", "new files exist on one server only")
NOBODY = section.cause("NFS_NOBODY_ACTIVE", "clients wait; DAGs can be neither read nor changed")
BEHIND = section.cause(
    "NFS_STANDBY_BEHIND", "if the active server fails now, its newest files are unavailable"
)
RESCUED_FILES = section.cause("NFS_RESCUED", "files wait for a decision; nothing is lost")
NO_SPARE = section.cause("NFS_NO_SPARE", "if the active server fails, the share is unavailable")

TOO_LONG = 30
"""Seconds after which it is an error if the standby lacks a file."""


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check the VIP, exports, copying, mounts and redundancy."""
    for tree in trees(cluster):
        if host in servers(cluster):
            yield probe(
                f"room in {tree.path}",
                f"df --output=pcent {tree.path}",
                room,
                fix=f"make room: look at du -xsh {tree.path}/* on {host.name}",
                cause=DISK,
            )
            continue
        again = f"fab -H {host.name} nfs.mounts"
        yield probe(
            f"{tree.path} shows the share",
            seen(tree),
            shown,
            fix=f"systemctl restart {tree.unit}.mount on {host.name}",
            cause=MOUNT,
        )
        if may_write(host, tree, cluster):
            mine = f"{tree.path}/{SENTINEL}-{host.name}"
            yield probe(
                f"{tree.path} can be written",
                answered(f"{AS_USER} bash -c 'echo >{mine}.$$ && rm {mine}.$$'"),
                succeeds,
                fix=again,
                cause=READ_ONLY,
                thorough=True,
            )


def room(answer: Answer) -> Verdict:
    """The file system is not nearly full; a full standby would accept no files."""
    used = int(answer.text.split()[-1].rstrip("%"))
    level = ERROR if used >= 95 else WARN if used >= 85 else OK
    return Verdict(level, f"{used} % used")


def shown(answer: Answer) -> Verdict:
    """The sentinel is read through the mount."""
    if answer.code == 0:
        return Verdict(OK)
    if answer.code == 137:
        return Verdict(ERROR, "it does not answer within 5 seconds")
    if "Stale" in answer.text:
        return Verdict(ERROR, "its handle is stale")
    if "No such file" in answer.text:
        return Verdict(ERROR, "it is not mounted, or it is not the share")
    return succeeds(answer)


@section.cluster_check(needs=[NETWORK, SERVER, RUNS])
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """Checks that need the answers of several hosts."""
    known = facts.known(SERVER)
    yield from one_holder(cluster, "nfs", facts)
    yield exports_are_equal(cluster, known)
    if not alone(cluster):
        yield who_copies(cluster, facts)
        yield up_to_date(cluster, facts)
    yield from uncounted(known)
    yield from rescued(known)
    yield from cleaned(cluster, facts)
    yield redundancy(cluster, facts)


def exports_are_equal(cluster: Cluster, known: Mapping[str, Server]) -> Finding:
    """All servers export the same to the same clients under the same fsid."""
    title = "it is exported" if alone(cluster) else "both servers export the same"
    way_out = "fab nfs.server"
    silent = [host.name for host in servers(cluster) if host.name not in known]
    if silent:
        verdict = Verdict(WARN, f"{', '.join(silent)} does not answer")
        return Finding(title, verdict, way_out, EXPORTS, tuple(silent))
    nothing = [name for name, server in known.items() if not server.exports]
    if nothing:
        verdict = Verdict(ERROR, f"{', '.join(nothing)} exports nothing")
        return Finding(title, verdict, way_out, EXPORTS)
    one, *others = [known[host.name].exports for host in servers(cluster)]
    for other in [exported for exported in others if exported != one]:
        sentence = f"they differ in {len(one ^ other)} lines, so clients would get stale handles"
        return Finding(title, Verdict(ERROR, sentence), way_out, EXPORTS)
    return Finding(title, Verdict(OK, f"{len(one)} lines"))


def who_copies(cluster: Cluster, facts: Facts) -> Finding:
    """lsyncd runs on the VIP's holder, and nowhere else."""
    title = "only the active server copies"
    holder = active(cluster, facts)
    known = facts.known(SERVER)
    wrong = [
        name
        for name, server in known.items()
        if server.copying == "active" and holder and name != holder.name
    ]
    if wrong:
        sentence = f"{', '.join(wrong)} copies but is not active"
        fix = f"systemctl stop nfs-sync on {wrong[0]}"
        return Finding(title, Verdict(ERROR, sentence), fix, COPIES)
    heard = heard_holding(cluster, vip(cluster), facts)
    if not holder and heard:
        return Finding(title, Verdict(UNKNOWN, f"{heard} does not answer"), about=(heard,))
    if not holder or holder.name not in known:
        return Finding(title, Verdict(ERROR, "no server is active"), "fab nfs.vip", NOBODY)
    if known[holder.name].copying != "active":
        sentence = f"{holder.name} does not: journalctl -u nfs-sync there shows why"
        away = tuple(host.name for host in servers(cluster) if host.name not in known)
        return Finding(title, Verdict(ERROR, sentence), "fab nfs.resync", NOT_COPYING, away)
    return Finding(title, Verdict(OK, holder.name))


def up_to_date(cluster: Cluster, facts: Facts) -> Finding:
    """The standby lacks nothing except what was written a moment ago."""
    title = "the standby is up to date"
    holder = active(cluster, facts)
    known = facts.known(SERVER)
    standby = next((host for host in servers(cluster) if host != holder), None)
    if not holder or not standby or holder.name not in known:
        heard = heard_holding(cluster, vip(cluster), facts)
        sentence = f"{heard} does not answer" if heard else "unknown, because no server is active"
        level, about = (UNKNOWN, (heard,)) if heard else (ERROR, ())
        return Finding(title, Verdict(level, sentence), "fab nfs.vip", NOBODY, about)
    if standby.name not in known:
        verdict = Verdict(ERROR, f"{standby.name} does not answer")
        return Finding(title, verdict, "fab nfs.resync", BEHIND, (standby.name,))
    behind = known[holder.name].behind
    if behind is None:
        sentence = f"{holder.name} cannot compare: journalctl -u nfs-sync there shows why"
        return Finding(title, Verdict(ERROR, sentence), "fab nfs.sync", BEHIND)
    oldest = known[holder.name].oldest
    lag = f"{standby.name} lacks {some(behind)}, the oldest for {oldest} s"
    if behind and oldest > TOO_LONG:
        return Finding(title, Verdict(ERROR, lag), "fab nfs.resync", BEHIND)
    if not known[standby.name].fit:
        sentence = f"{standby.name} may not lead until it has been brought up to date"
        return Finding(title, Verdict(ERROR, sentence), "fab nfs.resync", BEHIND)
    return Finding(title, Verdict(OK, lag if behind else standby.name))


def some(paths: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


def uncounted(known: Mapping[str, Server]) -> Findings:
    """Servers for which it is unknown how old their files are; these do not lead."""
    for name, server in known.items():
        if server.generation is None:
            yield Finding(
                f"{name} knows how old its files are",
                Verdict(ERROR, f"{STATE}/generation holds no number, so it does not lead"),
                fix="fab nfs.resync brings it up to date; if no server leads: fab nfs.lead",
                cause=BEHIND,
            )


def rescued(known: Mapping[str, Server]) -> Findings:
    """Files that a server had to give up, and that no other server has."""
    for name, server in known.items():
        if not server.rescued:
            continue
        yield Finding(
            f"nothing waits in {RESCUED} of {name}",
            Verdict(WARN, f"newer than elsewhere, or only here: {some(server.rescued)}"),
            fix="copy back the files that you need, then remove them there",
            cause=RESCUED_FILES,
        )


def redundancy(cluster: Cluster, facts: Facts) -> Finding:
    """Whether the share survives the loss of a server."""
    known = facts.known(SERVER)
    places = facts.known(NETWORK)
    if alone(cluster):
        [only] = servers(cluster)
        return Finding.of_redundancy(
            WARN, f"none: {only.name} is the only server", cause=NO_SPARE, by_design=True
        )
    ready = [name for name, server in known.items() if server.fit and name in places]
    if len(ready) == len(servers(cluster)):
        sentence = (
            f"survives the loss of {' or '.join(ready)}, except for writes of the last seconds"
        )
        return Finding.of_redundancy(OK, sentence)
    away = [host.name for host in servers(cluster) if host.name not in ready]
    sentence = f"none until {', '.join(away)} is up to date"
    silent = tuple(name for name in away if name not in known)
    return Finding.of_redundancy(WARN, sentence, "fab nfs.resync", NO_SPARE, silent)


@section.table(needs=[NETWORK, SERVER])
def status(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """Show each server: active or not, fit to lead, what it lacks, what was rescued."""
    holder = active(cluster, facts)
    known = facts.known(SERVER)
    behind = known[holder.name].behind if holder and holder.name in known else None
    rows = []
    for host in servers(cluster):
        server = known.get(host.name)
        rows.append(
            {
                "server": host.name,
                "address": host.address,
                "state": "active" if host == holder else standing(server),
                "generation": server.generation if server else None,
                "copies": server.copying if server else None,
                "lacks": len(behind) if behind is not None and host != holder else None,
                "rescued": len(server.rescued) if server else None,
            }
        )
    return rows


def standing(server: Optional[Server]) -> str:
    """The state of a server that is not active."""
    if not server:
        return "does not answer"
    return "standby" if server.fit else "not up to date"
