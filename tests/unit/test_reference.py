"""The pages that are made from the code say what the code says, and every task reads well."""

from __future__ import annotations

import importlib
import re

import pytest

from fabfile import CONTENTS, ns
from fabfile.shared.versions import PYTHON_FOR_AIRFLOW
from runbook.declare.templates import PROJECT
from runbook.declare.work import WholeSection
from runbook.inventory.cluster import Connection, Host, Vip
from runbook.inventory.document import Document
from runbook.inventory.entry import Entry
from runbook.results import Status
from tools.docs import catalogue, errors, ports, settings
from tools.docs.markdown import table, within
from tools.docs.pages import pages

MADE = pages(CONTENTS)
COMMANDS = importlib.import_module("tasks").ns
TASKS = [
    pytest.param(name, collection[name], id=f"{program} {name}")
    for program, collection in (("fab", ns), ("inv", COMMANDS))
    for name in sorted(collection.task_names)
]


@pytest.mark.parametrize(("file", "text"), MADE.items(), ids=[file.name for file in MADE])
def test_a_page_is_up_to_date(file, text):
    assert file.read_text(encoding="utf-8") == text, "make docs"


# Tasks


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_a_task_reads_well_in_lists_in_help_and_in_the_page(name, task):
    first = str(task.__doc__).splitlines()[0]
    assert len(first) <= 80
    assert first.endswith(".")
    for argument in catalogue.arguments_of(task):
        assert argument.help, f"{name} --{argument.name}"
    page = MADE[PROJECT / "docs" / "tasks.md"]
    if isinstance(getattr(task, "work", None), WholeSection):
        assert re.search(rf"^## {task.work.name}$", page, re.M)
    else:
        assert re.search(rf"^### (fab|inv) {name}( |$)", page, re.M)


def test_hosts_of_a_task_are_said_in_few_words(cluster):
    assert catalogue.on("all", cluster) == "all hosts"
    assert catalogue.on("postgres", cluster) == "`@postgres`: sql1, sql2, sql3"
    assert catalogue.on(lambda cluster: cluster.group("all")[:2], cluster) == "airflow, scheduler2"


# Settings


def structs():
    found = {
        "hosts": Host,
        "vips": Vip,
        "connection": Connection,
        "": Document,
        **CONTENTS.schema.settings,
    }
    for name, kind in list(found.items()):
        for field in kind.__struct_fields__:
            inner = settings.get_type_hints(kind)[field]
            if isinstance(inner, type) and issubclass(inner, Entry):
                found[f"{name}.{field}"] = inner
    return sorted(found.items())


@pytest.mark.parametrize(("name", "kind"), structs())
def test_every_setting_says_what_it_means(name, kind):
    meanings = settings.documented(kind)
    assert set(kind.__struct_fields__) - {"name"} == set(meanings)
    assert all(text.endswith(".") for text in meanings.values())


def test_settings_have_kind_default_and_bounds():
    rows = {row[0]: row for row in settings.rows(CONTENTS.schema.settings["postgres"], "postgres")}
    assert rows["`postgres.ttl`"][1:3] == ("whole number, at least 20, at most 3600", "`20`")
    assert rows["`postgres.backup.path`"][1].startswith("absolute path (letters, digits")
    assert rows["`postgres.backup.path`"][2] == "`/var/lib/pgbackrest`"
    assert rows["`postgres.clients`"][1:3] == ("list of network: `10.20.0.0/24`", "–")
    assert "`postgres.backup`" not in rows


def test_the_versions_that_are_known_are_named():
    meaning = settings.documented(CONTENTS.schema.settings["versions"])["airflow"]
    assert all(version in meaning for version in PYTHON_FOR_AIRFLOW)


