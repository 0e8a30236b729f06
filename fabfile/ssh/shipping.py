"""Folders that VM1 sends to other servers: Python and Airflow, which it has built or installed.

VM1's key may deliver an archive, and nothing else. Root unpacks it on the other server only if its
content is what the controller knows of VM1's folder.
"""

from __future__ import annotations

from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps import command, directory, template
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..shared import airflow, copies
from .common import key_host

RECEIVE = "/usr/libexec/airflow-runbook/receive"
CACHE = "/var/cache/airflow-runbook"
ARRIVED = f"{CACHE}/from-vm1"
SLOTS = ("python", "airflow")
"""What VM1 sends, in one archive each."""


def slots(host: Host, cluster: Cluster) -> tuple[str, ...]:
    """What VM1 may send to a server."""
    return SLOTS if host in airflow.hosts(cluster) else ()


def receiver(host: Host, cluster: Cluster) -> Steps:
    """The script that VM1's key runs on another server, and the folder for what it delivers."""
    user = cluster.user(host)
    yield directory(RECEIVE.rpartition("/")[0])
    yield template(RECEIVE, "ssh/receive", {}, mode="0755")
    if slots(host, cluster):
        yield directory(CACHE)
        yield directory(ARRIVED, "0700", user, user)


def ship(
    title: str, slot: str, cluster: Cluster, other: Host, folder: str, made_from: str, again: str
) -> Step:
    """Send a folder of VM1 to another server, as an archive; a step for VM1.

    `again` is the command that creates the folder on VM1.
    """
    [vm1] = key_host(cluster)
    user, mark = cluster.user(vm1), copies.mark(folder)
    login = f"ssh -o BatchMode=yes -o ConnectTimeout=10 -p {cluster.ssh_port(other)}"
    there = f"{cluster.user(other)}@{other.name}"
    return command(
        title,
        script(
            "ssh/ship.sh",
            user=user,
            login=login,
            there=there,
            receive=RECEIVE,
            slot=slot,
            folder=folder,
            mark=mark,
            made_from=made_from,
            fingerprint=copies.fingerprint(folder),
            again=again,
        ),
        unless=f"found=$(cat {mark} 2>/dev/null) && [[ ${{found% *}} == {quote(made_from)} ]] && "
        f'runuser -u {user} -- {login} {there} "{RECEIVE} has {slot} ${{found##* }}"',
        timeout=3600,
    )


def unpack(
    title: str,
    slot: str,
    cluster: Cluster,
    host: Host,
    folder: str,
    made_from: str,
    shipped: copies.Copy,
    again: str,
    links: str = "",
) -> Step:
    """Put the folder that VM1 sent in its place, if it is what VM1 has; a step for the receiver.

    `shipped` is what VM1 has; `links` a folder that links in it may lead to; `again` the command
    that sends it.
    """
    [vm1] = key_host(cluster)
    known = shipped if shipped.intact and shipped.made_from == made_from else copies.Copy()
    place, _, name = folder.rpartition("/")
    return command(
        title,
        script(
            "ssh/unpack.sh",
            user=cluster.user(host),
            archives=f"{ARRIVED}/{slot}",
            folder=folder,
            mark=copies.mark(folder),
            vm1=vm1.name,
            made_from=made_from,
            noted=known.noted,
            bytecode=known.bytecode,
            fingerprint=copies.fingerprint(f"{place}/.incoming-{name}/tree"),
            links=links,
            again=again,
        ),
        unless=copies.same(folder, made_from, known.noted)
        if known.noted
        else copies.intact(folder, made_from),
        timeout=3600,
    )
