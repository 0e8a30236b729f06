"""Found etcd again after it has lost its quorum for good. The database's data stay as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Callable

import yaml

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps import action, command
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host, host_named

from ..shared.transport import Speaks
from .common import (
    MAJOR,
    PSQL,
    etcd_url,
    etcdctl,
    key,
    members,
    refuse_another_major,
    rest,
    section,
)
from .etcd import ETCD, configuration, data, healthy, peer, settings_folder
from .hold import HELD, held, released
from .members import MEMBER, in_its_place
from .patroni import shared
from .position import POSITION, compared, most_advanced
from .transport import TRANSPORT, etcd_speaks

FORGOTTEN = ("leader", "status", "sync", "failover", "failsafe", "history")
"""What Patroni keeps in etcd about the leader and positions; settings and identifier stay."""


@section.procedure(
    needs=[MEMBER, ETCD, POSITION, HELD, MAJOR, TRANSPORT],
    help={
        "host": "the server whose etcd survives; if none does, the server on which etcd begins",
        "i_know": "servers that cannot be reached now will not return with their present data",
    },
)
def etcd_recover(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str, i_know: bool = False
) -> Procedure:
    """Found etcd again when most of its members are lost for good. Needs --i-know.

    The server with the newest data leads afterwards; no data of PostgreSQL is removed. What etcd
    holds on the other servers is moved aside. Servers that cannot be reached must not return with
    their present data, with which they could form a cluster of their own.
    """
    refuse_another_major(cluster, facts)
    survivor = host_named(host, members(cluster), "database server")
    reached = [one for one in members(cluster) if one.name in facts.known(ETCD)]
    away = [one.name for one in members(cluster) if one not in reached]
    refuse_unless_lost(survivor, cluster, facts)
    order = most_advanced(cluster, facts)
    if not order:
        raise RunbookError(
            "No server that can be reached has a database. To restore one from the repository: "
            "fab postgres.restore latest --onto-new-servers --i-know"
        )
    told = compared(order, facts)
    if not i_know:
        raise UsageError(lost(told, away))
    first, others = order[0], [one for one in reached if one != order[0]]
    keeps = facts.known(ETCD)[survivor.name].has_data
    speaks = etcd_speaks(survivor, cluster, facts)
    yield Question(
        f"{told}: it leads afterwards. etcd begins again on {survivor.name}, "
        f"{'with the data that it has there' if keeps else 'empty'}."
    )
    stopping = others if facts.known(POSITION)[first.name].leads else [*others, first]
    if stopping:
        yield stage("stop Patroni where the database does not lead", stopping, held())
    rest = [one for one in reached if one != survivor]
    if rest:
        yield stage("put away what etcd holds on the other servers", rest, put_away(cluster))
    system = facts.known(POSITION)[first.name].system
    yield stage(
        f"etcd begins again on {survivor.name}",
        survivor,
        lambda one: founded_again(one, cluster, keeps, speaks),
        knows_the_cluster(cluster, system),
        forgotten(cluster),
    )
    yield stage(f"{first.name} leads", first, released(), leads(first))
    founders = [survivor]
    for one in rest:
        founders = [*founders, one]
        yield stage(f"etcd on {one.name} joins", one, joins(founders, cluster, speaks))
    if others:
        yield stage(
            "the others follow",
            others,
            released(),
            steps.service("patroni.service"),
            lambda one: in_its_place(one, cluster),
        )


def lost(told: str, away: Sequence[str]) -> str:
    """What somebody has to know who adds --i-know."""
    sentence = f"Of the servers that can be reached, {told}."
    if away:
        sentence += (
            f" What only {', '.join(away)} has is lost. Never start {', '.join(away)} again with "
            "its present data: it could form a second cluster."
        )
    return f"{sentence} If that is intended, add --i-know."


def refuse_unless_lost(survivor: Host, cluster: Cluster, facts: Facts) -> None:
    """Refuse while etcd has a quorum, or could have one, or if another server has its data."""
    states = facts.known(ETCD)
    if survivor.name not in states:
        raise RunbookError(f"{survivor.name} cannot be reached.")
    leads = any(member.primary for member in facts.known(MEMBER).values())
    if any(facts.known(HELD).values()) and not leads:
        return  # it was interrupted: etcd may have its quorum again
    if any(known.quorum for known in states.values()):
        raise RunbookError("etcd has its quorum. For single members: fab postgres")
    holding = [name for name, known in states.items() if known.has_data]
    stopped = [name for name in holding if not states[name].listed]
    if len(holding) > len(members(cluster)) // 2:
        raise RunbookError(
            f"{', '.join(holding)} still have etcd's data, which is a majority. First run: fab "
            f"postgres.etcd. If etcd does not start on {', '.join(stopped) or 'one of them'}, move "
            f"its data aside there: {steps.moved_aside(data(cluster), 'broken', 'etcd')}"
        )
    if holding and survivor.name not in holding:
        raise RunbookError(
            f"{survivor.name} has none of etcd's data, but {holding[0]} has: "
            f"fab postgres.etcd-recover {holding[0]}"
        )


def put_away(cluster: Cluster) -> Step:
    """etcd does not run, also not after a reboot, and what it holds is kept under another name."""
    path = data(cluster)
    return command(
        "etcd's data is moved aside",
        "systemctl disable --now etcd\n"
        f"if [[ -e {path} ]]; then {steps.moved_aside(path, 'lost', 'etcd')}; fi",
        unless=f"[[ ! -e {path} ]] && unit_is etcd.service inactive disabled || {HAS_QUORUM}",
    )


HAS_QUORUM = f"[[ $(curl -s -m 3 {etcd_url('127.0.0.1')}/health) == *'\"true\"'* ]]"


def founded_again(host: Host, cluster: Cluster, keeps: bool, speaks: Speaks) -> Steps:
    """etcd is a cluster of this one member: of the data that it has, or empty.

    With --force-new-cluster, etcd forgets the other members and keeps what it holds (etcd,
    "Disaster recovery"). The option is in effect only once, and the data is copied before.
    """
    path, alone = data(cluster), f"ETCD_INITIAL_CLUSTER={host.name}={peer(host, speaks)}"
    token = f"ETCD_INITIAL_CLUSTER_TOKEN={cluster.name}-$(date +%s)"
    begin = f'printf "%s\\n" {alone} ETCD_INITIAL_CLUSTER_STATE=new "{token}"'
    force = " ETCD_FORCE_NEW_CLUSTER=true" if keeps else ""
    copy = (
        f'runuser -u etcd -- cp -a {path} "{path}.before-$(date +%Y%m%d-%H%M%S)"\n' if keeps else ""
    )
    yield settings_folder()
    yield configuration(host, cluster, speaks)
    yield command(
        f"etcd is a cluster of {host.name} alone",
        f"""systemctl stop etcd
{copy}rm -f /etc/etcd/join.conf
{begin}{force} >/etc/etcd/join.conf
systemctl enable --now etcd
until {HAS_QUORUM}; do sleep 0.5; done
{begin} >/etc/etcd/join.conf""",
        unless=HAS_QUORUM,
        timeout=120,
    )


def knows_the_cluster(cluster: Cluster, system: int) -> Step:
    """etcd has the identifier of the database and its settings; another identifier is refused.

    Without them, Patroni would make a new database where it finds an empty directory.
    """
    identifier, config = key(cluster, "initialize"), key(cluster, "config")
    settings = quote(json.dumps(yaml.safe_load(shared(cluster))))
    value = f"{etcdctl()} get --print-value-only"
    return command(
        f"etcd knows the database {system}",
        f"""found=$({value} {identifier})
