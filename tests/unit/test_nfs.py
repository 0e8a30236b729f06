"""The chapter on the share, as far as it needs no server."""

from __future__ import annotations

import msgspec
import pytest
from support.public_keys import ed25519
from support.share_facts import MACS, facts

from fabfile import CONTENTS
from fabfile.nfs import check, mounts, operate, server, sync
from fabfile.nfs.common import Tree, clients, trees
from fabfile.nfs.state import Server, parse
from runbook.declare.facts import Facts
from runbook.declare.work import Question
from runbook.errors import InventoryError, RunbookError, UsageError


def found(cluster, known: Facts) -> dict[str, tuple[str, str]]:
    return {
        finding.title: (finding.verdict.level, finding.verdict.sentence)
        for finding in check.check_cluster(cluster, known)
    }


def test_the_servers_answer_is_read():
    text = (
        "generation 7\nled 7\nfit yes\ncopying active\nexport /a 1(rw)\nexport /a 2(ro)\n"
        "compared 1000\nlacks 990 /app1/airflow/dags/a b.py\nlacks 970 /app1/airflow/dags/c.py\n"
        "rescued 20261122-x/dags/d.py\n"
    )
    assert parse(text) == Server(
        generation=7,
        led=True,
        fit=True,
        copying="active",
        exports=frozenset({"/a 1(rw)", "/a 2(ro)"}),
        behind=("/app1/airflow/dags/a b.py", "/app1/airflow/dags/c.py"),
        oldest=30,
        rescued=("20261122-x/dags/d.py",),
    )
    alone = parse("generation 0\nled \ncopying inactive\n")
    assert (alone.led, alone.fit, alone.behind) == (False, False, None)
    lost = parse("generation \nled \ncopying inactive\n")
    assert (lost.generation, lost.led) == (None, False)


def test_a_server_without_a_generation_is_named(cluster):
    told = found(cluster, facts(nfs2={"generation": None, "fit": False}))
    assert told["nfs2 knows how old its files are"][0] == "error"


def test_a_trees_unit_has_systemds_name():
    assert Tree("/app1/airflow/dags", 1).unit == "app1-airflow-dags"
    assert Tree("/srv/my-dags", 1).unit == "srv-my\\x2ddags"


def test_every_client_has_its_own_entry_and_the_same_fsid(cluster):
    text = server.exports(cluster)
    assert text.count("fsid=1)") == len(clients(cluster)) == 4
    assert "192.168.83.129(rw," in text
    assert "192.168.83.131(ro," in text
    assert "*" not in text


def test_a_tree_without_clients_is_not_exported_to_everybody(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml())
    only = {name: host for name, host in cluster.hosts.items() if "nfs" in host.roles}
    assert server.exports(msgspec.structs.replace(cluster, hosts=only)) == ""


def test_logs_are_shared_if_wanted_and_written_by_all(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("logs: false", "logs: true"))
    assert [tree.path for tree in trees(cluster)] == ["/app1/airflow/dags", "/app1/airflow_logs"]
    [_, logs] = server.exports(cluster).splitlines()
    assert logs.count("(rw,") == 4
    assert logs.count("fsid=2)") == 4


def test_a_writer_that_is_no_host_is_told(hosts_yaml):
    with pytest.raises(RunbookError, match="airflow3 is not one of the hosts"):
        CONTENTS.load(hosts_yaml("writers: [airflow,", "writers: [airflow3,"))


def test_only_writers_mount_for_writing(cluster):
    def options(name: str) -> str:
        steps = mounts.mounts(cluster.hosts[name], cluster)
        [text] = [step.text for step in steps if step.title.endswith("airflow-dags.mount")]
        return next(line for line in text.splitlines() if line.startswith("Options="))

    assert "_netdev,rw,hard" in options("airflow")
    assert "_netdev,ro,hard" in options("worker1")
    assert options("worker1").endswith(",actimeo=3"), "a new DAG is seen within seconds"


