"""Copies a folder of this machine to a server: patchwork's rsync with the keys of the run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import invoke

from runbook.declare.step import quote
from runbook.errors import RunbookError, SettingsError
from runbook.inventory.cluster import Host
from runbook.results import HostResult, Status, StepResult

if TYPE_CHECKING:
    from runbook.execute.run import Run


def push(run: Run, host: Host, folder: Path, target: str) -> None:
    """Make `target` on the server, owned by root, equal to `folder` here; a plan only compares.

    Raises SettingsError if the folder or rsync is missing here.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder on this machine.")
    if not shutil.which("rsync"):
        raise SettingsError("rsync is not installed on this machine; install it.")
    plan = " --dry-run" if run.options.plan else ""

    def copy(host: Host) -> HostResult:
        result = HostResult(run.task, host.name, run.options.mode)
        part = StepResult(f"{target} is as {folder} here", f"rsync {folder}/ {host.name}:{target}/")
        connection = run.connections.open(host)  # its host key has been verified now
        connection.config.run.hide = "both"
        try:
            done = patchworks_rsync()(
                connection,
                quote(f"{folder}/"),
                f"{target}/",
                delete=True,
                rsync_opts=f"--rsync-path='sudo -n rsync' --copy-links --itemize-changes{plan}",
                ssh_opts=options(run),
            )
        except invoke.UnexpectedExit as error:
            lines = str(error.result.stderr).strip().splitlines()
            raise RunbookError(
                f"{folder} could not be copied to {host.name}: {lines[-1] if lines else error}."
            ) from None
        moved = [line for line in done.stdout.splitlines() if line.startswith(("<", "*"))]
        changed = Status.DIFFERS if plan else Status.CHANGED
        part.status = changed if moved else Status.OK
        result.add(part)
        return result

    run.each([host], copy)


def options(run: Run) -> str:
    """What ssh needs to connect as the run does: key, pinned host keys, gateway."""
    settings = run.cluster.connection
    files = " ".join(str(run.cluster.path(name)) for name in settings.known_hosts)
    hop = f" -J {settings.gateway}" if settings.gateway else ""
    key = run.cluster.path(settings.key)
    strict = f'-o StrictHostKeyChecking=yes -o UserKnownHostsFile="{files}"'
    return f"-i {key} -o BatchMode=yes {strict}{hop}"


def patchworks_rsync() -> Callable[..., Any]:
    """patchwork's rsync; patchwork 1.0.1 imports a name that Invoke 2 no longer has."""
    six = ModuleType("invoke.vendor.six")
    six.string_types = (str,)  # type: ignore[attr-defined]
    sys.modules.setdefault("invoke.vendor.six", six)
    from patchwork import transfers

    found: Callable[..., Any] = transfers.rsync
    return found
