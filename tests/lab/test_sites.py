"""The whole runbook on hosts that are as unkind as real sites."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.controller import PROJECT
from support.states import bare_hosts
from support.whole import Whole

pytestmark = pytest.mark.long
SITES = ("el9", "cis,zone,nics", "cloud,selinux")


@pytest.fixture(scope="module", params=SITES)
def site(request) -> Iterator[Whole]:
    """The thirteen servers of hosts.yaml, fresh, with these profiles."""
    with bare_hosts("sites", PROJECT / "hosts.yaml", request.param.split(",")) as lab:
        yield Whole(lab)


def test_the_cluster_is_deployed_and_a_second_run_changes_nothing(site, report):
    began = time.monotonic()
    code, said = site("cluster.deploy", "--yes", "--accept-host-keys")
    assert code == 0, said
    again = time.monotonic()
    assert site.changed("cluster.deploy", "--yes") == (0, set())
    report(f"deployed: {again - began:.0f} s, once more {time.monotonic() - again:.0f} s")


def test_everything_runs_after_a_power_cycle(site):
    """What a boot of such a host undoes is found here."""
    for name in site.lab.hosts():
        site.lab.fault(name, "power-loss")
    for name in site.lab.hosts():
        site.lab.fault(name, "power-on")
    code, said = site("cluster.status", "--wait", "300")
    assert code == 0, said
    assert site.changed("cluster.deploy", "--yes") == (0, set())
