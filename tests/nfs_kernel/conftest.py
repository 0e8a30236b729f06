"""Tests on virtual machines with NFS in their kernels: `make test-nfs-kernel`, as root."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from support.controller import PROJECT
from support.inventories import some_hosts
from support.lab_fixtures import fab, on, pytest_addoption, report  # noqa: F401
from support.ledger import Ledger
from support.share import CLIENT, SERVERS, VIP
from support.states import KEEP, lab_name

from lab.vm.lab import VirtualLab


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Ledger(config), "ledger")
    # On SIGTERM, take the machines down first, as on Ctrl-C.
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
