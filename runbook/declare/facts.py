"""Facts: what a task needs to know about hosts, gathered before the task is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Generic, Literal, Optional, TypeVar, Union

from runbook.declare.answers import LARGEST, SHAPELESS, Unexpected, unexpected
from runbook.declare.probes import Answer
from runbook.errors import DistrustedAnswer, MissingFact
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import Role

T = TypeVar("T")

On = Union[Role, Literal["all"], Callable[[Cluster], Sequence[Host]]]
"""Hosts: those of a role, all of them, or those that a function chooses."""


def hosts_on(on: On, cluster: Cluster) -> list[Host]:
    """The hosts that a section, task or fact is for."""
    return cluster.group(on) if isinstance(on, str) else list(on(cluster))


@dataclass(frozen=True)
class Fact(Generic[T]):
    """Something that a task needs to know about hosts, gathered before the task is rendered.

    `command` gets the cluster and the host, and runs there as root. If it exits with 0 and prints
    something, `parse` turns that into the value, and raises ValueError for what does not have the
    stated form: a host is not believed without that (runbook/declare/answers.py has the kinds of
    values). `largest`: how many characters the answer may have.
    `absent` is the sentence for the user if a host has no value. `used_by`: the hosts whose steps
    need it, if not all; a run without them does not gather it. `thorough`: gathering it takes long,
    so a status leaves it out. `timed`: `parse` also gets the controller's time just before and just
    after the command.
    """

    name: str
    on: On
    command: Callable[[Cluster, Host], str]
    parse: Callable[..., T]
    absent: str
    used_by: On = "all"
    thorough: bool = False
    timed: bool = False
    largest: int = LARGEST

    def question(self, cluster: Cluster, host: Host) -> str:
        """The command for a host; what it prints as errors is no part of the answer."""
        return f"exec 2>/dev/null\n{self.command(cluster, host)}"

    def read(self, host: str, answer: Answer, *moment: float) -> Optional[T]:
        """The value that a host's answer has; None without an answer, DistrustedAnswer if it is
        not as expected.
        """
        if answer.code != 0 or not answer.text.strip():
            return None
        try:
            if len(answer.text) > self.largest:
                raise Unexpected(answer.text, f"shorter than {self.largest >> 10} KiB")
            return self.parse(answer.text, *moment)
        except SHAPELESS as error:
            why = unexpected(error, answer.text)
            raise DistrustedAnswer(
                f"{host} answered {why.said} to {self.name!r}, which is not {why.wanted}. "
                "Nothing that depends on it was done."
            ) from None


class Facts:
    """The facts that were gathered for a task.

    `gone`: hosts that are down, although other hosts may still report something about them.
    """

    def __init__(
        self,
        values: Optional[Mapping[Fact[Any], Mapping[str, Any]]] = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self._values = values or {}
        self.gone = gone

    def without(self, gone: frozenset[str]) -> Facts:
        """These facts, with these hosts marked as gone."""
        return Facts(self._values, gone)

    def asked(self, fact: Fact[Any]) -> bool:
        """Whether the fact was gathered; a status leaves some out."""
        return fact in self._values

    def known(self, fact: Fact[T]) -> Mapping[str, T]:
        """The value of every host that has one, by the host's name."""
        return self._values.get(fact, {})

    def of(self, fact: Fact[T], host: Host) -> T:
        """The value of one host; MissingFact if it has none."""
        try:
            return self.known(fact)[host.name]
        except KeyError:
            raise MissingFact(f"{fact.name} on {host.name} is unknown: {fact.absent}") from None


NOTHING_KNOWN = Facts()
"""No facts were gathered."""
