"""airflow.packages: what hosts.yaml may ask for, and the lock that is made of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import PROJECT

from fabfile import CONTENTS
from fabfile.airflow import installation, lock, pins, uv
from fabfile.airflow.requirement import package
from runbook.declare.templates import render
from runbook.errors import InventoryError, RunbookError, SettingsError

OWN = "apache-airflow-providers-discord"


@pytest.fixture
def asking(hosts_yaml):
    """asking("[roman]", more="…") -> a cluster with these airflow.packages."""

    def made(packages: str, more: str = ""):
        file = hosts_yaml("  packages: []  ", f"{more}  packages: {packages}  ")
        return CONTENTS.load(file)

    return made


# What may be asked for


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("roman", "roman"),
        ("Our_Operators == 1.4", "our-operators==1.4"),
        (f"{OWN}[Slack, http] >=3.6 , <4", f"{OWN}[http,slack]<4,>=3.6"),
        ("zope.event~=5.0", "zope-event~=5.0"),
        (
            "ours @ https://files.example.com/a/ours-1.4-py3-none-any.whl",
            "ours @ https://files.example.com/a/ours-1.4-py3-none-any.whl",
        ),
    ],
)
def test_a_requirement_is_the_same_in_every_spelling(text, same):
    assert str(package(text)) == same


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        ("[--index-url http://x]", "--index-url http://x is not valid; allowed: requirement"),
        ("['-e .']", "is not valid; allowed: requirement"),
        ("['roman; python_version<\"3.9\"']", "is not valid; allowed: requirement"),
        ("['git+https://x/y']", "is not valid; allowed: requirement"),
        ("['ours @ http://x/y.whl']", "is not valid; allowed: requirement"),
        ("['ours @ https://u:p@x/y.whl']", "is not valid; allowed: requirement"),
        ("['ours @ https://x/y.git']", "is not valid; allowed: requirement"),
        ('["roman\\n--index-url x"]', "is not valid; allowed: requirement"),
        ("[4]", '4 is not text; write "4"'),
        ("[roman, Roman]", "names roman for the second time"),
        ("['apache-airflow[amazon]']", "versions.airflow decides its version"),
        ("[celery==5.4]", "Airflow's lock decides its version"),
        (
            "['ours @ https://files.example.com/ours-1-py3-none-any.whl']",
            "comes from files.example.com; if packages may come from there, list it in",
        ),
        ("team/../../x/", "is not valid; allowed: path on this machine"),
        ("''", "allowed: list of requirement"),
    ],
)
def test_what_cannot_be_a_package_is_refused(asking, packages, words):
    with pytest.raises(InventoryError) as caught:
        asking(packages)
    assert words in str(caught.value)


def test_a_url_is_taken_from_a_server_that_is_listed(asking):
    url = "https://files.example.com/ours-1-py3-none-any.whl"
    cluster = asking(f"['ours @ {url}']", "  package_hosts: [files.example.com]\n")
    [one] = pins.packages(cluster)
    assert one.url == url


def test_a_requirements_file_stands_beside_hosts_yaml(asking, tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(f"# the team's\n{OWN}>=3.6  # messages\n\nRoman\n")
    cluster = asking("requirements.txt")
    assert [str(one) for one in pins.packages(cluster)] == [f"{OWN}>=3.6", "roman"]
    assert pins.file(cluster) == pins.file(asking(f"['roman', '{OWN} >=3.6']"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("roman\n-r more.txt\n", "requirements.txt:2: -r more.txt is not valid; allowed: requi"),
        ("roman\n\nroman>1\n", "requirements.txt:3: roman>1 names roman for the second time"),
        ("celery\n", "requirements.txt:1: celery must not name celery"),
        (None, "cannot be read: No such file or directory. It is airflow.packages in hosts.yaml"),
    ],
)
def test_a_requirements_file_with_anything_else_is_refused(asking, tmp_path, text, words):
    if text is not None:
        (tmp_path / "requirements.txt").write_text(text)
    with pytest.raises(SettingsError) as caught:
        pins.packages(asking("requirements.txt"))
    assert words in str(caught.value)


# Which lock is used


def test_without_packages_airflows_own_lock_is_used(cluster):
    assert pins.text(cluster) == render("airflow/2.9.0-py3.9.lock", {})
    assert installation.wanted(cluster).startswith("2.9.0-")


def test_without_its_lock_nothing_is_installed_and_the_way_out_is_told(asking):
    cluster = asking("[roman]")
    with pytest.raises(RunbookError) as caught:
        installation.wanted(cluster)
    said = str(caught.value)
    assert "airflow.packages of hosts.yaml has no lock for Airflow 2.9.0 and Python 3.9" in said
    assert said.endswith("To make it: fab airflow.lock")
    assert installation.wanted_if_known(cluster) is None


def test_locks_stand_side_by_side(asking, hosts_yaml):
    one, other = pins.file(asking("[roman]")), pins.file(asking("[roman>4]"))
    assert one != other
    assert one.parent.name == "locks"
    assert one.name.startswith("airflow-2.9.0-py3.9-")
    file = hosts_yaml("airflow: 2.9.0", "airflow: 2.7.3")
    file.write_text(file.read_text().replace("  packages: []  ", "  packages: [roman]  "))
    assert pins.file(CONTENTS.load(file)).name.startswith("airflow-2.7.3-py3.9-")


HASH = "--hash=sha256:" + "a" * 64


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.com/simple",
        "-e .",
        "roman==5.2",
        "roman>=5.2 \\\n    " + HASH,
        f"roman==5.2 {HASH}",
        "roman==5.2 \\\n    --hash=md5:aa",
        f"roman @ http://x/y.whl \\\n    {HASH}",
        f"roman==5.2 \\\n    {HASH} # x",
    ],
)
def test_a_lock_has_versions_with_hashes_and_nothing_else(asking, line):
    cluster = asking("[roman]")
    file = pins.file(cluster)
    file.parent.mkdir()
    good = f"# comment\nfine==1.0 \\\n    {HASH} \\\n    {HASH}\n"
    file.write_text(good)
    assert list(pins.pins(pins.text(cluster), "x")) == ["fine"]
    file.write_text(f"{good}{line}\n")
    with pytest.raises(RunbookError, match=r"\.lock:[4-5]: .* is neither a version with its"):
        pins.text(cluster)


def test_an_installation_is_named_by_its_lock_and_its_python(asking, hosts_yaml, cluster):
    own = installation.wanted(cluster)
    team = asking("[roman]")
    pins.file(team).parent.mkdir()
    pins.file(team).write_text(f"roman==5.2 \\\n    {HASH}\n")
    first = installation.wanted(team)
    pins.file(team).write_text(f"roman==5.1 \\\n    {HASH}\n")
    plain = CONTENTS.load(hosts_yaml("optimizations: true ", "optimizations: false "))
    names = {own, first, installation.wanted(team), installation.wanted(plain)}
    assert len(names) == 4
    assert {installation.version_of(name) for name in names} == {"2.9.0"}


# Making it


def test_what_is_named_with_a_version_takes_the_place_of_airflows_pin(asking):
    cluster = asking("[roman, 'jinja2>=3.1.4', 'apache-airflow-providers-http']")
    own = pins.pins(render(pins.own(cluster), {}), "own")
    asked = lock.requirements(cluster, own)
    assert "jinja2==3.1.3" not in asked
    assert "jinja2>=3.1.4" in asked
    assert {"apache-airflow-providers-http==4.10.0", "apache-airflow-providers-http"} <= {*asked}
    assert "apache-airflow==2.9.0" in asked


def test_uv_gets_the_servers_python_and_takes_only_wheels(asking):
    words = " ".join(uv.options(asking("[roman]", "  source_packages: [Our.Package]\n")))
    assert "--python-version 3.9.16 --python-platform x86_64-manylinux_2_28" in words
    assert "--only-binary :all: --no-binary python-nvd3 --no-binary unicodecsv" in words
    assert words.endswith("--no-binary our-package")
    assert "--no-python-downloads" in words


@pytest.mark.parametrize(
    ("pypi", "options"),
    [
        ("{index: https://mirror.example.com/simple/}", "--default-index https://mirror.example"),
        ("{wheelhouse: wheels}", "--no-index --find-links "),
    ],
)
def test_uv_asks_the_index_that_vm1_asks(hosts_yaml, pypi, options):
    cluster = CONTENTS.load(hosts_yaml("sources: {}", f"sources: {{pypi: {pypi}}}"))
    assert options in " ".join(uv.options(cluster))


def wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """A package without code, for uv."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about += f"Requires-Dist: {needs}\n" * bool(needs)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", about)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def small(hosts_yaml, tmp_path, monkeypatch):
    """small("[team]") -> a cluster whose Airflow has two packages, and an index of a few wheels."""
    if not Path(sys.prefix, "bin", "uv").exists():
        pytest.skip("uv is not installed beside this Python")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "airflow_part", "2.9.0", "library")
    for version in ("1.0", "1.1", "2.0"):
        wheel(wheels, "library", version)
    wheel(wheels, "team", "1.0", "library<2")
    wheel(wheels, "team", "1.1", "library<2")
    wheel(wheels, "picky", "1.0", "library>=2")
    own = f"airflow-part==2.9.0 \\\n    {HASH}\nlibrary==1.0 \\\n    {HASH}\n"
    monkeypatch.setattr(lock, "render", lambda source, context: own)
    monkeypatch.setattr(
        uv, "render", lambda source, context: render("airflow/build-tools.lock", {})
    )
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))

    def made(packages: str):
        file = hosts_yaml("sources: {}", f"sources: {{pypi: {{wheelhouse: {wheels}}}}}")
        file.write_text(file.read_text().replace("  packages: []  ", f"  packages: {packages}  "))
        return CONTENTS.load(file)

    return made


