"""Ways back after the loss of etcd, of all database servers, or of time: what is done, in order."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from support.postgres_facts import SQL, etcd_facts, facts, member

from fabfile.postgres import patroni, recover, restore
from fabfile.postgres.backup import KEEPS
from fabfile.postgres.common import HAS_DATABASE
from fabfile.postgres.etcd import ETCD, Etcd
from fabfile.postgres.hold import HELD
from fabfile.postgres.position import POSITION, Position, compared, most_advanced, parse
from fabfile.postgres.repository import BACKUPS, Backup, Repository
from runbook.declare.facts import Facts
from runbook.declare.work import Asked, Question, Stage
from runbook.errors import MissingFact, RunbookError, UsageError

SYSTEM = 7301234567890


def position(wal: int, timeline: int = 3, system: int = SYSTEM, leads: bool = False) -> Position:
    return Position(system, timeline, wal, leads)


def known(cluster, **changes) -> Facts:
    """sql1 is left with etcd's data; sql3 has the newest database; nobody leads."""
    silent = {name: member(name, leads="", primary=False) for name in SQL}
    values = {
        **facts(cluster, **silent)._values,
        ETCD: {
            "sql1": etcd_facts(cluster)["sql1"],
            "sql2": Etcd(False, ()),
            "sql3": Etcd(False, ()),
        },
        POSITION: {"sql1": position(100), "sql2": position(900, 2), "sql3": position(150)},
        HELD: dict.fromkeys(SQL, False),
        HAS_DATABASE: dict.fromkeys(SQL, True),
    }
    return Facts({**values, **changes.pop("facts", {})})


def parts(procedure) -> tuple[list[tuple[str, list[str]]], str]:
    """Stages with their hosts, and all that is asked of the user."""
    stages, asked = [], []
    for part in procedure:
        if isinstance(part, Question):
            asked.append(part.text)
        elif isinstance(part, Stage):
            stages.append((part.title, [host.name for host in part.hosts]))
    return stages, "\n".join(asked)


def commands(procedure) -> str:
    """All commands of all stages."""
    return "\n".join(
        step.apply
        for part in procedure
        if isinstance(part, Stage)
        for host in part.hosts
        for step in part.of(host)
    )


# Positions


def test_a_position_is_read():
    read = parse("7301234567890 3 2/A0000060 leads\n")
    assert read == Position(SYSTEM, 3, (2 << 32) + 0xA0000060, leads=True)
    assert str(read) == "timeline 3, 2/A0000060"
    assert not parse("1 3 0/1 follows").leads
    assert not parse("1 3 0/1 stopped").leads
    for text in ("1 3 0/zz leads", "1 x 0/1 leads", "1 3 0/1"):
        with pytest.raises(ValueError, match=r".+"):
            parse(text)


def test_the_newest_data_is_that_of_the_highest_timeline_then_the_most_wal(cluster):
    answers = known(cluster)
    order = most_advanced(cluster, answers)
    assert [host.name for host in order] == ["sql3", "sql1", "sql2"]
    told = compared(order, answers)
    assert told.startswith("sql3 has the newest data (timeline 3, 0/96)")
    assert "sql1 is 50 bytes behind; sql2 is on timeline 2" in told


def test_the_leader_has_the_newest_data_although_a_replica_was_asked_later(cluster):
    asked = {"sql1": position(160), "sql2": position(150, leads=True)}
    answers = known(cluster, facts={POSITION: asked})
    order = most_advanced(cluster, answers)
    assert [host.name for host in order] == ["sql2", "sql1"]
    assert "sql1 is 0 bytes behind" in compared(order, answers)


def test_databases_of_different_clusters_are_told_apart(cluster):
    mixed = {POSITION: {"sql1": position(1), "sql2": position(1, system=9)}}
    with pytest.raises(RunbookError, match="different clusters"):
        most_advanced(cluster, known(cluster, facts=mixed))


# etcd lost


def recovered(cluster, answers: Facts, host: str = "sql1", i_know: bool = True):
    return recover.etcd_recover([], cluster, answers, host=host, i_know=i_know)


def test_etcd_begins_again_and_the_newest_database_leads(cluster):
    stages, asked = parts(recovered(cluster, known(cluster)))
    assert stages == [
        ("stop Patroni where the database does not lead", ["sql1", "sql2", "sql3"]),
        ("put away what etcd holds on the other servers", ["sql2", "sql3"]),
        ("etcd begins again on sql1", ["sql1"]),
        ("sql3 leads", ["sql3"]),
        ("etcd on sql2 joins", ["sql2"]),
        ("etcd on sql3 joins", ["sql3"]),
        ("the others follow", ["sql1", "sql2"]),
    ]
    assert "sql3 has the newest data" in asked
    assert "with the data that it has there" in asked


