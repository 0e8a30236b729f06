"""A client that writes rows and logs, one line each, what the database acknowledged.

It connects as libpq's environment says (PGHOST with several hosts, PGTARGETSESSIONATTRS and so on),
gives up on a statement after three seconds, and ends on SIGTERM. WRITER_PATIENT=1: it never gives
up. WRITER_ANEW=1: it connects anew for each row. Lines: `SECONDS ok ROW` or
`SECONDS error TEXT`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

import psycopg2
import psycopg2.extensions

PATIENCE = 3.0
"""Seconds that a statement may take."""


def within_patience(connection) -> None:
    """psycopg2's wait, with an end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise psycopg2.OperationalError("no answer in time")
        reading = [connection] if state == psycopg2.extensions.POLL_READ else []
        writing = [connection] if state == psycopg2.extensions.POLL_WRITE else []
        select.select(reading, writing, [], left)


def connect():
    psycopg2.extensions.set_wait_callback(None)  # libpq walks through several hosts by itself
    connection = psycopg2.connect(
        "connect_timeout=2 tcp_user_timeout=3000 keepalives_idle=3 "
        "keepalives_interval=1 keepalives_count=3"
    )
    connection.autocommit = True
    if os.environ.get("WRITER_PATIENT") != "1":
        psycopg2.extensions.set_wait_callback(within_patience)
    return connection


def write(log, first: int, interval: float) -> None:
    connection = None
    row = first
    while True:
        row += 1
        due = time.monotonic() + interval
        try:
            connection = connection or connect()
            with connection.cursor() as cursor:
                cursor.execute("insert into writes values (%s)", (row,))
            log.write(f"{time.time():.3f} ok {row}\n")
            if os.environ.get("WRITER_ANEW") == "1":
                connection.close()
                connection = None
        except psycopg2.Error as error:
            words = " ".join(str(error).split())[:150]
            log.write(f"{time.time():.3f} error {words}\n")
            connection = None
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(sys.argv[1], "w", buffering=1) as stream:  # noqa: PTH123
        write(stream, int(sys.argv[2]), 1 / 20)
