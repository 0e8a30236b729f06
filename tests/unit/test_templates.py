"""Bash of `files/` as a command of a step."""

from __future__ import annotations

import re
import subprocess

import pytest
from conftest import PROJECT

from runbook.declare import templates


@pytest.fixture
def greeting(tmp_path, monkeypatch):
    monkeypatch.setattr(templates, "FILES", tmp_path)
    (tmp_path / "greeting.sh").write_text(
        '# shellcheck shell=bash\n: "${who:?}"\n: "${mark:?}"\necho "Hello, $who$mark"\nexit 3\n'
    )
    return "greeting.sh"


def test_values_arrive_as_they_are_and_the_command_is_one_of_many(greeting):
    command = templates.script(greeting, mark="", who="O'Neill; $(id)")
    done = subprocess.run(
        ["bash", "-uc", f"{command}\necho after: $?"], capture_output=True, text=True
    )
    assert done.stdout == "Hello, O'Neill; $(id)\nafter: 3\n"


@pytest.mark.parametrize("values", [{"who": "you"}, {"who": "you", "mark": "!", "other": 1}])
def test_other_values_than_the_file_names_are_refused(greeting, values):
    with pytest.raises(ValueError, match=r"greeting.sh takes \['who', 'mark'\]"):
        templates.script(greeting, **values)


UNITS = [
    path
    for path in sorted((PROJECT / "files").rglob("*"))
    if path.is_file() and re.search(r"^(Restart=|\[Path\]|\[Mount\])", path.read_text(), re.M)
]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_no_unit_gives_up_after_five_quick_failures(path):
    """A NIC that comes up late, or a peer that is away, must not take it down for good.

    systemd's default is five starts in ten seconds; after that, only a person starts the unit.
    """
    assert re.search(r"^\[Unit\]\n(?:[^[].*\n)*StartLimitIntervalSec=0$", path.read_text(), re.M)


def test_the_units_that_start_by_themselves_are_known():
    assert len(UNITS) == 15


KNOWN_TO_EL8 = {
    *("NoNewPrivileges", "CapabilityBoundingSet", "UMask", "LimitNOFILE", "LockPersonality"),
    *("ProtectSystem", "ProtectHome", "ProtectControlGroups"),
    *("ProtectKernelTunables", "ProtectKernelModules", "PrivateTmp", "PrivateDevices"),
    *("RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"),
    *("SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber"),
    *("ReadWritePaths", "BindPaths", "BindReadOnlyPaths", "RuntimeDirectory", "StateDirectory"),
}
"""Options of sandboxes in systemd 239 as EL8 has it (load-fragment-gperf.gperf.m4)."""

SANDBOX = re.compile(
    "(Ambient|Bind|Capability|Device|ExecPaths|IPAddress|Inaccessible|Keyring|LockP|Memory|NoExec|NoNew|"
    "Private|Proc|Protect|Read|RemoveIPC|Restrict|Root|Runtime|Secure|State|SystemCall|Temporary|"
    "UMask)[A-Za-z]*(?==)"
)


def test_el8_knows_all_options_of_sandboxes():
    """systemd 239 would warn of others in `systemd-analyze verify`, and skip them."""
    units = [*UNITS, PROJECT / "files/shared/sandbox.j2"]
    lines = [line for path in units for line in path.read_text().splitlines()]
    found = {match.group() for line in lines if (match := SANDBOX.match(line))}
    assert "SystemCallFilter" in found
    assert found <= KNOWN_TO_EL8
