from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.cache import Cache, hold, key_of
from lab.image import HERE, RPM_BUILDERS, SHELF_BUILDERS

WITHOUT_EFFECT = {"command.py", "errors.py"}
"""What builders import and what they build does not depend on."""


def imports(file: Path) -> set[str]:
    """The files and folders of lab/ that a module imports from."""
    text = file.read_text()
    names = set(re.findall(r"^from lab\.(\w+)|^from lab import (\w+)", text, re.MULTILINE))
    found = (HERE / (first or second) for first, second in names)
    files = (path if path.is_dir() else path.with_suffix(".py") for path in found)
    return {path.name for path in files if path.exists()}


def test_the_key_changes_with_content_name_and_mode(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "a"
    file.write_text("one")
    keys = [key_of(folder)]
    file.write_text("two")
    keys.append(key_of(folder))
    file.chmod(0o755)
    keys.append(key_of(folder))
    file.rename(folder / "b")
    keys.append(key_of(folder))
    assert len(set(keys)) == 4
    assert key_of(folder) == keys[-1]
    assert key_of("a", "b") != key_of("ab")


def test_what_python_compiled_does_not_change_the_key(tmp_path):
    (tmp_path / "a.py").write_text("one")
    before = key_of(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("compiled")
    assert key_of(tmp_path) == before


@pytest.mark.parametrize("builders", [(*RPM_BUILDERS, "packages"), SHELF_BUILDERS])
def test_the_key_is_made_from_all_modules_that_build_the_entry(builders):
    files = [file for name in builders for file in sorted((HERE / name).glob("*.py"))]
    files += [HERE / name for name in builders if name.endswith(".py")]
    imported = set().union(*map(imports, files))
    assert imported - WITHOUT_EFFECT <= set(builders)


def test_an_entry_is_built_once(tmp_path):
    cache, builds = Cache(tmp_path), []

    def make(folder):
        builds.append(folder)
        (folder / "file").write_text("built")

    entry = cache.build("base", "1", make)
    assert (entry / "file").read_text() == "built"
    assert cache.build("base", "1", make) == entry
    assert len(builds) == 1


def test_an_interrupted_build_is_no_entry(tmp_path):
    cache = Cache(tmp_path)

    def interrupted(folder):
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.build("base", "1", interrupted)
    entry = cache.build("base", "1", lambda folder: (folder / "whole").touch())
    assert [path.name for path in entry.iterdir()] == ["whole"]
    cache.prune({entry})
    assert list(tmp_path.iterdir()) == [entry]


def test_pruning_spares_what_is_kept_or_held(tmp_path):
    cache = Cache(tmp_path)
    kept, held, old = (cache.build("base", key, lambda folder: None) for key in "123")
    with hold([held]):
        assert cache.prune({kept}) == [old]
        assert cache.entries() == [kept, held]
    assert cache.prune({kept}) == [held]
