"""How RabbitMQ's nodes speak with each other in a lab: as they say, and as the network hears."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from support.ear import listening
from support.messages import MQ, declared

from lab.machine import Lab

ROW = "nodes speak TLS with each other"
MARKER = "this-is-read-between-the-nodes"
BETWEEN = 25672

On = Callable[[str, str], str]


def over_tls(on: On) -> list[bool]:
    """How the nodes run that run now."""
    asked = "rabbitmqctl -q eval 'init:get_argument(proto_dist).'"
    return ["inet_tls" in on(name, asked) for name in MQ]


def heard(lab: Lab, on: On, folder: Path) -> dict[str, str]:
    """Where a message is heard on the network that a queue's leader gives to the others."""
    on("mq1", f"rabbitmqctl -q delete_queue -p airflow heard || :; {declared('heard')}")
    publish = (
        'rabbitmqctl -q eval \'rabbit_basic:publish(rabbit_misc:r(<<"airflow">>, exchange, <<>>), '
        f'<<"heard">>, [{{delivery_mode, 2}}], <<"{MARKER}">>).\''
    )
    with listening(lab, folder, {"a message": MARKER}) as words:
        on("mq1", publish)
        time.sleep(3)
    on("mq1", "rabbitmqctl -q delete_queue -p airflow heard")
    return words
