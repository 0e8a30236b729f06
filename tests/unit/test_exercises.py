"""docs/engine.md, "Adding to it": each exercise is carried out as it is written there.

A copy of the checkout gets the section; its own programs run, with a bash of this machine in the
place of the only host's root shell.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROJECT
from support.program import Answer

PARTS = ("runbook", "fabfile", "files", "lab", "tools", "docs", "tasks.py", "fabric.yaml")
LINE = "        systemd.section,\n"

HOSTS_YAML = """\
cluster: small
connection: {user: admin, bootstrap_user: root, key: id_ed25519, known_hosts: [known_hosts]}
hosts:
  watch: {vm: 1, address: 10.0.0.1, ram: 4GB, cpu: 2, disk: 40GB, roles: [counter]}
counters: {folder: FOLDER}
"""

PROGRAM = """\
import sys
sys.path[:0] = [{checkout!r}, {tests!r}]
from support.shells import Shells
from runbook.execute.run import Run
shells = Shells()
Run.connections = property(lambda run: shells)
from runbook.cli.{module} import main
sys.argv = [{program!r}, *sys.argv[1:]]
main()
"""


def exercise(name: str) -> str:
    """The code under a mark of the page."""
    page = (PROJECT / "docs" / "engine.md").read_text(encoding="utf-8")
    found = re.search(rf"^<!-- {name} -->\n```python\n(.*?)^```$", page, re.S | re.M)
    assert found, name
    return found[1]


@dataclass(frozen=True)
class Copy:
    """A checkout with the section."""

    folder: Path

    @property
    def kept(self) -> Path:
        return self.folder / "kept"

    def __call__(self, program: str, *arguments: str) -> Answer:
        """Run fab or inv."""
        module = "fab" if program == "fab" else "program"
        names = {"checkout": str(self.folder), "tests": str(PROJECT / "tests"), "module": module}
        code = PROGRAM.format(**names, program=str(self.folder / ".venv" / "bin" / program))
        return self.python("-c", code, *arguments)

    def python(self, *arguments: str) -> Answer:
        environment = {name: text for name, text in os.environ.items() if "RUNBOOK" not in name}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**environment, "RUNBOOK_STATE": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return Answer(done.returncode, done.stdout + done.stderr)


def copied(folder: Path) -> Copy:
    folder.mkdir()
    for name in PARTS:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    (folder / "fabfile" / "counters").mkdir()
    (folder / "fabfile" / "counters" / "__init__.py").write_text(exercise("a section"))
    contents = folder / "fabfile" / "__init__.py"
    text = contents.read_text().replace("    hosts,\n", "    hosts,\n    counters,\n", 1)
    assert LINE in text
    contents.write_text(text.replace(LINE, f"{LINE}        counters.section,\n"))
    return Copy(folder)


@pytest.fixture(scope="module")
def added(tmp_path_factory) -> Copy:
    """All sections, and counters; the hosts.yaml that is shipped."""
    copy = copied(tmp_path_factory.mktemp("with") / "checkout")
    shutil.copy(PROJECT / "hosts.yaml", copy.folder)
    return copy


@pytest.fixture
def alone(tmp_path) -> Copy:
    """Only counters, on one server."""
    copy = copied(tmp_path / "checkout")
    contents = copy.folder / "fabfile" / "__init__.py"
    kept = re.sub(r"^        (?!counters)\w+\.section,\n", "", contents.read_text(), flags=re.M)
    contents.write_text(kept)
    section = copy.folder / "fabfile" / "counters" / "__init__.py"
    section.write_text(section.read_text().replace('after=("base",)', "after=()"))
    (copy.folder / "hosts.yaml").write_text(HOSTS_YAML.replace("FOLDER", str(copy.kept)))
    return copy


# A section among the others


def test_it_is_listed_and_its_commands_are_shown(added):
    assert "counters.install" in added("fab", "--list").text
    yaml = added.folder / "hosts.yaml"
    yaml.write_text(yaml.read_text().replace("roles: [target]", "roles: [target, counter]"))
    assert "mkdir -p /var/lib/counters" in added("fab", "--dry", "counters").text
    assert "9099/tcp" in added("fab", "--dry", "-H", "card1", "base.firewall").text
    assert "mkdir -p /var/lib/counters" in added("inv", "runbook.show", "counters").text


def test_its_settings_are_validated(added):
    assert added("inv", "inventory.check").code == 0
    yaml = added.folder / "hosts.yaml"
    before = yaml.read_text()
    yaml.write_text(f"{before}\ncounters: {{foldr: /srv}}\n")
    wrong = added("inv", "inventory.check")
    yaml.write_text(before)
    assert wrong.code == 2
    assert "foldr" in wrong.text


def test_the_pages_name_its_tasks_settings_and_ports(added):
    assert added.python("-m", "tools.docs").code == 0
    docs = added.folder / "docs"
    assert "### fab counters.install" in (docs / "tasks.md").read_text()
    assert "`counters.folder`" in (docs / "settings.md").read_text()
    assert "`9099/tcp`" in (docs / "security.md").read_text()


# A section at work


def test_a_plan_a_run_and_a_second_run(alone):
    assert "would change" in alone("fab", "--plan", "counters").text
    assert not alone.kept.exists()
    assert alone("fab", "counters").code == 0
    assert alone.kept.is_dir()
    assert " changed" not in alone("fab", "counters").text.partition("host ")[0]


def test_it_is_deployed_and_has_its_line_in_the_status(alone):
    before = json.loads(alone("inv", "cluster.status", "--json").text)
    assert [one["code"] for one in before["problems"]] == ["COUNTERS_SILENT"]
    deployed = alone("inv", "cluster.deploy")
    assert "counters: done" in deployed.text
    assert deployed.code == 0
    after = json.loads(alone("inv", "cluster.status", "--json").text)
    [part] = after["parts"]
    assert (part["name"], part["status"], part["now"]) == ("counters", "OK", "0 counters")


def test_it_stops_and_starts_with_the_cluster(alone):
    stopped = alone("inv", "cluster.stop", "--plan")
    assert "stop the counters" in stopped.text
    started = alone("inv", "cluster.start")
    assert "start the counters" in started.text
    assert alone.kept.is_dir()


def test_it_is_in_the_bundle(alone):
    assert alone("inv", "cluster.support").code == 0
    [bundle] = alone.folder.glob("support-*.tar.gz")
    with tarfile.open(bundle) as archive:
        [name] = [name for name in archive.getnames() if name.endswith("watch/state.txt")]
        state = archive.extractfile(name)
        assert state
        assert b"counters of this server" in state.read()


# A step, and a kind of step


def test_a_step_is_one_line(added):
    file = added.folder / "fabfile" / "hosts.py"
    text = file.read_text()
    end = text.index("\n\n\n", text.index("def names("))
    imported = text.replace("steps import block", "steps import block, command")
    assert imported != text
    end += len(imported) - len(text)
    step = textwrap.indent(exercise("a step").rstrip(), " " * 4)
    file.write_text(f"{imported[:end]}\n{step}{imported[end:]}")
    assert "nscd -i hosts" in added("fab", "--dry", "hosts.names").text
    file.write_text(text)


def test_a_kind_of_step_is_one_function(added):
    file = added.folder / "runbook" / "declare" / "steps" / "machine.py"
    before = file.read_text()
    file.write_text(f"{before}\n\n{exercise('a kind of step')}")
    code = "from runbook.declare.steps.machine import swap_off; print(swap_off().apply)"
    assert added.python("-c", code).text == "swapoff -a\n"
    file.write_text(before)
