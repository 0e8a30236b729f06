"""Checks of the entry points: do clients reach the right servers, and what redundancy is left?"""

from __future__ import annotations

from typing import Any

from runbook.declare.facts import Facts
from runbook.declare.probes import (
    ERROR,
    OK,
    WARN,
    Answer,
    Finding,
    Findings,
    Probes,
    Verdict,
    probe,
)
from runbook.inventory.cluster import Cluster, Host

from ..postgres.common import CONFIGURED
from ..postgres.members import MEMBER, claiming, seen_leading
from ..shared import keepalived
from .common import (
    CONFIG,
    HEALTH,
    NETWORK,
    READ,
    WRITE,
    candidates,
    databases,
    proxies,
    section,
    webservers,
)
from .proxy import valid
from .view import REPLIES, VIEW, Reply, View

DOWN = section.cause(
    "LB_DOWN", "the VIP moves to the other server; after that no server can take over"
)
CONFIGURATION = section.cause("LB_CONFIG", "HAProxy will not start again after a restart")
SENT_AWAY = section.cause("LB_SENT_AWAY", "the VIP does not return to its preferred server")
NO_DATABASE = section.cause("LB_NO_DATABASE", "Airflow cannot reach the database")
VIEW_DIFFERS = section.cause(
    "LB_VIEW_DIFFERS", "sessions through this server fail, or reach the wrong server"
)
PORT = section.cause("LB_PORT_WRONG", "clients of this port reach the wrong service")
WEB_DOWN = section.cause("LB_WEBSERVER_DOWN", "the web UI runs on fewer servers, or not at all")
NO_SPARE = section.cause(
    "LB_NO_SPARE", "if the VIP's holder fails, database and web UI are unavailable"
)


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check configuration, VIP, where each port leads, and redundancy."""
    up, again = f"curl -sf -o /dev/null -m 2 {HEALTH}/up", _again(host)
    yield probe("HAProxy answers", up, answers, again, DOWN)
    judged = valid(CONFIG)
    yield probe("its configuration is valid", judged, accepted, again, CONFIGURATION, thorough=True)


def answers(answer: Answer) -> Verdict:
    """curl exits with 0."""
    return Verdict(OK) if answer.code == 0 else Verdict(ERROR, "it is down or hangs")


def accepted(answer: Answer) -> Verdict:
    """HAProxy exits with 0."""
    if answer.code == 0:
        return Verdict(OK)
    _, _, said = answer.text.partition("parsing ")
    return Verdict(ERROR, said.split("\n")[0] or f"exit code {answer.code}")


def _again(host: Host) -> str:
    return f"fab -H {host.name} haproxy"


@section.cluster_check(needs=[NETWORK, VIEW, REPLIES, MEMBER, CONFIGURED])
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """Checks that need the answers of several servers."""
    yield from keepalived.one_holder(cluster, "haproxy", facts)
    yield from sent_away(facts)
    if databases(cluster):
        yield from database(cluster, facts)
    if webservers(cluster):
        yield web(cluster, facts)
    yield redundancy(cluster, facts)


def sent_away(facts: Facts) -> Findings:
    """Servers that `haproxy.failover` keeps away from the VIP until that is undone."""
    for name, view in facts.known(VIEW).items():
        if view.away:
            yield Finding(
                f"{name} may hold the VIP",
                Verdict(WARN, "only if no other server can, because of fab haproxy.failover"),
                fix=f"fab haproxy.failover --to {name}",
                cause=SENT_AWAY,
            )


def database(cluster: Cluster, facts: Facts) -> Findings:
    """Each proxy considers up what Patroni says, and each port leads there."""
    if not any(facts.known(CONFIGURED).values()):
        there = len(facts.known(CONFIGURED)) == len(databases(cluster))
        sentence = "it is not set up yet" if there else "none of its servers answers"
        verdict = Verdict(WARN if there else ERROR, sentence)
        about = tuple(host.name for host in databases(cluster))
        title = "the ports lead to the database"
        yield Finding(title, verdict, "fab postgres", NO_DATABASE, about)
        return
    primary = primary_of(cluster, facts)
    replicas = healthy_replicas(facts)
    for host in proxies(cluster):
        view: View | None = facts.known(VIEW).get(host.name)
        if view and view.answers:
            yield as_patroni_says(host, "primary", view, {primary} - {""})
            yield as_patroni_says(host, "replicas", view, replicas)
    yield from ports(cluster, facts, bool(replicas))


def primary_of(cluster: Cluster, facts: Facts) -> str:
    """The leader according to Patroni; empty if there is none."""
    found = claiming(cluster, facts)
    return found[0].name if found else seen_leading(cluster, facts)


def healthy_replicas(facts: Facts) -> set[str]:
    """The replicas that are healthy according to Patroni."""
    known = facts.known(MEMBER)
    return {name for name, member in known.items() if member.healthy and not member.primary}


def as_patroni_says(host: Host, backend: str, view: View, wanted: set[str]) -> Finding:
    """The servers that this proxy considers up are those that Patroni names."""
    title = f"{host.name} knows the {backend}"
    up = view.up.get(backend, frozenset())
    if up == wanted:
        level = OK if wanted or backend == "replicas" else ERROR
        verdict = Verdict(level, ", ".join(sorted(up)) or "there is none")
        return Finding(title, verdict, "fab postgres.check", NO_DATABASE)
    sends = f"it sends to {', '.join(sorted(up)) or 'no server'}"
    sentence = f"{sends}, but Patroni says {', '.join(sorted(wanted)) or 'there is none'}"
    way_out = f"let {host.name} reach port 8008 of the database; {_again(host)}"
    return Finding(title, Verdict(ERROR, sentence), way_out, VIEW_DIFFERS, tuple(up ^ wanted))


def ports(cluster: Cluster, facts: Facts, has_replica: bool) -> Findings:
    """Clients that use an address reach a writable primary, or a replica."""
    replies = facts.known(REPLIES)
    names = {host.address: host.name for host in proxies(cluster)}
    vips = [vip.address for vip in keepalived.vips(cluster, "haproxy")]
    for address in [*vips, *names]:
        view = facts.known(VIEW).get(names.get(address, ""))
        if address in names and not (view and view.answers):
            continue  # said already
        for port in (WRITE, READ):
            to_primary = port == WRITE or len(databases(cluster)) == 1
            where = "the primary" if to_primary else "a replica"
            title = f"{names.get(address, address)}:{port} leads to {where}"
            met = {asker: known[address, port] for asker, known in replies.items()}
            about = () if met else tuple(one.name for one in databases(cluster))
            verdict = where_it_leads(WRITE if to_primary else READ, met, has_replica)
            yield Finding(title, verdict, "fab postgres.check", PORT, about)


def where_it_leads(port: int, met: dict[str, Reply], has_replica: bool) -> Verdict:
    """The most serious verdict of the database servers, which try it as clients."""
    if not met:
        return Verdict(ERROR, "no database server answered")
    verdicts = [(asker, one_reply(port, reply, has_replica)) for asker, reply in met.items()]
    for level in (ERROR, WARN):
        for asker, verdict in verdicts:
            if verdict.level == level:
                return Verdict(level, f"{verdict.sentence} (asked from {asker})")
    return Verdict(OK)


def one_reply(port: int, reply: Reply, has_replica: bool) -> Verdict:
    """The verdict on what one client reached."""
    if reply.error:
        return Verdict(ERROR, reply.error)
    if port == WRITE:
        return Verdict(OK) if reply.writable else Verdict(ERROR, "a replica answers")
    if reply.replica:
        return Verdict(OK)
    if has_replica:
        return Verdict(ERROR, "the primary answers, although there is a replica")
    return Verdict(WARN, "the primary answers, as there is no replica")


def web(cluster: Cluster, facts: Facts) -> Finding:
    """Whether webservers answer; before Airflow is installed, none does."""
    title = "webservers answer"
    wanted = {host.name for host in webservers(cluster)}
    views = {name: view for name, view in facts.known(VIEW).items() if view.answers}
    up = {name: view.up.get("webservers", frozenset()) for name, view in views.items()}
    if not any(up.values()):
        about = () if views else tuple(host.name for host in proxies(cluster))
        verdict = Verdict(WARN, "none does (yet)")
        return Finding(title, verdict, "fab systemd.start", WEB_DOWN, about)
    for name, seen in up.items():
        if wanted - seen:
            silent = sorted(wanted - seen)
            sentence = f"{', '.join(silent)} does not answer {name}"
            way_out = f"fab -H {','.join(silent)} systemd.start; fab airflow.check"
            return Finding(title, Verdict(ERROR, sentence), way_out, WEB_DOWN, tuple(silent))
    return Finding(title, Verdict(OK, f"{len(wanted)} of them"))


def redundancy(cluster: Cluster, facts: Facts) -> Finding:
    """Which of the servers that can hold the VIP may fail."""
    may_hold = [host.name for host in candidates(cluster)]
    known = facts.known(VIEW)
    fit = [
        name
        for name in may_hold
        if name in known and known[name].answers and known[name].keepalived
    ]
    unfit = [name for name in may_hold if name not in fit]
    if not may_hold:
        sentence = f"{cluster.file.name} has no VIP of role haproxy"
        return Finding.of_redundancy(WARN, f"none: {sentence}", cause=NO_SPARE, by_design=True)
    if not fit:
        sentence = "none: no server can hold the VIP"
        away = tuple(name for name in unfit if name not in known)
        return Finding.of_redundancy(ERROR, sentence, "fab haproxy", NO_SPARE, away)
    if len(may_hold) == 1:
        return Finding.of_redundancy(
            WARN, f"none: {may_hold[0]} is the only server", cause=NO_SPARE, by_design=True
        )
    if len(fit) == 1:
        sentence = f"none until {' or '.join(unfit)} is back"
        silent = tuple(name for name in unfit if name not in known)
        return Finding.of_redundancy(WARN, sentence, "fab haproxy", NO_SPARE, silent)
    which = " or ".join(fit) if len(fit) == 2 else f"all but one of {', '.join(fit)}"
    return Finding.of_redundancy(OK, f"survives the loss of {which}")


@section.table(needs=[NETWORK, VIEW])
def status(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """Show each proxy: the VIP, its sessions, which servers it considers up."""
    rows = []
    for host in proxies(cluster):
        view: View | None = facts.known(VIEW).get(host.name)
        place = facts.known(NETWORK).get(host.name)
        up = view.up if view else {}
        held = [
            vip
            for vip in keepalived.vips(cluster, "haproxy")
            if place and vip.address in place.holds
        ]
        rows.append(
            {
                "host": host.name,
                "address": host.address,
                "holds": ", ".join(vip.name for vip in held),
                "HAProxy": view.version if view and view.answers else "does not answer",
                "sessions": view.sessions if view else "",
                "primary": ", ".join(sorted(up.get("primary", ()))),
                "replicas": ", ".join(sorted(up.get("replicas", ()))),
                "webservers": ", ".join(sorted(up.get("webservers", ()))),
            }
        )
    return rows
