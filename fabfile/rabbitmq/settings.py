"""What hosts.yaml says for the message queue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Optional

import msgspec

from runbook.inventory.entry import Entry, Parameter, ParameterName, between, named
from runbook.inventory.schema import Objection, Settings, Understood

from ..shared.calendar import Calendar
from ..shared.versions import Versions, within

ERLANG_FOR_RABBITMQ = {
    "3.10.0": ("23.2", "25.3"),
    "3.11.0": ("25.0", "25.3"),
    "3.12.0": ("25.0", "26.2"),
    "3.13.0": ("26.0", "26.2"),
    "4.0.0": ("26.2", "26.2"),
    "4.0.4": ("26.2", "27.3"),
    "4.1.0": ("26.2", "27.3"),
    "4.2.0": ("26.2", "27.3"),
    "4.2.9": ("27.0", "27.3"),
    "4.3.0": ("27.0", "27.3"),
    "4.3.6": ("27.0", "28.5"),
    "4.3.7": ("27.0", "29.1"),
}
"""The first RabbitMQ of a series, or of a change in it, with the lowest and the highest Erlang
("Erlang Version Requirements"). 3.12 supports 26.2 from 3.12.10 on.
"""

NEXT_SERIES = {
    "3.10": ("3.11",),
    "3.11": ("3.12",),
    "3.12": ("3.13",),
    "3.13": ("4.0", "4.1", "4.2"),
    "4.0": ("4.1", "4.2"),
    "4.1": ("4.2",),
    "4.2": ("4.3",),
}
"""The series to which a cluster can be upgraded node by node ("Upgrading RabbitMQ")."""


GONE_IN_4 = (
    "amqp1_0.convert_amqp091_headers_to_app_props",
    "amqp1_0.convert_app_props_to_amqp091_headers",
    "amqp1_0.default_user",
    "amqp1_0.default_vhost",
    "amqp1_0.protocol_strict_mode",
    "cluster_formation.randomized_startup_delay_range.max",
    "cluster_formation.randomized_startup_delay_range.min",
    "mqtt.default_pass",
    "mqtt.default_user",
)
"""Names that rabbitmq.conf had in 3.13 and 4.0 does not start with (their schemas, compared)."""

KHEPRI_ONLY = [4, 3]
"""The first series that keeps metadata in Khepri only, which treats partitions in its own way."""


class Definitions(Entry, frozen=True):
    """The export of users, vhosts, policies and queues, without messages, on every node."""

    schedule: Calendar = "*-*-* 02:30"
    """When they are exported: a calendar expression of systemd."""
    keep: Annotated[int, between(1, 3650)] = 14
    """Days for which an export is kept."""


class Rabbitmq(Settings, frozen=True):
    """Settings of the section `rabbitmq`."""

    longest_task: Annotated[int, between(60, 30 * 86400)] = 24 * 3600
    """Seconds that a task may take; one that runs longer would be handed out again."""
    memory_share: Annotated[float, between(0.1, 0.9)] = 0.4
    """The share of the server's RAM above which publishers wait."""
    disk_free_limit: Annotated[str, named("size: `1GB`, `512MB`", "[1-9][0-9]{0,5}(?:MB|GB)")] = (
        "1GB"
    )
    """The free disk below which publishers wait."""
    nodes_tls: Optional[bool] = None
    """New clusters: whether nodes speak TLS with each other; unset: as `tls.enabled`. What runs
    already is changed by `fab rabbitmq.switch-nodes` only.
    """
    definitions: Definitions = msgspec.field(default_factory=Definitions)
    """Exports of the definitions."""
    settings: dict[ParameterName, Parameter] = msgspec.field(default_factory=dict)
    """Settings of rabbitmq.conf on all nodes."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """An Erlang that does not fit RabbitMQ; only a warning if its major release fits."""
        versions = inventory.get(Versions)
        if not versions:
            return
        if number(versions.rabbitmq) >= [4] and not versions.quorum_queues:
            yield Objection(
                f"RabbitMQ {versions.rabbitmq} does not mirror queues, which Airflow "
                f"{versions.airflow} needs; 3.13 is the last that does",
                ("versions", "rabbitmq"),
            )
        gone = GONE_IN_4 if number(versions.rabbitmq) >= [4] else ()
        for name in sorted({*self.settings}.intersection(gone)):
            yield Objection(
                f"RabbitMQ {versions.rabbitmq} does not know {name}, and would not start",
                ("rabbitmq", "settings", name),
            )
        erlang_range = erlang_for(versions.rabbitmq)
        if not erlang_range:
            known = ", ".join(dict.fromkeys(map(series, ERLANG_FOR_RABBITMQ)))
            yield Objection(
                f"versions.rabbitmq {versions.rabbitmq}: not one of the series {known}, "
                "so its Erlang is not checked.",
                ("versions", "rabbitmq"),
                grave=False,
            )
        elif not within(versions.erlang, erlang_range):
            low, high = erlang_range
            path = ("versions", "erlang")
            if may_fit(versions.erlang, erlang_range):
                sentence = (
                    f"versions.erlang {versions.erlang}: RabbitMQ {versions.rabbitmq} "
                    f"is supported on {low} to {high} only."
                )
                yield Objection(sentence, path, grave=False)
                return
            sentence = (
                f"{versions.erlang} does not fit RabbitMQ {versions.rabbitmq}, "
                f"which needs {low} to {high}"
            )
            yield Objection(sentence, path)


def erlang_for(rabbitmq: str) -> Optional[tuple[str, str]]:
    """Lowest and highest Erlang of a RabbitMQ version, if its series is known."""
    before = [
        first
        for first in ERLANG_FOR_RABBITMQ
        if series(first) == series(rabbitmq) and number(first) <= number(rabbitmq)
    ]
    return ERLANG_FOR_RABBITMQ[max(before, key=number)] if before else None


def number(version: str) -> list[int]:
    """A version for comparison."""
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def series(rabbitmq: str) -> str:
    """The series of a RabbitMQ version, such as 3.12."""
    return ".".join(rabbitmq.split(".")[:2])


def may_fit(erlang: str, supported: tuple[str, str]) -> bool:
    """Whether an Erlang is a release of the newest supported major version."""
    low, high = supported
    return within(erlang, (low, f"{high.partition('.')[0]}.999"))
