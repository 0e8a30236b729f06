"""The picture as JSON: the format that other programs may rely on."""

from __future__ import annotations

import time
from typing import Any

from .picture import Picture, Server

FORMAT = 3
"""Raised when something that is there goes or changes its meaning; what is added does not count."""


def document(picture: Picture) -> dict[str, Any]:
    """What `inv cluster.status --json` prints; docs/status.md describes it."""
    return {
        "format": FORMAT,
        "cluster": picture.cluster.name,
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(picture.when)),
        "seconds": round(picture.seconds, 2),
        "status": picture.word,
        "exit": picture.exit_code,
        "warnings": list(picture.cluster.warnings),
        "parts": [
            {
                "name": part.name,
                "status": str(part.level).upper(),
                "now": part.now,
                "redundancy": part.redundancy,
            }
            for part in picture.parts
        ],
        "problems": [
            {
                "code": one.code,
                "status": str(one.level).upper(),
                "part": one.part,
                "hosts": list(one.hosts),
                "says": list(one.says),
                "impact": one.impact,
                "fix": list(one.fix),
                "follows": list(one.follows),
            }
            for one in picture.problems
        ],
        "hosts": {server.host.name: _server(server) for server in picture.servers},
        "findings": [
            {
                "section": one.section,
                "host": one.host,
                "title": one.title,
                "status": str(one.level).upper(),
                "says": one.verdict.sentence,
                "code": one.cause.code if one.cause and one.level != "ok" else "",
            }
            for one in picture.survey.findings
        ],
    }


def _server(server: Server) -> dict[str, Any]:
    told: dict[str, Any] = {
        "address": server.host.address,
        "roles": list(server.host.roles),
        "state": server.state,
        "why": server.why,
    }
    vitals = server.vitals
    if vitals:
        told |= {
            "uptime": vitals.uptime,
            "load": vitals.load,
            "cpus": vitals.cpus,
            "memory_mb": vitals.memory,
            "memory_available_mb": vitals.available,
            "disks": {disk.path: disk.used for disk in vitals.disks},
            "clock_off": None if server.clock is None else round(server.clock, 3),
            "clock_synchronised": vitals.synchronised,
            "failed_units": list(vitals.failed),
            "reboot": vitals.reboot,
        }
    return told
