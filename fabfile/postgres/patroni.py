"""Patroni: one leader, replicas that follow, and settings that all of them share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Union

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Handler, Step, Steps, quote
from runbook.declare.steps import precondition, with_stdin
from runbook.declare.templates import render
from runbook.inventory.cluster import Cluster, Host

from ..shared.firewall import let_in
from ..shared.tls import TRUSTED
from ..shared.transport import Speaks
from .archive import archive_command, restore_command
from .archive import script as archive_script
from .backup import KEEPS, refuse_to_begin_empty
from .common import (
    APART,
    CONFIGURED,
    HAS_DATABASE,
    MAJOR,
    PATRONI,
    PATRONI_READS,
    PATRONI_TLS,
    PATRONICTL,
    PSQL,
    REPLICATION,
    REST_API,
    REWIND,
    SCRIPTS,
    SESSIONS_TLS,
    SUPERUSER,
    binaries,
    data,
    etcdctl,
    key,
    members,
    refuse_another_major,
    refuse_new_passwords,
    section,
)
from .hold import not_held, released
from .members import MEMBER, in_its_place, leader, leading
from .pools import opened
from .settings import Postgres
from .transport import TRANSPORT, patroni_speaks, sessions_speak, verify

RESTART = Handler("restart-patroni", "Patroni has to restart, one server after the other")

Parameters = dict[str, Union[str, int, float, bool]]


@section.task(needs=[CONFIGURED, MAJOR, MEMBER, HAS_DATABASE, KEEPS, TRANSPORT])
def patroni(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Start Patroni: the first member creates the cluster, the others copy it.

    No cluster is created while the repository keeps backups of one that is lost.
    """
    refuse_another_major(cluster, facts)
    refuse_new_passwords(cluster, facts)
    refuse_to_begin_empty(cluster, facts)
    yield released() if leading(cluster, facts) else not_held()
    yield no_half_copy(cluster)
    yield no_foreign_cluster(host, cluster)
    yield from configured(host, cluster, facts)
    yield from running(host, cluster)


