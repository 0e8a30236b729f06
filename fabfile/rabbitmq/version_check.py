"""What runs, what is installed, and what hosts.yaml names; feature flags."""

from __future__ import annotations

import re
from collections.abc import Mapping

from runbook.declare.answers import Release, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.inventory.cluster import Cluster

from ..shared.roles import RABBITMQ
from ..shared.versions import Versions, within
from .common import SILENT, everybody, members, section
from .nodes import State
from .settings import erlang_for, may_fit

PACKAGES = ("rabbitmq-server", "erlang")

VERSIONS = section.cause("MQ_VERSIONS", "nodes may refuse each other after a restart")
FLAGS = section.cause("MQ_FEATURE_FLAGS", "a later RabbitMQ may refuse to start on these nodes")


def parse(text: str) -> dict[str, str]:
    """Parse the answer of INSTALLED: name and version of each package that is installed."""
    found = re.findall(r"^([a-z-]+) ([0-9]\S*)$", text, re.MULTILINE)
    return {name: one(version, Release) for name, version in found if name in PACKAGES}


INSTALLED = Fact(
    "the installed RabbitMQ and Erlang",
    on=RABBITMQ,
    command=lambda cluster, host: (
        f"rpm -q --qf '%{{NAME}} %{{VERSION}}\\n' {' '.join(PACKAGES)} || :"
    ),
    parse=parse,
    absent="the server does not answer",
)


def wanted(cluster: Cluster) -> dict[str, str]:
    """The version of each package in hosts.yaml."""
    versions = cluster[Versions]
    return {"rabbitmq-server": versions.rabbitmq, "erlang": versions.erlang}


def versions(cluster: Cluster, states: Mapping[str, State], facts: Facts) -> Findings:
    """One version of RabbitMQ on all nodes, on an Erlang that fits it, and no other installed."""
    yield equal(cluster, states)
    yield from installed(cluster, states, facts)
    yield from flags(cluster, states)


def equal(cluster: Cluster, states: Mapping[str, State]) -> Finding:
    """All nodes run one version of RabbitMQ on one of Erlang, and these fit each other."""
    found = {(state.rabbitmq, state.erlang) for state in states.values()}
    if len(found) > 1:
        said = "; ".join(
            f"{name} has {state.rabbitmq} on {state.erlang}" for name, state in states.items()
        )
        target = (cluster[Versions].rabbitmq, cluster[Versions].erlang)
        odd = [n for n, state in states.items() if (state.rabbitmq, state.erlang) != target]
        way_out = f"fab -H {','.join(odd)} rabbitmq.restart, once the packages match hosts.yaml"
        return Finding("versions are equal", Verdict(ERROR, said), fix=way_out, cause=VERSIONS)
    if not found:
        verdict = Verdict(WARN, "no node answered")
        return Finding("versions are equal", verdict, cause=SILENT, about=everybody(cluster))
    [(rabbitmq, erlang)] = found
    known = erlang_for(rabbitmq)
    if known and not within(erlang, known):
        sentence = f"RabbitMQ {rabbitmq} needs Erlang {known[0]} to {known[1]}, but has {erlang}"
        install = f"dnf install erlang-{cluster[Versions].erlang} on each server"
        way_out = f"{install}, then fab rabbitmq.restart"
        verdict = Verdict(WARN if may_fit(erlang, known) else ERROR, sentence)
        return Finding("versions are equal", verdict, fix=way_out, cause=VERSIONS)
    return Finding("versions are equal", Verdict(OK, f"{rabbitmq} on Erlang {erlang}"))


def installed(cluster: Cluster, states: Mapping[str, State], facts: Facts) -> Findings:
    """Every node runs what is installed, and that is what hosts.yaml names."""
    title = "nodes run the installed versions"
    known = facts.known(INSTALLED)
    stale = [
        f"{name} runs {label} {runs}, installed is {known[name][package]}"
        for name, state in states.items()
        for package, label, runs in (
            ("rabbitmq-server", "RabbitMQ", state.rabbitmq),
            ("erlang", "Erlang", state.erlang),
        )
        if name in known and known[name].get(package, runs) != runs
    ]
    if stale:
        odd = sorted({sentence.split()[0] for sentence in stale})
        way_out = f"fab -H {','.join(odd)} rabbitmq.restart"
        yield Finding(title, Verdict(ERROR, "; ".join(stale)), fix=way_out, cause=VERSIONS)
        return
    others = [
        f"{name} has {package} {version}"
        for name, packages in known.items()
        for package, version in packages.items()
        if version != wanted(cluster)[package]
    ]
    if others:
        names = " and ".join(wanted(cluster).values())
        sentence = f"{'; '.join(others)}; {cluster.file.name} names {names}"
        yield Finding(title, Verdict(WARN, sentence), fix="fab rabbitmq.upgrade", cause=VERSIONS)
    elif known:
        yield Finding(title, Verdict(OK))


def flags(cluster: Cluster, states: Mapping[str, State]) -> Findings:
    """All stable feature flags are enabled; while versions differ, new ones cannot be."""
    if len({state.rabbitmq for state in states.values()}) != 1:
        return
    off = disabled(states)
    if not off:
        yield Finding("feature flags are enabled", Verdict(OK))
        return
    way_out = f"fab -H {members(cluster)[0].name} -- sudo rabbitmqctl enable_feature_flag all"
    verdict = Verdict(WARN, f"{', '.join(off)} {'is' if len(off) == 1 else 'are'} disabled")
    yield Finding("feature flags are enabled", verdict, fix=way_out, cause=FLAGS)


def disabled(states: Mapping[str, State]) -> list[str]:
    """Stable feature flags that some node does not have enabled."""
    return sorted(
        {
            str(flag["name"])
            for state in states.values()
            for flag in state.flags
            if flag.get("stability") == "stable" and flag.get("state") == "disabled"
        }
    )
