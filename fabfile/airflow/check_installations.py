"""Which installation each server uses, and whether it is that of hosts.yaml, and undamaged."""

from __future__ import annotations

from typing import Optional

from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..shared import copies
from ..shared.airflow import hosts
from ..shared.versions import Versions
from .alike import compared, fewest
from .common import section
from .install import VENV
from .installation import (
    INSTALLATIONS,
    OPT,
    known,
    name_in_use,
    version_of,
    wanted,
    wanted_if_known,
)

DIFFERS = section.cause(
    "AIRFLOW_INSTALL_DIFFERS", "the same DAG may behave differently on this server"
)
OTHER = section.cause(
    "AIRFLOW_INSTALL_OTHER", "Airflow does not have the packages that hosts.yaml describes"
)
ANEW = "fab airflow.install airflow.ship airflow.receive"

IN_USE = Fact(
    "the installation in use, if hosts.yaml describes another",
    on=hosts,
    command=lambda cluster, host: (
        f"name={name_in_use()}\n"
        f"if [[ ! $name || $name == '{wanted_if_known(cluster) or ''}' ]] || ! cd {OPT}/\"$name\"\n"
        f"then echo none\nelse {copies.state('.')}; fi"
    ),
    parse=copies.parse,
    absent="it does not answer",
    thorough=True,
)


def installed(cluster: Cluster, facts: Facts) -> Findings:
    """Findings about the installations on all servers."""
    yield in_use(cluster, facts)
    if facts.asked(VENV):
        yield unchanged(cluster, facts)


def in_use(cluster: Cluster, facts: Facts) -> Finding:
    """A finding: every server uses the installation that hosts.yaml describes."""
    title = "every server uses the installation of hosts.yaml"
    used: dict[str, list[str]] = {}
    for host in hosts(cluster):
        if host.name in facts.known(INSTALLATIONS):
            used.setdefault(known(host, facts).in_use, []).append(host.name)
    if not used:
        return Finding(title, Verdict(ERROR, "no server answers"), "fab airflow.check", DIFFERS)
    if len(used) > 1:
        each = (f"{name or 'none'} on {', '.join(names)}" for name, names in sorted(used.items()))
        return Finding(title, Verdict(ERROR, "; ".join(each)), "fab airflow.switch", DIFFERS)
    [name] = used
    return behind(title, cluster, facts) or wanted_one(title, name, len(used[name]), cluster)


def behind(title: str, cluster: Cluster, facts: Facts) -> Optional[Finding]:
    """A finding: a service runs from another installation than its server's; None if none does."""
    late = {
        host.name: name
        for host in hosts(cluster)
        for name in known(host, facts).runs
        if name != known(host, facts).in_use
    }
    if not late:
        return None
    sentence = ", ".join(f"a service of {host} still runs {name}" for host, name in late.items())
    fix = f"fab -H {','.join(late)} systemd.restart"
    return Finding(title, Verdict(ERROR, sentence), fix, DIFFERS)


def wanted_one(title: str, name: str, servers: int, cluster: Cluster) -> Finding:
    """A finding: the installation that all servers use is the one that hosts.yaml describes."""
    try:
        described = wanted(cluster)
    except RunbookError as error:
        sentence = f"{name or 'none'}, but {str(error).rstrip('.')}"
        return Finding(title, Verdict(WARN, sentence), "fab airflow.lock", OTHER)
    if name == described:
        return Finding(title, Verdict(OK, f"{name}, {servers} servers"))
    sentence = f"{name or 'none'}, but {cluster.file.name} describes {described}"
    if not name:
        return Finding(title, Verdict(ERROR, sentence), "fab airflow systemd", DIFFERS)
    then = "switch" if version_of(name) == cluster[Versions].airflow else "upgrade"
    return Finding(title, Verdict(WARN, sentence), f"{ANEW} airflow.{then}", OTHER)


def unchanged(cluster: Cluster, facts: Facts) -> Finding:
    """A finding: what is in use is the same everywhere, and unchanged since it was made."""
    title = "the installation is the same everywhere"
    found = {host.name: copy_in_use(host, cluster, facts) for host in hosts(cluster)}
    present = {name: copy for name, copy in found.items() if copy.noted}
    damaged = [name for name, copy in present.items() if not copy.intact]
    if damaged:
        sentence = f"damaged on {', '.join(damaged)}: a file, its mode or its owner has changed"
        used = {known(cluster.hosts[name], facts).in_use for name in damaged}
        other = used - {"", wanted_if_known(cluster)}
        fix = f"{ANEW} airflow.switch" if other else ANEW
        return Finding(title, Verdict(ERROR, sentence), fix, DIFFERS)
    asked = [name for name in found if name in facts.known(VENV)] if present else []
    others = fewest({name: found[name].noted for name in asked})
    return compared(title, asked, others, ANEW, DIFFERS)


def copy_in_use(host: Host, cluster: Cluster, facts: Facts) -> copies.Copy:
    """The state of what a server uses; where nothing is in use, of what hosts.yaml describes."""
    name = known(host, facts).in_use
    fact = VENV if name in ("", wanted_if_known(cluster)) else IN_USE
    return facts.known(fact).get(host.name, copies.Copy())
