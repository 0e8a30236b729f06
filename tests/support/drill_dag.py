"""Twenty short tasks that say when they ran; the tests put this on the share."""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from airflow import DAG
from airflow.operators.python import PythonOperator

RAN = Path("/app1/airflow_logs/ran.log")


def work(number: int, seconds: int, **context) -> None:
    def say(word: str) -> None:
        attempt = context["ti"].try_number
        with RAN.open("a") as file:
            file.write(f"{context['run_id']} {number} {attempt} {word} {os.getpid()}\n")

    say("start")
    time.sleep(seconds)
    say("end")


with DAG(
    "drill",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_tasks=16,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
):
    for number in range(20):
        PythonOperator(task_id=f"t{number:02}", python_callable=work, op_args=[number, 8])
