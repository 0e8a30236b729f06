"""The database cluster gains members and loses some, in a lab of its own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.inventories import some_hosts

pytestmark = pytest.mark.long

FIVE = ("sql1", "sql2", "sql3", "sql4", "sql5")
SIZE = {"ram": "2GB", "cpu": 1, "disk": "10GB", "roles": ["postgres"]}
MORE = {
    "sql4": {"vm": 20, "address": "192.168.83.160", **SIZE},
    "sql5": {"vm": 21, "address": "192.168.83.161", **SIZE},
}


def inventory(folder: Path, *names: str) -> Path:
    """These database servers, and nfs2 for the backups."""
    return some_hosts(folder, (*names, "nfs2"), MORE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("grows")


@pytest.fixture(scope="module")
def servers(lab_of_its_own, folder):
    return lab_of_its_own("grows", inventory(folder, *FIVE))


@pytest.fixture(scope="module")
def run(servers, folder):
    """run(("sql1", …), "postgres") -> what fab said, with hosts.yaml naming these servers."""

    def run(names, *arguments: str):
        file = inventory(folder, *names)
        return servers(*arguments, RUNBOOK_INVENTORY=str(file))

    return run


def members(answer) -> dict[str, str]:
    """Name and state of each member."""
    return {row["member"]: row["state"] for row in answer.data["tables"]["postgres.status"]}


def standing(run, names) -> None:
    """All members stream, nothing is wrong, and a second run changes nothing."""
    deadline = time.monotonic() + 60
    while True:
        told = run(names, "postgres.check", "postgres.status")
        if told.code == 0 and not told.steps("warn"):
            break
        assert time.monotonic() < deadline, told.text
    assert sorted(members(told).values()) == ["running"] + ["streaming"] * (len(names) - 1)
    assert f"etcd is one cluster: {len(names)} members" in {title for _, title in told.steps("ok")}
    assert run(names, "postgres").steps("changed", "failed") == set()


def test_two_members_are_warned_of(run):
    told = run(FIVE[:2], "--plan", "postgres.repo")
    assert "an even number survives no more failures than one host fewer" in told.text


def test_three_become_five(run):
    first = run(FIVE[:3], "postgres")
    assert first.code == 0, first.text
    standing(run, FIVE[:3])
    plan = run(FIVE, "--plan", "postgres")
    assert plan.code == 0, plan.text
    assert ("sql4", "etcd knows sql4 as a member") in plan.steps("differs")
    grown = run(FIVE, "postgres")
    assert grown.code == 0, grown.text
    assert ("sql4", "etcd knows sql4 as a member") in grown.steps("changed")
    assert not any(
        "etcd.service" in title for host, title in grown.steps("changed") if host == "sql1"
    )
    standing(run, FIVE)


def test_one_is_taken_out_and_the_check_says_where_it_is_still_named(run):
    refused = run(FIVE, "--yes", "postgres.remove", "sql9")
    assert refused.code == 2
    answer = run(FIVE, "--yes", "postgres.remove", "sql5")
    assert answer.code == 0, answer.text
    told = run(FIVE, "postgres.check")
    assert told.code == 1
    assert "etcd's members are those of hosts.yaml: sql5 is not a member" in told.text
    again = run(FIVE[:4], "postgres")
    assert again.code == 0, again.text
    standing(run, FIVE[:4])


def test_one_that_is_gone_for_good_is_taken_out(run, servers):
    servers.lab.fault("sql4", "power-loss")
    answer = run(FIVE[:4], "--yes", "postgres.remove", "sql4")
    assert answer.code == 0, answer.text
    again = run(FIVE[:3], "postgres")
    assert again.code == 0, again.text
    standing(run, FIVE[:3])


def test_never_below_the_quorum(run, servers):
    """With one of three down, taking out one of the others is refused."""
    leader = next(
        row["member"]
        for row in run(FIVE[:3], "postgres.status").data["tables"]["postgres.status"]
        if row["role"] == "leader"
    )
    down, up = (name for name in FIVE[:3] if name != leader)
    servers.lab.fault(down, "power-loss")
    answer = run(FIVE[:3], "--yes", "postgres.remove", up)
    assert answer.code == 1
    assert "which is not a quorum" in answer.text
    servers.lab.heal(down)


def test_one_that_was_taken_out_may_come_back(run):
    """sql5 still has the data of before, which etcd must not start from."""
    names = ("sql1", "sql2", "sql3", "sql5")
    answer = run(names, "postgres")
    assert answer.code == 0, answer.text
    standing(run, names)
