"""Routes to hosts (direct, through gateways, or through a ProxyCommand), and logins."""

from __future__ import annotations

import random
import shlex
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Optional, cast

import paramiko

from runbook.errors import AccessError, RunbookError, SettingsError, UnreachableError
from runbook.ssh import troubles
from runbook.ssh.keys import PATIENCE, Keys
from runbook.ssh.known_hosts import (
    Identity,
    KnownHosts,
    RevokedHostKey,
    Transport,
    UnknownHostKey,
    UnlistedHostKey,
    Verify,
)
from runbook.ssh.login import Login, Refused
from runbook.ssh.sockets import GatewaySocket, open_socket
from runbook.ssh.ssh_config import SshConfig, SshSettings, hop_of

ATTEMPTS = 4
"""Connection attempts if sshd closes the connection before its greeting (MaxStartups)."""
MOST_HOPS = 8
"""The longest chain of gateways; a longer one is taken for a loop."""


@dataclass(frozen=True)
class Place:
    """The target of a connection: a host or a gateway, the login, and the route to it.

    `title`: its name in messages. `host`: its name in hosts.yaml; empty for a gateway. `via`: the
    gateways before it, as in ProxyJump. `first_contact`: log in as the bootstrap user.
    """

    title: str
    settings: SshSettings
    identity: Identity
    via: str = ""
    host: str = ""
    first_contact: bool = False

    @property
    def address(self) -> str:
        """The address and port to connect to."""
        return f"{self.settings.hostname}:{self.settings.port}"


@dataclass
class Gateway:
    """The connection to a gateway, shared by all hosts behind it."""

    place: Place
    client: paramiko.SSHClient = field(default_factory=paramiko.SSHClient)
    lock: threading.Lock = field(default_factory=threading.Lock)
    failure: Optional[UnreachableError] = None
    failed: float = 0.0


