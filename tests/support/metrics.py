"""What a cluster that is well tells Prometheus, as series of promtool; tests change some of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Optional

from fabfile.airflow.services import components, service_hosts
from fabfile.monitoring.common import readings_of
from fabfile.nfs.common import clients
from fabfile.tls.common import SERVICES
from runbook.declare.facts import hosts_on
from runbook.inventory.cluster import Cluster, Host

Series = dict[str, str]
"""A metric with its labels, and its values as promtool writes them."""

ALWAYS = "x*"
"""After a value: for as long as the test lasts."""
EVERY = 15
"""Seconds between two values."""
FAR = 10**9
"""Seconds after the beginning of the test's time, which is 1970."""

ACTIVE = {"nfs-vip": "ftp", "airflow-vip": "airflow"}
AGES = {
    "SchedulerJob": ("airflow", "scheduler2"),
    "TriggererJob": ("airflow", "scheduler2"),
    "DagProcessorJob": ("ftp",),
}


def well(cluster: Cluster) -> Series:
    """Nothing is wrong."""
    found: Series = {}

    def say(host: Host, metric: str, value: object, **labels: str) -> None:
        own = {"cluster": cluster.name, "host": host.name, **labels}
        said = ",".join(f'{name}="{text}"' for name, text in own.items())
        found[f"{metric}{{{said}}}"] = lasting(value)

    for host in cluster.hosts.values():
        say(host, "up", 1, job="node")
        say(host, "node_time_seconds", f"0+{EVERY}x*", job="node")
        say(host, "runbook_collected_seconds", f"0+{EVERY}x*")
        for reading in readings_of(host, cluster):
            say(host, "runbook_reading_ok", 1, reading=reading.name)
        say(host, "runbook_disk_used_percent", 40, path="/")
        say(host, "runbook_memory_left_percent", 60)
        say(host, "runbook_clock_synchronised", 1)
        say(host, "runbook_certificate_expires_seconds", FAR, name="ca")
        for service in SERVICES:
            if host in hosts_on(service.on, cluster):
                say(host, "runbook_certificate_expires_seconds", FAR, name=service.name)
        for vip in cluster.vips.values():
            if host.name in vip.members:
                say(host, "runbook_vip_held", int(ACTIVE[vip.name] == host.name), vip=vip.name)
    for host in service_hosts(cluster):
        for one in components(host):
            say(host, "runbook_unit_runs", 1, unit=one.unit, role=one.role)
    for host in cluster.group("postgres"):
        leads = host.name == "sql1"
        for metric, value in {
            "primary": int(leads),
            "replica": int(not leads),
            "postgres_running": 1,
            "postgres_streaming": int(not leads),
            "sync_standby": int(host.name == "sql2"),
            "xlog_location": 10**9 if leads else 0,
            "xlog_replayed_location": 0 if leads else 10**9,
            "is_paused": 0,
            "pending_restart": 0,
        }.items():
            say(host, f"patroni_{metric}", value, job="patroni", scope="airflow-ha")
        say(host, "up", 1, job="patroni")
        for metric, value in {
            "etcd_healthy": 1,
            "etcd_copied_seconds": 0,
            "wal_waiting_seconds": 0,
            "wal_archiving": 1,
            "database_connections": 20,
            "database_connections_allowed": 100,
            "database_damaged_pages": 0,
            "database_oldest_row": 10**6,
            "database_freezes_at": 2 * 10**8,
            "airflow_leader": int(leads),
        }.items():
            say(host, f"runbook_{metric}", value)
        if leads:
            for kind, servers in AGES.items():
                for server in servers:
                    say(host, "runbook_airflow_heartbeat_seconds", 3, kind=kind, server=server)
            for metric in ("broken_dags", "tasks_waiting", "lock_wait_seconds"):
                say(host, f"runbook_airflow_{metric}", 0)
    for host in cluster.group("rabbitmq"):
        say(host, "up", 1, job="rabbitmq")
        for metric, value in {
            "unreachable_cluster_peers_count": 0,
            "alarms_free_disk_space_watermark": 0,
            "alarms_memory_used_watermark": 0,
            "process_open_fds": 100,
            "process_max_fds": 10000,
        }.items():
            say(host, f"rabbitmq_{metric}", value)
    for kind in ("full", "diff"):
        keeper = cluster.hosts["nfs2"]
        say(keeper, "runbook_backup_started_seconds", 0, type=kind)
        say(keeper, "runbook_backup_finished_seconds", 0, type=kind)
    for host in cluster.group("nfs"):
        active = host.name == ACTIVE["nfs-vip"]
        say(host, "runbook_share_copying", int(active))
        say(host, "runbook_share_fit", 1)
        say(host, "runbook_share_rescued_files", 0)
        if active:
            say(host, "runbook_share_lacking_seconds", 0)
    for host in clients(cluster):
        say(host, "runbook_share_readable", 1, path="/app1/airflow/dags")
    for host in cluster.group("haproxy"):
        say(host, "runbook_proxy_answers", 1)
        say(host, "runbook_keepalived_runs", 1)
        say(host, "runbook_proxy_away", 0)
        up = {"primary": ["sql1"], "replicas": ["sql2", "sql3"], "webservers": ["airflow"]}
        up["webservers"] += ["haproxy2"]
        for backend, servers in up.items():
            for server in servers:
                labels = {"backend": backend, "server": server}
                say(host, "runbook_proxy_server_up", 1, **labels)
    return found


def changed(series: Series, changes: Mapping[str, Optional[object]]) -> Series:
    """These series, where those that match a pattern have other values; None: they are gone.

    A pattern that matches none, with all its labels, is a series of its own.
    """
    found = dict(series)
    for pattern, value in changes.items():
        matching = [one for one in found if re.search(pattern, one)]
        if not matching:
            assert value is not None, pattern
            matching = [pattern]
        for one in matching:
            if value is None:
                del found[one]
            else:
                found[one] = lasting(value)
    return found


def lasting(value: object) -> str:
    """A value that stays; or values as promtool writes them."""
    return str(value) if "x" in str(value) else f"{value}{ALWAYS}"


def as_input(series: Series, seconds: int) -> list[dict[str, str]]:
    """The series as promtool reads them, for some seconds."""
    times = f"x{seconds // EVERY + 1}"
    return [{"series": name, "values": text.replace("x*", times)} for name, text in series.items()]


def without(series: Series, hosts: Iterable[str]) -> Series:
    """The same, if nothing on these servers answers."""
    gone = {f'host="{name}"' for name in hosts}
    kept = {
        name: values
        for name, values in series.items()
        if name.startswith("up{") or not any(mark in name for mark in gone)
    }
    return changed(kept, {rf"^up{{.*{mark}": 0 for mark in gone})
