"""How much each service of the cluster may do, as systemd rates it.

`python -m tools.exposure` asks the servers of hosts.yaml and prints the table of docs/security.md;
with `--write` it goes into the page. In a lab: `inv lab.exec -- python -m tools.exposure`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runbook.declare.templates import PROJECT

from .docs.markdown import code, table, within

PAGE = PROJECT / "docs/security.md"
HOW = "measured by `python -m tools.exposure --write`"

LOW = 4.0
"""What systemd's rating of a service of ours may be at most: 0 is nothing, 10 everything."""


@dataclass(frozen=True)
class Unit:
    """A service that this project writes or limits; `stays`: what stays open, and why."""

    name: str
    user: str
    stays: str


DATA = "writes outside /usr and /etc, as its data may be on another disk"
LOCKS = "/tmp, where pgBackRest's locks are"
SHARE = "SSH to the other NFS server; writes in /var/lib and /run"

UNITS = (
    Unit("etcd.service", "etcd", f"network; {DATA}"),
    Unit(
        "patroni.service",
        "postgres",
        f"network; {DATA}; devices, of which /dev/watchdog is postgres'; {LOCKS}",
    ),
    Unit("etcd-apart.service", "postgres", "network"),
    Unit("etcd-snapshot.service", "etcd", "network; writes in /var/lib/etcd"),
    Unit("pgbackrest.service", "postgres", f"network; {DATA}; {LOCKS}"),
    Unit("pgbackrest-backup@full.service", "postgres", f"network; {DATA}; {LOCKS}"),
    Unit("rabbitmq-server.service", "rabbitmq", f"network; {DATA}"),
    Unit(
        "rabbitmq-definitions.service",
        "rabbitmq",
        "network; writes in /var/lib/rabbitmq-definitions",
    ),
    Unit(
        "haproxy.service",
        "root, then haproxy",
        "seven capabilities of the first process: to read its configuration, open its sockets, "
        "raise its limits, change its root directory and user, and signal its children",
    ),
    Unit(
        "keepalived.service",
        "root",
        "CAP_NET_ADMIN and raw sockets for VRRP and the address; other users, as scripts work as "
        "airflow; orders to systemd, as scripts start and stop services; new privileges, as "
        "SELinux changes the scripts' domain; real-time priority when it is late",
    ),
    Unit("nfs-sync.service", "airflow", SHARE),
    Unit("nfs-return.service", "airflow", SHARE),
    Unit(
        "nfs-resync.service",
        "airflow",
        "one command as root, which restarts nfs-sync.service",
    ),
    Unit(
        "nfs-snapshot.service",
        "root, then airflow",
        "two capabilities, to become airflow, which reads the share; writes in "
        "/var/lib/nfs-snapshots",
    ),
    *(
        Unit(
            f"airflow-{part}.service",
            "airflow",
            "network; the home of airflow; writes in /app1/airflow, /app1/airflow_logs and "
            "`airflow.writable`",
        )
        for part in ("scheduler", "dag-processor", "triggerer", "webserver", "flower")
    ),
    Unit(
        "airflow-worker.service",
        "airflow",
        "as above, and /tmp, where tasks leave files for later ones; most system calls, as tasks "
        "are any programs",
    ),
)

QUESTION = "\n".join(
    f"[[ $(systemctl show -p LoadState {unit.name}) != LoadState=loaded ]] || "
    f"systemd-analyze security --no-pager {unit.name} | grep Overall"
    for unit in UNITS
)
"""Commands whose output `rated` understands."""


def rated(text: str) -> dict[str, float]:
    """The rating of each unit in the output of QUESTION."""
    found = re.findall(r"exposure level for (\S+): ([0-9.]+)", text)
    return {name: float(rating) for name, rating in found}


def highest(answers: Iterable[str]) -> dict[str, float]:
    """The highest rating of each unit on any server."""
    highest: dict[str, float] = {}
    for answer in answers:
        for name, rating in rated(answer).items():
            highest[name] = max(rating, highest.get(name, 0.0))
    return highest


def rows(ratings: dict[str, float]) -> Iterator[tuple[str, str, str, str]]:
    """A row for each unit that was rated."""
    for unit in UNITS:
        if unit.name in ratings:
            yield code(unit.name), unit.user, f"{ratings[unit.name]:.1f}", unit.stays


def measured(ratings: dict[str, float]) -> str:
    """The table."""
    return table(("unit", "user", "exposure", "what stays open"), rows(ratings))


def asked() -> dict[str, float]:
    """The ratings on the servers of hosts.yaml."""
    done = subprocess.run(
        ["fab", "--json", "-H", "@all", "--", QUESTION],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    hosts = json.loads(done.stdout)["tasks"]["command"]["hosts"].values()
    return highest("\n".join(step["output"]) for host in hosts for step in host["steps"])


def main() -> None:
    ratings = asked()
    if "--write" in sys.argv:
        page = within(PAGE.read_text(encoding="utf-8"), "exposure", measured(ratings), HOW)
        PAGE.write_text(page, encoding="utf-8")
        return
    print(measured(ratings))


if __name__ == "__main__":
    main()
