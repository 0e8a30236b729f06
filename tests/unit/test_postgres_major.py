"""Another major version of PostgreSQL, and the way back: what is done, in order, and what is not.

The cluster runs PostgreSQL 15; hosts.yaml asks for 16, or, on the way back, for 15.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import replace

import pytest
from msgspec import structs
from support.postgres_facts import SQL, etcd_facts, facts, member

from fabfile.postgres import check, restore, transport, upgrade
from fabfile.postgres.common import MAJOR, refuse_another_major
from fabfile.postgres.etcd import Etcd
from fabfile.postgres.hold import HELD
from fabfile.postgres.major_record import (
    DIRECTORIES,
    RECORDED,
    Directory,
    Record,
    parse_directories,
    parse_record,
)
from fabfile.postgres.members import MEMBER
from fabfile.postgres.repository import BACKUPS, Backup, Repository
from fabfile.postgres.settings import Postgres
from fabfile.postgres.transport import TRANSPORT, Transport
from fabfile.shared.transport import Speaks
from fabfile.shared.versions import Versions
from runbook.declare.answers import Unexpected
from runbook.declare.facts import Facts
from runbook.declare.templates import script
from runbook.declare.work import Asked, Question, Stage
from runbook.errors import RunbookError, UsageError

DONE = Record("15", "16", "sql1", "20261129-120000", position="0/5000028")
RUNS = "in production"
STOPPED = {
    "sql1": {"15": Directory(7, "0/5000028", "shut down")},
    "sql2": {"15": Directory(7, "0/5000028", "shut down in recovery")},
    "sql3": {"15": Directory(7, "0/5000028", "shut down in recovery")},
}


def wanting(cluster, major: str, airflow: str = "2.9.0", **changes):
    versions = structs.replace(cluster[Versions], postgresql=major, airflow=airflow)
    return structs.replace(cluster, settings={**cluster.settings, "versions": versions, **changes})


@pytest.fixture
def later(cluster):
    """hosts.yaml asks for 16."""
    return wanting(cluster, "16")


def known(cluster, record: Record | None = None, held: bool = False, **changes) -> Facts:
    """All is well and PostgreSQL 15 runs; held: all servers are stopped for the upgrade."""
    states = {name: Etcd(True, one.listed, True) for name, one in etcd_facts(cluster).items()}
    values = facts(cluster, states)._values
    if held:
        silent = {name: member(name, leads="", primary=False) for name in SQL}
        values = {**values, MEMBER: silent}
    return Facts(
        {
            **values,
            MAJOR: dict.fromkeys(SQL, "15"),
            HELD: dict.fromkeys(SQL, held),
            RECORDED: dict.fromkeys(SQL, record),
            DIRECTORIES: STOPPED if held else {name: {} for name in SQL},
            BACKUPS: {"nfs2": Repository(1000, [Backup("F", "full", 500, 600, 3, False)])},
            **changes,
        }
    )


def parts(cluster, answers: Facts, **options) -> list:
    return list(upgrade.upgrade([], cluster, answers, major=True, **options))


def titles(cluster, answers: Facts, **options) -> list[str]:
    return [one.title for one in parts(cluster, answers, **options) if isinstance(one, Stage)]


def commands(stages: list) -> str:
    return "\n".join(
        f"{host.name}: {step.apply}"
        for part in stages
        if isinstance(part, Stage)
        for host in part.hosts
        for step in part.of(host)
    )


# What servers answer


def test_a_record_is_read():
    text = "none\nback sql2 20261129-130000\nplan 15 17 sql1 20261129-120000\n"
    text += "started yes\nstopped 0/5000028\n"
    assert parse_record(text) == Record(
        *("15", "17", "sql1", "20261129-120000"),
        position="0/5000028",
        started=True,
        back=("sql2", "20261129-130000"),
    )
    assert parse_record("none\n") is None


@pytest.mark.parametrize(
    "text",
    [
        "none\nplan 15 17 $(reboot) 20261129-120000\n",
        "none\nplan 15 ../.. sql1 20261129-120000\n",
        "none\nplan 15 17 sql1\n",
        "none\nplan 15 17 sql1 20261129-120000\nback sql2 ;reboot\n",
    ],
)
def test_a_record_that_cannot_be_one_is_not_believed(text):
    with pytest.raises((Unexpected, ValueError)):
        parse_record(text)


def test_data_directories_are_read():
    text = "directories\n15 7301234567890 0/5000028 shut down in recovery\n16 0 0/0 unusable\n"
    assert parse_directories(text) == {
        "15": Directory(7301234567890, "0/5000028", "shut down in recovery"),
        "16": Directory(0, "0/0", "unusable"),
    }
    with pytest.raises((Unexpected, ValueError)):
        parse_directories("directories\n15 7 0/0\n")


# How it speaks


def spoken_by_patroni(stages: list) -> dict[str, set[Transport]]:
    """How each server is told to speak, by all settings of Patroni that are written there."""
    found: dict[str, set[Transport]] = {}
    for part in stages:
        for host in part.hosts if isinstance(part, Stage) else ():
            for step in part.of(host):
                if step.title == "file /etc/patroni/patroni.yml":
                    found.setdefault(host.name, set()).add(read(step.text))
    return found


def read(text: str) -> Transport:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        command = transport.words("/dev/null", file.name)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    return transport.parse(done.stdout)


@pytest.mark.parametrize("speaks", Speaks)
def test_either_version_speaks_as_the_other_did(cluster, later, speaks):
    spoken = {TRANSPORT: dict.fromkeys(SQL, Transport(speaks, speaks, speaks))}
    as_before = {name: {Transport(None, speaks, speaks)} for name in SQL}
    there = parts(later, Facts({**known(later)._values, **spoken}))
    assert spoken_by_patroni(there) == as_before
    answers = Facts({**known(cluster, DONE, held=True)._values, **spoken})
    back = parts(cluster, answers, back=True)
    assert spoken_by_patroni(back) == as_before


def test_etcd_is_asked_as_it_speaks(later):
    """Which the server finds in etcd's settings."""
    told = commands(parts(later, known(later))).splitlines()
    [put] = [line for line in told if " put /service/" in line]
    assert "--cacert=" in put
    assert "--endpoints=https://127.0.0.1:2379" in put


