"""The chapters on Python, Airflow and its services, as far as they need no server."""

from __future__ import annotations

import ast
import configparser
import json
import logging
import re
import subprocess

import msgspec
import pytest
from support.public_keys import ed25519

from fabfile import CONTENTS, airflow, python_build, systemd
from fabfile.airflow import (
    check,
    check_installations,
    configure,
    connections,
    database,
    install,
    services,
    state,
)
from fabfile.airflow.configure import BROKER_PASSWORD, DATABASE_PASSWORD
from fabfile.airflow.heartbeats import not_taking
from fabfile.airflow.installation import INSTALLATIONS, Installations, made_from, wanted
from fabfile.airflow.state import DATABASE, Holder, State
from fabfile.shared import copies
from fabfile.shared.airflow import hosts, tasks_at_once
from fabfile.shared.copies import Copy, lacking
from fabfile.ssh import HOST_KEYS
from runbook.declare.facts import NOTHING_KNOWN, Facts
from runbook.declare.probes import Answer
from runbook.declare.templates import render
from runbook.errors import InventoryError, RunbookError, UsageError

PYTHON = "1ad539e9dbd2b42df714b69726e0693bc6b9d2d2c8e91c2e43204026605140c5"


def shown(steps) -> str:
    return "\n".join(f"{step.title}\n{step.apply}" for step in steps)


def of(cluster, name, function, *more) -> str:
    return shown(function(cluster.hosts[name], cluster, *more))


# Python


def test_python_comes_from_python_org_with_a_hash_that_is_known(cluster):
    text = of(cluster, "airflow", python_build.fetch)
    assert "https://www.python.org/ftp/python/3.9.16/Python-3.9.16.tgz" in text
    assert PYTHON in text


def test_a_mirror_is_a_setting(hosts_yaml):
    source = "sources:\n  python: {url: http://mirror/Python-3.9.16.tar.xz, sha256: " + "a" * 64
    cluster = CONTENTS.load(hosts_yaml("sources: {}", source + "}"))
    assert python_build.url(cluster) == "http://mirror/Python-3.9.16.tar.xz"
    assert python_build.sha256(cluster) == "a" * 64


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("python: 3.9.16", "python: 3.10.4", "locked for Python 3.9 and 3.11"),
        ("python: 3.9.16", "python: 3.9.2", "known for 3.9.16"),
        ("sources: {}", "sources: {python: {url: http://m/Python-3.9.15.tgz}}", "does not name"),
        ("sources: {}", "sources: {python: {sha256: 12}}", "sha256"),
        ("sources: {}", "sources: {pypi: {index: https://u:p@m/simple}}", "sources.logins"),
    ],
)
def test_a_python_that_cannot_be_is_refused(hosts_yaml, old, new, words):
    with pytest.raises(InventoryError, match=words):
        CONTENTS.load(hosts_yaml(old, new))


def test_only_vm1_builds_and_everybody_of_airflow_gets_it(cluster):
    assert [host.name for host in python_build.only_builder(cluster)] == ["airflow"]
    names = {host.name for host in python_build.everybody(cluster)}
    assert names == {"airflow", "scheduler2", "haproxy2", "ftp", "nfs2", "worker1"}


def test_python_has_a_folder_of_its_own(cluster, hosts_yaml):
    """What others have put into /usr/local/lib/python3.9 is theirs."""
    assert python_build.python(cluster) == "/opt/airflow/python-3.9.16/bin/python3.9"
    elsewhere = CONTENTS.load(hosts_yaml("prefix: /opt/airflow ", "prefix: /srv "))
    assert python_build.home(elsewhere) == "/srv/python-3.9.16"


