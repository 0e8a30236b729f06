"""How a service speaks: in clear, over TLS, or both while `fab tls.switch` changes that.

What is on the servers decides; `tls.enabled` of hosts.yaml decides only for what does not exist.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Callable, Optional

from runbook.declare.facts import Fact, Facts, On
from runbook.inventory.cluster import Cluster, Host

from .tls import Tls


class Speaks(IntEnum):
    """How a service speaks; what is lower can be reached by every client that is higher.

    A service that speaks BOTH serves clients of either kind, unless it says otherwise.
    """

    CLEAR = 0
    BOTH = 1
    TLS = 2

    @property
    def word(self) -> str:
        """Its name, as settings and answers have it."""
        return self.name.lower()

    @property
    def spoken(self) -> str:
        """Its name in a sentence."""
        return {Speaks.CLEAR: "in clear", Speaks.BOTH: "in clear and TLS", Speaks.TLS: "TLS"}[self]


WORDS = {"none": None, **{one.word: one for one in Speaks}}

Spoken = Optional[Speaks]
"""None: the service is not set up."""


def beyond(now: Speaks, state: Speaks, target: Speaks) -> bool:
    """Whether a service has passed a state already on its way to TLS, or back to clear."""
    return now > state if target == Speaks.TLS else now < state


def wanted(cluster: Cluster) -> Speaks:
    """How what is new is to speak."""
    return Speaks.TLS if cluster[Tls].enabled else Speaks.CLEAR


def one_word(text: str) -> Spoken:
    """Parse the answer of a fact about one service."""
    return WORDS[text.strip()]


def spoken_by(about: str, on: On, command: Callable[[Cluster, Host], str]) -> Fact[Spoken]:
    """A fact: how a service speaks; its command prints one of WORDS."""
    return Fact(about, on=on, command=command, parse=one_word, absent="it does not answer")


def speaks(host: Host, fact: Fact[Spoken], facts: Facts, new: Speaks) -> Speaks:
    """How a service speaks on a host, or has to if it is not set up: as the others, or as `new`."""
    known = facts.known(fact)
    own = known.get(host.name)
    others = [one for one in known.values() if one is not None]
    return own if own is not None else min(others, default=new)
