"""What hosts answer and what hosts.yaml says is input: it is never run, and never believed alone.

sql2 and nfs2 are in the hands of somebody else: programs of theirs answer what he wants.
"""

from __future__ import annotations

import json
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from support.controller import PROJECT
from support.database import ADDRESSES, DATABASE, ETCDCTL, SQL

STATE = "database"
HOSTS = DATABASE

CANARY = "/tmp/canary"
LISTED = ("/usr/bin/curl", "/v3/cluster/member/list")
"""The program that asks etcd for its members, and what tells that it does."""
HONEST = ("sql1", "sql3")
ODD = "\x1b[31mred\x1b]0;title\x07 \x9b2J \x7f\u202egnp"
SHOWN = r"\x1b[31mred\x1b]0;title\x07 \x9b2J \x7f\u202egnp"


def listing(*members: tuple[str, str, str]) -> str:
    """What etcd answers for members of an id, a name and an address."""
    listed = [
        {"ID": id, "name": name, "peerURLs": [f"https://{address}:2380"]}
        for id, name, address in members
    ]
    return json.dumps({"members": listed})


ALL = {name: (f"{number}000", name, ADDRESSES[name]) for number, name in enumerate(SQL, 1)}
STRANGERS = [(f"{n}999", f"x{n}", f"192.168.83.{n}") for n in range(1, 9)]
INJECTED = {**ALL, "sql3": (f"x; touch {CANARY}", "sql3", ADDRESSES["sql3"])}


@contextmanager
def lying(lab, host: str, program: str, when: str, say: str) -> Iterator[None]:
    """On this host, a program runs `say` instead, if its arguments contain `when`."""
    script = f"""#!/bin/bash
if [[ " $* " == *{shlex.quote(when)}* ]]; then {say}; exit 0; fi
exec {program}.real "$@"
"""
    quoted = shlex.quote(script)
    done = lab.root_shell(
        host,
        f"mv {program} {program}.real && printf %s {quoted} >{program} && chmod 755 {program}",
    )
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        lab.root_shell(host, f"mv -f {program}.real {program}")


@contextmanager
def etcd_lies(lab, text: str) -> Iterator[None]:
    """etcd of sql2 lists these members."""
    data = text.encode("utf-8", "surrogateescape")
    escaped = "".join(f"\\x{byte:02x}" for byte in data)
    with lying(lab, "sql2", *LISTED, f"printf '{escaped}'"):
        yield


@pytest.fixture
def unharmed(on):
    """Afterwards, nothing of the others has run, moved, or left."""

    def state() -> dict[str, str]:
        return {
            host: on(host, "ls -d /var/lib/etcd/* /etc/etcd/*; systemctl is-active etcd patroni")
            for host in HONEST
        }

    before = state()
    members = on("sql1", f"{ETCDCTL} member list | sort")
    yield
    assert state() == before
    assert on("sql1", f"{ETCDCTL} member list | sort") == members
    for host in DATABASE:
        on(host, f"[[ ! -e {CANARY} ]]")


@pytest.mark.parametrize(
    "text",
    [
        listing(*INJECTED.values()),
        listing(*ALL.values()).replace('"sql1"', f'"$(touch {CANARY})"'),
        listing(*ALL.values()) + "\x1b[2J\x1b]0;owned\x07\n",
        listing(*ALL.values()).replace('"sql1"', '"sql\udcff\udcfe1"'),
        "not a list\n",
    ],
    ids=["id", "name", "control characters", "not UTF-8", "no list"],
)
def test_an_answer_that_cannot_be_one_is_one_sentence(fab, lab, unharmed, text):
    with etcd_lies(lab, text):
        answer = fab("postgres.etcd-members")
    assert answer.code == 1
    assert answer.hosts("refused") >= {"sql2"}
    [sentence] = {
        result["sentence"]
        for task in answer.data["tasks"].values()
        for host, result in task["hosts"].items()
        if host == "sql2"
    }
    assert re.match(r"sql2 answered .* to 'the state of etcd', which is not ", sentence)
    assert "Traceback" not in answer.text


def test_an_answer_of_ten_megabytes_is_too_long(fab, lab, unharmed):
    say = "head -c 10000000 /dev/zero | tr '\\0' x"
    with lying(lab, "sql2", *LISTED, say):
        answer = fab("postgres.etcd-members")
    assert answer.code == 1
    assert "which is not shorter than 1024 KiB" in answer.text


def test_an_answer_without_end_ends_the_connection(fab, lab, unharmed):
    with lying(lab, "sql2", *LISTED, "yes xxxxxxxxxxxxxxxxxxxx"):
        answer = fab("postgres.etcd-members")
    assert answer.code in (1, 3)
    assert "sql2 answered without end" in answer.text


def test_nul_bytes_are_no_list(fab, lab, unharmed):
    with lying(lab, "sql2", *LISTED, "head -c 1000 /dev/zero"):
        answer = fab("postgres.etcd-members")
    assert answer.code == 1
    assert "sql2 answered" in answer.text


def test_an_id_of_one_server_is_not_run_on_another(fab, lab, unharmed):
    """`member remove ID` is what another server carries out."""
    with etcd_lies(lab, listing(*INJECTED.values(), *STRANGERS)):
        answer = fab.text("--yes", "postgres.remove", "--host", "sql3")
    assert answer.code == 1
    assert "sql2 answered" in answer.text


