"""The kinds of clients that work during a drill; each reaches its service as Airflow does."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import select
import signal
import ssl
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

CFG = "/etc/airflow/airflow.cfg"
PATIENCE = 2.0
"""Seconds after which an item that is not acknowledged is tried again."""
LONGEST = 10.0
"""Seconds after which it is tried again although the library has no such limit."""
OURS = "made by inv drill.run, which removes it"
SCHEMA = "airflow_drill"
QUEUE = "airflow-drill"
MOST = 65_000
"""Messages that a consumer gets before it acknowledges one."""
EXPIRES = 3_600_000
"""Milliseconds after which the broker removes a queue that nobody uses."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError after this time, wherever the program is."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError("no answer in time")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def setting(section: str, key: str) -> str:
    """A setting of Airflow's."""
    config = ConfigParser()
    config.read(CFG)
    return config[section][key]


class Client:
    """What a kind of load does with one item, and with what it makes."""

    trouble: tuple[type[Exception], ...] = (OSError,)

    def put(self, number: int) -> None:
        """Return when this item is acknowledged; otherwise raise one of `trouble`."""
        raise NotImplementedError

    def forget(self) -> None:
        """Connect anew for the next item."""

    def prepare(self) -> None:
        """Make what the load needs, as far as it is not there; nothing that would take long."""

    def there(self) -> list[int] | None:
        """The numbers of the items that are there; None if nothing is kept."""

    def clean(self) -> None:
        """Remove what `prepare` has made, and all items."""


class Rows(Client):
    """Rows in a schema of their own; one that is written twice is there once."""

    def __init__(self, options: Namespace) -> None:
        import psycopg2
        import psycopg2.extensions

        self.library = psycopg2
        self.trouble = (psycopg2.Error,)
        address = options.address or setting("database", "sql_alchemy_conn")
        self.address = address.replace("+psycopg2", "", 1)
        self.connection: Any = None

    def put(self, number: int) -> None:
        """Write a row."""
        query = f"insert into {SCHEMA}.rows values (%s) on conflict do nothing"
        self.ask(query, (number,))

    def ask(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query returns."""
        self.connection = self.connection or self.connect()
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> Any:
        """A connection whose statements end when the patience does."""
        # libpq walks through several hosts by itself, but not while somebody else waits for it.
        self.library.extensions.set_wait_callback(None)
        connection = self.library.connect(self.address, connect_timeout=2, tcp_user_timeout=3000)
        connection.autocommit = True
        self.library.extensions.set_wait_callback(self.within_patience)
        return connection

    def within_patience(self, connection: Any) -> None:
        """psycopg2's wait, with an end."""
        states = self.library.extensions
        deadline = time.monotonic() + PATIENCE
        while (state := connection.poll()) != states.POLL_OK:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self.library.OperationalError("no answer in time")
            reading = [connection] if state == states.POLL_READ else []
            writing = [connection] if state == states.POLL_WRITE else []
            select.select(reading, writing, [], left)

    def forget(self) -> None:
        """Close the connection."""
        connection, self.connection = self.connection, None
        if connection:
            connection.close()

    def foreign(self) -> bool:
        """Whether there is a schema of this name that no drill has made."""
        comment = "select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = %s"
        found = self.ask(comment, (SCHEMA,))
        return bool(found) and found[0][0] != OURS

    def prepare(self) -> None:
        """Make the schema, with a table for these rows and one for those of tasks."""
        if self.foreign():
            sys.exit(f"The database has a schema {SCHEMA} that is not a drill's. Rename it.")
        self.ask(
            f"create schema if not exists {SCHEMA}; comment on schema {SCHEMA} is '{OURS}'; "
            f"create table if not exists {SCHEMA}.rows (number bigint primary key); "
            f"create table if not exists {SCHEMA}.tasks "
            "(run text, task text, done timestamptz default clock_timestamp())"
        )

    def there(self) -> list[int]:
        """The numbers of all rows."""
        return [number for (number,) in self.ask(f"select number from {SCHEMA}.rows")]

    def clean(self) -> None:
        """Remove the schema."""
        if not self.foreign():
            self.ask(f"drop schema if exists {SCHEMA} cascade")


class Messages(Client):
    """Messages in a queue of their own, each confirmed by the broker."""

    def __init__(self, options: Namespace) -> None:
        import amqp

        self.library = amqp
        nacked = amqp.exceptions.MessageNacked  # the only one that is no AMQPError
        self.trouble = (amqp.AMQPError, nacked, OSError)
        self.options = options
        urls = (options.address or setting("celery", "broker_url")).split(";")
        self.brokers = itertools.cycle([urlsplit(url) for url in urls])
        self.count = len(urls)
        self.connection: Any = None
        self.opened: Any = None

    def put(self, number: int) -> None:
        """Publish a message, and wait until it is confirmed."""
        message = self.library.Message(str(number), delivery_mode=2)
        with within(LONGEST):  # amqp waits for a handshake, or for a channel, without an end
            self.channel.basic_publish_confirm(
                message, exchange="", routing_key=QUEUE, confirm_timeout=PATIENCE
            )

    @property
    def channel(self) -> Any:
        """A channel to the first broker that answers, where the queue is declared."""
        if not self.opened:
            self.connection = self.connect()
            channel = self.connection.channel()
            arguments = {"x-queue-type": self.options.queue_type, "x-expires": EXPIRES}
            if self.options.replicas:
                arguments["x-quorum-initial-group-size"] = self.options.replicas
            channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=arguments)
            self.opened = channel
        return self.opened

    def connect(self) -> Any:
        """A connection to the next broker that answers."""
        error: Exception = OSError("no broker")
        for broker in itertools.islice(self.brokers, self.count):
            try:
                connection = self.connection_to(broker)
                connection.connect()
            except self.trouble as trouble:
                error = trouble
            else:
                return connection
        raise error

    def connection_to(self, broker: SplitResult) -> Any:
        """A connection, not opened yet; all brokers are verified under one name."""
        verified = {
            "ca_certs": self.options.ca,
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": self.options.name,
        }
        return self.library.Connection(
            f"{broker.hostname}:{broker.port}",
            unquote(broker.username or ""),
            unquote(broker.password or ""),
            virtual_host=unquote(broker.path[1:]),
            ssl=verified if broker.scheme == "amqps" else False,
            connect_timeout=PATIENCE,
            read_timeout=PATIENCE,
            write_timeout=PATIENCE,
            confirm_publish=True,
        )

    def forget(self) -> None:
        """Drop the connection without a farewell, which a dead broker would not answer."""
        connection, self.connection, self.opened = self.connection, None, None
        if connection:
            connection.collect()

    def prepare(self) -> None:
        """Make the queue."""
        try:
            self.channel.queue_purge(QUEUE)
        except self.library.PreconditionFailed:
            sys.exit(f"The broker has a queue {QUEUE} that is not a drill's. Delete it.")

    def there(self) -> list[int]:
        """The numbers of all messages, which are in the queue again once the connection ends."""
        found: list[int] = []
        channel = self.channel
        wanted = channel.queue_declare(QUEUE, passive=True).message_count
        channel.basic_qos(0, MOST, a_global=False)
        channel.basic_consume(QUEUE, callback=lambda message: found.append(int(message.body)))
        while len(found) < min(wanted, MOST):
            self.connection.drain_events(timeout=2 * PATIENCE)
        return found

    def clean(self) -> None:
        """Remove the queue, if it is a drill's."""
        with contextlib.suppress(self.library.PreconditionFailed):
            self.channel.queue_delete(QUEUE)


