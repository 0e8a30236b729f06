"""Messages for the user about problems with connections."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, Union

import paramiko

from runbook.errors import AccessError, UnreachableError
from runbook.inventory.cluster import Host
from runbook.script import Reader
from runbook.ssh.known_hosts import RevokedHostKey, UnknownHostKey, UnlistedHostKey

if TYPE_CHECKING:
    from runbook.ssh.login import Login
    from runbook.ssh.routes import Place

SUDO_PASSWORD = "RUNBOOK_SUDO_PASSWORD"
BOOTSTRAP_PASSWORD = "RUNBOOK_BOOTSTRAP_PASSWORD"
FORWARDING_FORBIDDEN = 1
"""SSH's failure code for a channel that the server prohibits."""

Untrusted = Union[UnknownHostKey, UnlistedHostKey, RevokedHostKey, paramiko.BadHostKeyException]


def reason(error: BaseException) -> str:
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or "it closed the connection"


def unreachable(place: Place, error: BaseException) -> UnreachableError:
    proxy = f" (through ProxyCommand {place.settings.proxy})" if place.settings.proxy else ""
    return UnreachableError(
        f"{place.title} ({place.address}) is unreachable{proxy}: {reason(error)}."
    )


def refuse_forwarding(gateway: Place, place: Place, error: paramiko.ChannelException) -> NoReturn:
    """Raise the error for a gateway that does not connect to the target behind it."""
    if error.code == FORWARDING_FORBIDDEN:
        raise UnreachableError(
            f"{gateway.title} does not forward connections to {place.title} ({place.address}): "
            "its sshd forbids it; set AllowTcpForwarding and PermitOpen there."
        ) from None
    raise UnreachableError(
        f"{gateway.title} cannot connect to {place.title} ({place.address}): "
        f"{error.text or 'no reason given'}."
    ) from None


def refuse_untrusted(place: Place, error: Untrusted) -> NoReturn:
    """Raise the error for a host key that is unknown, revoked, or not the pinned one."""
    address = place.settings.hostname
    if isinstance(error, RevokedHostKey):
        raise UnreachableError(
            f"{place.title} ({address}) shows a host key that is revoked in {error.line.place}: "
            f"{error.key.get_name()} {error.key.fingerprint}. Create a new host key on the server."
        ) from None
    if isinstance(error, UnlistedHostKey):
        raise UnreachableError(
            f"{place.title} ({address}) shows the host key {error.key.get_name()} "
            f"{error.key.fingerprint}, but hosts.yaml lists {' or '.join(error.fingerprints)}. "
            "If the server was reinstalled, compare the new fingerprint on the host, then correct "
            f"hosts.{place.host}.host_key. If not, the connection may be intercepted."
        ) from None
    if isinstance(error, paramiko.BadHostKeyException):
        raise UnreachableError(
            f"{place.title} ({address}) shows a host key that differs from the pinned one: "
            f"{error.key.fingerprint} instead of {error.expected_key.fingerprint}. "
            "If the server was reinstalled, compare the new fingerprint on the host, then: "
            f"{_pin(place, ' --replace')}. If not, the connection may be intercepted."
        ) from None
    raise UnreachableError(
        f"{place.title} ({address}) shows a host key that is not pinned: "
        f"{error.key.get_name()} {error.key.fingerprint}. {error.note}"
        f"Compare it on the host, then: {_pin(place)}"
    ) from None


def _pin(place: Place, replace: str = "") -> str:
    if place.host:
        return f"fab -H {place.host} ssh.trust{replace}"
    how = "remove the old key with ssh-keygen -R, and log in" if replace else "log in"
    return f"{how} once with ssh, which pins it in ~/.ssh/known_hosts"


def refuse_login(place: Place, tried: Sequence[Login], notes: str) -> NoReturn:
    """Raise the error for refused logins. `notes`: sentences about keys that were not offered."""
    login = tried[-1]
    host, user = place.title, login.user
    if login.password:
        root = ", and PermitRootLogin on the host" if user == "root" else ""
        raise AccessError(
            f"{host} does not accept that password for {user}; check {BOOTSTRAP_PASSWORD}{root}."
        )
    if login.wants:
        raise AccessError(
            f"{host} accepts the key for {user}, but also requires "
            f"{' and '.join(sorted(login.wants))}, which a run cannot provide. Exempt the account "
            "from that (Match User in sshd_config)."
        )
    if login.hung_up and login.tried > 2:
        notes += (
            f" The connection was closed after {login.tried} keys; set IdentitiesOnly yes in "
            "ssh_config to offer fewer."
        )
    if any(one.unsigned for one in tried):
        notes += " The agent did not sign: confirm the use of the key, or touch the security key."
    if place.first_contact:
        raise AccessError(
            f"{host} does not accept any of your keys for {user}, and does not allow passwords: "
            f"install your key for {user}, or set connection.bootstrap_user in hosts.yaml.{notes}"
        )
    if not place.host:
        raise AccessError(f"{host} does not accept any of your keys for {user}.{notes}")
    raise AccessError(
        f"{host} does not accept the key of hosts.yaml, or another of your keys, for {user}; if "
        f"the host is new: fab -H {place.host} ssh.bootstrap{'.' if notes else ''}{notes}"
    )


def no_root(host: Host, user: str, said: str, asked: bool) -> AccessError:
    if "not in the sudoers" in said or "not allowed" in said or "may not run" in said:
        return AccessError(
            f"{host.name}: {user} may not use sudo; fab -H {host.name} ssh.bootstrap"
        )
    if asked:
        return AccessError(f"{host.name}: sudo does not accept the password of {user}.")
    said = " ".join(said.split())
    if "login as the user" in said:
        return AccessError(
            f"{host.name} reports: {said.rstrip('.')}. Set connection.bootstrap_user in hosts.yaml "
            "to that user."
        )
    return AccessError(f"{host.name}: no root shell for {user}: {said or 'no answer'}.")


def silent(host: Host, reader: Reader) -> str:
    if not reader.began:
        return f"{host.name} does not answer: its shell did not start in time. Rerunning is safe."
    step = reader.current.title if reader.current else "the end"
    return f"{host.name} stopped answering at: {step}. Check whether it still runs, then rerun."


def flooding(host: Host, reader: Reader) -> str:
    question = f" to {reader.current.title!r}" if reader.current and reader.current.title else ""
    return f"{host.name} answered without end{question}, so it is not listened to any longer."


def cut(host: Host, reader: Reader, reason: str) -> str:
    step = f" at: {reader.current.title}" if reader.current else ""
    return f"the connection to {host.name} was lost{step} ({reason}). Rerunning is safe."
