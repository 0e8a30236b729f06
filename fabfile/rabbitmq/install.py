"""RabbitMQ and the Erlang that fits it, both held at their version."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.sources import Sources
from ..shared.versions import Versions
from .common import section


@section.task
def repo(host: Host, cluster: Cluster) -> Steps:
    """Add RabbitMQ's own repositories: one for Erlang, one for the server."""
    sources = cluster[Sources]
    own = sources.rabbitmq
    signed = steps.signed(*own.keys)
    yield steps.release_variable()
    yield steps.repository(
        "rabbitmq",
        {
            "rabbitmq-erlang": {"name": "Erlang", **sources.repository(own.erlang), **signed},
            "rabbitmq-server": {"name": "RabbitMQ", **sources.repository(own.server), **signed},
        },
    )


@section.task
def install(host: Host, cluster: Cluster) -> Steps:
    """Install RabbitMQ and Erlang, held at the versions in hosts.yaml.

    RabbitMQ runs only with certain versions of Erlang, and its RPM accepts more than these ("Erlang
    Version Requirements"). Another installed version is refused: nodes are upgraded one at a time.
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
    """The package is not installed, or is installed in this version."""
    present = f"$(rpm -q --qf '%{{VERSION}}' {name})"
    return steps.precondition(
        f"{name} is not installed in another version",
        f"! rpm -q {name} || [[ {present} == {version} ]]",
        f'echo "{name} {present} is installed, but hosts.yaml wants {version}."\n'
        'echo "To upgrade node by node: fab rabbitmq.upgrade. Otherwise name the installed version '
        'in hosts.yaml."',
        early=True,
    )
