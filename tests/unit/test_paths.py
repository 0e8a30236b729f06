"""Root works only where nobody else decides where a path leads; there, the owner does."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from support.all_steps import answered, steps_of
from support.here import AS_ME, OURS, Here

from fabfile import CONTENTS
from runbook.declare import steps
from runbook.declare.drills import Deed
from runbook.declare.library import library
from runbook.declare.step import quote
from runbook.declare.work import StepTask

ROOTS, AIRFLOWS = "directory|755|root|root", "directory|755|airflow|airflow"
LINK, AIRFLOWS_LINK = "symbolic link|777|root|root", "symbolic link|777|airflow|airflow"
FILE = "regular file|644|airflow|airflow"

USUAL = {"/": ROOTS, "/app1": ROOTS, "/app1/airflow": AIRFLOWS}
PLUGINS = "/app1/airflow/plugins"


def found(there: dict[str, str], path: str, kind: str, owner: str, answers: str = "") -> list[str]:
    """What the library makes of a path, if stat says this: who works there, or why nobody does."""
    seen = " ".join(f"[{quote(name)}]={quote(said)}" for name, said in there.items())
    text = f"""{library()}
look_at_paths() {{ seen_path=({seen}) paths_seen=yes; }}
{answers}
path_is {path} {quote(kind)} 0755 {owner} {owner}
printf '%s\\n' "$worker" "$refused"
"""
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("more", "path", "owner", "worker"),
    [
        ({}, "/app1/airflow", "airflow", "root"),
        ({}, PLUGINS, "airflow", "airflow"),
        ({PLUGINS: AIRFLOWS}, f"{PLUGINS}/x", "airflow", "airflow"),
        ({PLUGINS: ROOTS}, f"{PLUGINS}/x", "airflow", "airflow"),
        ({"/new": ROOTS}, "/new/er/x", "root", "root"),
        ({"/tmp": "directory|1777|root|root"}, "/tmp/x", "airflow", "airflow"),
        ({"/etc": "directory|2755|root|rabbitmq"}, "/etc/x", "root", "root"),
    ],
)
def test_root_works_where_only_root_can_change_the_way_and_the_owner_elsewhere(
    more, path, owner, worker
):
    assert found({**USUAL, **more}, path, "directory", owner) == [worker, ""]


@pytest.mark.parametrize(
    ("more", "path", "owner", "words"),
    [
        ({PLUGINS: AIRFLOWS_LINK}, PLUGINS, "airflow", f"{PLUGINS} is a link (airflow's)"),
        ({PLUGINS: AIRFLOWS_LINK}, PLUGINS, "airflow", f"runuser -u airflow -- rm {PLUGINS}"),
        ({PLUGINS: LINK}, PLUGINS, "airflow", f"{PLUGINS} is a link (root's)"),
        ({PLUGINS: AIRFLOWS_LINK}, f"{PLUGINS}/a/b", "airflow", f"{PLUGINS} is a link"),
        ({"/app1/x": AIRFLOWS_LINK}, "/app1/x", "root", "To remove it: rm /app1/x"),
        ({"/app1/x": AIRFLOWS_LINK}, "/app1/x/y", "root", "/app1/x is a link (airflow's)"),
        ({"/app1/x": LINK}, "/app1/x", "root", "/app1/x is a link (root's)"),
        ({}, PLUGINS, "root", "/app1/airflow belongs to airflow: nothing is written there"),
        ({}, PLUGINS, "postgres", "To make it root's: chown root: /app1/airflow"),
        ({PLUGINS: ROOTS}, PLUGINS, "airflow", f"runuser -u airflow -- mv {PLUGINS} {PLUGINS}.old"),
        ({"/app1": "directory|775|root|users"}, PLUGINS, "airflow", "chmod go-w /app1"),
        ({"/app1": "directory|757|root|root"}, "/app1/x", "root", "chmod go-w /app1"),
        ({"/tmp": "directory|1777|root|root"}, "/tmp/x", "root", "chmod go-w /tmp"),
    ],
)
def test_nobody_works_where_somebody_else_decides_where_it_leads(more, path, owner, words):
    [_, refused] = found({**USUAL, **more}, path, "directory", owner)
    assert words in refused


def walk(*lines: str) -> str:
    return "namei() { printf '%s\\n' " + " ".join(map(quote, lines)) + "; }"


@pytest.mark.parametrize(
    ("lines", "target", "answer"),
    [
        ([" lrwxrwxrwx root root run -> /run", "   drwxr-xr-x root root run"], "root", "root"),
        (["   drwxr-xr-x root root data", "   drwx------ airflow x app1"], "airflow", "airflow"),
        (["   drwxr-xr-x bob  bob  data", "   drwx------ root root app1"], "root", "refused"),
        (["   drwxrwxr-x root root data", "   drwx------ root root app1"], "root", "refused"),
    ],
)
def test_a_link_that_root_has_made_leads_to_where_only_root_or_the_owner_can_change_anything(
    lines, target, answer
):
    there = {"/": ROOTS, "/var": ROOTS, "/var/run": LINK}
    stand_ins = f"{walk(*lines)}\nstat() {{ echo {target}; }}"
    [worker, refused] = found(there, "/var/run/x", "regular file", "airflow", stand_ins)
    assert (answer == "refused") is bool(refused)
    assert refused or worker == answer


@pytest.fixture
def here(tmp_path) -> Here:
    return Here(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_the_owner_does_the_work_in_its_own_folder(here):
    (here.folder / "own").mkdir()
    os.chown(here.folder / "own", 65534, 65534)
    for folder in (here.folder, *here.folder.parents):
        if folder.stat().st_mode & 0o077 == 0:  # pytest's own
            folder.chmod(0o711)
    mine = {"owner": "nobody", "group": "nogroup"}
    wanted = [
        steps.directory(here.path("own/d"), **mine),
        steps.file(here.path("own/d/f"), "it's $HOME\n", "0640", **mine),
        steps.line(here.path("own/d/f"), "more", "0640", **mine),
    ]
    if subprocess.run(["runuser", "-u", "nobody", "--", "ls", here.path("own")]).returncode:
        pytest.skip("nobody cannot reach the folder for temporary files")
    assert here.statuses(wanted[0], wanted[2]) == ["changed", "changed"]
    assert here.statuses(wanted[0], wanted[2]) == ["ok", "ok"]
    assert here.statuses(wanted[1], wanted[2], mode="plan") == ["differs", "ok"]
    secret = here.folder / "secret"
    secret.write_text("root's\n")
    secret.chmod(0o600)
    (here.folder / "own/d/f").unlink()
    (here.folder / "own/d/f").symlink_to(secret)
    for mode in ("plan", "do"):
        reader = here.run(wanted[2], mode=mode)
        [sentence] = reader.results[0].output
        assert f"{here.path('own/d/f')} is a link" in sentence
    assert subprocess.run(["bash", "-c", wanted[2].apply]).returncode == 0, "as typed by a person"
    assert secret.read_text() == "root's\n"
    assert secret.stat().st_uid == 0
    (here.folder / "own").rename(here.folder / "other")
    (here.folder / "own").symlink_to(here.folder / "other")
    assert here.statuses(steps.file(here.path("own/d/g"), "", "0640")) == ["failed"]


def test_a_link_where_a_folder_should_be_is_neither_followed_nor_removed(here):
    (here.folder / "target").mkdir(mode=0o700)
    (here.folder / "d").symlink_to(here.folder / "target")
    reader = here.run(steps.directory(here.path("d"), "0755", **OURS))
    assert reader.results[0].status == "failed"
    assert f"{here.path('d')} is a link" in reader.results[0].output[0]
    assert (here.folder / "d").is_symlink()
    assert (here.folder / "target").stat().st_mode & 0o777 == 0o700


def test_a_folder_where_a_file_should_be_stays(here):
    (here.folder / "f").mkdir()
    wanted = steps.file(here.path("f"), "text\n", **OURS)
    assert here.statuses(wanted) == ["failed"]
    subprocess.run(["bash", "-c", AS_ME + wanted.apply], capture_output=True)
    assert list((here.folder / "f").iterdir()) == []


# What sections do themselves

OTHERS = (
    *("/app1/airflow", "/app1/airflow_logs", "/home/", "/var/lib/nfs-ha/", "/run/nfs-ha/"),
    "/var/lib/airflow-drill/",
    *("/var/lib/pgsql/", "/etc/pgbackrest/tls/", "/var/lib/etcd/", "/var/lib/rabbitmq/"),
)
"""Folders of other accounts; what is in them is theirs."""

BY_ROOT = re.compile(
    r"(?:^|[;&|(){}!]|\b(?:then|do|else)\b)\s*"
    r"(?:chown|chmod|rm|cp|mv|tee|touch|install|mkdir|ln|sed|restorecon|cat|find(?! -L)|rsync)\b"
    rf"[^;&|\n]* \"?(?:{'|'.join(OTHERS)})",
    re.MULTILINE,
)


def unquoted(text: str) -> str:
    """Commands without here-documents and what is in single quotes."""
    text = re.sub(r"<<'(EOF_*)'\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"'[^']*'", "''", text)


def commands(cluster, facts):
    for section in CONTENTS.sections:
        for task in section.work:
            if isinstance(task, StepTask):
                for step in steps_of(task, cluster, facts):
                    yield step.title, step.apply
                    yield step.title, step.test
        for step in drill_steps(section, cluster):
            yield step.title, step.apply
            yield step.title, step.test
        for fact in {fact for task in section.work for fact in getattr(task, "needs", ())}:
            for host in cluster.hosts.values():
                yield fact.name, fact.command(cluster, host)


def drill_steps(section, cluster):
    """What the loads and faults of a section's drills consist of."""
    host = cluster.hosts["scheduler2"]
    for load in section.loads:
        for part in (load.prepare, load.start, load.stop, load.clean, *dict(load.sweep).values()):
            yield from part(host, cluster)
        yield steps.action(f"{load.name}: pulse", load.pulse(host, cluster))
        yield steps.action(f"{load.name}: account", load.account(host, cluster))
    for drill in section.drill_function(cluster) if section.drill_function else ():
        if isinstance(drill.fault, Deed):
            yield from drill.fault.strike(host, cluster)
            yield from drill.fault.undo(host, cluster)


def test_root_does_nothing_itself_in_folders_of_other_accounts(cluster):
    found = {
        f"{title}: {match[0]}"
        for title, text in commands(*answered(cluster, selinux="enforcing"))
        for match in BY_ROOT.finditer(unquoted(text))
    }
    assert found == set()


def test_the_pattern_finds_what_it_should():
    assert BY_ROOT.search("if true; then chown airflow /app1/airflow/x; fi")
    assert BY_ROOT.search("x=$(cat /home/airflow/.ssh/id.pub)")
    assert not BY_ROOT.search("runuser -u airflow -- rm -f /app1/airflow/x")
    assert not BY_ROOT.search("$as install -d -m 0755 /app1/airflow/plugins")


def test_files_and_folders_are_made_by_the_safe_commands_only(cluster):
    every, facts = answered(cluster, selinux="enforcing")
    for section in CONTENTS.sections:
        for task in section.work:
            if isinstance(task, StepTask):
                for step in steps_of(task, every, facts):
                    assert not step.paths or "find -L / " in step.apply, step.title
