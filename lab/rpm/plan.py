"""Which RPMs are built from which Debian packages, and what each of them requires."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lab.errors import LabError
from lab.packages import NOT_SHIPPED, PACKAGES
from lab.packages.model import Package
from lab.rpm.debs import Deb, rpm_version


@dataclass(frozen=True)
class Rpm:
    """An RPM to be built: its entry's key, how it differs, and the Debian packages in it."""

    key: str
    package: Package
    debs: tuple[Deb, ...]
    requires: frozenset[str]

    @property
    def name(self) -> str:
        return self.package.name or self.key

    @property
    def version(self) -> str:
        if self.package.version:
            return self.package.version
        if self.package.wheel:
            return self.package.wheel.version
        return rpm_version(self.debs[0].version)

    @property
    def artifact(self) -> str:
        """How a module names it."""
        arch = "noarch" if self.package.noarch else "x86_64"
        return f"{self.name}-0:{self.version}-{self.package.release}.{arch}"

    @property
    def summary(self) -> str:
        if self.package.summary or not self.debs:
            return self.package.summary or self.name
        return self.debs[0].description


def plan_rpms(debs: Iterable[Deb]) -> list[Rpm]:
    """The RPMs of lab.packages, and those of the Debian packages that they depend on."""
    shipped = {deb.name: deb for deb in debs if deb.name not in NOT_SHIPPED}
    rpm_of = _rpm_names(shipped.values())
    members = _members(shipped.values(), rpm_of)
    rpms = {}
    for key, own in members.items():
        package = PACKAGES.get(key, Package())
        inside = members[package.part.entry] if package.part else own
        if package.debs and not inside:
            raise LabError(f"the base already has what the lab's package {key} is made from")
        requires = frozenset(_required(key, package, own, rpm_of))
        rpms[key] = Rpm(key, package, tuple(inside), requires)
    return list(_needed(rpms))


def _rpm_names(shipped: Collection[Deb]) -> dict[str, str]:
    """Debian package → the RPM that has it, also by the names that it provides."""
    claimed = {name: key for key, package in PACKAGES.items() for name in package.debs}
    real = {deb.name: claimed.get(deb.name, deb.name) for deb in shipped}
    virtual = {name: real[deb.name] for deb in shipped for name in deb.provides}
    return {**virtual, **real}


def _members(shipped: Iterable[Deb], rpm_of: Mapping[str, str]) -> dict[str, list[Deb]]:
    """RPM → its Debian packages, in the order in which its entry names them."""
    members: dict[str, list[Deb]] = {key: [] for key in PACKAGES}
    for deb in shipped:
        members.setdefault(rpm_of[deb.name], []).append(deb)
    for key, package in PACKAGES.items():
        order = {name: position for position, name in enumerate(package.debs)}
        members[key].sort(key=lambda deb: order.get(deb.name, len(order)))
    return members


def _required(
    key: str, package: Package, debs: Iterable[Deb], rpm_of: Mapping[str, str]
) -> set[str]:
    """What an RPM requires, by RPM name; not what the base has."""
    depends = [clause for deb in debs for clause in deb.depends]
    depends += [(name,) for name in package.depends]
    chosen = (
        next((rpm_of[name] for name in alternatives if name in rpm_of), None)
        for alternatives in depends
    )
    return {*filter(None, chosen), *package.requires} - {key, *package.without}


def _needed(rpms: Mapping[str, Rpm]) -> Iterator[Rpm]:
    """The RPMs of PACKAGES and what they require; not what only Debian's plumbing wanted."""
    waiting, seen = list(PACKAGES), set(PACKAGES)
    while waiting:
        rpm = rpms[waiting.pop()]
        yield rpm
        found = {name.split()[0] for name in rpm.requires}.intersection(rpms) - seen
        waiting += found
        seen |= found