# What forbids it


def test_another_command_names_this_one(later, cluster):
    with pytest.raises(RunbookError, match=r"To upgrade: fab postgres\.upgrade --major\."):
        refuse_another_major(later, known(later))
    with pytest.raises(RunbookError, match=r"To go back after an upgrade: .* --major --back"):
        refuse_another_major(cluster, Facts({MAJOR: {"sql1": "16"}}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({MEMBER: {"sql1": member("sql1"), "sql2": member("sql2")}}, "sql3 is not healthy"),
        ({MEMBER: {name: member(name, paused=True) for name in SQL}}, "paused"),
        ({MAJOR: {"sql1": "15", "sql2": "14"}}, "different versions of PostgreSQL: sql1 15"),
        ({MAJOR: dict.fromkeys(SQL, "")}, "There is no database yet"),
    ],
)
def test_a_database_that_is_not_well_is_not_upgraded(later, changes, words):
    answers = Facts({**known(later)._values, **changes})
    with pytest.raises(RunbookError, match=words):
        parts(later, answers)


def test_an_older_version_is_no_upgrade(cluster):
    with pytest.raises(RunbookError, match=r"does not become 14.*--major --back"):
        parts(wanting(cluster, "14"), known(cluster))


@pytest.mark.parametrize(("airflow", "major"), [("2.9.0", "17"), ("2.7.3", "16")])
def test_a_version_that_airflow_is_not_tested_with_needs_consent(cluster, airflow, major):
    wanted = wanting(cluster, major, airflow)
    with pytest.raises(UsageError, match=f"not with {major}.*--i-know"):
        parts(wanted, known(wanted))
    assert titles(wanted, known(wanted), i_know=True)


