"""`inv inventory.*`: what hosts.yaml says, without a connection."""

from __future__ import annotations

from invoke import Collection, Context, task
from tabulate import tabulate

from runbook.execute.session import in_sentences
from runbook.inventory.cluster import Cluster
from runbook.visible import in_json

from ..shared.versions import PYTHON_FOR_AIRFLOW, Versions
from ..shared.vulnerabilities import advice
from .session import configured


@task(help={"json": "as one JSON document"})
@in_sentences
def show(c: Context, json: bool = False) -> None:
    """Show hosts, VIPs and versions of hosts.yaml as tables."""
    cluster = configured()
    if json:
        print(in_json(cluster.plain()))
        return
    print(
        tabulate(
            _host_rows(cluster), headers=["VM", "host", "address", "RAM", "CPU", "disk", "roles"]
        )
    )
    print()
    vips = [
        (
            vip.name,
            vip.address,
            vip.role,
            ", ".join(sorted(vip.members, key=lambda name: -vip.members[name])),
        )
        for vip in cluster.vips.values()
    ]
    print(tabulate(vips, headers=["VIP", "address", "for", "members, preferred first"]))
    versions = cluster[Versions]
    print(
        f"\nAirflow {versions.airflow}, Python {versions.python}, "
        f"PostgreSQL {versions.postgresql}, "
        f"RabbitMQ {versions.rabbitmq}, Erlang {versions.erlang}; "
        f"{cluster.timezone}, SELinux {cluster.selinux}"
    )


@task
@in_sentences
def check(c: Context) -> None:
    """Validate hosts.yaml without connecting; name Airflow's known vulnerabilities."""
    cluster = configured()
    about_airflow = advice(cluster[Versions].airflow, PYTHON_FOR_AIRFLOW)
    for warning in filter(None, [*cluster.warnings, about_airflow]):
        print(f"warning: {warning}")
    print(f"{cluster.file.name} is fine: {len(cluster.hosts)} hosts, {len(cluster.vips)} VIPs.")


def _host_rows(cluster: Cluster) -> list[tuple[object, ...]]:
    return [
        (
            f"VM{host.vm}",
            host.name,
            host.address,
            host.ram,
            host.cpu,
            host.disk,
            ", ".join(host.roles),
        )
        for host in cluster.hosts.values()
    ]


inventory = Collection("inventory", show, check)
