"""A whole cluster that is well, as a survey would find it; tests take from it and change it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from support.certificates import certificate_facts
from support.postgres_facts import figures

from fabfile import CONTENTS
from fabfile.airflow.check import FOLDER, Folder
from fabfile.airflow.dags import RELEASES
from fabfile.airflow.installation import INSTALLATIONS, Installations, wanted
from fabfile.airflow.releases import Kept
from fabfile.airflow.services import JOBS
from fabfile.airflow.state import CONSUMERS, DATABASE, Consumer, State
from fabfile.airflow.transport import WAYS, Ways
from fabfile.haproxy import view
from fabfile.haproxy.common import NETWORK as PROXY_NETWORK
from fabfile.haproxy.proxy import ASKS
from fabfile.haproxy.view import REPLIES, VIEW, Reply, View
from fabfile.haproxy.web import DOORS
from fabfile.nfs.common import NETWORK as SHARE_NETWORK
from fabfile.nfs.state import SERVER, Server
from fabfile.operator.status.look import drawn, with_status
from fabfile.operator.status.picture import Picture
from fabfile.operator.status.reachability import Reachability
from fabfile.postgres.common import CONFIGURED
from fabfile.postgres.etcd import ETCD, Etcd, EtcdMember, peer
from fabfile.postgres.figures import FIGURES
from fabfile.postgres.members import MEMBER, Member
from fabfile.postgres.repository import BACKUPS, Backup, Repository
from fabfile.postgres.transport import TRANSPORT, Transport
from fabfile.rabbitmq import nodes
from fabfile.rabbitmq.transport import LISTENS
from fabfile.shared.airflow import hosts as airflow_hosts
from fabfile.shared.keepalived import Place
from fabfile.shared.transport import Speaks
from fabfile.shared.versions import Versions
from fabfile.shared.vitals import TIME, VITALS, Clock, Disk, Vitals
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import OK, Finding, Verdict
from runbook.errors import RunbookError, UnreachableError
from runbook.execute.survey import Survey, probes_for
from runbook.inventory.cluster import Cluster

SQL, MQ = ("sql1", "sql2", "sql3"), ("mq1", "mq2", "mq3")
RELEASE = "0123456789ab"
WHEN = 1_700_000_000.0

Values = dict[Fact, dict[str, Any]]


def well(cluster: Cluster) -> Values:
    """What every host of hosts.yaml says when nothing is wrong."""
    names = list(cluster.hosts)
    vitals = Vitals(0.4, 2, 4000, 3000, 86412, (Disk("/", 42), Disk("/var", 30)), True, (), "")
    listed = {
        "sql1": {"name": "sql1", "role": "leader", "state": "running", "timeline": 3},
        "sql2": {"name": "sql2", "role": "sync_standby", "state": "streaming", "timeline": 3},
        "sql3": {"name": "sql3", "role": "replica", "state": "streaming", "timeline": 3},
    }
    etcd = tuple(
        EtcdMember(f"id{name}", name, peer(cluster.hosts[name], Speaks.TLS)) for name in SQL
    )
    running = [{"name": f"rabbit@{name}", "running": True} for name in MQ]
    everybody = [one["name"] for one in running]
    queue = {"name": "default", "type": "quorum", "leader": "rabbit@mq1", "messages": 0}
    state = nodes.State(
        cluster[Versions].rabbitmq,
        cluster[Versions].erlang,
        running,
        [{**queue, "members": everybody, "online": everybody}],
        False,
        frozenset({"admin", "airflow"}),
    )
    up = {"primary": {"sql1"}, "replicas": {"sql2", "sql3"}, "webservers": {"airflow", "haproxy2"}}
    proxy = View("1.8.27", True, False, True, 9, {name: frozenset(to) for name, to in up.items()})
    reply = {view.WRITE: Reply(writable=True), view.READ: Reply(replica=True)}
    replies = {(door, port): reply[port] for door in view.doors(cluster) for port in reply}
    ages = {(kind, host.name): 3 for role, kind in JOBS.items() for host in cluster.group(role)}
    airflow = State(True, "1949afb29106", {**ages, ("DagProcessorJob", "ftp"): 2}, (), 0, 0)
    parts = [host.name for host in cluster.hosts.values() if host.name not in (*SQL, *MQ, "card1")]
    exports = frozenset({"/app1/airflow/dags 192.168.83.0/24"})
    return {
        VITALS: dict.fromkeys(names, vitals),
        TIME: dict.fromkeys(names, Clock(0.0, 0.1)),
        MEMBER: {
            name: Member(name, name == "sql1", True, "running", 3, False, False, "", listed)
            for name in SQL
        },
        ETCD: dict.fromkeys(SQL, Etcd(True, etcd)),
        FIGURES: dict.fromkeys(SQL, figures()),
        BACKUPS: {"nfs2": Repository(9000, [Backup("F", "full", 1, 1800, 3, False)])},
        CONFIGURED: dict.fromkeys(SQL, True),
        TRANSPORT: dict.fromkeys(SQL, Transport(Speaks.TLS, Speaks.TLS, Speaks.TLS)),
        ASKS: dict.fromkeys(("airflow", "haproxy2"), Speaks.TLS),
        **certificate_facts(cluster),
        DOORS: dict.fromkeys(("airflow", "haproxy2"), Speaks.TLS),
        INSTALLATIONS: {one.name: Installations(wanted(cluster)) for one in airflow_hosts(cluster)},
        WAYS: {one.name: Ways(*[Speaks.TLS] * 3) for one in airflow_hosts(cluster)},
        LISTENS: dict.fromkeys(MQ, Speaks.TLS),
        nodes.NODE: dict.fromkeys(MQ, nodes.Node(True, frozenset(everybody))),
        nodes.STATE: dict.fromkeys(MQ, state),
        PROXY_NETWORK: places(cluster, ("airflow", "haproxy2"), "192.168.83.210"),
        SHARE_NETWORK: places(cluster, ("ftp", "nfs2"), "192.168.83.220"),
        VIEW: dict.fromkeys(("airflow", "haproxy2"), proxy),
        REPLIES: dict.fromkeys(SQL, replies),
        SERVER: {
            "ftp": Server(4, True, True, "active", exports, (), 0, ()),
            "nfs2": Server(4, False, True, "inactive", exports, None, 0, ()),
        },
        DATABASE: {name: replace(airflow, leader=name == "sql1") for name in SQL},
        CONSUMERS: dict.fromkeys(MQ, (Consumer("default", "c1", "192.168.83.131"),)),
        FOLDER: dict.fromkeys(parts, Folder("abc", 600, RELEASE)),
        RELEASES: {name: (Kept(RELEASE, "current", True, 600),) for name in ("ftp", "nfs2")},
    }


def places(cluster: Cluster, names: tuple[str, ...], vip: str) -> dict[str, Place]:
    """The first one holds the address, and each hears the other."""
    macs = {cluster.hosts[name].address: frozenset({f"mac-{name}"}) for name in names}
    first, second = names
    return {
        first: Place("eth0", 24, frozenset({f"mac-{first}"}), frozenset({vip}), macs),
        second: Place(
            "eth0",
            24,
            frozenset({f"mac-{second}"}),
            frozenset(),
            {**macs, vip: frozenset({f"mac-{first}"})},
        ),
    }


def without(values: Values, hosts: Iterable[str]) -> Values:
    """The same, if these hosts could not be asked."""
    gone = set(hosts)
    return {
        fact: {name: value for name, value in known.items() if name not in gone}
        for fact, known in values.items()
    }


def silent(*hosts: str, error: type[RunbookError] = UnreachableError) -> dict[str, RunbookError]:
    """These hosts cannot be asked."""
    return {name: error(f"{name} is unreachable: it timed out.") for name in hosts}


def picture(
    cluster: Cluster,
    values: Values | None = None,
    lost: dict[str, RunbookError] | None = None,
    seen: dict[str, Reachability] | None = None,
    answers: dict[tuple[str, str], Verdict] | None = None,
) -> Picture:
    """The picture of a cluster where this is known; `answers` to (host, title) that are not OK."""
    lost = lost or {}
    facts = Facts(without(values or well(cluster), lost))
    findings = [
        Finding(
            one.title,
            (answers or {}).get((host.name, one.title), Verdict(OK)),
            one.fix,
            one.cause,
            (host.name,),
            section=section,
            host=host.name,
        )
        for host in cluster.hosts.values()
        if host.name not in lost
        for section, one in probes_for(host, cluster, with_status(CONTENTS), thorough=False)
    ]
    found = Survey(facts, findings, lost, 1.2)
    return drawn(CONTENTS, cluster, found, seen or {}, WHEN, 1.5)
