"""Airflow's users, new secrets and other versions, as far as they need no server."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

import pytest
from support.postgres_facts import member

from fabfile import CONTENTS, systemd
from fabfile.airflow import (
    all_servers,
    common,
    configure,
    drain,
    install,
    installation,
    rotate,
    schema,
    upgrade,
    users,
)
from fabfile.airflow.common import FERNET, FERNET_NEXT, FERNET_OLD, FERNET_RETIRED, SCHEMA
from fabfile.airflow.installation import INSTALLATIONS, Installations
from fabfile.airflow.state import DATABASE, State
from fabfile.airflow.transport import Ways
from fabfile.nfs.common import NETWORK
from fabfile.postgres.members import MEMBER
from fabfile.rabbitmq.nodes import NODE, Node
from fabfile.shared.airflow import hosts
from fabfile.shared.copies import Copy
from fabfile.shared.keepalived import Place
from runbook.declare.facts import NOTHING_KNOWN, Facts
from runbook.declare.library import library
from runbook.declare.work import Question
from runbook.errors import MissingFact, RunbookError, SettingsError, UsageError
from runbook.secrets.mask import MASK, Mask

ALL = frozenset({"rabbit@mq1", "rabbit@mq2", "rabbit@mq3"})
KEPT = {secret.name: f"kept-{secret.name}-of-the-cluster" for secret in all_servers.PASSWORDS}


@pytest.fixture
def mask():
    return Mask()


@pytest.fixture
def kept(hosts_yaml, mask):
    """kept("2.7.3", airflow_fernet_next="…") -> a cluster that has its passwords."""

    def made(version: str = "2.9.0", **more: str):
        file = hosts_yaml("airflow: 2.9.0", f"airflow: {version}")
        secrets = file.with_name("secrets.yaml")
        everything = {**KEPT, "airflow_fernet": "k" * 43, "rabbitmq_admin": "adm", **more}
        secrets.write_text("".join(f"{name}: '{value}'\n" for name, value in everything.items()))
        secrets.chmod(0o600)
        return CONTENTS.load(file, mask=mask)

    return made


@pytest.fixture
def here(kept):
    return kept()


def facts(cluster, silent=(), version=None, schema=SCHEMA["2.7.3"], running=0, **more) -> Facts:
    made_from = version or installation.made_from(cluster)
    marks = {host.name: Copy(made_from, "1", "1") for host in hosts(cluster)}
    state = State(True, schema, {}, (), 0, running)
    return Facts(
        {
            install.VENV: {name: mark for name, mark in marks.items() if name not in silent},
            INSTALLATIONS: {name: Installations() for name in marks if name not in silent},
            DATABASE: {"sql1": state} if schema else {},
            MEMBER: {name: member(name) for name in ("sql1", "sql2", "sql3")},
            NODE: {f"mq{number}": Node(True, ALL) for number in (1, 2, 3)},
            NETWORK: {
                "ftp": Place("eth0", 24, frozenset(), frozenset({"192.168.83.220"}), {}),
                "nfs2": Place("eth0", 24, frozenset(), frozenset(), {}),
            },
            **more,
        }
    )


@dataclass
class Walked:
    """A procedure, walked through to its end without a server."""

    questions: list[str]
    stages: list[str]
    steps: list
    hosts: dict[str, tuple[str, ...]]

    def title(self, words: str) -> str:
        return next(title for title in self.stages if words in title)

    def before(self, *words: str) -> bool:
        """Stages with these words are there, in this order."""
        places = [self.stages.index(self.title(one)) for one in words]
        return places == sorted(places) and len(set(places)) == len(places)


def walk(procedure, look=lambda title: None) -> Walked:
    walked = Walked([], [], [], {})
    for part in procedure:
        if isinstance(part, Question):
            walked.questions.append(part.text)
            continue
        walked.stages.append(part.title)
        walked.hosts[part.title] = tuple(host.name for host in part.hosts)
        for host in part.hosts:
            walked.steps += part.of(host)
        look(part.title)
    return walked


def no_secret_is_shown(walked: Walked, cluster, mask) -> None:
    """No secret in a title or a question; where commands hold one, the mask knows it."""
    file = cluster.vault.file.read_text()
    secrets = set(re.findall(r": '?([^'\n]{20,})", file))
    secrets |= set(cluster.vault._new.values())
    assert len(secrets) >= len(KEPT)
    for text in (*walked.stages, *walked.questions, *(step.title for step in walked.steps)):
        assert not any(secret in text for secret in secrets)
    for step in walked.steps:
        assert not any(secret in mask(step.shown + step.diff) for secret in secrets)
        commands = re.sub(r"<<'EOF_*'\n.*?\nEOF_*", "", step.apply, flags=re.DOTALL)
        if "airflow-account" in commands or "rabbitmqctl" in commands:
            assert not any(secret in commands for secret in secrets)


def bash(test: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"{library()}\nPATH=$PATH_HERE\n{test}"],
        env={**os.environ, "PATH_HERE": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )


# Another version than the one that runs


@pytest.mark.parametrize(
    ("present", "refused"),
    [(None, False), ("/opt/airflow/2.9.0/bin:/usr/bin", False), ("/opt/airflow/2.7.3/bin", True)],
)
def test_a_server_of_another_version_gets_no_settings_of_this_one(
    here, tmp_path, monkeypatch, present, refused
):
    monkeypatch.setattr(common, "SETTINGS", str(tmp_path))
    if present:
        (tmp_path / "airflow.env").write_text(f"A=b\nPATH={present}\n")
    guard = common.same_version(here)
    assert bash(guard.test).returncode == (1 if refused else 0)
    if refused:
        said = bash(guard.apply).stdout
        assert "It is set up for Airflow 2.7.3, but hosts.yaml says 2.9.0." in said
        assert "fab airflow.install airflow.ship airflow.receive airflow.upgrade" in said


def test_the_guard_comes_before_any_change(here):
    host = here.hosts["worker1"]
    nothing = NOTHING_KNOWN
    for steps in (configure.configure(host, here, nothing), systemd.install(host, here, nothing)):
        first, *rest = steps
        assert first.guard
        assert first.title == "it is set up for Airflow 2.9.0, or not at all"
        guards = [step.guard for step in rest]
        assert guards == sorted(guards, reverse=True)


# Users


def with_users(cluster, *names: str) -> Facts:
    rows = [
        {"name": name, "roles": "Viewer", "active": True, "login": None}
        for name in ("admin", *names)
    ]
    told = [json.dumps({"leader": leader, "users": rows}) for leader in (False, True)]
    known = dict(zip(("sql1", "sql2"), (users.parse(one) for one in told)))
    return Facts({users.USERS: known})


def test_users_are_shown_as_the_leader_knows_them(here):
    rows = users.users(here, with_users(here, "jane"))
    assert rows[1] == {"user": "jane", "roles": "Viewer", "active": "yes", "last login": "never"}
    with pytest.raises(RunbookError, match="creates the first user"):
        users.users(here, Facts({users.USERS: {"sql1": None}}))


def test_a_new_users_password_is_made_up_and_on_no_command_line(here, mask):
    walked = walk(users.user_add([], here, with_users(here), name="jane", role="Op"))
    assert walked.hosts == {
        "jane is Op, with the password airflow_user_jane of secrets.yaml": ("airflow",)
    }
    *_, made = walked.steps
    assert made.apply.startswith(
        "/usr/libexec/airflow-runbook/as-airflow /usr/libexec/airflow-runbook/airflow-account "
        "jane Op <<'EOF'\n"
    )
    assert here.vault.keep() == ["airflow_user_jane"]
    assert MASK in mask(made.shown)
    no_secret_is_shown(walked, here, mask)


@pytest.mark.parametrize(
    ("name", "role", "words"),
    [
        ("Jane Doe", "Viewer", "Jane Doe is not a valid user name"),
        ("x; reboot", "Viewer", "is not a valid user name"),
        (
            "jane",
            "Veiwer",
            r"Veiwer is not a role \(did you mean Viewer\?\); available: Admin, Op, User",
        ),
        ("admin", "Viewer", "admin is the administrator in hosts.yaml and stays Admin"),
        ("john", "Viewer", "john exists already, with a password of its own"),
    ],
)
def test_a_user_who_cannot_be_is_refused(here, name, role, words):
    known = with_users(here, "john")
    with pytest.raises(UsageError, match=words):
        walk(users.user_add([], here, known, name=name, role=role))
    assert here.vault.keep() == []


def test_a_user_of_ours_gets_another_role(kept):
    cluster = kept(airflow_user_jane="the password of jane")
    known = with_users(cluster, "jane")
    *_, made = walk(users.user_add([], cluster, known, name="jane", role="Admin")).steps
    assert "jane Admin" in made.apply
    assert "the password of jane" in made.text


def test_a_removed_users_password_is_forgotten(kept):
    cluster = kept(airflow_user_jane="the password of jane")
    walked = walk(users.user_remove([], cluster, with_users(cluster, "jane"), name="jane"))
    assert walked.questions == ["jane (Viewer) can no longer use the web UI."]
    assert walked.steps[-1].apply == "/usr/local/bin/airflow users delete --username jane"
    cluster.vault.keep()
    assert "airflow_user_jane" not in cluster.vault.file.read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("admin", "admin is the administrator in hosts.yaml and cannot be removed"),
        ("jan", r"There is no user jan \(did you mean jane\?\); available: admin, jane"),
    ],
)
def test_who_stays_and_who_is_not_there(here, name, words):
    with pytest.raises(UsageError, match=words):
        walk(users.user_remove([], here, with_users(here, "jane"), name=name))


# New secrets


def rotated(cluster, mask, what="", known=None, look=lambda title: None) -> Walked:
    known = known or facts(cluster)
    walked = walk(rotate.secrets_rotate(hosts(cluster), cluster, known, what=what), look)
    no_secret_is_shown(walked, cluster, mask)
    return walked


def test_a_password_changes_when_nothing_runs(here, mask):
    before = here.secret(rotate.DATABASE_PASSWORD)
    walked = rotated(here, mask, "database")
    assert walked.stages == [
        "may it begin?",
        "stop: scheduler",
        "stop: DAG processor",
        "stop: triggerer",
        "stop: Celery worker",
        "stop: webserver",
        "stop: Flower",
        "a new password for the database",
        "every server gets it",
        "it opens the database",
        "start on airflow, ftp, worker1",
        "start on scheduler2, haproxy2, nfs2",
    ]
    assert walked.hosts["a new password for the database"] == ("sql1",)
    after = here.secret(rotate.DATABASE_PASSWORD)
    assert after != before
    [change] = [step for step in walked.steps if "password of role airflow" in step.title]
    assert after in change.text
    written = [step for step in walked.steps if step.title.endswith("airflow.cfg")]
    assert all(after in step.text and before not in step.text for step in written)
    assert "there is no web UI" in walked.questions[0]


def test_a_cut_off_change_of_the_password_can_be_repeated(here, mask):
    """The password that servers have may be wrong by then: it is not asked for."""
    walked = rotated(here, mask, "database")
    asked = [step.title for step in walked.steps].index("the database answers")
    written = [step.title for step in walked.steps].index("file /etc/airflow/airflow.cfg")
    assert asked > written


def test_the_broker_gets_its_password_on_a_node_that_runs(here, mask):
    known = facts(here)
    known.known(NODE)["mq1"] = Node(False, ALL)
    walked = rotated(here, mask, "broker", known)
    assert walked.hosts["a new password for the broker"] == ("mq2",)
    assert walked.before("stop: Flower", "for the broker", "every server gets it", "start on")


def test_both_passwords_change_in_one_pause_and_then_the_key(here, mask):
    walked = rotated(here, mask)
    assert len([title for title in walked.stages if title == "stop: scheduler"]) == 1
    assert walked.before(
        "stop: Flower", "for the database", "for the broker", "every server gets it", "read the new"
    )
    assert "its database and its broker" in walked.questions[0]
    assert len(walked.questions) == 2


def key_line(cluster) -> str:
    text = next(
        step.text
        for step in configure.settings(cluster, Ways(), "2.9.0-0123abcd")
        if step.title.endswith("airflow.cfg")
    )
    return next(line for line in text.splitlines() if line.startswith("fernet_key = "))


def test_every_server_reads_the_new_key_before_one_writes_with_it(here, mask):
    old = "k" * 43 + "="
    lines: dict[str, str] = {}
    in_file: dict[str, dict[str, str]] = {}

    def look(title: str) -> None:
        lines.setdefault(title, key_line(here).partition(" = ")[2])
        here.vault.keep()
        in_file[title] = dict(re.findall(r"^(airflow_fernet\w*): '?([^'\n]*)", read(here), re.M))

    walked = rotated(here, mask, "fernet", look=look)
    new = here.secret(FERNET) + "="
    assert new != old
    assert lines["every server can read the new key"] == f"{old},{new}"
    assert lines["every server writes with the new key"] == f"{new},{old}"
    assert lines["encrypt connections and variables with the new key"] == f"{new},{old}"
    assert lines["no server has the old key"] == new
    assert walked.before("read the new", "writes with", "encrypt connections", "no server has")
    assert walked.hosts["encrypt connections and variables with the new key"] == ("airflow",)
    assert len([title for title in walked.stages if title.startswith("restart on")]) == 6
    assert not any(title.startswith("stop") for title in walked.stages)
    for title, kept in in_file.items():
        assert (old[:-1] in kept.values()) or title == "may it begin?", title
        assert all(key.strip("=") in kept.values() for key in lines[title].split(",")), title
    assert in_file["no server has the old key"] == {
        FERNET.name: new[:-1],
        FERNET_RETIRED.name: old[:-1],
    }


def read(cluster) -> str:
    return cluster.vault.file.read_text()


def test_a_rotation_that_was_cut_off_goes_on_with_the_same_key(kept, mask):
    cluster = kept(airflow_fernet_next="n" * 43)
    walked = rotated(cluster, mask, "fernet")
    assert "every server can read the new key" in walked.stages
    assert cluster.secret(FERNET) == "n" * 43


def test_one_that_got_further_goes_on_from_there(kept, mask):
    cluster = kept(airflow_fernet_old="o" * 43)
    walked = rotated(cluster, mask, "fernet")
    assert "every server can read the new key" not in walked.stages
    assert cluster.secret(FERNET) == "k" * 43
    assert not cluster.vault.knows(FERNET_OLD)
    assert cluster.secret(FERNET_RETIRED) == "o" * 43


@pytest.mark.parametrize(
    ("more", "keys"),
    [
        ({}, "k"),
        ({FERNET_NEXT.name: "n" * 43}, "kn"),
        ({FERNET_OLD.name: "o" * 43}, "ko"),
        ({FERNET_RETIRED.name: "r" * 43}, "k"),
    ],
)
def test_settings_follow_how_far_the_rotation_is(kept, more, keys):
    assert configure.fernet(kept(**more)) == ",".join(key * 43 + "=" for key in keys)


@pytest.mark.parametrize(
    ("what", "silent", "error", "words"),
    [
        ("databse", (), UsageError, r"databse cannot be rotated \(did you mean database\?\)"),
        ("", ("worker1",), RunbookError, "worker1 does not answer and would miss the change"),
    ],
)
def test_a_rotation_that_cannot_end_well_does_not_begin(here, mask, what, silent, error, words):
    with pytest.raises(error, match=words):
        rotated(here, mask, what, facts(here, silent))


def test_a_rotation_is_for_all_servers_or_for_none(here):
    some = [here.hosts["worker1"]]
    with pytest.raises(UsageError, match="must run on all Airflow servers, but -H leaves"):
        walk(rotate.secrets_rotate(some, here, facts(here)))


def test_without_the_clusters_secrets_no_server_gets_new_settings(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml())
    with pytest.raises(RunbookError, match=r"does not have airflow_fernet, .*Copy that file here"):
        walk(rotate.secrets_rotate(hosts(cluster), cluster, facts(cluster)))
    assert not cluster.vault.file.exists()


def test_a_secret_of_the_environment_is_not_rotated(here, mask, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_AIRFLOW_FERNET", "e" * 43)
    with pytest.raises(SettingsError, match="RUNBOOK_SECRET_AIRFLOW_FERNET is set"):
        rotated(here, mask)


# Another version


def upgraded(cluster, known=None, mask=None, **options) -> Walked:
    known = known or facts(cluster)
    walked = walk(upgrade.upgrade(hosts(cluster), cluster, known, **options))
    if mask:
        no_secret_is_shown(walked, cluster, mask)
    return walked


SETTLED = [
    "queues of the type that it can use",
    "start on airflow, ftp, nfs2, worker1",
    "the DAG smoke runs",
    "start on scheduler2, haproxy2",
    "to go back: versions.airflow: 2.7.3 in hosts.yaml, then airflow.upgrade "
    "(dumps: /var/lib/pgsql/airflow-dumps)",
]


def test_the_order_of_an_upgrade(here, mask):
    walked = upgraded(here, facts(here, running=3), mask, to="2.9.0")
    assert walked.stages == [
        "may it begin?",
        "no task waits for ever",
        "room for a dump on sql1",
        "stop: scheduler",
        "stop: DAG processor",
        "tasks in the queue end",
        "tasks end",
        "stop: triggerer",
        "stop: Celery worker",
        "stop: webserver",
        "stop: Flower",
        "all of Airflow stands still",
        "dump the database to /var/lib/pgsql/airflow-dumps",
        "the schema becomes that of 2.9.0",
        "every server gets settings and units of 2.9.0",
        *SETTLED,
    ]
    [question] = walked.questions
    assert question.startswith("Airflow changes from 2.7.3 to 2.9.0. No task begins until")
    assert "Running tasks (3) and deferred ones" in question
    text = "\n".join(step.apply for step in walked.steps)
    assert f"/opt/airflow/{installation.wanted(here)}/bin/airflow db migrate" in text
    assert "db check-migrations -t 60" in text
    assert "db downgrade" not in text
    assert walked.hosts["the schema becomes that of 2.9.0"] == ("airflow",)
    assert walked.hosts["every server gets settings and units of 2.9.0"] == tuple(
        host.name for host in hosts(here)
    )


def test_the_way_back_is_gone_by_the_newer_binaries(kept, mask):
    cluster = kept("2.7.3")
    newer = "2.9.0-0123abcd"
    there = {"2.9.0": 1, newer: 2, "2.7.3-0123abcd": 3}
    known = {"airflow": Installations(newer, "2.9.0", there)}
    every = {host.name: Installations() for host in hosts(cluster)}
    more = {INSTALLATIONS: {**every, **known}}
    walked = walk(
        upgrade.upgrade(
            hosts(cluster),
            cluster,
            Facts({**facts(cluster, schema=SCHEMA["2.9.0"])._values, **more}),
        )
    )
    no_secret_is_shown(walked, cluster, mask)
    [change] = [step for step in walked.steps if step.title == "the schema of Airflow 2.7.3"]
    assert change.apply == (
        f"/usr/libexec/airflow-runbook/as-airflow /opt/airflow/{newer}/bin/airflow db downgrade "
        "--to-version 2.7.3 --yes"
    )
    assert walked.before("the schema becomes", "settings and units", "queues", "DAGs as", "start")
    titles = [step.title for step in walked.steps]
    assert f"/opt/airflow/{newer}/bin/airflow is there" in titles
    assert "queues are mirrored to a second node" in titles
    assert "queues of tasks are classic queues" in titles


def test_what_was_cut_off_after_the_schema_is_completed_and_stops_nothing(here, mask):
    walked = upgraded(here, facts(here, schema=SCHEMA["2.9.0"]), mask)
    assert walked.stages == ["every server gets settings and units of 2.9.0", *SETTLED]
    assert walked.questions[0].startswith("The schema is already that of Airflow 2.9.0")


def test_a_migration_that_stopped_half_way_goes_on(here):
    walked = upgraded(here, facts(here, schema="88344c1d9134"))
    assert "the schema becomes that of 2.9.0" in walked.stages


def test_settings_of_the_wanted_version_are_not_refused_by_their_own_guard(here):
    walked = upgraded(here, facts(here, schema=SCHEMA["2.9.0"]))
    assert not any("or not at all" in step.title for step in walked.steps)


@pytest.mark.parametrize(
    ("known", "options", "error", "words"),
    [
        ({}, {"to": "2.7.3"}, UsageError, "says versions.airflow: 2.9.0; set it to 2.7.3 there"),
        (
            {"version": "none"},
            {},
            RunbookError,
            "airflow, .*First run: fab airflow.install airflow.ship airflow.receive",
        ),
        ({"silent": ("nfs2",)}, {}, RunbookError, "nfs2 does not answer"),
        ({"schema": None}, {}, RunbookError, "fab airflow.database creates the schema"),
        ({"schema": "bff083ad727d"}, {}, RunbookError, "to neither Airflow 2.9.0 nor 2.7.3"),
    ],
)
def test_an_upgrade_that_cannot_end_well_does_not_begin(here, known, options, error, words):
    with pytest.raises(error, match=words):
        upgraded(here, facts(here, **known), **options)


def test_without_a_leader_nothing_stops(here):
    known = facts(here)
    known.known(MEMBER).clear()
    with pytest.raises(MissingFact, match="no server leads"):
        upgraded(here, known)


def test_one_of_each_part_starts_first(hosts_yaml):
    """A webserver of its own, and the share on whichever server holds it."""
    cluster = CONTENTS.load(
        hosts_yaml("triggerer, webserver, flower, haproxy]}", "triggerer, haproxy]}")
    )
    names = [host.name for host in upgrade.one_of_each(cluster)]
    assert names == ["airflow", "haproxy2", "ftp", "nfs2", "worker1"]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """stand_in("rabbitmqctl", "echo …") -> a program of that name, first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(name: str, text: str) -> None:
        file = tmp_path / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("listed", "fine"),
    [
        ("printf 'default\\tquorum\\t5\\ngpu\\tquorum\\t0\\n'", True),
        ("printf 'celery@worker1.celery.pidbox\\tclassic\\t0\\n'", True),
        ("printf 'celeryev.0f\\tclassic\\t0\\ncelery_delayed_3\\tclassic\\t0\\n'", True),
        ("printf 'a b\\tclassic\\t0\\n--all\\tclassic\\t0\\n'", True),
        ("printf 'default\\tclassic\\t0\\n'", False),
        ("printf 'default\\tquorum\\t0\\ngpu\\tclassic\\t0\\n'", False),
        ("exit 1", False),
    ],
)
def test_a_queue_of_the_other_type_is_seen(here, stand_in, listed, fine):
    """Celery's own queues, and names that nobody should type, are none of it."""
    stand_in("rabbitmqctl", listed)
    assert (bash(drain.queues_of_their_type(here).test).returncode == 0) == fine


