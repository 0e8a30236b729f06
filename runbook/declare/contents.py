"""A runbook's table of contents: its sections in order, and the settings that they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Protocol, TypeVar

import invoke

from runbook.declare.operations import CHECKS, Part, Phase
from runbook.declare.section import Section
from runbook.declare.work import Work
from runbook.inventory.cluster import Cluster
from runbook.inventory.read import load, load_configured
from runbook.inventory.schema import Schema, Settings
from runbook.secrets.mask import Mask


@dataclass(frozen=True)
class Contents:
    """All sections, in the runbook's order. `shared`: settings that belong to no single section."""

    sections: tuple[Section, ...]
    shared: Mapping[str, type[Settings]] = field(default_factory=dict)

    @property
    def schema(self) -> Schema:
        """What hosts.yaml may name."""
        own = {one.key or one.name: one.settings for one in self.sections if one.settings}
        roles = tuple(dict.fromkeys(role for one in self.sections for role in one.roles))
        accounts = frozenset(name for one in self.sections for name in one.accounts)
        ports = tuple(port for one in self.sections for port in one.ports)
        return Schema(roles, {**self.shared, **own}, accounts, ports)

    def collection(self) -> invoke.Collection:
        """The sections as Invoke namespaces."""
        collection = invoke.Collection()
        for section in self.sections:
            collection.add_collection(section.collection(self))
        return collection

    def load(
        self,
        file: Path,
        override: Optional[Path] = None,
        state: Optional[Path] = None,
        mask: Optional[Mask] = None,
    ) -> Cluster:
        """Read and validate an inventory: see runbook.inventory.read.load."""
        return load(file, self.schema, override, state, mask)

    def configured(self, mask: Optional[Mask] = None) -> Cluster:
        """The inventory that the environment names, or hosts.yaml."""
        return load_configured(self.schema, mask)

    def section(self, name: str) -> Section:
        """The section of this name."""
        return next(one for one in self.sections if one.name == name)

    def find(self, name: str) -> Work:
        """A section, or a task of one, by its name for `fab`: postgres, airflow.smoke."""
        section, _, task = name.partition(".")
        return self.section(section).find(task)

    @property
    def names(self) -> list[str]:
        """The names of the sections, in the runbook's order."""
        return [section.name for section in self.sections]

    @property
    def parts(self) -> list[Part]:
        """What cluster.deploy carries out: all sections, some single tasks, and the checks.

        A section without `after` follows the section before it.
        """
        found: list[Part] = []
        previous: tuple[str, ...] = ()
        for section in self.sections:
            found += section.parts
            after = previous if section.after is None else section.after
            found.append(Part(section.name, after))
            previous = (section.name,)
        found.append(Part(CHECKS, tuple(self.names), planned=False))
        return _in_order(found)

    @property
    def start_phases(self) -> list[Phase]:
        """The start phases, in order."""
        return _in_order(filter(None, (section.start_phase for section in self.sections)))

    @property
    def stop_phases(self) -> list[Phase]:
        """The stop phases: the order of a start, reversed."""
        order = [phase.name for phase in self.start_phases]
        stops = [one.stop_phase for one in self.sections if one.stop_phase]
        return sorted(stops, key=lambda phase: -order.index(phase.name))

    @property
    def free_phases(self) -> list[Phase]:
        """What is done, in this order, before some hosts are taken down."""
        return _in_order(filter(None, (section.free_phase for section in self.sections)))


class Ordered(Protocol):
    """Something with a name that comes after others."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def after(self) -> tuple[str, ...]:
        """The names of what comes before it; unknown names are ignored."""


Item = TypeVar("Item", bound=Ordered)


def _in_order(given: Iterable[Item]) -> list[Item]:
    """The items, each after those in its `after`; otherwise the given order is kept."""
    left = list(given)
    done: list[Item] = []
    while left:
        names = {one.name for one in left}
        ready = next((one for one in left if not names & set(one.after)), None)
        if not ready:
            raise ValueError(f"{', '.join(sorted(names))} wait for each other")
        left.remove(ready)
        done.append(ready)
    return done
