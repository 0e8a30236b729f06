"""Step 1.4: the controller and VM1 reach every server, with keys and verified host keys."""

from __future__ import annotations

from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import Probes, probe, says
from runbook.declare.public_keys import public_key
from runbook.declare.step import Steps
from runbook.declare.steps import (
    Authorised,
    authorised_keys,
    block,
    directory,
    ssh_key,
    unmarked,
)
from runbook.execute.trust import trust
from runbook.inventory.cluster import Cluster, Host

from ..base import account
from . import login
from .common import HOST_KEYS, Ssh, host_keys, key_file, key_host, others, section, supported
from .shipping import RECEIVE, receiver, ship, slots, unpack

KEY = Fact(
    "the SSH key",
    on=key_host,
    command=lambda cluster, host: f"runuser -u {cluster.user(host)} -- cat {key_file(cluster)}.pub",
    parse=str.strip,
    absent="fab ssh.keygen creates it",
)

section.on_controller(
    trust,
    help={
        "replace": "replace the pinned keys of servers that show other ones, after a reinstallation"
    },
)


@section.task(bootstrap=True)
def bootstrap(host: Host, cluster: Cluster) -> Steps:
    """Log in as root, and set up the administrator's account and key.

    Logs in as connection.bootstrap_user: with your keys, or else with a password, which is asked
    for once, or read from RUNBOOK_BOOTSTRAP_PASSWORD. On servers that already accept the
    administrator, logs in as the administrator.
    """
    yield from account(host, cluster)


@section.task(on=key_host)
def keygen(host: Host, cluster: Cluster) -> Steps:
    """Create VM1's own key."""
    user, key = cluster.user(host), key_file(cluster)
    yield directory(f"/home/{user}/.ssh", "0700", user, user)
    yield ssh_key(f"{user} on {host.name} has a key", key, user, f"{user}@{host.name}")


@section.task(needs=[KEY, HOST_KEYS])
def distribute(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Authorise VM1's key on all others, and give VM1 their verified host keys.

    The key is accepted from VM1's address only, and opens no shell: it answers the runbook's test
    of a login, and receives Python and Airflow. Former keys of VM1 are taken back.
    """
    user = cluster.user(host)
    if host in key_host(cluster):
        yield block(
            f"/home/{user}/.ssh/known_hosts",
            "Airflow HA cluster",
            [
                line
                for other in cluster.hosts.values()
                for line in known_hosts(other, cluster, facts)
            ],
            mode="0600",
            owner=user,
            group=user,
        )
    else:
        yield from receiver(host, cluster)
    yield from authorised_keys(
        user,
        f"/home/{user}",
        "Airflow HA cluster: VM1",
        vm1_key(host, cluster, facts),
        former=unmarked("", [f"{cluster.user(one)}@{one.name}" for one in cluster.hosts.values()]),
        never=cluster.public_key,
    )


def vm1_key(host: Host, cluster: Cluster, facts: Facts) -> list[Authorised]:
    """VM1's key as another server accepts it; none if it is the controller's, which opens all."""
    [vm1] = key_host(cluster)
    if host == vm1:
        return []
    key = public_key(facts.of(KEY, vm1), f"{key_file(cluster)}.pub on {vm1.name}")
    if key.split() == cluster.public_key.split()[:2]:
        return []
    options = f'from="{vm1.address}"'
    if not cluster[Ssh].vm1_sudo:
        may = " ".join((RECEIVE, *slots(host, cluster)))
        options += f',restrict,command="{may}"'
    return [Authorised(key, f"{cluster.user(vm1)}@{vm1.name}", options)]


def known_hosts(host: Host, cluster: Cluster, facts: Facts) -> list[str]:
    """A server's lines for known_hosts, under its name and its address."""
    port = cluster.ssh_port(host)
    names = [host.name, host.address]
    shown = ",".join(names if port == 22 else [f"[{name}]:{port}" for name in names])
    return [f"{shown} {key}" for key in host_keys(host, facts)]


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check that VM1 can log in to every other server, as the runbook's loop does."""
    if host not in key_host(cluster):
        return
    user = cluster.user(host)
    for other in others(cluster):
        success = f"SSH to {other.name}: SUCCESS"
        yield probe(
            f"{host.name} reaches {other.name}",
            f"runuser -u {user} -- ssh -o BatchMode=yes -o ConnectTimeout=5 "
            f"-p {cluster.ssh_port(other)} {cluster.user(other)}@{other.name} \"echo '{success}'\"",
            says(success, otherwise="no login"),
            fix=f"fab -H {host.name},{other.name} ssh.distribute",
        )


section.collect(
    commands=(
        "for home in /root /home/*; do ssh-keygen -lf $home/.ssh/authorized_keys 2>/dev/null | "
        'sed "s|^|$home |"; done',
    )
)

section.order(trust, bootstrap, keygen, distribute, login.login, login.confirm_login)

__all__ = [
    "HOST_KEYS",
    "KEY",
    "Ssh",
    "host_keys",
    "key_host",
    "section",
    "ship",
    "supported",
    "unpack",
]