def test_python_is_shipped_to_whom_it_lacks(cluster):
    wanted = python_build.made_from(cluster)
    known = {
        "airflow": Copy(wanted, "1", "1"),
        "worker1": Copy(),
        "scheduler2": Copy(wanted, "1", "1"),
        "haproxy2": Copy(wanted, "2", "2"),
        "nfs2": Copy(wanted, "1", "9"),
        "ftp": Copy("3.9.15 x plain", "1", "1"),
    }
    facts = Facts({python_build.COPY: known})
    everybody = python_build.everybody(cluster)
    steps = list(python_build.ship(cluster.hosts["airflow"], cluster, facts, everybody))
    lacking = ["haproxy2", "ftp", "nfs2", "worker1"]
    assert [step.title.split()[-1] for step in steps] == lacking


def test_without_a_python_of_vm1_the_others_are_judged_by_their_own_marks(cluster):
    wanted = python_build.made_from(cluster)
    known = {"airflow": Copy(wanted, "1", "9"), "ftp": Copy(wanted, "2", "2"), "nfs2": Copy()}
    everybody = python_build.everybody(cluster)
    found = lacking(known, wanted, everybody, but=cluster.hosts["airflow"])
    assert [host.name for host in found] == ["nfs2"]


def test_packages_that_others_have_installed_are_named_and_not_removed(cluster):
    facts = Facts(
        {
            python_build.COPY: {"ftp": Copy("3.9.15", "1", "1"), "nfs2": Copy()},
            python_build.FOREIGN: {"ftp": frozenset({"requests"})},
        }
    )
    everybody = python_build.everybody(cluster)
    with pytest.raises(RunbookError, match=r"ftp has packages .* did not install: requests; they"):
        list(python_build.ship(cluster.hosts["airflow"], cluster, facts, everybody))


def copied(folder) -> Copy:
    ask = ["bash", "-c", copies.state(str(folder))]
    return copies.parse(subprocess.run(ask, capture_output=True, text=True).stdout)


def test_a_folder_says_whether_it_is_as_it_was_made(tmp_path):
    folder = tmp_path / "made"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tool").write_text("1\n")
    (folder / "bin" / "link").symlink_to("tool")
    made = f'echo "3.9.16 plain $( {copies.fingerprint(str(folder))} )"'
    mark = folder / ".airflow-runbook"
    assert copied(folder) == Copy()
    mark.write_text(subprocess.run(["bash", "-c", made], capture_output=True, text=True).stdout)
    assert copied(folder).made_from == "3.9.16 plain"
    assert copied(folder).intact

    def intact() -> bool:
        test = copies.intact(str(folder), "3.9.16 plain")
        passed = subprocess.run(["bash", "-uc", test], capture_output=True).returncode == 0
        assert passed is copied(folder).intact
        return passed

    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "tool.pyc").write_text("x")
    assert intact(), "bytecode comes and goes"
    (folder / "bin" / "tool").chmod(0o600)
    assert not intact()
    (folder / "bin" / "tool").chmod(0o644)
    assert intact()
    (folder / "bin" / "tool").write_text("2\n")
    assert not intact()
    (folder / "bin" / "tool").write_text("1\n")
    (folder / "bin" / "more").touch()
    assert not intact()
    (folder / "bin" / "more").unlink()
    (folder / "bin" / "link").unlink()
    assert not intact()
    other = copies.intact(str(folder), "3.9.25 plain")
    assert subprocess.run(["bash", "-uc", other], capture_output=True).returncode != 0


def test_what_python_lacks_is_told():
    assert python_build.runs(Answer("3.9.16", 0), "3.9.16").level == "ok"
    missing = "Traceback …\nModuleNotFoundError: No module named '_lzma'"
    assert python_build.runs(Answer(missing, 1), "3.9.16").sentence.endswith("'_lzma'")
    assert python_build.runs(Answer("3.9.15", 0), "3.9.16").level == "error"


# Installation and configuration


