"""The entry points on bare servers, before there is a database behind them."""

from __future__ import annotations

import pytest
from support.database import SQL
from support.entry_points import ON_ONE_HOST, PROXIES, VIP, told

STATE = "section one"
HOSTS = (*SQL, *PROXIES, "mq1")
WAITS = True

pytestmark = pytest.mark.long


def test_an_address_that_somebody_else_has_is_not_claimed(fab, on):
    on("mq1", f"ip addr add {VIP}/32 dev eth0")
    mac = on("mq1", "cat /sys/class/net/eth0/address")
    try:
        answer = fab("haproxy")
        assert answer.code == 1
        assert f"{VIP} (airflow-vip) is in use: {mac} answers for it" in answer.text
        for host in PROXIES:
            assert on(host, "systemctl is-active keepalived || :") == "inactive"
        said = told(fab("haproxy.check"), "error")
        assert f"[cluster] {ON_ONE_HOST}: {mac} answers for it" in said
        assert "[cluster] redundancy: none: no server can hold the VIP" in said
    finally:
        on("mq1", f"ip addr del {VIP}/32 dev eth0")


def test_the_plan_is_what_the_run_does(fab):
    plan = fab("--plan", "haproxy")
    assert plan.code == 0, plan.text
    assert ("airflow", "keepalived.service runs and is enabled") in plan.steps("differs")
    run = fab("haproxy")
    assert run.code == 0, run.text
    assert run.steps("changed") == plan.steps("differs")


def test_without_a_database_that_is_what_the_check_says(fab):
    answer = fab("haproxy.check")
    assert answer.code == 0, answer.text
    assert told(answer, "warn").splitlines() == [
        "[cluster] the ports lead to the database: it is not set up yet",
        "[cluster] webservers answer: none does (yet)",
    ]
