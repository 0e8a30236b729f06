"""Attacks on secrets: by a user of a host, and by a reader of what the product prints or packs."""

from __future__ import annotations

import json
import subprocess
import tarfile
from base64 import b64encode
from pathlib import Path

import pytest
import yaml
from support.controller import PROJECT
from support.database import DATABASE
from support.planted import PLANTED

STATE = "database"
HOSTS = DATABASE

MIRROR = "pl4nted-mirror-password"
ROLE = "pl4nted-role-password-0123456789"
SMTP = "pl4nted-smtp-password"
GIVEN = {
    "RUNBOOK_SECRET_MIRROR": MIRROR,
    "RUNBOOK_SECRET_POSTGRES_AIRFLOW": ROLE,
    "RUNBOOK_SECRET_SMTP": SMTP,
}

SPY = r"""
while :; do
  cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' >>"$seen"
  find /etc /tmp /run /var/log /var/tmp /dev/shm -xdev -type f -newer "$start" -readable \
    ! -path "$seen" -exec cat {} + >>"$seen" 2>/dev/null
done
"""
"""What an unprivileged user can read, all the time."""


@pytest.fixture(scope="module")
def override(lab, tmp_path_factory) -> dict[str, str]:
    """The environment of runs whose hosts.yaml refers to secrets."""
    data = yaml.safe_load(Path(lab.environment()["RUNBOOK_OVERRIDE"]).read_text())
    data["sources"]["pgdg"].update(common="http://labmirror/pgdg-common")
    data["sources"]["logins"] = {"labmirror": {"user": "build", "password": {"secret": "mirror"}}}
    data["airflow"]["settings"]["smtp"] = {"smtp_password": {"secret": "smtp"}}
    file = tmp_path_factory.mktemp("secrets") / "override.yaml"
    file.write_text(yaml.safe_dump(data))
    return {**GIVEN, "RUNBOOK_OVERRIDE": str(file)}


@pytest.fixture(scope="module")
def own(fab, override):
    """fab, with these settings."""
    return fab.given(**override)


@pytest.fixture(scope="module")
def inv(lab, override):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return lab.exec(
            ["inv", *arguments],
            env=override,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )

    return run


@pytest.fixture(scope="module")
def seen(on, own):
    """What a user of sql1 saw while sections worked with secrets there; and the runs' output."""
    on(
        "sql1",
        "useradd mallory && install -d -o mallory /srv/mallory && touch /srv/mallory/start && "
        f"printf '%s' '{SPY}' >/srv/mallory/spy && chmod 644 /srv/mallory/* && "
        "systemd-run -q --unit=mallory --uid=mallory --setenv=seen=/srv/mallory/seen "
        "--setenv=start=/srv/mallory/start bash /srv/mallory/spy",
    )
    on("sql1", "echo a-file-to-be-seen >/etc/seen.conf")
    on("sql1", "bash -c 'sleep 5; : an-argument-to-be-seen'")
    said = []
    for arguments in (
        ("-H", "sql1", "postgres.repo"),
        ("postgres.database",),
        ("-H", "sql1", "postgres.patroni"),
        ("-H", "sql1", "postgres.check"),
    ):
        answer = own.text(*arguments)
        assert answer.code == 0, answer.text
        said.append(answer.text)
    on("sql1", "systemctl stop mallory")
    return on("sql1", "cat /srv/mallory/seen"), "\n".join(said)


