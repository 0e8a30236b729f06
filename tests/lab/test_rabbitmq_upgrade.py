"""RabbitMQ and Erlang change their versions, node by node, while clients work."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support import later_rabbitmq
from support.bad_days import figure
from support.controller import PROJECT
from support.later_rabbitmq import ERLANG, RABBITMQ, SKIPPED
from support.messages import MQ, starts, told, waits
from support.replaced import lost, replaced

STATE = "queue"
HOSTS = MQ

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wanting(lab, fab, tmp_path_factory):
    """wanting("3.11.18", "25.3.2") -> fab with these versions, whose repositories have both."""
    url = later_rabbitmq.offer(lab, tmp_path_factory.mktemp("later"))

    def given(rabbitmq: str, erlang: str):
        data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
        data["versions"].update(rabbitmq=rabbitmq, erlang=erlang)
        data["sources"]["rabbitmq"].update(erlang=url, server=url)
        override = Path(tmp_path_factory.mktemp("wanting")) / "override.yaml"
        override.write_text(yaml.safe_dump(data))
        return fab.given(RUNBOOK_OVERRIDE=str(override))

    return given


@pytest.fixture(scope="module")
def later(wanting):
    """fab with the later versions; the hosts know their repositories."""
    given = wanting(RABBITMQ, ERLANG)
    assert given("rabbitmq.repo").code == 0
    return given


def installed(on, name: str) -> str:
    return on(name, "rpm -q --qf '%{name} %{version} ' rabbitmq-server erlang").strip()


def test_the_section_does_not_upgrade_by_itself_and_names_the_task_that_does(later, on):
    answer = later("rabbitmq")
    assert answer.code == 1
    assert "To upgrade node by node: fab rabbitmq.upgrade" in answer.text
    assert installed(on, "mq1") == "rabbitmq-server 3.10.8 erlang 25.2.3"
    assert told(later, f"names {RABBITMQ} and {ERLANG}", "warn")


def test_a_series_is_not_skipped(wanting, on):
    answer = wanting(SKIPPED, "25.3.2")("--yes", "rabbitmq.upgrade")
    assert answer.code == 1
    assert "RabbitMQ 3.10.8 cannot become 3.12.10: from 3.10, the next is 3.11" in answer.text
    assert installed(on, "mq1") == "rabbitmq-server 3.10.8 erlang 25.2.3"


def test_an_alarm_stops_an_upgrade_before_it_begins(later, on, queue):
    before = starts(queue)
    on("mq2", "rabbitmqctl -q set_disk_free_limit 100000GB")
    try:
        waits(later, "no alarm on mq2: its disk is too full")
        answer = later("--yes", "rabbitmq.upgrade")
        assert answer.code == 1
        assert "mq2 has an alarm, disk or memory: fab rabbitmq.check. Nothing was" in answer.text
        assert starts(queue) == before
    finally:
        on("mq2", "rabbitmqctl -q set_disk_free_limit 1GB")


def test_packages_that_were_replaced_without_a_restart_are_told(later, fab, on):
    wanted = f"erlang-{ERLANG} rabbitmq-server-{RABBITMQ}"
    on("mq3", f"dnf -q -y install --disableplugin=versionlock {wanted}")
    assert told(later, f"mq3 runs RabbitMQ 3.10.8, installed is {RABBITMQ}")
    back = "erlang-25.2.3 rabbitmq-server-3.10.8"
    on("mq3", f"dnf -q -y downgrade --disableplugin=versionlock {back}")
    waits(fab, "nodes run the installed versions", "ok")


def test_an_upgrade_loses_no_message(later, queue, on, report):
    with queue.talking():
        pass
    with queue.talking() as outcome:
        answer = later("--yes", "rabbitmq.upgrade")
    assert answer.code == 0, answer.text
    report(figure("RabbitMQ and Erlang change their versions", "`fab rabbitmq.upgrade`", outcome))
    assert outcome.lost == 0
    for name in MQ:
        assert installed(on, name) == f"rabbitmq-server {RABBITMQ} erlang {ERLANG}"
        locks = on(name, "dnf -q versionlock list")
        assert RABBITMQ in locks
        assert "3.10.8" not in locks
    later.settled("rabbitmq")
    assert told(later, f"versions are equal: {RABBITMQ} on Erlang {ERLANG}", "ok")


def test_a_second_upgrade_changes_nothing_and_neither_does_the_section(later, queue):
    before = starts(queue)
    assert later("rabbitmq.upgrade").steps("changed", "failed") == set()
    assert later("rabbitmq").steps("changed", "failed") == set()
    assert starts(queue) == before


def test_there_is_no_way_back(fab):
    answer = fab("--yes", "rabbitmq.upgrade")
    assert answer.code == 1
    assert f"{RABBITMQ} runs, and RabbitMQ does not go back to 3.10.8" in answer.text


def test_a_replaced_server_gets_the_same_versions(later, lab, on):
    lost(lab, "mq2")
    replaced(lab, "mq2")
    answer = later("rabbitmq")
    assert answer.code == 0, answer.text
    assert installed(on, "mq2") == f"rabbitmq-server {RABBITMQ} erlang {ERLANG}"
    later.settled("rabbitmq")