@pytest.mark.parametrize(("messages", "code"), [(0, 0), (3, 1)])
def test_only_empty_queues_are_deleted(here, stand_in, tmp_path, messages, code):
    done = tmp_path / "deleted"
    listed = f"gpu\\tclassic\\t0\\ndefault\\tclassic\\t{messages}\\n"
    stand_in(
        "rabbitmqctl",
        f"case $* in *list_queues*) printf '{listed}' ;; *delete_queue*) echo $* >>{done} ;; esac",
    )
    step = drain.queues_of_their_type(here)
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.apply], capture_output=True, text=True
    )
    assert ended.returncode == code
    deleted = done.read_text()
    assert "delete_queue -p airflow gpu\n" in deleted
    assert ("delete_queue -p airflow default\n" in deleted) == (code == 0)
    if code:
        assert "The queue default is a classic queue, and holds messages: 3." in ended.stdout
        assert "rabbitmqctl purge_queue -p airflow default" in ended.stdout


@pytest.mark.parametrize(
    ("listed", "waits"),
    [
        ("gpu\\t0\\ndefault\\t0\\ncelery@worker1.celery.pidbox\\t1\\n", ""),
        ("gpu\\t2\\ndefault\\t0\\n", "gpu\t2\n"),
    ],
)
def test_every_queue_has_to_be_empty(here, stand_in, listed, waits):
    stand_in("rabbitmqctl", f"printf '{listed}'")
    step = drain.queues_are_empty(0)
    assert (bash(step.test).returncode == 0) == (not waits)
    assert waits in bash(step.apply).stdout


