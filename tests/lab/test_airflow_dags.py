"""A team's repository of DAGs on real hosts: released from git, run, changed and rolled back."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.dag_repository import DagRepository
from support.drill import DAGS, Airflow

STATE = "whole"

SERVERS = ("airflow", "scheduler2", "haproxy2", "ftp", "nfs2", "worker1")
RELEASES = f"{DAGS}/.releases"
PROGRAM = "/usr/libexec/airflow-runbook/airflow-releases"
ALL = {"success": 20}


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    return Airflow(lab)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> DagRepository:
    """Version 1 of about 300 files, committed."""
    made = DagRepository(tmp_path_factory.mktemp("repository"))
    made.write(1)
    made.commit()
    return made


@pytest.fixture(scope="module")
def team(fab, repository, tmp_path_factory) -> Callable[..., Controller]:
    """team(releases=3) -> a fab whose hosts.yaml has the repository, and these settings."""
    folder = tmp_path_factory.mktemp("team")
    url = f"file://{repository.folder}"

    def given(**changed: object) -> Controller:
        data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
        data["airflow"]["dags"] = {"git": url, "ref": "main", "path": "dags"}
        data["airflow"].update(changed)
        path = folder / f"override-{len(list(folder.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return fab.given(RUNBOOK_OVERRIDE=str(path))

    return given


def change(repository: DagRepository, version: int) -> str:
    repository.write(version)
    return repository.commit()


def running(on, host: str) -> str:
    return on(host, f"readlink {RELEASES}/current")


def seen_everywhere(on, release: str) -> None:
    """Within the time that clients may remember the former link."""
    deadline = time.monotonic() + 15
    for host in SERVERS:
        while running(on, host) != release:
            assert time.monotonic() < deadline, f"{host} sees {running(on, host)}"
            time.sleep(0.5)


def wait_for_tag(airflow: Airflow, tag: str) -> None:
    """Airflow shows the DAG `consistent` of this version."""
    airflow.wait_for(f"select 1 from dag_tag where dag_id = 'consistent' and name = '{tag}'", 120)


# From git


def test_a_plan_names_the_files_and_changes_nothing(team, on, airflow):
    before = running(on, airflow.active())
    plan = team()("--plan", "airflow.dags")
    assert plan.code == 0, plan.text
    assert "added: consistent.py" in plan.text
    assert "added: tests/deep/broken_0.py" in plan.text
    assert running(on, airflow.active()) == before
    assert on(airflow.active(), f"ls {DAGS}/consistent.py 2>/dev/null || echo none") == "none"


def test_a_repository_is_released_from_git(team, airflow, repository, on):
    answer = team()("airflow.dags")
    assert answer.code == 0, answer.text
    commit = repository.git("rev-parse", "HEAD")
    release = running(on, airflow.active())
    assert release.startswith(f"{commit[:12]}-")
    seen_everywhere(on, release)
    wait_for_tag(airflow, "v1")
    airflow.wait_for("select 1 from dag where dag_id = 'packed' and is_active", 60)
    known = {row[0] for row in airflow.ask("select dag_id from dag where is_active")}
    assert {"consistent", "in_flight", "packed", "only_v1", "small_5", "smoke"} <= known
    assert airflow.ask("select filename from import_error") == []


@pytest.mark.long
def test_every_file_has_its_mode_and_content(on, repository):
    report = on("worker1", f"runuser -u airflow -- {DAGS}/bin/report")
    assert report == "REPORT 1"
    assert on("worker1", f"readlink {DAGS}/bin/latest") == "report"
    wanted = subprocess.run(
        ["sha256sum", str(repository.folder / "dags/logo.png")], capture_output=True, text=True
    ).stdout.split()[0]
    assert on("worker1", f"sha256sum <{DAGS}/logo.png").split()[0] == wanted
    assert on("worker1", f"find -L {DAGS} -name '*.md' | wc -l") == "0", "only path is released"


def test_a_second_run_changes_nothing(team):
    again = team()("airflow.dags")
    assert again.steps("changed", "failed") == set(), again.text
    assert team()("--plan", "airflow.dags").steps("differs") == set()


def test_check_and_status_name_the_release(team, lab, repository, on, airflow):
    release = running(on, airflow.active())
    team().settled("airflow", 120)
    assert f"release {release}" in team()("airflow.check").text
    done = lab.exec(["inv", "cluster.status"], cwd=PROJECT, capture_output=True, text=True)
    assert "DAGs of release" in done.stdout
    assert release in done.stdout


@pytest.mark.long
def test_smoke_is_there_beside_it(team):
    answer = team()("airflow.smoke")
    assert answer.code == 0, answer.text
    assert "REACHED card1" in answer.text


# Changed and rolled back, with tasks in flight


def in_flight(airflow: Airflow, work: Callable[[], None]) -> dict[str, int]:
    """Twenty tasks, each of which later imports a module that only its own release has."""
    run = f"run-{int(time.time())}"
    began = start(airflow, run)
    airflow.wait_until_in_flight(run)
    work()
    outcome = airflow.outcome(run, began)
    assert outcome.retried == [], outcome
    return outcome.states


def start(airflow: Airflow, run: str) -> float:
    told = airflow.api("dags/in_flight/dagRuns", {"dag_run_id": run})
    assert (told or {}).get("dag_run_id") == run, told
    return time.monotonic()


@pytest.mark.long
def test_a_change_fails_no_task_in_flight(team, airflow, repository, on, report):
    before = running(on, airflow.active())
    commit = change(repository, 2)
    plan = team()("--plan", "airflow.dags")
    for line in ("changed: consistent.py", "added: team/only_v2.py", "removed: team/only_v1.py"):
        assert line in plan.text
    assert "-VERSION = 1" in plan.text

    def release() -> None:
        began = time.monotonic()
        answer = team()("airflow.dags")
        assert answer.code == 0, answer.text
        report(f"a release of 300 files: {time.monotonic() - began:.1f} s")

    assert in_flight(airflow, release) == ALL
    now = running(on, airflow.active())
    assert now.startswith(commit[:12])
    assert on(airflow.active(), f"readlink {RELEASES}/{now}.before") == before
    wait_for_tag(airflow, "v2")
    airflow.wait_for("select 1 from dag where dag_id = 'only_v1' and not is_active", 120)
    assert airflow.ask("select filename from import_error") == []


@pytest.mark.long
def test_a_rollback_fails_no_task_in_flight(team, airflow, on):
    now = running(on, airflow.active())
    former = on(airflow.active(), f"readlink {RELEASES}/{now}.before")
    plan = team()("--plan", "airflow.dags-rollback")
    assert "added: team/only_v1.py" in plan.text
    assert f"The DAGs of release {former} run, instead of {now}." in plan.text

    def back() -> None:
        answer = team()("--yes", "airflow.dags-rollback")
        assert answer.code == 0, answer.text

    assert in_flight(airflow, back) == ALL
    assert running(on, airflow.active()) == former
    wait_for_tag(airflow, "v1")
    assert team()("--yes", "airflow.dags-rollback", "--to", now[:8]).code == 0
    assert running(on, airflow.active()) == now
    seen_everywhere(on, now)


# No reader sees half of it


@pytest.mark.long
def test_no_reader_sees_half_of_a_release(team, airflow, repository, on, report):
    """A worker reads over NFS, while the link changes every few seconds."""
    for version in (3, 4):
        change(repository, version)
        assert team()("airflow.dags").code == 0
    active = airflow.active()
    now = running(on, active)
    former = on(active, f"readlink {RELEASES}/{now}.before")
    text = (PROJECT / "tests/support/release_reader.py").read_text()
    on("worker1", f"cat >/tmp/release_reader.py <<'PY'\n{text}PY")
    reader = f"/usr/libexec/airflow-runbook/as-airflow python /tmp/release_reader.py {DAGS} 60"
    on("worker1", f"nohup {reader} >/tmp/release_reader.json 2>/tmp/release_reader.log &")
    switch = f"runuser -u airflow -- {PROGRAM} {DAGS} switch"
    on(
        active,
        f"for _ in {{1..6}}; do {switch} {former}; sleep 5; {switch} {now}; sleep 5; done",
    )
    deadline = time.monotonic() + 60
    while not (said := on("worker1", "cat /tmp/release_reader.json")):
        assert time.monotonic() < deadline, on("worker1", "cat /tmp/release_reader.log")
        time.sleep(1)
    seen = json.loads(said)
    report(f"12 changes, {sum(seen.values())} readings: {seen}")
    assert set(seen) <= {"v3", "v4"}, seen
    assert airflow.ask("select filename from import_error") == []


@pytest.mark.long
def test_the_standby_has_all_of_a_release_before_the_link(airflow, on):
    active = airflow.active()
    standby = next(server for server in ("ftp", "nfs2") if server != active)
    now = running(on, active)
    deadline = time.monotonic() + 30
    while running(on, standby) != now:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    sums = f"cd {RELEASES}/{now} && find . -type f ! -name '*.pyc' | sort | xargs sha256sum"
    assert on(standby, sums) == on(active, sums)


@pytest.mark.long
def test_the_release_runs_on_after_a_failover(team, fab, airflow, on):
    now = running(on, airflow.active())
    assert fab("--yes", "nfs.failover").code == 0
    assert running(on, airflow.active()) == now
    assert team()("airflow.dags").steps("changed", "failed") == set()
    team().settled("airflow", 240)
    fab.settled("nfs", 120)


# What is wrong is told, and nothing of it is released


def test_a_broken_dag_stops_the_release_and_one_in_an_ignored_folder_does_not(
    team, airflow, repository, on
):
    before = running(on, airflow.active())
    broken = repository.folder / "dags/team/broken.py"
    broken.write_text("import airflow\nfrom airflow import DAGG\n")
    repository.commit()
    answer = team()("airflow.dags")
    assert answer.code == 1
    assert "team/broken.py: ImportError: cannot import name 'DAGG'" in answer.text
    assert "Nothing was released." in answer.text
    assert "broken_0" not in answer.text
    assert running(on, airflow.active()) == before
    accepted = team(broken_dags="release")("airflow.dags")
    assert accepted.code == 0, accepted.text
    assert "team/broken.py: ImportError" in accepted.text
    assert running(on, airflow.active()) != before
    broken.unlink()
    repository.commit()
    assert team()("airflow.dags").code == 0


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"ref": "mian"}, "has no branch or tag mian (did you mean main?)"),
        ({"path": "nowhere"}, "has no folder nowhere. Correct path of airflow.dags"),
        ({"git": "file:///no/such/repository"}, "file:///no/such/repository cannot be read"),
    ],
)
def test_a_wrong_reference_is_told(team, repository, wanted, words):
    source = {"git": f"file://{repository.folder}", "ref": "main", "path": "dags", **wanted}
    answer = team(dags=source)("airflow.dags")
    assert answer.code == 2
    assert words in answer.text


@pytest.mark.long
def test_old_releases_go_and_the_last_ones_stay(team, repository, on, airflow):
    for version in range(5, 8):
        change(repository, version)
        assert team(releases=3)("airflow.dags").code == 0
    names = on(airflow.active(), f"cd {RELEASES} && ls -d ????????????-????????????")
    assert len(names.split()) == 3


# What others put on the share


@pytest.mark.long
def test_files_of_others_stay_and_are_read(team, airflow, on):
    active = airflow.active()
    text = "from datetime import datetime\nfrom airflow import DAG\n"
    text += 'with DAG("by_hand", start_date=datetime(2024, 1, 1), schedule=None):\n    pass\n'
    on(active, f"runuser -u airflow -- tee {DAGS}/by_hand.py >/dev/null <<'PY'\n{text}PY")
    airflow.wait_for("select 1 from dag where dag_id = 'by_hand' and is_active", 90)
    assert team()("airflow.dags").code == 0
    assert on(active, f"ls {DAGS}/by_hand.py")
    on(active, f"rm {DAGS}/by_hand.py")


@pytest.mark.long
def test_a_name_that_others_have_taken_is_refused(team, airflow, repository, on):
    active = airflow.active()
    before = running(on, active)
    on(active, f"runuser -u airflow -- touch {DAGS}/mine.py")
    (repository.folder / "dags/mine.py").write_text("MINE = 1\n")
    repository.commit()
    plan = team()("--plan", "airflow.dags")
    assert f"refused: {DAGS}/mine.py was put there by others" in plan.text
    answer = team()("airflow.dags")
    assert answer.code == 1
    assert f"runuser -u airflow -- mv -nT {DAGS}/mine.py {DAGS}/mine.py.by-hand" in answer.text
    assert running(on, active) == before
    on(active, f"rm {DAGS}/mine.py")
    assert team()("airflow.dags").code == 0


@pytest.mark.long
def test_a_change_in_a_release_is_told_kept_and_replaced(team, airflow, on):
    active = airflow.active()
    now = running(on, active)
    on(active, f"runuser -u airflow -- tee -a {DAGS}/lib/part_000.py <<<'# mine' >/dev/null")
    checked = team()("airflow.check")
    assert f"others have changed files of {now} in {RELEASES}" in checked.text
    assert team()("airflow.dags").code == 0
    assert running(on, active) == f"{now}.2"
    assert on(active, f"tail -1 {RELEASES}/{now}/lib/part_000.py") == "# mine"
    team().settled("airflow", 60)


@pytest.mark.long
def test_all_names_removed_by_a_writer_come_back(team, airflow, on):
    """rm -rf /app1/airflow/dags/* takes the links, and no release."""
    now = running(on, "airflow")
    on("airflow", f"runuser -u airflow -- bash -c 'rm -rf {DAGS}/*'")
    assert on(airflow.active(), f"ls {RELEASES}/{now}/consistent.py")
    assert team()("airflow.dags").code == 0
    seen_everywhere(on, now)
    assert on("worker1", f"cat {DAGS}/version.txt")


def test_what_airflow_owns_on_the_share_leads_root_nowhere(team, airflow, on):
    """A DAG author may put anything there, and root does nothing there itself."""
    active = airflow.active()
    before = on(active, "find /etc -maxdepth 1 | sort | sha256sum; sha256sum </etc/passwd")
    names = "../../../etc/passwd\\n/etc/passwd\\n$(id)\\n"
    as_airflow = "runuser -u airflow -- bash -c"
    on(active, f"{as_airflow} \"printf '{names}' >{DAGS}/.shipped\"")
    on(active, f"{as_airflow} 'mv {RELEASES} {RELEASES}-own; ln -s /etc {RELEASES}'")
    try:
        answer = team()("airflow.dags")
        assert answer.code == 1
        assert f"{RELEASES} is a link, which others have made." in answer.text
    finally:
        on(active, f"{as_airflow} 'rm {RELEASES} {DAGS}/.shipped; mv {RELEASES}-own {RELEASES}'")
    assert on(active, "find /etc -maxdepth 1 | sort | sha256sum; sha256sum </etc/passwd") == before
    assert team()("airflow.dags").code == 0


# Plugins, and the DAG smoke without a target


@pytest.mark.long
def test_plugins_are_released_take_effect_and_go_back(team, airflow, repository, on):
    plugins = {"git": f"file://{repository.folder}", "ref": "main", "path": "plugins"}

    def loaded(host: str) -> str:
        return on(host, "airflow plugins -o plain 2>/dev/null | grep -o 'team_v[0-9]*' | head -1")

    for version in (8, 9):
        change(repository, version)
        answer = team(plugins=plugins)("airflow.plugins", "systemd")
        assert answer.code == 0, answer.text
        assert loaded("worker1") == f"team_v{version}"
    again = team(plugins=plugins)("airflow.plugins", "systemd")
    assert again.steps("changed", "failed") == set()
    named = on("worker1", "cat /etc/airflow/plugins.env")
    assert named.startswith("AIRFLOW__CORE__PLUGINS_FOLDER=/opt/airflow/plugins/.releases/")
    began = "systemctl show -p ActiveEnterTimestamp --value airflow-worker"
    on("worker1", f'[ $(date +%s -d "$({began})") -ge $(stat -c %Y /etc/airflow/plugins.env) ]')
    assert on("worker1", "stat -c %U $(cut -d= -f2 /etc/airflow/plugins.env)") == "root"
    assert team(plugins=plugins)("--yes", "airflow.plugins-rollback").code == 0
    assert loaded("scheduler2") == "team_v8"
    assert team()("airflow.plugins", "systemd").code == 0
    assert loaded("worker1") == ""


@pytest.mark.long
def test_smoke_works_without_a_target(airflow, lab, fab, tmp_path, on):
    data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
    data["hosts"] = {"card1": {"roles": []}}
    override = tmp_path / "override.yaml"
    override.write_text(yaml.safe_dump(data, sort_keys=False))
    alone = fab.given(RUNBOOK_OVERRIDE=str(override))
    assert alone("airflow.dags").code == 0
    known = "select 1 from serialized_dag where dag_id = 'smoke'"
    airflow.wait_for(f"{known} and data::text not like '%target%'", 120)
    answer = alone("airflow.smoke")
    assert answer.code == 0, answer.text
    assert "RAN ON worker1" in answer.text
    assert fab("airflow.dags").code == 0
