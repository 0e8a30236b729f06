"""A new login, as the proof that a change has not locked the controller out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runbook.declare.step import Step
from runbook.errors import RunbookError, SettingsError
from runbook.results import PLAN, HostResult

if TYPE_CHECKING:
    from runbook.execute.run import Run
    from runbook.inventory.cluster import Host


def log_in_again(run: Run, hosts: Sequence[Host], waiting: str, kept: Step, otherwise: str) -> None:
    """Log in anew to the hosts on which the command `waiting` succeeds, and carry out `kept` there.

    `otherwise` is added to the sentence about a host on which this fails. A plan does nothing.
    """
    from runbook.execute.conversation import ask, converse

    def waits(host: Host) -> bool:
        try:
            run.connections.open(host)
            return ask(run, host, [waiting])[0].code == 0
        except SettingsError:
            raise
        except RunbookError:  # reported by the conversation below
            return False

    def outcome(host: Host) -> HostResult:
        result = HostResult(run.task, host.name, run.mode)
        if run.mode == PLAN:
            return result
        anew = waits(host)
        if anew:
            run.connections.drop(host)
        converse(run, result, host, [kept])
        if anew and not result.fine:
            result.sentence = f"{result.sentence} {otherwise}".strip()
        return result

    run.each(hosts, outcome)
