"""The way up: what starts after what, as stages. Everything here can be planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .. import systemd
from ..engine.cluster import Cluster, Host
from ..engine.section import Fact, Facts, Procedure, stage
from ..engine.step import Step, Steps
from ..engine.steps import command, service, until
from ..haproxy import chapter as haproxy
from ..keepalived import SERVICE as KEEPALIVED
from ..keepalived import vips
from ..nfs import chapter as nfs
from ..nfs.mounts import reads
from ..nfs.server import SERVER as NFS_SERVER
from ..nfs.state import SERVER
from ..nfs.vip import may_lead
from ..postgres import chapter as postgres
from ..postgres.etcd import healthy
from ..postgres.members import MEMBER, serves
from ..rabbitmq import chapter as rabbitmq
from ..rabbitmq.cluster import all_run
from .leg import Leg, among
from .shutdown import PATRONI


def share(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """The server that led last, the other one, the clients."""
    known = facts.known(SERVER)
    servers = among(nfs.servers(cluster), hosts)
    servers.sort(key=lambda host: not (host.name in known and known[host.name].led))
    for host in servers:
        units = (service(NFS_SERVER), asked(host), service(KEEPALIVED))
        yield stage(f"the share starts on {host.name}", host, *units)
        if host == servers[0]:
            yield stage(f"{nfs.vip(cluster).name} answers", host, answers(cluster))
    if servers:
        yield stage("every server of the share may lead", servers, may_lead)
    clients = among(nfs.clients(cluster), hosts)
    if nfs.servers(cluster) and clients:
        yield stage("mount the share", clients, lambda host: mounted(cluster))


def asked(host: Host) -> Step:
    """The server asks whether it may lead: files of the other one may be newer."""
    return command(
        f"{host.name} asks whether it may lead",
        f"systemctl start {nfs.RETURN}",
        unless=f"systemctl is-active -q {nfs.RETURN} || [[ -e {nfs.RUN}/fit ]]",
    )


def answers(cluster: Cluster) -> Step:
    """The share's address has a server behind it."""
    vip = nfs.vip(cluster)
    return until(
        f"{vip.name} answers", f"timeout 2 bash -c '</dev/tcp/{vip.address}/2049'", timeout=120
    )


def mounted(cluster: Cluster) -> Steps:
    """The share is where Airflow looks for it."""
    for tree in nfs.trees(cluster):
        yield service(f"{tree.unit}.automount")
        yield reads(tree)


def queue(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """The node that stopped last, and then all of them: each waits for the others."""
    nodes = among(rabbitmq.members(cluster), hosts)
    if not nodes:
        return
    unit = rabbitmq.SERVICE
    first = command(
        f"{unit} is starting",
        f"systemctl start --no-block {unit}",
        unless=f"[[ ! $(systemctl is-active {unit}) =~ ^(inactive|failed)$ ]]",
    )
    yield stage(f"RabbitMQ starts on {nodes[0].name}", nodes[0], first)
    runs = replace(service(unit), timeout=700)
    yield stage("RabbitMQ runs on every node", nodes, runs, all_run(nodes, cluster))


def stopped_as(text: str) -> str:
    """`pg_controldata`'s state: a replica was shut down in recovery, a leader was not."""
    return text.partition(":")[2].strip()


LED = Fact(
    "who led the database last",
    on="postgres",
    command=lambda cluster, host: (
        f"{postgres.binaries(cluster)}/pg_controldata -D {postgres.data(cluster)} "
        "| grep '^Database cluster state:'"
    ),
    parse=stopped_as,
    absent="it has no database yet",
)


def database(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """etcd, then the server that led last, then those that follow it."""
    everybody = among(postgres.members(cluster), hosts)
    if not everybody:
        return
    yield stage("etcd has its quorum", everybody, service("etcd.service"), healthy)
    led = [host for host in everybody if facts.known(LED).get(host.name) == "shut down"]
    first = led if len(led) == 1 and not leads(facts) else []
    for host in first:
        api = f"curl -sf -o /dev/null http://{host.address}:8008/primary"
        title = f"the database starts on {host.name}, which led last"
        leading = until(f"{host.name} leads", api, timeout=300)
        yield stage(title, host, service(PATRONI), leading)
    others = [host for host in everybody if host not in first]
    if others:
        yield stage("the database runs on the others", others, service(PATRONI), in_its_place)


def leads(facts: Facts) -> bool:
    """A server accepts writes already."""
    return any(member.primary for member in facts.known(MEMBER).values())


def in_its_place(host: Host) -> Step:
    """It leads or follows."""
    return until(f"{host.name} leads or follows", serves(host), timeout=600)


def entry_points(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """The proxies, then the address in front of them."""
    proxies = among(haproxy.proxies(cluster), hosts)
    if proxies:
        yield stage("the proxies run", proxies, service(haproxy.UNIT))
    candidates = among(haproxy.candidates(cluster), hosts)
    if candidates:
        pings = [
            until(f"{vip.name} answers", f"ping -q -c 1 -W 1 {vip.address} >/dev/null", timeout=60)
            for vip in vips(cluster, "haproxy")
        ]
        yield stage("the address is held", candidates, service(KEEPALIVED), *pings)


def airflow(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """What shows and carries out first, what hands out tasks last."""
    own = among(systemd.hosts(cluster), hosts)
    for component in reversed(systemd.COMPONENTS):
        chosen = [host for host in own if component in systemd.components(host)]
        if chosen:
            steps = Started(component, cluster)
            yield stage(f"start: {component.about}", chosen, steps)


class Started:
    """A part of Airflow runs and is at work, on whichever host."""

    def __init__(self, component: systemd.Component, cluster: Cluster) -> None:
        self.component = component
        self.cluster = cluster

    def __call__(self, host: Host) -> Steps:
        if systemd.follows_the_share(self.component, host):
            yield systemd.with_the_share(self.component, self.cluster)
        else:
            yield service(self.component.unit)
        yield from systemd.at_work(self.component, host)


STARTS = (
    Leg("nfs", (SERVER,), share),
    Leg("rabbitmq", (), queue),
    Leg("postgres", (MEMBER, LED), database),
    Leg("haproxy", (), entry_points),
    Leg("airflow", (), airflow),
)
"""In this order: what uses something starts after what it uses."""