if [[ $found && $found != {system} ]]; then
  echo "etcd knows the database $found, but the servers hold {system}"
  exit 1
fi
{etcdctl()} put {identifier} {system}
if [[ ! $({value} {config}) ]]; then {etcdctl()} put {config} {settings}; fi""",
        unless=f"[[ $({value} {identifier}) == {system} && $({value} {config}) ]]",
    )


def forgotten(cluster: Cluster) -> Step:
    """Delete the leader and positions from etcd; settings and identifier stay."""
    return action(
        "etcd has no previous leader",
        "\n".join(f"{etcdctl()} del {key(cluster, name)}" for name in FORGOTTEN),
    )


def leads(host: Host) -> Step:
    """Patroni runs here, as leader, and PostgreSQL accepts writes, some moments later."""
    return action(
        f"{host.name} leads",
        "systemctl enable --now patroni\n"
        f"until curl -sf -o /dev/null {rest(host)}/primary; do sleep 0.5; done\n"
        f"until [[ $({PSQL} -c 'select pg_is_in_recovery()') == f ]]; do sleep 0.5; done",
    )


def joins(founders: Sequence[Host], cluster: Cluster, speaks: Speaks) -> Callable[[Host], Steps]:
    """The last one of these joins the others as a member of etcd, with their data.

    While it has not started, two members may have no quorum: they are asked for their list by a
    way that needs none.
    """
    survivor, newest = founders[0], founders[-1]
    initial = ",".join(f"{one.name}={peer(one, speaks)}" for one in founders)
    listing = f"curl -s -m 3 -d '{{}}' {etcd_url(survivor.address)}/v3/cluster/member/list"
    there = peer(newest, speaks)
    known = f"{listing} | grep -qF '\"{there}\"'"
    add = f"{etcdctl([survivor])} member add {newest.name} --peer-urls={there}"

    def of(host: Host) -> Steps:
        yield settings_folder()
        yield configuration(host, cluster, speaks)
        yield command(
            f"etcd knows {host.name} as a member",
            f"until {known} || {add}; do sleep 1; done",
            unless=known,
            timeout=60,
        )
        yield command(
            f"etcd on {host.name} has joined the others",
            f"""rm -f /etc/etcd/join.conf
printf '%s\\n' ETCD_INITIAL_CLUSTER={initial} ETCD_INITIAL_CLUSTER_STATE=existing \\
  >/etc/etcd/join.conf
systemctl enable --now etcd""",
            unless=f"[[ -d {data(cluster)}/member ]] && unit_is etcd.service active enabled",
        )
        yield healthy(host)

    return of
