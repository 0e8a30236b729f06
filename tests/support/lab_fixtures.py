"""Options and fixtures of all tests that run on a lab; each conftest.py has its own `lab`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.controller import Controller


def pytest_addoption(parser: pytest.Parser) -> None:
    options = parser.getgroup("lab")
    options.addoption("--files-seed", type=int, help="run the files in the order of this seed")
    options.addoption("--ledger", type=Path, help="write the result and time of each test here")
    options.addoption("--resume", action="store_true", help="skip tests that the ledger has passed")


@pytest.fixture(scope="module")
def fab(lab) -> Controller:
    """fab("rabbitmq.check", …) -> the answer."""
    return Controller(lab)


@pytest.fixture(scope="module")
def on(lab):
    """Run a command as root on a host, without the product: on("mq1", "cat /etc/hosts")."""

    def run(host: str, command: str) -> str:
        done = lab.root_shell(host, command)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    return run


@pytest.fixture
def report(record_property):
    """Print a figure with the test's result: report("switchover: 1.5 s without writes")."""
    return lambda line: record_property("figure", line)
