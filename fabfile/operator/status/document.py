"""The picture as JSON: the format that other programs may rely on."""

from __future__ import annotations

import time
from typing import Any

from runbook.declare.probes import Finding

from .picture import Part, Picture, Problem, Server

FORMAT = 3
"""Raised when a key is removed or changes its meaning, but not when one is added."""


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
        "parts": [_part(part) for part in picture.parts],
        "problems": [_problem(problem) for problem in picture.problems],
        "hosts": {server.host.name: _server(server) for server in picture.servers},
        "findings": [_finding(finding) for finding in picture.survey.findings],
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "status": str(part.level).upper(),
        "now": part.now,
        "redundancy": part.redundancy,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "status": str(problem.level).upper(),
        "part": problem.part,
        "hosts": list(problem.hosts),
        "says": list(problem.says),
        "impact": problem.impact,
        "fix": list(problem.fix),
        "follows": list(problem.follows),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    cause = finding.cause
    return {
        "section": finding.section,
        "host": finding.host,
        "title": finding.title,
        "status": str(finding.level).upper(),
        "says": finding.verdict.sentence,
        "code": cause.code if cause and finding.level != "ok" else "",
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
