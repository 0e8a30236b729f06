"""Airflow's processes read one release of the DAGs at a time, also while another begins to run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from conftest import PROJECT

OLD, NEW = "a" * 12, "b" * 12


@pytest.fixture
def dags(tmp_path, monkeypatch) -> Path:
    """A folder of DAGs with two releases; the old one runs, and Airflow's settings name it."""
    folder = tmp_path / "dags"
    for name in (OLD, NEW):
        (folder / ".releases" / name).mkdir(parents=True)
        (folder / ".releases" / name / "part.py").write_text(f"RELEASE = {name!r}\n")
    (folder / "part.py").symlink_to(".releases/current/part.py")
    (folder / ".releases" / OLD / "later.py").write_text(f"RELEASE = {OLD!r}\n")
    run(folder, OLD)
    airflow = ModuleType("airflow")
    airflow.__path__ = [str(tmp_path / "airflow")]
    airflow.settings = SimpleNamespace(DAGS_FOLDER=str(folder))
    monkeypatch.setitem(sys.modules, "airflow", airflow)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    yield folder
    for name in ("part", "later", "zipped"):
        sys.modules.pop(name, None)


def run(folder: Path, name: str) -> None:
    new = folder / ".releases" / ".new-current"
    new.symlink_to(name)
    new.replace(folder / ".releases" / "current")


@pytest.fixture
def plugin(dags, monkeypatch) -> ModuleType:
    path = PROJECT / "files/airflow/airflow_releases.py"
    spec = importlib.util.spec_from_file_location("airflow_releases", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "YOUNG", 0)
    return module


def imported(name: str = "part") -> str:
    return importlib.import_module(name).RELEASE


def test_a_reading_that_another_release_has_cut_in_two_is_done_again(dags, plugin):
    readings = []

    def read() -> tuple[str, str]:
        first = (dags / "part.py").read_text().split("'")[1]
        if not readings:
            run(dags, NEW)
        readings.append((first, imported()))
        return readings[-1]

    assert plugin.of_one_release(read)() == (NEW, NEW)
    assert len(readings) == 2


def test_one_that_failed_because_of_that_is_done_again_and_others_fail(dags, plugin):
    def read() -> str:
        if (dags / ".releases/current").readlink() == Path(OLD):
            run(dags, NEW)
            raise RuntimeError("half")
        return imported()

    assert plugin.of_one_release(read)() == NEW

    def fail() -> None:
        raise RuntimeError("broken in any release")

    with pytest.raises(RuntimeError, match="broken in any release"):
        plugin.of_one_release(fail)()


def test_a_task_imports_from_the_release_that_it_began_with(dags, plugin):
    """A module that it imports hours later is that of its DAG, although another release runs."""
    assert plugin.of_one_release(imported)() == OLD
    run(dags, NEW)
    assert imported("later") == OLD
    assert imported() == OLD
    assert plugin.of_one_release(imported)() == NEW, "what is parsed anew has the newer one"
    assert "later" not in sys.modules


def test_what_a_release_that_is_gone_lacks_comes_from_the_one_that_runs(dags, plugin):
    plugin.of_one_release(lambda: None)()
    run(dags, NEW)
    (dags / ".releases" / OLD / "part.py").unlink()
    assert imported() == NEW


def test_a_zip_of_another_release_is_not_read_with_the_index_of_this_one(dags, plugin):
    for name, filler in ((OLD, 1), (NEW, 500)):
        with zipfile.ZipFile(dags / ".releases" / name / "z.zip", "w") as archive:
            archive.writestr("filler.py", "# x\n" * filler)
            archive.writestr("zipped.py", f"RELEASE = {name!r}\n")
    (dags / "z.zip").symlink_to(".releases/current/z.zip")
    sys.path.insert(0, str(dags / "z.zip"))
    read = plugin.of_one_release(lambda: imported("zipped"))
    assert read() == OLD
    run(dags, NEW)
    assert read() == NEW


def test_a_new_release_is_read_when_all_servers_see_it(dags, plugin, monkeypatch):
    """A task of a new release would fail on a worker that still sees the old one."""
    waited = []
    monkeypatch.setattr(plugin, "YOUNG", 4)
    monkeypatch.setattr(plugin.time, "sleep", waited.append)
    plugin.current()
    assert 3 < waited[0] <= 4
    at = (dags / ".releases/current").lstat().st_ctime
    monkeypatch.setattr(plugin.time, "time", lambda: at + 5)
    plugin.current()
    monkeypatch.setattr(plugin.time, "time", lambda: at - 5)
    plugin.current()
    assert len(waited) == 1, "neither later, nor with a clock that is behind"


def test_without_releases_nothing_changes(dags, plugin):
    (dags / ".releases/current").unlink()
    before = list(sys.path)
    assert plugin.current() is None
    assert plugin.of_one_release(lambda word: word)("x") == "x"
    assert sys.path == before


@pytest.mark.parametrize("named", [True, False])
def test_a_dagbag_may_name_the_file_as_it_likes(dags, plugin, named):
    """DagBag.get_dag names it: process_file(filepath=…, only_if_updated=False)."""

    class DagBag:
        file_last_changed, import_errors, dags = {}, {}, {}
        readings = 0

        def process_file(self, filepath, only_if_updated=True, safe_mode=True):
            self.readings += 1
            self.file_last_changed[filepath] = self.readings
            if self.readings == 1:
                run(dags, NEW)
            return [filepath]

    plugin.change_dagbag(SimpleNamespace(DagBag=DagBag))
    bag, path = DagBag(), "/d/a.py"
    found = (
        bag.process_file(filepath=path, only_if_updated=False)
        if named
        else (bag.process_file(path, False))
    )
    assert found == [path]
    assert bag.file_last_changed == {path: 2}


def test_what_a_dagbag_has_noted_of_a_file_is_forgotten(plugin):
    bag = SimpleNamespace(
        file_last_changed={"/d/a.py": 1, "/d/b.py": 1},
        import_errors={"/d/a.py": "half", "/d/b.py": "other"},
        dags={"a": SimpleNamespace(fileloc="/d/a.py"), "b": SimpleNamespace(fileloc="/d/b.py")},
    )
    plugin.not_processed(bag, "/d/a.py")
    assert bag.file_last_changed == {"/d/b.py": 1}
    assert bag.import_errors == {"/d/b.py": "other"}
    assert list(bag.dags) == ["b"]


def test_airflows_modules_are_changed_when_they_are_imported(dags, plugin, tmp_path):
    for name in ("airflow/utils", "airflow/models"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "airflow/utils/file.py").write_text("def find_dag_file_paths(): return ['x']\n")
    (tmp_path / "airflow/models/dagbag.py").write_text(
        "class DagBag:\n    def process_file(self, path): return [path]\n"
    )
    file = importlib.import_module("airflow.utils.file")
    dagbag = importlib.import_module("airflow.models.dagbag")
    try:
        assert file.find_dag_file_paths() == ["x"]
        assert file.find_dag_file_paths.__wrapped__
        assert dagbag.DagBag().process_file("a.py") == ["a.py"]
        assert dagbag.DagBag.process_file.__wrapped__
    finally:
        for name in [name for name in sys.modules if name.startswith("airflow.")]:
            del sys.modules[name]


def test_airflow_finds_it_by_its_entry_point():
    about = PROJECT / "files/airflow/releases-plugin"
    assert (about / "entry_points.txt").read_text() == (
        "[airflow.policy]\nairflow_releases = airflow_releases\n"
    )
    assert "Name: airflow-releases\n" in (about / "METADATA").read_text()
