"""What `fab rabbitmq.check` says of real nodes: mirrored queues, limits, flags, exports."""

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
from support.messages import ADDRESSES, MQ, declared, filled, told, waits
from support.strangers import in_the_place_of

STATE = "queue"
HOSTS = MQ

pytestmark = pytest.mark.long

CLASSIC = (
    'rabbitmqctl -q eval \'[rabbit_amqqueue:declare(rabbit_misc:r(<<"airflow">>, queue, '
    'Name), true, false, [{<<"x-queue-type">>, longstr, <<"classic">>}], none, <<"lab">>) '
    '|| Name <- [<<"tasks">>]].\''
)
"""A classic queue on the node that carries this out."""

FLAG = "drop_unroutable_metric"
"""A feature flag that nothing depends on."""

CONNECTIONS = """
import ssl, sys, time, pika
login = pika.PlainCredentials("airflow", sys.argv[2])
verified = pika.SSLOptions(ssl.create_default_context(cafile=sys.argv[4]), "rabbitmq")
about = pika.ConnectionParameters(sys.argv[1], 5671, "airflow", login, ssl_options=verified)
held = [pika.BlockingConnection(about) for _ in range(int(sys.argv[3]))]
channel = held[0].channel()
channel.queue_declare("", exclusive=True, arguments={"x-queue-type": "classic"})
channel.queue_declare("fleeting", auto_delete=True, arguments={"x-queue-type": "classic"})
print("connected", flush=True)
time.sleep(60)
"""
"""Connections to a node; one has a queue of its own, and one that goes when nobody reads it."""


@pytest.fixture
def connected(queue, lab):
    """As long as this lasts, a client holds so many connections to a node."""
    state = Path(lab.environment()["RUNBOOK_STATE"])
    password = yaml.safe_load((state / "secrets.yaml").read_text())["rabbitmq_airflow"]

    @contextmanager
    def hold(node: str, count: int) -> Iterator[None]:
        words = [ADDRESSES[node], password, str(count), queue.authority()]
        program = [sys.executable, "-c", CONNECTIONS, *words]
        with in_the_place_of(lab, "worker1") as there:
            client = subprocess.Popen([*there, *program], stdout=subprocess.PIPE, text=True)
            try:
                assert client.stdout
                assert client.stdout.readline() == "connected\n"
                yield
            finally:
                client.terminate()
                client.wait(timeout=30)

    return hold


@pytest.fixture
def mirrored(fab, on, settings):
    """The policy of a cluster for Airflow 2.7.3, and a queue on mq2; fab for it."""
    definition = '{"ha-mode":"exactly","ha-params":2,"ha-sync-mode":"automatic"}'
    policy = f"rabbitmqctl -q set_policy -p airflow --apply-to queues mirrored '.*' '{definition}'"
    on("mq2", f"{CLASSIC}; {policy}")
    yield fab.given(**settings("versions", airflow="2.7.3"))
    on("mq1", "rabbitmqctl -q clear_policy -p airflow mirrored || :")
    on("mq1", "rabbitmqctl -q delete_queue -p airflow tasks || :")


def test_a_mirror_that_lacks_messages_is_told(mirrored, fab, on):
    waits(mirrored, "classic queues are whole: 1 of them, 1 mirrored", "ok")
    manual = '{"ha-mode":"all","ha-sync-mode":"manual"}'
    on("mq1", "rabbitmqctl -q clear_policy -p airflow mirrored")
    on("mq2", filled("tasks", 1))
    on("mq1", f"rabbitmqctl -q set_policy -p airflow --apply-to queues mirrored '.*' '{manual}'")
    waits(mirrored, "1 (tasks) without a synchronised mirror", "warn")
    assert told(mirrored, "redundancy: none until mirrors have all messages", "warn")
    on("mq1", "rabbitmqctl -q sync_queue -p airflow tasks")
    waits(mirrored, "classic queues are whole: 1 of them, 1 mirrored", "ok")


def test_a_queue_whose_node_is_down_is_told(mirrored, fab, on):
    on("mq1", "rabbitmqctl -q clear_policy -p airflow mirrored")
    time.sleep(2)
    on("mq2", "systemctl stop rabbitmq-server")
    waits(mirrored, "1 (tasks) down, because their node is: mq2")
    waits(fab, "classic queues are whole: 1 (tasks) down")
    assert fab("rabbitmq.cluster").code == 0


def test_a_queue_without_a_majority_is_told(fab, on):
    on("mq3", declared("lonely"))
    for name in ("mq1", "mq2"):
        on("mq3", f"rabbitmq-queues -q delete_member -p airflow lonely rabbit@{name}")
    on("mq3", "systemctl stop rabbitmq-server")
    try:
        waits(fab, "quorum queues are whole: 1 (lonely) without a majority of members: stopped")
        waits(fab, "redundancy: none until mq3 is back", "warn")
    finally:
        assert fab("rabbitmq.cluster").code == 0
        on("mq1", "rabbitmqctl -q delete_queue -p airflow lonely")
    fab.settled("rabbitmq")


