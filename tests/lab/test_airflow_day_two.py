"""Airflow's day two on real hosts: users, new secrets with tasks in flight, versions both ways."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import yaml
from support.controller import PROJECT
from support.drill import DAGS, Airflow
from support.trusting import WEB, trusting

STATE = "whole"

pytestmark = pytest.mark.long
ALL = {"success": 20}
SERVERS = ("airflow", "scheduler2", "haproxy2", "ftp", "nfs2", "worker1")
OLDER, NEWER = "2.7.3", "2.9.0"
SCHEMA = {"2.7.3": "405de8318b3a", "2.9.0": "1949afb29106"}


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    """The drill is on the share."""
    seen = Airflow(lab)
    seen.deploy_drill(seen.active())
    return seen


def secrets(airflow: Airflow) -> dict[str, str]:
    """secrets.yaml as it is now."""
    state = Path(airflow.lab.environment()["RUNBOOK_STATE"])
    return yaml.safe_load((state / "secrets.yaml").read_text())


def nothing_told(airflow: Airflow, *texts: str) -> None:
    """No secret, of before or of now, is in these texts or in the controller's journal."""
    journal = Path(airflow.lab.environment()["RUNBOOK_STATE"], "journal.jsonl").read_text()
    for secret in {*airflow.secrets.values(), *secrets(airflow).values()}:
        assert not any(secret in text for text in (*texts, journal))


def nothing_logged(airflow: Airflow) -> None:
    """Nor is it in a command line or in the journal of a host."""
    for host in (*SERVERS, "sql1", "sql2", "sql3", "mq1"):
        said = airflow.shell(host, "journalctl -b --no-pager -o cat; ps axww -o args")
        for name, secret in secrets(airflow).items():
            assert secret not in said, f"{name} on {host}"


@pytest.fixture
def drill(airflow, report, request):
    """drill(work) -> what became of twenty tasks of which some ran when the work began."""

    def go(work):
        run = f"{request.node.name}-{int(time.time())}".replace("[", "-").replace("]", "")
        began = airflow.start(run)
        airflow.wait_until_in_flight(run)
        work()
        outcome = airflow.outcome(run, began)
        report(f"{request.node.name[5:]}: {outcome}")
        return outcome

    return go


@pytest.fixture
def cut_off(airflow, lab):
    """cut_off(fab, "stop: Flower", …) starts fab, and kills it when it says these words."""

    def go(fab, words: str, *arguments: str) -> str:
        process = fab.start(*arguments)
        said = ""
        for line in process.stdout:
            said += line
            if words in line:
                process.send_signal(signal.SIGKILL)
                break
        process.wait(timeout=30)
        assert words in said, said
        time.sleep(3)
        for host in (*SERVERS, "sql1", "sql2", "sql3", "mq1"):
            lock = "/run/airflow-runbook/lock"
            done = lab.root_shell(host, f"[[ ! -e {lock} ]] || flock -w 240 {lock} true")
            assert done.returncode == 0, f"{host} is still at work"
        return said

    return go


# Users


def login(airflow: Airflow, name: str, password: str, method: str = "GET") -> str:
    """The status of a request to the web UI's API."""
    post = ["-H", "Content-Type: application/json", "-d", "{}"] if method == "POST" else []
    url = f"{WEB}/api/v1/dags"
    target = f"{url}/drill/dagRuns" if post else url
    curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "20", "-K", "-"]
    curl += trusting(airflow.lab)
    done = airflow.lab.exec(
        [*curl, *post, target],
        input=f'user = "{name}:{password}"',
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_a_user_comes_gets_another_role_and_goes(airflow, fab):
    planned = fab("--plan", "airflow.user-add", "jane")
    assert planned.code == 0, planned.text
    assert "airflow_user_jane" not in secrets(airflow)
    added = fab("airflow.user-add", "jane")
    assert added.code == 0, added.text
    password = secrets(airflow)["airflow_user_jane"]
    nothing_told(airflow, planned.text, added.text)
    assert login(airflow, "jane", password) == "200"
    assert login(airflow, "jane", password, "POST") == "403"
    assert login(airflow, "jane", "another") == "401"
    assert fab("airflow.user-add", "jane").steps("changed", "failed") == set()
    assert fab("airflow.user-add", "jane", "--role", "Op").code == 0
    [row] = [
        one for one in fab("airflow.users").data["tables"]["airflow.users"] if one["user"] == "jane"
    ]
    assert row["roles"] == "Op"
    assert fab("--yes", "airflow.user-remove", "jane").code == 0
    assert "airflow_user_jane" not in secrets(airflow)
    assert login(airflow, "jane", password) == "401"
    nothing_logged(airflow)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["user-add", "jane", "--role", "Veiwer"], "did you mean Viewer?"),
        (["user-add", "jane doe"], "is not a valid user name"),
        (["user-remove", "admin"], "admin is the administrator"),
        (["user-remove", "nobody"], "There is no user nobody"),
    ],
)
def test_what_cannot_be_ends_in_one_sentence(airflow, fab, arguments, words):
    answer = fab.text("--yes", f"airflow.{arguments[0]}", *arguments[1:])
    assert answer.code == 2
    assert words in answer.text


