"""Packages of a team: locked, installed beside, switched and taken back with tasks in flight."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.drill import DAGS, Airflow, Outcome

STATE = "whole"

pytestmark = pytest.mark.long

ALL = {"success": 20}
SERVERS = ("airflow", "scheduler2", "haproxy2", "ftp", "nfs2", "worker1")
PROVIDER = "apache-airflow-providers-discord"
OPT = "/opt/airflow"
UNITS = "/etc/systemd/system"
DAG = """\
from datetime import datetime

import roman
from airflow import DAG
from airflow.operators.python import PythonOperator
from airflow.providers.discord.hooks.discord_webhook import DiscordWebhookHook

with DAG("roman", start_date=datetime(2024, 1, 1), schedule=None, is_paused_upon_creation=False):
    PythonOperator(task_id="count", python_callable=lambda: print(roman.toRoman(2026)))
"""


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    """The drill is on the share."""
    seen = Airflow(lab)
    seen.deploy_drill(seen.active())
    return seen


Asking = Callable[..., Controller]


@pytest.fixture(scope="module")
def asking(lab, fab, on, tmp_path_factory) -> Asking:
    """asking(packages=[…]) -> the controller whose hosts.yaml says so; its locks are beside it.

    It does not know the name labmirror, by which hosts reach the index.
    """
    folder = tmp_path_factory.mktemp("team")
    mirror = on("airflow", "getent ahostsv4 labmirror | awk '{ print $1; exit }'")
    base = yaml.safe_load(Path(lab.environment()["RUNBOOK_OVERRIDE"]).read_text())
    base["sources"]["pypi"]["index"] = f"http://{mirror}/simple/"
    inventory = folder / "hosts.yaml"
    inventory.write_text((PROJECT / "hosts.yaml").read_text())

    def controller(**settings: object) -> Controller:
        override = folder / f"override-{abs(hash(repr(settings)))}.yaml"
        said = {**base, "airflow": {**base["airflow"], **settings}}
        override.write_text(yaml.safe_dump(said, sort_keys=False))
        environment = {"RUNBOOK_INVENTORY": str(inventory), "RUNBOOK_OVERRIDE": str(override)}
        return fab.given(**environment, UV_CACHE_DIR=str(folder / "uv"))

    return controller


@pytest.fixture(scope="module")
def team(asking) -> Controller:
    """The controller of a team with a provider and a package that Airflow's lock lacks."""
    return asking(packages=[PROVIDER, "roman"])


@pytest.fixture
def drill(airflow, report, request) -> Callable[[Callable[[], object]], Outcome]:
    """drill(work) -> what became of twenty tasks of which some ran when the work began."""

    def go(work: Callable[[], object]) -> Outcome:
        run = f"{request.node.name}-{int(time.time())}"
        began = airflow.start(run)
        airflow.wait_until_in_flight(run)
        work()
        seconds = time.monotonic() - began
        outcome = airflow.outcome(run, began)
        report(f"{request.node.name[5:]}: {seconds:.0f} s; {outcome}")
        return outcome

    return go


def uses(airflow: Airflow) -> set[str]:
    """The installations that settings, links, units and running services of all servers name."""
    found = set()
    for host in SERVERS:
        found.add(airflow.installation(host))
        for command in (
            f"sed -n 's|^PATH={OPT}/\\([^/]*\\)/.*|\\1|p' /etc/airflow/airflow.env",
            f"cd {UNITS}; sed -n 's|^ExecStart={OPT}/\\([^/]*\\)/.*|\\1|p' airflow-*.service",
            "for pid in $(systemctl show -p MainPID --value 'airflow-*.service' | grep -vx 0); do "
            f"grep -oh ' {OPT}/[0-9][^/]*/lib' /proc/$pid/maps; done | sort -u | cut -d / -f 4",
        ):
            found |= set(airflow.shell(host, command).split())
    return found


