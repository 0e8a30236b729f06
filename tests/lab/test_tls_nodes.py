"""RabbitMQ's nodes over TLS: who hears them, who is refused, and certificates that change."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.messages import ADDRESSES, MQ, starts, waits
from support.nodes_tls import BETWEEN, ROW, heard, over_tls
from support.outsiders import PKI, own_authority, write
from support.replaced import lost, replaced

from fabfile.shared import authority
from fabfile.shared.authority import Authority, Subject
from lab.machine import Lab

STATE = "queue"
WAITS = True

pytestmark = pytest.mark.long

AWAY = 20
"""Seconds until somebody does something; the others have noticed by then."""

SECTIONS = ("tls", "rabbitmq")


@pytest.fixture
def well_again(fab):
    return lambda: fab.settled("rabbitmq")


def code(lab: Lab, host: str, command: str) -> int:
    return lab.root_shell(host, command).returncode


# A new cluster


def test_the_nodes_of_a_new_cluster_speak_tls(fab, on):
    answer = fab("rabbitmq.check")
    assert answer.code == 0, answer.text
    assert ("cluster", ROW) in answer.steps("ok")
    assert over_tls(on) == [True, True, True]
    assert fab(*SECTIONS).code == 0
    for section in SECTIONS:
        assert fab(section).steps("changed") == set()


def test_nobody_hears_a_message_between_the_nodes(lab, on, tmp_path):
    assert heard(lab, on, tmp_path) == {}


def test_the_tools_reach_every_node(on):
    for tool in (
        "rabbitmq-diagnostics -q check_running",
        "rabbitmq-diagnostics -q check_local_alarms",
        "rabbitmqctl -q -n rabbit@mq2 status",
        "rabbitmq-queues -q check_if_node_is_quorum_critical",
        "rabbitmq-upgrade await_online_quorum_plus_one --timeout 60",
        "rabbitmq-plugins -q list -e",
        "systemctl start rabbitmq-definitions",
    ):
        on("mq1", tool)


# Strangers


@pytest.fixture(scope="module")
def shown(lab):
    """shown("mq2", signer, names, client) -> options of openssl for such a certificate, there."""

    def given(host: str, signer: Authority, names: set[str], client: bool) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        address = frozenset({ADDRESSES[host]})
        subject = Subject("stranger", frozenset(names), address, client)
        own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        signed = signer.sign(key.public_key(), subject, 5, time.time())
        write(lab, host, "/root/stranger.pem", f"{own}{signed}")
        return "-cert /root/stranger.pem -key /root/stranger.pem"

    return given


def lets_in(lab: Lab, options: str, version: str = "-tls1_2") -> bool:
    """Whether mq1 completes the handshake with mq2, which the firewall lets in."""
    asked = (
        f"openssl s_client -connect {ADDRESSES['mq1']}:{BETWEEN} {version} {options} "
        f"-CAfile {PKI}/ca.crt -verify_return_error </dev/null"
    )
    return code(lab, "mq2", asked) == 0


def test_only_a_certificate_of_a_node_gets_in(lab, shown):
    own = own_authority(lab)
    foreign = authority.authority_of(authority.new("foreign CA", time.time()), "")
    node = f"-cert {PKI}/rabbitmq.crt -key {PKI}/rabbitmq.key"
    assert lets_in(lab, node)
    assert lets_in(lab, shown("mq2", own, {"mq2", "rabbitmq"}, client=True))
    assert not lets_in(lab, ""), "without a certificate"
    assert not lets_in(lab, shown("mq2", foreign, {"mq2", "rabbitmq"}, client=True))
    assert not lets_in(lab, shown("mq2", own, {"mq2", "sql1"}, client=True)), "etcd's"


def test_nothing_but_tls_1_2_gets_in(lab):
    node = f"-cert {PKI}/rabbitmq.crt -key {PKI}/rabbitmq.key"
    assert not lets_in(lab, node, "-tls1_3")
    assert not lets_in(lab, node, "-tls1_1 -cipher ALL:@SECLEVEL=0")


def test_the_cookie_alone_does_not_get_in(on):
    """A node of Erlang with the account and the cookie of RabbitMQ's."""
    asked = (
        "cd /; runuser -u rabbitmq -- env HOME=/var/lib/rabbitmq timeout 60 erl -noinput -hidden "
        "-sname stranger@mq2 {} -kernel inet_dist_listen_min 35672 inet_dist_listen_max 35682 "
        '-eval \'io:format("~p", [net_adm:ping(list_to_atom("rabbit@mq1"))]), halt().\''
    )
    tls = "-proto_dist inet_tls -ssl_dist_optfile /etc/rabbitmq/inter_node_tls.config"
    assert on("mq2", asked.format(tls)).endswith("pong")
    assert on("mq2", asked.format("")).endswith("pang")


