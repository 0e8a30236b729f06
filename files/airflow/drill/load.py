"""A client of the cluster that works during a drill, and logs what was acknowledged.

    load.py KIND prepare|run|pulse|account|clean [OPTIONS]

KIND is rows (the database), messages (the queue), lines (the share) or pages (the web UI). `run`
wants one item after the other, each again until it is acknowledged, and logs `NUMBER WANTED` and
`NUMBER WANTED DONE`, times as seconds since 1970. After --seconds it removes what `prepare` has
made: nobody came to stop it. `pulse` and `account` print as JSON how it is now, and what was
acknowledged and is there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, TypeVar

from clients import KINDS, Client

Answer = TypeVar("Answer")

PATIENCE = 20
"""Seconds after which an action that fails is given up."""


def run(client: Client, options: Namespace) -> None:
    """Work until the time is over; SIGTERM ends it earlier."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    patiently(client, client.prepare)
    deadline = time.monotonic() + options.seconds
    number = time.time_ns() // 1_000_000
    with open(options.log, "w", buffering=1) as log:  # noqa: PTH123
        while time.monotonic() < deadline:
            number += 1
            wanted, due = time.time(), time.monotonic() + options.every
            log.write(f"{number} {wanted:.3f}\n")
            if acknowledged(client, number, log, deadline):
                log.write(f"{number} {wanted:.3f} {time.time():.3f}\n")
            time.sleep(max(0.0, due - time.monotonic()))
    patiently(client, client.clean)


def patiently(client: Client, act: Callable[[], Answer]) -> Answer:
    """Do something once; again if it fails, as on a busy server, until the time for it is over."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except client.trouble:
            if time.monotonic() > deadline:
                raise
        with contextlib.suppress(*client.trouble):
            client.forget()
        time.sleep(1)


def acknowledged(client: Client, number: int, log: TextIO, deadline: float) -> bool:
    """Try until it is acknowledged; False if the time is over before that."""
    while time.monotonic() < deadline:
        try:
            client.put(number)
        except client.trouble as error:
            log.write(f"error {time.time():.3f} {' '.join(str(error).split())[:150]}\n")
            with contextlib.suppress(*client.trouble):
                client.forget()
            time.sleep(0.1)
        else:
            return True
    return False


def logged(log: str) -> tuple[dict[int, list[float]], list[str]]:
    """The times of each item, and the errors; a line that a power loss cut short is left out."""
    items: dict[int, list[float]] = {}
    errors = []
    if not Path(log).exists():
        sys.exit("the client has not begun yet, or could not: see the journal of its unit")
    for line in Path(log).read_text().split("\n")[:-1]:
        words = line.split(" ", 2)
        if words[0] == "error":
            errors.append(words[-1])
        else:
            items[int(words[0])] = [float(word) for word in words[1:]]
    return items, errors


def pulse(log: str) -> dict[str, float]:
    """How the load is now."""
    now, (items, _) = time.time(), logged(log)
    *_, since = list(items.values())[-1] if items else [now]
    done = sum(len(times) == 2 for times in items.values())
    return {"now": now, "acknowledged": done, "waits": max(0.0, now - since)}


def account(client: Client, log: str) -> dict[str, object]:
    """What was acknowledged, and what is there."""
    items, errors = logged(log)
    listed = [[number, *times] for number, times in items.items()]
    there = patiently(client, client.there)
    if there is not None:  # earlier drills wrote smaller numbers
        there = [number for number in there if items and number >= min(items)]
    return {"items": listed, "there": there, "errors": errors[-5:]}


def shown(told: object) -> str:
    """JSON without a line that is too long for who reads it."""
    return json.dumps(told).replace("], [", "],\n[")


def main() -> None:
    """Carry out the action."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("action", choices=("prepare", "run", "pulse", "account", "clean"))
    parser.add_argument("--log", help="where `run` logs")
    parser.add_argument("--seconds", type=float, default=60, help="how long `run` works at most")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two items")
    parser.add_argument("--address", default="", help="instead of that in airflow.cfg")
    parser.add_argument("--ca", help="the certificates by which servers are verified")
    parser.add_argument("--name", help="the name in the certificates of all brokers")
    parser.add_argument("--vip", default="", help="the address of the web UI")
    parser.add_argument("--queue-type", default="quorum", help="quorum or classic")
    parser.add_argument("--replicas", type=int, default=0, help="of a quorum queue")
    parser.add_argument("--file", help="the file on the share")
    options = parser.parse_args()
    if options.action == "pulse":
        print(json.dumps(pulse(options.log)))
        return
    client = KINDS[options.kind](options)
    try:
        if options.action == "run":
            run(client, options)
        elif options.action == "account":
            print(shown(account(client, options.log)))
        else:
            patiently(client, getattr(client, options.action))
    except client.trouble as error:
        sys.exit(f"{options.kind}: {' '.join(str(error).split())[:300]}")


if __name__ == "__main__":
    main()
