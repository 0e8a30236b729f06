"""Each checkout drives its own cluster: copied, moved, linked, or with a space in its path.

These run the Makefile's own rule and the programs that it makes; only pip has nothing to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROJECT

NEEDED = (
    "Makefile",
    "requirements.txt",
    "hosts.yaml",
    "tasks.py",
    "fabric.yaml",
    "runbook",
    "fabfile",
    "files",
    "lab",
)
PROD = "192.168.83.129"
STAGING = "10.20.30.129"
SETUP_AND_ACTIVATE = "run: make setup && source .venv/bin/activate"

PYTHON = f"""#!/bin/sh
# What python3 is to the Makefile: one whose venvs have all packages already.
python="{sys.executable}"
case "$*" in
"-m venv "*)
    "$python" -m venv --without-pip "$3" || exit
    for site in "$3"/lib/python*/site-packages; do
        echo >"$site/pip.py"
        echo "{sysconfig.get_path("purelib")}" >"$site/packages.pth"
    done
    ;;
*) exec "$python" "$@" ;;
esac
"""


@dataclass
class Answer:
    code: int
    text: str


@dataclass
class Checkout:
    """A checkout, and what one types in it."""

    folder: Path
    path: str
    """PATH, in which the Makefile finds python3."""

    def type(self, command: str, folder: str = ".") -> Answer:
        kept = ("HOME", "LANG", "LC_ALL")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder / folder,
            env={**environment, "PATH": self.path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stdout
        return Answer(done.returncode, done.stdout)

    def drives(self, command: str = ".venv/bin/fab --dry hosts") -> str:
        """The address of the server `airflow` in the cluster that a command is for."""
        answer = self.type(command)
        assert answer.code == 0, answer.text
        (found,) = [address for address in (PROD, STAGING) if address in answer.text]
        return found

    def is_for_staging(self) -> Checkout:
        hosts_yaml = self.folder / "hosts.yaml"
        text = hosts_yaml.read_text()
        hosts_yaml.unlink()  # it may be a hard link
        hosts_yaml.write_text(text.replace("192.168.83.", "10.20.30."))
        return self


@pytest.fixture(scope="module")
def prod(tmp_path_factory) -> Checkout:
    """A checkout that has been set up; tests leave it as it is."""
    place = tmp_path_factory.mktemp("srv")
    folder = place / "prod"
    folder.mkdir()
    for name in NEEDED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder)
    python = place / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    checkout = Checkout(folder, f"{python.parent}:{os.environ['PATH']}")
    assert checkout.type("make setup") == Answer(0, "")
    return checkout


@pytest.fixture
def copied(prod, tmp_path):
    """Copy prod, with its .venv: copied(how) -> the copy, with a hosts.yaml of its own."""

    def copy(how: str = "cp -a") -> Checkout:
        folder = tmp_path / "staging copy"
        assert prod.type(f"{how} . '{folder}'").code == 0
        return Checkout(folder, prod.path).is_for_staging()

    return copy


@pytest.fixture
def staging(copied) -> Checkout:
    return copied()


def test_a_checkout_drives_its_own_cluster(prod):
    assert prod.drives() == PROD
    assert prod.drives("source .venv/bin/activate; fab --dry hosts") == PROD
    assert prod.drives("source .venv/bin/activate; inv inventory.show") == PROD


def test_setup_has_nothing_to_do_a_second_time(prod):
    assert "Nothing to be done" in prod.type("make setup").text


# Copied, not yet set up


@pytest.mark.parametrize("command", ["fab --dry hosts", "inv inventory.show"])
def test_a_copy_drives_its_own_cluster_at_once(staging, command):
    assert staging.drives(f".venv/bin/{command}") == STAGING


@pytest.mark.parametrize(
    ("command", "folder"),
    [("fab base", "."), ("fab --dry hosts", "lab"), ("inv inventory.show", ".")],
)
def test_the_original_s_programs_refuse_to_work_in_a_copy(prod, staging, command, folder):
    """The copy's own `activate` still names the original, and puts that first in PATH."""
    answer = staging.type(f"source '{staging.folder}/.venv/bin/activate'; {command}", folder)
    assert answer.code == 2
    assert f"belongs to {prod.folder} and does not use the hosts.yaml of" in answer.text
    assert f"In {staging.folder}, {SETUP_AND_ACTIVATE}" in answer.text
    assert len(answer.text.splitlines()) == 1


def test_the_copy_s_programs_refuse_to_work_in_the_original(prod, staging):
    answer = prod.type(f"'{staging.folder}/.venv/bin/fab' base")
    assert answer.code == 2
    assert f"belongs to {staging.folder}" in answer.text


def test_tasks_of_another_checkout_are_refused_by_any_way_to_them(prod, staging):
    answer = prod.type(f".venv/bin/fab --search-root '{staging.folder}' base")
    assert answer.code == 2
    assert f"belongs to {prod.folder}" in answer.text


