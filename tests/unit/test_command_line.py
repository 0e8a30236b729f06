"""A wrong command: one sentence comes back, with the right exit code, and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from conftest import PROJECT

from fabfile.shared import vulnerabilities
from runbook.secrets.mask import MASK, Mask
from runbook.secrets.vault import Passwords


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["-H", "sqll1", "hosts"], 2, "no host sqll1 (did you mean sql1?)"),
        (["-H", "@sql", "hosts"], 2, "no group @sql; available: @all"),
        (["-H", "sql1", "ssh.keygen"], 2, "does not apply to sql1; it applies to airflow"),
        (["hosst"], 2, "No idea what 'hosst' is!"),
        (["--", "uptime"], 2, "No hosts are given."),
        (["hosts"], 2, "ssh-keygen -t ed25519"),
    ],
)
def test_wrong_command_is_one_sentence(fab, arguments, code, sentence):
    answer = fab(*arguments)
    assert sentence in answer.text
    assert answer.code == code


def test_nothing_starts_if_a_later_task_is_for_other_hosts(fab, tmp_path):
    answer = fab("-H", "sql1", "hosts", "ssh.keygen")
    assert answer.code == 2
    assert "hosts.names on" not in answer.text
    assert not (tmp_path / "journal.jsonl").exists()


def test_absent_inventory(fab, monkeypatch):
    monkeypatch.setenv("RUNBOOK_INVENTORY", "/nowhere/hosts.yaml")
    answer = fab("hosts")
    assert "/nowhere/hosts.yaml does not exist" in answer.text
    assert answer.code == 2


def test_wrong_inventory_stops_before_any_connection(fab, hosts_yaml, monkeypatch):
    monkeypatch.setenv("RUNBOOK_INVENTORY", str(hosts_yaml("ram: 4GB", "rma: 4GB")))
    answer = fab("hosts")
    assert "hosts.airflow.rma: unknown key (did you mean ram?)" in answer.text
    assert answer.code == 2


def test_list_needs_no_inventory_and_follows_the_runbook(fab, monkeypatch):
    monkeypatch.setenv("RUNBOOK_INVENTORY", "/nowhere/hosts.yaml")
    answer = fab("--list")
    assert answer.code == 0
    firsts = [line.split()[0] for line in answer.text.splitlines() if line.startswith("  ")]
    sections = [word for word in firsts if word in {"base", "hostnames", "hosts", "ssh"}]
    assert sections == ["base", "hostnames", "hosts", "ssh"]
    in_base = [word.split(".")[1] for word in firsts if word.startswith("base.")]
    expected = "preflight packages selinux timezone user firewall time disks update check"
    assert " ".join(in_base) == expected


@pytest.mark.parametrize("words", [["--list"], ["-l", "postgres"]])
def test_a_list_does_not_wait_for_fabric_to_load(words):
    program = f"""
import sys
sys.argv = ["fab", *{words}]
from runbook.cli.fab import main
try:
    main()