def test_a_lock_has_airflows_pins_as_they_are_and_what_is_new(small):
    cluster = small("[team]")
    text = lock.compiled(cluster, "", upgrade=False)
    assert text.startswith("# Airflow 2.9.0 for Python 3.9 with airflow.packages; made by fab air")
    assert "#   team\n" in text
    found = pins.pins(text, "x")
    assert {name: pins.version(pin) for name, pin in found.items()} == {
        "airflow-part": "2.9.0",
        "library": "1.0",
        "team": "1.1",
    }
    assert HASH in found["library"]
    assert HASH not in found["team"]


def test_versions_stay_until_an_upgrade_is_asked_for(small):
    cluster = small("['team<1.1']")
    file = pins.file(cluster)
    file.parent.mkdir()
    file.write_text(lock.compiled(cluster, "", upgrade=False))
    wider = small("[team]")
    assert "team==1.0 " in lock.compiled(wider, "", upgrade=False)
    assert "team==1.1 " in lock.compiled(wider, "", upgrade=True)


def test_a_contradiction_is_explained_in_uvs_words(small):
    with pytest.raises(RunbookError) as caught:
        lock.compiled(small("[team, picky]"), "", upgrade=False)
    said = " ".join(str(caught.value).split())
    assert said.startswith("airflow.packages of hosts.yaml does not fit Airflow 2.9.0 for Python")
    assert "picky" in said
    assert "library" in said
    assert "unsatisfiable" in said
    assert "/tmp" not in said
    assert said.endswith("Nothing was changed.")


