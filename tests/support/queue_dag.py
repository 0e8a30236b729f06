"""Tasks in several queues, one of which no worker serves; the tests put this on the share."""

import time
from datetime import datetime

from airflow import DAG
from airflow.operators.python import PythonOperator

with DAG(
    "queues",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_tasks=16,
):
    for name in ("default", "gpu", "gpux"):
        PythonOperator(task_id=name, queue=name, python_callable=print)
    PythonOperator.partial(task_id="scaled", queue="gpu", python_callable=time.sleep).expand(
        op_args=[[45], [45], [45]]
    )
