"""PgBouncer: what is set up, who may reach it, and what its checks say."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from support.all_steps import answered, steps_of
from support.postgres_facts import SQL, facts

from fabfile import CONTENTS
from fabfile.airflow import configure
from fabfile.airflow.transport import Ways
from fabfile.haproxy import proxy
from fabfile.postgres import check, patroni, pooler, pools, upgrade, versions
from fabfile.postgres.pools import POOLER, Pool, Pooler
from fabfile.postgres.status import line
from fabfile.shared.airflow import connections, transactions
from fabfile.shared.transport import Speaks
from runbook.declare.facts import Facts
from runbook.errors import InventoryError
from runbook.inventory.access import access, accesses

OFF, ON = "pooler: false ", "pooler: true "

SHOWN = """active
database,user,cl_active,cl_waiting,sv_active,sv_idle,maxwait,pool_mode
airflow,airflow,41,2,3,0,7,transaction
airflow,pgbouncer,0,0,0,1,0,transaction
pgbouncer,pgbouncer,1,0,0,0,0,statement
"""


@pytest.fixture
def pooled(hosts_yaml):
    """The cluster as it is shipped, with PgBouncer."""
    return CONTENTS.load(hosts_yaml(OFF, ON))


def step(steps, title: str):
    [found] = [one for one in steps if one.title == title]
    return found


def told(cluster, **servers: Pooler) -> dict[str, tuple[str, str]]:
    """What the check says if these servers report this about PgBouncer, and the others are well."""
    known = {name: Pooler(True, Pool(9, 1, 0, 0)) for name in SQL} | servers
    found = check.check_cluster(cluster, Facts({**facts(cluster)._values, POOLER: known}))
    return {one.title: (one.verdict.level, one.verdict.sentence) for one in found}


# Settings


def test_pgbouncer_gets_a_pool_of_airflows_size(pooled):
    every, known = answered(pooled)
    ini = step(
        pooler.pooler(every.hosts["sql2"], every, known), "file /etc/pgbouncer/pgbouncer.ini"
    )
    assert f"dbname=airflow pool_size={transactions(every)} auth_user=pgbouncer" in ini.text
    assert "pool_mode = transaction" in ini.text
    assert 20 < transactions(every) < connections(every) / 2


def test_a_larger_cluster_has_a_larger_pool(hosts_yaml, pooled):
    more = CONTENTS.load(hosts_yaml("concurrency: null ", "concurrency: 500 "))
    assert transactions(more) >= transactions(pooled) + 490


def test_the_size_of_hosts_yaml_wins(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml(OFF, "pooler: true\n  pool_size: 77 "))
    assert pools.size(cluster) == 77


def test_max_connections_follows_the_pool(hosts_yaml):
    def allowed(pooler: str) -> int:
        cluster = CONTENTS.load(hosts_yaml(OFF, pooler))
        shared = yaml.safe_load(patroni.shared(cluster))
        return shared["postgresql"]["parameters"]["max_connections"]

    assert allowed(ON) == 200
    assert allowed("pooler: true\n  pool_size: 500 ") == 550


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (OFF, "pool_size: 50 ", "is for pooler: true only"),
        (OFF, "pooler: true\n  pool_size: 2 ", "at least 5"),
    ],
)
def test_a_wrong_setting_is_named(hosts_yaml, old, new, complaint):
    with pytest.raises(InventoryError, match=complaint):
        CONTENTS.load(hosts_yaml(old, new))


def test_airflow_has_to_come_through_haproxy(hosts_yaml):
    file = hosts_yaml(OFF, ON)
    file.write_text(file.read_text().replace("database: vip", "database: hosts"))
    with pytest.raises(InventoryError, match="through HAProxy only"):
        CONTENTS.load(file)


# What is set up


def test_only_the_proxies_reach_pgbouncer(pooled, cluster):
    there = access(pooled.hosts["sql1"], "6432/tcp", pooled)
    callers = {name for name, host in pooled.hosts.items() if there.admits(host.address)}
    assert callers == {"airflow", "haproxy2"}
    assert "6432/tcp" not in {one.number for one in accesses(cluster.hosts["sql1"], cluster)}
    every, known = answered(pooled)
    hba = step(pooler.pooler(every.hosts["sql1"], every, known), "file /etc/pgbouncer/pg_hba.conf")
    console, *lines = [one for one in hba.text.splitlines() if not one.startswith("#")]
    assert console == "local pgbouncer postgres peer"
    assert lines == [
        f"hostssl airflow airflow {every.hosts[name].address}/32 scram-sha-256"
        for name in ("airflow", "haproxy2")
    ]


def test_no_password_is_in_what_pgbouncer_gets(pooled):
    every, known = answered(pooled)
    texts = "\n".join(
        f"{one.apply}\n{one.test}\n{one.text}" for one in steps_of(the_task(), every, known)
    )
    for section in CONTENTS.sections:
        for secret in section.secrets:
            assert not every.vault.knows(secret) or every.secret(secret) not in texts


def the_task():
    [task] = [one for one in CONTENTS.section("postgres").work if one.name == "postgres.pooler"]
    return task


def test_only_the_leader_is_taught_to_look_up_logins(pooled):
    every, known = answered(pooled)
    title = "PgBouncer can look up the verifier of role airflow"
    on = [
        name
        for name in SQL
        if title in {one.title for one in pooler.pooler(every.hosts[name], every, known)}
    ]
    assert on == ["sql1"]


def test_its_version_is_that_of_the_others_and_is_updated_with_them(pooled, cluster):
    assert "pgbouncer" in versions.packages(pooled)
    assert "pgbouncer" not in versions.packages(cluster)
    titles = [
        one.title for one in upgrade.brought_up(pooled.hosts["sql1"], pooled, synchronous=False)
    ]
    assert titles[-1] == "PgBouncer runs the installed version"


def test_without_the_setting_pgbouncer_goes_when_nobody_uses_it(cluster):
    [off] = pooler.pooler(cluster.hosts["sql1"], cluster, Facts())
    assert "disable --now pgbouncer.service" in off.apply
    assert "show clients" in off.test


@pytest.mark.parametrize(
    ("role", "ends"),
    [("replica", True), ("demoted", True), ("primary", False), ("master", False)],
)
def test_a_server_that_leads_no_more_ends_its_clients(pooled, cluster, tmp_path, role, ends):
    fake = tmp_path / "psql"
    fake.write_text('#!/bin/bash\necho "$@"\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", "files/postgres/pgbouncer/role-changed", "on_role_change", role, "airflow-ha"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("kill airflow" in done.stdout) is ends
    callback = "on_role_change: /usr/libexec/postgres-ha/pgbouncer-role-changed"
    every, known = answered(pooled)
    assert callback in str(patroni.present(every.hosts["sql1"], every, known).text)
    plain, known = answered(cluster)
    assert "callbacks" not in str(patroni.present(plain.hosts["sql1"], plain, known).text)


# HAProxy and Airflow


def test_haproxy_leads_to_pgbouncer_and_still_asks_patroni(pooled, cluster):
    every, known = answered(pooled)
    steps = list(proxy.configure(every.hosts["airflow"], every, known))
    text = step(steps, "file /etc/haproxy/haproxy.cfg").text
    for name in SQL:
        assert text.count(f"server {name} {every.hosts[name].address}:6432 verifyhost {name}") == 2
    assert ":5432" not in text
    assert text.count("check port 8008") == 2


@pytest.mark.parametrize(
    ("listening", "led_to", "goes_on"),
    [
        ({5432}, 5432, False),
        ({5432, 6432}, 5432, True),
        (set(), 5432, True),
        ({5432}, 6432, True),
        ({5432}, None, True),
    ],
    ids=["no pgbouncer yet", "both", "the server is away", "it led there before", "it is new"],
)
def test_haproxy_is_not_led_to_a_pgbouncer_that_is_not_there(
    pooled, tmp_path, listening, led_to, goes_on
):
    config = tmp_path / "haproxy.cfg"
    if led_to:
        config.write_text(f"    server sql1 10.0.0.1:{led_to}\n")
    guard = proxy.poolers_answer(pooled)
    fake = tmp_path / "timeout"
    ports = "|".join(f"*/{port}" for port in listening) or "none"
    fake.write_text(f'#!/bin/bash\ncase "$4" in ({ports}) ;; (*) exit 1 ;; esac\n')
    fake.chmod(0o755)
    script = f"PATH={tmp_path}:$PATH\n"
    script += guard.test.replace("/etc/haproxy/haproxy.cfg", str(config))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode == 0) is goes_on, done.stderr
    if not goes_on:
        said = subprocess.run(
            ["bash", "-c", f"PATH={tmp_path}:$PATH\n{guard.apply}"], capture_output=True, text=True
        )
        assert said.stdout.startswith("sql1\nsql2\nsql3\nPgBouncer does not answer there.")


def test_migrations_go_past_pgbouncer(pooled, cluster):
    every, _ = answered(pooled)
    steps = list(configure.settings(every, Ways(*[Speaks.TLS] * 3), "2.9.0"))
    direct = step(steps, "file /etc/airflow/direct.env")
    assert "host=192.168.83.148:5432&host=192.168.83.147:5432&" in direct.text
    assert "target_session_attrs=read-write" in direct.text
    assert "&sslmode=verify-full&sslrootcert=" in direct.text
    assert "192.168.83.210:5000" in step(steps, "file /etc/airflow/airflow.cfg").text
    assert "6432" not in direct.text
    there = access(every.hosts["sql1"], "5432/tcp", every)
    assert there.admits(every.hosts["scheduler2"].address)
    plain, _ = answered(cluster)
    titles = [one.title for one in configure.settings(plain, Ways(), "2.9.0")]
    assert "/etc/airflow/direct.env is not there" in titles


def test_only_airflow_db_goes_past_pgbouncer(tmp_path):
    fake = tmp_path / "systemd-run"
    fake.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)

    def run(*words: str) -> str:
        return subprocess.run(
            ["bash", "files/airflow/as-airflow", *words],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    direct = "EnvironmentFile=-/etc/airflow/direct.env"
    assert direct in run("airflow", "db", "migrate")
    assert direct in run("/opt/airflow/2.9.0/bin/airflow", "db", "downgrade")
    assert direct not in run("airflow", "dags", "list")
    assert direct not in run("airflow")
    assert direct not in run("/usr/libexec/airflow-runbook/airflow-sql", "db")


# The check


def test_pools_are_read():
    assert pools.parse(SHOWN) == Pooler(True, Pool(41, 3, 2, 7))
    assert pools.parse(SHOWN.replace("airflow,airflow,41", "postgres,postgres,1")) == Pooler(
        True, Pool(0, 0, 0, 0)
    )
    assert pools.parse("active\n") == Pooler(True)
    assert pools.parse("inactive\n") == Pooler(False)
    with pytest.raises(ValueError, match="many"):
        pools.parse(SHOWN.replace("41", "many"))


def test_a_pooler_that_works_is_well(pooled):
    said = told(pooled)
    assert said["PgBouncer on sql1 answers"] == ("ok", "")
    assert said["the pool of sql1 has connections left"] == ("ok", "")


@pytest.mark.parametrize(
    ("pooler", "title", "verdict"),
    [
        (Pooler(False), "PgBouncer on sql2 answers", ("error", "it does not run")),
        (Pooler(True), "PgBouncer on sql2 answers", ("error", "it does not answer")),
        (
            Pooler(True, Pool(30, 20, 4, 6)),
            "the pool of sql2 has connections left",
            ("warn", "4 wait, the first for 6 s"),
        ),
        (
            Pooler(True, Pool(30, 20, 4, 45)),
            "the pool of sql2 has connections left",
            ("error", "4 wait, the first for 45 s"),
        ),
        (
            Pooler(True, Pool(30, 20, 4, 1)),
            "the pool of sql2 has connections left",
            ("ok", ""),
        ),
    ],
)
def test_what_is_wrong_with_a_pooler_is_said(pooled, pooler, title, verdict):
    assert told(pooled, sql2=pooler)[title] == verdict


def test_a_pooler_that_nobody_asked_for_is_named(cluster):
    said = told(cluster, sql2=Pooler(False), sql3=Pooler(False))
    assert said["sql1 runs no PgBouncer"][0] == "warn"
    assert "sql2 runs no PgBouncer" not in said
    assert not any(title.startswith("PgBouncer on") for title in said)


def test_the_line_says_how_busy_the_leaders_pool_is(pooled):
    known = Facts({**facts(pooled)._values, POOLER: {"sql1": Pooler(True, Pool(41, 3, 2, 0))}})
    assert "PgBouncer 43 clients, 3 connections busy" in line(pooled, known, [])
