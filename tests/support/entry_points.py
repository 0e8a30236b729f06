"""The entry points as the tests see them: what `haproxy.check` says of them."""

from __future__ import annotations

import time

PROXIES = ("airflow", "haproxy2")
VIP = "192.168.83.210"
WRITE = f"{VIP}:5000"
ON_ONE_HOST = f"airflow-vip ({VIP}) is on one host"

HOLD = """import psycopg2, time
cursor = psycopg2.connect("").cursor()
cursor.execute("lock table writes; select pg_backend_pid()")
print(cursor.fetchone()[0], flush=True)
time.sleep(300)"""
"""A client that locks a table, says which backend serves it, and keeps silent."""


def calm(fab, seconds: float = 60) -> None:
    """Wait until only webservers are missing, and the preferred server has the VIP."""
    deadline = time.monotonic() + seconds
    while True:
        answer = fab("haproxy.check")
        warned = {title for _, title in answer.steps("warn")}
        on_airflow = ("cluster", f"{ON_ONE_HOST}: airflow") in answer.steps("ok")
        if answer.code == 0 and on_airflow and warned <= {"webservers answer: none does (yet)"}:
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(1)


def told(answer, *levels: str) -> str:
    """What the check says at these levels, a line for each."""
    return "\n".join(sorted(f"[{host}] {title}" for host, title in answer.steps(*levels)))


def told_until(fab, words: str, level: str = "error", seconds: float = 30) -> str:
    """Wait until the check says so; everything that it says at that level."""
    deadline = time.monotonic() + seconds
    while True:
        answer = fab("haproxy.check")
        if words in told(answer, level):
            return told(answer, level)
        assert time.monotonic() < deadline, answer.text
        time.sleep(1)


def starts(on) -> list[str]:
    """When each program of each proxy was started."""
    return [
        on(host, f"systemctl show -p ExecMainStartTimestampMonotonic {unit}")
        for host in PROXIES
        for unit in ("haproxy", "keepalived")
    ]
