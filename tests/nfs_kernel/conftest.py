"""Tests on virtual machines with NFS in their kernels: `make test-nfs-kernel`, as root."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.controller import PROJECT, Controller
from support.inventories import some_hosts
from support.ledger import Ledger
from support.share import CLIENT, SERVERS, VIP
from support.states import KEEP, lab_name

from lab.vm.lab import VirtualLab


def pytest_addoption(parser: pytest.Parser) -> None:
    options = parser.getgroup("lab")
    options.addoption("--ledger", type=Path, help="write here what became of each test, and when")
    options.addoption("--resume", action="store_true", help="leave out what the ledger has passed")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Ledger(config), "ledger")
    # Who is told to end takes the machines down first, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def lab() -> Iterator[VirtualLab]:
    """The two servers of the share and a client, fresh."""
    if os.geteuid() != 0:
        pytest.fail("virtual machines need root")
    folder = PROJECT / ".tests"
    folder.mkdir(exist_ok=True)
    hosts_file = some_hosts(
        folder,
        (*SERVERS, CLIENT),
        {},
        vips={"nfs-vip": {"address": VIP, "role": "nfs", "members": {"ftp": 110, "nfs2": 100}}},
        nfs={"writers": [CLIENT]},
        connection={"user": "rocky", "timeout": 60},  # emulated machines answer slowly
    )
    opened = VirtualLab.open(lab_name("nfs-kernel"), hosts_file)
    try:
        if not (KEEP and opened.is_up()):
            opened.up()
        yield opened
    finally:
        if not KEEP:
            opened.down()


@pytest.fixture(scope="session")
def fab(lab) -> Controller:
    """fab("nfs.check", …) -> what it said."""
    return Controller(lab)


@pytest.fixture(scope="session")
def on(lab):
    """Run a command as root on a machine, past the product: on("ftp", "exportfs -v")."""

    def run(host: str, command: str) -> str:
        done = lab.root_shell(host, command)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    return run


@pytest.fixture
def report(record_property):
    """A figure for whoever reads the test's output."""
    return lambda line: record_property("figure", line)