def starts(airflow: Airflow) -> str:
    """When the services of all servers began."""
    show = "systemctl show -p ActiveEnterTimestampMonotonic 'airflow-*.service'"
    return "".join(airflow.shell(host, show) for host in SERVERS)


def installed(fab: Controller) -> None:
    answer = fab("airflow.install", "airflow.ship", "airflow.receive")
    assert answer.code == 0, answer.text


# The lock


def test_a_lock_is_planned_made_once_and_used(asking, team, airflow):
    folder = Path(team.environment["RUNBOOK_INVENTORY"]).parent / "locks"
    missing = team("airflow.install")
    assert missing.code == 1
    assert "To make it: fab airflow.lock" in missing.text
    planned = team("--plan", "airflow.lock")
    assert planned.code == 0, planned.text
    assert not folder.exists()
    made = team.text("airflow.lock")
    assert made.code == 0, made.text
    assert f"+ {PROVIDER} 3.6.0" in made.text
    assert "+ roman 4.2" in made.text
    [lock] = folder.iterdir()
    text = lock.read_text()
    own = (PROJECT / "files/airflow/2.9.0-py3.11.lock").read_text()
    assert own.splitlines()[:3] == text.splitlines()[4:7]
    assert team("airflow.lock").steps("changed", "differs") == set()
    assert lock.read_text() == text


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        (["roman", "jinja2<3"], "jinja2"),
        (["roman", "no-such-package-anywhere"], "no-such-package-anywhere"),
    ],
)
def test_what_does_not_fit_is_explained_in_uvs_words(asking, packages, words):
    answer = asking(packages=packages).text("airflow.lock")
    assert answer.code == 1
    assert "does not fit Airflow 2.9.0 for Python 3.11.2, or cannot be found. uv says:" in (
        answer.text
    )
    assert words in answer.text.partition("uv says:")[2]


# Beside the one in use


def test_a_new_installation_stands_beside_the_one_in_use(airflow, fab, team):
    before, began = uses(airflow), starts(airflow)
    [name] = before
    planned = team("--plan", "airflow.install", "airflow.ship", "airflow.receive")
    assert planned.code == 0, planned.text
    installed(team)
    again = team("airflow.install", "airflow.ship", "airflow.receive")
    assert again.steps("changed", "failed") == set(), again.text
    assert team("airflow", "systemd").steps("changed", "failed") == set()
    assert uses(airflow) == before
    assert starts(airflow) == began
    check = team("airflow.check")
    assert any(f"{name}, but hosts.yaml describes 2.9.0-" in one for _, one in check.steps("warn"))
    listed = team("airflow.installations").data["tables"]["airflow.installations"]
    assert {row[""] for row in listed} == {"in use", "that of hosts.yaml"}
    assert len(listed) == 2 * len(SERVERS)


def test_an_installation_that_is_interrupted_leaves_nothing_half_done(airflow, team, on):
    name = next(
        row["installation"]
        for row in team("airflow.installations").data["tables"]["airflow.installations"]
        if row[""] == "that of hosts.yaml"
    )
    on("airflow", f"rm -rf {OPT}/{name}")
    process = team.start("airflow.install")
    deadline = time.monotonic() + 60
    while on("airflow", f"ls -A {OPT}/.building-{name} 2>/dev/null || :") == "":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert on("airflow", f"ls -A {OPT}/{name}") == "", "only the build sees it there"
    process.kill()
    process.wait(timeout=30)
    lock = "/run/airflow-runbook/lock"
    on("airflow", f"[[ ! -e {lock} ]] || flock -w 300 {lock} true")
    installed(team)
    assert on("airflow", f"ls -A {OPT} | grep -E 'building|former|removed|tools$' || :") == ""


# The switch


