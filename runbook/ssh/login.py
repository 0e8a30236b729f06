"""Logins: one key after the other, then a password if there is one."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Callable

import paramiko

BY_PASSWORD = frozenset({"password", "keyboard-interactive"})
"""SSH's authentication methods that take a password."""


class Refused(Exception):
    """A host refused a login."""

    def __init__(self, login: Login) -> None:
        super().__init__(login.user)
        self.login = login


class Login:
    """One login attempt, as an `auth_strategy` for Paramiko.

    `allowed`: the methods that the host allows, once it has refused a login. `wants`: the methods
    that it requires in addition to an accepted key. `unsigned`: a key that the agent did not sign
    with. `hung_up`: whether the host closed the connection.
    """

    def __init__(
        self, user: str, keys: Callable[[], Iterable[paramiko.PKey]] = tuple, password: str = ""
    ) -> None:
        self.user = user
        self.password = password
        self.tried = 0
        self.allowed: frozenset[str] = frozenset()
        self.wants: frozenset[str] = frozenset()
        self.unsigned: paramiko.PKey | None = None
        self.hung_up = False
        self._keys = keys

    @property
    def takes_password(self) -> bool:
        """Whether a password may be accepted; assumed if the host did not list its methods."""
        return not self.allowed or bool(self.allowed & BY_PASSWORD)

    def authenticate(self, transport: paramiko.Transport) -> None:
        """Try the keys, then the password; raises Refused, or an error for a lost connection."""
        self.tried = 0
        for key in self._keys():
            if self._key_is_taken(transport, key):
                return
            no_keys = self.allowed and "publickey" not in self.allowed
            if no_keys or self.unsigned or self.hung_up:
                break
        if self.password and self._password_is_taken(transport):
            return
        self._ask_what_is_allowed(transport)
        raise Refused(self)

    def _key_is_taken(self, transport: paramiko.Transport, key: paramiko.PKey) -> bool:
        self.tried += 1
        try:
            wants = transport.auth_publickey(self.user, key)
        except paramiko.AuthenticationException as error:
            self._judge(transport, error)
            return False
        except paramiko.SSHException as error:
            if "signing" not in str(error) and "agent" not in str(error):
                raise
            self.unsigned = key
            return False
        if not wants:
            return True
        if self.password and BY_PASSWORD & set(wants) and self._password_is_taken(transport):
            return True
        self.allowed = self.wants = frozenset(wants)
        raise Refused(self)

    def _password_is_taken(self, transport: paramiko.Transport) -> bool:
        try:
            return not transport.auth_password(self.user, self.password)
        except paramiko.AuthenticationException as error:
            self._judge(transport, error)
            return False

    def _judge(
        self, transport: paramiko.Transport, error: paramiko.AuthenticationException
    ) -> None:
        """Record what a refusal means; a timeout is not a refusal, and is raised."""
        if "timeout" in str(error):
            raise socket.timeout from None
        if isinstance(error, paramiko.BadAuthenticationType):
            self.allowed = frozenset(error.allowed_types)
        self.hung_up = not transport.is_active()

    def _ask_what_is_allowed(self, transport: paramiko.Transport) -> None:
        """Find the allowed methods with an empty login, whose refusal lists them."""
        if self.allowed or not transport.is_active():
            return
        try:
            transport.auth_none(self.user)
        except paramiko.BadAuthenticationType as error:
            self.allowed = frozenset(error.allowed_types)
        except paramiko.SSHException:
            self.hung_up = True