def test_files_that_copies_share_do_not_make_them_one(prod, copied):
    staging = copied("cp -al")
    answer = staging.type(f"'{prod.folder}/.venv/bin/fab' base")
    assert f"belongs to {prod.folder}" in answer.text
    assert staging.drives() == STAGING


def test_code_that_is_only_linked_does_not_drive_where_it_came_from(prod, staging):
    for name in ("runbook", "fabfile"):
        shutil.rmtree(staging.folder / name)
        (staging.folder / name).symlink_to(prod.folder / name)
    answer = staging.type(".venv/bin/fab base")
    assert answer.code == 2
    assert f"belongs to {prod.folder}" in answer.text


def test_a_copy_gets_completion_scripts_from_whichever_program(staging):
    script = staging.type("source .venv/bin/activate; fab --print-completion-script bash")
    assert script.code == 0
    assert "_complete_fab" in script.text


# Copied or moved, and set up


def test_setup_makes_a_copy_a_checkout_like_any_other(prod, staging):
    assert staging.type("make setup") == Answer(0, "")
    assert staging.drives("source .venv/bin/activate; fab --dry hosts") == STAGING
    assert staging.drives("source .venv/bin/activate; inv inventory.show") == STAGING
    assert "Nothing to be done" in staging.type("make setup").text
    assert prod.drives() == PROD


def test_nothing_in_a_copy_s_venv_names_the_original_after_setup(prod, staging):
    staging.type("make setup")
    assert staging.type(f"grep -rIl '{prod.folder}/' .venv").text == ""


def test_setup_of_a_copy_leaves_a_venv_alone_that_is_only_linked(prod, staging):
    shutil.rmtree(staging.folder / ".venv")
    (staging.folder / ".venv").symlink_to(prod.folder / ".venv")
    assert staging.type("make setup") == Answer(0, "")
    assert staging.drives() == STAGING
    assert prod.drives() == PROD


def test_a_moved_checkout_works_at_once_and_whole_after_setup(staging, tmp_path):
    staging.type("make setup")
    moved = Checkout(staging.folder.rename(tmp_path / "moved here"), staging.path)
    assert moved.drives() == STAGING
    assert moved.type("make setup") == Answer(0, "")
    assert moved.drives("source .venv/bin/activate; fab --dry hosts") == STAGING


def test_setup_begins_again_after_one_that_was_interrupted(staging):
    staging.type("make setup PYTHON=false")
    assert staging.type("make setup") == Answer(0, "")
    assert staging.drives() == STAGING


# One checkout, several ways to it


def test_a_link_to_a_checkout_is_that_checkout(prod, tmp_path):
    current = tmp_path / "current"
    current.symlink_to(prod.folder)
    linked = Checkout(current, prod.path)
    assert linked.drives() == PROD
    assert linked.drives(f"'{prod.folder}/.venv/bin/fab' --dry hosts") == PROD
    assert prod.drives(f"'{current}/.venv/bin/fab' --dry hosts") == PROD
    assert "Nothing to be done" in linked.type("make setup").text


@pytest.mark.parametrize("command", ["fab --dry hosts", "inv inventory.show"])
def test_a_link_to_a_program_is_that_program(prod, tmp_path, command):
    program, _, rest = command.partition(" ")
    link = tmp_path / f"{program}-prod"
    link.symlink_to(prod.folder / ".venv" / "bin" / program)
    assert prod.drives(f"{link} {rest}") == PROD


@pytest.mark.parametrize("command", ["fab --dry hosts", "inv inventory.show"])
def test_a_subfolder_is_the_checkout_s(prod, command):
    """Also one with a tasks.py of its own."""
    assert prod.type(f"../.venv/bin/{command}", "lab").code == 0


def test_another_inventory_is_no_other_checkout(prod, staging):
    chosen = f"RUNBOOK_INVENTORY='{staging.folder}/hosts.yaml' .venv/bin/fab --dry hosts"
    assert prod.drives(chosen) == STAGING


def test_outside_any_checkout_one_is_told_where_to_go(prod):
    answer = prod.type("prod/.venv/bin/fab base", "..")
    assert answer.code == 2
    assert f"in its checkout: cd {prod.folder}" in answer.text


def test_a_module_in_the_current_folder_is_not_taken_for_a_library(staging):
    (staging.folder / "lab" / "yaml.py").write_text("raise SystemExit('not the library')\n")
    assert staging.type("../.venv/bin/fab --dry hosts", "lab").code == 0


def test_a_copy_without_the_python_it_was_made_with_says_so(staging):
    (staging.folder / ".venv" / "bin" / "python").unlink()
    answer = staging.type(".venv/bin/fab base")
    assert answer.code == 2
    assert f"in {staging.folder} run: make setup" in answer.text
