"""How RabbitMQ's nodes speak with each other, as far as it needs no Erlang."""

from __future__ import annotations

import subprocess

import pytest
from support.certificates import certificate_facts, new_authority
from support.rabbitmq_facts import MQ, nodes, replaced

from fabfile import CONTENTS
from fabfile.rabbitmq import distribution, switch, transport
from fabfile.rabbitmq.common import ANY_NODE, RABBITMQ_TLS
from fabfile.rabbitmq.configure import COOKIES, configure
from fabfile.rabbitmq.distribution import AMONG, ENVIRONMENT, OPTIONS, among, environment
from fabfile.rabbitmq.nodes import NODE
from fabfile.shared.tls import CA
from fabfile.shared.transport import Speaks
from fabfile.tls import rotate
from fabfile.tls import switch_services as tls_switch
from runbook.declare.facts import Facts
from runbook.declare.work import Question, Stage
from runbook.errors import RunbookError, UsageError
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Vault

CLEAR, _, TLS = Speaks


@pytest.fixture
def with_ca(cluster, tmp_path):
    """The cluster with a CA, in a vault of its own."""
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    vault.put(CA, new_authority())
    return cluster.with_vault(vault)


@pytest.fixture(autouse=True)
def cookie(monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_RABBITMQ_COOKIE", "COOKIE")


@pytest.fixture
def asking(hosts_yaml):
    """asking("false", "true") -> the cluster whose hosts.yaml says so of nodes and of all."""

    def given(nodes_tls: str = "null", enabled: str = "true"):
        file = hosts_yaml("nodes_tls: null", f"nodes_tls: {nodes_tls}")
        file.write_text(file.read_text().replace("enabled: true ", f"enabled: {enabled} ", 1))
        return CONTENTS.load(file)

    return given


def told(speaks: dict, known=None) -> Facts:
    """What the servers say of their nodes, and how these speak."""
    return Facts({NODE: known or nodes(), AMONG: speaks, COOKIES: {}})


def all_speak(speaks: Speaks) -> dict:
    return dict.fromkeys(MQ, speaks)


# What decides


@pytest.mark.parametrize(
    ("nodes_tls", "enabled", "wanted"),
    [
        ("null", "true", TLS),
        ("null", "false", CLEAR),
        ("false", "true", CLEAR),
        ("true", "false", TLS),
    ],
)
def test_hosts_yaml_decides_for_a_new_cluster(asking, nodes_tls, enabled, wanted):
    cluster = asking(nodes_tls, enabled)
    new = told(dict.fromkeys(MQ), nodes(blank=MQ))
    assert among(cluster.hosts["mq1"], cluster, new) == wanted


@pytest.mark.parametrize("speaks", [CLEAR, TLS])
@pytest.mark.parametrize("nodes_tls", ["true", "false"])
def test_a_cluster_that_is_set_up_keeps_its_way(asking, speaks, nodes_tls):
    cluster = asking(nodes_tls)
    assert among(cluster.hosts["mq1"], cluster, told(all_speak(speaks))) == speaks


@pytest.mark.parametrize("own", [None, CLEAR, TLS])
@pytest.mark.parametrize("others", [CLEAR, TLS])
def test_a_node_without_data_speaks_as_the_others(cluster, own, others):
    known = told({**all_speak(others), "mq3": own}, replaced("mq3"))
    assert among(cluster.hosts["mq3"], cluster, known) == others


def test_hosts_yaml_decides_until_a_node_has_data(asking):
    """The first run was interrupted, and hosts.yaml changed, before anything started."""
    cluster = asking("false")
    known = told({**dict.fromkeys(MQ), "mq1": TLS}, nodes(blank=MQ))
    assert among(cluster.hosts["mq1"], cluster, known) == CLEAR


def test_in_an_interrupted_change_each_node_keeps_its_way(cluster):
    known = told({**all_speak(CLEAR), "mq1": TLS})
    assert [among(cluster.hosts[name], cluster, known) for name in MQ] == [TLS, CLEAR, CLEAR]


def test_a_node_needs_a_key_if_only_the_nodes_speak_tls(asking):
    cluster = asking("true", "false")
    known = told(dict.fromkeys(MQ), nodes(blank=MQ))
    assert transport.needs_certificate(cluster.hosts["mq1"], cluster, known)


# What is on the servers


def bash(command: str) -> str:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout


@pytest.mark.parametrize("speaks", [CLEAR, TLS])
def test_how_a_node_speaks_is_read_from_its_file(cluster, tmp_path, speaks):
    file = tmp_path / "rabbitmq-env.conf"
    command = AMONG.command(cluster, cluster.hosts["mq1"]).replace(ENVIRONMENT, str(file))
    assert AMONG.parse(bash(command)) is None
    file.write_text("#NODENAME=rabbit\n")  # as some packages bring it
    assert AMONG.parse(bash(command)) is None
    *_, step = environment(cluster.hosts["mq1"], speaks)
    file.write_text(step.text)
    assert AMONG.parse(bash(command)) == speaks


def test_node_and_tools_get_the_same_arguments_of_erlang(cluster, tmp_path):
    *_, step = environment(cluster.hosts["mq1"], TLS)
    file = tmp_path / "rabbitmq-env.conf"
    file.write_text(step.text)
    told = 'printf "%s\\n" "$NODENAME" "$SERVER_ADDITIONAL_ERL_ARGS" "$CTL_ERL_ARGS"'
    name, node, tools = bash(f". {file}; {told}").splitlines()
    assert name == "rabbit@mq1"
    assert node == tools == f"-proto_dist inet_tls -ssl_dist_optfile {OPTIONS}"


def test_in_clear_there_are_no_arguments_and_no_options(cluster):
    [step] = environment(cluster.hosts["mq1"], CLEAR)
    assert step.paths == (ENVIRONMENT,)
    assert "ERL_ARGS" not in step.text


def test_both_sides_verify_and_nobody_gets_in_without_a_certificate():
    text = distribution.options().text
    server, _, client = text.partition("{client,")
    for side in (server, client):
        assert "{verify, verify_peer}" in side
        assert "{versions, ['tlsv1.2']}" in side
        assert f'{{keyfile, "{RABBITMQ_TLS.key}"}}' in side
    assert "{fail_if_no_peer_cert, true}" in server
    # Erlang 26 and later refuse to connect with it.
    assert "fail_if_no_peer_cert" not in client


def test_whoever_connects_has_the_name_that_all_nodes_share(cluster):
    assert f'[{{dns_id, "{ANY_NODE}"}}]' in distribution.options().text
    subject = RABBITMQ_TLS.subject(cluster.hosts["mq1"], cluster)
    assert {ANY_NODE, "mq1"} < subject.names
    assert not subject.client, "etcd would let it in"


def test_a_run_writes_the_options_before_what_names_them(cluster):
    paths = [path for step in configured(cluster, TLS) for path in step.paths]
    assert paths.index(OPTIONS) < paths.index(ENVIRONMENT)
    assert OPTIONS not in [path for step in configured(cluster, CLEAR) for path in step.paths]


def configured(cluster, speaks: Speaks) -> list:
    return list(configure(cluster.hosts["mq1"], cluster, told(all_speak(speaks))))


# The check


def row(cluster, speaks: dict) -> tuple[str, str, str]:
    [one] = distribution.spoken(cluster, told(speaks))
    return one.verdict.level, one.verdict.sentence, one.fix


def test_the_check_says_what_differs_and_the_command(asking):
    assert row(asking(), all_speak(TLS))[:2] == ("ok", "")
    level, sentence, fix = row(asking(), all_speak(CLEAR))
    assert (level, sentence) == ("warn", "in clear: mq1, mq2, mq3")
    assert fix == "fab rabbitmq.switch-nodes"
    level, sentence, fix = row(asking(), {**all_speak(CLEAR), "mq2": TLS})
    assert (level, sentence) == ("error", "mq2 over TLS, but mq1, mq3 in clear")
    assert fix == "fab rabbitmq.switch-nodes"


def test_the_check_says_which_setting_leaves_nodes_in_clear(asking):
    level, sentence, _ = row(asking("false"), all_speak(CLEAR))
    assert (level, sentence) == ("ok", "not wanted: hosts.yaml has rabbitmq.nodes_tls: false")
    level, sentence, _ = row(asking("null", "false"), all_speak(CLEAR))
    assert (level, sentence) == ("ok", "not wanted: hosts.yaml has tls.enabled: false")


def test_the_check_says_how_to_leave_tls_that_is_not_wanted(asking):
    level, sentence, _ = row(asking("false"), all_speak(TLS))
    assert level == "ok"
    assert "although hosts.yaml has rabbitmq.nodes_tls: false" in sentence
    assert "fab rabbitmq.switch-nodes --to clear" in sentence


def test_nodes_that_do_not_answer_say_nothing(asking):
    assert not list(distribution.spoken(asking(), told({})))


# The change


def switched(cluster, speaks: dict, to: str = "tls", known=None) -> list:
    own = {**certificate_facts(cluster), NODE: known or nodes(), AMONG: speaks}
    return list(switch.switch_nodes([], cluster, Facts(own), to=to))


def titles(parts: list) -> list[str]:
    return [part.title for part in parts if isinstance(part, Stage)]


START = ["RabbitMQ starts on mq1", "RabbitMQ runs on every node"]
STOP = [f"stop RabbitMQ on {name}" for name in ("mq3", "mq2", "mq1")]


def test_everything_is_prepared_and_tried_before_a_node_stops(with_ca):
    question, *rest = switched(with_ca, all_speak(CLEAR))
    assert isinstance(question, Question)
    assert "All of them stop" in question.text
    assert titles(rest) == [
        "keys for RabbitMQ",
        "certificates for RabbitMQ",
        *STOP,
        "nodes are to speak TLS",
        *START,
    ]
    [prepared] = [part for part in rest if getattr(part, "title", "").startswith("certificates")]
    steps = prepared.of(with_ca.hosts["mq2"])
    assert [step.title for step in steps[-2:]] == [
        f"file {OPTIONS}",
        "Erlang on mq2 speaks TLS with its certificate",
    ]


def test_back_to_clear_needs_no_certificates(with_ca):
    parts = switched(with_ca, all_speak(TLS), "clear")
    assert titles(parts) == [*STOP, "nodes are to speak in clear", *START]
    [change] = [part for part in parts if getattr(part, "title", "").startswith("nodes are")]
    assert change.hosts == tuple(with_ca.hosts[name] for name in MQ)


@pytest.mark.parametrize(("to", "speaks"), [("tls", TLS), ("clear", CLEAR)])
def test_nodes_that_speak_so_already_are_not_stopped(with_ca, to, speaks):
    parts = switched(with_ca, all_speak(speaks), to)
    assert not [part for part in parts if isinstance(part, Question)]
    assert titles(parts) == START


def test_an_interrupted_change_is_completed_or_undone(with_ca):
    halfway = {**all_speak(TLS), "mq3": CLEAR}
    down = nodes(down=MQ)
    assert titles(switched(with_ca, halfway, known=down))[-3] == "nodes are to speak TLS"
    assert titles(switched(with_ca, halfway, "clear", down))[-3] == "nodes are to speak in clear"
    assert titles(switched(with_ca, all_speak(TLS), known=down)) == START
    assert STOP[0] in titles(switched(with_ca, all_speak(CLEAR), known=down))


@pytest.mark.parametrize(
    ("speaks", "known", "sentence"),
    [
        ({"mq1": CLEAR, "mq2": CLEAR}, nodes(), "mq3 does not answer"),
        ({**all_speak(CLEAR), "mq3": None}, nodes(blank=["mq3"]), "mq3 is not set up"),
        (all_speak(CLEAR), nodes(down=["mq2"]), "mq2 does not run"),
    ],
)
def test_it_is_refused_while_a_node_would_be_left_behind(with_ca, speaks, known, sentence):
    with pytest.raises(RunbookError, match=sentence):
        switched(with_ca, speaks, known=known)


def test_it_goes_to_tls_or_to_clear(with_ca):
    with pytest.raises(UsageError, match="neither tls nor clear"):
        switched(with_ca, all_speak(CLEAR), "both")


def test_the_switch_of_the_cluster_says_that_nodes_are_changed_by_themselves(cluster):
    for target in (TLS, CLEAR):
        assert "fab rabbitmq.switch-nodes" in tls_switch.question(cluster, target)


# Certificates and CAs that change


def test_nodes_learn_of_another_ca_before_a_certificate_of_it_is_shown(with_ca):
    known = Facts(certificate_facts(with_ca))
    [step] = rotate.trusts(with_ca.hosts["mq1"], with_ca, known)
    assert transport.READS in step.notify
    [step] = rotate.trusts(with_ca.hosts["worker1"], with_ca, known)
    assert transport.READS not in step.notify


@pytest.mark.parametrize(("active", "refuses", "asked"), [(1, 0, 0), (0, 0, 1), (0, 2, 3)])
def test_a_running_node_is_asked_until_it_reads_again(tmp_path, active, refuses, asked):
    """At first it may still show a certificate that has expired."""
    count = tmp_path / "count"
    fakes = f"""systemctl() {{ return {active}; }}
sleep() {{ :; }}
rabbitmqctl() {{ echo "$*" >>{count}; (( $(grep -c eval {count}) > {refuses} )); }}
"""
    code = subprocess.run(["bash", "-c", fakes + transport.READS.apply]).returncode
    assert code == 0
    assert (count.read_text().count("eval") if count.exists() else 0) == asked
