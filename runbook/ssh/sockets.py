"""Connected sockets, and the reasons why a connection fails."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

import paramiko

SILENCE = 20
"""Seconds without an acknowledgement after which a connection counts as lost."""

# Linux's <linux/in.h> and <linux/errqueue.h>; Python names them from 3.14 on.
IP_RECVERR, IPV6_RECVERR, MSG_ERRQUEUE = 11, 25, 0x2000
BY_ICMP, BY_ICMP6 = 2, 3
ERROR = struct.Struct("=IBBBBII")

UNREACHABLE, UNREACHABLE6 = 3, 1
FIREWALL = "a firewall rejects the connection (ICMP: administratively prohibited, sent by {})"
NO_PORT = "a firewall rejects the connection (ICMP: port unreachable, sent by {})"
NO_HOST = "no machine answers at that address (ICMP: host unreachable, sent by {})"
NO_NETWORK = "a router has no route to it (ICMP: network unreachable, sent by {})"
SENTENCES = {
    (BY_ICMP, UNREACHABLE, 0): NO_NETWORK,
    (BY_ICMP, UNREACHABLE, 1): NO_HOST,
    (BY_ICMP, UNREACHABLE, 3): NO_PORT,
    (BY_ICMP, UNREACHABLE, 9): FIREWALL,
    (BY_ICMP, UNREACHABLE, 10): FIREWALL,
    (BY_ICMP, UNREACHABLE, 13): FIREWALL,
    (BY_ICMP6, UNREACHABLE6, 0): NO_NETWORK,
    (BY_ICMP6, UNREACHABLE6, 1): FIREWALL,
    (BY_ICMP6, UNREACHABLE6, 3): NO_HOST,
    (BY_ICMP6, UNREACHABLE6, 4): NO_PORT,
}
"""The meaning of ICMP messages, by origin, type and code; a closed port is refused by TCP."""


class GatewaySocket:
    """A gateway's channel in the place of a socket; it closes even if the gateway is gone."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        """Close the channel; paramiko raises an error if it cannot tell the gateway."""
        with suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.close()


def open_socket(address: str, port: int, timeout: float) -> socket.socket:
    """Connect a socket that sends without delay and detects a lost peer."""
    trouble = OSError(errno.EADDRNOTAVAIL, f"{address} does not resolve to an address")
    for family, kind, protocol, _, place in socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout)
            _hear_of_icmp(sock, True)
            sock.connect(place)
        except OSError as error:
            trouble = explained(error, sock)
            sock.close()
            continue
        _hear_of_icmp(sock, False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_QUICKACK"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
        return sock
    raise trouble


def _hear_of_icmp(sock: socket.socket, wanted: bool) -> None:
    """Turn Linux's reports of ICMP errors on or off: errno does not distinguish their causes."""
    if sys.platform == "linux":
        over6 = sock.family == socket.AF_INET6
        level, option = (
            (socket.IPPROTO_IPV6, IPV6_RECVERR) if over6 else (socket.IPPROTO_IP, IP_RECVERR)
        )
        sock.setsockopt(level, option, int(wanted))


def explained(error: OSError, sock: socket.socket) -> OSError:
    """Return the error of a connection attempt, with its cause as a sentence."""
    try:
        sock.setblocking(False)
        _, messages, _, _ = sock.recvmsg(0, 512, MSG_ERRQUEUE)
    except OSError:
        messages = []
    told = next((icmp(data) for _, _, data in messages), "")
    if not told and error.errno == errno.ENETUNREACH:
        told = "this machine has no route to it"
    if not told and error.errno == errno.ECONNREFUSED:
        told = "connection refused: nothing listens on that port"
    return OSError(error.errno, told) if told else error


def icmp(data: bytes) -> str:
    """Return the sentence for a `struct sock_extended_err`; empty if ICMP is not its origin."""
    _, origin, kind, code, *_ = ERROR.unpack_from(data)
    sender = data[ERROR.size :]
    family = int.from_bytes(sender[:2], sys.byteorder)
    name = "an unknown machine"
    if family == socket.AF_INET:
        name = socket.inet_ntop(family, sender[4:8])
    elif family == socket.AF_INET6:
        name = socket.inet_ntop(family, sender[8:24])
    return SENTENCES.get((origin, kind, code), "").format(name)
