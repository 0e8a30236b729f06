"""Installations of Airflow side by side: the one in use, the switch, the way back, the oldest."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from fabfile import CONTENTS, systemd
from fabfile.airflow import (
    all_servers,
    check_installations,
    configure,
    install,
    installation,
    preflight,
    switch,
)
from fabfile.airflow.importing import imports_the_dags
from fabfile.airflow.installation import INSTALLATIONS, Installations, wanted
from fabfile.airflow.settings import Airflow
from fabfile.airflow.switch import CONTENTS as PACKAGES
from fabfile.shared.airflow import hosts
from fabfile.shared.copies import Copy
from runbook.declare.facts import Facts
from runbook.declare.templates import script
from runbook.declare.work import Asked, Question
from runbook.errors import MissingFact, RunbookError, UsageError

OLD, OLDER, EARLIER = "2.9.0-00000001", "2.9.0-00000002", "2.9.0"


@pytest.fixture
def here(hosts_yaml):
    """The cluster, with the passwords that it has once it was set up."""
    file = hosts_yaml()
    names = [secret.name for secret in all_servers.PASSWORDS]
    text = "".join(f"{name}: '{'k' * 43}'\n" for name in names)
    file.with_name("secrets.yaml").write_text(text)
    file.with_name("secrets.yaml").chmod(0o600)
    return CONTENTS.load(file)


def using(cluster, in_use=OLD, before=OLDER, there=None, **others: Installations) -> Facts:
    """Every server uses this installation, but for those that are named."""
    there = there or {in_use: 3, before: 2, wanted(cluster): 4}
    same = Installations(in_use, before, {name: made for name, made in there.items() if name})
    return Facts({INSTALLATIONS: {**{one.name: same for one in hosts(cluster)}, **others}})


# What is on a server


def bash(text: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def opt(tmp_path):
    """/opt/airflow with two installations, of which one is in use."""
    opt = tmp_path / "opt"
    for name, made in ((OLD, 2000), (OLDER, 1000)):
        (opt / name / "bin").mkdir(parents=True)
        (opt / name / "bin" / "airflow").touch()
        (opt / name / ".airflow-runbook").touch()
        os.utime(opt / name / ".airflow-runbook", (made, made))
    (opt / "2.9.0-0000000a").mkdir()  # half built
    (opt / f"{OLD}.copy" / "bin").mkdir(parents=True)
    (opt / f"{OLD}.copy" / "bin" / "airflow").touch()
    (opt / "python-3.9.16" / "bin").mkdir(parents=True)
    (opt / "previous").symlink_to(OLDER)
    (tmp_path / "airflow.env").write_text(f"A=b\nPATH={opt}/{OLD}/bin:/usr/bin\n")
    return opt


def asked(opt, pid: int = 1) -> Installations:
    text = script("airflow/installations.sh", opt=opt, env=opt.parent / "airflow.env")
    fake = opt.parent / "systemctl"
    fake.write_text(f"#!/bin/bash\nprintf 'MainPID=0\\n\\nMainPID={pid}\\n'\n")
    fake.chmod(0o755)
    path = {**os.environ, "PATH": f"{opt.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", text], env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return installation.parse(done.stdout)


def test_a_server_says_what_is_installed_and_what_is_in_use(opt):
    found = asked(opt)
    assert found == Installations(OLD, OLDER, {OLD: 2000, OLDER: 1000})
    assert found.newest_first == [OLD, OLDER]
    (opt.parent / "airflow.env").unlink()
    (opt / "previous").unlink()
    (opt / "previous").symlink_to("/etc")
    assert asked(opt) == Installations("", "", {OLD: 2000, OLDER: 1000})


def test_a_server_says_from_which_installation_a_service_runs(opt):
    library = opt / OLDER / "lib" / "library.so"
    library.parent.mkdir()
    library.write_bytes(b"x" * 4096)
    code = "import mmap, sys; file = open(sys.argv[1]); "
    code += "kept = mmap.mmap(file.fileno(), 0, prot=1); print(flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; input()", str(library)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline()
        assert asked(opt, process.pid).runs == (OLDER,)
        process.communicate(b"\n")


@pytest.mark.parametrize(
    "text", ["in-use ../x", "there 2.9.0", "there x 1", "uses 2.9.0", "runs /"]
)
def test_an_answer_that_is_none_is_not_believed(text):
    with pytest.raises((ValueError, LookupError)):
        installation.parse(text)


def test_links_lead_to_the_one_in_use_and_to_the_one_before(opt, monkeypatch):
    monkeypatch.setattr(installation, "CURRENT", f"{opt}/current")
    monkeypatch.setattr(installation, "PREVIOUS", f"{opt}/previous")
    for name, former in ((OLD, ""), (OLD, OLD), (OLDER, OLD), (OLDER, OLD)):
        for step in installation.linked(name, former):
            assert bash(f"{step.apply}\n{step.test}").returncode == 0
    assert (opt / "current").readlink().name == OLDER
    assert (opt / "previous").readlink().name == OLD
    assert [step.title for step in installation.linked(OLD)] == [f"{opt}/current leads to {OLD}"]


@pytest.mark.parametrize(
    ("known", "used"),
    [
        (Installations(OLD, "", {OLD: 1}), OLD),
        (Installations(EARLIER, "", {EARLIER: 1}), EARLIER),
        (Installations(OLD, "", {}), None),  # somebody has removed it
        (Installations("2.7.3-00000001", "", {"2.7.3-00000001": 1}), None),
        (Installations(), None),
    ],
)
def test_only_a_switch_changes_what_a_server_uses(here, known, used):
    host, facts = here.hosts["worker1"], using(here, worker1=known)
    name = used or wanted(here)
    assert installation.of(host, here, facts) == name
    [env] = [
        step.text
        for step in configure.configure(host, here, facts)
        if step.title.endswith("airflow.env")
    ]
    assert f"PATH=/opt/airflow/{name}/bin:" in env
    units = [step.text for step in systemd.install(host, here, facts)]
    assert any(f"ExecStart=/opt/airflow/{name}/bin/airflow celery worker" in one for one in units)


def test_a_server_without_a_lock_keeps_what_it_uses(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("  packages: []  ", "  packages: [roman]  "))
    host = cluster.hosts["worker1"]
    facts = Facts({INSTALLATIONS: {"worker1": Installations(OLD, "", {OLD: 1})}})
    assert list(systemd.install(host, cluster, facts))
    assert install.VENV.command(cluster, host)
    with pytest.raises(RunbookError, match=r"To make it: fab airflow\.lock"):
        list(install.install(host, cluster, facts))


def test_a_server_that_does_not_say_what_it_uses_is_not_set_up(here):
    host, facts = here.hosts["worker1"], using(here)
    del facts._values[INSTALLATIONS]["worker1"]
    for task in (configure.configure, systemd.install):
        with pytest.raises(MissingFact, match="the installations of Airflow on worker1"):
            list(task(host, here, facts))


@pytest.fixture
def settings_of(monkeypatch, opt):
    """settings_of("2.9.0") -> airflow.env names this installation below /opt/airflow."""
    monkeypatch.setattr(installation, "OPT", str(opt))
    monkeypatch.setattr("fabfile.airflow.importing.OPT", str(opt))
    monkeypatch.setattr("fabfile.airflow.check_installations.OPT", str(opt))
    monkeypatch.setattr(installation, "ENVIRONMENT", f"{opt.parent}/airflow.env")

    def write(name: str) -> None:
        (opt.parent / "airflow.env").write_text(f"A=b\nPATH={opt}/{name}/bin:/usr/bin\n")

    return write


# The switch


def walk(procedure) -> tuple[list[str], list[str], list]:
    stages, questions, steps = [], [], []
    for part in procedure:
        if isinstance(part, Question):
            questions.append(part.text)
        elif not isinstance(part, Asked):
            stages.append(part.title)
            steps += [(host.name, step) for host in part.hosts for step in part.of(host)]
    return stages, questions, steps


def test_servers_change_in_turn_and_only_if_those_before_work(here):
    target = wanted(here)
    stages, [question], steps = walk(switch.switch(hosts(here), here, using(here)))
    assert stages == [
        "may it begin?",
        f"{target} on airflow, ftp, worker1",
        f"{target} on scheduler2, haproxy2, nfs2",
        "older installations are removed",
        f"every server uses {target}; to go back: fab airflow.rollback",
    ]
    assert f"change from {OLD} to {target}, server by server" in question
    assert "fab airflow.rollback" in question
    titles = [step.title for name, step in steps if name == "worker1"]
    assert titles[:2] == [
        "it is set up for Airflow 2.9.0, or not at all",
        f"/opt/airflow/{target} is complete and undamaged",
    ]
    order = [
        f"/opt/airflow/previous leads to {OLD}",
        f"/opt/airflow/current leads to {target}",
        "file /etc/airflow/airflow.env",
        "file /etc/systemd/system/airflow-worker.service",
        "Airflow runs with its present settings",
        "the worker answers through the queue",
    ]
    titles = [title.replace("/etc/systemd/system//etc", "/etc") for title in titles]
    places = [titles.index(one) for one in order]
    assert places == sorted(places)
    scheduler = [step.title for name, step in steps if name == "airflow"]
    assert (
        f"{target} can import every DAG and plugin that the installation in use can import"
        in scheduler
    )
    assert "the scheduler has a heartbeat" in scheduler


def test_the_question_names_the_packages_that_change(here):
    facts = using(here)
    packages = {
        OLD: {"library": "1.0", "team": "1.0", "by-hand": "3"},
        wanted(here): {"library": "1.0", "team": "1.1", "roman": "5.2"},
    }
    facts = Facts({**facts._values, PACKAGES: {"airflow": packages}})
    _, [question], _ = walk(switch.switch(hosts(here), here, facts))
    assert "Packages: without by-hand 3, with roman 5.2, team 1.0 becomes 1.1." in question


def test_the_packages_of_each_installation_are_read():
    text = f"{OLD} apache_airflow-2.9.0.dist-info zope.event-5.0.dist-info \n\n{OLDER} \n"
    found = {OLD: {"apache-airflow": "2.9.0", "zope-event": "5.0"}, OLDER: {}}
    assert PACKAGES.parse(text) == found


def test_the_packages_of_each_installation_are_listed(here, opt, monkeypatch):
    monkeypatch.setattr(switch, "OPT", str(opt))
    (opt / OLD / "lib" / "python3.9" / "site-packages" / "roman-5.2.dist-info").mkdir(parents=True)
    (opt / OLDER / "lib").mkdir()
    (opt / f"{OLD}.copy" / "lib").mkdir()
    done = bash(PACKAGES.command(here, here.hosts["airflow"]))
    assert PACKAGES.parse(done.stdout) == {OLD: {"roman": "5.2"}}


def test_a_cluster_of_an_earlier_version_moves_to_the_new_place(here):
    facts = using(here, EARLIER, "", {EARLIER: 1, wanted(here): 2})
    _, [question], steps = walk(switch.switch(hosts(here), here, facts))
    assert f"from 2.9.0 to {wanted(here)}" in question
    assert "/opt/airflow/previous leads to 2.9.0" in [step.title for _, step in steps]
    back = using(here, wanted(here), EARLIER, {EARLIER: 1, wanted(here): 2})
    stages, *_ = walk(switch.rollback(hosts(here), here, back))
    assert "2.9.0 on airflow, ftp, worker1" in stages


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"worker1": Installations(OLD, "", {OLD: 1})}, RunbookError, "worker1 does not have"),
        ({"worker1": Installations()}, RunbookError, "worker1 does not have"),
    ],
)
def test_a_switch_that_cannot_end_well_does_not_begin(here, change, error, words):
    with pytest.raises(error, match=words):
        walk(switch.switch(hosts(here), here, using(here, **change)))


def test_a_switch_is_for_servers_that_are_set_up_and_for_all_of_them(here):
    new = Installations("", "", {wanted(here): 1})
    with pytest.raises(UsageError, match="worker1 uses no installation yet"):
        walk(switch.switch(hosts(here), here, using(here, worker1=new)))
    with pytest.raises(UsageError, match="-H leaves out airflow"):
        walk(switch.switch(hosts(here)[1:], here, using(here)))
    silent = using(here)
    del silent._values[INSTALLATIONS]["nfs2"]
    with pytest.raises(RunbookError, match="nfs2 does not answer"):
        walk(switch.switch(hosts(here), here, silent))


def test_the_version_is_not_changed_by_a_switch(here):
    other = using(here, OLD, "2.7.3-00000001", {OLD: 1, "2.7.3-00000001": 1})
    with pytest.raises(RunbookError, match=r"is Airflow 2\.7\.3, and hosts\.yaml says 2\.9\.0"):
        walk(switch.rollback(hosts(here), here, other))


# The way back


def test_the_way_back_is_to_the_one_before_and_hosts_yaml_is_named(here):
    facts = using(here, wanted(here), OLD)
    stages, [question], steps = walk(switch.rollback(hosts(here), here, facts))
    assert f"{OLD} on airflow, ftp, worker1" in stages
    assert f"from {wanted(here)} to {OLD}" in question
    assert stages[-1] == (
        f"every server uses {OLD}, but hosts.yaml describes {wanted(here)}: "
        "change airflow.packages there, or fab airflow.switch"
    )
    asked = f"{OLD} can import every DAG and plugin that the installation in use can import"
    assert asked in [step.title for _, step in steps]
    *_, steps = walk(switch.rollback(hosts(here), here, facts, broken_dags=True))
    assert asked not in [step.title for _, step in steps]


def test_a_switch_that_was_cut_off_can_be_taken_back(here):
    there = {OLD: 1, OLDER: 1, wanted(here): 2}
    done = Installations(wanted(here), OLD, there)
    for before in ("", OLDER, wanted(here)):
        facts = using(here, OLD, before, there, airflow=done, worker1=done)
        assert switch.one_before(here, facts) == OLD


def test_without_one_before_the_user_has_to_say_which(here):
    for facts in (
        using(here, OLD, "", {OLD: 1}),
        using(here, OLD, OLDER, worker1=Installations(OLD, "2.9.0-00000009", {OLD: 1})),
    ):
        with pytest.raises(RunbookError, match=r"fab airflow\.rollback --to NAME"):
            switch.one_before(here, facts)
    stages, *_ = walk(switch.rollback(hosts(here), here, using(here), to=OLDER))
    assert f"{OLDER} on airflow, ftp, worker1" in stages
    with pytest.raises(UsageError, match=f"is not installed on every server.*{OLDER}"):
        walk(switch.rollback(hosts(here), here, using(here), to="2.9.0-1"))


def test_dags_are_not_imported_where_nothing_changes(here, opt, settings_of):
    new = "2.9.0-0000000b"
    settings_of(OLD)
    same, other = (imports_the_dags(name, here) for name in (OLD, new))
    assert bash(same.test).returncode == 0
    assert bash(other.test).returncode == 0, "it is not built yet"
    (opt / new).mkdir()
    (opt / new / ".airflow-runbook").touch()
    for used in (OLD, EARLIER):
        settings_of(used)
        assert bash(other.test).returncode == 1, "also from an earlier version's installation"
    assert "is the share mounted? See fab nfs.check." in bash(other.apply).stdout
    settings_of("2.7.3-00000001")
    assert bash(other.test).returncode == 0, "it is of another version"
    (opt.parent / "airflow.env").unlink()
    assert bash(other.test).returncode == 0, "nothing is in use"


# What is removed


def test_the_oldest_that_nothing_needs_go(here):
    described = wanted(here)
    names = [f"2.9.0-0000000{number}" for number in range(1, 7)]
    there = {name: number for number, name in enumerate(names)}
    there |= {described: 9, "2.7.3-00000001": 5, "2.7.3-00000002": 4}
    known = Installations(names[0], names[1], there)
    kept = msgspec.structs.replace(here[Airflow], keep_installations=5)
    wide = msgspec.structs.replace(here, settings={**here.settings, "airflow": kept})
    assert switch.removable(known, wide) == ["2.7.3-00000002", *names[4:1:-1]]
    assert described not in switch.removable(known, here)
    assert switch.removable(Installations("", "", there), here) == []
    three = {OLD: 1, OLDER: 2, described: 3}
    assert switch.removable(Installations(described, OLD, three), here) == []
    runs = Installations(described, OLD, {**three, names[5]: 0}, (names[5],))
    assert names[5] not in switch.removable(runs, here)


def test_an_installation_goes_at_once_with_its_lock(opt, monkeypatch):
    (opt / f"{OLDER}.lock").touch()
    (opt / f".removed-{OLDER}").mkdir()
    text = script("airflow/remove.sh", folder=opt / OLDER)
    assert bash(text).returncode == 0
    assert bash(text).returncode == 0
    assert sorted(path.name for path in opt.iterdir() if OLDER in path.name) == []
    assert (opt / OLD).exists()


# What the check says


def judged(cluster, facts: Facts, **copies: Copy) -> dict[str, tuple[str, str, str]]:
    fine = {host.name: Copy("x", "1", "1") for host in hosts(cluster)}
    states = {fact: {**fine, **copies} for fact in (install.VENV, check_installations.IN_USE)}
    findings = check_installations.installed(cluster, Facts({**facts._values, **states}))
    return {one.title: (one.verdict.level, one.verdict.sentence, one.fix or "") for one in findings}


USED = "every server uses the installation of hosts.yaml"
SAME = "the installation is the same everywhere"


def test_the_check_says_which_installation_is_used(here):
    described = wanted(here)
    level, sentence, _ = judged(here, using(here, described, OLD))[USED]
    assert (level, sentence) == ("ok", f"{described}, 6 servers")
    level, sentence, fix = judged(here, using(here))[USED]
    assert (level, sentence) == ("warn", f"{OLD}, but hosts.yaml describes {described}")
    assert fix == "fab airflow.install airflow.ship airflow.receive airflow.switch"
    older = Installations("2.7.3", "", {"2.7.3": 1})
    behind = using(here, **{host.name: older for host in hosts(here)})
    assert judged(here, behind)[USED][2].endswith("airflow.upgrade")


def test_servers_that_differ_are_named(here):
    other = Installations(wanted(here), OLD, {wanted(here): 1})
    level, sentence, fix = judged(here, using(here, worker1=other))[USED]
    assert level == "error"
    assert f"{wanted(here)} on worker1" in sentence
    assert f"{OLD} on airflow, scheduler2, haproxy2, ftp, nfs2" in sentence
    assert fix == "fab airflow.switch"


def test_a_service_that_was_not_restarted_is_named(here):
    late = Installations(wanted(here), OLD, {wanted(here): 1, OLD: 1}, (OLD,))
    facts = using(here, wanted(here), OLD, worker1=late)
    level, sentence, fix = judged(here, facts)[USED]
    assert (level, sentence) == ("error", f"a service of worker1 still runs {OLD}")
    assert fix == "fab -H worker1 systemd.restart"


def test_damage_is_told_of_what_is_in_use(here):
    damaged = Copy("x", "1", "9")
    for facts in (using(here), using(here, wanted(here), OLD)):
        assert judged(here, facts)[SAME][0] == "ok"
        level, sentence, fix = judged(here, facts, worker1=damaged)[SAME]
        assert level == "error"
        assert "damaged on worker1" in sentence
        own = facts.known(INSTALLATIONS)["worker1"].in_use == wanted(here)
        assert fix.endswith("airflow.receive" if own else "airflow.switch")


@pytest.mark.parametrize("name", [OLD, EARLIER])
def test_a_server_is_asked_for_the_state_of_what_it_uses(here, opt, settings_of, name):
    content = Copy("2.9.0 x", "0" * 32)
    (opt / name).mkdir(exist_ok=True)
    (opt / name / ".airflow-runbook").write_text(f"{content.made_from} {content.noted}\n")

    def answer() -> Copy:
        text = check_installations.IN_USE.command(here, here.hosts["worker1"])
        return check_installations.IN_USE.parse(bash(text).stdout)

    settings_of(name)
    assert (answer().made_from, answer().noted) == (content.made_from, content.noted)
    settings_of(wanted(here))
    assert answer() == Copy(), "that is asked for by another fact"
    (opt.parent / "airflow.env").unlink()
    assert answer() == Copy()


def test_an_installation_that_no_server_has_is_not_called_the_same(here):
    none = dict.fromkeys((host.name for host in hosts(here)), Copy())
    level, sentence, fix = judged(here, using(here), **none)[SAME]
    assert (level, sentence) == ("error", "no server has it")
    assert fix == "fab airflow.install airflow.ship airflow.receive"


def test_a_missing_lock_is_told_and_stops_no_check(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("  packages: []  ", "  packages: [roman]  "))
    same = Installations(OLD, "", {OLD: 1})
    facts = Facts({INSTALLATIONS: {host.name: same for host in hosts(cluster)}})
    level, sentence, fix = judged(cluster, facts)[USED]
    assert level == "warn"
    assert "has no lock for Airflow 2.9.0" in sentence
    assert fix == "fab airflow.lock"


def test_a_missing_lock_is_told_before_anything_is_set_up(hosts_yaml, here):
    cluster = CONTENTS.load(hosts_yaml("  packages: []  ", "  packages: [roman]  "))
    [finding] = preflight.locked(cluster)
    assert (finding.verdict.level, finding.fix) == ("error", "fab airflow.lock")
    assert list(preflight.locked(here)) == []


def test_a_table_shows_what_is_where(here):
    rows = switch.installations(here, using(here))
    mine = [row for row in rows if row["host"] == "worker1"]
    assert [(row["installation"], row[""]) for row in mine] == [
        (wanted(here), "that of hosts.yaml"),
        (OLD, "in use"),
        (OLDER, "the one before"),
    ]