def configured(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Patroni's settings and ports, and the program that archives WAL."""
    yield steps.directory("/etc/patroni", "0750", group="postgres")
    yield from archive_script(host, cluster)
    yield from let_in(host, cluster)
    yield present(host, cluster, facts)


def running(host: Host, cluster: Cluster) -> Steps:
    """Patroni runs, and the server leads or follows."""
    yield steps.service("patroni.service").clearing(RESTART)
    yield in_its_place(host, cluster)
    yield from apart()


def own_etcd_first() -> Steps:
    """The program that tells Patroni, before it starts, in which order to ask etcd's members."""
    yield steps.directory(SCRIPTS)
    yield steps.template(f"{SCRIPTS}/etcd-order", "postgres/etcd-order", {}, mode="0755")


def apart() -> Steps:
    """Keep etcd's leader away from the server that leads the database.

    A new leader of etcd renews every lease (etcd, "--experimental-enable-lease-checkpoint"): the
    loss of both at once took 25 to 27 seconds without writes, the loss of one 19 to 23.
    """
    again = steps.restarted(APART)
    script = f"{SCRIPTS}/etcd-apart"
    yield steps.directory(SCRIPTS)
    yield steps.template(script, "postgres/etcd-apart", {}, mode="0755").then(again)
    yield steps.unit(APART, "postgres/etcd-apart.service.j2", {}).then(again)
    yield steps.service(APART).clearing(again)


def present(host: Host, cluster: Cluster, facts: Facts, aside: bool = False) -> Step:
    """patroni.yml for a server that goes on to speak as it does; see `configuration`."""
    speaks, sessions = patroni_speaks(host, cluster, facts), sessions_speak(host, cluster, facts)
    return configuration(host, cluster, speaks, sessions, aside)


def configuration(
    host: Host, cluster: Cluster, speaks: Speaks, sessions: Speaks, aside: bool = False
) -> Step:
    """patroni.yml, which Patroni validates before it replaces the old one.

    `speaks`: Patroni; `sessions`: PostgreSQL. `aside`: for a while, the server is not to be the
    synchronous standby.
    """
    return steps.template(
        PATRONI,
        "postgres/patroni.yml.j2",
        {
            **context(host, cluster),
            "aside": aside,
            "tls": PATRONI_TLS if speaks else None,
            "rest_over_tls": speaks == Speaks.TLS,
            "sessions": SESSIONS_TLS if sessions else None,
            "host_entry": "hostssl" if sessions == Speaks.TLS else "host",
            "verify": verify(cluster) if sessions == Speaks.TLS else "",
        },
        mode="0640",
        group="postgres",
        hide=hidden(cluster),
        validate=JUDGED_BY_PATRONI,
    ).then(PATRONI_READS)


def hidden(cluster: Cluster) -> str:
    """A pattern of the lines of patroni.yml whose values are secrets."""
    own = (str(key) for (key,) in cluster.secret_settings("postgres", "parameters"))
    return f"({'|'.join(['password', *map(re.escape, own)])}): "


# It also complains about etcd members that are down, which must not stop a change, and about its
# own ports while it runs. Patroni 4.0 has an option to ignore the ports.
JUDGED_BY_PATRONI = """bash -c '
option=$(patroni --help | grep -o -m 1 -e "--ignore-listen-port")
complaints=$(patroni --validate-config $option "$1" 2>&1 |
  grep -vE "is not reachable|Port [0-9]+ is already in use")
[[ ! $complaints ]] || { echo "$complaints"; exit 1; }' -"""


def no_half_copy(cluster: Cluster) -> Step:
    """Move aside an interrupted copy of the leader, for which Patroni would wait for ever.

    pg_control is copied last, and nothing starts without it (PostgreSQL 15, "pg_basebackup"). A
    copy that is still being made is left alone.
    """
    path = data(cluster)
    return steps.command(
        "no copy that was cut off is in the way",
        f"systemctl stop patroni\n{steps.moved_aside(path, 'incomplete', 'postgres')}",
        unless=f"[[ ! -e {path}/PG_VERSION || -e {path}/global/pg_control ]] || "
        "pgrep -u postgres -x pg_basebackup",
    )


def no_foreign_cluster(host: Host, cluster: Cluster) -> Step:
    """The data directory is empty, or belongs to the cluster that etcd knows by its identifier.

    A copy that is still being made has no identifier yet.
    """
    here = (
        f"$({binaries(cluster)}/pg_controldata -D {data(cluster)} "
        "| sed -n 's/^Database system identifier: *//p')"
    )
    known = (
        f"$({etcdctl(members(cluster))} --command-timeout=5s "
        f"get --print-value-only {key(cluster, 'initialize')})"
    )
    return precondition(
        "the data directory is empty or this cluster's",
        f"[[ ! -e {data(cluster)}/global/pg_control || {here} == {known} ]]",
        f"""known={known} || {{ echo "etcd does not answer: fab postgres.etcd"; exit; }}
[[ $known != "{here}" ]] || {{ echo "etcd answers only at times: fab postgres.check"; exit; }}
echo "{data(cluster)} on {host.name} holds the PostgreSQL cluster {here},"
echo "but etcd knows ${{known:-none}}. Nothing was changed. To put that data away:"
echo "mv {data(cluster)} {data(cluster)}.old\"""",
    )


def context(host: Host, cluster: Cluster) -> dict[str, object]:
    """The values for the template of patroni.yml."""
    return {
        "host": host,
        "cluster": cluster,
        "settings": cluster[Postgres],
        "aside": False,
        "sessions": None,
        "host_entry": "host",
        "verify": "",
        "ca": TRUSTED,
        "tls": None,
        "rest_over_tls": False,
        "members": members(cluster),
        "clients": clients(cluster),
        "binaries": binaries(cluster),
        "data": data(cluster),
        "dcs": shared(cluster).rstrip(),
        "sized": sized(host, cluster),
        "passwords": {
            "superuser": cluster.secret(SUPERUSER),
            "replication": cluster.secret(REPLICATION),
            "rewind": cluster.secret(REWIND),
            "rest_api": cluster.secret(REST_API),
        },
    }


def clients(cluster: Cluster) -> Iterable[str]:
    """The addresses that may reach the database: servers, VIPs, and networks of hosts.yaml."""
    addresses = [host.address for host in cluster.hosts.values()]
    vips = [vip.address for vip in cluster.vips.values()]
    return [*(f"{address}/32" for address in addresses + vips), *cluster[Postgres].clients]


def sized(host: Host, cluster: Cluster) -> Parameters:
    """Parameters that follow the server's memory, unless hosts.yaml names them.

    A quarter for shared buffers, half as what the kernel is likely to cache (PostgreSQL 15,
    "Resource Consumption").
    """
    parameters: Parameters = {
        "shared_buffers": f"{host.ram_mb // 4}MB",
        "effective_cache_size": f"{host.ram_mb // 2}MB",
        "maintenance_work_mem": f"{min(host.ram_mb // 16, 1024)}MB",
        "work_mem": f"{max(host.ram_mb // 512, 4)}MB",
    }
    return {
        name: value
        for name, value in parameters.items()
        if name not in cluster[Postgres].parameters
    }


def max_connections(cluster: Cluster) -> int:
    """What Airflow opens at most, and 40 for Patroni, backups and people; at least 200."""
    return max(200, -(-(opened(cluster) + 40) // 50) * 50)


SHARED: Parameters = {
    "max_wal_senders": 10,
    "max_replication_slots": 10,
    "wal_keep_size": "256MB",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "10s",
    "archive_timeout": "60s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": "25s",
    "shared_preload_libraries": "pg_stat_statements",
}
"""Parameters of the whole cluster; postgres.parameters of hosts.yaml overrides them.

wal_sender_timeout limits how long commits wait for a synchronous standby that has lost power. The
tcp_ parameters limit how long locks are kept for clients that have lost power or their proxy.
"""


def shared(cluster: Cluster) -> str:
    """The settings that Patroni keeps in etcd for all members."""
    return render(
        "postgres/dcs.yml.j2",
        {
            "settings": cluster[Postgres],
            "parameters": {
                "max_connections": max_connections(cluster),
                **SHARED,
                **cluster[Postgres].parameters,
            },
            "archive": archive_command(cluster),
            "restore": restore_command(cluster),
        },
    )


@section.task(needs=[MEMBER, CONFIGURED, MAJOR, TRANSPORT])
def settings(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Update the settings that Patroni keeps in etcd to those of hosts.yaml.

    Settings that are only in etcd are removed.

    patroni.yml's `bootstrap` is used only once, when the cluster is created. Some parameters take
    effect with a restart: --plan names them, and fab postgres.restart restarts.
    """
    refuse_another_major(cluster, facts)
    refuse_new_passwords(cluster, facts)
    yield from archive_script(host, cluster)
    yield from let_in(host, cluster)
    yield present(host, cluster, facts)
    if host != leader(cluster, facts):
        return
    asked = f"shown=$(timeout 20 {PATRONICTL} show-config 2>/dev/null)"
    yield precondition(
        "Patroni reaches etcd, and is not paused",
        f"{asked} && ! grep -qx 'pause: true' <<<\"$shown\"",
        f"""if {asked}; then
  echo 'Patroni is paused for maintenance; end that first: {PATRONICTL} resume'
else
  echo 'Patroni does not reach etcd. To start etcd: fab postgres.etcd'
fi""",
    )
    yield in_etcd(cluster).then(seen_by_all(cluster))


def in_etcd(cluster: Cluster) -> Step:
    """The settings that all members share are those of hosts.yaml; a pause is no part of them."""
    edit = f"{PATRONICTL} edit-config {quote(cluster.name)} --replace -"
    offered = f"printf '%s' \"$text\" | {edit}"
    return with_stdin(
        "the settings in etcd are those of hosts.yaml",
        f"{edit} --force",
        shared(cluster),
        unless=f"{offered} | grep -qx 'Not changed'",
        diff=f"difference=$({offered}); {NAMED_RESTARTS}",
    )


def seen_by_all(cluster: Cluster) -> Handler:
    """Wait for one loop, in which each member reads the settings, and sees whether to restart."""
    wait = cluster[Postgres].loop_wait + 1
    return Handler("patroni-loop", "every member has seen the settings", f"sleep {wait}")


NAMED_RESTARTS = f"""grep '^[-+@]' <<<"$difference"
names=$(sed -n "s/^[-+] *\\([a-z_]*\\):.*/'\\1'/p" <<<"$difference" | paste -sd,)
[[ ! $names ]] || {PSQL} -c "
select name || ' takes effect with a rolling restart: fab postgres.restart'
from pg_settings where context = 'postmaster' and name in ($names)\""""
