"""Why a connection cannot be made: refused, rejected by a firewall, or without a route."""

from __future__ import annotations

import errno
import shutil
import socket
import subprocess
import sys

import pytest
from conftest import PROJECT

from runbook.ssh.sockets import ERROR, icmp, open_socket
from runbook.ssh.troubles import reason

HOST_UNREACHABLE = ERROR.pack(errno.EHOSTUNREACH, 2, 3, 1, 0, 0, 0)


def sender(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    before = b"\0\0" if family == socket.AF_INET else b"\0\0\0\0\0\0"
    return family.to_bytes(2, sys.byteorder) + before + packed


@pytest.mark.parametrize(
    ("origin", "kind", "code", "words"),
    [
        (2, 3, 0, "a router has no route to it"),
        (2, 3, 1, "no machine answers at that address"),
        (2, 3, 3, "a firewall rejects the connection"),
        (2, 3, 9, "a firewall rejects the connection"),
        (2, 3, 10, "a firewall rejects the connection"),
        (2, 3, 13, "a firewall rejects the connection"),
        (3, 1, 1, "a firewall rejects the connection"),
        (3, 1, 3, "no machine answers at that address"),
        (1, 0, 0, ""),
    ],
)
def test_a_message_of_icmp_says_what_is_in_the_way(origin, kind, code, words):
    data = ERROR.pack(errno.EHOSTUNREACH, origin, kind, code, 0, 0, 0)
    address = "2001:db8::1" if origin == 3 else "10.0.0.254"
    said = icmp(data + sender(address))
    assert said.startswith(words)
    assert not words or said.endswith(f"sent by {address})")


def test_an_unknown_sender_is_no_trouble():
    assert "sent by an unknown machine" in icmp(HOST_UNREACHABLE)


def test_a_port_where_nothing_listens_is_said():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as caught:
        open_socket("127.0.0.1", port, 5)
    assert reason(caught.value) == "connection refused: nothing listens on that port"


def test_a_name_that_nobody_knows_is_said():
    with pytest.raises(socket.gaierror) as caught:
        open_socket("no-such-host.invalid", 22, 5)
    assert "not known" in reason(caught.value) or "resolution" in reason(caught.value)


# In a separate network namespace: a firewall that rejects, and a missing route.

NETWORK = """ip link set lo up
ip addr add 192.0.2.1/24 dev lo
nft -f - <<'END'
table inet test {
  chain output {
    type filter hook output priority 0; policy accept;
    ip daddr 192.0.2.2 reject with icmpx type admin-prohibited
    ip daddr 192.0.2.3 reject with icmp type host-prohibited
    ip daddr 192.0.2.4 reject with icmp type port-unreachable
    ip daddr 192.0.2.5 reject with tcp reset
    ip daddr 192.0.2.6 reject with icmp type net-unreachable
  }
}
END
exec "$0" -c '
from runbook.ssh.sockets import open_socket
from runbook.ssh.troubles import reason
for number in (2, 3, 4, 5, 6, 1):
    try:
        open_socket(f"192.0.2.{number}", 22, 5)
    except OSError as error:
        print(reason(error))
try:
    open_socket("203.0.113.1", 22, 5)
except OSError as error:
    print(reason(error))
'
"""
REJECTED = "a firewall rejects the connection (ICMP: {}, sent by {})"
REASONS = [
    REJECTED.format("administratively prohibited", "192.0.2.2"),
    REJECTED.format("administratively prohibited", "192.0.2.3"),
    REJECTED.format("port unreachable", "192.0.2.4"),
    "connection refused: nothing listens on that port",
    "a router has no route to it (ICMP: network unreachable, sent by 192.0.2.6)",
    "connection refused: nothing listens on that port",
    "this machine has no route to it",
]


def in_own_network(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--map-root-user", "--net", "bash", "-euc", script, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(
    not all(map(shutil.which, ("unshare", "ip", "nft")))
    or in_own_network("nft list ruleset").returncode != 0,
    reason="no network namespace of one's own, or no nft",
)
def test_a_firewall_that_rejects_is_told_from_a_route_that_is_missing():
    answer = in_own_network(NETWORK, sys.executable)
    assert answer.stdout.splitlines() == REASONS, answer.stderr
