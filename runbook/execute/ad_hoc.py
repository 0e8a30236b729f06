"""`fab -H … -- command`: any command of the user, on several hosts in parallel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable, Optional

from runbook.captured import Captured, Lines
from runbook.errors import RunbookError, SettingsError, UnreachableError
from runbook.inventory.cluster import Host
from runbook.results import DO, HostResult, Status, StepResult
from runbook.secrets.patterns import typed_without_passwords

if TYPE_CHECKING:
    from runbook.execute.run import Run


UNTOLD = "a command, which connection.journal_commands leaves out"
"""What the journal says of a command whose text it does not get."""

SHORT = 1 << 20
"""Bytes of output up to which a host's lines are held back, to keep the hosts in order."""


class Output:
    """The output of a command on a host: kept, or passed on as it arrives once it is long.

    Without `hand_on` (with --json), long output is reduced to its first and last lines.
    """

    def __init__(self, hand_on: Optional[Callable[[list[str]], None]]) -> None:
        self._hand_on = hand_on
        self._captured = Captured()
        self._lines = Lines()
        self._kept: list[str] = []
        self._size = 0

    def take(self, data: bytes) -> None:
        """Add output."""
        if not self._hand_on:
            self._captured.add(data)
            return
        self._kept += self._lines.add(data)
        self._size += len(data)
        if self._size > SHORT:
            self._hand_on(self._kept)
            self._kept = []

    def end(self) -> list[str]:
        """Return the lines that have not been passed on."""
        if not self._hand_on:
            return self._captured.end()
        return [*self._kept, *self._lines.end()]


def ad_hoc(run: Run, command: str) -> None:
    """Run a command as the login user on every host of -H, in parallel."""
    hosts = run.cluster.select(run.options.hosts)
    if run.options.dry:
        run.report.commands("command", "", {host.name: [("", command)] for host in hosts})
        return
    run.begin("command", command, hosts, DO)
    journalled = (
        typed_without_passwords(command) if run.cluster.connection.journal_commands else UNTOLD
    )

    def one(host: Host) -> HostResult:
        result = HostResult("command", host.name, DO)
        began = time.monotonic()
        part = StepResult(journalled, command)
        output = Output(run.report.output_of(host))
        try:
            run.connections.open(host)
            part.code = run.connections.command(host, command, output.take)
            part.output = output.end()
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