# New secrets


@pytest.fixture(scope="module")
def connection(airflow) -> None:
    """A connection with a password, which is encrypted in the database."""
    body = {"connection_id": "probe", "conn_type": "http", "login": "x", "password": "of the probe"}
    assert airflow.api("connections", body)


def token(airflow: Airflow) -> str:
    [[text]] = airflow.ask("select password from connection where conn_id = 'probe'")
    return text


def readable(airflow: Airflow) -> bool:
    return "of the probe" in airflow.shell("airflow", "airflow connections get probe -o json")


def keys(airflow: Airflow) -> set[str]:
    """What the servers have as fernet_key."""
    line = "sed -n 's/^fernet_key = //p' /etc/airflow/airflow.cfg"
    return {airflow.shell(host, line) for host in SERVERS}


def test_a_new_fernet_key_while_tasks_run(airflow, fab, drill, connection):
    before, old = token(airflow), secrets(airflow)["airflow_fernet"]
    said = []

    def rotate() -> None:
        began = time.monotonic()
        answer = fab("--yes", "airflow.secrets-rotate", "--what", "fernet")
        assert answer.code == 0, answer.text
        said.append(answer.text)
        print(f"fernet: {time.monotonic() - began:.0f} s")

    assert drill(rotate).states == ALL
    new = secrets(airflow)["airflow_fernet"]
    assert secrets(airflow)["airflow_fernet_retired"] == old != new
    assert keys(airflow) == {f"{new}="}
    assert token(airflow) != before
    assert readable(airflow)
    nothing_told(airflow, *said)
    fab.settled("airflow", 180)
    assert fab("airflow.smoke").code == 0


def test_a_fernet_key_whose_rotation_was_cut_off(airflow, fab, cut_off, connection):
    old = secrets(airflow)["airflow_fernet"]
    rotate = ("--yes", "airflow.secrets-rotate", "--what", "fernet")
    cut_off(fab, "restart on", *rotate)
    coming = secrets(airflow)["airflow_fernet_next"]
    assert keys(airflow) == {f"{old}=,{coming}="}
    assert fab("airflow", "systemd").code == 0
    assert keys(airflow) == {f"{old}=,{coming}="}
    assert readable(airflow)
    cut_off(fab, "encrypt connections and variables with the new key", *rotate)
    assert secrets(airflow)["airflow_fernet"] == coming
    assert secrets(airflow)["airflow_fernet_old"] == old
    assert readable(airflow)
    answer = fab(*rotate)
    assert answer.code == 0, answer.text
    assert keys(airflow) == {f"{coming}="}
    assert readable(airflow)
    fab.settled("airflow", 180)


@pytest.mark.parametrize("what", ["database", "broker"])
def test_a_new_password_while_tasks_run(airflow, fab, drill, what):
    name = {"database": "postgres_airflow", "broker": "rabbitmq_airflow"}[what]
    before = secrets(airflow)[name]
    said = []

    def rotate() -> None:
        planned = fab("--plan", "airflow.secrets-rotate", "--what", what)
        assert planned.code == 0, planned.text
        answer = fab("--yes", "airflow.secrets-rotate", "--what", what)
        assert answer.code == 0, answer.text
        said.extend([planned.text, answer.text])

    assert drill(rotate).states == ALL
    assert secrets(airflow)[name] != before
    nothing_told(airflow, *said)
    nothing_logged(airflow)
    fab.settled("airflow", 180)
    assert fab("airflow.smoke").code == 0


def test_new_passwords_whose_change_was_cut_off(airflow, fab, cut_off):
    cut_off(fab, "every server gets it", "--yes", "airflow.secrets-rotate", "--what", "broker")
    cut_off(fab, "a new password for the", "--yes", "airflow.secrets-rotate")
    answer = fab("--yes", "airflow.secrets-rotate", "--what", "database")
    assert answer.code == 0, answer.text
    assert fab("rabbitmq").code == 0
    fab.settled("airflow", 180)
    fab.settled("rabbitmq")
    assert fab("airflow.smoke").code == 0


# Another version


@pytest.fixture
def older(fab, settings):
    """The controller whose hosts.yaml says 2.7.3."""
    return fab.given(**settings("versions", airflow=OLDER))


def queue(airflow: Airflow) -> str:
    """The type of Airflow's queue."""
    listed = airflow.shell("mq1", "rabbitmqctl -q list_queues -p airflow name type </dev/null")
    [line] = [line for line in listed.splitlines() if line.split()[0] == "default"]
    return line.split()[1]