def test_a_longer_list_of_one_server_moves_no_data_aside(fab, lab, unharmed):
    """Under a well-formed list without sql1 and sql3, which is longer than the real one."""
    with etcd_lies(lab, listing(ALL["sql2"], *STRANGERS)):
        answer = fab("postgres.etcd-members")
        plan = fab("--plan", "postgres.etcd-members")
    assert answer.steps("changed") == set()
    assert plan.steps("differs") == set()


def test_one_server_alone_is_not_a_majority(fab, lab, on, unharmed):
    """sql3 does not answer to questions about etcd, so that it is one word against another."""
    with (
        lying(lab, "sql3", *LISTED, "exit 1"),
        etcd_lies(lab, listing(ALL["sql2"], *STRANGERS)),
    ):
        answer = fab("postgres.etcd-members")
    assert answer.code == 1
    assert "a majority has to agree on etcd's members" in answer.text


def test_the_label_of_a_backup_is_validated(fab, lab):
    label = f"20260101-000000F; touch {CANARY}"
    backup = (
        f'[{{"backup":[{{"label":"{label}","type":"full","timestamp":{{"start":1,"stop":2}},'
        '"info":{"repository":{"delta":3}}}]}]'
    )
    say = f"printf %s {shlex.quote(backup)}"
    with lying(lab, "nfs2", "/usr/bin/pgbackrest", "--output=json", say):
        answer = fab.text("postgres.backups")
    assert answer.code == 1
    assert "nfs2 answered" in answer.text
    assert "].label" in answer.text


# A terminal


def on_a_terminal(lab, *words: str) -> str:
    """What a program prints on a pseudo terminal."""
    command = ["script", "-qec", shlex.join(words), "/dev/null"]
    done = lab.exec(command, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True)
    return str(done.stdout)


def test_control_characters_are_shown_on_a_terminal(lab, on):
    on("sql2", f"printf %s {shlex.quote(ODD)} >/tmp/odd; echo >>/tmp/odd; chmod 644 /tmp/odd")
    said = on_a_terminal(lab, "fab", "-H", "sql2", "--", "cat", "/tmp/odd")
    assert SHOWN in said
    assert not set(said) & set("\x07\x9b\x7f\u202e")
    assert "\x1b]0;" not in said
    assert "\x1b[31m" not in said


def test_so_they_are_in_the_sentence_of_an_error_and_in_the_journal(lab):
    with etcd_lies(lab, f"{ODD}\n"):
        said = on_a_terminal(lab, "fab", "postgres.etcd-members")
        log = on_a_terminal(lab, "inv", "runbook.log", "--host", "sql2")
    journal = Path(lab.environment()["RUNBOOK_STATE"], "journal.jsonl").read_text("utf-8")
    for text in (said, log, journal):
        assert "sql2 answered" in text
        assert "\x1b]0;" not in text
        assert not set(text) & set("\x07\x9b\x7f\u202e")


# hosts.yaml


HOSTILE = {
    ("cluster",): "x; touch f",
    ("versions", "rabbitmq"): "3.12.10; touch f",
    ("sources", "pypi", "index"): "https://h/simple; touch f",
    ("sources", "pgdg", "common"): "https://h/$(touch f)",
    ("postgres", "backup", "full"): "Sun 01:30\nExecStart=/bin/touch f",
    ("postgres", "backup", "path"): "/var/lib/x$(touch f)",
    ("postgres", "parameters", "archive_cleanup_command"): "touch f",
    ("airflow", "settings", "core", "fernet_key_cmd"): "touch f",
    ("connection", "gateway"): "-oProxyCommand=touch f",
    ("connection", "user"): "rocky'; touch f; '",
    ("timezone",): "../../../../etc/shadow",
    ("base", "packages", 0): "--setopt=x",
    ("haproxy", "idle"): "24h\n    bind :1",
}


def with_value(path: tuple, value: str) -> str:
    data = yaml.safe_load((PROJECT / "hosts.yaml").read_text(encoding="utf-8"))
    place = data
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    place[path[-1]] = value
    return yaml.safe_dump(data, width=1000)


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: ".".join(map(str, path)))
def test_a_command_in_hosts_yaml_is_a_complaint_about_its_line(lab, tmp_path, path):
    file = tmp_path / "hosts.yaml"
    file.write_text(with_value(path, HOSTILE[path]), encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    for words in (["fab", "--plan", "postgres"], ["fab", "-H", "sql1", "--", "true"]):
        done = lab.exec(
            words,
            env={"RUNBOOK_INVENTORY": str(file), "RUNBOOK_OVERRIDE": ""},
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stdout + done.stderr
        key = ".".join(str(part) for part in path if isinstance(part, str))
        assert re.search(rf"^hosts\.yaml:\d+: {re.escape(key)}", done.stderr, re.M), done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert not (PROJECT / "f").exists()


# Other users of the controller


def test_the_files_of_a_run_are_its_owners(lab):
    state = Path(lab.environment()["RUNBOOK_STATE"])
    for name in ("journal.jsonl", "secrets.yaml", "known_hosts"):
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600, name


def test_a_state_folder_for_everybody_is_refused(lab, tmp_path):
    tmp_path.chmod(0o1777)
    done = lab.exec(
        ["fab", "-H", "sql1", "--", "true"],
        env={"RUNBOOK_STATE": str(tmp_path)},
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Every user of this machine can write to" in done.stderr
    assert list(tmp_path.iterdir()) == []
