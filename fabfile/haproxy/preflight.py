"""Requirements of the load balancers on the servers, and settings that they would replace."""

from __future__ import annotations

from runbook.declare.probes import ERROR, OK, WARN, Answer, Probes, Verdict, probe
from runbook.inventory.cluster import Cluster, Host

from ..shared import keepalived
from .common import CONFIG, UNIT, section


@section.preflight
def preflight(host: Host, cluster: Cluster) -> Probes:
    """Check for an HAProxy or keepalived that this project did not set up."""
    yield probe(
        "no foreign HAProxy",
        f"""if [[ ! -e {CONFIG} ]] || grep -q '^# Written by `fab' {CONFIG}; then exit; fi
if rpm -q haproxy >/dev/null && ! rpm -V haproxy | grep -q ' {CONFIG}$'; then exit; fi
systemctl is-active {UNIT}""",
        unused,
        fix=f"keep a copy of {CONFIG}, and move its services to another server",
    )
    yield keepalived.no_other()


def unused(answer: Answer) -> Verdict:
    """HAProxy has only the settings of its package or of this project."""
    if not answer.words:
        return Verdict(OK)
    running = answer.words[0] == "active"
    sentence = f"{CONFIG} was not written by this project, and would be replaced"
    return Verdict(ERROR if running else WARN, sentence)
