"""How test files are laid out, and what their ledger says."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.ledger import Ledger, Result, read, table
from support.states import STATES, key

TESTS = Path(__file__).resolve().parents[1]
MODULES = sorted(TESTS.glob("*/test_*.py"))


def imported(file: Path) -> set[str]:
    """The names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("file", MODULES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_test_file_imports_another(file):
    others = {other.stem for other in MODULES}
    assert not {name.rpartition(".")[2] for name in imported(file)} & others


@pytest.mark.parametrize("file", sorted(TESTS.glob("lab/test_*.py")), ids=lambda file: file.name)
def test_a_file_that_uses_the_lab_names_the_state_that_it_begins_from(file):
    tree = ast.parse(file.read_text())
    used = {
        argument.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        for argument in node.args.args
    }
    named = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STATE"
    ]
    assert not used & {"lab", "fab"} or named
    assert set(named) <= {"bare", *STATES}


def test_each_state_is_made_from_more_than_the_one_before_it():
    keys = [key(name) for name in STATES]
    assert len(set(keys)) == len(STATES)


def test_a_ledger_keeps_the_last_result_of_a_test(tmp_path):
    ledger = tmp_path / "ledger"
    first = {"test": "a::b", "outcome": "failed", "seconds": 3, "cpu": 1, "figures": []}
    lines = [{"tree": "abc"}, first, {**first, "outcome": "passed", "figures": ["1 s"]}]
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read(ledger) == ("abc", [Result("a::b", "passed", 3, 1, ["1 s"])])
    assert read(tmp_path / "none") == ("", [])


def test_the_table_says_where_the_time_went():
    lines = list(table([Result("x/a.py::t1", seconds=60, cpu=15), Result("x/b.py::t2", seconds=9)]))
    assert lines[2] == "| a.py | 1 | 1.0 | 15 | 75% |"
    assert lines[-2:] == ["| x/a.py::t1 | 60 |", "| x/b.py::t2 | 9 |"]


def test_a_run_goes_on_with_the_whole_file_in_which_it_was_cut_off(tmp_path):
    ledger = tmp_path / "ledger"
    lines = [{"tree": "abc"}]
    for test, outcome in (("a::1", "passed"), ("b::1", "passed"), ("b::2", "failed")):
        lines.append({"test": test, "outcome": outcome, "seconds": 1, "cpu": 1, "figures": []})
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tests = ("a::1", "b::1", "b::2", "b::3", "c::1")
    items = [SimpleNamespace(nodeid=test, path=test[0]) for test in tests]
    gone = []
    config = SimpleNamespace(
        getoption={"ledger": ledger, "resume": True}.get,
        hook=SimpleNamespace(pytest_deselected=lambda items: gone.extend(items)),
    )
    Ledger(config).pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == ["b::1", "b::2", "b::3", "c::1"]
    assert [item.nodeid for item in gone] == ["a::1"]
