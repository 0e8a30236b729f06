"""What `fab --json` prints: the format that other programs may rely on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runbook.results import HostResult, Status, StepResult, gravest

FORMAT = 2
"""The version of the JSON document; raised when a key is removed or changes its meaning."""


def document(
    results: Sequence[HostResult],
    tables: Mapping[str, Any],
    messages: Sequence[str],
    exit_code: int,
) -> dict[str, Any]:
    """All results of a run, by task and host."""
    tasks: dict[str, Any] = {}
    for result in results:
        entry = tasks.setdefault(result.task, {"mode": result.mode, "hosts": {}})
        data, earlier = _as_data(result), entry["hosts"].get(result.host)
        if earlier:  # another stage of the same procedure
            data["steps"] = [*earlier["steps"], *data["steps"]]
            data["seconds"] = round(data["seconds"] + earlier["seconds"], 2)
            data["status"] = gravest([data["status"], earlier["status"]])
        entry["hosts"][result.host] = data
    return {
        "format": FORMAT,
        "tasks": tasks,
        "hosts": {
            host: gravest(result.status for result in own) for host, own in by_host(results).items()
        },
        "tables": tables,
        "messages": messages,
        "exit": exit_code,
    }


def _as_data(result: HostResult) -> dict[str, Any]:
    return {
        "status": result.status,
        "sentence": result.sentence,
        "seconds": round(result.seconds, 2),
        "steps": [_step_data(part) for part in result.parts],
    }


def _step_data(part: StepResult) -> dict[str, Any]:
    data: dict[str, Any] = {
        "title": part.title,
        "status": part.status,
        "seconds": round(part.seconds, 2),
        "code": part.code,
        "output": [] if part.finding else part.output,
    }
    if part.finding:
        bad = part.status != Status.OK
        data["says"] = part.finding.verdict.sentence
        data["fix"] = part.finding.fix if bad else ""
        data["cause"] = part.finding.cause.code if part.finding.cause and bad else ""
        data["redundancy"] = part.finding.redundancy
    return data


def by_host(results: Iterable[HostResult]) -> dict[str, list[HostResult]]:
    grouped: dict[str, list[HostResult]] = {}
    for result in results:
        grouped.setdefault(result.host, []).append(result)
    return grouped
