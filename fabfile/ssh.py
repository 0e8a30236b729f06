"""Step 1.4: the controller and VM1 reach every server, with keys and verified host keys."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.declare.facts import Fact, Facts
from runbook.declare.operations import Part
from runbook.declare.probes import Probes, probe, says
from runbook.declare.section import Section
from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps import authorised_key, block, command, directory, ssh_key
from runbook.declare.templates import script
from runbook.execute.trust import trust
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import perhaps
from runbook.inventory.schema import SSH, Objection, Settings, Understood

from .base import account
from .shared import copies


class Ssh(Settings, frozen=True):
    """Settings of the section `ssh`."""

    key_host: str = ""
    """The server whose key opens all others; empty: the first one."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """A key host that is not a host."""
        if self.key_host and self.key_host not in inventory.names:
            known = perhaps(self.key_host, inventory.names)
            yield Objection(f"is not one of the hosts{known}", ("ssh", "key_host"))


section = Section(
    "ssh",
    on="all",
    runbook="1.4",
    about="Give the controller, and then VM1, access to every server by key.",
    settings=Ssh,
    after=("hosts",),
    parts=(Part("ssh.trust"), Part("ssh.bootstrap", ("base.preflight",))),
)


def key_host(cluster: Cluster) -> list[Host]:
    """VM1, whose key opens the others."""
    return [cluster.hosts[cluster[Ssh].key_host or next(iter(cluster.hosts))]]


def key_file(cluster: Cluster) -> str:
    """Where VM1 keeps its private key."""
    [vm1] = key_host(cluster)
    return f"/home/{cluster.user(vm1)}/.ssh/id_ed25519"


section.login(lambda cluster, host: cluster.user(host), groups=("wheel",))
section.login(lambda cluster, host: cluster.user(host), by=key_host, groups=("wheel",))


def vm1(cluster: Cluster, host: Host) -> list[Host]:
    """VM1 (`ssh.key_host`)."""
    return key_host(cluster)


section.port(SSH, "SSH, by key: VM1 reaches every server", vm1)

KEY = Fact(
    "the SSH key",
    on=key_host,
    command=lambda cluster, host: f"runuser -u {cluster.user(host)} -- cat {key_file(cluster)}.pub",
    parse=str.strip,
    absent="fab ssh.keygen creates it",
)

HOST_KEYS = Fact(
    "the host keys",
    on="all",
    command=lambda cluster, host: "cat /etc/ssh/ssh_host_*_key.pub",
    parse=lambda text: [" ".join(line.split()[:2]) for line in text.splitlines()],
    absent="it does not answer; known_hosts stays as it is until it does",
    used_by=key_host,
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
    """Authorise VM1's key on all others, and give VM1 their verified host keys."""
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
        return
    [vm1] = key_host(cluster)
    yield from authorised_key(user, facts.of(KEY, vm1), home=f"/home/{user}")


def known_hosts(host: Host, cluster: Cluster, facts: Facts) -> list[str]:
    """A server's lines for known_hosts, under its name and its address."""
    port = cluster.ssh_port(host)
    names = [host.name, host.address]
    shown = ",".join(names if port == 22 else [f"[{name}]:{port}" for name in names])
    return [f"{shown} {key}" for key in facts.of(HOST_KEYS, host)]


def ship(
    title: str, cluster: Cluster, other: Host, folder: str, made_from: str, again: str
) -> Step:
    """Copy a folder of VM1 to another server, to the same path; a step for VM1.

    `again` is the command that creates the folder on VM1.
    """
    [vm1] = key_host(cluster)
    user, mark = cluster.user(vm1), copies.mark(folder)
    login = f"ssh -o BatchMode=yes -o ConnectTimeout=10 -p {cluster.ssh_port(other)}"
    there = f"{cluster.user(other)}@{other.name}"
    seen = f"echo $(cat {mark}) $( {copies.fingerprint(folder)} )"
    return command(
        title,
        script(
            "ssh/ship.sh",
            user=user,
            login=login,
            there=there,
            folder=folder,
            mark=mark,
            made_from=made_from,
            fingerprint=copies.fingerprint(folder),
            again=again,
        ),
        unless=f"found=$(cat {mark} 2>/dev/null) && [[ ${{found% *}} == {quote(made_from)} && "
        f"$(runuser -u {user} -- {login} {there} sudo -n bash -s <<<{quote(seen)}) == "
        '"$found ${found##* }" ]]',
        timeout=3600,
    )


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check that VM1 can log in to every other server, as the runbook's loop does."""
    if host not in key_host(cluster):
        return
    user = cluster.user(host)
    for other in cluster.hosts.values():
        if other == host:
            continue
        success = f"SSH to {other.name}: SUCCESS"
        yield probe(
            f"{host.name} reaches {other.name}",
            f"runuser -u {user} -- ssh -o BatchMode=yes -o ConnectTimeout=5 "
            f"-p {cluster.ssh_port(other)} {cluster.user(other)}@{other.name} \"echo '{success}'\"",
            says(success, otherwise="no login"),
            fix=f"fab -H {host.name},{other.name} ssh.distribute",
        )
