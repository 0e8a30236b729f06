"""The DAGs and plugins of a project on the servers: what the tasks do there, and what is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest
from support.status_of import RELEASE, well

from fabfile import CONTENTS, airflow
from fabfile.airflow import check, dags, plugins, releases, status
from fabfile.airflow.installation import wanted
from fabfile.airflow.releases import Kept, chosen, parse
from fabfile.airflow.repository import Git
from fabfile.airflow.settings import Airflow
from fabfile.shared.airflow import DAGS, hosts
from runbook.declare.facts import Facts
from runbook.declare.step import Step
from runbook.declare.work import Question, Stage
from runbook.errors import InventoryError, RunbookError, SettingsError
from runbook.inventory.cluster import Cluster


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "etl.py").write_text("x = 1\n")
    return folder


def with_airflow(cluster: Cluster, **changed: object) -> Cluster:
    changed = {
        key: str(value) if isinstance(value, Path) else value for key, value in changed.items()
    }
    own = msgspec.structs.replace(cluster[Airflow], **changed)
    return msgspec.structs.replace(cluster, settings={**cluster.settings, "airflow": own})


@pytest.fixture
def facts(cluster) -> Facts:
    return Facts(well(cluster))


def steps_of(cluster: Cluster, facts: Facts, host: str = "ftp") -> list[Step]:
    return list(dags.dags(cluster.hosts[host], cluster, facts))


def titles(steps: list[Step]) -> list[str]:
    return [step.title for step in steps]


# A release, step by step


def test_a_release_arrives_is_imported_reaches_the_standby_and_then_runs(cluster, facts, folder):
    given = with_airflow(cluster, dags=folder)
    name = dags.project_files(given).name
    assert titles(steps_of(given, facts))[-5:] == [
        f"release {name} has arrived: 2 files",
        f"Airflow {wanted(given)} can import the dags of {name}",
        f"the standby of the share has release {name}",
        f"the DAGs are those of release {name}",
        "releases beyond the last 10 are gone",
    ]


def test_only_the_active_server_has_releases_and_both_have_the_programs(cluster, facts):
    standby = titles(steps_of(cluster, facts, "nfs2"))
    assert not any("release " in title for title in standby)
    assert any(title.endswith("releases/change.py") for title in standby)


def test_all_of_it_is_done_as_airflow(cluster, facts):
    for step in steps_of(cluster, facts)[-5:]:
        lines = "\n".join((step.apply, step.test, step.diff)).splitlines()
        for line in [line for line in lines if DAGS in line and "echo" not in line]:
            assert "runuser -u airflow --" in line


def test_a_single_server_waits_for_no_standby(hosts_yaml, facts):
    file = hosts_yaml("roles: [nfs, dag-processor]}\n  nfs2:", "roles: [target]}\n  nfs2:")
    file.write_text(
        file.read_text().replace("members: {ftp: 110, nfs2: 100}", "members: {nfs2: 100}")
    )
    cluster = CONTENTS.load(file)
    steps = list(dags.released(dags.project_files(cluster), cluster))
    assert len(steps) == 2
    assert "push" not in "".join(step.test for step in steps)


def test_a_server_that_lost_the_share_changes_nothing_more(cluster, tmp_path):
    (tmp_path / "ip").write_text("#!/bin/sh\n")
    (tmp_path / "ip").chmod(0o755)
    text = dags.switched(cluster, f"touch {tmp_path}/switched")
    done = subprocess.run(
        ["bash", "-c", f"PATH={tmp_path}:$PATH\n{text}"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "does not serve the share any more" in done.stdout
    assert not (tmp_path / "switched").exists()


@pytest.mark.parametrize(
    ("sync", "lacks", "waits"),
    [
        ("active", "<f+++ /app1/airflow/dags/.releases/0123456789ab/etl.py", True),
        ("active", "<f+++ /app1/airflow/dags/by_hand.py", False),
        ("active", None, False),
        ("inactive", "<f+++ /app1/airflow/dags/.releases/0123456789ab/etl.py", False),
    ],
)
def test_the_standby_is_waited_for_while_it_follows(tmp_path, sync, lacks, waits):
    """Otherwise the link could lead to a release of which a new leader has a part."""
    runuser = f"echo '{lacks}'" if lacks else "return 1"
    stand_ins = f"""systemctl() {{ [[ {sync} == active ]]; }}
