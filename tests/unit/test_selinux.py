"""Steps for SELinux, against small commands that remember what they were told as the real ones do.

What the policy itself allows is in docs/security.md.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.here import Here

from fabfile import CONTENTS, base, systemd
from fabfile.airflow.installation import folder, wanted
from fabfile.haproxy import operate, proxy
from fabfile.nfs import server
from fabfile.shared import keepalived
from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step

# Labels are lines `TYPE PATH` in `labels`; the policy's are those in `contexts`, else usr_t.
STAND_INS = {
    "selinuxenabled": "[[ -e on ]]",
    "getsebool": 'grep -qx "$1" booleans && echo "$1 --> on" || echo "$1 --> off"',
    "setsebool": 'echo "$2" >>booleans',
    "matchpathcon": """context=$(grep -E "^[a-z_]+ ${2%/*}\\(" contexts) || context='usr_t x'
echo "system_u:object_r:${context%% *}:s0\"""",
    "semanage": """case "$1 $2" in
'fcontext -a') ! grep -qF " $5" contexts || { echo already defined >&2; exit 1; }
  echo "$4 $5" >>contexts ;;
'fcontext -m') sed -i "s|^.* $5\\$|$4 $5|" contexts ;;
'port -l') cat ports ;;
'port -a') ! grep -q "$7" ports || exit 1
  echo "$4      tcp      $7" >>ports ;;
'port -m') sed -i "/$7/d" ports
  echo "$4      tcp      $7" >>ports ;;
esac""",
    "restorecon": """path=${*: -1}
wanted=$(matchpathcon -n "$path/file"); wanted=${wanted#*:*:}; wanted=${wanted%%:*}
[[ $(cat labels) == *"$wanted $path"* ]] && exit
if [[ $* == *-n* ]]; then echo "Would relabel $path"; else echo "$wanted $path" >labels; fi""",
}


@dataclass
class Selinux:
    """A server with SELinux, as far as its commands show it."""

    folder: Path

    def bash(self, text: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )

    def as_wanted(self, step: Step) -> bool:
        return self.bash(step.test).returncode == 0

    def carry_out(self, step: Step) -> None:
        done = self.bash(f"set -euo pipefail\n{step.apply}")
        assert done.returncode == 0, done.stderr

    def has(self, name: str) -> list[str]:
        return (self.folder / name).read_text().splitlines()


@pytest.fixture
def selinux(tmp_path) -> Selinux:
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("on", "booleans", "contexts", "labels"):
        (tmp_path / name).touch()
    (tmp_path / "ports").write_text(
        "rabbitmq_port_t                tcp      25672\n"
        "unreserved_port_t              tcp      61001-65535, 1024-32767\n"
    )
    return Selinux(tmp_path)


