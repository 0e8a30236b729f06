"""The chapter on HAProxy, as far as it needs no HAProxy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabfile import CONTENTS
from fabfile.haproxy import check, operate, proxy, view
from fabfile.haproxy.common import NETWORK
from fabfile.haproxy.view import REPLIES, VIEW, Reply, View
from fabfile.postgres.common import CONFIGURED
from fabfile.postgres.members import MEMBER, Member
from fabfile.shared.keepalived import Place
from runbook.declare.facts import Facts
from runbook.declare.probes import Answer
from runbook.declare.work import Stage
from runbook.errors import RunbookError, UsageError

SQL = ("sql1", "sql2", "sql3")
PROXIES = ("airflow", "haproxy2")
VIP = "192.168.83.210"

VIEWED = View(
    version="1.8.27",
    keepalived=True,
    away=False,
    answers=True,
    sessions=3,
    up={
        "primary": frozenset({"sql1"}),
        "replicas": frozenset({"sql2", "sql3"}),
        "webservers": frozenset(PROXIES),
    },
)


def seen(**up: set[str]) -> View:
    return replace(VIEWED, up={**VIEWED.up, **{name: frozenset(to) for name, to in up.items()}})


def member(name: str, leads: str = "sql1", healthy: bool = True) -> Member:
    return Member(name, name == leads, healthy, "running", 1, False, False, "", {})


def replies(cluster, **changed: Reply) -> dict:
    """What a client meets: `write` and `read` at each address."""
    usual = {"write": Reply(writable=True), "read": Reply(replica=True), **changed}
    ports = {view.WRITE: "write", view.READ: "read"}
    return {
        (address, port): usual[name]
        for address in view.doors(cluster)
        for port, name in ports.items()
    }


def facts(
    cluster, views=None, members=None, met=None, holding=("airflow",), configured=SQL
) -> Facts:
    def place(name: str) -> Place:
        holds = frozenset({VIP} if name in holding else ())
        return Place("eth0", 24, frozenset({name}), holds, {})

    views = dict.fromkeys(PROXIES, VIEWED) if views is None else views
    everybody = {name: member(name) for name in SQL}
    return Facts(
        {
            NETWORK: {name: place(name) for name in PROXIES if name in views},
            VIEW: views,
            MEMBER: everybody if members is None else members,
            REPLIES: {name: replies(cluster) for name in SQL} if met is None else met,
            CONFIGURED: {name: name in configured for name in SQL},
        }
    )


def found(cluster, **known) -> dict[str, tuple[str, str]]:
    return {
        one.title: (one.verdict.level, one.verdict.sentence)
        for one in check.check_cluster(cluster, facts(cluster, **known))
    }


def configuration(cluster) -> str:
    steps = proxy.configure(cluster.hosts["airflow"], cluster, Facts())
    [step] = [step for step in steps if step.title == "file /etc/haproxy/haproxy.cfg"]
    return str(step.text)


# Configuration


def test_every_database_and_webserver_is_asked_where_it_answers(cluster):
    text = configuration(cluster)
    for name in SQL:
        assert text.count(f"server {name} {cluster.hosts[name].address}:5432") == 2
    for name in PROXIES:
        assert f"server {name} {cluster.hosts[name].address}:8080" in text
    assert text.count("on-marked-down shutdown-sessions") == 2


def test_one_full_port_leaves_room_on_the_others(cluster):
    lines = [line.split() for line in configuration(cluster).splitlines()]
    total, each, *own = [int(words[1]) for words in lines if words[:1] == ["maxconn"]]
    assert total >= 3 * each + sum(own)


def test_a_cluster_without_a_part_has_no_port_for_it(hosts_yaml):
    without = CONTENTS.load(hosts_yaml("flower, haproxy]", "haproxy]"))
    assert "frontend web\n" in configuration(without)
    for host in list(without.hosts.values()):
        for role in ("postgres", "webserver"):
            if role in host.roles:
                host.roles.remove(role)
    text = configuration(without)
    assert "frontend" not in text
    assert "listen health" in text


def test_an_odd_password_is_one_word(cluster, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_HAPROXY_STATS", 'a #b $HOME "c" d\'e')
    [line] = [line for line in configuration(cluster).splitlines() if "stats auth" in line]
    assert line.strip() == "stats auth 'admin:a #b $HOME \"c\" d'\"'\"'e'"


def test_the_kernel_is_told_what_is_then_asked_of_it(cluster):
    steps = list(proxy.configure(cluster.hosts["airflow"], cluster, Facts()))
    [kept] = [step for step in steps if step.title.startswith("file /etc/sysctl.d/")]
    told = dict(line.split(" = ") for line in kept.text.splitlines() if "=" in line)
    [asked] = [step for step in steps if "asks after silent clients" in step.title]
    assert " ".join(told) in asked.test
    assert f"== '{' '.join(told.values())} '" in asked.test


def test_selinux_is_told_only_where_it_is_on(cluster, hosts_yaml):
    def titles(one) -> list[str]:
        return [step.title for step in proxy.configure(one.hosts["airflow"], one, Facts())]

    boolean = "SELinux's boolean haproxy_connect_any is on"
    assert boolean not in titles(cluster)
    enforcing = titles(CONTENTS.load(hosts_yaml("selinux: disabled", "selinux: enforcing")))
    assert enforcing.index(boolean) < enforcing.index("haproxy.service runs and is enabled")


# Facts


CSV = """# pxname,svname,scur,status,
database-write,FRONTEND,5,OPEN,
database-read,FRONTEND,2,OPEN,
primary,sql1,5,UP,
primary,sql2,0,DOWN,
primary,BACKEND,5,UP,
replicas,sql2,0,UP 1/2,
replicas,sql3,0,no check,
health,FRONTEND,1,OPEN,
"""


def test_statistics_are_read():
    assert view.parse(f"1.8.27\nactive\naway\n{CSV}") == View(
        "1.8.27",
        True,
        True,
        True,
        7,
        {"primary": frozenset({"sql1"}), "replicas": frozenset({"sql2"})},
    )
    silent = view.parse("\ninactive\nhere\n")
    assert (silent.answers, silent.keepalived, silent.away, silent.up) == (False, False, False, {})


def test_what_clients_meet_is_read():
    text = (
        f"{VIP} 5000 f|off\n{VIP} 5001 t|on\n10.0.0.1 5000 no answer\n"
        "10.0.0.1 5001 psql: error: connection to server at x failed: FATAL:  not let in\n"
    )
    assert view.heard(text) == {
        (VIP, 5000): Reply(writable=True),
        (VIP, 5001): Reply(replica=True),
        ("10.0.0.1", 5000): Reply(error="no answer"),
        ("10.0.0.1", 5001): Reply(error="not let in"),
    }


def test_a_primary_that_takes_no_writes_is_not_writable():
    assert view.heard(f"{VIP} 5000 f|on\n")[VIP, 5000] == Reply(error="f|on")


# The check


def test_what_haproxy_complains_of_is_told():
    old = "[ALERT] 325/0518 (19) : parsing [/etc/h.cfg:3]: unknown keyword 'x'\n[ALERT] Fatal"
    new = "[NOTICE] (3) : a\n[ALERT]  (3) : config : parsing [/etc/h.cfg:3]: unknown keyword 'x'"
    for text in (old, new):
        verdict = check.accepted(Answer(text, 1))
        assert (verdict.level, verdict.sentence) == (
            "error",
            "[/etc/h.cfg:3]: unknown keyword 'x'",
        )
    assert check.accepted(Answer("", 127)).sentence == "exit code 127"
    assert check.accepted(Answer("Configuration file is valid", 0)).level == "ok"


def test_all_is_well(cluster):
    result = found(cluster)
    assert {level for level, _ in result.values()} == {"ok"}
    assert result["redundancy"] == ("ok", "survives the loss of airflow or haproxy2")
    assert sum(title.endswith("leads to the primary") for title in result) == 3


@pytest.mark.parametrize(
    ("known", "title", "level", "words"),
    [
        ({"holding": ()}, f"airflow-vip ({VIP}) is on one host", "error", "no server"),
        ({"holding": PROXIES}, f"airflow-vip ({VIP}) is on one host", "error", "do not hear"),
        (
            {"views": {"airflow": replace(VIEWED, away=True), "haproxy2": VIEWED}},
            "airflow may hold the VIP",
            "warn",
            "only if no other server can",
        ),
        (
            {"views": {"airflow": seen(primary=set()), "haproxy2": VIEWED}},
            "airflow knows the primary",
            "error",
            "it sends to no server, but Patroni says sql1",
        ),
        (
            {"views": {"airflow": VIEWED, "haproxy2": seen(primary={"sql1", "sql2"})}},
            "haproxy2 knows the primary",
            "error",
            "it sends to sql1, sql2, but Patroni says sql1",
        ),
        (
            {"views": {"airflow": seen(replicas={"sql2"}), "haproxy2": VIEWED}},
            "airflow knows the replicas",
            "error",
            "it sends to sql2, but Patroni says sql2, sql3",
        ),
        (
            {"members": {name: member(name, leads="") for name in SQL}},
            "airflow knows the primary",
            "error",
            "it sends to sql1, but Patroni says there is none",
        ),
        (
            {
                "members": {name: member(name, leads="") for name in SQL},
                "views": {name: seen(primary=set()) for name in PROXIES},
            },
            "airflow knows the primary",
            "error",
            "there is none",
        ),
        ({"met": {}}, f"{VIP}:5000 leads to the primary", "error", "no database server answered"),
        ({"configured": ()}, "the ports lead to the database", "warn", "not set up yet"),
        (
            {"views": {name: seen(webservers=set()) for name in PROXIES}},
            "webservers answer",
            "warn",
            "none does (yet)",
        ),
        (
            {"views": {"airflow": seen(webservers={"airflow"}), "haproxy2": VIEWED}},
            "webservers answer",
            "error",
            "haproxy2 does not answer airflow",
        ),
        (
            {"views": {"airflow": VIEWED, "haproxy2": replace(VIEWED, keepalived=False)}},
            "redundancy",
            "warn",
            "none until haproxy2 is back",
        ),
        ({"views": {"airflow": VIEWED}}, "redundancy", "warn", "until haproxy2 is back"),
        ({"views": {}}, "redundancy", "error", "no server can hold the VIP"),
    ],
)
def test_what_is_wrong_is_named(cluster, known, title, level, words):
    result = found(cluster, **known)
    assert result[title][0] == level
    assert words in result[title][1]


@pytest.mark.parametrize(
    ("reply", "port", "level", "words"),
    [
        ({"write": Reply(replica=True)}, "5000 leads to the primary", "error", "a replica answers"),
        ({"write": Reply(error="no answer")}, "5000 leads to the primary", "error", "no answer"),
        (
            {"read": Reply(writable=True)},
            "5001 leads to a replica",
            "error",
            "the primary answers, although there is a replica",
        ),
    ],
)
def test_the_gravest_of_all_clients_counts(cluster, reply, port, level, words):
    met = {name: replies(cluster) for name in SQL}
    met["sql3"] = replies(cluster, **reply)
    result = found(cluster, met=met)
    assert result[f"{VIP}:{port}"] == (level, f"{words} (asked from sql3)")


def test_without_a_replica_reads_go_to_the_primary(cluster):
    result = found(
        cluster,
        members={"sql1": member("sql1"), "sql2": member("sql2", healthy=False)},
        views={name: seen(replicas=set()) for name in PROXIES},
        met={"sql1": replies(cluster, read=Reply(writable=True))},
    )
    assert result["airflow knows the replicas"] == ("ok", "there is none")
    level, sentence = result[f"{VIP}:5001 leads to a replica"]
    assert level == "warn"
    assert "as there is no replica" in sentence


def test_a_proxy_that_is_down_is_not_told_twice(cluster):
    down = View("2.6", True, False, False, 0, {})
    result = found(cluster, views={"airflow": VIEWED, "haproxy2": down})
    assert not any(title.startswith("haproxy2") for title in result)


def test_no_server_of_the_database_answers(cluster):
    known = facts(cluster, members={}, met={})
    known = Facts({**known._values, CONFIGURED: {}})
    findings = {one.title: one.verdict for one in check.check_cluster(cluster, known)}
    verdict = findings["the ports lead to the database"]
    assert (verdict.level, verdict.sentence) == ("error", "none of its servers answers")


# Day two


def stages(cluster, to: str = "", **known) -> list[tuple[str, tuple[str, ...]]]:
    procedure = operate.failover([], cluster, facts(cluster, **known), to=to)
    return [
        (part.title, tuple(host.name for host in part.hosts))
        for part in procedure
        if isinstance(part, Stage)
    ]


def test_the_vip_goes_to_the_other_server(cluster):
    assert stages(cluster) == [
        ("haproxy2 may hold airflow-vip", ("haproxy2",)),
        ("airflow leaves it", ("airflow",)),
        ("haproxy2 takes airflow-vip", ("haproxy2",)),
    ]
    assert stages(cluster, holding=["haproxy2"]) == [
        ("airflow may hold airflow-vip", ("airflow",)),
        ("airflow takes airflow-vip", ("airflow",)),
    ]
    assert stages(cluster, to="airflow") == stages(cluster, holding=["haproxy2"])


def test_two_vips_are_not_sent_away_together(hosts_yaml):
    two = CONTENTS.load(
        hosts_yaml(
            "  nfs-vip:",
            "  second: {address: 192.168.83.211, role: haproxy, members: {airflow: 1}}\n  nfs-vip:",
        )
    )
    with pytest.raises(RunbookError, match="airflow-vip, second"):
        stages(two)


def test_the_vip_goes_nowhere_where_it_could_not_stay(cluster):
    with pytest.raises(UsageError, match="haproxy1 cannot hold airflow-vip"):
        stages(cluster, to="haproxy1")
    for target, words in (
        (replace(VIEWED, answers=False), "has no HAProxy that answers"),
        (replace(VIEWED, keepalived=False), "does not run keepalived"),
    ):
        with pytest.raises(RunbookError, match=f"haproxy2 {words}; airflow-vip was not moved"):
            stages(cluster, views={"airflow": VIEWED, "haproxy2": target})
    with pytest.raises(RunbookError, match="haproxy2 does not answer"):
        stages(cluster, views={"airflow": VIEWED})
