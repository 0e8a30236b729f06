"""A task that waits in the triggerer for two minutes; the tests put this on the share."""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.sensors.time_delta import TimeDeltaSensorAsync

with DAG(
    "deferred",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
):
    # Counted from the start of the run's data interval, which is when it was triggered.
    TimeDeltaSensorAsync(task_id="waits", delta=timedelta(minutes=2))
