"""The web UI for a client that trusts the cluster's CA."""

from __future__ import annotations

from pathlib import Path

from support.outsiders import own_authority

from lab.machine import Lab

WEB = "https://192.168.83.210"


def trusting(lab: Lab) -> list[str]:
    """Options of curl on the controller, with which it verifies servers of the cluster."""
    file = Path(lab.environment()["RUNBOOK_STATE"], "trusted-by-clients.crt")
    file.write_text("".join(own_authority(lab).trusted))
    return ["--cacert", str(file)]
