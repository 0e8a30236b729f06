"""What `make demo` prints and saves: `python -m lab.demo offer|keep|farewell`."""

from __future__ import annotations

import sys
from pathlib import Path

from fabfile import CONTENTS
from fabfile.airflow.configure import door
from fabfile.airflow.settings import Airflow
from fabfile.shared.roles import FLOWER
from fabfile.shared.tls import Tls
from lab.machine import Lab

STATE = "demo"


def farewell(lab: Lab) -> str:
    """Addresses, where the passwords are, and commands."""
    environment = lab.environment()
    cluster = CONTENTS.load(Path(environment["RUNBOOK_INVENTORY"]))
    over_tls = cluster[Tls].enabled
    scheme = "https" if over_tls else "http"
    flowers = [
        f"\n  Flower   {scheme}://{host.address}:5555   user admin"
        for host in cluster.group(FLOWER)
    ]
    return f"""
The hosts stay up, in a network of their own:
  web UI   {door(cluster, over_tls)}   user {cluster[Airflow].admin}{"".join(flowers)}
  passwords: airflow_admin and airflow_flower in {environment["RUNBOOK_STATE"]}/secrets.yaml

Try:
  .venv/bin/inv lab.exec -- inv cluster.status
  .venv/bin/inv lab.exec -- fab airflow.smoke
  .venv/bin/inv lab.exec -- fab base --plan
  .venv/bin/inv lab.fault airflow power-loss && .venv/bin/inv lab.exec -- inv cluster.status
  .venv/bin/inv lab.heal airflow
  .venv/bin/inv lab.restore {STATE}
  .venv/bin/inv lab.down"""


def offer(lab: Lab) -> None:
    """Print that the cluster of the last demo is saved, if it is."""
    if STATE in lab.store.names():
        hours = lab.store.read(STATE).age / 3600
        print(f"The cluster of the demo {hours:.1f} hours ago is saved: make demo AGAIN=1")


def keep(lab: Lab) -> None:
    """Save the cluster for the next demo, in place of the last one's."""
    if STATE in lab.store.names():
        lab.forget(STATE)
    lab.save(STATE, "deployed by make demo")


if __name__ == "__main__":
    demo = Lab.open(write=lambda line: print(line, flush=True))
    if sys.argv[1] == "offer":
        offer(demo)
    elif sys.argv[1] == "keep":
        keep(demo)
    else:
        print(farewell(demo))
