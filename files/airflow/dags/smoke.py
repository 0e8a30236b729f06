"""Does a task run, on a worker, and reach the target system? `fab airflow.smoke` asks."""

from datetime import datetime
from socket import gethostname

from airflow import DAG
from airflow.operators.python import PythonOperator
from airflow.providers.ssh.operators.ssh import SSHOperator


def where() -> str:
    print("RAN ON", gethostname())
    return gethostname()


with DAG(
    "smoke",
    description="scheduler, queue, worker, SSH to a target",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    tags=["runbook"],
):
    on_a_worker = PythonOperator(task_id="worker", python_callable=where)
    on_the_target = SSHOperator(
        task_id="target",
        ssh_conn_id="smoke",
        command="echo REACHED $(hostname)",
        cmd_timeout=30,
    )
    on_a_worker >> on_the_target
