"""Saved states of labs: which are there, what is theirs, and what goes when nobody needs it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.cache import Cache
from lab.errors import LabError
from lab.machine import clean
from lab.record import Record
from lab.saved import Store

RECORD = Record("hosts.yaml", "lab-1", "10.0.0.1", 24, {"sql1": (8, "10.0.0.8")}, {"base": "b-1"})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "labs")


@pytest.fixture
def save(store, tmp_path):
    """save("one", "layer"): a state whose disks are in these layers."""
    hosts, controller = tmp_path / "hosts.yaml", tmp_path / "controller"
    hosts.write_text("cluster: one\n")
    controller.mkdir()
    (controller / "secrets.yaml").write_text("a: b\n")

    def go(name: str, *layers: str) -> None:
        for layer in layers:
            (store.layers / layer / "sql1").mkdir(parents=True, exist_ok=True)
        record = replace(RECORD, hosts_file=str(hosts), layers=layers)
        store.add(name, record, controller, {"airflow": "2.9.0"}, "for a test")

    return go


def test_a_state_is_kept_with_all_that_belongs_to_it(store, save, tmp_path):
    save("one", "new", "old")
    saved = store.read("one")
    assert (saved.why, saved.versions) == ("for a test", {"airflow": "2.9.0"})
    assert saved.inventory.read_text() == "cluster: one\n"
    assert (saved.folder / "controller/secrets.yaml").read_text() == "a: b\n"
    assert saved.folder.stat().st_mode & 0o777 == 0o700
    assert store.disks(saved.record, "sql1") == [
        store.layers / "new/sql1",
        store.layers / "old/sql1",
    ]


def test_a_host_has_only_the_layers_that_were_frozen_of_it(store, save):
    save("one", "old")
    assert store.disks(store.read("one").record, "sql2") == []


def test_states_are_listed_and_an_unfinished_one_is_none(store, save):
    save("two", "x")
    save("one", "x")
    (store.states / ".unfinished-abc").mkdir()
    assert store.names() == ["one", "two"]


def test_an_unknown_state_is_told_beside_the_known_ones(store, save):
    with pytest.raises(LabError, match="no state one is saved here; available: none"):
        store.read("one")
    save("two", "x")
    with pytest.raises(LabError, match="available: two") as told:
        store.read("one")
    assert told.value.exit_code == 2


def test_a_state_that_is_damaged_is_named_with_the_way_out(store, save):
    save("one", "x")
    (store.states / "one/saved.json").write_text("{}")
    with pytest.raises(LabError, match=r"inv lab\.forget one"):
        store.read("one")
    store.forget("one")
    assert store.names() == []


def test_layers_go_when_neither_a_state_nor_a_lab_stands_on_them(store, save, tmp_path):
    save("one", "old")
    save("two", "new", "old")
    lab = store.labs / "test"
    lab.mkdir()
    replace(RECORD, layers=("lab", "old")).write(lab)
    (store.layers / "lab/sql1").mkdir(parents=True)
    store.forget("two")
    store.remove_unused()
    assert sorted(path.name for path in store.layers.iterdir()) == ["lab", "old"]
    store.forget("one")
    store.remove_unused()
    assert sorted(path.name for path in store.layers.iterdir()) == ["lab", "old"]
    (lab / "lab.json").unlink()
    store.remove_unused()
    assert list(store.layers.iterdir()) == []


def test_the_cache_entries_of_saved_states_are_needed(store, save):
    save("one", "x")
    assert [record.image for record in store.records()] == [{"base": "b-1"}]


def test_a_record_of_before_there_were_layers_is_read(store):
    folder = store.labs / "test"
    folder.mkdir(parents=True)
    RECORD.write(folder)
    text = (folder / "lab.json").read_text()
    (folder / "lab.json").write_text(text.replace(',\n  "layers": []', ""))
    assert "layers" not in (folder / "lab.json").read_text()
    assert Record.read(folder) == RECORD


def test_the_cache_of_a_saved_state_stays_unless_both_are_to_go(store, save, tmp_path):
    save("one", "x")
    cache = Cache(tmp_path / "cache")
    entry = cache.build("base", "1", lambda folder: None)
    with pytest.raises(LabError, match=r"saved states are made from the cache: one; .* --saved"):
        clean(cache, store)
    assert clean(cache, store, saved=True) == [entry]
    assert store.names() == list(store.layers.iterdir()) == []


def test_what_hosts_have_written_is_for_root_alone(store):
    with store.locked(lambda: None):
        assert store.layers.parent.stat().st_mode & 0o777 == 0o700
