"""Day-two operation: switch over, restart, rebuild, remove a member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from textwrap import indent

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps import action, command, service_off
from runbook.declare.work import Procedure, Question, one_by_one, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host, host_named
from runbook.inventory.entry import no_such

from .common import APART, PATRONICTL, data, etcdctl, members, rest, section
from .etcd import ETCD, EtcdMember, aside, listed, peer_at
from .members import MEMBER, Member, in_its_place, leader, replicas, serves
from .patroni import RESTART
from .pools import UNIT as POOLER_UNIT
from .settings import Postgres

MEMBER_OF = "member of the database cluster"


@section.procedure(
    needs=[MEMBER], help={"to": "the server that leads next (default: Patroni chooses)"}
)
def switchover(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str = "") -> Procedure:
    """Hand leadership to another server: about two seconds without writes.

    --to HOST names the server; with synchronous replication it has to be the synchronous standby.
    Without --to, Patroni chooses.
    """
    first = leader(cluster, facts)
    known: Member = facts.of(MEMBER, first)
    if to and host_named(to, members(cluster), MEMBER_OF) == first:
        raise UsageError(f"{to} already leads.")
    if not any(one.get("state") == "streaming" for one in known.cluster.values()):
        raise RunbookError(
            "No replica is streaming, so none can take over. See fab postgres.check."
        )
    standbys = [
        name
        for name, one in known.cluster.items()
        if one.get("role") in ("sync_standby", "quorum_standby")
    ]
    if to and cluster[Postgres].synchronous_mode and to not in standbys:
        able = f"only {' or '.join(standbys)} can" if standbys else "no server can now"
        raise RunbookError(
            f"{to} is not the synchronous standby; {able} take over without losing rows. "
            "Without --to, Patroni chooses."
        )
    yield stage(f"hand over from {first.name}", first, handover(first, cluster, to))


def handover(first: Host, cluster: Cluster, to: str = "") -> Step:
    """Let another server lead, and this one follow it.

    Patroni refuses while no standby is synchronous, which takes a loop or two after the replicas
    have restarted, so the request is repeated.
    """
    candidate = f" --candidate {to}" if to else ""
    follows = f"! curl -sf -o /dev/null {rest(first)}/primary"
    return command(
        f"{to or 'another server'} leads instead of {first.name}",
        f"""for _ in {{1..20}}; do
  {PATRONICTL} switchover {cluster.name} --leader {first.name}{candidate} --force
  if {follows}; then break; fi
  sleep 1
done
until {serves(first)}; do sleep 0.5; done""",
        unless=follows,
        timeout=120,
    )


@section.procedure(needs=[MEMBER], help={"force": "also restart where no setting waits for it"})
def restart(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, force: bool = False
) -> Procedure:
    """Restart PostgreSQL where a setting waits for it, the leader last.

    With --force also where nothing is pending. The leader hands over before its turn. But if
    max_connections or a similar setting is lowered, the leader restarts first and without a
    handover, because no replica may have a lower value.
    """
    first = leader(cluster, facts)
    missing = [member.name for member in members(cluster) if member.name not in facts.known(MEMBER)]
    if missing:
        raise RunbookError(
            f"{', '.join(missing)} does not answer; a restart now could stop the last replica. "
            "See fab postgres.check."
        )
    chosen = [host for host in [*replicas(cluster, facts), first] if host in hosts]
    if facts.of(MEMBER, first).lowers:
        chosen.sort(key=lambda host: host != first)
    for host in chosen:
        waits = force or facts.of(MEMBER, host).pending_restart
        if host == first and host == chosen[-1] and waits and len(members(cluster)) > 1:
            yield stage(f"hand over from {host.name}", host, handover(host, cluster))
        yield stage(f"restart {host.name}", host, restarted(host, cluster, facts, force))


def restarted(host: Host, cluster: Cluster, facts: Facts, force: bool) -> Step:
    """The server's PostgreSQL runs with its settings, and leads or follows again."""
    api = rest(host)
    since = facts.of(MEMBER, host).started
    done = f"state=$(curl -s {api}/patroni) && [[ $state != *pending_restart*"
    done += f" && $state != *{quote(since)}* ]]" if force else " ]]"
    pending = "" if force else " --pending"
    return command(
        f"PostgreSQL on {host.name} has restarted"
        + ("" if force else " if a setting waited for it"),
        f"""until {done}; do
  {PATRONICTL} restart {cluster.name} {host.name}{pending} --force
  for _ in {{1..20}}; do if {done}; then break; fi; sleep 0.5; done
done
until {serves(host)}; do sleep 0.5; done""",
        unless=done,
    )