runuser() {{ {runuser}; }}
"""
    test = dags.on_the_standby("0123456789ab").test
    done = subprocess.run(["bash", "-c", f"{stand_ins}{test}"], capture_output=True)
    assert (done.returncode != 0) is waits


def test_old_releases_stay_while_the_standby_is_away(cluster, facts):
    """It would refuse to remove all of them when it comes back (nfs.max_delete)."""
    test = steps_of(cluster, facts)[-1].test
    for follows, removed in (("true", True), ("false", False)):
        stand_ins = f"""runuser() {{
  if [[ $* == *push* ]]; then {follows}; else echo 'removed: release x'; fi
}}
"""
        done = subprocess.run(["bash", "-c", f"{stand_ins}{test}"], capture_output=True)
        assert (done.returncode != 0) is removed


def test_airflow_never_looks_into_the_releases_themselves(cluster, folder):
    """Each of them has DAGs of the same names."""
    (folder / ".airflowignore").write_text("^helpers/")
    files = dags.project_files(with_airflow(cluster, dags=folder)).files
    assert files[".airflowignore"].content == b"^helpers/\n^\\.releases(/|$)\n"
    glob = with_airflow(cluster, dags=folder, settings={"core": {"dag_ignore_file_syntax": "glob"}})
    assert dags.project_files(glob).files[".airflowignore"].content.endswith(b"\n/.releases/\n")


def test_what_runs_is_not_imported_again_by_another_installation(cluster, facts, folder):
    """airflow.switch has asked whether it can be; before an upgrade it is asked."""
    given = with_airflow(cluster, dags=folder)
    release = dags.project_files(given)
    [step] = [one for one in steps_of(given, facts) if "can import" in one.title]
    for what, code in (("runs", 0), ("has", 1)):
        stand_in = f"runuser() {{ [[ $* == *' {what} {release.name}' ]]; }}"
        done = subprocess.run(["bash", "-c", f"{stand_in}\n{step.test}"])
        assert done.returncode == code
    [before_upgrade] = [one for one in dags.tried(release, given) if "can import" in one.title]
    assert " runs " not in before_upgrade.test


@pytest.mark.parametrize(
    ("setting", "code", "ends", "says"),
    [
        ("refuse", 0, 0, ""),
        ("refuse", 3, 3, "Nothing was released."),
        ("refuse", 124, 124, "The import did not end within 900 s."),
        ("release", 3, 0, ""),
        ("release", 1, 1, "Nothing was released."),
    ],
)
def test_a_setting_says_whether_broken_dags_stop_a_release(
    cluster, folder, tmp_path, monkeypatch, setting, code, ends, says
):
    for name, does in (("as-airflow", f"exit {code}"), ("run", "test $1 = has")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(releases, "SCRIPTS", str(tmp_path))
    given = with_airflow(cluster, dags=folder, broken_dags=setting)
    there = releases.Place(str(tmp_path), f"{tmp_path}/run")
    (tmp_path / ".releases").mkdir()
    step = there.importable("dags", dags.project_files(given).name, "2.9.0-1", given)
    done = subprocess.run(["bash", "-c", step.apply], capture_output=True, text=True)
    assert done.returncode == ends
    assert says in done.stdout
    again = subprocess.run(["bash", "-c", step.test])
    assert (again.returncode == 0) is (ends == 0), "the next run does not import it again"
    assert step.shows_output is (setting == "release")


def test_a_plan_asks_no_program_that_is_not_there_yet(cluster, facts):
    [step] = [one for one in steps_of(cluster, facts) if one.title.startswith("the DAGs are")]
    done = subprocess.run(["bash", "-c", step.diff], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_plan_without_the_programs_on_the_server_counts_the_files(cluster, facts, folder):
    given = with_airflow(cluster, dags=folder)
    [step] = [one for one in steps_of(given, facts) if "has arrived" in one.title]
    done = subprocess.run(["bash", "-c", f"text=x\n{step.diff}"], capture_output=True, text=True)
    assert done.stdout == "the first release: 2 files\n"


# hosts.yaml


def test_dags_and_plugins_are_a_folder_or_a_reference_to_git(hosts_yaml):
    text = "plugins: {git: git@example.com:team/plugins.git, ref: v1, path: src}"
    own = CONTENTS.load(hosts_yaml("plugins: null", text))[Airflow]
    assert own.dags == "files/airflow/dags"
    assert own.plugins == Git("git@example.com:team/plugins.git", "v1", "src")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{git: 'ext::sh -c id'}", "airflow.plugins.git: ext::sh -c id is not valid; allowed: URL"),
        ("{git: https://example.com/x, branch: b}", "unknown key; allowed: git, ref, path, user"),
        ("{ref: main}", "`git` is missing"),
        ("{git: https://example.com/x, path: ../x}", "airflow.plugins.path"),
        ("{git: 'https://u:p@example.com/x'}", "airflow.plugins.git"),
        ("{git: 'http://example.com/x', token: {secret: t}}", "token: is for https:// only"),
        ("{git: 'git@example.com:x', token: {secret: t}}", "token: is for https:// only"),
        ("[a]", "path on this machine .*, mapping with git, ref, path, user, token, null"),
    ],
)
def test_a_reference_that_cannot_be_is_told_with_its_key(hosts_yaml, value, words):
    with pytest.raises(InventoryError, match=words):
        CONTENTS.load(hosts_yaml("plugins: null", f"plugins: {value}"))


def test_a_token_is_in_no_step(hosts_yaml, facts, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_DAGS_TOKEN", "s3cr3t-t0ken")
    text = "{git: https://example.com/x, token: {secret: dags_token}}"
    cluster = CONTENTS.load(hosts_yaml("dags: files/airflow/dags", f"dags: {text}"))
    assert cluster[Airflow].dags.token == "s3cr3t-t0ken"
    found = releases.Tree({}, "x", "c" * 40)
    monkeypatch.setattr(releases, "_fetched", lambda wanted, setting, state: found)
    for step in steps_of(cluster, facts):
        assert "s3cr3t" not in f"{step.title}{step.apply}{step.test}{step.diff}{step.text}"


def test_git_is_asked_once_in_a_run(cluster, facts, monkeypatch, tmp_path):
    asked = []

    def tree(self: releases.Repository) -> releases.Tree:
        asked.append(self.wanted.git)
        return releases.Tree({}, "x", "c" * 40)

    monkeypatch.setattr(releases.Repository, "tree", tree)
    given = with_airflow(cluster, dags=Git(f"file://{tmp_path}/once"))
    for host in ("ftp", "ftp"):
        steps_of(given, facts, host)
    assert len(asked) == 1


# Back


KEPT = (
    Kept("cccccccccccc-000000000003", "current", True, 60),
    Kept("bbbbbbbbbbbb-000000000002", "before", True, 600),
    Kept("aaaaaaaaaaaa-000000000001", "kept", True, 6000),
    Kept("aaaaaaaaaaaa-000000000004", "kept", False, 6000),
)


@pytest.mark.parametrize(
    ("to", "name"), [("", KEPT[1].name), ("bbbb", KEPT[1].name), ("000000000001", KEPT[2].name)]
)
def test_the_way_back_is_to_the_release_before_or_to_a_named_one(to, name):
    assert chosen(KEPT, to).name == name


@pytest.mark.parametrize(
    ("kept", "to", "words"),
    [
        (KEPT, "aaaa", "--to aaaa names 2 releases. There are: bbbbbbbbbbbb-000000000002, "),
        (KEPT, "cccc", "--to cccc names 0 releases"),
        (KEPT, "000000000004", "was changed by others since it ran"),
        (KEPT[:1], "", "No release is known that ran before. There are: none."),
    ],
)
def test_a_way_back_that_there_is_not_is_refused(kept, to, words):
    with pytest.raises(RunbookError, match=words.replace(".", r"\.")):
        chosen(kept, to)


def test_a_list_of_releases_is_read_and_nothing_else():
    assert parse("cccccccccccc-000000000003 current intact 60\nend") == (KEPT[0],)
    assert parse("end") == ()
    for wrong in ("x current intact 60\nend", "cccccccccccc-000000000003 other intact 1\nend"):
        with pytest.raises(ValueError, match="is not"):
            parse(wrong)


def test_a_rollback_asks_says_how_to_stay_and_runs_on_the_active_server(cluster, facts):
    known = Facts({**well(cluster), dags.RELEASES: {"ftp": KEPT}})
    given = with_airflow(cluster, dags=Git("https://example.com/x"))
    everybody = [given.hosts[name] for name in ("ftp", "nfs2")]
    question, stage = list(dags.dags_rollback(everybody, given, known))
    assert isinstance(question, Question)
    assert "of release bbbbbbbbbbbb-000000000002 run, instead of cccccccccccc-" in question.text
    assert "set airflow.dags.ref to its commit (bbbbbbbbbbbb…)" in question.text
    assert isinstance(stage, Stage)
    assert [host.name for host in stage.hosts] == ["ftp"]
    imported, step = stage.of(stage.hosts[0])
    assert imported.title == f"Airflow {wanted(given)} can import the dags of {KEPT[1].name}"
    assert "back bbbbbbbbbbbb-000000000002" in step.apply
    *_, stage = dags.dags_rollback(everybody, given, known, broken_dags=True)
    assert [step] == list(stage.of(stage.hosts[0]))


# Plugins


def plugin_steps(cluster: Cluster, host: str = "worker1") -> list[Step]:
    return list(plugins.plugins(cluster.hosts[host], cluster, Facts(well(cluster))))


def test_plugins_are_roots_and_take_effect_with_a_restart(cluster, folder):
    steps = plugin_steps(with_airflow(cluster, plugins=folder))
    assert [step.title for step in steps if step.notify] == [titles(steps)[-2]]
    assert titles(steps)[-2].startswith("the plugins are those of release ")
    for step in steps[-4:]:
        assert "/opt/airflow/plugins --plain" in step.apply
        assert "runuser" not in step.apply
    text = next(step.text for step in services_of(cluster) if "worker.service" in step.title)
    assert text.index("airflow.env") < text.index("EnvironmentFile=-/etc/airflow/plugins.env")


def services_of(cluster: Cluster) -> list[Step]:
    return list(airflow.services.installed(cluster.hosts["worker1"], cluster, "2.9.0"))


def test_without_plugins_those_of_the_servers_are_used(cluster):
    [step] = plugin_steps(cluster)
    assert step.apply == "rm -f /etc/airflow/plugins.env"


def test_plugins_that_others_have_put_on_a_server_are_not_silently_unloaded(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(plugins, "PLUGINS", str(tmp_path))
    monkeypatch.setattr(plugins, "AS_USER", "env")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").touch()

    def run(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True)

    assert run(plugins.no_others().test).returncode == 0
    (tmp_path / "mine.py").touch()
    assert run(plugins.no_others().test).returncode == 1
    said = run(plugins.no_others().apply).stdout
    assert "others put there: mine.py.\n" in said
    assert f"env mv -nT {tmp_path} {tmp_path}.by-hand" in said


def test_services_that_start_have_the_folder_of_the_release(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "ENVIRONMENT", str(tmp_path / "plugins.env"))
    monkeypatch.setattr(plugins, "PLACE", releases.Place("", "echo /opt/p"))
    step = plugins.running("0123456789ab")
    assert subprocess.run(["bash", "-c", step.test], capture_output=True).returncode
    subprocess.run(["bash", "-c", step.apply], check=True, capture_output=True)
    named = "AIRFLOW__CORE__PLUGINS_FOLDER=/opt/p has 0123456789ab\n"
    assert (tmp_path / "plugins.env").read_text() == named
    assert subprocess.run(["bash", "-c", step.test], capture_output=True).returncode == 0


def test_a_rollback_of_plugins_restarts_never_two_of_a_role_at_once(cluster, folder):
    known = Facts({plugins.RELEASES: {host.name: KEPT for host in hosts(cluster)}})
    given = with_airflow(cluster, plugins=folder)
    everybody = hosts(given)
    question, back, *restarts = list(plugins.plugins_rollback(everybody, given, known))
    assert "restore that folder" in question.text
    assert back.title == "back to bbbbbbbbbbbb-000000000002"
    imported, _ = back.of(back.hosts[0])
    assert imported.title == f"Airflow {wanted(given)} can import the plugins of {KEPT[1].name}"
    assert list(back.hosts) == everybody
    assert all(stage.title.startswith("restart on ") for stage in restarts)
    with pytest.raises(RunbookError, match=r"has no airflow\.plugins"):
        list(plugins.plugins_rollback(everybody, cluster, known))


def test_a_contradiction_of_settings_is_told(hosts_yaml):
    file = hosts_yaml("plugins: null", "plugins: files/airflow/plugins")
    text = file.read_text().replace("settings: {}", "settings: {core: {plugins_folder: /x}}", 1)
    file.write_text(text)
    with pytest.raises(InventoryError, match=r"contradicts airflow\.plugins"):
        CONTENTS.load(file)


# The DAG smoke


def test_smoke_has_its_own_place_and_needs_no_target(cluster, facts, hosts_yaml):
    def text(cluster: Cluster) -> str:
        [_, file] = dags.smoke_dag(cluster)
        assert file.title == f"file {DAGS}/airflow-runbook/smoke.py"
        compile(file.text, "smoke.py", "exec")
        return file.text

    assert "SSHOperator(" in text(cluster)
    alone = hosts_yaml("roles: [target]", "roles: []")
    assert "SSH" not in text(CONTENTS.load(alone))


@pytest.mark.parametrize(
    ("old", "new", "task", "says"),
    [("", "", "target", "REACHED"), ("roles: [target]", "roles: []", "worker", "RAN ON")],
)
def test_smoke_reads_the_log_of_its_last_task(hosts_yaml, old, new, task, says):
    cluster = CONTENTS.load(hosts_yaml(old, new))
    [stage] = airflow.operate.smoke([], cluster, Facts())
    *_, action = stage.of(stage.hosts[0])
    assert f"task={task} says=" in action.apply
    assert says in action.apply


# Which release runs


def test_status_and_check_name_the_release(cluster, facts):
    line = status.line(cluster, facts, [])
    assert f"DAGs of release {RELEASE}" in line
    finding = check.same_dags(facts)
    assert finding.verdict.sentence == f"6 servers, release {RELEASE}"


def test_a_release_that_others_have_changed_is_told(cluster):
    changed = (Kept(RELEASE, "current", False, 600),)
    [finding] = check.unchanged(Facts({dags.RELEASES: {"ftp": changed, "nfs2": changed}}))
    assert finding.verdict.level == "warn"
    assert f"others have changed files of {RELEASE} in {DAGS}" in finding.verdict.sentence
    assert "(seen on ftp, nfs2)" in finding.verdict.sentence
    assert not list(check.unchanged(Facts(well(cluster))))


def test_the_digest_of_a_server_is_of_its_release_and_of_the_files_of_others(tmp_path):
    """The files of a release are in its name, so a status need not read all of them."""
    for name in ("0123456789ab", "0123456789cd"):
        (tmp_path / ".releases" / name).mkdir(parents=True)
        (tmp_path / ".releases" / name / "a.py").write_text("1")
    (tmp_path / ".releases/current").symlink_to("0123456789ab")
    (tmp_path / "a.py").symlink_to(".releases/current/a.py")

    def answer() -> check.Folder:
        text = check.script("airflow/dag-folder.sh", folder=tmp_path)
        done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
        return check._folder(done.stdout)

    first = answer()
    assert first.release == "0123456789ab"
    assert answer().digest == first.digest
    (tmp_path / "by_hand.py").write_text("1")
    by_hand = answer()
    (tmp_path / ".releases/current").unlink()
    (tmp_path / ".releases/current").symlink_to("0123456789cd")
    other = answer()
    (tmp_path / ".releases/current").unlink()
    assert len({one.digest for one in (first, by_hand, other, answer())}) == 4
    assert answer().release == ""


def test_a_folder_that_is_not_there_is_told(cluster, facts):
    given = with_airflow(cluster, dags="/no/where")
    with pytest.raises(SettingsError, match=r"is not a folder\. Correct airflow\.dags in hosts"):
        steps_of(given, facts)
