"""Minor updates of the database, its held versions, new passwords, and what Airflow needs of it."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from support.postgres_facts import SQL, etcd_facts, facts, member

from fabfile import CONTENTS
from fabfile.postgres import install, operate, patroni, rotate, upgrade, versions
from fabfile.postgres.common import SUPERUSER
from fabfile.postgres.etcd import ETCD, Etcd
from fabfile.postgres.versions import INSTALLED
from fabfile.shared.airflow import connections
from runbook.declare.facts import Facts
from runbook.declare.steps import version_held
from runbook.declare.work import Question, Stage
from runbook.errors import RunbookError, SettingsError, UsageError


def whole(cluster, **known) -> Facts:
    """All is well, unless said otherwise."""
    states = {name: Etcd(True, one.listed, True) for name, one in etcd_facts(cluster).items()}
    return facts(cluster, states, **known)


def stages(procedure) -> list[Stage]:
    return [part for part in procedure if isinstance(part, Stage)]


def commands(part: Stage) -> str:
    return "\n".join(step.apply for host in part.hosts for step in part.of(host))


# Versions


def test_installed_versions_are_read():
    text = "patroni 4.1.0-1PGDG.rhel8\npackage etcd is not installed\n"
    assert versions.parse(text) == {"patroni": "4.1.0-1PGDG.rhel8"}
    with pytest.raises(ValueError, match="reboot"):
        versions.parse("patroni $(reboot)\n")


def test_a_new_server_gets_the_versions_of_the_others(cluster):
    old = {"patroni": "4.0.9-1", "etcd": "3.5.1-1"}
    known = Facts({INSTALLED: {"sql1": old, "sql2": old, "sql3": {"etcd": "3.5.1-1"}}})
    steps = list(install.install(cluster.hosts["sql3"], cluster, known))
    [step] = [one for one in steps if one.title.startswith("installed as on the other servers")]
    assert step.apply == "dnf install -y patroni-4.0.9-1"
    assert any(one.title.startswith("held by dnf: postgresql15 ") for one in steps)
    own = list(install.install(cluster.hosts["sql1"], cluster, known))
    assert not any("as on the other servers" in one.title for one in own)


# Upgrades


def test_replicas_are_updated_first_and_the_leader_after_it_handed_over(cluster):
    done = [part.title for part in stages(upgrade.upgrade([], cluster, whole(cluster)))]
    assert [title for title in done if title.startswith(("update", "hand", "no backup"))] == [
        "no backup is running",
        "update sql3",
        "update sql2",
        "hand over from sql1",
        "update sql1",
    ]
    assert done[1] == "pgBackRest, on all servers at the same time"


def test_no_commit_waits_for_a_server_that_is_being_updated(cluster):
    parts = stages(upgrade.upgrade([], cluster, whole(cluster)))
    titles = [part.title for part in parts]
    place = titles.index("update sql2")
    before, after = parts[place - 1], parts[place + 1]
    assert "nosync: true" in commands(before)
    assert "nosync" not in commands(after)


def test_etcd_and_patroni_restart_only_if_they_run_an_older_version(cluster):
    [part] = [
        one
        for one in stages(upgrade.upgrade([], cluster, whole(cluster)))
        if one.title == "update sql3"
    ]
    found = {step.title: step for step in part.of(part.hosts[0])}
    etcd = found["etcd runs the installed version"]
    assert etcd.apply == "systemctl restart etcd"
    assert "program=etcd" in etcd.test
    assert "program=PostgreSQL" in found["Patroni and PostgreSQL run the installed version"].test


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"sql1": member("sql1"), "sql2": member("sql2")}, "sql3 is not healthy"),
        ({name: member(name, paused=True) for name in SQL}, "paused"),
    ],
)
def test_an_unhealthy_database_is_not_updated(cluster, known, words):
    with pytest.raises(RunbookError, match=words):
        stages(upgrade.upgrade([], cluster, whole(cluster, **known)))
    without = Facts({**whole(cluster)._values, ETCD: etcd_facts(cluster, down=["sql2"])})
    with pytest.raises(RunbookError, match="not healthy"):
        stages(upgrade.upgrade([], cluster, without))


# Passwords


def test_every_password_is_new_and_reaches_the_database_before_patroni(cluster):
    old = {name: cluster.secret(secret) for name, secret in rotate.WHAT.items()}
    parts = list(rotate.rotate([], cluster, whole(cluster)))
    assert isinstance(parts[0], Question)
    titles = [part.title for part in parts[1:]]
    assert titles[0] == "new passwords in the database"
    assert [title for title in titles if title.startswith("Patroni on")] == [
        f"Patroni on {name} uses them" for name in ("sql2", "sql3", "sql1")
    ]
    new = {name: cluster.secret(secret) for name, secret in rotate.WHAT.items()}
    assert not set(old.values()) & set(new.values())
    changes = commands(parts[1])
    assert all(new[name] in changes for name in ("superuser", "replication", "rewind"))
    assert all(password in commands(parts[2]) for password in new.values())


def test_one_password_can_be_chosen(cluster, monkeypatch):
    keeps = cluster.secret(SUPERUSER)
    parts = list(rotate.rotate([], cluster, whole(cluster), what="restapi"))
    assert "new passwords in the database" not in [getattr(one, "title", "") for one in parts]
    assert cluster.secret(SUPERUSER) == keeps
    with pytest.raises(UsageError, match="did you mean rewind"):
        list(rotate.rotate([], cluster, whole(cluster), what="rewnd"))
    monkeypatch.setenv("RUNBOOK_SECRET_PATRONI_RESTAPI", "fixed")
    with pytest.raises(SettingsError, match="overrides"):
        list(rotate.rotate([], cluster, whole(cluster), what="restapi"))


def test_passwords_do_not_change_while_a_member_is_away(cluster):
    known = {"sql1": member("sql1"), "sql2": member("sql2")}
    with pytest.raises(RunbookError, match="sql3 does not answer"):
        list(rotate.rotate([], cluster, whole(cluster, **known)))


# What Airflow needs


def shared(cluster) -> dict:
    return yaml.safe_load(patroni.shared(cluster))["postgresql"]["parameters"]


def test_connections_follow_from_what_airflow_opens(cluster, hosts_yaml):
    assert shared(cluster)["max_connections"] == 200
    more = CONTENTS.load(hosts_yaml("pool: 5 ", "pool: 20 "))
    assert connections(more) > connections(cluster)
    assert (
        shared(more)["max_connections"] == patroni.max_connections(more) >= connections(more) + 40
    )
    assert shared(more)["max_connections"] % 50 == 0
    fixed = CONTENTS.load(hosts_yaml("parameters: {} ", "parameters: {max_connections: 90} "))
    assert shared(fixed)["max_connections"] == 90


def test_statements_are_counted(cluster):
    assert shared(cluster)["shared_preload_libraries"] == "pg_stat_statements"


# The word of patronictl, and what dnf holds


def test_a_copy_that_patroni_refuses_is_not_reported_as_done(cluster, tmp_path):
    """patronictl says Failed, and exits with 0."""
    *_, part = operate.reinit([], cluster, facts(cluster), host="sql3")
    step = part.of(part.hosts[0])[0]
    program = tmp_path / "patronictl"
    program.write_text(
        "#!/bin/bash\necho 'Failed: reinitialize for member sql3, status code=503'\n"
    )
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.apply],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert done.returncode
    assert "status code=503" in done.stdout


def test_a_package_is_held_at_the_version_that_is_installed(tmp_path):
    *_, step = version_held("patroni", "etcd")
    rpm, locks = tmp_path / "rpm", tmp_path / "versionlock.list"
    rpm.write_text("#!/bin/bash\necho 'patroni-0:4.1.0-1.*'\necho 'etcd-0:3.5.1-2.*'\n")
    rpm.chmod(0o755)
    test = step.test.replace("/etc/dnf/plugins/versionlock.list", str(locks))

    def held(text: str) -> bool:
        locks.write_text(text)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return not subprocess.run(["bash", "-c", test], env=environment).returncode

    assert held("# added\npatroni-0:4.1.0-1.*\nother-0:1-1.*\netcd-0:3.5.1-2.*\n")
    assert not held("patroni-0:4.1.0-1.*\n")
    assert not held("patroni-0:4.0.7-1.*\netcd-0:3.5.1-2.*\n")
    assert "'%{NAME}-%|EPOCH?{%{EPOCH}}:{0}|:%{VERSION}-%{RELEASE}.*\\n'" in step.test
