"""The chapter on PostgreSQL, as far as it needs no PostgreSQL."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml
from msgspec import structs
from support.postgres_facts import SQL, etcd_facts, facts, member

from fabfile import CONTENTS
from fabfile.postgres import (
    backup,
    check,
    check_backups,
    database,
    etcd,
    install,
    members,
    operate,
    patroni,
    restore,
)
from fabfile.postgres.backup import CERTIFICATE, TRUSTED, backup_network, participants
from fabfile.postgres.common import CONFIGURED, MAJOR, SUPERUSER
from fabfile.postgres.etcd import ETCD, Etcd, EtcdMember
from fabfile.shared.versions import Versions
from runbook.declare.facts import Facts
from runbook.declare.probes import Answer
from runbook.declare.work import Question
from runbook.errors import InventoryError, MissingFact, RunbookError, UsageError


def titles(steps) -> list[str]:
    return [step.title for step in steps]


def findings(cluster, known: Facts) -> dict[str, tuple[str, str]]:
    return {
        one.title: (one.verdict.level, one.verdict.sentence)
        for one in check.check_cluster(cluster, known)
    }


# etcd


def test_members_are_read_from_the_answers_of_etcd():
    listing = {
        "members": [
            {"ID": "10276657743932975437", "name": "sql1", "peerURLs": ["http://10.0.0.1:2380"]},
            {"ID": "255", "peerURLs": ["http://10.0.0.2:2380"]},
        ]
    }
    assert etcd.parse(f'data\n{json.dumps(listing)}\n{{"health":"true"}}\n') == Etcd(
        True,
        (
            EtcdMember("8e9e05c52164694d", "sql1", "http://10.0.0.1:2380"),
            EtcdMember("ff", "", "http://10.0.0.2:2380"),
        ),
        True,
    )
    assert etcd.parse("empty\n") == Etcd(False, ())
    assert etcd.parse("data\n\n") == Etcd(True, ())
    odd = {"members": [{"ID": "1", "name": "$(reboot)", "peerURLs": ["http://10.0.0.1:2380"]}]}
    with pytest.raises(ValueError, match="reboot"):
        etcd.parse(f"data\n{json.dumps(odd)}\n")


def test_a_new_cluster_lists_all_servers_of_hosts_yaml(cluster):
    known = Facts({ETCD: etcd_facts(cluster, empty=SQL)})
    for name in SQL:
        steps = list(etcd.etcd(cluster.hosts[name], cluster, known))
        [join] = [step for step in steps if step.title == "file /etc/etcd/join.conf"]
        assert all(f"{other}=https://" in join.text for other in SQL)
        assert "ETCD_INITIAL_CLUSTER_STATE=new" in join.text


def test_no_new_cluster_as_long_as_a_server_cannot_be_asked(cluster):
    known = Facts({ETCD: etcd_facts(cluster, empty=SQL, silent=["sql3"])})
    with pytest.raises(MissingFact, match="sql3"):
        list(etcd.etcd(cluster.hosts["sql1"], cluster, known))


def test_no_second_cluster_beside_one_that_is_down(cluster):
    """sql1 lost its disk, and the others stand still: it is not founded anew."""
    known = Facts({ETCD: etcd_facts(cluster, empty=["sql1"], down=["sql2", "sql3"])})
    steps = titles(etcd.etcd(cluster.hosts["sql1"], cluster, known))
    assert "etcd.service runs and is enabled" not in steps
    assert "file /etc/etcd/join.conf" not in steps
    assert "etcd.service runs and is enabled" in titles(
        etcd.etcd(cluster.hosts["sql2"], cluster, known)
    )
    with pytest.raises(MissingFact, match="no etcd member answers"):
        list(etcd.etcd_members(cluster.hosts["sql1"], cluster, known))


def test_a_founding_that_was_cut_off_is_completed(cluster):
    """sql3 waits for a quorum that has never been there, and no server has a database."""
    states = etcd_facts(cluster, empty=["sql1", "sql2"], down=["sql3"])

    def known(databases: dict[str, bool]) -> Facts:
        return Facts({ETCD: states, CONFIGURED: databases})

    nowhere = dict.fromkeys(SQL, False)
    for name in SQL:
        steps = titles(etcd.etcd(cluster.hosts[name], cluster, known(nowhere)))
        assert "file /etc/etcd/join.conf" in steps
        assert "etcd.service runs and is enabled" in steps
        with pytest.raises(MissingFact, match=r"fab postgres\.etcd"):
            list(etcd.etcd_members(cluster.hosts[name], cluster, known(nowhere)))
    for databases in ({**nowhere, "sql2": True}, {"sql1": False, "sql3": False}):
        steps = titles(etcd.etcd(cluster.hosts["sql1"], cluster, known(databases)))
        assert "etcd.service runs and is enabled" not in steps


def test_a_running_member_does_not_hear_of_the_initial_cluster_again(cluster):
    known = Facts({ETCD: etcd_facts(cluster)})
    assert "file /etc/etcd/join.conf" not in titles(
        etcd.etcd(cluster.hosts["sql1"], cluster, known)
    )


def test_a_member_that_lost_its_data_is_replaced(cluster):
    states = etcd_facts(cluster)
    states["sql3"] = Etcd(False, ())
    steps = titles(etcd.etcd_members(cluster.hosts["sql3"], cluster, Facts({ETCD: states})))
    assert steps[0] == "etcd forgets the member idsql3, whose data sql3 has lost"
    assert steps[1] == "etcd knows sql3 as a member"


def test_data_of_a_removed_member_are_kept_but_not_started(cluster):
    states = etcd_facts(cluster)
    others = tuple(one for one in states["sql1"].listed if one.name != "sql3")
    states = {name: Etcd(True, others if name != "sql3" else ()) for name in SQL}
    steps = list(etcd.etcd_members(cluster.hosts["sql3"], cluster, Facts({ETCD: states})))
    assert "moved aside" in steps[0].title
    assert not re.search(r"\brm\b", steps[0].apply)


def with_former(cluster, name: str = "sql2", now: bool = False) -> dict[str, Etcd]:
    """etcd lists this server at an address that it had before, and perhaps where it is now."""
    states = etcd_facts(cluster)
    others = [one for one in states["sql1"].listed if one.name != name or now]
    everybody = (*others, EtcdMember("id9", name, "http://10.9.9.9:2380"))
    return {one: Etcd(True, everybody if one != name or now else ()) for one in SQL}


def test_a_member_with_a_new_address_keeps_its_data(cluster):
    known = Facts({ETCD: with_former(cluster)})
    host = cluster.hosts["sql2"]
    assert "etcd.service runs and is enabled" not in titles(etcd.etcd(host, cluster, known))
    assert titles(etcd.etcd_members(host, cluster, known)) == [
        "etcd knows sql2 at its new address",
        "etcd on sql2 runs at its new address",
        "etcd on sql2 is healthy",
    ]
    others = titles(etcd.etcd_members(cluster.hosts["sql3"], cluster, known))
    assert others == ["etcd.service runs with its present settings", "etcd on sql3 is healthy"]


def test_a_replaced_server_with_a_new_address_is_forgotten_at_the_old_one(cluster):
    states = {**with_former(cluster), "sql2": Etcd(False, ())}
    steps = titles(etcd.etcd_members(cluster.hosts["sql2"], cluster, Facts({ETCD: states})))
    assert steps[0] == "etcd forgets the member id9, whose data sql2 has lost"
    assert steps[1] == "etcd knows sql2 as a member"


def test_members_that_stopped_are_started_although_only_one_lists_them(cluster):
    states = etcd_facts(cluster)
    states = {name: Etcd(True, states[name].listed if name == "sql1" else ()) for name in SQL}
    for name in SQL:
        steps = titles(etcd.etcd(cluster.hosts[name], cluster, Facts({ETCD: states})))
        assert "etcd.service runs and is enabled" in steps
    with pytest.raises(RunbookError, match="a majority has to agree"):
        list(etcd.etcd_members(cluster.hosts["sql2"], cluster, Facts({ETCD: states})))


# Patroni


def patroni_yml(host, cluster) -> dict:
    """The file as Patroni reads it."""
    steps = patroni.patroni(host, cluster, Facts())
    [step] = [one for one in steps if one.title == "file /etc/patroni/patroni.yml"]
    return yaml.safe_load(step.text)


def test_patroni_yml_is_yaml_whatever_the_password(cluster, monkeypatch):
    secret = "a; b%c@d \"e\" 'f' : #{}\\"
    monkeypatch.setenv("RUNBOOK_SECRET_POSTGRES_REPLICATION", secret)
    host = cluster.hosts["sql2"]
    [step] = [
        one for one in patroni.patroni(host, cluster, Facts()) if one.title.endswith("patroni.yml")
    ]
    document = yaml.safe_load(step.text)
    assert document["postgresql"]["authentication"]["replication"]["password"] == secret
    assert document["bootstrap"]["dcs"] == yaml.safe_load(patroni.shared(cluster))
    own_first = [f"{cluster.hosts[name].address}:2379" for name in ("sql2", "sql1", "sql3")]
    assert document["etcd3"]["hosts"] == own_first
    assert document["postgresql"]["parameters"]["shared_buffers"] == "1024MB"


def test_a_database_that_exists_gets_no_new_passwords(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml())
    known = Facts({CONFIGURED: {"sql1": True, "sql2": False}, **facts(cluster)._values})
    host = cluster.hosts["sql1"]
    for task in (patroni.patroni, patroni.settings, database.database):
        with pytest.raises(RunbookError, match="Copy that file here"):
            list(task(host, cluster, known))
    assert not cluster.vault.file.exists()
    cluster.secret(SUPERUSER)
    cluster.vault.keep()
    assert list(patroni.patroni(host, cluster, known))


def test_nobody_but_the_clusters_hosts_may_ask_for_the_database(cluster):
    host = cluster.hosts["sql1"]
    [step] = [
        one for one in patroni.patroni(host, cluster, Facts()) if one.title.endswith("patroni.yml")
    ]
    rules = yaml.safe_load(step.text)["postgresql"]["pg_hba"]
    ours = {f"{one.address}/32" for one in (*cluster.hosts.values(), *cluster.vips.values())}
    for rule in rules:
        kind, *_, method = rule.split()
        assert method in ("scram-sha-256", "peer")
        if kind == "host":
            assert rule.split()[3] in ours | {"127.0.0.1/32"}
    assert not any("trust" in rule or "0.0.0.0" in rule for rule in rules)


def test_asynchronous_replication_keeps_what_only_an_old_leader_has(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("synchronous_mode: true", "synchronous_mode: false"))
    settings = yaml.safe_load(patroni.shared(cluster))
    assert "primary_start_timeout" not in settings
    assert settings["synchronous_mode"] is False
    document = patroni_yml(cluster.hosts["sql1"], cluster)
    assert not document["postgresql"]["remove_data_directory_on_rewind_failure"]


def test_a_parameter_of_hosts_yaml_wins(hosts_yaml):
    named = "parameters: {max_connections: 300, shared_buffers: 2GB, synchronous_commit: false} "
    with pytest.raises(InventoryError, match="synchronous_commit"):
        CONTENTS.load(hosts_yaml("parameters: {} ", named))
    cluster = CONTENTS.load(
        hosts_yaml("parameters: {} ", "parameters: {max_connections: 300, work_mem: 9MB} ")
    )
    assert yaml.safe_load(patroni.shared(cluster))["postgresql"]["parameters"]["work_mem"] == "9MB"
    assert "work_mem" not in patroni.sized(cluster.hosts["sql1"], cluster)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("ttl: 20 ", "ttl: 15 ", "ttl"),
        ("retry_timeout: 5", "retry_timeout: 9", "below loop_wait"),
        ("host: nfs2 ", "host: nfs9 ", "nfs9 is not one of the hosts"),
        ("host: nfs2 ", "host: sql2 ", "lost together with it"),
        ("clients: [] ", "clients: [10.0.0.0] ", "clients"),
        ("synchronous_mode:", "synchronus_mode:", "did you mean synchronous_mode"),
    ],
)
def test_a_wrong_setting_is_named(hosts_yaml, old, new, complaint):
    with pytest.raises(InventoryError, match=complaint):
        CONTENTS.load(hosts_yaml(old, new))


# The check


def test_a_healthy_cluster_may_lose_any_one_server(cluster):
    found = findings(cluster, facts(cluster))
    assert {level for level, _ in found.values()} == {"ok"}
    assert found["one leader"] == ("ok", "sql1")
    assert found["redundancy"][1] == ("survives the loss of any one server; sql2 would take over")


@pytest.mark.parametrize(
    ("known", "title", "level", "words"),
    [
        ({"sql1": {"primary": False}}, "one leader", "error", "no server leads"),
        ({"sql2": {"primary": True}}, "one leader", "error", "sql1 and sql2 both"),
        ({"sql3": None}, "sql3 follows", "error", "does not answer"),
        ({"sql3": {"healthy": False, "state": "starting"}}, "sql3 follows", "error", "starting"),
        ({"sql2": {"pending_restart": True}}, "no restart is pending", "warn", "sql2"),
    ],
)
def test_what_is_wrong_with_a_member_is_named(cluster, known, title, level, words):
    states = {
        name: member(name, **(known.get(name) or {}))
        for name in SQL
        if known.get(name, {}) is not None
    }
    found = findings(cluster, facts(cluster, **states))
    assert found[title][0] == level
    assert words in found[title][1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": "running"}, "does not stream"),
        ({"state": "in archive recovery"}, "catching up from the archive"),
        ({"timeline": 2}, "timeline 2, the leader on 3"),
        ({"lag": 50_000_000}, "50000000 bytes behind"),
        ({"lag": "unknown"}, "unknown bytes behind"),
    ],
)
def test_a_replica_that_does_not_keep_up_is_named(cluster, change, words):
    first = member("sql1")
    first.cluster["sql3"].update(change)
    states = {"sql1": first, "sql2": member("sql2"), "sql3": member("sql3")}
    assert words in findings(cluster, facts(cluster, **states))["sql3 follows"][1]


def test_etcd_without_a_quorum_is_told_with_what_it_means(cluster):
    known = facts(cluster, etcd_facts(cluster, down=["sql2", "sql3"]))
    level, sentence = findings(cluster, known)["redundancy"]
    assert level == "error"
    assert "1 of 3 answer" in sentence
    assert "writes continue" in sentence


def test_with_one_etcd_member_down_no_redundancy_is_left(cluster):
    known = facts(cluster, etcd_facts(cluster, down=["sql3"]))
    assert findings(cluster, known)["redundancy"] == (
        "warn",
        "none until sql3 is back",
    )


def test_members_that_hosts_yaml_does_not_know_and_the_other_way_round(cluster):
    states = etcd_facts(cluster)
    stranger = EtcdMember("id9", "sql9", "http://10.9.9.9:2380")
    states = {name: Etcd(True, (*one.listed[:2], stranger)) for name, one in states.items()}
    complaints = [
        (one.verdict.sentence, one.fix) for one in check.etcd_is_one(cluster, Facts({ETCD: states}))
    ]
    assert complaints == [
        ("sql9 is a member, but not in hosts.yaml", "fab postgres.remove sql9"),
        ("sql3 is not a member", "fab postgres"),
    ]


@pytest.mark.parametrize(
    ("line", "level"),
    [(" 42%  1234M", "ok"), (" 81%  200M", "warn"), (" 99%  1M", "error"), ("", "unknown")],
)
def test_room_for_data(line, level):
    assert check.enough_room(Answer(line)).level == level


def test_patronis_answers_are_read():
    state = {
        "state": "running",
        "timeline": 3,
        "pending_restart": True,
        "postmaster_start_time": "2026-01-01 00:00:00.5+00:00",
        "patroni": {"name": "sql1"},
    }
    listed = {"members": [{"name": "sql1", "role": "leader", "state": "running"}]}
    read = members.parse(f"200 503\n{json.dumps(state)}\n{json.dumps(listed)}\n")
    assert (read.primary, read.healthy, read.pending_restart) == (True, True, True)


# Day two


def stages(procedure) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (part.title, tuple(host.name for host in part.hosts))
        for part in procedure
        if not isinstance(part, Question)
    ]


def test_a_rolling_restart_takes_the_leader_last(cluster):
    hosts = [cluster.hosts[name] for name in SQL]
    waiting = {name: member(name, pending_restart=True) for name in SQL}
    done = stages(operate.restart(hosts, cluster, facts(cluster, **waiting)))
    assert [title for title, _ in done] == [
        "restart sql2",
        "restart sql3",
        "hand over from sql1",
        "restart sql1",
    ]


def test_where_max_connections_gets_lower_the_leader_restarts_first(cluster):
    hosts = [cluster.hosts[name] for name in SQL]
    waiting = {name: member(name, pending_restart=True, lowers=True) for name in SQL}
    done = stages(operate.restart(hosts, cluster, facts(cluster, **waiting)))
    assert [title for title, _ in done] == ["restart sql1", "restart sql2", "restart sql3"]


def test_why_a_restart_is_pending_is_read():
    def lowers(**reason):
        state = {"state": "running", "patroni": {"name": "sql1"}, "pending_restart_reason": reason}
        return members.parse(f"200 503\n{json.dumps(state)}\n{{}}\n").lowers

    assert lowers(max_connections={"old_value": "260", "new_value": "200"})
    assert not lowers(max_connections={"old_value": "200", "new_value": "260"})
    assert not lowers(shared_buffers={"old_value": "2GB", "new_value": "1GB"})


def test_no_restart_while_a_member_is_away(cluster):
    hosts = [cluster.hosts[name] for name in SQL]
    known = facts(cluster, sql1=member("sql1"), sql2=member("sql2"))
    with pytest.raises(RunbookError, match="sql3 does not answer"):
        list(operate.restart(hosts, cluster, known))


def test_switching_over_to_an_asynchronous_standby_is_refused(cluster):
    with pytest.raises(RunbookError, match="only sql2 can take over"):
        list(operate.switchover([], cluster, facts(cluster), to="sql3"))
    with pytest.raises(UsageError, match="sql1 already leads"):
        list(operate.switchover([], cluster, facts(cluster), to="sql1"))
    with pytest.raises(UsageError, match="did you mean sql2"):
        list(operate.switchover([], cluster, facts(cluster), to="slq2"))


def test_nobody_takes_over_while_no_replica_streams(cluster):
    alone = member("sql1")
    for name in ("sql2", "sql3"):
        alone.cluster[name]["state"] = "starting"
    with pytest.raises(RunbookError, match="No replica is streaming"):
        list(operate.switchover([], cluster, facts(cluster, sql1=alone)))


def test_the_leader_is_not_copied_anew(cluster):
    with pytest.raises(UsageError, match="only a replica"):
        list(operate.reinit([], cluster, facts(cluster), host="sql1"))
    first, *rest = operate.reinit([], cluster, facts(cluster), host="sql3")
    assert isinstance(first, Question)
    assert stages(rest) == [("copy sql3 again", ("sql3",))]


def test_removing_a_member_stops_what_runs_beside_it(cluster):
    _, first, *_ = operate.remove([], cluster, facts(cluster), host="sql3")
    stopped = [step.units[0] for step in first.of(cluster.hosts["sql3"])]
    assert stopped == ["pgbouncer.service", "etcd-apart.service", "patroni.service"]


def test_removing_a_member_keeps_the_quorum(cluster):
    whole = facts(cluster)
    assert [title for title, _ in stages(operate.remove([], cluster, whole, host="sql3"))] == [
        "stop PostgreSQL on sql3",
        "take sql3 out of etcd",
        "stop etcd on sql3",
    ]
    with pytest.raises(RunbookError, match="leads now"):
        list(operate.remove([], cluster, whole, host="sql1"))
    weak = facts(cluster, etcd_facts(cluster, down=["sql2"]))
    with pytest.raises(RunbookError, match="1 of etcd's 2 members"):
        list(operate.remove([], cluster, weak, host="sql3"))


def test_only_the_former_address_of_a_member_is_removed(cluster):
    known = facts(cluster, with_former(cluster, now=True))
    assert stages(operate.remove([], cluster, known, host="sql2")) == [
        ("take http://10.9.9.9:2380 out of etcd", ("sql1",))
    ]


def test_a_member_that_is_gone_for_good_is_taken_out_by_another(cluster):
    states = etcd_facts(cluster, silent=["sql3"])
    known = facts(cluster, states, sql1=member("sql1"), sql2=member("sql2"))
    assert stages(operate.remove([], cluster, known, host="sql3")) == [
        ("take sql3 out of etcd", ("sql1",))
    ]


def test_a_restore_says_what_it_takes(cluster):
    known = facts(cluster)
    with pytest.raises(UsageError, match="is not a point in time"):
        list(restore.restore([], cluster, known, to="yesterday"))
    with pytest.raises(UsageError, match="--i-know"):
        list(restore.restore([], cluster, known, to="latest"))
    away = facts(cluster, etcd_facts(cluster, silent=["sql3"]))
    with pytest.raises(RunbookError, match="sql3 cannot be reached"):
        list(restore.restore([], cluster, away, to="latest", i_know=True))


@pytest.mark.parametrize(
    ("answer", "major"),
    [
        ('{"state": "running", "server_version": 150018, "role": "primary"}\n', "15"),
        ('{"server_version": 150018}\n  bin_dir: /usr/pgsql-16/bin\n', "15"),
        ("\n  bin_dir: /usr/pgsql-16/bin\n", "16"),
        ("\n", ""),
    ],
)
def test_the_major_version_is_that_which_runs_else_the_configured_one(answer, major):
    assert MAJOR.parse(answer) == major


@pytest.mark.parametrize(
    "task",
    [install.repo, install.install, backup_network, patroni.patroni, patroni.settings],
)
def test_another_major_version_than_the_clusters_is_refused(cluster, task):
    versions = structs.replace(cluster[Versions], postgresql="16")
    later = structs.replace(cluster, settings={**cluster.settings, "versions": versions})
    known = Facts({MAJOR: {"sql1": "", "sql2": "15"}})
    with pytest.raises(RunbookError, match=r"fab postgres\.upgrade --major\. Otherwise set"):
        list(task(later.hosts["sql1"], later, known))


def test_a_restore_deletes_nothing(cluster):
    parts = list(
        restore.restore([], cluster, facts(cluster), to="2026-01-01 10:00:00+00", i_know=True)
    )
    commands = "\n".join(
        step.apply
        for part in parts
        if not isinstance(part, Question)
        for step in part.of(part.hosts[0])
    )
    assert "rm " not in commands
    assert "--delta" not in commands
    assert commands.count("/var/lib/pgsql/15/data /var/lib/pgsql/15/data.before-") == 2
    kept = ("config", "initialize")
    assert not any(f" del /service/airflow-ha/{name}" in commands for name in kept)


# Backups


def pem(name: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----"


def trusted(host, cluster, known: Facts) -> dict[str, str]:
    """The certificates that a server gets, by server."""
    [peers] = [
        step for step in backup_network(host, cluster, known) if step.title.endswith("peers.crt")
    ]
    return backup.by_name(peers.text)


def test_each_server_trusts_the_certificates_of_the_others(cluster):
    everybody = {host.name: pem(host.name) for host in participants(cluster)}
    for host in participants(cluster):
        assert trusted(host, cluster, Facts({CERTIFICATE: everybody})) == everybody
    assert list(everybody) == [*SQL, "nfs2"]


def test_the_certificate_of_a_server_that_is_away_stays_trusted(cluster):
    known = Facts(
        {
            CERTIFICATE: {name: pem(name) for name in ("sql1", "sql2", "nfs2")},
            TRUSTED: {"sql1": {"sql2": pem("old"), "sql3": pem("sql3")}, "nfs2": {}},
        }
    )
    found = trusted(cluster.hosts["nfs2"], cluster, known)
    assert found == {name: pem(name) for name in (*SQL, "nfs2")}
    known.known(TRUSTED)["sql2"] = {"sql3": pem("of an intruder")}
    assert trusted(cluster.hosts["sql1"], cluster, known)["sql3"] == pem("sql3")
    assert "sql3" not in trusted(cluster.hosts["nfs2"], cluster, known)
    with pytest.raises(MissingFact, match="backup-keys"):
        list(backup_network(cluster.hosts["sql3"], cluster, known))


@pytest.mark.parametrize("text", ["", "x", f"{pem('a')}\n{pem('b')}", pem("$(reboot)")])
def test_what_is_no_certificate_is_not_taken(text):
    with pytest.raises(ValueError, match="certificate"):
        CERTIFICATE.parse(text)


def test_without_a_place_for_backups_there_are_none(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("host: nfs2 ", "host: null "))
    assert participants(cluster) == []
    [finding] = check_backups.backed_up(cluster, Facts())
    assert finding.verdict.level == "warn"
    settings = yaml.safe_load(patroni.shared(cluster))
    assert settings["postgresql"]["parameters"]["archive_command"] == "/bin/true"
    assert "recovery_conf" not in settings["postgresql"]


# What Patroni says of its configuration


COMPLAINTS = """\
restapi.listen 10.0.0.5:8008 didn't pass validation: Port 8008 is already in use.
postgresql.listen 10.0.0.5:5432 didn't pass validation: Port 5432 is already in use.
etcd3.hosts.2 10.0.0.7:2379 didn't pass validation: 10.0.0.7:2379 is not reachable
"""
"""What 3.3.0 prints while it runs and an etcd member is down; the option is unknown to it."""


@pytest.fixture
def judged(tmp_path):
    """judged(help, complaints) -> exit code and words of the judgement, with such a Patroni."""

    def judge(options: str, complaints: str) -> tuple[int, str]:
        program = tmp_path / "patroni"
        program.write_text(
            f"""#!/bin/bash
case $1 in
  --help) echo 'usage: patroni [-h] {options} [configfile]' ;;
  --validate-config)
    [[ '{options}' == *ignore-listen-port* || $2 != --ignore-listen-port ]] || exit 2
    [[ -e ${{!#}} ]] && cat <<'END'
{complaints}END
    exit 1 ;;
esac
"""
        )
        program.chmod(0o755)
        (tmp_path / "patroni.yml").touch()
        done = subprocess.run(
            [
                "bash",
                "-euo",
                "pipefail",
                "-c",
                f"{patroni.JUDGED_BY_PATRONI} {tmp_path}/patroni.yml",
            ],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout.strip()

    return judge


def test_a_patroni_that_cannot_ignore_its_own_ports_is_asked_without(judged):
    assert judged("--validate-config", COMPLAINTS) == (0, "")
    wrong = "postgresql.bin_dir  does not contain 'pg_ctl' in '/bin'"
    assert judged("--validate-config", f"{COMPLAINTS}{wrong}\n") == (1, wrong)


def test_a_patroni_that_can_is_asked_to(judged):
    assert judged("--validate-config --ignore-listen-port", "") == (0, "")
