"""`fab -H … -- command`: any command of the user, on several hosts in parallel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runbook.errors import RunbookError, SettingsError, UnreachableError
from runbook.inventory.cluster import Host
from runbook.results import DO, HostResult, Status, StepResult

if TYPE_CHECKING:
    from runbook.execute.run import Run


def ad_hoc(run: Run, command: str) -> None:
    """Run a command as the login user on every host of -H, in parallel."""
    hosts = run.cluster.select(run.options.hosts)
    if run.options.dry:
        run.report.commands("command", "", {host.name: [("", command)] for host in hosts})
        return
    run.begin("command", command, hosts, DO)

    def one(host: Host) -> HostResult:
        result = HostResult("command", host.name, DO)
        began = time.monotonic()
        part = StepResult(command, command)
        try:
            run.connections.open(host)
            part.code, part.output = run.connections.command(host, command)
        except SettingsError:
            raise
        except RunbookError as error:
            result.status = (
                Status.UNREACHABLE if isinstance(error, UnreachableError) else Status.FAILED
            )
            result.sentence = str(error)
            return result
        part.seconds = result.seconds = time.monotonic() - began
        part.status = Status.FAILED if part.code else Status.RAN
        result.add(part)
        return result

    run.each(hosts, one)
    run.report.task_ends()