@pytest.mark.parametrize("version", ["2.9.0", "2.7.3"])
@pytest.mark.parametrize("python", ["3.9", "3.11"])
def test_there_is_a_lock_with_hashes_for_each_pair(version, python):
    lines = render(f"airflow/{version}-py{python}.lock", {}).splitlines()
    pins = [line for line in lines if not line.startswith((" ", "#"))]
    assert f"apache-airflow=={version} \\" in pins
    assert all("==" in pin and pin.endswith("\\") for pin in pins)
    celery = next(pin for pin in pins if pin.startswith("celery=="))
    assert celery.startswith("celery==5.5." if version == "2.9.0" else "celery==5.3.")


def test_a_build_that_fails_changes_nothing_that_is_there(cluster):
    text = of(cluster, "airflow", install.install, Facts())
    assert "--require-hashes" in text
    assert text.index("--require-hashes") < text.index('mv "$target" "$former"')
    assert "was not installed; what was there was not changed." in text


def parsed(text: str) -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read_string(text)
    return config


def cfg(cluster, host="worker1") -> str:
    steps = configure.configure(cluster.hosts[host], cluster, NOTHING_KNOWN)
    return next(step.text for step in steps if step.title.endswith("airflow.cfg"))


def test_the_configuration_is_the_same_on_all_servers(cluster):
    assert len({cfg(cluster, host.name) for host in hosts(cluster)}) == 1


def test_the_database_is_reached_through_the_vip_or_by_asking_for_the_leader(cluster, hosts_yaml):
    config = parsed(cfg(cluster))
    assert "@192.168.83.210:5000/airflow?" in config["database"]["sql_alchemy_conn"]
    assert config["celery"]["result_backend"].startswith("db+postgresql+psycopg2://airflow:")
    direct = CONTENTS.load(hosts_yaml("database: vip", "database: hosts"))
    dsn = parsed(cfg(direct))["database"]["sql_alchemy_conn"]
    assert dsn.count("host=192.168.83.") == 3
    assert "target_session_attrs=read-write" in dsn


def test_all_nodes_of_the_queue_are_named(cluster):
    urls = parsed(cfg(cluster))["celery"]["broker_url"].split(";")
    assert [url.rpartition("@")[2] for url in urls] == [
        f"{node}:5671/airflow" for node in ("mq1", "mq2", "mq3")
    ]


