"""Twenty-five servers, twelve of them workers: all sections. It needs 20 GB of memory."""

from __future__ import annotations

import time

import pytest
from support.controller import PROJECT
from support.states import bare_hosts
from support.whole import Whole

pytestmark = [pytest.mark.long, pytest.mark.alone]


@pytest.fixture(scope="module")
def large():
    """Twenty-five bare servers."""
    with bare_hosts("large", PROJECT / "examples/large.yaml") as lab:
        yield Whole(lab)


def test_sections_follow_the_inventory_and_a_second_run_changes_nothing(large, report):
    began = time.monotonic()
    code, said = large("cluster.deploy", "--yes", "--accept-host-keys")
    assert code == 0, said
    again = time.monotonic()
    assert large.changed("cluster.deploy", "--yes") == (0, set())
    report(f"25 hosts: {again - began:.0f} s, once more {time.monotonic() - again:.0f} s")


def test_all_of_them_are_well(large):
    code, said = large("cluster.status")
    assert code == 0, said
    assert "25 of 25 hosts answered" in said
    assert "12 of 12 workers" in said
