"""What the load balancers need of the servers, and what they would replace."""

from __future__ import annotations

from runbook.declare.probes import ERROR, OK, WARN, Answer, Probes, Verdict, probe
from runbook.inventory.cluster import Cluster, Host

from ..shared import keepalived
from ..shared.roles import HAPROXY, POSTGRES, WEBSERVER
from .common import CONFIG, UNIT, section

section.calls(HAPROXY, POSTGRES, "5432/tcp", "8008/tcp")
section.calls(HAPROXY, WEBSERVER, "8080/tcp")


@section.preflight
def preflight(host: Host, cluster: Cluster) -> Probes:
    """No HAProxy or keepalived of somebody else."""
    yield probe(
        "no foreign HAProxy",
        f"""if [[ ! -e {CONFIG} ]] || grep -q '^# Written by `fab' {CONFIG}; then exit; fi
if rpm -q haproxy >/dev/null && ! rpm -V haproxy | grep -q ' {CONFIG}$'; then exit; fi
systemctl is-active {UNIT}""",
        unused,
        fix=f"keep a copy of {CONFIG}, move what it serves to another server",
    )
    yield keepalived.no_other()


def unused(answer: Answer) -> Verdict:
    """HAProxy has no settings but its package's or ours."""
    if not answer.words:
        return Verdict(OK)
    running = answer.words[0] == "active"
    sentence = f"{CONFIG} has settings of somebody else, which would be replaced"
    return Verdict(ERROR if running else WARN, sentence)