def test_passwords_with_any_character_arrive_as_they_are(cluster, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_POSTGRES_AIRFLOW", "p%40@:/'x")
    assert ":p%2540%40%3A%2F%27x@" in parsed(cfg(cluster))["database"]["sql_alchemy_conn"]


def test_the_fernet_key_is_one(cluster):
    import base64

    key = parsed(cfg(cluster))["core"]["fernet_key"]
    assert len(base64.urlsafe_b64decode(key)) == 32


def test_no_diff_shows_a_secret(cluster):
    step = next(
        step
        for step in configure.configure(cluster.hosts["worker1"], cluster, NOTHING_KNOWN)
        if step.title.endswith("airflow.cfg")
    )
    holding = [line for line in step.text.splitlines() if re.match(configure.SECRETS, line)]
    assert len(holding) == 6
    kept = (*airflow.section.secrets, DATABASE_PASSWORD, BROKER_PASSWORD)
    secrets = [cluster.secret(one) for one in kept]
    for line in step.text.splitlines():
        assert line in holding or not any(secret in line for secret in secrets)


def environment(hosts_yaml, settings: str) -> list[str]:
    """The lines of airflow.env with these airflow.settings."""
    cluster = CONTENTS.load(hosts_yaml("settings: {}", f"settings: {settings}"))
    steps = configure.configure(cluster.hosts["worker1"], cluster, NOTHING_KNOWN)
    return next(step.text for step in steps if step.title.endswith("airflow.env")).splitlines()


def test_settings_of_the_user_go_over_it(hosts_yaml):
    env = environment(hosts_yaml, "{core: {parallelism: 7}}")
    assert 'AIRFLOW__CORE__PARALLELISM="7"' in env


def test_settings_in_another_order_change_nothing(hosts_yaml):
    core, celery = "core: {parallelism: 7, dag_concurrency: 4}", "celery: {sync_parallelism: 2}"
    one = environment(hosts_yaml, f"{{{core}, {celery}}}")
    assert 'AIRFLOW__CORE__DAG_CONCURRENCY="4"' in one
    assert environment(hosts_yaml, f"{{{celery}, {core}}}") == one


@pytest.mark.parametrize(("version", "quorum"), [("2.9.0", True), ("2.7.3", False)])
def test_queues_are_of_the_kind_that_the_celery_of_this_airflow_can_use(
    hosts_yaml, version, quorum
):
    cluster = CONTENTS.load(hosts_yaml("airflow: 2.9.0", f"airflow: {version}"))
    module = next(
        step.text
        for step in configure.configure(cluster.hosts["worker1"], cluster, NOTHING_KNOWN)
        if step.title.endswith("airflow_celery.py")
    )
    compile(module, "airflow_celery.py", "exec")
    assert ('"broker_native_delayed_delivery_queue_type": "quorum"' in module) == quorum
    kind = "quorum" if quorum else "classic"
    assert f'queue_arguments={{"x-queue-type": "{kind}"}}' in module
    assert "AMQP.queues_cls = QueuesOfOneType" in module, "also those that only a DAG names"
    assert ("worker_detect_quorum_queues" in module) == quorum
    assert "worker_enable_prefetch_count_reduction" in module


def test_celery_writes_no_broker_s_password_into_its_log(cluster, caplog):
    module = next(
        step.text
        for step in configure.configure(cluster.hosts["worker1"], cluster, NOTHING_KNOWN)
        if step.title.endswith("airflow_celery.py")
    )
    parts = [
        part
        for part in ast.parse(module).body
        if ast.unparse(part).startswith(
            ("import re", "import logging", "CREDENTIALS", "class Without")
        )
        or "addFilter" in ast.unparse(part)
    ]
    exec(compile(ast.Module(parts, []), "airflow_celery.py", "exec"), {})
    logger = logging.getLogger("celery.worker.consumer.delayed_delivery")
    logger.warning("Failed for %r: %s", "amqp://airflow:a%40b@mq1:5672/airflow", "no answer")
    logger.filters.clear()
    assert caplog.messages == ["Failed for 'amqp://**@mq1:5672/airflow': no answer"]


def test_the_schema_is_made_on_one_server_and_never_over_another_one(cluster):
    titles = [step.title for step in database.database(cluster.hosts["airflow"], cluster)]
    assert titles[1].startswith("the schema is Airflow 2.9.0's, or there is none")
    assert titles[-1] == "user admin with the password of secrets.yaml"


def test_a_connection_pins_the_host_key(cluster):
    keys = {"card1": ["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDf", ed25519("card1")]}
    made = connections.connection(cluster.hosts["card1"], cluster, Facts({HOST_KEYS: keys}))
    extra = json.loads(str(made["extra"]))
    assert extra["host_key"] == ed25519("card1")
    assert extra["no_host_key_check"] is False
    assert "private_key" not in extra


# What the check says


def alive(**changed) -> State:
    usual = {
        "leader": True,
        "schema": "1949afb29106",
        "ages": {
            ("SchedulerJob", "airflow"): 2,
            ("SchedulerJob", "scheduler2"): 3,
            ("TriggererJob", "airflow"): 2,
            ("TriggererJob", "scheduler2"): 2,
            ("DagProcessorJob", "ftp"): 4,
            ("SchedulerJob", "gone"): 90000,
        },
        "broken": (),
        "queued": 0,
        "running": 0,
    }
    return State(**{**usual, **changed})


def found(cluster, known=None, content=None) -> dict[str, tuple[str, str]]:
    names = [host.name for host in hosts(cluster)]
    facts = {
        install.VENV: content or dict.fromkeys(names, Copy("x", "1", "1")),
        INSTALLATIONS: dict.fromkeys(names, Installations(wanted(cluster))),
        check.FOLDER: {name: check.Folder("2", 600) for name in names},
        DATABASE: {"sql1": known} if known else {},
    }
    return {
        one.title: (one.verdict.level, one.verdict.sentence)
        for one in check.check_cluster(cluster, Facts(facts))
    }


def test_all_is_well(cluster):
    assert {level for level, _ in found(cluster, alive()).values()} == {"ok"}


@pytest.mark.parametrize(
    ("changed", "title", "level", "words"),
    [
        ({"schema": "405de8318b3a"}, "the schema is that of Airflow 2.9.0", "error", "2.7.3"),
        ({"broken": ("/a.py",)}, "every DAG can be imported", "error", "/a.py"),
        ({"queued": 3}, "no task waits for a worker", "error", "3 for more than 300 s"),
        ({"ages": {}}, "the scheduler of airflow is alive", "error", "it has no running job"),
        ({"ages": {}}, "one DAG processor is at work", "error", "there is none"),
        (
            {"ages": {("SchedulerJob", "scheduler2"): 31}},
            "the scheduler of scheduler2 is alive",
            "error",
            "31 s old",
        ),
        (
            {"ages": {("DagProcessorJob", "ftp"): 3, ("DagProcessorJob", "nfs2"): 4}},
            "one DAG processor is at work",
            "warn",
            "there are 2: ftp, nfs2",
        ),
        (
            {"holder": Holder(75, 4711, "192.168.83.129", "idle in transaction")},
            "no session of the database waits for another",
            "warn",
            "one session has waited 75 s for session 4711 (idle in transaction)",
        ),
    ],
)
def test_what_is_wrong_is_told(cluster, changed, title, level, words):
    said = found(cluster, alive(**changed))[title]
    assert said[0] == level
    assert words in said[1]


def test_a_session_that_holds_others_up_is_ended_on_the_leader(cluster):
    state = alive(holder=Holder(75, 4711, "", "active"))
    standby = alive(leader=False)
    finding = check.held_up(state, Facts({DATABASE: {"sql1": standby, "sql3": state}}))
    end = "sudo -u postgres psql -Xc 'select pg_terminate_backend(4711)'"
    assert finding.fix == f'fab -H sql3 -- "{end}"'


def test_a_target_with_another_role_is_not_asked_about_airflow(hosts_yaml):
    file = hosts_yaml("roles: [target]", "roles: [target, rabbitmq]")
    cluster = CONTENTS.load(file)
    assert "rabbitmq" in cluster.hosts["card1"].roles
    assert list(check.check(cluster.hosts["card1"], cluster)) == []
    assert list(check.check(cluster.hosts["worker1"], cluster))


def test_without_a_leader_the_check_says_so(cluster):
    assert found(cluster)["Airflow's schema"][0] == "error"
    assert found(cluster, alive(leader=False))["Airflow's schema"][0] == "error"


def test_an_installation_that_differs_is_named_with_the_tasks_that_mend_it(cluster):
    """What the check sees, the plan sees, and no mark has to be removed by hand."""
    names = [host.name for host in hosts(cluster)]
    made = made_from(cluster)
    same = dict.fromkeys(names, Copy(made, "1", "1"))
    title = "the installation is the same everywhere"
    other = {**same, "worker1": Copy(made, "9", "9")}
    assert found(cluster, alive(), other)[title] == ("error", "it differs on worker1")
    damaged = {**same, "worker1": Copy(made, "1", "9")}
    said = found(cluster, alive(), damaged)[title]
    assert said == ("error", "damaged on worker1: a file, its mode or its owner has changed")
    for copy in (other, damaged):
        facts = Facts({install.VENV: copy})
        fix = check_installations.unchanged(cluster, facts).fix
        assert fix == "fab airflow.install airflow.ship airflow.receive"
        [step] = install.ship(cluster.hosts["airflow"], cluster, facts, hosts(cluster))
        assert step.title == f"Airflow {wanted(cluster)} has arrived on worker1"


def test_packages_that_no_lock_names_are_not_removed(cluster):
    own = frozenset({"apache-airflow", "setuptools", "markupsafe", "typing-extensions"})
    assert own <= install.locked(cluster)
    assert copies.distribution("apache_airflow-2.9.0.dist-info") == "apache-airflow"
    assert copies.distribution("zope.event-5.0.dist-info") == "zope-event"
    facts = Facts(
        {
            install.VENV: {"airflow": Copy(), "worker1": Copy()},
            install.PACKAGES: {"airflow": own, "worker1": own | {"our-operators"}},
        }
    )
    list(install.install(cluster.hosts["airflow"], cluster, facts))
    with pytest.raises(RunbookError, match=r"worker1 has .* did not install: our-operators; they"):
        list(install.ship(cluster.hosts["airflow"], cluster, facts, hosts(cluster)))


def consumer(queue: str, port: int, address: str) -> dict:
    details = {"connection_name": f"{address}:{port} -> 10.0.0.9:5672", "peer_host": address}
    return {"queue": {"name": queue}, "channel_details": details}


@pytest.mark.parametrize(
    ("own", "queue", "missing"),
    [
        ("10.7.0.31", "celery@worker1.celery.pidbox", []),  # another address of worker1
        ("192.168.83.131", "reply.celery.pidbox", []),  # without remote control
        ("10.7.0.31", "celery@worker2.celery.pidbox", ["worker1"]),
    ],
)
def test_a_worker_is_known_by_its_name_also_from_another_address(cluster, own, queue, missing):
    """The broker sees the address that a worker with several networks connects from."""
    told = [consumer("default", 1, own), consumer(queue, 1, own), consumer("other", 2, own)]
    facts = Facts({state.CONSUMERS: {"mq1": state.taking(json.dumps(told))}})
    assert [host.name for host in not_taking(cluster, facts)] == missing


def test_a_worker_that_takes_commands_but_no_tasks_is_missed(cluster):
    told = [consumer("celery@worker1.celery.pidbox", 1, "192.168.83.131")]
    facts = Facts({state.CONSUMERS: {"mq1": state.taking(json.dumps(told))}})
    assert [host.name for host in not_taking(cluster, facts)] == ["worker1"]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('{"metadatabase": {"status": "healthy"}, "scheduler": {"status": "unhealthy"}}', "ok"),
        ('{"metadatabase": {"status": "unhealthy"}}', "error"),
        ("curl: (7) Failed to connect", "error"),
    ],
)
def test_a_webserver_is_judged_by_what_it_says(text, level):
    assert check.healthy(Answer(text, 0)).level == level