finally:
    print(sorted({{"fabric", "paramiko"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True)
    assert done.stdout.endswith(b"\n[]\n")


@pytest.mark.parametrize("section", ["base", "hostnames", "hosts", "ssh"])
def test_every_task_has_help(fab, section):
    answer = fab("--help", f"{section}.check")
    assert "Docstring" in answer.text
    assert "none" not in answer.text.split("Options")[0]


def test_dry_connects_nowhere_and_prints_what_a_person_would_type(fab, tmp_path):
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA controller\n")
    answer = fab("--dry", "base", "hostnames", "hosts", "ssh")
    assert answer.code == 0
    for command in (
        "dnf install -y vim curl wget rsync nfs-utils firewalld chrony",
        "setenforce 0",
        "timedatectl set-timezone Asia/Tehran",
        "nmcli general hostname scheduler2",
        "systemctl reboot",
        "192.168.83.220 nfs-vip",
        "visudo -cqf",
        "ssh-keygen -q -t ed25519",
    ):
        assert command in answer.text
    assert "111" not in answer.text


def test_dry_of_a_check_shows_its_questions(fab):
    assert "getent ahostsv4 nfs-vip" in fab("--dry", "hosts.check").text


def test_plan_is_for_the_whole_run_wherever_it_stands(fab):
    """`fab base hosts --plan` must not carry out `base`; here no key lets either connect."""
    for arguments in (["--plan", "hosts"], ["hosts", "--plan"], ["base", "--plan", "hosts"]):
        assert "plan of" in fab(*arguments).text


def test_inventory_commands(inv, hosts_yaml, monkeypatch):
    shown = inv("inventory.show")
    assert "192.168.83.151" in shown.text
    assert shown.code == 0
    assert '"address": "192.168.83.151"' in inv("inventory.show", "--json").text
    assert "13 hosts" in inv("inventory.check").text
    monkeypatch.setenv("RUNBOOK_INVENTORY", str(hosts_yaml("selinux: disabled", "selinux: gone")))
    wrong = inv("inventory.check")
    assert "allowed: disabled, enforcing, permissive" in wrong.text
    assert wrong.code == 2


@pytest.mark.parametrize(
    ("version", "named", "not_named", "choice"),
    [
        (
            "2.9.0",
            ("2.9.1: CVE-2024-32077\n", "2.9.3: CVE-2024-39863, CVE-2024-39877\n"),
            ("CVE-2023-50943",),
            "This project installs 2.9.0 and 2.7.3 only, of which 2.9.0 has the fewest.",
        ),
        (
            "2.7.3",
            ("2.8.1: CVE-2023-50943, CVE-2023-50944\n", "CVE-2024-56373"),
            ("CVE-2024-32077",),
            "Of the versions that this project installs, 2.9.0 has the fewest (21).",
        ),
    ],
)
def test_known_vulnerabilities_are_a_warning(
    inv, hosts_yaml, monkeypatch, version, named, not_named, choice
):
    file = hosts_yaml("airflow: 2.9.0", f"airflow: {version}")
    monkeypatch.setenv("RUNBOOK_INVENTORY", str(file))
    told = inv("inventory.check")
    assert told.code == 0
    assert told.text.count("warning: ") == 1
    assert all(text in told.text for text in named), told.text
    assert not any(text in told.text for text in not_named), told.text
    assert "The lowest version without them is 3.3.0. Those up to 2.11.1 are fixed in" in told.text
    assert choice in told.text


def test_vulnerabilities_are_in_the_order_of_their_fixes():
    fixes = [vulnerabilities.number(one.fixed) for one in vulnerabilities.KNOWN]
    assert fixes == sorted(fixes)
    assert vulnerabilities.advice("3.3.0", ["3.3.0"]) == ""


# Terminals and files of the user


@pytest.mark.parametrize("entry", ["fab", "inv"])
@pytest.mark.parametrize(
    ("option", "variable"),
    [
        ("--prompt-for-sudo-password", "RUNBOOK_SUDO_PASSWORD"),
        ("--prompt-for-login-password", "RUNBOOK_BOOTSTRAP_PASSWORD"),
        ("--prompt-for-passphrase", "RUNBOOK_KEY_PASSPHRASE"),
    ],
)
def test_a_password_that_cannot_be_asked_for_is_said(request, monkeypatch, entry, option, variable):
    if entry == "inv" and "sudo" not in option:
        pytest.skip("an option of fab's")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    task = "hosts" if entry == "fab" else "inventory.check"
    answer = request.getfixturevalue(entry)(option, task)
    assert answer.code == 2
    assert "stdin is not a terminal" in answer.text
    assert f"Set {variable} in the environment" in answer.text


def test_a_password_that_was_asked_for_at_once_is_not_asked_for_again(fab, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda question: "typed")
    monkeypatch.setattr(Passwords, "given", {})
    monkeypatch.delenv("RUNBOOK_SUDO_PASSWORD", raising=False)
    assert fab("--prompt-for-sudo-password", "--dry", "hosts").code == 0
    mask = Mask()
    assert Passwords(mask, ask=str).get("RUNBOOK_SUDO_PASSWORD", "sudo: ") == "typed"
    assert mask("typed") == MASK


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_a_terminal_with_fewer_characters_gets_others(encoding, tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", "from runbook.cli.program import main; main()", "runbook.show"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONIOENCODING": encoding, "TMPDIR": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert b"?" in told.stdout


def test_dry_needs_no_ssh_config(fab, tmp_path):
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA controller\n")
    for content in (b"# caf\xe9\n", b"Garbage in\n", b"CanonicalizeHostname yes\n"):
        file = tmp_path / "ssh_config"
        file.write_bytes(content)
        assert fab("-S", str(file), "--dry", "hosts").code == 0


@pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH's client is not installed")
def test_an_ssh_config_that_ssh_refuses_ends_a_run_with_its_words(fab, tmp_path):
    file = tmp_path / "ssh_config"
    file.write_text("Garbage in\n")
    answer = fab("-S", str(file), "-H", "sql1", "hosts")
    assert answer.code == 2
    assert "Bad configuration option: garbage" in answer.text