def test_every_key_of_the_shipped_inventory_is_in_the_page():
    from runbook.yaml_source import Source

    page = (PROJECT / "docs" / "settings.md").read_text()
    data = Source(PROJECT / "hosts.yaml").data
    for name, mapping in data.items():
        assert f"`{name}`" in page
        keys = mapping if name in {*CONTENTS.schema.settings, "connection"} else {}
        for key in keys:
            assert f"`{name}.{key}" in page


# Errors


def test_every_word_for_a_host_is_explained():
    assert set(errors.MEANING) == set(Status) - {Status.NO_EFFECT}


def test_exit_codes_are_those_of_the_code():
    codes = {code for code, _ in errors.exit_codes()}
    assert codes == {"`0`", "`1`", "`2`", "`3`", "`130`"}


def test_every_kind_of_error_says_what_to_do():
    for kind in ("UsageError", "InventoryError", "SettingsError", "UnreachableError"):
        row = errors.kind_row(getattr(errors.errors, kind))
        assert row[2]
        assert row[3]


def test_sentences_are_gathered_with_what_varies_left_open():
    said = errors.sentences()
    assert "… is readable by others. Fix: chmod 600 …" in said["SettingsError"]
    assert "-H … names no host." in said["UsageError"]


# Ports


def test_every_port_that_a_section_declares_is_in_the_table(cluster):
    declared = {opening.port.number.replace("ssh", "22/tcp") for opening in cluster.openings}
    assert {row[1].strip("`") for row in ports.opened(cluster)} == declared


def test_the_table_says_who_may_reach_a_port(cluster):
    by_default, by_setting = {}, {}
    for row in ports.opened(cluster):
        (by_setting if row[1] in by_default else by_default)[row[1]] = row
    rows = by_default
    assert by_setting["`5432/tcp`"][2] == "servers of Airflow"
    assert rows["`6432/tcp`"][0] == "the database servers, if they run PgBouncer"
    assert rows["`5432/tcp`"][0] == "`@postgres`"
    assert rows["`5432/tcp`"][2] == "`@postgres`, `@haproxy`, networks in `postgres.clients`"
    assert rows["`2380/tcp`"][2] == "`@postgres`"
    assert rows["`8793/tcp`"][0] == "`@worker`"
    assert rows["`5000/tcp`"][0] == "`@haproxy`"


# Markdown


def test_a_bar_does_not_end_a_cell():
    assert table(["a"], [["x | y"]]).splitlines()[-1] == "| x \\| y |"


def test_only_the_part_is_made_anew():
    page = "a\n<!-- x: made from the code by `make docs` -->\nold\n<!-- /x -->\nb\n"
    assert "old" not in within(page, "x", "new")
    assert within(page, "x", "new").startswith("a\n")
    assert within(within(page, "x", "new"), "x", "new") == within(page, "x", "new")
    with pytest.raises(ValueError, match="no part y"):
        within(page, "y", "new")


def test_sections_have_a_place_in_the_runbook():
    assert all(section.runbook and section.about.endswith(".") for section in CONTENTS.sections)


# Pages


WRITTEN = sorted([PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")])


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_the_tasks_that_a_page_names_are_there(file):
    text = file.read_text(encoding="utf-8")
    everything = {*ns.task_names, *COMMANDS.task_names}
    sections = {name.partition(".")[0] for name in everything}
    for program, words in re.findall(r"(?:^|[`$(] *)(fab|inv) ([a-z][a-z. -]*)", text, re.M):
        named = [word.rstrip(".") for word in words.split() if "." in word.rstrip(".")]
        for name in named:
            if name.startswith(("cluster.", "runbook.")) or name.partition(".")[0] not in sections:
                continue  # such as a file
            assert name in everything, name
        if words.split()[0] in named[:1] and program == "fab":
            assert named[0] in ns.task_names, named[0]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/own-servers.md",
        "docs/runbook-lines.md",
        *(f"docs/{file.name}" for file in MADE),
    ],
)
def test_links_lead_somewhere(page):
    file = PROJECT / page
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).exists() or target == "status.md", target