@section.task(batches=one_by_one)
def patroni_members(host: Host, cluster: Cluster) -> Steps:
    """Restart Patroni where its unit has changed, one by one; a leader hands over.

    PostgreSQL restarts with it.
    """
    again = f"systemctl restart patroni\nuntil {serves(host)}; do sleep 0.5; done"
    if len(members(cluster)) > 1:
        leads = f"curl -sf -o /dev/null {rest(host)}/primary"
        again = f"""if {leads}; then
{indent(handover(host, cluster).apply, "  ")}
  if {leads}; then
    echo 'No other server can lead now, so Patroni was not restarted: fab postgres.check'
    exit 1
  fi
fi
{again}"""
    step = steps.restarted_if_noted("patroni.service", RESTART, again, timeout=900)
    yield replace(step, test=f"! systemctl is-active -q patroni || {step.test}")


@section.procedure(needs=[MEMBER], help={"host": "the replica"})
def reinit(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str) -> Procedure:
    """Copy a replica again from the leader, if it cannot catch up. Asks first.

    Patroni removes the replica's data directory. The leader is refused.
    """
    replica = host_named(host, members(cluster), MEMBER_OF)
    first = leader(cluster, facts)
    if replica == first:
        raise UsageError(f"{host} leads; only a replica can be copied again.")
    version = f"{data(cluster)}/PG_VERSION"
    yield Question(
        f"{host}'s copy of the database is removed and copied again from {first.name}. "
        "Until that is done the cluster has one replica fewer."
    )
    yield stage(
        f"copy {host} again",
        replica,
        action(
            f"Patroni copies {first.name} to {host}",
            f"""began=$(date +%s)
said=$({PATRONICTL} reinit {cluster.name} {host} --force)
echo "$said"
[[ $said == *Success* ]]
until (($(stat -c %Z {version} 2>/dev/null || echo 0) >= began)); do sleep 1; done""",
        ),
        in_its_place(replica, cluster, f"{host} follows with the new copy"),
    )


@section.procedure(needs=[MEMBER, ETCD], help={"host": "the server to take out"})
def remove(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str) -> Procedure:
    """Remove a server from Patroni and etcd. Its data stays on it. Asks first.

    Works also for a server that is lost for good, or that hosts.yaml no longer has. Afterwards,
    remove it from hosts.yaml and run `fab postgres`. Refused if the quorum would be lost. If etcd
    lists the server at a former address as well, only that entry is removed.
    """
    gone = cluster.hosts.get(host)
    listing = listed(facts)
    own = [one for one in listing if one.name == host or (gone and one.at == peer_at(gone))]
    former = [one for one in own if gone and one.at != peer_at(gone)]
    if former and len(former) < len(own):
        yield from without_former(host, former, cluster, facts)
        return
    first = leader(cluster, facts)
    if gone == first:
        raise RunbookError(f"{host} leads now. First run: fab postgres.switchover")
    if not gone and not own:
        raise no_such(f"{host} is not a member", host, [one.name for one in listing])
    refuse_loss_of_quorum(host, listing, own, facts)
    yield Question(f"{host} leaves the database cluster; its data stays on it, unused.")
    if gone and gone.name in facts.known(ETCD):
        yield stage(
            f"stop PostgreSQL on {host}",
            gone,
            service_off(POOLER_UNIT),
            service_off(APART),
            service_off("patroni.service"),
        )
    helper = next(
        member for member in members(cluster) if member != gone and member.name in facts.known(ETCD)
    )
    for one in own:
        yield stage(f"take {host} out of etcd", helper, not_in_etcd(host, one))
    if gone and gone.name in facts.known(ETCD):
        yield stage(
            f"stop etcd on {host}",
            gone,
            service_off("etcd.service"),
            aside(cluster),
        )


def without_former(
    host: str, former: Sequence[EtcdMember], cluster: Cluster, facts: Facts
) -> Procedure:
    """Remove what etcd still lists at former addresses of a server that is a member."""
    addresses = ", ".join(one.peer for one in former)
    yield Question(f"etcd forgets {host} at {addresses}; {host} stays a member at its address.")
    helper = next(one for one in members(cluster) if one.name in facts.known(ETCD))
    for one in former:
        yield stage(f"take {one.peer} out of etcd", helper, not_in_etcd(f"at {one.peer}", one))


def not_in_etcd(name: str, member: EtcdMember) -> Step:
    """etcd no longer counts this member."""
    return command(
        f"etcd has no member {name}",
        f"until {etcdctl()} member remove {member.id}; do sleep 1; done",
        unless=f"! {etcdctl()} member list | grep -q '^{member.id},'",
        timeout=60,
    )


def refuse_loss_of_quorum(
    host: str, listing: Sequence[EtcdMember], own: Sequence[EtcdMember], facts: Facts
) -> None:
    """The members that stay must have a majority that answers."""
    answering = {name for name, known in facts.known(ETCD).items() if known.listed}
    staying = [one.name for one in listing if one not in own]
    if not staying:
        raise RunbookError(f"{host} is the last member and cannot be removed.")
    up = [name for name in staying if name in answering]
    if len(up) < len(staying) // 2 + 1:
        raise RunbookError(
            f"Without {host}, {len(up)} of etcd's {len(staying)} members would answer, which is "
            "not a quorum. Bring the others back first: fab postgres.check"
        )
