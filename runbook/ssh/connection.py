"""Fabric's connection, with a socket of our own."""

from __future__ import annotations

import socket
from typing import Any

import fabric

SILENCE = 20
"""Seconds without an acknowledgement after which a connection counts as lost."""


class HostConnection(fabric.Connection):
    """Fabric's connection over our own socket: no Nagle delays, and lost peers are noticed."""

    def open(self) -> Any:
        """Connect and log in; host keys must be known."""
        if self.is_connected:
            return None
        sock = (
            self.open_gateway()
            if self.gateway
            else open_socket(self.host, self.port, self.patience)
        )
        result = self.client.connect(
            hostname=self.host,
            port=self.port,
            username=self.user,
            sock=sock,
            timeout=self.patience,
            banner_timeout=self.patience,
            auth_timeout=30,
            **{key: value for key, value in self.connect_kwargs.items() if key != "timeout"},
        )
        self.transport = self.client.get_transport()
        self.transport.set_keepalive(5)
        return result

    @property
    def patience(self) -> int:
        """Seconds to wait for a connection."""
        return int(self.connect_timeout or 10)


def open_socket(address: str, port: int, timeout: float) -> socket.socket:
    """A connected socket that sends at once and notices when the other side is gone."""
    sock = socket.create_connection((address, port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
    return sock
