"""What the servers of the share say of themselves, for tests."""

from __future__ import annotations

from fabfile.nfs.common import NETWORK
from fabfile.nfs.state import SERVER, Server
from fabfile.shared.keepalived import Place
from runbook.declare.facts import Facts

VIP = "192.168.83.220"
MACS = {"ftp": "52:54:00:00:00:02", "nfs2": "52:54:00:00:00:0c"}
EXPORTS = frozenset({"/app1/airflow/dags 192.168.83.129(rw,fsid=1)"})


def one(**changed) -> Server:
    usual = {
        "generation": 4,
        "led": False,
        "fit": True,
        "copying": "inactive",
        "exports": EXPORTS,
        "behind": None,
        "oldest": 0,
        "rescued": (),
    }
    return Server(**{**usual, **changed})


def place(name: str, holds: bool, answers: str = "") -> Place:
    heard = {VIP: frozenset({answers})} if answers else {}
    return Place("eth0", 24, frozenset({MACS[name]}), frozenset({VIP} if holds else ()), heard)


def facts(active=("ftp",), answers="", ftp=None, nfs2=None, silent=()) -> Facts:
    servers = {
        "ftp": one(**{"led": True, "copying": "active", "behind": (), **(ftp or {})}),
        "nfs2": one(**(nfs2 or {})),
    }
    places = {name: place(name, name in active, answers) for name in servers}
    return Facts(
        {
            SERVER: {name: known for name, known in servers.items() if name not in silent},
            NETWORK: {name: known for name, known in places.items() if name not in silent},
        }
    )