def test_a_database_that_still_leads_is_not_stopped(cluster):
    """Failsafe mode: the leader goes on without etcd."""
    positions = {"sql1": position(100), "sql2": position(90), "sql3": position(90, leads=True)}
    stages, _ = parts(recovered(cluster, known(cluster, facts={POSITION: positions})))
    assert stages[0][1] == ["sql1", "sql2"]


def test_nothing_of_postgresql_is_removed_and_etcds_data_is_kept(cluster):
    done = commands(recovered(cluster, known(cluster)))
    assert not re.search(r"\brm (?!-f (\"\$temp\"|/etc/etcd/join.conf$))", done, re.MULTILINE)
    assert not re.search(r"^ *(mv|cp) .*pgsql", done, re.MULTILINE)
    assert 'cp -a /var/lib/etcd/airflow-ha.etcd "/var/lib/etcd/airflow-ha.etcd.before-' in done
    assert done.count("airflow-ha.etcd.lost-") == 2
    assert f" put /service/airflow-ha/initialize {SYSTEM}" in done
    assert " del /service/airflow-ha/leader" in done
    assert "del /service/airflow-ha/config" not in done
    assert done.count("ETCD_FORCE_NEW_CLUSTER=true") == 1


def test_settings_go_to_etcd_as_json(cluster):
    step = recover.knows_the_cluster(cluster, SYSTEM)
    text = step.apply.split(" put /service/airflow-ha/config ")[1].splitlines()[0]
    value = subprocess.run(
        ["bash", "-c", f"printf %s {text.rpartition('; fi')[0]}"], capture_output=True, check=True
    ).stdout
    assert json.loads(value)["synchronous_mode"] is True


def test_without_any_of_etcds_data_it_begins_empty(cluster):
    nowhere = {ETCD: {name: Etcd(False, ()) for name in SQL}}
    answers = known(cluster, facts=nowhere)
    _, asked = parts(recovered(cluster, answers, host="sql2"))
    assert "etcd begins again on sql2, empty" in asked
    assert "FORCE" not in commands(recovered(cluster, answers, host="sql2"))


def test_servers_that_are_lost_are_named_before_anything_is_done(cluster):
    left = {
        ETCD: {"sql1": etcd_facts(cluster)["sql1"]},
        POSITION: {"sql1": position(100)},
    }
    answers = known(cluster, facts=left)
    with pytest.raises(UsageError, match="Never start sql2, sql3 again") as refused:
        parts(recovered(cluster, answers, i_know=False))
    assert "sql1 has the newest data (timeline 3, 0/64)" in str(refused.value)
    assert "--i-know" in str(refused.value)
    stages, _ = parts(recovered(cluster, answers))
    assert {name for _, names in stages for name in names} == {"sql1"}


@pytest.mark.parametrize(
    ("etcd", "host", "words"),
    [
        ({name: Etcd(True, (), True) for name in SQL}, "sql1", "etcd has its quorum"),
        ({name: Etcd(True, ()) for name in SQL}, "sql1", "which is a majority"),
        (
            {"sql1": Etcd(True, ()), "sql2": Etcd(False, ()), "sql3": Etcd(False, ())},
            "sql3",
            "fab postgres.etcd-recover sql1",
        ),
        ({"sql2": Etcd(True, ())}, "sql1", "sql1 cannot be reached"),
    ],
)
def test_a_recovery_that_is_not_needed_or_wrong_is_refused(cluster, etcd, host, words):
    with pytest.raises(RunbookError, match=words):
        parts(recovered(cluster, known(cluster, facts={ETCD: etcd}), host=host))


def test_an_interrupted_recovery_can_be_rerun(cluster):
    half = {
        ETCD: {"sql1": Etcd(True, (), True), "sql2": Etcd(False, ()), "sql3": Etcd(False, ())},
        HELD: {"sql2": True},
    }
    stages, _ = parts(recovered(cluster, known(cluster, facts=half)))
    assert ("etcd begins again on sql1", ["sql1"]) in stages


def test_without_a_database_the_way_out_is_named(cluster):
    with pytest.raises(RunbookError, match="--onto-new-servers"):
        parts(recovered(cluster, known(cluster, facts={POSITION: {}})))


# Restores


def of_the_repository(size: int = 10**6) -> dict:
    backups = [Backup("F", "full", 500, 600, 3, False, size)]
    return {BACKUPS: {"nfs2": Repository(1000, backups, SYSTEM)}}


