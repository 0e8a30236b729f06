"""What `make demo` ends with: where things are, and what to try."""

from __future__ import annotations

from pathlib import Path

from fabfile.airflow.chapter import main_vip
from fabfile.engine.inventory import load
from fabfile.haproxy.chapter import WEB
from lab.machine import Lab


def farewell(lab: Lab) -> str:
    """Addresses, where the passwords are, and commands."""
    environment = lab.environment()
    cluster = load(Path(environment["RUNBOOK_INVENTORY"]))
    flowers = [
        f"\n  Flower   http://{host.address}:5555   user admin" for host in cluster.group("flower")
    ]
    return f"""
The hosts stay up, in a network of their own:
  web UI   http://{main_vip(cluster)}:{WEB}   user {cluster.airflow.admin}{"".join(flowers)}
  passwords: airflow_admin and airflow_flower in {environment["RUNBOOK_STATE"]}/secrets.yaml

Try:
  .venv/bin/inv lab.exec -- inv cluster.status
  .venv/bin/inv lab.exec -- fab airflow.smoke
  .venv/bin/inv lab.exec -- fab base --plan
  .venv/bin/inv lab.fault airflow power-loss && .venv/bin/inv lab.exec -- inv cluster.status
  .venv/bin/inv lab.heal airflow
  .venv/bin/inv lab.down"""


if __name__ == "__main__":
    print(farewell(Lab.open()))
