"""Airflow's processes read one release of the DAGs at a time; written by `fab airflow.configure`.

A link says which release runs, and Airflow follows it for each file anew: a process that parses a
DAG while the link changes would have the DAG of one release and the modules of the other, and one
that looks for DAGs would forget what .airflowignore says. Here, such a reading is done again. A
task imports its modules from the release that it began with, as long as that one is kept.

Airflow loads this as a plugin for policies (entry point airflow.policy), in every process.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import importlib.util
import os
import sys
import time
import zipimport
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Optional

YOUNG = 4
"""Seconds until a new release is read: until then, another server may still see the old one."""

TRIES = 20


class Release(NamedTuple):
    """A release that runs: its folder, that of the DAGs, and the link that says that it runs."""

    folder: str
    dags: str
    link: tuple[int, int]


def current() -> Optional[Release]:
    """The release that runs; None if there are no releases."""
    from airflow import settings

    link = Path(settings.DAGS_FOLDER, ".releases", "current")
    try:
        age = time.time() - link.lstat().st_ctime
        if 0 <= age < YOUNG:
            time.sleep(YOUNG - age)
        about = link.lstat()
        folder = link.parent / link.readlink()
    except OSError:
        return None
    return Release(str(folder), settings.DAGS_FOLDER, (about.st_ino, about.st_ctime_ns))


def hold(release: Optional[Release]) -> None:
    """Import modules from this release from now on."""
    if not release:
        return
    others = release.dags + f"{os.sep}.releases{os.sep}"
    held = [path for path in sys.path if path.startswith(others)]
    if held == [release.folder]:
        return
    sys.path[:] = [path for path in sys.path if path not in held]
    place = sys.path.index(release.dags) if release.dags in sys.path else len(sys.path)
    sys.path.insert(place, release.folder)
    if held:
        forget(release.dags)


def forget(dags: str) -> None:
    """Forget the modules of another release."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(dags + os.sep):
            del sys.modules[name]
    for cache in (sys.path_importer_cache, getattr(zipimport, "_zip_directory_cache", {})):
        for path in [path for path in cache if path.startswith(dags + os.sep)]:
            del cache[path]
    importlib.invalidate_caches()


def of_one_release(
    read: Callable[..., Any], again: Callable[..., None] = lambda *arguments, **options: None
) -> Callable[..., Any]:
    """`read`, repeated if another release has begun to run meanwhile; `again` prepares for that."""

    @functools.wraps(read)
    def whole(*arguments: Any, **options: Any) -> Any:
        for _ in range(TRIES):
            release = current()
            hold(release)
            error = None
            try:
                found = read(*arguments, **options)
            except Exception as raised:
                error = raised
            if current() == release:
                break
            again(*arguments, **options)
            if release:
                forget(release.dags)
        if error:
            raise error
        return found

    return whole


def not_processed(bag: Any, filepath: str, *_: Any, **__: Any) -> None:
    """What a DagBag has noted about a file, it has not. Arguments as of DagBag.process_file."""
    bag.file_last_changed.pop(filepath, None)
    for known in [known for known in bag.import_errors if known.startswith(filepath)]:
        del bag.import_errors[known]
    for dag_id in [dag_id for dag_id, dag in bag.dags.items() if dag.fileloc.startswith(filepath)]:
        del bag.dags[dag_id]


def change_dagbag(module: Any) -> None:
    """Parse a file from one release."""
    bag = module.DagBag
    bag.process_file = of_one_release(bag.process_file, not_processed)


def change_file(module: Any) -> None:
    """Look for files in one release."""
    module.find_dag_file_paths = of_one_release(module.find_dag_file_paths)


CHANGED = {"airflow.models.dagbag": change_dagbag, "airflow.utils.file": change_file}


class Finder(importlib.abc.MetaPathFinder):
    """Changes the modules in CHANGED when they are imported."""

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        change = CHANGED.pop(name, None)
        if not change:
            return None
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            carry_out = spec.loader.exec_module

            def carried_out(module: ModuleType) -> None:
                carry_out(module)
                change(module)

            spec.loader.exec_module = carried_out
        return spec


for loaded in [name for name in CHANGED if name in sys.modules]:
    with contextlib.suppress(AttributeError):
        CHANGED.pop(loaded)(sys.modules[loaded])
sys.meta_path.insert(0, Finder())