def passwords(lab) -> list[str]:
    """Every value that the runs knew."""
    vault = yaml.safe_load((Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml").read_text())
    return [*vault.values(), *GIVEN.values()]


def test_a_local_user_sees_no_secret_in_processes_and_files(seen, lab):
    told, _ = seen
    assert "an-argument-to-be-seen" in told
    assert "a-file-to-be-seen" in told
    assert [value for value in passwords(lab) if value in told] == []


def test_a_repository_with_a_login_works_and_is_for_root_alone(seen, on):
    repo = "/etc/yum.repos.d/pgdg-redhat-all.repo"
    assert on("sql1", f"stat -c %a {repo}") == "600"
    assert on("sql1", f"grep -c '^password={MIRROR}$' {repo}") == "1"
    on("sql1", "dnf -q --disablerepo='*' --enablerepo=pgdg-common makecache --refresh")


def test_a_second_run_with_secrets_changes_nothing(seen, own):
    answer = own("-H", "sql1", "postgres.repo")
    assert answer.code == 0, answer.text
    assert answer.steps("changed") == set()


def test_what_runs_print_has_no_secret(seen, own, inv, lab):
    shown = [
        seen[1],
        own.text("--dry", "airflow.configure").text,
        own.text("-H", "sql1", "--dry", "postgres.repo").text,
        own.text("-H", "sql1", "--plan", "postgres", RUNBOOK_SECRET_MIRROR=f"{MIRROR}-new").text,
        own("-H", "sql1", "--plan", "postgres").text,
    ]
    for arguments in (
        ("inventory.check",),
        ("inventory.show", "--json"),
        ("runbook.show", "airflow"),
        ("runbook.show", "postgres", "--format", "html"),
        ("runbook.log", "--last", "1000"),
        ("cluster.status", "--json"),
        ("secrets.list",),
    ):
        done = inv(*arguments)
        assert "Traceback" not in done.stderr
        shown += [done.stdout, done.stderr]
    assert "@smtp@" in "".join(shown)
    assert [value for value in passwords(lab) if value in "".join(shown)] == []


def test_a_plan_shows_no_password_that_is_replaced(own, on):
    """The one before is in no vault."""
    path = "/etc/yum.repos.d/pgdg-redhat-all.repo"
    on("sql1", f"sed -i 's/^password=.*/password=the-one-before/' {path}")
    answer = own.text("-H", "sql1", "--plan", "postgres.repo")
    assert f"would change: file {path}" in answer.text
    assert "the-one-before" not in answer.text
    assert own.text("-H", "sql1", "postgres.repo").code == 0


def test_output_of_commands_has_the_mask_in_place_of_secrets(own, lab):
    answer = own.text("-H", "sql1", "--", "sudo cat /etc/patroni/patroni.yml | tee >(base64 -w0)")
    assert "password: " in answer.text
    values = passwords(lab)
    assert [value for value in values if value in answer.text] == []
    encoded = [b64encode(value.encode()).decode()[:12] for value in values if len(value) > 12]
    assert [text for text in encoded if text in answer.text] == []


def test_commands_are_journalled_without_passwords(own, lab):
    typed = ": mysql -ppl4nted-typed; : curl -u admin:pl4nted-too; : TOKEN=pl4nted-three"
    assert own.text("-H", "sql1", "--", typed).code == 0
    journal = (Path(lab.environment()["RUNBOOK_STATE"]) / "journal.jsonl").read_text()
    last = json.loads(journal.splitlines()[-2])
    assert last["step"].startswith(": mysql -p••••••")
    assert "pl4nted" not in journal


@pytest.fixture(scope="module")
def bundle(lab, on, inv, tmp_path_factory) -> str:
    """All files of a support bundle, after secrets were planted where services write."""
    everything = "\n".join(text for text, _ in PLANTED.values())
    [vault_value, *_] = passwords(lab)
    encoded = b64encode(f"admin:{vault_value}".encode()).decode()
    text = f"{everything}\nX-Odd: {encoded}\npassword authentication failed for user x\n"
    on("sql1", f"cat >/root/planted <<'PLANTED'\n{text}PLANTED")
    on(
        "sql1",
        "log=$(ls -d /var/lib/pgsql/*/data/log) && "
        'install -o postgres -m 600 /root/planted "$log/planted.log" && '
        'runuser -u postgres -- ln -s /etc/shadow "$log/shadow.log" && '
        'runuser -u postgres -- mkfifo "$log/pipe.log" && '
        "install -m 644 /root/planted /etc/etcd/planted.conf && "
        "systemd-run -q --wait --unit=pgbackrest-planted cat /root/planted && "
        "usermod -p '$6$pl4ntedsalt$pl4ntedhashpl4ntedhash' mallory",
    )
    on(
        "nfs2",
        "install -d -o nobody /var/lib/nfs-ha && "
        "runuser -u nobody -- ln -s /etc/shadow /var/lib/nfs-ha/a && "
        "echo 'an-account-of-shadow:*:1:0:9:7:::' >>/etc/shadow",
    )
    folder = tmp_path_factory.mktemp("bundle")
    done = inv("cluster.support", "--hours", "1", "--to", str(folder))
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    [file] = folder.glob("support-*.tar.gz")
    with tarfile.open(file) as archive:
        return "\n".join(
            archive.extractfile(entry).read().decode() for entry in archive.getmembers()
        )


def test_a_support_bundle_has_none_of_the_secrets_that_services_wrote(seen, bundle, lab):
    assert "/etc/etcd/planted.conf" in bundle
    assert "/planted.log" in bundle
    assert bundle.count("password authentication failed for user x") >= 3
    assert [kind for kind, (_, secret) in PLANTED.items() if secret in bundle] == []
    assert [value for value in passwords(lab) if value in bundle] == []
    encoded = b64encode(f"admin:{passwords(lab)[0]}".encode()).decode()
    assert encoded[10:30] not in bundle


def test_a_support_bundle_follows_no_link_and_waits_for_no_pipe(seen, bundle):
    assert "== /var/lib/nfs-ha/a\nleft out" in bundle
    assert "an-account-of-shadow" not in bundle
    assert "/pipe.log\nleft out" in bundle
    assert "pl4ntedhash" not in bundle
    assert "mallory:" not in bundle