def test_no_server_starts_its_old_data_until_its_turn_comes(cluster):
    answers = facts(cluster)
    procedure = restore.restore([], cluster, answers, to="latest", i_know=True)
    stages = [part for part in procedure if isinstance(part, Stage)]
    titles = [part.title for part in stages]
    assert titles == [
        "is there room?",
        "the last WAL reaches the archive",
        "stop the replicas",
        "stop sql1",
        "restore on sql1",
        "copy to the replicas",
        "a new full backup",
    ]
    masked = [part.title for part in stages if "systemctl mask patroni" in commands([part])]
    assert masked == ["stop the replicas", "stop sql1"]
    for part in stages[4:6]:
        done = commands([part])
        assert done.index("data.before-") < done.index("systemctl unmask patroni")
        assert done.index("systemctl unmask patroni") < done.index("now patroni")


def test_a_restore_without_room_is_refused_before_anything_stops(cluster, tmp_path):
    answers = Facts({**facts(cluster)._values, **of_the_repository(40 * 10**9)})
    step = restore.room(cluster, answers)
    assert "45024 MB" in step.title
    (tmp_path / "df").write_text("#!/bin/bash\necho Avail\necho ${FREE}\n")
    (tmp_path / "df").chmod(0o755)

    def passes(free: int) -> bool:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "FREE": str(free)}
        return not subprocess.run(["bash", "-c", step.test], env=environment).returncode

    assert passes(50_000)
    assert not passes(45_000)


def new_servers(cluster, **changes) -> Facts:
    """Three blank servers, and a repository."""
    values = {
        **of_the_repository(),
        ETCD: {name: Etcd(False, ()) for name in SQL},
        HAS_DATABASE: dict.fromkeys(SQL, False),
        HELD: dict.fromkeys(SQL, False),
        KEEPS: {"nfs2": True},
    }
    return Facts({**values, **changes})


def test_new_servers_get_everything_before_the_database(cluster):
    procedure = restore.restore(
        [], cluster, new_servers(cluster), to="latest", i_know=True, onto_new_servers=True
    )
    stages = [part.title for part in procedure if isinstance(part, Stage)]
    assert stages == [
        "install PostgreSQL, etcd and Patroni",
        "keys for the repository",
        "each server trusts the others",
        "keys for the database",
        "certificates for the database",
        "etcd begins",
        "Patroni's settings",
        "restore on sql1",
        "copy to the others",
        "complete sql1",
        "a new full backup",
    ]


def test_new_servers_are_asked_for_their_certificates_after_these_are_made(cluster):
    procedure = restore.restore(
        [], cluster, new_servers(cluster), to="latest", i_know=True, onto_new_servers=True
    )
    kinds = [part.title if isinstance(part, Stage) else type(part) for part in procedure]
    assert kinds.index("keys for the repository") + 1 == kinds.index(Asked)


def test_the_restored_cluster_keeps_its_identifier(cluster):
    procedure = restore.restore(
        [], cluster, new_servers(cluster), to="latest", i_know=True, onto_new_servers=True
    )
    [part] = [one for one in procedure if getattr(one, "title", "") == "restore on sql1"]
    done = commands([part])
    assert f" put /service/airflow-ha/initialize {SYSTEM}" in done
    assert done.index("restore") < done.index("initialize") < done.index("now patroni")


def test_servers_that_have_a_database_are_not_new(cluster):
    has = {HAS_DATABASE: {"sql1": False, "sql2": True, "sql3": False}}
    answers = Facts({**new_servers(cluster)._values, **has})
    with pytest.raises(RunbookError, match="sql2 has a database"):
        list(restore.restore([], cluster, answers, to="latest", i_know=True, onto_new_servers=True))


def test_no_empty_database_beside_the_backups_of_a_lost_one(cluster):
    host = cluster.hosts["sql1"]
    with pytest.raises(RunbookError, match=r"restore latest --onto-new-servers --i-know"):
        list(patroni.patroni(host, cluster, new_servers(cluster)))
    with pytest.raises(MissingFact, match="nfs2"):
        list(patroni.patroni(host, cluster, Facts({**new_servers(cluster)._values, KEEPS: {}})))
    for harmless in (
        {KEEPS: {"nfs2": False}},
        {HAS_DATABASE: {"sql1": False, "sql2": True, "sql3": False}},
    ):
        assert list(
            patroni.patroni(host, cluster, Facts({**new_servers(cluster)._values, **harmless}))
        )
