"""Bash of `files/` as a command of a step."""

from __future__ import annotations

import subprocess

import pytest

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
