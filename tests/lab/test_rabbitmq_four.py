"""RabbitMQ 4: a new cluster, its bad days with Mnesia and with Khepri, and another version."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from support import rabbitmq4
from support.bad_days import figure
from support.controller import PROJECT, Controller
from support.messages import MQ, Queue, declared, filled, starts, told, waits
from support.rabbitmq4 import LATER, LATER_ERLANG, Offer
from support.replaced import lost, replaced
from support.strangers import in_the_place_of

from lab.image import wanted_image
from lab.machine import Lab

STATE = "section one"
HOSTS = MQ
AWAY = 20
"""Seconds until somebody does something; the others have noticed by then."""

WAITING = 20
"""Messages in a queue that nobody reads."""

TASKS = 20

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def offered(lab, tmp_path_factory) -> Offer:
    return rabbitmq4.offer(lab, tmp_path_factory.mktemp("four"))


@pytest.fixture(scope="module")
def wanting(offered, fab, tmp_path_factory):
    """wanting("4.0.5", "27.3.4.1") -> fab with these versions, whose repository has both."""

    def given(rabbitmq: str, erlang: str, **settings: str) -> Controller:
        data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
        data["versions"].update(rabbitmq=rabbitmq, erlang=erlang)
        data["sources"]["rabbitmq"].update(erlang=offered.url, server=offered.url)
        data["rabbitmq"] = {"settings": settings}
        override = Path(tmp_path_factory.mktemp("wanting")) / "override.yaml"
        override.write_text(yaml.safe_dump(data))
        return fab.given(RUNBOOK_OVERRIDE=str(override))

    return given


@pytest.fixture(scope="module")
def four(wanting, offered) -> Controller:
    return wanting(offered.rabbitmq, offered.erlang)


@pytest.fixture(scope="module")
def later(wanting) -> Controller:
    return wanting(LATER, LATER_ERLANG)


@pytest.fixture(scope="module")
def queue(four, lab, tmp_path_factory) -> Queue:
    """The section has been carried out."""
    answer = four("rabbitmq")
    assert answer.code == 0, answer.text
    return Queue(lab, tmp_path_factory.mktemp("rabbitmq"))


def whole(fab: Controller, queue: Queue) -> None:
    """Nothing is wrong, every queue has its replicas, and a second run changes nothing.

    After an outage, one node may lead all queues: the check's advice is followed first.
    """
    if told(fab, "leads all", "warn"):
        assert fab("-H", "mq1", "--", "sudo", "rabbitmq-queues", "rebalance", "quorum").code == 0
    fab.settled("rabbitmq")
    listed = queue.shell("mq1", "rabbitmqctl -q list_queues -p airflow --silent type members")
    for line in listed.splitlines():
        assert line.count("rabbit@") == 3 or not line.startswith("quorum"), listed
    before = starts(queue)
    again = fab("rabbitmq")
    assert again.code == 0, again.text
    assert again.steps("changed", "failed") == set()
    assert starts(queue) == before


def metadata(queue: Queue) -> str:
    """Where the cluster keeps its metadata."""
    flags = queue.shell("mq1", "rabbitmqctl -q list_feature_flags name state --silent")
    return "Khepri" if "khepri_db\tenabled" in flags else "Mnesia"


# From bare servers


def test_a_setting_that_rabbitmq_4_does_not_know_is_refused(wanting, offered):
    gone = {"mqtt.default_user": "somebody"}
    answer = wanting(offered.rabbitmq, offered.erlang, **gone)("rabbitmq.check")
    assert answer.code == 2
    assert "RabbitMQ 4.0.5 does not know mqtt.default_user, and would not start" in answer.text


def test_one_cluster_and_a_second_run_that_changes_nothing(four, queue, offered, report):
    whole(four, queue)
    assert told(four, f"versions are equal: {offered.rabbitmq} on Erlang {offered.erlang}", "ok")
    report(f"RabbitMQ {offered.rabbitmq} on Erlang {offered.erlang}, metadata: {metadata(queue)}")


def test_airflow_finds_what_it_needs(queue, on):
    assert "airflow\tquorum" in on("mq1", "rabbitmqctl -q list_vhosts name default_queue_type")
    users = on("mq1", "rabbitmqctl -q list_users --silent")
    assert {line.split("\t")[0] for line in users.splitlines()} == {"admin", "airflow"}
    assert on("mq1", "rabbitmqctl -q list_policies -p airflow --silent") == ""
    flags = on("mq1", "rabbitmqctl -q list_feature_flags name state stability --silent")
    assert "disabled\tstable" not in flags
    with queue.talking() as outcome:
        pass
    assert outcome.errors == []
    assert outcome.lost == 0
    listed = on("mq1", "rabbitmqctl -q list_queues -p airflow --silent name type members")
    assert "lab\tquorum" in listed
    export = json.loads(on("mq1", "cat $(ls /var/lib/rabbitmq-definitions/*.json | tail -1)"))
    assert {one["name"] for one in export["users"]} == {"admin", "airflow"}


@pytest.fixture(scope="module")
def celery(lab, tmp_path_factory) -> str:
    """The Python of an environment with the Celery of Airflow's lock."""
    place = tmp_path_factory.mktemp("celery") / "venv"
    shelf = wanted_image(lab.cache).shelf / "simple"
    links = [word for folder in shelf.iterdir() for word in ("--find-links", str(folder))]
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    pip = [str(place / "bin/pip"), "install", "-q", "--no-index", *links]
    subprocess.run([*pip, "celery==5.5.3"], check=True)
    return str(place / "bin/python")