def test_without_a_backup_server_it_needs_consent(later):
    backup = structs.replace(later[Postgres].backup, host=None)
    alone = wanting(later, "16", postgres=structs.replace(later[Postgres], backup=backup))
    with pytest.raises(UsageError, match="no backup but a dump"):
        parts(alone, known(alone))
    done = titles(alone, known(alone), i_know=True)
    assert not any("repository knows" in title or "full backup" in title for title in done)


def test_clients_that_could_write_stop_it(later):
    [part] = [one for one in parts(later, known(later)) if "nobody writes" in str(one)]
    [step] = part.of(later.hosts["sql1"])
    assert step.guard
    assert "fab systemd.stop" in step.apply


# The upgrade


def test_idle_sessions_of_pgbouncer_are_no_clients(cluster):
    pooled = structs.replace(cluster[Postgres], pooler=True)
    later = wanting(cluster, "16", postgres=pooled)
    [part] = [one for one in parts(later, known(later)) if "nobody writes" in str(one)]
    first, second = part.of(cluster.hosts["sql1"])
    assert first.apply.endswith("reconnect; sleep 2; }")
    assert second.title == "no client is connected"


def test_everything_that_can_be_done_in_advance_comes_first(later):
    done = titles(later, known(later))
    assert done == [
        "repositories",
        "install PostgreSQL 16 beside 15",
        "can it be upgraded?",
        "nobody writes any more",
        "a dump",
        "no backup is running",
        "the last WAL reaches the archive",
        "note what is being done",
        "Patroni is paused",
        "Patroni stops",
        "stop PostgreSQL on sql1",
        "stop the replicas, which have all that it has",
        "note where they stopped",
        "pg_upgrade on sql1",
        "settings of pgBackRest",
        "etcd knows the new database",
        "from here on, sql1's old data is unusable",
        "sql1 leads with PostgreSQL 16",
        "the repository knows the new version",
        "statistics and extensions",
        "copy to the replicas",
        "the WAL that has waited reaches the archive",
        "a new full backup",
        "note that it is done",
    ]


def test_the_question_names_what_stays_and_where(later):
    [question] = [one.text for one in parts(later, known(later)) if isinstance(one, Question)]
    assert "PostgreSQL 15 becomes 16: first on sql1, in place, then sql2, sql3 copy it" in question
    assert "/var/lib/pgsql/before-16-" in question
    assert "the old data stays in /var/lib/pgsql/15/data" in question


def test_a_full_backup_is_made_if_there_is_no_recent_one(later):
    old = Repository(1_000_000, [Backup("F", "full", 500, 600, 3, False)])
    assert "a full backup" not in titles(later, known(later))
    answers = Facts({**known(later)._values, BACKUPS: {"nfs2": old}})
    assert "a full backup" in titles(later, answers)


def test_no_data_is_deleted_and_settings_are_the_new_ones(later):
    text = commands(parts(later, known(later)))
    removed = [line for line in text.splitlines() if "rm -" in line and "/data" in line]
    assert removed == []
    assert "bin_dir: /usr/pgsql-16/bin" in text
    assert "pg1-path=/var/lib/pgsql/16/data" in text
    assert "--old-bindir=" in text
    assert "--link" in text


def test_servers_that_stopped_at_different_positions_are_not_upgraded(later):
    behind = {**STOPPED, "sql3": {"15": Directory(7, "0/4000028", "shut down in recovery")}}
    answers = Facts({**known(later, replace(DONE, position=""), held=True)._values})
    answers._values[DIRECTORIES] = behind
    with pytest.raises(RunbookError, match=r"sql3 at 0/4000028.*--major --back"):
        parts(later, answers)


def test_positions_are_asked_for_after_the_stop(later):
    done = [one for one in parts(later, known(later)) if isinstance(one, (Asked, Stage))]
    [place] = [number for number, one in enumerate(done) if isinstance(one, Asked)]
    assert done[place - 1].title.startswith("stop the replicas")
    assert done[place].facts == (DIRECTORIES,)


# Reruns