@pytest.mark.parametrize(
    ("listed", "stuck"),
    [
        ("default\\t4\\t0\\n", ""),  # its worker is down, and comes back
        ("gpux\\t0\\t0\\n", ""),
        ("gpux\\t4\\t1\\n", ""),  # a worker that hosts.yaml does not know
        ("gpux\\t4\\t0\\n", "gpux\t4\t0\n"),
    ],
)
def test_tasks_without_a_worker_are_told_before_anything_stops(here, stand_in, listed, stuck):
    stand_in("rabbitmqctl", f"printf '{listed}'")
    step = drain.nothing_waits_for_ever(here)
    assert step.guard
    assert (bash(step.test).returncode == 0) == (not stuck)
    assert stuck in bash(step.apply).stdout


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ("case $* in *trigger*) echo 0 ;; esac", 0, ""),
        ("case $* in *trigger*) echo 1 ;; esac", 1, "or their triggers, are not done"),
        ("case $* in *trigger*) echo 0 ;; *) echo 'etl load: running' ;; esac", 1, "etl load"),
        ("exit 2", 1, ""),
    ],
)
def test_tasks_that_do_not_end_stop_the_upgrade(stand_in, answers, code, words):
    stand_in("runuser", answers)
    step = drain.no_task_runs(1)
    assert step.waits
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.apply], capture_output=True, text=True
    )
    assert (ended.returncode != 0) == bool(code)
    assert words in ended.stdout
    if words:
        assert "To let everything continue as before until then: fab systemd.start" in ended.stdout


