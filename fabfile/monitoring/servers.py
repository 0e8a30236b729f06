"""What the monitoring reads on every server: vitals, units, addresses; and when it alerts."""

from __future__ import annotations

import re

from runbook.declare.probes import ERROR, WARN, Cause
from runbook.inventory.cluster import Cluster, Host

from ..airflow.services import components, follows_the_share, service_hosts
from ..base import Base
from ..shared import keepalived, vitals
from ..shared.metrics import HOST, Alert, Alerts, Reading, Watched, in_steps
from ..shared.silence import DOWN, left, way_back
from ..systemd import DOWN as UNIT_DOWN
from ..systemd import state_of


def _addresses(cluster: Cluster, host: Host) -> str:
    own = [vip for vip in cluster.vips.values() if host.name in vip.members]
    return "\n".join(
        f"if [[ $(ip -o -4 addr show to {vip.address}) ]]; then echo '{vip.name} held'; "
        f"else echo '{vip.name} free'; fi"
        for vip in own
    )


def _members(cluster: Cluster) -> list[Host]:
    names = {name for vip in cluster.vips.values() for name in vip.members}
    return [host for host in cluster.hosts.values() if host.name in names]


def _units(cluster: Cluster, host: Host) -> str:
    return "\n".join(
        f"echo 'unit {one.unit} {one.role}{' follows' if follows_the_share(one, host) else ''}'\n"
        f"{state_of(one)}"
        for one in components(host)
    )


READINGS = (
    Reading("vitals", "all", vitals.VITALS.command),
    Reading("addresses", _members, _addresses),
    Reading("units", service_hosts, _units),
)


def alerts(cluster: Cluster) -> Alerts:
    """Servers answer and have room, and so have their clocks a source."""
    for host in cluster.hosts.values():
        yield down(host, cluster)
    path, unit = "{{ $labels.path }}", "{{ $labels.unit }}"
    yield from in_steps(
        vitals.DISK,
        "runbook_disk_used_percent",
        (vitals.DISK_WARN, vitals.DISK_ERROR),
        f"{HOST}: {path} is {{{{ $value }}}} % full",
        f"fab -H {HOST} -- 'sudo du -xh --max-depth=3 {path} | sort -h | tail', then make room",
        by="host, path",
    )
    free = "min by (host) (runbook_memory_left_percent)"
    says = f"{HOST}: {{{{ $value }}}} % of its memory is left"
    fix = f"fab -H {HOST} -- 'ps axo rss,args --sort=-rss | head'"
    short = f"{free} < {vitals.MEMORY_WARN} >= {vitals.MEMORY_ERROR}"
    yield Alert(vitals.MEMORY, WARN, short, says, fix)
    yield Alert(vitals.MEMORY, ERROR, f"{free} < {vitals.MEMORY_ERROR}", says, fix)
    yield from clocks()
    yield Alert(
        vitals.REBOOT,
        WARN,
        "max by (host, why) (runbook_reboot_due) == 1",
        f"{HOST}: {{{{ $labels.why }}}}",
        "inv cluster.reboot --only-pending",
        wait=3600,
    )
    ignored = "|".join(re.escape(one).replace(r"\*", ".*") for one in cluster[Base].ignored_units)
    others = f"{{unit!~`{ignored}`}}" if ignored else ""
    yield Alert(
        vitals.FAILED,
        WARN,
        f"max by (host, unit) (runbook_unit_failed{others}) == 1",
        f"{HOST}: {unit}",
        f"fab -H {HOST} -- sudo systemctl status {unit}; then restart it there, or add it to "
        "base.ignored_units",
    )
    yield from addresses(cluster)
    yield Alert(
        UNIT_DOWN,
        ERROR,
        "max by (host, unit, role) (runbook_unit_runs) == 0",
        f"{HOST}: {unit} does not run",
        f"fab -H {HOST} systemd.start; fab systemd.logs {HOST} {{{{ $labels.role }}}} shows why",
    )


def down(host: Host, cluster: Cluster) -> Alert:
    """Nothing on a server answers Prometheus."""
    return Alert(
        Cause(DOWN.code, left(host, cluster, (host.name,))),
        ERROR,
        f'max(up{{host="{host.name}"}}) == 0',
        f"{host.name}: nothing there answers",
        way_back(host, DOWN, cluster),
        wait=30,
        host=host.name,
    )


def clocks() -> Alerts:
    """Clocks agree, and follow a source."""
    ahead = "max by (host) (node_time_seconds - timestamp(node_time_seconds))"
    yield Alert(
        vitals.CLOCK,
        ERROR,
        f"abs({ahead} - scalar(quantile(0.5, {ahead}))) > {vitals.APART}",
        f"{HOST} is {{{{ $value | printf `%.1f` }}}} s away from the others",
        f"fab -H {HOST} base.time; fab -H {HOST} -- sudo chronyc makestep",
    )
    yield Alert(
        vitals.NO_TIME_SOURCE,
        WARN,
        "max by (host) (runbook_clock_synchronised) == 0",
        f"{HOST}: chronyd has no time source that it trusts",
        "set base.ntp to time servers that answer, then: fab base.time",
        wait=1800,
    )


def addresses(cluster: Cluster) -> Alerts:
    """Each VIP is on exactly one of its members."""
    for vip in cluster.vips.values():
        held = f'sum(max by (host) (runbook_vip_held{{vip="{vip.name}"}}))'
        fix = f"fab {vip.role}.vip"
        says = f"no server holds {vip.name} ({vip.address})"
        none = f"({held} or vector(0)) == 0"
        yield Alert(keepalived.NOBODY, ERROR, none, says, fix, wait=30, about=vip.name)
        says = f"{{{{ $value }}}} servers hold {vip.name} ({vip.address})"
        yield Alert(keepalived.TWICE, ERROR, f"{held} > 1", says, fix, about=vip.name)


WATCHED = Watched("hosts", READINGS, alerts)