@contextmanager
def worker(lab: Lab, queue: Queue, celery: str) -> Iterator[list[str]]:
    """A Celery worker; the command with which its client begins."""
    program = str(Path(rabbitmq4.__file__).with_name("celery_app.py"))
    with in_the_place_of(lab, "worker1") as there:
        begin = [*there, celery, program]
        log = (queue.folder / "worker.log").open("w")
        running = subprocess.Popen(
            [*begin, "work"], env=queue.login(), cwd=queue.folder, stdout=log, stderr=log
        )
        try:
            yield begin
            assert running.poll() is None, (queue.folder / "worker.log").read_text()
        finally:
            running.terminate()
            running.wait(timeout=30)
            log.close()


def asked(begin: list[str], queue: Queue, name: str) -> list[str]:
    """Tasks are sent and done; the workers that answer a ping."""
    file = queue.folder / name
    done = subprocess.run(
        [*begin, "ask", str(file), str(TASKS)],
        env=queue.login(),
        cwd=queue.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 60
    while not file.exists() or len(file.read_text().split()) < TASKS:
        assert time.monotonic() < deadline, (queue.folder / "worker.log").read_text()
        time.sleep(0.5)
    assert sorted(map(int, file.read_text().split())) == [*range(TASKS)]
    pongs: list[str] = json.loads(done.stdout.splitlines()[-1])
    return pongs


def test_celery_works_with_quorum_queues_and_its_own_queues_for_commands(
    four, lab, queue, celery, on
):
    with worker(lab, queue, celery) as begin:
        assert asked(begin, queue, "tasks") == ["worker@lab"]
        listed = on("mq1", "rabbitmqctl -q list_queues -p airflow --silent name type durable")
        assert "default\tquorum\ttrue" in listed
        assert "worker@lab.celery.pidbox\tclassic\tfalse" in listed
        four.settled("rabbitmq")
    logged = on("mq1", "cat /var/log/rabbitmq/rabbit@mq1.log")
    assert "not permitted anymore" not in logged
    assert "does not support global qos" not in logged


def test_a_celery_worker_starts_while_a_node_is_away(four, lab, queue, celery, report):
    """Its queues for delayed tasks were classic before; those make room for quorum queues."""
    queue.shell("mq2", classic("celery_delayed_99"))
    answer = four("rabbitmq")
    changed = ("mq1", "Celery's queues for delayed tasks are not on one node only")
    assert answer.steps("changed") == {changed}
    lab.fault("mq2", "power-loss")
    try:
        time.sleep(AWAY)
        began = time.monotonic()
        with worker(lab, queue, celery) as begin:
            assert asked(begin, queue, "tasks-without-mq2") == ["worker@lab"]
        took = time.monotonic() - began
    finally:
        lab.heal("mq2")
    four.settled("rabbitmq")
    report(f"Celery's worker starts without a node and has done its tasks after {took:.0f} s")
    assert took < 60


# With Mnesia


def test_a_rolling_restart_loses_no_message(four, queue, report):
    with queue.talking() as outcome:
        answer = four("rabbitmq.restart")
    assert answer.code == 0, answer.text
    report(figure("RabbitMQ 4: rolling restart of three nodes", "`fab rabbitmq.restart`", outcome))
    assert outcome.lost == 0
    whole(four, queue)


def a_dead_broker_is_replaced(fab: Controller, lab, queue, on) -> object:
    on("mq3", f"rabbitmqctl -q delete_queue -p airflow lab || :; {declared('lab')}")
    before = starts(queue)[:2]
    with queue.talking(first="mq3") as outcome:
        lost(lab, "mq3")
        time.sleep(AWAY)
        replaced(lab, "mq3")
        waits(fab, "mq3 has no data any more, but the others still count it")
        answer = fab("rabbitmq")
    assert answer.code == 0, answer.text
    assert ("mq3", "mq1 no longer counts the mq3 that is gone") in answer.steps("changed")
    assert {host for host, _ in answer.steps("changed")} == {"mq3"}
    assert outcome.lost == 0
    assert starts(queue)[:2] == before
    whole(fab, queue)
    return outcome


def two_of_three_are_lost(fab: Controller, lab, queue, on) -> object:
    """What waits in quorum queues is kept; a classic queue of a lost node is deleted."""
    with queue.talking():
        pass
    on("mq1", "rabbitmqctl -q add_vhost kept")
    on("mq2", f"{declared('waiting')} && {filled('waiting', WAITING)} && {classic('alone')}")
    with queue.talking() as outcome:
        lost(lab, "mq2", "mq3")
        time.sleep(AWAY)
        waits(fab, "mq2, mq3: its management API does not answer")
        asked = fab("rabbitmq.recover", "mq1")
        assert asked.code == 2
        assert "Quorum queues go on with the messages that mq1 has" in asked.text
        answer = fab("--yes", "rabbitmq.recover", "mq1", "--i-know")
        assert answer.code == 0, answer.text
        queue.confirms()
    assert f"quorum queue waiting in vhost airflow: {WAITING} messages" in answer.text
    listed = on("mq1", "rabbitmqctl -q list_queues -p airflow --silent name messages")
    assert f"waiting\t{WAITING}" in listed
    everything = "[amqqueue:get_name(Q) || Q <- rabbit_amqqueue:list()]."
    assert "alone" not in on("mq1", f"rabbitmqctl -q eval '{everything}'")
    assert on("mq1", "ls -d /var/lib/rabbitmq/mnesia.before-*")
    assert "kept" in on("mq1", "rabbitmqctl -q list_vhosts")
    again = fab("--yes", "rabbitmq.recover", "mq1", "--i-know")
    assert again.code == 0, again.text
    replaced(lab, "mq2", "mq3")
    joined = fab("rabbitmq")
    assert joined.code == 0, joined.text
    on("mq1", "rabbitmqctl -q delete_vhost kept; rabbitmqctl -q delete_queue -p airflow waiting")
    with queue.talking() as after:
        pass
    assert after.lost == 0
    whole(fab, queue)
    return outcome


def classic(name: str) -> str:
    """The command that makes a classic queue, which is on the node that carries it out."""
    return (
        'rabbitmqctl -q eval \'rabbit_amqqueue:declare(rabbit_misc:r(<<"airflow">>, queue, '
        f'<<"{name}">>), true, false, [{{<<"x-queue-type">>, longstr, <<"classic">>}}], none, '
        '<<"lab">>).\''
    )


def test_a_dead_broker_is_replaced_under_its_name(four, lab, queue, on, report):
    assert metadata(queue) == "Mnesia"
    outcome = a_dead_broker_is_replaced(four, lab, queue, on)
    situation = "RabbitMQ 4, Mnesia: a dead broker, which led the queue, is replaced"
    report(figure(situation, "`fab rabbitmq`", outcome))


def test_two_of_three_brokers_are_lost_for_good(four, lab, queue, on, report):
    outcome = two_of_three_are_lost(four, lab, queue, on)
    situation = "RabbitMQ 4, Mnesia: two of three brokers are lost for good"
    report(figure(situation, "`fab rabbitmq.recover mq1`", outcome))


def test_a_partition_of_the_node_that_leads_the_queue(four, lab, queue, on, report):
    """It pauses, and its clients connect to the others."""
    on("mq1", declared("lab"))
    alone = queue.leader()
    with queue.talking(first=alone) as outcome:
        lab.fault(alone, "cut", peers=[name for name in MQ if name != alone])
        try:
            time.sleep(30)
            assert told(four, "sees") or told(four, "does not answer")
        finally:
            lab.heal(alone)
        time.sleep(AWAY)
        assert four("rabbitmq.cluster").code == 0
        four.settled("rabbitmq")
    situation = "RabbitMQ 4, Mnesia: partition of the node that leads the queue"
    report(figure(situation, "none", outcome))
    assert outcome.lost == 0


# Another version


def test_an_upgrade_loses_no_message(later, queue, on, report):
    assert later("rabbitmq.repo").code == 0
    with queue.talking() as outcome:
        answer = later("--yes", "rabbitmq.upgrade")
    assert answer.code == 0, answer.text
    situation = "RabbitMQ 4.0 becomes 4.1, and Erlang changes its version"
    report(figure(situation, "`fab rabbitmq.upgrade`", outcome))
    assert outcome.lost == 0
    for name in MQ:
        installed = on(name, "rpm -q --qf '%{name} %{version} ' rabbitmq-server erlang")
        assert installed.strip() == f"rabbitmq-server {LATER} erlang {LATER_ERLANG}"
    assert told(later, f"versions are equal: {LATER} on Erlang {LATER_ERLANG}", "ok")
    whole(later, queue)
    assert later("rabbitmq.upgrade").steps("changed", "failed") == set()


def test_there_is_no_way_back_and_a_series_is_not_skipped(four, wanting):
    answer = four("--yes", "rabbitmq.upgrade")
    assert answer.code == 1
    assert f"{LATER} runs, and RabbitMQ does not go back to 4.0.5" in answer.text
    answer = wanting("4.3.0", LATER_ERLANG)("--yes", "rabbitmq.upgrade")
    assert answer.code == 1
    assert f"RabbitMQ {LATER} cannot become 4.3.0: from 4.1, the next is 4.2" in answer.text


# With Khepri


def test_metadata_moves_to_khepri(later, queue, on):
    before = starts(queue)
    with queue.talking() as outcome:
        on("mq1", "rabbitmqctl -q enable_feature_flag --opt-in khepri_db")
    assert outcome.lost == 0
    assert metadata(queue) == "Khepri"
    assert starts(queue) == before
    whole(later, queue)


def test_khepri_a_dead_broker_is_replaced_under_its_name(later, lab, queue, on, report):
    outcome = a_dead_broker_is_replaced(later, lab, queue, on)
    situation = "RabbitMQ 4, Khepri: a dead broker, which led the queue, is replaced"
    report(figure(situation, "`fab rabbitmq`", outcome))


def test_khepri_a_rolling_restart_after_that(later, queue):
    """The replaced node keeps a file of Mnesia's that says it is a cluster of its own."""
    assert "[rabbit@mq3]" in queue.shell(
        "mq3", "cat /var/lib/rabbitmq/mnesia/rabbit@mq3/cluster_nodes.config"
    )
    queue.shell("mq3", "systemctl stop rabbitmq-server")
    answer = later("rabbitmq")
    assert answer.code == 0, answer.text
    with queue.talking() as outcome:
        answer = later("rabbitmq.restart")
    assert answer.code == 0, answer.text
    assert outcome.lost == 0
    whole(later, queue)


def test_khepri_a_new_node_waits_for_the_others(later, lab, queue, on):
    lost(lab, "mq3")
    replaced(lab, "mq3")
    for name in ("mq1", "mq2"):
        on(name, "systemctl stop rabbitmq-server")
    answer = later("-H", "mq3", "rabbitmq")
    assert answer.code == 1
    assert "First start them: fab -H mq1,mq2 rabbitmq.cluster" in answer.text
    assert later("-H", "mq1,mq2", "rabbitmq.cluster").code == 0
    answer = later("rabbitmq")
    assert answer.code == 0, answer.text
    whole(later, queue)


def test_khepri_two_of_three_brokers_are_lost_for_good(later, lab, queue, on, report):
    outcome = two_of_three_are_lost(later, lab, queue, on)
    situation = "RabbitMQ 4, Khepri: two of three brokers are lost for good"
    report(figure(situation, "`fab rabbitmq.recover mq1`", outcome))


def test_khepri_a_node_is_taken_out_and_comes_back(later, queue):
    answer = later("--yes", "rabbitmq.shrink", "mq3")
    assert answer.code == 0, answer.text
    back = later("rabbitmq")
    assert back.code == 0, back.text
    whole(later, queue)


@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_khepri_a_partition_of_one_node(later, queue, lab, on, report, leads):
    """Its clients go on with another node: with Khepri, it does not send them away itself."""
    on("mq1", declared("lab"))
    alone = next(name for name in MQ if (name == queue.leader()) == leads)
    others = [name for name in MQ if name != alone]
    with queue.talking(first=others[0]) as outcome:
        lab.fault(alone, "cut", peers=others)
        try:
            time.sleep(30)
            waits(later, "sees")
        finally:
            lab.heal(alone)
        later.settled("rabbitmq")
    who = "leads the queue" if leads else "does not lead the queue"
    report(figure(f"RabbitMQ 4, Khepri: partition of the node that {who}", "none", outcome))
    assert outcome.lost == 0


def test_khepri_all_nodes_off_and_on_again(later, queue, lab, on, celery, report):
    for name in MQ:
        lab.fault(name, "power-loss")
    for name in MQ:
        lab.heal(name)
    began = time.monotonic()
    limit = "--timeout 300"
    on("mq1", f"rabbitmqctl await_startup {limit}; rabbitmqctl await_online_nodes 3 {limit}")
    report(f"all nodes off and on: whole again after {time.monotonic() - began:.0f} s")
    whole(later, queue)
    with worker(lab, queue, celery) as begin:
        assert asked(begin, queue, "more-tasks") == ["worker@lab"]