def at(airflow: Airflow, version: str) -> None:
    """All servers and the schema are of this version."""
    assert airflow.ask("select version_num from alembic_version") == [[SCHEMA[version]]]
    for host in SERVERS:
        env = airflow.shell(host, "grep ^PATH= /etc/airflow/airflow.env")
        assert env.startswith(f"PATH=/opt/airflow/{version}-"), host
    assert airflow.shell("airflow", "airflow version") == version


def test_another_version_needs_its_installation_first(airflow, older):
    airflow.shell("worker1", f"rm -f /opt/airflow/{OLDER}-*/.airflow-runbook")
    answer = older.text("--yes", "airflow.upgrade")
    assert answer.code == 1
    assert "First run: fab airflow.install airflow.ship airflow.receive" in answer.text
    wrong = older.text("--yes", "airflow.upgrade", "--to", NEWER)
    assert wrong.code == 2
    assert "set it to 2.9.0 there first" in wrong.text
    installed = older("airflow.install", "airflow.ship", "airflow.receive")
    assert installed.code == 0, installed.text
    at(airflow, NEWER)


def test_no_server_goes_to_another_version_by_itself(airflow, older):
    answer = older("airflow.configure", "systemd.install")
    assert answer.code == 1
    assert "It is set up for Airflow 2.9.0, but hosts.yaml says 2.7.3." in answer.text
    at(airflow, NEWER)


def test_a_task_that_does_not_end_is_told_and_everything_goes_on(airflow, fab, older):
    text = (PROJECT / "tests/support/deferred_dag.py").read_text()
    airflow.shell(airflow.active(), f"cat >{DAGS}/deferred.py <<'DAG'\n{text}DAG")
    airflow.wait_for("select 1 from dag where dag_id = 'deferred' and is_active", 90)
    run = f"deferred-{int(time.time())}"
    assert airflow.api("dags/deferred/dagRuns", {"dag_run_id": run})["dag_run_id"] == run
    airflow.wait_for("select 1 from task_instance where state = 'deferred'", 60)
    answer = older("--yes", "airflow.upgrade", "--wait", "5")
    assert answer.code == 1
    assert "deferred waits: deferred" in answer.text
    assert "To let everything continue as before until then: fab systemd.start" in answer.text
    at(airflow, NEWER)
    assert fab("systemd.start").code == 0
    ended = f"select 1 from dag_run where run_id = '{run}' and state = 'success'"
    airflow.wait_for(ended, 240)
    airflow.wait_for("select 1 where not exists (select from trigger)", 60)
    fab.settled("airflow", 180)


def test_the_way_back_with_tasks_in_flight(airflow, older, drill, report):
    planned = older("--plan", "airflow.upgrade")
    assert planned.code == 0, planned.text
    at(airflow, NEWER)

    def go() -> None:
        began = time.monotonic()
        answer = older("--yes", "airflow.upgrade", "--to", OLDER)
        assert answer.code == 0, answer.text
        report(f"2.9.0 to 2.7.3: {time.monotonic() - began:.0f} s")
        nothing_told(airflow, planned.text, answer.text)
        assert "/var/lib/pgsql/airflow-dumps/before-2.7.3-" in answer.text

    outcome = drill(go)
    at(airflow, OLDER)
    assert queue(airflow) == "classic"
    assert outcome.states == ALL
    older.settled("airflow", 180)
    again = older("airflow", "systemd")
    assert again.code == 0, again.text


def test_the_upgrade_with_tasks_in_flight(airflow, fab, drill, report):
    def go() -> None:
        began = time.monotonic()
        answer = fab("--yes", "airflow.upgrade", "--to", NEWER)
        assert answer.code == 0, answer.text
        report(f"2.7.3 to 2.9.0: {time.monotonic() - began:.0f} s")

    outcome = drill(go)
    at(airflow, NEWER)
    assert queue(airflow) == "quorum"
    assert outcome.states == ALL
    fab.settled("airflow", 180)
    assert fab("airflow", "systemd").steps("changed", "failed") == set()


CUTS = ("stop: webserver", "dump the", "the schema becomes", "every server gets", "the DAG smoke")


@pytest.mark.parametrize("version", [OLDER, NEWER])
def test_one_that_is_cut_off_again_and_again_is_completed(airflow, fab, older, cut_off, version):
    """There, and in the second test back again."""
    fab = older if version == OLDER else fab
    for words in CUTS:
        cut_off(fab, words, "--yes", "airflow.upgrade")
    answer = fab("--yes", "airflow.upgrade")
    assert answer.code == 0, answer.text
    at(airflow, version)
    fab.settled("airflow", 180)


def test_a_dump_is_for_nobody_else_and_can_be_restored(airflow):
    folder = "/var/lib/pgsql/airflow-dumps"
    for host in ("sql1", "sql2", "sql3"):
        for dump in airflow.shell(host, f"ls {folder}/* 2>/dev/null || :").split():
            assert airflow.shell(host, f"stat -c '%a %U' {dump}") == "600 postgres"
            listed = airflow.shell(host, f"pg_restore --list {dump} | grep -c 'TABLE DATA'")
            assert int(listed) > 30