def test_a_feature_flag_that_is_off_is_told_and_enabled(fab, on):
    """As on nodes that were upgraded by hand: their disks say which flags are enabled."""
    for name in MQ:
        on(name, "systemctl stop rabbitmq-server")
        on(name, f"sed -i 's/{FLAG},//' /var/lib/rabbitmq/mnesia/rabbit@{name}-feature_flags")
    assert fab("rabbitmq.cluster").code == 0
    waits(fab, f"{FLAG} is disabled", "warn")
    on("mq1", "rabbitmqctl enable_feature_flag all")
    waits(fab, "feature flags are enabled", "ok")


def test_sockets_that_run_out_are_told(connected, fab, on):
    folder = "/run/systemd/system/rabbitmq-server.service.d"
    limit = f"mkdir -p {folder}; printf '[Service]\\nLimitNOFILE=160\\n' >{folder}/zz-few.conf"
    on("mq3", f"{limit}; systemctl daemon-reload; systemctl restart rabbitmq-server")
    try:
        with connected("mq3", 48):
            waits(fab, "sockets of mq3", "warn")
    finally:
        on("mq3", f"rm {folder}/zz-few.conf; systemctl daemon-reload")
        on("mq3", "systemctl restart rabbitmq-server")
    fab.settled("rabbitmq")


def test_definitions_are_exported_for_root_and_rabbitmq_only(fab, on):
    folder = "/var/lib/rabbitmq-definitions"
    for name in MQ:
        assert on(name, f"stat -c '%a %U' {folder}") == "700 rabbitmq"
        assert set(on(name, f"stat -c '%a %U' {folder}/*.json").splitlines()) == {"600 rabbitmq"}
        assert (
            on(name, f"runuser -u nobody -- ls {folder} 2>/dev/null || echo refused") == "refused"
        )
    exported = json.loads(on("mq1", f"cat $(ls {folder}/*.json | tail -1)"))
    assert {"airflow", "admin"} <= {one["name"] for one in exported["users"]}
    assert "airflow" in {one["name"] for one in exported["vhosts"]}
    assert told(fab, "definitions are exported: the newest", "ok")


def test_an_export_brings_back_what_was_deleted(on):
    on("mq1", "rabbitmqctl -q add_vhost precious; systemctl start rabbitmq-definitions")
    on("mq1", "rabbitmqctl -q delete_vhost precious")
    newest = "$(ls /var/lib/rabbitmq-definitions/*.json | tail -1)"
    on("mq1", f"rabbitmqctl -q import_definitions {newest}")
    assert "precious" in on("mq2", "rabbitmqctl -q list_vhosts")
    on("mq1", "rabbitmqctl -q delete_vhost precious")


def test_an_export_that_failed_or_is_gone_is_told(fab, on):
    on("mq2", "systemctl stop rabbitmq-server; systemctl start rabbitmq-definitions || :")
    waits(fab, "the last one failed on mq2, the newest is", "warn")
    on("mq2", "systemctl start rabbitmq-server; systemctl start rabbitmq-definitions")
    on("mq3", "rm /var/lib/rabbitmq-definitions/*.json")
    waits(fab, "mq3 has none", "warn")
    on("mq1", "systemctl stop rabbitmq-definitions.timer")
    waits(fab, "mq1 has no schedule, the newest is", "warn")
    answer = fab("rabbitmq.definitions")
    assert {host for host, _ in answer.steps("changed")} == {"mq1", "mq3"}
    fab.settled("rabbitmq")


def test_old_exports_are_removed_and_the_newest_stay(on):
    folder = "/var/lib/rabbitmq-definitions"
    on("mq1", f"runuser -u rabbitmq -- touch -d '20 days ago' {folder}/20200101-000000.json")
    on("mq1", "systemctl start rabbitmq-definitions")
    assert "20200101" not in on("mq1", f"ls {folder}")
    assert on("mq1", f"ls {folder}/*.json")


def test_what_is_no_trouble_is_not_told(connected, fab, on):
    """Clients' own queues, new queues, other vhosts and users, an unmirrored queue that runs."""
    unmirrored = CLASSIC.replace("tasks", "unmirrored")
    with connected("mq2", 20):
        on("mq3", unmirrored)
        on(
            "mq1",
            "rabbitmqctl -q add_vhost other --default-queue-type classic; "
            "rabbitmqctl -q add_user somebody secret; rabbitmqctl -q set_policy -p other"
            ' --apply-to queues mirrored nothing \'{"ha-mode":"all"}\'',
        )
        on("mq1", declared("new1", "new2", "new3"))
        try:
            for _ in range(3):
                answer = fab("rabbitmq.check")
                assert answer.code == 0, answer.text
                assert answer.steps("warn", "error", "unknown", "differs") == set()
        finally:
            on("mq1", "rabbitmqctl -q delete_vhost other; rabbitmqctl -q delete_user somebody")
            for name in ("new1", "new2", "new3", "unmirrored"):
                on("mq1", f"rabbitmqctl -q delete_queue -p airflow {name}")
