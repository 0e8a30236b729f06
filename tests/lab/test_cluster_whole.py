"""The whole cluster, deployed, judged, gathered for a bug report, and through a power cycle."""

from __future__ import annotations

import tarfile
import time

import pytest
import yaml
from support.whole import Whole

STATE = "whole"


@pytest.fixture(scope="module")
def whole(lab) -> Whole:
    """Everything is deployed."""
    return Whole(lab)


def test_a_second_deployment_changes_nothing(whole):
    assert whole.changed("cluster.deploy", "--yes") == (0, set())


def test_the_verdict_is_one_word(whole):
    code, said = whole("cluster.check")
    assert code == 0, said
    assert said.strip().splitlines()[-1].startswith(("OK", "WARN:"))


def test_a_plan_has_nothing_to_do_and_a_diff_nothing_to_say(whole):
    code, said = whole("cluster.plan")
    assert code == 0, said
    assert "would change:" not in said
    code, said = whole("cluster.diff")
    assert (code, said) == (0, "")


@pytest.mark.long
def test_a_diff_is_all_that_a_diff_says(whole, fab):
    whole.on("mq2", "sed -i 's/192.168.83.148 sql1/192.168.83.99 sql1/' /etc/hosts")
    code, said = whole("cluster.diff")
    assert code == 1
    assert said.startswith("# mq2: /etc/hosts has the block")
    assert "-192.168.83.99 sql1" in said
    assert "+192.168.83.148 sql1" in said
    assert fab("-H", "mq2", "hosts").code == 0


def test_a_bundle_for_a_bug_report_holds_no_password(whole, tmp_path):
    whole.lab.fault("card1", "unplug")
    try:
        code, said = whole("cluster.support", "--to", str(tmp_path), "--hours", "1")
    finally:
        whole.lab.heal("card1")
    assert code == 3
    assert "without card1: no answer" in said
    [bundle] = tmp_path.iterdir()
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert bundle.stat().st_size < 10_000_000
    with tarfile.open(bundle) as archive:
        texts = {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()
            for member in archive
        }
    assert "card1/unreachable.txt" in texts
    assert "patroni" in texts["sql1/journal.txt"]
    assert "sql_alchemy_conn" in texts["airflow/configuration.txt"]
    secrets = yaml.safe_load((whole.state / "secrets.yaml").read_text())
    assert len(secrets) > 10
    for name, value in secrets.items():
        assert [file for file, text in texts.items() if value in text] == [], name


@pytest.mark.long
def test_a_power_cycle(whole, report):
    began = time.monotonic()
    code, said = whole("cluster.stop", "--yes")
    assert code == 0, said
    stopped = time.monotonic()
    for host, unit in (
        ("airflow", "airflow-scheduler"),
        ("worker1", "airflow-worker"),
        ("sql1", "patroni"),
        ("mq1", "rabbitmq-server"),
        ("ftp", "nfs-server"),
    ):
        assert whole.on(host, f"systemctl is-active {unit} || :") == "inactive"
    assert whole.on("sql1", "pgrep -c postgres || :") == "0"
    code, said = whole("cluster.stop", "--yes", "--power-off")
    assert code == 0, said
    assert "changed: " not in said.replace("changed: it powers off", "")
    deadline = time.monotonic() + 60
    while {host.state for host in whole.lab.status()} != {"off"}:
        assert time.monotonic() < deadline
        time.sleep(1)
    for host in whole.lab.status():
        whole.lab.fault(host.name, "power-on")
    on = time.monotonic()
    code, said = whole("cluster.start")
    assert code == 0, said
    assert "all checks found no errors" in said
    took = f"stop {stopped - began:.0f} s, start {time.monotonic() - on:.0f} s"
    report(took)
    code, said = whole("cluster.start")
    assert code == 0, said
    assert "changed: " not in said