def test_the_switch_with_tasks_in_flight(airflow, team, drill, fab):
    [before] = uses(airflow)
    planned = team("--plan", "airflow.switch")
    assert planned.code == 0, planned.text
    assert "with apache-airflow-providers-discord 3.6.0, with roman 4.2" in planned.text
    assert uses(airflow) == {before}

    def go() -> None:
        answer = team("--yes", "airflow.switch")
        assert answer.code == 0, answer.text

    outcome = drill(go)
    assert outcome.states == ALL
    assert outcome.retried == []
    [after] = uses(airflow)
    assert after != before
    for host in SERVERS:
        assert airflow.shell(host, f"readlink {OPT}/previous") == before
        assert airflow.shell(host, f"stat -c %U {OPT} {OPT}/current").split() == ["root", "root"]
    team.settled("airflow", 180)
    team.settled("systemd")


def test_a_second_switch_and_a_second_run_change_nothing(airflow, team):
    began = starts(airflow)
    again = team("--yes", "airflow.switch")
    assert again.code == 0, again.text
    assert again.steps("changed", "failed") == set()
    assert team("airflow", "systemd").steps("changed", "failed") == set()
    assert team("--plan", "airflow", "systemd").steps("differs") == set()
    assert starts(airflow) == began


def test_a_dag_uses_the_new_packages(airflow):
    airflow.shell(airflow.active(), f"cat >{DAGS}/counting.py <<'DAG'\n{DAG}DAG")
    airflow.wait_for("select 1 from dag where dag_id = 'roman' and is_active", 120)
    assert airflow.api("dags/roman/dagRuns", {"dag_run_id": "one"})["dag_run_id"] == "one"
    airflow.wait_for("select 1 from dag_run where run_id = 'one' and state = 'success'", 120)


def test_damage_of_what_is_in_use_is_seen_and_mended(airflow, team, on):
    [name] = uses(airflow)
    file = f"{OPT}/{name}/lib/python3.11/site-packages/roman.py"
    before = on("airflow", f"sha256sum {file}")
    for host in ("airflow", "worker1"):
        on(host, f"echo '# x' >>{file}")
    check = team("airflow.check")
    assert any("damaged on airflow, worker1" in one for _, one in check.steps("error")), check.text
    planned = team("--plan", "airflow.install", "airflow.ship", "airflow.receive")
    assert ("airflow", f"Airflow {name} in {OPT}/{name}, from its lock") in planned.steps("differs")
    installed(team)
    assert on("airflow", f"sha256sum {file}") == on("worker1", f"sha256sum {file}") == before
    team.settled("airflow", 180)


# The way back


def test_the_way_back_names_dags_that_would_break(airflow, team):
    before = uses(airflow)
    answer = team("--yes", "airflow.rollback")
    assert answer.code == 1
    assert "counting.py ModuleNotFoundError: No module named 'roman'" in answer.text
    assert uses(airflow) == before
    airflow.shell(airflow.active(), f"rm {DAGS}/counting.py")


def test_the_way_back_with_tasks_in_flight(airflow, team, drill):
    [before] = uses(airflow)
    former = airflow.shell("airflow", f"readlink {OPT}/previous")

    def go() -> None:
        answer = team("--yes", "airflow.rollback")
        assert answer.code == 0, answer.text
        assert f"but hosts.yaml describes {before}" in answer.text

    outcome = drill(go)
    assert outcome.states == ALL
    assert outcome.retried == []
    assert uses(airflow) == {former}
    # hosts.yaml still describes the other one: nothing goes there by itself.
    assert team("airflow", "systemd").steps("changed", "failed") == set()
    assert uses(airflow) == {former}
    assert any("but hosts.yaml describes" in one for _, one in team("airflow.check").steps("warn"))


@pytest.fixture
def cut_off(lab, team) -> Callable[[str], None]:
    """cut_off("on airflow") -> a switch that is killed soon after it says these words."""

    def go(words: str) -> None:
        process = team.start("--yes", "airflow.switch")
        said = ""
        for line in process.stdout:
            said += line
            if words in line:
                time.sleep(3)
                process.send_signal(signal.SIGKILL)
                break
        process.wait(timeout=30)
        assert words in said, said
        for host in SERVERS:
            lock = "/run/airflow-runbook/lock"
            done = lab.root_shell(host, f"[[ ! -e {lock} ]] || flock -w 240 {lock} true")
            assert done.returncode == 0, f"{host} is still at work"

    return go


