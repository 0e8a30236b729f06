"""Requirements of the message queue on the servers, and what conflicts with it."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.probes import Findings, Probes, probe
from runbook.inventory.cluster import Cluster, Host

from ..preflight import trouble
from ..preflight.foreign import none
from ..preflight.system import SYSTEM
from ..shared.sources import ERLANG, RABBITMQ, RABBITMQ_KEYS
from .common import DATA, SERVICE, members, section

for source in (ERLANG, RABBITMQ, RABBITMQ_KEYS):
    section.fetches(source)


@section.preflight
def preflight(host: Host, cluster: Cluster) -> Probes:
    """Check for a RabbitMQ that this project did not set up, running or with data."""
    yield probe(
        "no foreign RabbitMQ",
        f"""if ! grep -qsx 'cluster_name = {cluster.name}' /etc/rabbitmq/rabbitmq.conf; then
  systemctl list-units --no-legend --plain --state=active {SERVICE} | cut -d' ' -f1
  [[ ! $(ls -A {DATA} 2>/dev/null) ]] || echo {DATA}
  rpm -q esl-erlang | grep -v 'not installed'
fi
exit 0""",
        none("was not set up by this project"),
        fix=f"export its definitions, dnf remove rabbitmq-server esl-erlang, and mv {DATA} away",
    )


@section.cluster_preflight(needs=[SYSTEM])
def architecture(cluster: Cluster, facts: Facts) -> Findings:
    """Check for x86_64: RabbitMQ's repositories have no Erlang for other architectures."""
    for host in members(cluster):
        known = facts.known(SYSTEM).get(host.name)
        if known and known.arch != "x86_64":
            yield trouble.stops(
                host.name,
                "release",
                f"RabbitMQ's Erlang exists for x86_64 only, but this server is {known.arch}",
                "use an x86_64 server for the role rabbitmq",
            )
