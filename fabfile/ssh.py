"""Step 1.4: the controller reaches every server, and so does VM1, with keys and verified hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook.declare.facts import Fact, Facts
from runbook.declare.operations import Part
from runbook.declare.probes import Probes, probe, says
from runbook.declare.section import Section
from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps import authorised_key, block, command, directory, ssh_key
from runbook.execute.trust import trust
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import perhaps
from runbook.inventory.schema import Objection, Settings, Understood

from .base import account


class Ssh(Settings, frozen=True):
    """Settings of the section `ssh`."""

    key_host: str = ""
    """The server whose key opens all others; the first one, if nothing is said."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """A key host that is no host."""
        if self.key_host and self.key_host not in inventory.names:
            known = perhaps(self.key_host, inventory.names)
            yield Objection(f"is not one of the hosts{known}", ("ssh", "key_host"))


section = Section(
    "ssh",
    on="all",
    runbook="1.4",
    about="Let the controller, and then VM1, into every server by key.",
    settings=Ssh,
    after=("hosts",),
    parts=(Part("ssh.trust"), Part("ssh.bootstrap", ("ssh.trust",))),
)


def key_host(cluster: Cluster) -> list[Host]:
    """VM1, whose key opens the others."""
    return [cluster.hosts[cluster[Ssh].key_host or next(iter(cluster.hosts))]]


def key_file(cluster: Cluster) -> str:
    """Where VM1 keeps its private key."""
    [vm1] = key_host(cluster)
    return f"/home/{cluster.user(vm1)}/.ssh/id_ed25519"


KEY = Fact(
    "the SSH key",
    on=key_host,
    command=lambda cluster, host: f"cat {key_file(cluster)}.pub",
    parse=str.strip,
    absent="fab ssh.keygen makes it",
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
        "replace": "pin new keys also where another one is pinned: a server that was reinstalled"
    },
)


@section.task(bootstrap=True)
def bootstrap(host: Host, cluster: Cluster) -> Steps:
    """From root and a password to the administrator's account with key and sudo.

    The password is asked once, or read from RUNBOOK_BOOTSTRAP_PASSWORD; servers that already let
    the administrator in are not asked for it.
    """
    yield from account(host, cluster)


@section.task(on=key_host)
def keygen(host: Host, cluster: Cluster) -> Steps:
    """Make VM1's own key."""
    user, key = cluster.user(host), key_file(cluster)
    yield directory(f"/home/{user}/.ssh", "0700", user, user)
    yield ssh_key(f"{user} on {host.name} has a key", key, user, f"{user}@{host.name}")


@section.task(needs=[KEY, HOST_KEYS])
def distribute(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Let VM1's key into all others, and give VM1 their verified host keys."""
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
    title: str,
    cluster: Cluster,
    other: Host,
    paths: Sequence[str],
    mark: str,
    text: str,
    exclude: Sequence[str] = (),
) -> Step:
    """Files of VM1 are on another server, at the same paths; a step for VM1.

    What VM1 does not have goes there, too. `mark` is a file beside them that holds `text` when all
    is complete: it is the first to go and the last to come.
    """
    [vm1] = key_host(cluster)
    become = f"runuser -u {cluster.user(vm1)} --"
    login = f"ssh -o BatchMode=yes -o ConnectTimeout=10 -p {cluster.ssh_port(other)}"
    there = f"{cluster.user(other)}@{other.name}"
    left_out = " ".join(f"--exclude={quote(name)}" for name in (mark.rpartition("/")[2], *exclude))
    return command(
        title,
        f"""{become} {login} {there} sudo -n rm -f {mark}
{become} rsync -a --delete --relative --no-implied-dirs {left_out} \\
  --rsync-path='sudo -n rsync' -e '{login}' {" ".join(paths)} {there}:/
{become} {login} {there} "echo {quote(text)} | sudo -n tee {mark} >/dev/null\"""",
        unless=f"[[ $({become} {login} {there} cat {mark} 2>/dev/null) == {quote(text)} ]]",
        timeout=3600,
    )


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Let VM1 log in to every other server, as the runbook's loop does."""
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