def test_a_second_run_changes_nothing(later):
    record = replace(DONE, upgraded=True, started=True, finished=True)
    answers = Facts({**known(later, record)._values, MAJOR: dict.fromkeys(SQL, "16")})
    [part] = parts(later, answers)
    assert part.title == "PostgreSQL 16 runs"
    assert all(step.waits for host in part.hosts for step in part.of(host))


def test_before_anything_stopped_it_begins_anew(later):
    record = replace(DONE, position="", when="20200101-000000")
    everybody = {name: member(name, paused=True) for name in SQL}
    answers = Facts({**known(later, record)._values, MEMBER: everybody})
    done = titles(later, answers)
    assert done[0] == "repositories"
    assert "20200101" not in commands(parts(later, answers))


@pytest.mark.parametrize(
    ("record", "first"),
    [
        (replace(DONE, position=""), "note what is being done"),
        (DONE, "pg_upgrade on sql1"),
        (replace(DONE, upgraded=True), "pg_upgrade on sql1"),
        (replace(DONE, upgraded=True, started=True), "pg_upgrade on sql1"),
    ],
)
def test_an_interrupted_upgrade_goes_on(later, record, first):
    done = titles(later, known(later, record, held=True))
    assert done[0] == first
    assert done[-1] == "note that it is done"


def test_once_the_new_version_leads_the_rest_follows_whoever_leads(later):
    record = replace(DONE, upgraded=True, started=True)
    leads = {name: member(name, leads="sql2") for name in SQL}
    answers = Facts({**known(later, record)._values, MEMBER: leads})
    procedure = parts(later, answers)
    assert [one.title for one in procedure if isinstance(one, Stage)] == [
        "the repository knows the new version",
        "statistics and extensions",
        "copy to the replicas",
        "the WAL that has waited reaches the archive",
        "a new full backup",
        "note that it is done",
    ]
    [copies] = [one for one in procedure if getattr(one, "title", "") == "copy to the replicas"]
    assert [host.name for host in copies.hosts] == ["sql1", "sql3"]


def test_it_does_not_go_on_without_all_servers(later):
    answers = Facts({**known(later, DONE, held=True)._values, HELD: {"sql1": True, "sql2": True}})
    with pytest.raises(RunbookError, match="sql3 cannot be reached"):
        parts(later, answers)


def test_servers_that_know_of_different_upgrades_are_refused(later):
    records = {"sql1": DONE, "sql2": replace(DONE, leader="sql2")}
    answers = Facts({**known(later, held=True)._values, RECORDED: records})
    with pytest.raises(RunbookError, match="different upgrades"):
        parts(later, answers)


def test_a_server_that_led_then_and_is_gone_stops_only_what_is_unfinished(later):
    gone = replace(DONE, leader="sql9")
    with pytest.raises(RunbookError, match="sql9, which led"):
        parts(later, known(later, gone, held=True))
    done = replace(gone, old="14", new="15", upgraded=True, started=True, finished=True)
    assert titles(later, known(later, done))


def test_a_third_version_has_to_wait(cluster):
    wanted = wanting(cluster, "17")
    with pytest.raises(RunbookError, match=r'An upgrade to PostgreSQL 16 was interrupted.*to "15"'):
        parts(wanted, known(wanted, DONE, held=True), i_know=True)


def test_the_check_tells_of_an_upgrade_that_was_interrupted(cluster):
    def told(record: Record | None) -> list[str]:
        found = check.check_cluster(cluster, known(cluster, record))
        return [one.fix for one in found if one.title == "no major upgrade is unfinished"]

    done = replace(DONE, upgraded=True, started=True, finished=True)
    assert told(None) == told(done) == []
    [fix] = told(DONE)
    assert '"16": fab postgres.upgrade --major; to go back, with "15"' in fix
    assert told(replace(done, back=("sql2", "20261129-130000")))


# The way back


