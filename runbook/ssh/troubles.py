"""Messages for the user about problems with connections."""

from __future__ import annotations

import socket
from typing import Any

import paramiko

from runbook.errors import AccessError, UnreachableError
from runbook.inventory.cluster import Host
from runbook.script import Reader
from runbook.ssh.connection import HostConnection

SUDO_PASSWORD = "RUNBOOK_SUDO_PASSWORD"
BOOTSTRAP_PASSWORD = "RUNBOOK_BOOTSTRAP_PASSWORD"


def reason(error: BaseException) -> str:
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or "it closed the connection"


def unreachable(host: Host, connection: HostConnection, error: BaseException) -> UnreachableError:
    return UnreachableError(
        f"{host.name} ({connection.host}:{connection.port}) is unreachable: {reason(error)}."
    )


def changed_key(host: Host, connection: HostConnection, error: paramiko.BadHostKeyException) -> str:
    """The sentence for a host key that is not the pinned one."""
    return (
        f"{host.name} ({connection.host}) shows a host key that differs from the pinned one: "
        f"{error.key.fingerprint} instead of {error.expected_key.fingerprint}. "
        "If the server was reinstalled, compare the new fingerprint on the host, then: "
        f"fab -H {host.name} ssh.trust --replace. If not, the connection may be intercepted."
    )


def refused_login(host: Host, connection: HostConnection, login: dict[str, Any]) -> str:
    if "password" in login:
        return (
            f"{host.name} does not let {connection.user} in with that password; "
            f"check {BOOTSTRAP_PASSWORD}, and PermitRootLogin on the host."
        )
    return (
        f"{host.name} does not let {connection.user} in with the key of hosts.yaml; "
        f"if the host is new: fab -H {host.name} ssh.bootstrap"
    )


def no_root(host: Host, user: str, said: str, asked: bool) -> AccessError:
    if "not in the sudoers" in said or "not allowed" in said or "may not run" in said:
        return AccessError(
            f"{host.name}: {user} may not use sudo; fab -H {host.name} ssh.bootstrap"
        )
    if asked:
        return AccessError(f"{host.name}: sudo does not accept the password of {user}.")
    said = " ".join(said.split())
    return AccessError(f"{host.name}: no root shell for {user}: {said or 'no answer'}.")


def silent(host: Host, reader: Reader) -> str:
    if not reader.began:
        return f"{host.name} does not answer: its shell did not start in time. Rerunning is safe."
    step = reader.current.title if reader.current else "the end"
    return f"{host.name} stopped answering at: {step}. Check whether it still runs, then rerun."


def cut(host: Host, reader: Reader, reason: str) -> str:
    step = f" at: {reader.current.title}" if reader.current else ""
    return f"the connection to {host.name} was lost{step} ({reason}). Rerunning is safe."
