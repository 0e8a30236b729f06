"""Copies a folder of this machine to a server: patchwork's rsync with the keys of the run."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import ModuleType, SimpleNamespace
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
        connection = run.connections.open(host)
        _refuse_typed_passphrase(run)
        connection.config.run.hide = "both"
        try:
            with verified_key(connection, host) as known_hosts:
                done = patchworks_rsync()(
                    seen_by_ssh(connection, host),
                    quote(f"{folder}/"),
                    f"{target}/",
                    delete=True,
                    rsync_opts=f"--rsync-path='sudo -n rsync' --copy-links --itemize-changes{plan}",
                    ssh_opts=options(run, host, connection, known_hosts),
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


def _refuse_typed_passphrase(run: Run) -> None:
    keys = run.connections.keys
    if keys.only_here:
        raise SettingsError(
            f"rsync cannot ask for the passphrase of {keys.path}; load the key into an agent: "
            f"ssh-add {keys.path}"
        )


@contextmanager
def verified_key(connection: Any, host: Host) -> Iterator[str]:
    """Write a known_hosts file that contains only the key that this run has verified."""
    key = connection.transport.get_remote_server_key()
    with NamedTemporaryFile("w", prefix="known_hosts-") as file:
        file.write(f"{host.name} {key.get_name()} {key.get_base64()}\n")
        file.flush()
        yield file.name


def seen_by_ssh(connection: Any, host: Host) -> SimpleNamespace:
    """Return what patchwork uses of a connection; ssh looks up this name in ssh_config."""
    return SimpleNamespace(
        user=connection.user,
        host=host.name,
        port=connection.port,
        connect_kwargs=connection.connect_kwargs,
        local=connection.local,
    )


def options(run: Run, host: Host, connection: Any, known_hosts: str) -> str:
    """Return the options with which ssh connects as the run does; ssh_config has the rest."""
    words = [
        *run.connections.ssh_config.options,
        *("-i", str(run.connections.keys.path).replace("%", "%%")),
        *("-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", f"UserKnownHostsFile={known_hosts}"),
        *("-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", f"HostKeyAlias={host.name}"),
        *("-o", f"HostName={connection.host}"),
    ]
    gateway = run.connections.gateway(host)
    if gateway:
        words += ["-J", gateway.replace("\\", "\\\\")]  # ssh runs a shell for that
    return " ".join(map(in_rsh, words))


def in_rsh(word: str) -> str:
    """Quote a word for rsync's --rsh, which patchwork puts in single quotes for the shell."""
    if not re.search(r"[\s\"']", word):
        return word
    doubled = word.replace('"', '""')
    return f'"{doubled}"'.replace("'", "'\\''")


def patchworks_rsync() -> Callable[..., Any]:
    """patchwork's rsync; patchwork 1.0.1 imports a name that Invoke 2 no longer has."""
    six = ModuleType("invoke.vendor.six")
    six.string_types = (str,)  # type: ignore[attr-defined]
    sys.modules.setdefault("invoke.vendor.six", six)
    from patchwork import transfers

    found: Callable[..., Any] = transfers.rsync
    return found