def test_before_the_new_version_starts_nothing_is_lost(cluster):
    answers = known(cluster, replace(DONE, upgraded=True), held=True)
    assert titles(cluster, answers, back=True) == [
        "note what is being done",
        "sql1's old data is usable again",
        "repositories",
        "settings of Patroni",
        "settings of pgBackRest",
        "etcd knows the old database",
        "sql1 leads",
        "the others follow",
        "forget the upgrade",
    ]
    text = commands(parts(cluster, answers, back=True))
    assert "bin_dir: /usr/pgsql-15/bin" in text
    assert "pg_control.old" in text
    assert ".unfinished-" in text


def test_the_upgrade_does_not_go_on_after_half_of_the_way_back(later):
    record = replace(DONE, upgraded=True, back=("sql1", DONE.when))
    with pytest.raises(RunbookError, match="The way back from PostgreSQL 16 was interrupted"):
        parts(later, known(later, record, held=True))


def test_a_server_that_still_leads_is_left_alone(cluster):
    answers = known(cluster, replace(DONE, position=""))
    done = titles(cluster, answers, back=True)
    assert "sql1 leads" not in done
    assert " del /service/" not in commands(parts(cluster, answers, back=True))


def test_afterwards_a_replica_leads_with_its_old_data(cluster):
    record = replace(DONE, upgraded=True, started=True, finished=True)
    answers = Facts({**known(cluster, record)._values, DIRECTORIES: STOPPED})
    with pytest.raises(UsageError, match=r"since PostgreSQL 16 started will be lost.*--i-know"):
        parts(cluster, answers, back=True)
    procedure = parts(cluster, answers, back=True, i_know=True)
    assert [one.title for one in procedure if isinstance(one, Stage)] == [
        "note what is being done",
        "stop all but sql1",
        "stop sql1",
        "the data of PostgreSQL 16 is put away",
        "repositories",
        "settings of Patroni",
        "settings of pgBackRest",
        "etcd knows the old database",
        "sql2 leads",
        "the repository knows the old version",
        "the others follow",
        "the WAL that has waited reaches the archive",
        "a new full backup",
        "forget the upgrade",
    ]
    moved = [line for line in commands(procedure).splitlines() if " mv -T " in line]
    assert len([line for line in moved if "/16/data " in line]) == 3
    assert [line for line in moved if "/15/data " in line and "sql1" in line] == moved[1:2]
    assert "rm -r" not in commands(procedure).replace("rm -rf /var/lib/airflow-runbook", "")


def test_a_way_back_that_was_interrupted_goes_on_with_the_same_server(cluster):
    record = replace(
        DONE, upgraded=True, started=True, finished=True, back=("sql3", "20261129-130000")
    )
    stopped = known(cluster, record, held=True)
    assert "sql3 leads" in titles(cluster, stopped, back=True, i_know=True)
    leads = {name: member(name, leads="sql3") for name in SQL}
    going = Facts({**known(cluster, record)._values, MEMBER: leads})
    assert titles(cluster, going, back=True, i_know=True)[:2] == [
        "the repository knows the old version",
        "the others follow",
    ]
    with pytest.raises(RunbookError, match="The way back from PostgreSQL 16 was interrupted"):
        parts(wanting(cluster, "16"), stopped)


@pytest.mark.parametrize(
    ("state", "checkpoint"), [(RUNS, "0/5000028"), ("shut down in recovery", "0/6000028")]
)
def test_data_that_has_changed_since_is_no_way_back(cluster, state, checkpoint):
    record = replace(DONE, upgraded=True, started=True, finished=True)
    changed = {**STOPPED}
    changed |= {name: {"15": Directory(7, checkpoint, state)} for name in ("sql2", "sql3")}
    answers = Facts({**known(cluster, record)._values, DIRECTORIES: changed})
    with pytest.raises(RunbookError, match=r"No replica has PostgreSQL 15's data.*before-16-"):
        parts(cluster, answers, back=True, i_know=True)