@pytest.mark.parametrize(
    ("text", "level"), [("0.2", "ok"), ("-1.4", "error"), ("could not connect", "error")]
)
def test_clocks_are_compared_with_the_databases(text, level):
    assert check.within_a_second(Answer(text, 0)).level == level


# Services


def unit(cluster, host, role) -> str:
    return next(
        step.text
        for step in systemd.install(cluster.hosts[host], cluster, NOTHING_KNOWN)
        if step.title.endswith(f"airflow-{role}.service")
    )


def test_each_role_has_its_unit_in_the_foreground(cluster):
    names = [component.unit for component in services.components(cluster.hosts["airflow"])]
    assert names == [
        f"airflow-{role}.service" for role in ("scheduler", "triggerer", "webserver", "flower")
    ]
    text = unit(cluster, "airflow", "scheduler")
    program = f"/opt/airflow/{wanted(cluster)}/bin/airflow"
    assert f"ExecStart={program} scheduler --skip-serve-logs\n" in text
    assert "User=airflow\n" in text
    assert "Restart=always\n" in text
    assert "StartLimitIntervalSec=0\n" in text
    assert " -D" not in text


@pytest.mark.parametrize(
    ("unit", "state", "refused"),
    [
        ("airflow-celeryworker.service", "enabled", True),
        ("airflow.service", "active", True),
        ("airflow-scheduler.service", "active", True),
        ("airflow-worker.service", "active", False),
        ("airflow-celeryworker.service", "disabled", False),
        ("our-airflow.service", "enabled", False),
    ],
)
def test_units_that_somebody_made_by_hand_are_named(cluster, unit, state, refused):
    """They would be a second worker, which takes tasks with other settings, and as root."""
    step = services.no_other_units(cluster.hosts["worker1"])
    systemctl = f"""systemctl() {{ local code=1 one; for one; do
  if [[ $one == {unit} && $1 == is-{"active" if state == "active" else "enabled"} ]]; then
    [[ $2 == -q ]] || echo {state}
    [[ {state} == disabled ]] || code=0
  fi; done; return $code; }}"""
    done = subprocess.run(["bash", "-c", f"{systemctl}\n{step.test}"], capture_output=True)
    assert (done.returncode != 0) is refused
    said = subprocess.run(
        ["bash", "-c", f"{systemctl}\n{step.apply}"], capture_output=True, text=True
    )
    assert (f"systemctl disable --now {unit}" in said.stdout) is refused