class Routes:
    """Connects to hosts, and to the gateways before them."""

    def __init__(
        self, ssh_config: SshConfig, known: KnownHosts, keys: Keys, patience: float
    ) -> None:
        self.known = known
        self.keys = keys
        self.patience = patience
        self._ssh_config = ssh_config
        self._gateways: dict[str, Gateway] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections to gateways."""
        for gateway in self._gateways.values():
            gateway.client.close()

    def enter(
        self, client: paramiko.SSHClient, place: Place, logins: Iterable[Login]
    ) -> tuple[paramiko.Transport, Login]:
        """Connect and log in; returns the transport, and the first login that was accepted.

        Raises UnreachableError, AccessError if all logins are refused, or SettingsError.
        """
        tried: list[Login] = []
        for login in logins:
            try:
                return self._connected(client, place, login), login
            except Refused:
                tried.append(login)
        return troubles.refuse_login(place, tried, self.keys.notes(place.settings))

    def by_key(self, settings: SshSettings) -> Iterator[Login]:
        """Yield logins with all keys; ask for the passphrase only if all other keys are refused."""
        self.keys.make_ready(settings)
        locked = self.keys.locked
        unsigned: tuple[paramiko.PKey, ...] = ()
        while True:
            login = Login(settings.user, partial(self.keys.offered, settings, unsigned))
            yield login
            if not login.unsigned:
                break
            unsigned = (*unsigned, login.unsigned)
        key = self.keys.unlock(settings) if locked else None
        if key:
            yield Login(settings.user, lambda: [key])

    def connected_socket(self, place: Place) -> Any:
        """Return a connected socket or its equivalent (channel of a gateway, ProxyCommand).

        Raises OSError, SSHException or RunbookError.
        """
        if place.via:
            return self._through_gateway(place)
        if place.settings.proxy:
            return paramiko.ProxyCommand(f"sh -c {shlex.quote('exec ' + place.settings.proxy)}")
        return open_socket(place.settings.hostname, place.settings.port, self.patience)

    def _through_gateway(self, place: Place) -> GatewaySocket:
        gateway = self._gateway(place.via)
        transport = self._transport_of(gateway)
        try:
            channel = transport.open_channel(
                "direct-tcpip",
                (place.settings.hostname, place.settings.port),
                ("", 0),
                timeout=self.patience,
            )
            return GatewaySocket(channel)
        except paramiko.ChannelException as error:
            troubles.refuse_forwarding(gateway.place, place, error)
        except paramiko.SSHException as error:
            if "Timeout" in str(error):
                raise socket.timeout from None
            raise

    def _gateway(self, via: str) -> Gateway:
        with self._lock:
            if via not in self._gateways:
                self._refuse_loop(via)
                self._gateways[via] = Gateway(self._place_of_gateway(via))
            return self._gateways[via]

    def _refuse_loop(self, via: str) -> None:
        before = via
        for _ in range(MOST_HOPS):
            before = self._place_of_gateway(before).via
            if not before:
                return
        raise SettingsError(
            f"The route through {via} has a loop, or more than {MOST_HOPS} gateways; "
            "correct ProxyJump in ssh_config."
        )

    def _place_of_gateway(self, via: str) -> Place:
        """Return the last gateway of a chain, with the route to it: the others, or ssh_config's."""
        before, _, last = via.rpartition(",")
        hop = hop_of(last)
        settings = self._ssh_config.of(hop.host, hop.user, hop.port)
        names = (settings.alias,) if settings.alias else (settings.hostname,)
        return Place(
            title=f"the gateway {hop.host}",
            settings=settings,
            identity=Identity(names, 22 if settings.alias else settings.port),
            via=before or settings.jump,
        )

    def _transport_of(self, gateway: Gateway) -> paramiko.Transport:
        """Return a gateway's connection; the first host that needs it opens it.

        A failure applies to all hosts that need the gateway within the connection timeout.
        """
        with gateway.lock:
            transport = gateway.client.get_transport()
            if transport and transport.is_active():
                return transport
            if gateway.failure and time.monotonic() - gateway.failed < self.patience:
                raise gateway.failure
            logins = self.by_key(gateway.place.settings)
            try:
                return self.enter(gateway.client, gateway.place, logins)[0]
            except (UnreachableError, AccessError) as error:
                gateway.failure = UnreachableError(str(error))
                gateway.failed = time.monotonic()
                raise gateway.failure from None

    def _connected(
        self, client: paramiko.SSHClient, place: Place, login: Login
    ) -> paramiko.Transport:
        """Connect and log in; retry if the server may have too many logins at once."""
        for attempt in range(ATTEMPTS):
            began = time.monotonic()
            try:
                return self._dialled(client, place, login)
            except (Refused, RunbookError):
                client.close()
                raise
            except (
                UnknownHostKey,
                UnlistedHostKey,
                RevokedHostKey,
                paramiko.BadHostKeyException,
            ) as error:
                client.close()
                troubles.refuse_untrusted(place, error)
            except (paramiko.SSHException, EOFError, ConnectionResetError) as error:
                client.close()
                silent = time.monotonic() - began >= self.patience
                if silent or attempt + 1 == ATTEMPTS:
                    raise troubles.unreachable(place, error) from None
                time.sleep((attempt + random.random()) * 0.3)
            except OSError as error:
                client.close()
                raise troubles.unreachable(place, error) from None
        raise AssertionError("the last attempt returns or raises")

    def _dialled(
        self, client: paramiko.SSHClient, place: Place, login: Login
    ) -> paramiko.Transport:
        """Make one attempt to connect and log in."""
        client.set_missing_host_key_policy(Verify(self.known, place.identity))
        client.connect(
            hostname=place.settings.hostname,
            port=place.settings.port,
            username=login.user,
            sock=self.connected_socket(place),
            timeout=self.patience,
            banner_timeout=self.patience,
            auth_timeout=PATIENCE,
            transport_factory=partial(Transport, preferred=self.known.preferred(place.identity)),
            auth_strategy=cast("Any", login),
        )
        transport = client.get_transport()
        assert transport
        transport.set_keepalive(5)
        return transport