def test_a_switch_that_was_cut_off_is_completed_or_taken_back(airflow, team, cut_off):
    [before] = uses(airflow)
    cut_off("on airflow, ftp, worker1")
    assert len(uses(airflow)) == 2
    check = team("airflow.check")
    assert any(f"{before} on " in one for _, one in check.steps("error")), check.text
    assert team("--yes", "airflow.rollback").code == 0
    assert uses(airflow) == {before}
    cut_off("on airflow, ftp, worker1")
    assert team("--yes", "airflow.switch").code == 0
    assert before not in uses(airflow)
    team.settled("airflow", 180)


# Clusters of earlier versions, and what is removed

MOVED = """set -e
cd /opt/airflow
name=$(readlink current)
cp -a "$name" 2.9.0
moved="s|/opt/airflow/$name/|/opt/airflow/2.9.0/|g"
grep -rlI "/opt/airflow/$name/" 2.9.0/bin | xargs sed -i "$moved"
cd /opt/airflow/2.9.0
{ cut -d ' ' -f 1,2 .airflow-runbook; bash /root/fingerprint.sh; } | paste -sd ' ' >/root/mark
cp /root/mark .airflow-runbook
sed -i "$moved" /etc/airflow/airflow.env \
  /usr/libexec/airflow-runbook/airflow-sql /usr/libexec/airflow-runbook/airflow-account \
  /etc/systemd/system/airflow-*.service
rm /opt/airflow/current /opt/airflow/previous
systemctl daemon-reload
systemctl try-restart 'airflow-*.service'
"""
"""A server becomes as an earlier version left it: one installation, and its path fixed."""


def test_a_cluster_of_an_earlier_version_moves_with_tasks_in_flight(airflow, team, drill, on):
    [name] = uses(airflow)
    script = (PROJECT / "files/shared/fingerprint.sh").read_text()
    for host in SERVERS:
        on(host, f"cat >/root/fingerprint.sh <<'EOF'\nfolder=/opt/airflow/2.9.0\n{script}EOF")
        on(host, MOVED)
    began = starts(airflow)
    links = {(host, f"{OPT}/current leads to 2.9.0") for host in SERVERS}
    assert team("--plan", "airflow", "systemd").steps("differs") == links
    kept = team("airflow", "systemd")
    assert kept.code == 0, kept.text
    assert kept.steps("changed") == links
    assert team("airflow", "systemd").steps("changed", "failed") == set()
    assert starts(airflow) == began
    assert uses(airflow) == {"2.9.0"}
    team.settled("systemd", 180)
    outcome = drill(lambda: team("--yes", "airflow.switch"))
    assert outcome.states == ALL
    assert outcome.retried == []
    assert uses(airflow) == {name}
    assert team("--yes", "airflow.rollback").code == 0
    assert uses(airflow) == {"2.9.0"}
    assert team("--yes", "airflow.switch").code == 0
    team.settled("airflow", 180)


def test_old_installations_go_beyond_the_number_that_is_kept(airflow, asking, on):
    packages = [PROVIDER, "roman"]
    [name] = uses(airflow)
    few = asking(packages=packages, keep_installations=2)
    plan = few("--plan", "airflow.prune")
    gone = {title.partition(",")[0] for _, title in plan.steps("differs")}
    assert len(gone) == 1
    [folder] = gone
    assert name not in folder
    assert few("airflow.prune").code == 0
    for host in SERVERS:
        there = set(on(host, f"ls -d {OPT}/2*/ | cut -d / -f 4").split())
        assert there == {name, "2.9.0"}
        assert on(host, f"ls {folder}.lock 2>/dev/null || :") == ""
    assert few("airflow.prune").steps("changed", "failed") == set()
