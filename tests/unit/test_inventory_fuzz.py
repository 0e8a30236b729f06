"""Whatever stands in hosts.yaml: it is a cluster, or every complaint names file and line.

The shipped inventories are changed as data and as text, and there is YAML that nobody would write.
The examples are the same in each run; Hypothesis prints one that fails, as small as it gets.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PROJECT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile import CONTENTS
from runbook.errors import InventoryError, SettingsError
from runbook.inventory.cluster import Cluster

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
SHIPPED = {
    name: (PROJECT / name).read_text(encoding="utf-8")
    for name in ("examples/small.yaml", "hosts.yaml", "examples/large.yaml")
}
# The smaller ones take less time, and are no less of an inventory.
TEXTS = [*[SHIPPED["examples/small.yaml"]] * 6, SHIPPED["hosts.yaml"], *SHIPPED.values()]
COMPLAINT = re.compile(r"(hosts|override)\.yaml:[1-9][0-9]*(: \S.*)?: \S.*\.")

ODD = [
    *(None, True, False, 0, -1, 1, 255, 10**29, 2**63, -(2**63) - 1, 1.5, 1e308, 1e-9),
    *(float("nan"), float("inf"), "", " ", "\n", "\t", "\x00", "\x1b[0m", "\u2028", "²", "é", "💥"),
    *("9" * 5000, "x" * 70, "~", "~x/y", "/", "//", ".", "..", "../..", "-h", "--", "'", '"', "\\"),
    *("$(x)", "`x`", "{{ x }}", "%s", "a b", "a\nb", "rocky\n", "=", "<<", "*a", "&a", "!x", "#"),
    *("localhost", "airflow", "root", "all", "nfs", "worker", "postgres", "haproxy", "sql1", "ftp"),
    *(
        "10.0.0.²",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.18",
        "999.1.1.1",
        "::1",
        "10.0.0.0/8",
        "1.1.1.1/0",
    ),
    *("2024-02-30", "Asia/Teheran", "Asia/Tehran", "../etc", "4GB", "0GB", "9TB", "24h", "30d"),
    *(
        "3.12.10",
        "2.9",
        "15",
        "https://me:pw@x/y",
        "http://[",
        "http://x",
        "file:///x",
        "user@h:22",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"": ""},
        {"name": 1},
        {"<<": 1},
        ["worker", "worker"],
        {"a": {"b": [1]}},
    ),
]
KEYS = [
    *("hosts", "vips", "groups", "connection", "timezone", "cluster", "sources", "postgres", "nfs"),
    *("address", "roles", "role", "members", "ram", "vm", "network", "vrrp_id", "user", "port"),
    *("parameters", "settings", "backup", "packages", "name", "<<", "", " ", "a.b", "\n", "1", "~"),
]
TOKENS = [
    *(
        "a: ",
        "- ",
        "? ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&a ",
        "*a ",
        "<<: *a",
        "<<: ",
        "| \n",
        ">-\n",
    ),
    *(
        "!!int ",
        "!!str ",
        "!!binary ",
        "!!set ",
        "!!timestamp ",
        "!x ",
        "%YAML 1.1\n",
        "---\n",
        "...\n",
    ),
    *(
        "#",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        '"',
        "'",
        "\\x00",
        "\\ud800",
        "~",
        "null",
        "yes",
        "0x",
        ".nan",
    ),
    *(
        "hosts:\n",
        "cluster: x\n",
        "vips: ",
        "2024-02-30",
        "1:2",
        "_",
        "0b",
        "\x85",
        "\ufeff",
        "\x07",
        "💥",
    ),
    *("[" * 40, "{a: " * 40, "9" * 400),
]

values = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=12),
    st.integers(),
    st.floats(),
    st.recursive(
        st.sampled_from(ODD),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
        ),
        max_leaves=4,
    ),
)
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=8))


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every (mapping or list, key or index) within data."""
    found = []
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        found.append((data, key))
        if isinstance(value, (dict, list)):
            found += places(value)
    return found


PARSED = {text: yaml.safe_load(text) for text in SHIPPED.values()}


@st.composite
def changed_data(draw) -> str:
    """A shipped inventory with up to three entries replaced, taken out, added or exchanged."""
    data = copy.deepcopy(PARSED[draw(st.sampled_from(TEXTS))])
    for _ in range(draw(st.integers(1, 3))):
        found = places(data)
        if not found:
            break
        place, key = found[draw(st.integers(0, len(found) - 1))]
        what = draw(
            st.sampled_from(["replace", "replace", "replace", "drop", "add", "take", "rename"])
        )
        if what == "replace":
            place[key] = copy.deepcopy(draw(values))
        elif what == "drop":
            del place[key]
        elif what == "take":
            other, there = found[draw(st.integers(0, len(found) - 1))]
            place[key] = copy.deepcopy(other[there])
        elif isinstance(place, dict):
            place[draw(keys)] = place.pop(key) if what == "rename" else copy.deepcopy(draw(values))
        else:
            place.append(copy.deepcopy(draw(values)))
    return yaml.dump(data, Dumper=DUMPER, allow_unicode=draw(st.booleans()), width=200)


@st.composite
def changed_text(draw) -> str:
    """A shipped inventory with up to three pieces of its text replaced by something else."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 2, 5, 20, 200])))
        piece = draw(
            st.one_of(st.sampled_from(TOKENS), st.sampled_from(TOKENS), st.text(max_size=6))
        )
        text = text[:start] + piece + text[end:]
    return text


odd_text = st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=4)), max_size=25).map(
    "".join
)
odd_bytes = st.one_of(st.binary(max_size=60), odd_text.map(lambda text: text.encode("utf-16")))


def fuzzed(examples: int):
    """So many examples, the same in each run."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def judged(folder: Path, content: bytes, override: bytes = b"") -> None:
    """The inventory is a cluster whose content can be shown, or each complaint has a place."""
    file, above = folder / "hosts.yaml", folder / "override.yaml"
    file.write_bytes(content)
    above.write_bytes(override)
    found = outcome(file, above if override else None)
    if isinstance(found, Cluster):
        json.dumps(found.plain(), allow_nan=False).encode("ascii")
        return
    assert found.exit_code == 2
    for line in str(found).split("\n"):
        assert COMPLAINT.fullmatch(line), line
        assert line.isprintable(), line


def outcome(file: Path, override: Path | None) -> Cluster | InventoryError | SettingsError:
    try:
        return CONTENTS.load(file, override)
    except (InventoryError, SettingsError) as error:
        return error


@fuzzed(2000)
@given(text=changed_data())
def test_changed_entries(folder, text):
    judged(folder, text.encode("utf-8", "surrogatepass"))


@fuzzed(1500)
@given(text=changed_text())
def test_changed_text(folder, text):
    judged(folder, text.encode("utf-8", "surrogatepass"))


@fuzzed(1200)
@given(text=odd_text)
def test_text_that_nobody_would_write(folder, text):
    judged(folder, text.encode("utf-8", "surrogatepass"))


@fuzzed(200)
@given(content=odd_bytes)
def test_bytes_that_are_no_text(folder, content):
    judged(folder, content)


@fuzzed(300)
@given(override=st.one_of(changed_data(), changed_text(), odd_text))
def test_an_override_that_nobody_would_write(folder, override):
    shipped = SHIPPED["examples/small.yaml"].encode()
    judged(folder, shipped, override.encode("utf-8", "surrogatepass"))
