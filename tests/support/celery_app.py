"""Celery as Airflow configures it (files/airflow/airflow_celery.py.j2); its tasks leave a line.

celery_app.py work          a worker; the login is in AMQP_USER, AMQP_PASSWORD, AMQP_HOSTS, AMQP_CA
celery_app.py ask FILE N    sends N tasks that write to FILE; prints which workers answer a ping
                            within a minute, as a worker that starts hears of none
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from pathlib import Path
from urllib.parse import quote

from celery import Celery
from kombu import Exchange, Queue

LOGIN = f"{quote(os.environ['AMQP_USER'])}:{quote(os.environ['AMQP_PASSWORD'], safe='')}"
BROKERS = [f"amqp://{LOGIN}@{host}:5671/airflow" for host in os.environ["AMQP_HOSTS"].split(",")]

app = Celery("lab", broker=";".join(BROKERS))
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_native_delayed_delivery_queue_type="quorum",
    broker_transport_options={"confirm_publish": True},
    broker_use_ssl={
        "ca_certs": os.environ["AMQP_CA"],
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "rabbitmq",
    },
    task_acks_late=True,
    task_default_queue="default",
    task_default_queue_type="quorum",
    task_ignore_result=True,
    task_queues=[
        Queue(
            "default",
            Exchange("default"),
            routing_key="default",
            queue_arguments={"x-queue-type": "quorum"},
        )
    ],
    worker_detect_quorum_queues=True,
    worker_enable_prefetch_count_reduction=False,
)


@app.task(name="leave_a_line")
def leave_a_line(file: str, number: int) -> None:
    with Path(file).open("a") as stream:
        stream.write(f"{number}\n")


if __name__ == "__main__":
    if sys.argv[1] == "work":
        app.worker_main(["worker", "--pool=solo", "--task-events", "--hostname=worker@lab"])
    else:
        for one in range(int(sys.argv[3])):
            leave_a_line.apply_async((sys.argv[2], one), queue="default")
        pings = (app.control.inspect(timeout=5).ping() for _ in range(12))
        print(json.dumps(sorted(next(filter(None, pings), ()))))
