"""`inv`: what concerns the cluster as a whole, and the lab that rehearses it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from invoke import Collection, Context, Exit, task
from msgspec import to_builtins
from tabulate import tabulate

from fabfile.engine.cluster import Cluster
from fabfile.engine.errors import RunbookError
from fabfile.engine.inventory import load_configured
from lab.tasks import lab

SHOWN = ("name", "hosts", "vips", "groups", "versions", "timezone", "selinux")


@contextmanager
def sentences() -> Iterator[None]:
    """What goes wrong ends the command with one sentence and its exit code."""
    try:
        yield
    except RunbookError as error:
        raise Exit(str(error), error.exit_code) from None


@task(help={"json": "as one JSON document"})
def show(c: Context, json: bool = False) -> None:
    """Show hosts, VIPs and versions of hosts.yaml as tables."""
    with sentences():
        cluster = load_configured()
    if json:
        print(_as_json({key: to_builtins(getattr(cluster, key)) for key in SHOWN}))
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
    versions = cluster.versions
    print(
        f"\nAirflow {versions.airflow}, Python {versions.python}, "
        f"PostgreSQL {versions.postgresql}, "
        f"RabbitMQ {versions.rabbitmq}, Erlang {versions.erlang}; "
        f"{cluster.timezone}, SELinux {cluster.selinux}"
    )


@task
def check(c: Context) -> None:
    """Judge hosts.yaml without connecting anywhere."""
    with sentences():
        cluster = load_configured()
    for warning in cluster.warnings:
        print(f"warning: {warning}")
    print(f"{cluster.file.name} is fine: {len(cluster.hosts)} hosts, {len(cluster.vips)} VIPs.")


@task(help={"last": "how many entries", "host": "only this host", "json": "as JSON lines"})
def log(c: Context, last: int = 20, host: str = "", json: bool = False) -> None:
    """Show the journal: who did what on which host, when, and how it went."""
    with sentences():
        cluster = load_configured()
    entries = [entry for entry in _journal(cluster) if not host or entry.get("host") == host][
        -last:
    ]
    if json:
        for entry in entries:
            print(_as_json(entry))
        return
    keys = ["when", "who", "mode", "task", "host", "result", "step"]
    print(tabulate([[entry.get(key, "") for key in keys] for entry in entries], headers=keys))


def _journal(cluster: Cluster) -> list[dict[str, str]]:
    try:
        lines = (cluster.state / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise Exit(f"There is no journal in {cluster.state} yet.", 2) from None
    return [entry for entry in map(_entry, lines) if entry]


def _entry(line: str) -> dict[str, str]:
    """One entry; nothing for a line that a full disk cut short."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


def _as_json(entry: Mapping[str, object]) -> str:
    return json.dumps(entry, ensure_ascii=False)


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


ns = Collection(
    Collection("inventory", show, check),
    Collection("runbook", log),
    lab,
)
