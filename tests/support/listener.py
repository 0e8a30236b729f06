"""Listens to everything on a network, and tells which of some texts pass by in clear.

    listener.py WORDS    a JSON file: name -> regular expression for bytes (latin-1)

It runs in the network namespace that it is to listen to, as root. On SIGTERM it prints a JSON
object: name -> where it was heard first, as `ADDRESS:PORT > ADDRESS:PORT`.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import sys
from pathlib import Path

ALL_PROTOCOLS, IPV4, TCP = 3, 0x0800, 6
SSH = 22
KEPT = 400
"""The end of a packet that is heard together with the next one of the same connection."""


def heard(frame: bytes) -> tuple[str, bytes] | None:
    """Between whom a frame of TCP passes, and what it carries; None for others, and for SSH."""
    if len(frame) < 54 or struct.unpack_from("!H", frame, 12)[0] != IPV4 or frame[23] != TCP:
        return None
    begin = 14 + (frame[14] & 15) * 4
    end = 14 + struct.unpack_from("!H", frame, 16)[0]
    source, target = struct.unpack_from("!HH", frame, begin)
    if SSH in (source, target):
        return None
    addresses = (socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34]))
    ends = f"{addresses[0]}:{source} > {addresses[1]}:{target}"
    return ends, frame[begin + (frame[begin + 12] >> 4) * 4 : end]


def main(words: Path) -> None:
    wanted = {
        name: re.compile(text.encode("latin-1"))
        for name, text in json.loads(words.read_text()).items()
    }
    found: dict[str, str] = {}
    before: dict[str, bytes] = {}
    ends = False

    def end(*_: object) -> None:
        nonlocal ends
        ends = True

    signal.signal(signal.SIGTERM, end)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as ear:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        ear.settimeout(0.5)
        print("listening", flush=True)
        while not ends:
            try:
                packet = heard(ear.recv(65535))
            except TimeoutError:
                continue
            if not packet or not packet[1]:
                continue
            who, text = packet
            together = before.get(who, b"") + text
            before[who] = together[-KEPT:]
            for name in [name for name in wanted if name not in found]:
                if wanted[name].search(together):
                    found[name] = who
    print(json.dumps(found), flush=True)


main(Path(sys.argv[1]))
