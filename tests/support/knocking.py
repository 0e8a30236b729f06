"""Listens or knocks in a network namespace: run by root, with the namespace's path.

knocking.py listen NAMESPACE PORT...            on every port, until it is ended
knocking.py knock NAMESPACE ADDRESS:PORT...     prints those at which somebody answers
knocking.py hear NAMESPACE PROTOCOL SECONDS     prints from where packets of a protocol came
knocking.py send NAMESPACE PROTOCOL ADDRESS...  one packet to each
"""

from __future__ import annotations

import ctypes
import selectors
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PATIENCE = 2
"""Seconds that a connection may take; firewalld rejects at once."""


def enter(namespace: str) -> None:
    """Move this process into a network namespace, before it has threads."""
    with Path(namespace).open() as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), 0x40000000):
            sys.exit(f"{namespace}: cannot be entered")


def listen(ports: list[str]) -> None:
    ready = selectors.DefaultSelector()
    for port in ports:
        server = socket.create_server(("0.0.0.0", int(port)), reuse_port=False)
        server.setblocking(False)
        ready.register(server, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in ready.select():
            key.fileobj.accept()[0].close()


def answers(place: str) -> bool:
    address, port = place.split(":")
    try:
        socket.create_connection((address, int(port)), PATIENCE).close()
    except OSError:
        return False
    return True


def knock(places: list[str]) -> None:
    with ThreadPoolExecutor(16) as hands:
        for place, open_ in zip(places, hands.map(answers, places)):
            if open_:
                print(place)


def hear(protocol: int, seconds: float) -> None:
    ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    print("listening", flush=True)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ear.settimeout(left)
        try:
            print(ear.recvfrom(2048)[1][0], flush=True)
        except TimeoutError:
            return


def send(protocol: int, addresses: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as mouth:
        for address in addresses:
            mouth.sendto(b"knock", (address, 0))


def main() -> None:
    what, namespace, *words = sys.argv[1:]
    enter(namespace)
    if what == "listen":
        listen(words)
    elif what == "knock":
        knock(words)
    elif what == "hear":
        hear(int(words[0]), float(words[1]))
    else:
        send(int(words[0]), words[1:])


if __name__ == "__main__":
    main()