class Lines(Client):
    """Lines of a file on the share, each on the server's disk."""

    def __init__(self, options: Namespace) -> None:
        self.file = Path(options.file)

    def put(self, number: int) -> None:
        """Append a line, and read the file back."""
        with self.file.open("a") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        self.file.read_text()

    def prepare(self) -> None:
        """Make the file."""
        self.file.write_text("")

    def there(self) -> list[int]:
        """The numbers of all lines."""
        return [int(line) for line in self.file.read_text().splitlines() if line.isdigit()]

    def clean(self) -> None:
        """Remove the file."""
        self.file.unlink(missing_ok=True)


class Pages(Client):
    """Pages of the web UI, each over a new connection."""

    trouble = (OSError, http.client.HTTPException)

    def __init__(self, options: Namespace) -> None:
        self.url = urlsplit(options.address or setting("webserver", "base_url"))
        self.vip = options.vip
        tls = self.url.scheme == "https"
        self.context = ssl.create_default_context(cafile=options.ca) if tls else None

    def put(self, number: int) -> None:
        """Fetch a page, at the address of the VIP, verified under the name in base_url."""
        port = self.url.port or (443 if self.context else 80)
        connection = http.client.HTTPConnection(self.vip, port, timeout=PATIENCE)
        try:
            connection.connect()
            if self.context:
                name = self.url.hostname
                connection.sock = self.context.wrap_socket(connection.sock, server_hostname=name)
            connection.request("GET", "/health", headers={"Host": self.url.netloc})
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 200:
            raise http.client.HTTPException(f"status {status}")


KINDS = {"rows": Rows, "messages": Messages, "lines": Lines, "pages": Pages}
