"""YAML as this project reads it: plain values, each with its line, and no file brings it down."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.errors import InventoryError
from runbook.yaml_source import DEEPEST, LARGEST, Source, shown


def read(text: str | bytes) -> Source:
    return Source(Path("hosts.yaml"), text if isinstance(text, bytes) else text.encode())


def refusal(text: str | bytes) -> str:
    with pytest.raises(InventoryError) as caught:
        read(text)
    assert caught.value.exit_code == 2
    return str(caught.value)


def bombs(links: int) -> str:
    """A file of nine lines of which each doubles the one before, some billion times over."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, links)]
    return "\n".join(lines)


# What cannot be read


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: [\n", "hosts.yaml:3: not valid YAML: "),
        ("a: 1\nb: \x01\n", "hosts.yaml:2: control characters are not allowed."),
        ("a: 1\nb: \0\n", "hosts.yaml:2: control characters are not allowed."),
        (b"a: 1\nb: \xfc\n", "hosts.yaml:2: not UTF-8; save the file as UTF-8."),
        ("a: 1\r\nb: {\r\n", "hosts.yaml:3: not valid YAML: "),
        ("\n- a\n", "hosts.yaml:2: expected keys such as `hosts:` here."),
        ("just text", "hosts.yaml:1: expected keys such as `hosts:` here."),
        ("a: 1\n---\nb: 2\n", "hosts.yaml:2: not valid YAML: but found another document."),
        ("a: *nothing\n", "hosts.yaml:1: not valid YAML: found undefined alias."),
        ("a:\n  b: !!int abc\n", "hosts.yaml:2: a.b: does not match its tag !!int; remove the"),
        ("a: !!int ''\n", "hosts.yaml:1: a: does not match its tag !!int; remove the tag."),
        ("a: !!bool maybe\n", "hosts.yaml:1: a: does not match its tag !!bool; remove the tag."),
        ("a: !!float x\n", "hosts.yaml:1: a: does not match its tag !!float; remove the tag."),
        ("a: !!python/name:os.system x\n", "hosts.yaml:1: a: the tag is not supported"),
        ("a: !mine [1]\n", "hosts.yaml:1: a: the tag is not supported; remove it."),
        ("a: !!set {b, c}\n", "hosts.yaml:1: a: the tag is not supported; remove it."),
        ("a:\n  ? [b, c]\n  : 1\n", "hosts.yaml:2: a: a key must be text."),
        ("a: 1\nb: 2\na: 3\n", "hosts.yaml:3: a: is defined twice (first in line 1); keep one."),
        (
            "a: &a {b: *a}\n",
            "hosts.yaml:1: a.b: an alias makes this value contain itself; write it out.",
        ),
        (
            "a: &a\n- 1\n- *a\n",
            "hosts.yaml:1: a: an alias makes this value contain itself; write it out.",
        ),
        (
            "a: &a {<<: *a}\n",
            "hosts.yaml:1: a.<<: an alias makes this value contain itself; write it out.",
        ),
        ("a: {<<: 5}\n", "hosts.yaml:1: a.<<: merges mappings only, such as `<<: *name`."),
        ("a: {<<: [1]}\n", "hosts.yaml:1: a.<<: merges mappings only, such as `<<: *name`."),
        ("[" * 200_000, f"hosts.yaml:1: more than {DEEPEST} levels; use fewer."),
        ("a: " + "{b: " * 200_000, f"hosts.yaml:1: more than {DEEPEST} levels; use fewer."),
        ("- " * 100_000 + "a", f"hosts.yaml:1: more than {DEEPEST} levels; use fewer."),
        (bombs(9), "more than 100000 values, counting aliases; use fewer."),
        ("#" * (LARGEST + 1), "hosts.yaml:1: the file is larger than 1 MB."),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_read_is_one_sentence_with_its_line(text, sentence):
    found = refusal(text)
    assert sentence in found
    assert found.startswith("hosts.yaml:")
    assert "\n" not in found


def test_a_chain_of_aliases_is_no_way_around_the_depth():
    links = [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 5000)]
    assert "levels, counting aliases" in refusal("\n".join(["a0: &a0 [x]", *links]))


def test_merges_of_merges_end_soon():
    keys = ", ".join(f"k{n}: 1" for n in range(500))
    many = ", ".join(["*a"] * 500)
    text = f"a: &a {{{keys}}}\nb: &b {{<<: [{many}]}}\nc: {{<<: [{many.replace('a', 'b')}]}}\n"
    assert "more than 100000 values" in refusal(text)


def test_a_file_that_never_ends_is_not_read_to_its_end():
    with pytest.raises(InventoryError, match="the file is larger than 1 MB"):
        Source(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["a: *secret\n", "a: !secret x\n", "a: !!int secret\n"])
def test_no_error_repeats_a_value(text):
    assert "secret" not in refusal(text)


# What is read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1_000", -1000),
        ("0x1f", 31),
        ("1.5", 1.5),
        ("yes", True),
        ("~", None),
        ("", None),
        ("2024-02-30", "2024-02-30"),
        ("2024-02-03", "2024-02-03"),
        ("22:22", "22:22"),
        ("9" * 5000, "9" * 5000),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("=", "="),
        ("[1, [a]]", [1, ["a"]]),
        ("{1: a, no: b, ~: c}", {"1": "a", "no": "b", "~": "c"}),
    ],
)
def test_values_are_plain_and_keys_are_text(text, value):
    assert read(f"a: {text}\n").data == {"a": value}


def test_an_empty_file_says_nothing():
    assert read("").data == {}
    assert read("\ufeff# nothing\n").data == {}


# Merge keys

MERGED = """\
base: &base
  ram: 4GB
  cpu: 2
more: &more {cpu: 8, disk: 20GB}
sql1:
  <<: *base
  ram: 8GB
sql2: {<<: [*base, *more]}
"""


def test_what_is_merged_stands_below_what_is_written_there():
    data = read(MERGED).data
    assert data["sql1"] == {"ram": "8GB", "cpu": 2}


def test_of_several_the_first_wins():
    assert read(MERGED).data["sql2"] == {"ram": "4GB", "cpu": 2, "disk": "20GB"}


def test_what_is_merged_has_the_line_where_it_is_written():
    source = read(MERGED)
    assert source.where("sql1", "cpu") == "hosts.yaml:3: sql1.cpu"
    assert source.where("sql1", "ram") == "hosts.yaml:7: sql1.ram"
    assert source.where("sql2", "disk") == "hosts.yaml:4: sql2.disk"


def test_a_merge_key_in_quotes_is_a_key():
    assert read("a: {'<<': 1}\n").data == {"a": {"<<": 1}}


# Lines


def test_an_item_of_a_list_has_its_line():
    source = read("a:\n- x\n- y\n")
    assert source.where("a", 1) == "hosts.yaml:3: a"


def test_what_is_not_there_has_the_line_of_the_key_above():
    source = read("a:\n  b: {}\n")
    assert source.where("a", "b", "c", "d") == "hosts.yaml:2: a.b.c.d"
    assert source.where("x", "y") == "hosts.yaml:1: x.y"


def test_what_is_repeated_is_short_and_in_one_line():
    assert shown("a\nb\x1b[0m\ud800") == "a\\nb\\x1b[0m\\ud800"
    assert shown("x" * 500) == "x" * 60 + "…"
    assert shown("https://me:secret@mirror/x y") == "https://…@mirror/x y"
    assert shown("Zürich") == "Zürich"
    assert (shown(""), shown(" a")) == ('""', '" a"')