def test_a_dump_is_complete_or_not_there_and_nobody_elses(here, stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "DUMPS", str(tmp_path / "dumps"))
    others = '*pg_restore*) ;; *) shift 3; "$@" ;;'
    stand_in("runuser", f'case $* in *pg_dump*) echo dump >"${{@: -1}}" ;; {others} esac')
    apply = schema.dumped(here).apply
    assert subprocess.run(["bash", "-c", apply]).returncode == 0
    [dump] = (tmp_path / "dumps").iterdir()
    assert re.fullmatch(r"before-2\.9\.0-\d{8}-\d{6}\.dump", dump.name)
    assert dump.stat().st_mode & 0o777 == 0o600
    dump.unlink()
    stand_in("runuser", f'case $* in *pg_dump*) echo part >"${{@: -1}}"; exit 1 ;; {others} esac')
    assert subprocess.run(["bash", "-c", apply]).returncode == 1
    assert list((tmp_path / "dumps").iterdir()) == []


@pytest.mark.parametrize(("megabytes", "refused"), [(1, False), (10**9, True)])
def test_a_disk_too_small_for_the_dump_is_told(stand_in, tmp_path, monkeypatch, megabytes, refused):
    monkeypatch.setattr(schema, "DUMPS", str(tmp_path / "dumps"))
    stand_in("runuser", f"echo {megabytes}")
    step = schema.room()
    assert (bash(step.test).returncode != 0) == refused
    assert f"The dump may take {megabytes} MB there" in bash(step.apply).stdout
