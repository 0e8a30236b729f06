"""A requirement: a Python package by name, with versions that are accepted, or by URL."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from runbook.inventory.entry import named
from runbook.inventory.schema import Objection
from runbook.yaml_source import KeyPath

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
_EXTRAS = rf"\[ *{_NAME}(?: *, *{_NAME}){{0,49}} *\]"
_VERSION = r"(?:===|==|~=|!=|<=|>=|<|>) *[A-Za-z0-9][A-Za-z0-9.*+!_-]{0,63}"
_VERSIONS = rf"{_VERSION}(?: *, *{_VERSION}){{0,19}}"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_URL = rf"https://{_HOST}(?::[0-9]{{1,5}})?/[A-Za-z0-9._~/%+-]{{1,900}}\.(?:whl|tar\.gz|zip)"
PATTERN = rf"{_NAME}(?: *{_EXTRAS})?(?: *{_VERSIONS}| *@ *{_URL})?"

EXAMPLES = (
    "requirement: `apache-airflow-providers-http>=4.10`, or `NAME @ https://…` for a wheel or an "
    "archive; no options and markers"
)

Requirement = Annotated[str, named(EXAMPLES, PATTERN)]

_PARTS = re.compile(rf"({_NAME}) *({_EXTRAS})? *({_VERSIONS})? *(?:@ *({_URL}))?")

DECIDED = {
    "apache-airflow": "versions.airflow decides its version; name a provider as "
    "apache-airflow-providers-NAME",
    "celery": "Airflow's lock decides its version, on which the type of the queues depends",
}
"""Packages that airflow.packages must not name, and why."""


@dataclass(frozen=True)
class Package:
    """A requirement in its parts; `versions` and `url` may be empty."""

    name: str
    extras: str
    versions: str
    url: str

    def __str__(self) -> str:
        """The same text for every spelling of the same requirement."""
        place = f" @ {self.url}" if self.url else self.versions
        return f"{self.name}{self.extras}{place}"

    @property
    def host(self) -> str:
        """The server that its URL names."""
        return self.url.partition("://")[2].partition("/")[0].partition(":")[0].lower()


def normal(name: str) -> str:
    """A package's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package(text: str) -> Package:
    """The parts of a requirement; ValueError if it is none."""
    found = _PARTS.fullmatch(text)
    if not found:
        raise ValueError(text)
    name, extras, versions, url = (part or "" for part in found.groups())
    words = sorted(map(normal, re.findall(_NAME, extras)))
    return Package(
        normal(name),
        f"[{','.join(words)}]" if words else "",
        ",".join(sorted(versions.replace(" ", "").split(","))),
        url,
    )


def wrong(
    requirements: Sequence[str], hosts: Collection[str], path: KeyPath
) -> Iterator[Objection]:
    """What is wrong with these requirements: two of a name, a URL of another host, a fixed one."""
    seen: set[str] = set()
    for place, text in enumerate(requirements):
        one = package(text)
        if one.name in seen:
            yield Objection(f"names {one.name} for the second time", (*path, place))
        seen.add(one.name)
        if one.name in DECIDED:
            yield Objection(f"must not name {one.name}: {DECIDED[one.name]}", (*path, place))
        if one.url and one.host not in {host.lower() for host in hosts}:
            sentence = (
                f"comes from {one.host}; if packages may come from there, list it in "
                "airflow.package_hosts"
            )
            yield Objection(sentence, (*path, place))
