"""Keeping the standby up to date: lsyncd copies changes over SSH as an unprivileged user."""

from __future__ import annotations

from typing import Optional

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.public_keys import public_key, public_keys
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..base import epel
from ..shared.airflow import HOME
from ..shared.roles import NFS
from ..ssh import supported
from .common import (
    NUMBERS,
    RESCUED,
    RETURN,
    RUN,
    SCRIPTS,
    SENTINEL,
    SETTINGS,
    STATE,
    SYNC,
    USER,
    alone,
    peer,
    section,
    trees,
    vip,
    witnesses,
)
from .settings import Nfs

KEY = f"{SETTINGS}/key"

WATCHES_FILE = "/etc/sysctl.d/90-nfs-ha.conf"
WATCHES = {"fs.inotify.max_user_watches": 1_048_576}
"""One for each folder; EL8's default of 8192 is soon used up by logs. One takes about 1 kB."""

KEYS = Fact(
    "the keys for copying",
    on=NFS,
    command=lambda cluster, host: f"cat {KEY}.pub /etc/ssh/ssh_host_*_key.pub",
    parse=supported,
    absent="fab nfs.sync-keys creates them",
)


@section.task
def sync_keys(host: Host, cluster: Cluster) -> Steps:
    """Create a key on each server, with which it copies changes to the other one."""
    if alone(cluster):
        return
    yield steps.directory(SETTINGS, "0750", "root", USER)
    title = f"{host.name} has a key for copying"
    yield steps.ssh_key(title, KEY, "root", f"nfs-sync@{host.name}")
    yield steps.command(
        f"{USER} may read that key",
        f"chown {USER}:{USER} {KEY}",
        unless=f"[[ $(stat -c %U {KEY}) == {USER} ]]",
    )


@section.task(needs=[KEYS])
def sync(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Set up lsyncd, which copies changes from the VIP's holder to the standby.

    The key runs one script on the other server: it accepts files for the shared trees, and only
    from a server whose files are not older than its own. Copying is asynchronous: what was written
    in the last second or two before the loss of the active server may be missing afterwards.
    A single server copies nothing, and may always lead.
    """
    other = None if alone(cluster) else peer(host, cluster)
    yield steps.directory(SETTINGS, "0750", "root", USER)
    yield steps.directory(SCRIPTS)
    settings = steps.template(f"{SETTINGS}/settings", "nfs/settings.j2", context(other, cluster))
    yield settings.then(RESTART) if other else settings
    yield numbers()
    yield steps.template(f"{SCRIPTS}/return", "nfs/return", {}, mode="0755")
    yield steps.template("/etc/tmpfiles.d/nfs-ha.conf", "nfs/tmpfiles.conf", {})
    yield steps.command(
        f"{RUN} is there",
        "systemd-tmpfiles --create /etc/tmpfiles.d/nfs-ha.conf",
        unless=f"[[ $(stat -c %U {RUN}) == {USER} ]]",
    )
    yield steps.command(
        "the files' generation is counted",
        f"{NUMBERS} set generation 0\n{NUMBERS} set priority 0",
        unless=f"[[ -s {STATE}/generation && -s {STATE}/priority ]]",
    )
    if other:
        yield from copying(other, cluster, facts)
    yield steps.unit(RETURN, f"nfs/{RETURN}.j2", {})


def numbers() -> Step:
    """The script that reads and writes a server's generation."""
    return steps.template(f"{SCRIPTS}/state", "nfs/state", {}, mode="0755")


RESTART = steps.restarted_if_running(SYNC)


def context(other: Optional[Host], cluster: Cluster) -> dict[str, object]:
    """The values for the templates of both sides."""
    return {
        "peer": other,
        "port": cluster.ssh_port(other) if other else None,
        "user": USER,
        "vip": vip(cluster),
        "rescued": RESCUED,
        "sentinel": SENTINEL,
        "trees": trees(cluster),
        "witnesses": [
            f"{client.address}:{cluster.ssh_port(client)}" for client in witnesses(cluster)
        ],
        "max_delete": cluster[Nfs].max_delete,
    }


def copying(other: Host, cluster: Cluster, facts: Facts) -> Steps:
    """lsyncd, and what each server may do on the other."""
    yield from epel(cluster)
    yield steps.packages("lsyncd", "rsync")
    yield from steps.sysctl("lsyncd may watch every folder", WATCHES_FILE, WATCHES)
    for name in ("ssh_config", "lsyncd.conf"):
        source = f"nfs/{name}.j2"
        yield steps.template(f"{SETTINGS}/{name}", source, context(other, cluster)).then(RESTART)
    yield steps.file(f"{SETTINGS}/known_hosts", known(other, facts)).then(RESTART)
    for name in ("receive", "push"):
        yield steps.template(f"{SCRIPTS}/{name}", f"nfs/{name}", {}, mode="0755")
    key = public_key(facts.of(KEYS, other)[0], f"{KEY}.pub on {other.name}")
    options = f'restrict,from="{other.address}",command="{SCRIPTS}/receive"'
    yield from steps.authorised_keys(
        USER,
        HOME,
        "the other NFS server",
        [steps.Authorised(key, f"nfs-sync@{other.name}", options)],
    )
    yield steps.unit("nfs-resync.service", "nfs/nfs-resync.service.j2", {})
    yield steps.unit("nfs-resync.path", "nfs/nfs-resync.path", {})
    yield steps.unit(SYNC, f"nfs/{SYNC}.j2", {}).then(RESTART)
    yield steps.service("nfs-resync.path")


def known(other: Host, facts: Facts) -> str:
    """The other server's host keys, under its name."""
    shown = public_keys(facts.of(KEYS, other)[1:], f"A line of /etc/ssh/*_key.pub on {other.name}")
    return "\n".join(f"{other.name} {key}" for key in shown)
