"""A DAG that runs every few seconds while a drill goes on; each of its tasks writes a row.

It is on the share as airflow_drill.py. As a program, `register FILE` makes it known at once, and
`remove FILE` takes it away together with all records of it.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow import DAG
from airflow.operators.python import PythonOperator

NAME = "airflow_drill"
OURS = "made by inv drill.run, which removes it"
HERE = Path(__file__)
EVERY = 10
"""Seconds between two runs."""
TASKS = {"short": 0, "long": 12}
"""Seconds that each task takes; one of them is nearly always in the middle of it."""
LINES = HERE.with_name(".airflow-drill")
"""What the client of the share writes to: without it, or if it is old, no further run begins."""
LEASE = 900
"""Seconds."""


def write(seconds: int, run_id: str, task: object, **_: object) -> None:
    """Take some time, then write a row."""
    from airflow.utils.session import create_session
    from sqlalchemy import text

    time.sleep(seconds)
    with create_session() as session:
        session.execute(
            text(f"insert into {NAME}.tasks values (:run, :task)"),
            {"run": run_id, "task": getattr(task, "task_id", "")},
        )


def wanted() -> bool:
    """Whether a drill goes on."""
    try:
        return time.time() - LINES.stat().st_mtime < LEASE
    except OSError:
        return False


with DAG(
    NAME,
    description=OURS,
    start_date=datetime.fromtimestamp(int(HERE.stat().st_mtime), timezone.utc),
    schedule=timedelta(seconds=EVERY) if wanted() else None,
    catchup=True,  # runs that were due while no scheduler worked are late, and not left out
    max_active_runs=100,
    is_paused_upon_creation=False,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=5)},
    tags=["runbook"],
) as dag:
    for name, duration in TASKS.items():
        PythonOperator(task_id=name, python_callable=write, op_args=[duration])


def register(file: Path) -> None:
    """Make the DAG known, as the DAG processor does when it finds the file."""
    from airflow.models.dagbag import DagBag

    bag = DagBag(dag_folder=str(file), include_examples=False)
    if bag.import_errors:
        sys.exit("\n".join(bag.import_errors.values()))
    bag.sync_to_db()


def remove(file: Path) -> None:
    """Let its tasks end, then remove the file and all records, until no more appear."""
    from airflow.models.dag import DagModel

    known = DagModel.get_dagmodel(NAME)
    if (known and known.description != OURS) or (file.exists() and OURS not in file.read_text()):
        sys.exit(f"Airflow has a DAG {NAME} that is not a drill's. Rename it.")
    if known:
        known.set_is_paused(is_paused=True)
        end_tasks(patience=60)
    file.unlink(missing_ok=True)
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
        compiled.unlink(missing_ok=True)
    for _ in range(6):  # the DAG processor may have been reading the file
        if not erased():
            return
        time.sleep(5)


def end_tasks(patience: float) -> None:
    """Wait until none of its tasks runs or is about to; those that still do then have failed."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    deadline = time.monotonic() + patience
    while True:
        with create_session() as session:
            at_work = session.query(TaskInstance).filter(
                TaskInstance.dag_id == NAME,
                TaskInstance.state.in_([TaskInstanceState.RUNNING, TaskInstanceState.QUEUED]),
            )
            if not at_work.count():
                return
            if time.monotonic() > deadline:
                at_work.update({TaskInstance.state: TaskInstanceState.FAILED}, False)
                return
        time.sleep(1)


def erased() -> int:
    """Remove every record of the DAG; returns how many there were."""
    from airflow.utils.db import get_sqla_model_classes
    from airflow.utils.session import create_session

    with create_session() as session:
        return sum(
            session.query(model).filter(model.dag_id == NAME).delete(synchronize_session=False)
            for model in get_sqla_model_classes()
            if hasattr(model, "dag_id")
        )


if __name__ == "__main__":
    {"register": register, "remove": remove}[sys.argv[1]](Path(sys.argv[2]))