def test_a_worker_has_time_to_end_its_longest_task(cluster):
    text = unit(cluster, "worker1", "worker")
    assert "KillMode=mixed\n" in text
    assert f"TimeoutStopSec={24 * 3600 + 60}\n" in text
    assert "--concurrency 4\n" in text
    assert "ExecStartPre=/usr/bin/test -s /app1/airflow/dags/.nfs-ha\n" in text


@pytest.mark.parametrize(
    ("ram", "cpu", "tasks"), [("1GB", 1, 2), ("2GB", 2, 4), ("8GB", 2, 8), ("16GB", 8, 32)]
)
def test_a_worker_takes_as_many_tasks_as_fit(cluster, ram, cpu, tasks):
    host = msgspec.structs.replace(cluster.hosts["worker1"], ram=ram, cpu=cpu)
    assert tasks_at_once(host, cluster) == tasks


def test_the_dag_processor_of_an_nfs_server_is_not_started_at_boot(cluster):
    assert "[Install]" not in unit(cluster, "ftp", "dag-processor")
    assert "WantedBy=airflow.target" in unit(cluster, "worker1", "worker")
    steps = systemd.install(cluster.hosts["ftp"], cluster, NOTHING_KNOWN)
    titles = [step.title for step in steps]
    assert "airflow-dag-processor.service is enabled" not in titles


