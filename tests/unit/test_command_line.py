"""A wrong command: one sentence comes back, with the right exit code, and no traceback."""

from __future__ import annotations

import pytest


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
    assert (
        " ".join(in_base) == "preflight packages selinux timezone user firewall time update check"
    )


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
