"""A client of the message queue: publishes with confirms, or consumes, and logs what was settled.

    messenger.py publish|consume LOG    the login is in AMQP_USER, AMQP_PASSWORD, AMQP_HOSTS

AMQP_CA is a file with the CA of hosts that listen with TLS; those in clear are tried as well.

Lines: `SECONDS ok NUMBER` for a confirmed or acknowledged message, `SECONDS error TEXT`. Ends on
SIGTERM. It tries the hosts in turn, as Airflow's brokers do.
"""

from __future__ import annotations

import itertools
import os
import signal
import ssl
import sys
import time

import pika
import pika.exceptions

QUEUE = "lab"
TROUBLE = (pika.exceptions.AMQPError, OSError)


def connections():
    """A new connection each time; hosts that do not answer are passed over."""
    login = pika.PlainCredentials(os.environ["AMQP_USER"], os.environ["AMQP_PASSWORD"])
    hosts = os.environ["AMQP_HOSTS"].split(",")
    ways = [*([(5671, verified())] if os.environ.get("AMQP_CA") else []), (5672, None)]
    for host, (port, options) in itertools.cycle(itertools.product(hosts, ways)):
        parameters = pika.ConnectionParameters(
            host=host,
            port=port,
            ssl_options=options,
            virtual_host="airflow",
            credentials=login,
            heartbeat=6,
            socket_timeout=2,
            stack_timeout=4,
            blocked_connection_timeout=4,
            tcp_options={"TCP_USER_TIMEOUT": 4000},
        )
        yield lambda parameters=parameters: pika.BlockingConnection(parameters)


def verified() -> pika.SSLOptions:
    """The certificate of a node of the cluster, whichever it is, as Airflow verifies it."""
    context = ssl.create_default_context(cafile=os.environ["AMQP_CA"])
    return pika.SSLOptions(context, "rabbitmq")


def publish(log) -> None:
    """Twenty numbers a second, each again until it is confirmed."""
    number = 0
    channel = None
    for connect in connections():
        try:
            channel = connect().channel()
            channel.queue_declare(QUEUE, durable=True)
            channel.confirm_delivery()
            while True:
                channel.basic_publish(
                    "",
                    QUEUE,
                    str(number + 1).encode(),
                    pika.BasicProperties(delivery_mode=2),
                    mandatory=True,
                )
                number += 1
                log.write(f"{time.time():.3f} ok {number}\n")
                time.sleep(0.05)
        except TROUBLE as error:
            log.write(f"{time.time():.3f} error {error!r:.150}\n")
            time.sleep(0.2)


def consume(log) -> None:
    for connect in connections():
        try:
            channel = connect().channel()
            channel.queue_declare(QUEUE, durable=True)
            channel.basic_qos(prefetch_count=50)
            for method, _, body in channel.consume(QUEUE, inactivity_timeout=1):
                if method:
                    channel.basic_ack(method.delivery_tag)
                    log.write(f"{time.time():.3f} ok {int(body)}\n")
        except TROUBLE as error:
            log.write(f"{time.time():.3f} error {error!r:.150}\n")
            time.sleep(0.2)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(sys.argv[2], "w", buffering=1) as stream:  # noqa: PTH123
        {"publish": publish, "consume": consume}[sys.argv[1]](stream)