KINDS = {
    "boolean": steps.selinux_boolean("haproxy_connect_any"),
    "labels": steps.selinux_labels("/opt/airflow"),
    "context": steps.selinux_context("/var/lib/nfs-ha", "keepalived_var_run_t"),
    "port": steps.selinux_port("rabbitmq_port_t", "15692/tcp"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_changes_nothing(selinux, kind):
    step = KINDS[kind]
    assert not selinux.as_wanted(step)
    selinux.carry_out(step)
    assert selinux.as_wanted(step)


@pytest.mark.parametrize("kind", KINDS)
def test_where_selinux_is_off_nothing_is_done(selinux, kind):
    """Its commands fail there; what is left is done once it is on."""
    (selinux.folder / "on").unlink()
    assert selinux.as_wanted(KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_where_there_is_no_selinux_at_all_nothing_is_done(tmp_path, kind):
    assert Here(tmp_path).statuses(KINDS[kind]) == ["ok"]


@pytest.mark.parametrize("kind", ["context", "port"])
def test_a_missing_tool_is_named_with_its_package(selinux, kind):
    (selinux.folder / "bin" / "semanage").unlink()
    done = selinux.bash(f"set -euo pipefail\n{KINDS[kind].apply}")
    assert done.returncode == 1
    assert "dnf install policycoreutils-python-utils" in done.stdout


def test_a_type_that_somebody_else_has_given_is_replaced(selinux):
    (selinux.folder / "contexts").write_text("var_t /var/lib/nfs-ha(/.*)?\n")
    selinux.carry_out(KINDS["context"])
    assert selinux.has("contexts") == ["keepalived_var_run_t /var/lib/nfs-ha(/.*)?"]
    assert selinux.has("labels") == ["keepalived_var_run_t /var/lib/nfs-ha"]


def test_files_that_lost_their_label_get_it_again(selinux):
    selinux.carry_out(KINDS["context"])
    (selinux.folder / "labels").write_text("var_lib_t /var/lib/nfs-ha\n")
    assert not selinux.as_wanted(KINDS["context"])
    selinux.carry_out(KINDS["context"])
    assert selinux.as_wanted(KINDS["context"])


def test_a_port_of_another_service_is_taken_over(selinux):
    (selinux.folder / "ports").write_text("other_port_t      tcp      15692\n")
    selinux.carry_out(KINDS["port"])
    assert selinux.has("ports") == ["rabbitmq_port_t      tcp      15692"]


def test_a_port_that_only_begins_alike_is_another_one(selinux):
    (selinux.folder / "ports").write_text("rabbitmq_port_t      tcp      156920, 25672\n")
    assert not selinux.as_wanted(KINDS["port"])


def test_what_keepalived_tracks_has_its_label_before_it_gets_its_name(selinux):
    """It reads the file when that appears, and not again when the label changes."""
    away = selinux.folder / "away"
    (selinux.folder / "bin" / "restorecon").write_text(
        f"#!/bin/bash\n[[ ! -e {away} ]] && echo $1\n"
    )
    done = selinux.bash(f"set -euo pipefail\n{keepalived.sent_away(str(away))}")
    assert done.stdout.strip() == f"{away}.new"
    assert away.read_text() == "1\n"


# Which steps a server gets


@pytest.fixture
def titles(cluster, hosts_yaml):
    """titles(mode, function, host) -> what is done about SELinux."""

    def of(mode: str, function, name: str) -> str:
        one = CONTENTS.load(hosts_yaml("selinux: disabled", f"selinux: {mode}"))
        more = (Facts(),) if function in (proxy.configure, systemd.install) else ()
        return "\n".join(step.title for step in function(one.hosts[name], one, *more))

    return of


@pytest.mark.parametrize("mode", ["permissive", "enforcing"])
def test_both_modes_are_carried_out_wholly(cluster, titles, mode):
    """A permissive server that is switched to enforcing goes on working."""
    assert "policycoreutils-python-utils" in titles(mode, base.packages, "card1")
    assert "haproxy_connect_any is on" in titles(mode, proxy.configure, "airflow")
    assert "type of /var/lib/nfs-ha is keepalived_var_run_t" in titles(mode, server.server, "ftp")
    entry = titles(mode, proxy.configure, "airflow")
    place = entry.index("/var/lib/haproxy/dev/log is mnt_t")
    assert place < entry.index("haproxy.service runs and is enabled")
    assert "boolean nfs_export_all_ro is on" in titles(mode, server.server, "ftp")
    units = titles(mode, systemd.install, "worker1")
    assert f"labels below {folder(wanted(cluster))} are those of the policy" in units
    assert "labels below /opt/airflow/python-3.9.16 are those of the policy" in units
    labels, unit = units.index("SELinux labels"), units.index("airflow-worker.service")
    assert labels < unit


def test_where_it_is_disabled_nothing_is_installed_for_it(titles):
    assert "policycoreutils" not in titles("disabled", base.packages, "card1")
    for function, host in (
        (server.server, "ftp"),
        (systemd.install, "worker1"),
        (proxy.configure, "airflow"),
    ):
        assert "SELinux" not in titles("disabled", function, host)


def test_the_tools_come_before_whatever_needs_them():
    assert operate.AWAY.startswith("/run/keepalived"), "the policy knows it by that name"
    names = [task.short for task in base.section.step_tasks()]
    assert names.index("packages") < names.index("selinux")