def test_the_way_back_needs_a_record_hosts_yaml_and_all_servers(cluster, later):
    with pytest.raises(RunbookError, match="nothing to undo"):
        parts(cluster, known(cluster), back=True)
    with pytest.raises(UsageError, match=r'Set versions\.postgresql to "15" first'):
        parts(later, known(later, DONE, held=True), back=True)
    away = Facts({**known(cluster, DONE, held=True)._values, HELD: {"sql1": True}})
    with pytest.raises(RunbookError, match="sql2, sql3 cannot be reached"):
        parts(cluster, away, back=True)
    with pytest.raises(UsageError, match="--major --back"):
        list(upgrade.upgrade([], cluster, known(cluster), back=True))


def test_the_word_of_one_server_moves_no_data(cluster):
    record = replace(DONE, upgraded=True, started=True)
    answers = Facts({**known(cluster)._values, RECORDED: {"sql1": record, "sql2": None}})
    with pytest.raises(RunbookError, match="Only 1 of 3 servers"):
        parts(cluster, answers, back=True, i_know=True)


# Restores


def backup(label: str, stop: int, major: str) -> Backup:
    return Backup(label, "full", stop - 10, stop, 3, False, 5, major)


def restoring(cluster, to: str) -> list:
    both = Repository(9_000_000_000, [backup("A", 1000, "15"), backup("B", 90_000, "16")])
    values = {**known(cluster)._values, BACKUPS: {"nfs2": both}}
    values[MAJOR] = dict.fromkeys(SQL, cluster[Versions].postgresql)
    return list(restore.restore([], cluster, Facts(values), to=to, i_know=True))


def test_a_moment_from_before_the_upgrade_is_refused(later, cluster):
    assert restoring(later, "latest")
    assert restoring(later, "1970-01-02 01:00:01+00")
    with pytest.raises(RunbookError, match=r"is of PostgreSQL 15, and 16 cannot use it.*--back"):
        restoring(later, "1970-01-02 00:59:59+00:00")
    assert restoring(cluster, "1970-01-02 01:00+01")
    with pytest.raises(RunbookError, match="No backup is older"):
        restoring(cluster, "1970-01-01 00:16:40+00")
    with pytest.raises(RunbookError, match="is of PostgreSQL 16"):
        restoring(cluster, "latest")


@pytest.mark.parametrize("to", ["2026-13-01 00:00+00", "2026-02-30 00:00:00+00", "yesterday"])
def test_a_moment_that_does_not_exist_is_refused(later, to):
    with pytest.raises(UsageError, match="is not a point in time"):
        restoring(later, to)


def test_the_version_of_a_backup_is_that_of_its_database():
    listed = {"label": "20261129-120546F", "type": "full", "timestamp": {"start": 1, "stop": 2}}
    listed |= {"info": {"repository": {"delta": 3}, "size": 4}, "database": {"id": 2}}
    own = [{"id": 1, "system-id": 7, "version": "15"}, {"id": 2, "system-id": 8, "version": "17"}]
    read = BACKUPS.parse("9\n" + json.dumps([{"backup": [listed], "db": own}]))
    assert [one.major for one in read.backups] == ["17"]
    assert read.system == 8


# The scripts, with programs that stand in


@pytest.fixture
def directories(tmp_path):
    """The old data directory as pg_upgrade leaves it, and the new one."""
    for name in ("15", "16"):
        (tmp_path / name / "data/global").mkdir(parents=True)
        (tmp_path / name / "data/PG_VERSION").write_text(f"{name}\n")
    (tmp_path / "15/data/global/pg_control.old").write_text("old\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("runuser", 'shift 3\nexec "$@"'), ("pg_ctl", "exit 3")):
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    return tmp_path


def test_the_old_data_is_usable_again(directories):
    programs = str(directories / "programs")
    undo = script(
        "postgres/major-undo.sh",
        **{"old": programs, "new": programs},
        **{"from": directories / "15/data", "to": directories / "16/data"},
    )
    for _ in range(2):
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", undo],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            check=True,
        )
    assert (directories / "15/data/global/pg_control").read_text() == "old\n"
    [aside] = (directories / "16").iterdir()
    assert aside.name.startswith("data.unfinished-")
    assert (aside / "PG_VERSION").read_text() == "16\n"
