"""Drills: what a section says about its failures, and the clients that measure what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Optional, Union

import msgspec

from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import between

POWER_LOSS, FREEZE, PARTITION = "power-loss", "freeze", "partition"
"""Faults of whole hosts, which only a lab can cause."""

OK_AGAIN = "the status"
"""In place of a load: the time until the status of the whole cluster is OK."""

StepsOf = Callable[[Host, Cluster], Steps]


@dataclass(frozen=True)
class Target:
    """The hosts that a drill strikes: a function (cluster, facts), and the facts that it needs.

    The function raises a RunbookError if it is not known now which hosts these are.
    """

    hosts: Callable[[Cluster, Facts], Sequence[Host]]
    needs: tuple[Fact[Any], ...] = ()


@dataclass(frozen=True)
class Outage:
    """A fault of whole hosts: POWER_LOSS, FREEZE or PARTITION. It ends when they are healed."""

    kind: str


def nothing(host: Host, cluster: Cluster) -> Steps:
    """No steps."""
    yield from ()


@dataclass(frozen=True)
class Deed:
    """A fault that commands on the struck hosts cause, and the steps that end it.

    `soft`: an operator may do the same to real servers, such as stopping a service. `ready`: steps
    that wait for the moment of the fault. `roles`: what the hosts do not do until it is undone;
    None: nothing at all.
    """

    strike: StepsOf
    undo: StepsOf
    soft: bool = False
    ready: StepsOf = nothing
    roles: Optional[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Operation:
    """A planned change, by the name of a task of `fab`: postgres.switchover."""

    task: str


Fault = Union[Outage, Deed, Operation]


def soft(fault: Fault) -> bool:
    """Whether the fault may be caused on real servers."""
    return isinstance(fault, Operation) or (isinstance(fault, Deed) and fault.soft)


@dataclass(frozen=True)
class Mark:
    """What a drill may cost: seconds without service, acknowledged items lost, tasks retried.

    None: there is no mark, and the figure is reported only.
    """

    seconds: Optional[float] = None
    lost: Optional[int] = 0
    retried: Optional[int] = None


@dataclass(frozen=True)
class Drill:
    """A fault that the cluster has to survive, as a sentence that can be carried out and timed.

    `measure`: the names of the loads that it is timed by, or OK_AGAIN. `watch`: seconds that are
    watched at least; some faults show only when a lease expires. `patience`: seconds that the
    service has to come back by itself, before the fault is healed. `alone`: it comes back before
    that. `from_heal`: the time counts from the heal. `repair`: tasks of `fab` that are carried out
    if the status is not OK after the heal. `trade`: which setting or law of nature decides about
    the figure, and what it would cost to change it. `gentle`: a lab has a harder form of it, which
    is carried out there instead.
    """

    name: str
    sentence: str
    target: Target
    fault: Fault
    measure: tuple[str, ...]
    mark: Mark = Mark()
    watch: int = 30
    patience: int = 120
    alone: bool = True
    from_heal: bool = False
    repair: tuple[str, ...] = ()
    trade: str = ""
    gentle: bool = False

    @property
    def soft(self) -> bool:
        """Whether it may be carried out on real servers."""
        return soft(self.fault)

    def takes(self, role: str) -> bool:
        """Whether struck hosts cannot fill a role until the fault is healed."""
        if isinstance(self.fault, Deed):
            return self.fault.roles is None or role in self.fault.roles
        return isinstance(self.fault, Outage)


Instant = Annotated[float, between(0, 2**33)]
Counted = Annotated[int, between(0, 2**53)]


class Pulse(msgspec.Struct):
    """How a load is now, by its own clock: items acknowledged so far, and how long one waits."""

    now: Instant
    acknowledged: Counted
    waits: Annotated[float, between(0, 2**33)]


class Item(msgspec.Struct, array_like=True):
    """Something that a client wanted at one time, and had acknowledged at another."""

    number: Counted
    wanted: Instant
    done: Optional[Instant] = None
    retried: bool = False


class Account(msgspec.Struct):
    """What a load says at the end.

    `there`: the number of every item that is there, as often as it is; None if nothing is kept.
    `errors`: the last ones that the client met.
    """

    items: list[Item]
    there: Optional[list[Counted]] = None
    errors: list[str] = []


@dataclass(frozen=True)
class Load:
    """A client of the cluster that works while a drill goes on.

    `item`: the word for one of its items. `on`: where it may run, the preferred host first. `uses`:
    roles without which it cannot work. `prepare` makes what it needs, `clean` removes that and all
    items; `start` and `stop` begin and end its work. `pulse` and `account` are questions to its
    host, whose answers are a Pulse and an Account as JSON. `sweep`: hosts on which a drill may
    leave something behind, and the steps that remove it. `calm`: seconds that an item may wait
    while all is well. `warming`: seconds until the first item is acknowledged. `lossy`: why
    acknowledged items may be lost by design.
    """

    name: str
    about: str
    item: str
    on: Callable[[Cluster], Sequence[Host]]
    uses: tuple[str, ...]
    prepare: StepsOf
    start: StepsOf
    stop: StepsOf
    clean: StepsOf
    pulse: Callable[[Host, Cluster], str]
    account: Callable[[Host, Cluster], str]
    sweep: tuple[tuple[Callable[[Cluster], Sequence[Host]], StepsOf], ...] = ()
    calm: float = 2.0
    warming: int = 30
    lossy: str = ""


@dataclass(frozen=True)
class Precondition:
    """Why no hard drill may be carried out now: a function (cluster, facts) yields the reasons."""

    reasons: Callable[[Cluster, Facts], Iterable[str]]
    needs: tuple[Fact[Any], ...]
