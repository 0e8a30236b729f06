"""RabbitMQ and the Erlang that fits it, both held at their version."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.sources import Sources, urls
from ..shared.versions import Versions
from .common import section


@section.task
def repo(host: Host, cluster: Cluster) -> Steps:
    """RabbitMQ's own repositories: one for Erlang, one for the server."""
    source = cluster[Sources].rabbitmq
    signed = steps.signed(*source.keys)
    yield steps.release_variable()
    yield steps.repository(
        "rabbitmq",
        {
            "rabbitmq-erlang": {"name": "Erlang", "baseurl": urls(source.erlang), **signed},
            "rabbitmq-server": {"name": "RabbitMQ", "baseurl": urls(source.server), **signed},
        },
    )


@section.task
def install(host: Host, cluster: Cluster) -> Steps:
    """Install RabbitMQ and Erlang, held at the versions that hosts.yaml says.

    RabbitMQ runs with certain Erlangs only, and its RPM accepts more than these ("Erlang Version
    Requirements"). Another version that is installed is refused: nodes are upgraded one at a time.
    """
    yield from repo(host, cluster)
    wanted = {
        "erlang": cluster[Versions].erlang,
        "rabbitmq-server": cluster[Versions].rabbitmq,
    }
    for name, version in wanted.items():
        yield no_other_version(name, version)
    yield steps.packages_at(wanted)
    yield from steps.version_locked(wanted)


def no_other_version(name: str, version: str) -> Step:
    """The package is absent, or there in this version."""
    present = f"$(rpm -q --qf '%{{VERSION}}' {name})"
    return steps.precondition(
        f"{name} is not there in another version",
        f"! rpm -q {name} || [[ {present} == {version} ]]",
        f'echo "{name} {present} is installed, and hosts.yaml wants {version}."\n'
        'echo "Upgrade one node at a time by hand, or name the version that is there."',
        early=True,
    )