def test_no_two_of_a_role_start_at_once(cluster):
    for batch in cluster.apart(services.service_hosts(cluster)):
        for role in ("scheduler", "webserver"):
            assert len([host for host in batch if role in host.roles]) <= 1


def test_what_hands_out_tasks_stops_first_and_what_shows_them_last(cluster):
    stages = list(systemd.stop(services.service_hosts(cluster), cluster, Facts()))
    assert [part.title for part in stages] == [
        "stop: scheduler",
        "stop: DAG processor",
        "stop: triggerer",
        "stop: Celery worker",
        "stop: webserver",
        "stop: Flower",
    ]


@pytest.mark.parametrize(
    ("host", "name", "words"),
    [("worker2", "worker", "did you mean worker1"), ("worker1", "workr", "it runs worker")],
)
def test_logs_of_what_is_not_there_are_refused(cluster, host, name, words):
    hosts = services.service_hosts(cluster)
    with pytest.raises(UsageError, match=words):
        list(systemd.logs(hosts, cluster, Facts(), host=host, unit=name))


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("SubState=running\nNRestarts=0\n 500", "ok"),
        ("SubState=running\nNRestarts=29\n 3", "error"),
        ("SubState=running\nNRestarts=29\n 3600", "ok"),
        ("SubState=auto-restart\nNRestarts=4", "error"),
        ("SubState=dead\nNRestarts=0", "ok"),
    ],
)
def test_a_unit_that_starts_again_and_again_is_told(text, level):
    assert systemd.stays_up(Answer(text, 0)).level == level