def test_the_other_servers_key_opens_one_script(cluster):
    known = Facts({sync.KEYS: {name: [ed25519(name), ed25519("host")] for name in MACS}})
    steps = list(sync.sync(cluster.hosts["ftp"], cluster, known))
    [block] = [step for step in steps if "authorized_keys" in step.title]
    assert (
        'restrict,from="192.168.83.150",command="/usr/libexec/nfs-ha/receive" ' + ed25519("nfs2")
        in block.apply
    )
    [pinned] = [step for step in steps if step.title == "file /etc/nfs-ha/known_hosts"]
    assert pinned.text == f"nfs2 {ed25519('host')}\n"


def test_a_third_server_is_refused(hosts_yaml):
    with pytest.raises(InventoryError, match="worker1 is one too many for the role nfs"):
        CONTENTS.load(hosts_yaml("roles: [worker]", "roles: [worker, nfs]"))


# The check


def test_all_is_well(cluster):
    told = found(cluster, facts())
    assert {level for level, _ in told.values()} == {"ok"}
    assert told["nfs-vip (192.168.83.220) is on one host"] == ("ok", "ftp")


@pytest.mark.parametrize(
    ("known", "title", "level", "words"),
    [
        ({"active": ()}, "nfs-vip (192.168.83.220) is on one host", "error", "no server holds it"),
        (
            {"active": ("ftp", "nfs2")},
            "nfs-vip (192.168.83.220) is on one host",
            "error",
            "ftp and nfs2 hold it",
        ),
        (
            {"active": (), "answers": "aa:bb"},
            "nfs-vip (192.168.83.220) is on one host",
            "error",
            "aa:bb answers for it",
        ),
        (
            {"nfs2": {"exports": frozenset({"other"})}},
            "both servers export the same",
            "error",
            "they differ in 2 lines",
        ),
        (
            {"nfs2": {"exports": frozenset()}},
            "both servers export the same",
            "error",
            "nfs2 exports nothing",
        ),
        ({"silent": ("nfs2",)}, "both servers export the same", "warn", "nfs2 does not answer"),
        (
            {"nfs2": {"copying": "active"}},
            "only the active server copies",
            "error",
            "nfs2 copies but is not active",
        ),
        (
            {"ftp": {"copying": "activating"}},
            "only the active server copies",
            "error",
            "ftp does not",
        ),
        ({"nfs2": {"fit": False}}, "the standby is up to date", "error", "may not lead until"),
        ({"ftp": {"behind": None}}, "the standby is up to date", "error", "ftp cannot compare"),
        (
            {"ftp": {"behind": ("/a", "/b"), "oldest": 31}},
            "the standby is up to date",
            "error",
            "nfs2 lacks /a, /b, the oldest for 31 s",
        ),
        (
            {"ftp": {"behind": ("/a",), "oldest": 2}},
            "the standby is up to date",
            "ok",
            "nfs2 lacks /a, the oldest for 2 s",
        ),
        (
            {"nfs2": {"rescued": ("t/dags/a.py",)}},
            "nothing waits in /app1/airflow/rescued of nfs2",
            "warn",
            "newer than elsewhere, or only here: t/dags/a.py",
        ),
        ({"silent": ("nfs2",)}, "redundancy", "warn", "none until nfs2"),
    ],
)
def test_the_check_says(cluster, known, title, level, words):
    found_level, sentence = found(cluster, facts(**known))[title]
    assert found_level == level
    assert words in sentence


# Day two


def test_no_failover_to_a_server_that_is_behind(cluster):
    with pytest.raises(RunbookError, match="nfs2 is not up to date"):
        list(operate.failover([], cluster, facts(nfs2={"fit": False})))
    with pytest.raises(UsageError, match="ftp is active already"):
        list(operate.failover([], cluster, facts(), to="ftp"))
    with pytest.raises(UsageError, match="did you mean nfs2"):
        list(operate.failover([], cluster, facts(), to="nfs3"))


def test_a_server_leads_by_order_only_if_nobody_does(cluster):
    with pytest.raises(UsageError, match="ftp is active; to move the share"):
        list(operate.lead([], cluster, facts(), host="nfs2", i_know=True))
    with pytest.raises(UsageError, match="--i-know"):
        list(operate.lead([], cluster, facts(active=()), host="nfs2"))
    first, *_ = operate.lead([], cluster, facts(active=()), host="nfs2", i_know=True)
    assert isinstance(first, Question)
