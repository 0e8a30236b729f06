"""Tests on real hosts. They need root; the first run builds the lab's cache."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.database import Database, let_in
from support.lab_fixtures import fab, on, pytest_addoption, report  # noqa: F401
from support.ledger import Ledger
from support.messages import Queue
from support.states import KEEP, STATES, bare_hosts, begin, lab_name

from lab.machine import Lab

ORDER = ["", "bare", *STATES]
"""The states by what it takes to build them; files with labs of their own have none."""

SOON = ("", "bare", "section one")
"""What is there a minute after the first file has begun."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Ledger(config), "ledger")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """File by file; with a seed, in any order. Only files of which tests were selected count."""
    modules = {item.path: item.module for item in items}
    seed = config.getoption("files_seed")
    if seed is None:
        files = side_by_side(modules)
    else:
        files = sorted(modules)
        random.Random(seed).shuffle(files)
    items.sort(key=lambda item: files.index(item.path))


def side_by_side(modules: Mapping[Path, ModuleType]) -> list[Path]:
    """The files in an order in which two labs keep two processors busy.

    One that needs all states begins, and builds them. Beside it come those that need none of them,
    then files that mostly wait, which say WAITS, in turn with those that keep a processor busy.
    """
    files = sorted(modules, key=lambda file: ORDER.index(getattr(modules[file], "STATE", "")))
    first, others = files[-1:], files[:-1]
    soon = [file for file in others if getattr(modules[file], "STATE", "") in SOON]
    later = [file for file in others if file not in soon]
    waiting = [file for file in later if getattr(modules[file], "WAITS", False)]
    busy = [file for file in later if file not in waiting]
    pairs = zip_longest(waiting, reversed(busy))
    return [*first, *soon, *(file for pair in pairs for file in pair if file)]


@pytest.fixture(scope="module")
def lab(request) -> Iterator[Lab]:
    """The hosts of hosts.yaml in the test file's STATE; with HOSTS there, only those are on."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    opened = Lab.open(lab_name())
    if not (KEEP and opened.is_up()):
        begin(opened, request.module.STATE, getattr(request.module, "HOSTS", ()))
    yield opened
    if not KEEP:
        opened.down()


@pytest.fixture(scope="module")
def lab_of_its_own():
    """lab_of_its_own("grows", hosts_yaml) -> its fab, its hosts up and through Section 1."""
    with ExitStack() as labs:

        def up(name: str, file: Path) -> Controller:
            fab = Controller(labs.enter_context(bare_hosts(name, file)))
            answer = fab(
                "--accept-host-keys", "ssh.trust", "ssh.bootstrap", "base", "hostnames", "hosts"
            )
            assert answer.code == 0, answer.text
            return fab

        yield up


@pytest.fixture(scope="module")
def with_client(lab, tmp_path_factory) -> dict[str, str]:
    """The environment of runs with the lab's settings, and the writer let in to the database."""
    return let_in(lab, tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def postgres(fab, with_client) -> Controller:  # noqa: F811
    """postgres("postgres.check", …) -> what fab said; the writer is let in."""
    return fab.given(**with_client)


@pytest.fixture(scope="module")
def database(postgres, lab, tmp_path_factory) -> Database:
    """The section postgres has been carried out, and there is a table to write to."""
    answer = postgres("postgres")
    assert answer.code == 0, answer.text
    return Database.with_table(lab, tmp_path_factory.mktemp("writers"))


@pytest.fixture
def setting(with_client, tmp_path):
    """setting("max_connections: 300") -> the environment of a run with these in `postgres:`."""

    def write(text: str) -> dict[str, str]:
        override = tmp_path / "override.yaml"
        base = yaml.safe_load(Path(with_client["RUNBOOK_OVERRIDE"]).read_text())
        base["postgres"] = {**base["postgres"], **yaml.safe_load(text)}
        override.write_text(yaml.safe_dump(base))
        return {"RUNBOOK_OVERRIDE": str(override)}

    return write


@pytest.fixture(scope="module")
def queue(lab, tmp_path_factory) -> Queue:
    """The message queue, looked at past the product."""
    return Queue(lab, tmp_path_factory.mktemp("rabbitmq"))


@pytest.fixture
def well_again():
    """Nothing to wait for."""
    return lambda: None


@pytest.fixture
def healed(lab, well_again):
    """lab.fault, undone at the end whatever happens; then `well_again` of the module waits."""
    broken = set()

    def fault(host: str, kind: str, **options: Any) -> None:
        broken.add(host)
        lab.fault(host, kind, **options)

    yield fault
    for host in broken:
        lab.heal(host)
    well_again()


@pytest.fixture
def settings(lab, tmp_path):
    """The lab's settings with these on top: settings("base", packages=[…]) -> environment."""

    def write(section: str, **changed: Any) -> dict[str, str]:
        override = tmp_path / "override.yaml"
        data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
        data.setdefault(section, {}).update(changed)
        override.write_text(yaml.safe_dump(data))
        return {"RUNBOOK_OVERRIDE": str(override)}

    return write