# Nodes that come back


def test_restarted_nodes_find_each_other(queue, fab):
    with queue.talking() as outcome:
        answer = fab("rabbitmq.restart")
    assert answer.code == 0, answer.text
    assert outcome.lost == 0
    fab.settled("rabbitmq")


def test_a_node_without_power_comes_back(queue, fab, healed):
    healed("mq3", "power-loss")
    waits(fab, "mq3")


def test_a_replaced_node_joins(queue, fab, lab, on):
    lost(lab, "mq3")
    time.sleep(AWAY)
    replaced(lab, "mq3")
    answer = fab("rabbitmq")
    assert answer.code == 0, answer.text
    assert ("mq3", "mq1 no longer counts the mq3 that is gone") in answer.steps("changed")
    fab.settled("rabbitmq")
    assert over_tls(on) == [True, True, True]


# Certificates and CAs


def served(on) -> list[str]:
    """The serial numbers of the certificates that the nodes show each other."""
    options = f"-tls1_2 -cert {PKI}/rabbitmq.crt -key {PKI}/rabbitmq.key"
    return [
        on(
            name,
            f"openssl s_client -connect {ADDRESSES[name]}:{BETWEEN} {options} </dev/null "
            "2>/dev/null | openssl x509 -noout -serial",
        )
        for name in MQ
    ]


def on_disk(on) -> list[str]:
    return [on(name, f"openssl x509 -noout -serial -in {PKI}/rabbitmq.crt") for name in MQ]


def test_renewed_certificates_are_shown_at_once(queue, fab, on):
    before, since = served(on), starts(queue)
    with queue.talking() as outcome:
        answer = fab("-H", ",".join(MQ), "tls.renew")
    assert answer.code == 0, answer.text
    assert served(on) == on_disk(on)
    assert not {*served(on)} & {*before}
    assert (outcome.lost, starts(queue)) == (0, since)
    assert outcome.pause < 3


def test_another_ca_while_nodes_talk_and_one_restarts(queue, fab, lab, on, shown, report):
    old = own_authority(lab)
    since = starts(queue)
    with queue.talking() as outcome:
        answer = fab("--yes", "tls.rotate-ca")
    assert answer.code == 0, answer.text
    report(f"another CA: {outcome}")
    assert (outcome.lost, starts(queue)) == (0, since)
    assert own_authority(lab).name != old.name
    assert served(on) == on_disk(on)
    assert not lets_in(lab, shown("mq2", old, {"mq2", "rabbitmq"}, client=True))
    on("mq2", "systemctl restart rabbitmq-server")
    fab.settled("rabbitmq")
    for section in SECTIONS:
        assert fab(section).steps("changed") == set()


def test_an_expired_certificate_is_renewed_by_the_next_run(queue, fab, lab, on):
    """Its node still shows it when it is told to read the new one."""
    since = starts(queue)
    request = on("mq2", f"openssl req -new -sha256 -key {PKI}/rabbitmq.key -subj /CN=x") + "\n"
    names, addresses = {"mq2", "rabbitmq", "localhost"}, {ADDRESSES["mq2"], "127.0.0.1"}
    subject = Subject("rabbitmq", frozenset(names), frozenset(addresses))
    ten_days_ago = time.time() - 10 * authority.DAY
    signer = own_authority(lab)
    expired = signer.sign(authority.requested_key(request), subject, 5, ten_days_ago)
    write(lab, "mq2", f"{PKI}/rabbitmq.crt", expired)
    time.sleep(125)  # Erlang looks every two minutes
    assert code(lab, "mq2", "timeout 60 rabbitmqctl -q eval 1.") != 0
    answer = fab("rabbitmq.certificates")
    assert answer.code == 0, answer.text
    assert ("mq2", f"file {PKI}/rabbitmq.crt") in answer.steps("changed")
    assert on("mq2", "rabbitmqctl -q eval 1.") == "1"
    assert starts(queue) == since
    fab.settled("rabbitmq")