def test_a_pin_of_airflow_can_be_replaced_by_name(small):
    text = lock.compiled(small("['library>=1.1', team]"), "", upgrade=False)
    assert "library==1.1 " in text


def test_the_task_plans_writes_once_and_changes_nothing_the_second_time(small, fab, monkeypatch):
    cluster = small("[team]")
    monkeypatch.setenv("RUNBOOK_INVENTORY", str(cluster.file))
    file = pins.file(cluster)
    planned = fab("--plan", "airflow.lock")
    assert planned.code == 0
    assert f"would change: locks/{file.name}" in planned.text
    assert "+ team 1.1" in planned.text
    assert not file.exists()
    assert fab("--dry", "airflow.lock").code == 0
    done = fab("airflow.lock")
    assert "+ team 1.1" in done.text
    assert "Commit" in done.text
    assert "team==1.1 " in file.read_text()
    before = file.stat()
    again = fab("airflow.lock")
    assert "1 ok" in again.text
    assert "changed" not in again.text.replace("changed    failed", "")
    assert file.stat() == before


def test_the_task_says_when_there_is_nothing_to_lock(fab):
    answer = fab("airflow.lock")
    assert answer.code == 0
    assert "has no airflow.packages; Airflow's own lock is used" in answer.text


# Before it is used


def test_every_package_has_to_be_importable(tmp_path):
    """importable-packages reads what is installed, here in a folder of this test's."""
    for name, code in (
        ("fine", ""),
        ("lacks_one", "import nowhere_at_all"),
        ("wants_settings", "raise RuntimeError('no settings')"),
        ("left_out", "import nowhere_at_all"),
    ):
        (tmp_path / f"{name}.py").write_text(code)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n")

    code = "import sys; sys.path = [one for one in sys.path if 'site-packages' not in one]\n"
    code += f"sys.path.insert(0, {str(tmp_path)!r})\n" + render("airflow/importable-packages", {})

    def imported(*left_out: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, " ".join(left_out)]
        return subprocess.run(command, capture_output=True, text=True)

    found = imported("left-out")
    assert found.returncode == 1, found.stderr
    assert "  lacks-one: lacks_one: ModuleNotFoundError: No module named 'nowhere_at_all'" in (
        found.stdout
    )
    assert "wants" not in found.stdout
    assert "left" not in found.stdout
    assert "airflow.not_imported" in found.stdout
    assert imported("left-out", "lacks-one").returncode == 0


def test_only_dags_that_break_anew_count(tmp_path):
    """newly-broken.sh asks both installations, which here are scripts with given answers."""
    source = (PROJECT / "files/airflow/newly-broken.sh").read_text()
    answers = {"in_use": "old.py Error: 1\n", "target": "old.py Error: 1\nnew dag.py Error: 2\n"}
    for name, said in answers.items():
        (tmp_path / name / "bin").mkdir(parents=True)
        python = tmp_path / name / "bin" / "python"
        python.write_text(f"#!/bin/bash\ncat <<'EOF'\n{said}EOF\n")
        python.chmod(0o755)
    (tmp_path / ".nfs-ha").touch()
    values = {"run": "env", "broken": "x", "share": str(tmp_path), "seconds": "5"}
    values |= {name: str(tmp_path / name) for name in answers}

    def asked() -> str:
        text = "".join(f"{name}={value}\n" for name, value in values.items()) + source
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert asked() == "new dag.py Error: 2\n"
    shutil.copy(tmp_path / "in_use/bin/python", tmp_path / "target/bin/python")
    assert asked() == ""
    (tmp_path / "target/bin/python").write_text("#!/bin/bash\nexit 75\n")
    assert "cannot say what it can import" in asked()
    (tmp_path / ".nfs-ha").unlink()
    assert "has no .nfs-ha: is the share mounted?" in asked()
