"""docs/runbook-lines.md answers every line of the written runbook, and says what the code does."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterable

import pytest
from conftest import PROJECT
from support import written_runbook
from support.all_steps import answered, steps_of
from support.written_runbook import DOCUMENTS, FOLDER, Row, digest, documents, kept, quotes, rows

from fabfile import CONTENTS, ns
from runbook.declare.work import StepTask

KEPT = kept()
THERE = documents()

each_document = pytest.mark.parametrize("document", DOCUMENTS)
with_documents = pytest.mark.skipif(
    not THERE, reason=f"{FOLDER} names no folder with the documents"
)


def of(document: str) -> list[Row]:
    """The rows of a document; of none, what is done without a line of either."""
    return [row for row in rows() if row.document == document]


def found(quote: str, text: str) -> bool:
    """Whether one line of the text has it, where … stands for anything and a space for several."""
    parts = (r"\s+".join(map(re.escape, part.split())) for part in quote.split("…"))
    return bool(re.search(r"[^\n]*".join(parts), text))


def missing(wanted: Iterable[str], text: str) -> list[str]:
    """What the text does not have."""
    return [quote for quote in wanted if not found(quote, text)]


# Lines


@each_document
def test_every_line_of_a_document_has_exactly_one_row(document):
    covered = Counter(number for row in of(document) for number in row.numbers)
    assert {number: covered[number] for number in KEPT[document] if covered[number] != 1} == {}


@each_document
def test_no_row_begins_or_ends_with_a_line_that_is_not_there(document):
    ends = {end for row in of(document) for ends in row.ranges for end in ends}
    assert ends - KEPT[document].keys() == set()


@each_document
def test_a_row_quotes_its_own_lines(document):
    for row in of(document):
        own = {KEPT[document].get(number) for number in row.numbers}
        whole = [quote for quote in quotes(row.said) if "…" not in quote]
        assert whole, row.where
        assert [quote for quote in whole if digest(quote) not in own] == [], row.where


@with_documents
def test_the_digests_are_those_of_the_documents():
    assert written_runbook.made_of(THERE) == written_runbook.DIGESTS.read_text(encoding="utf-8")


@with_documents
@each_document
def test_a_quoted_part_of_a_line_is_in_it(document):
    text = written_runbook.lines((THERE / document).read_text(encoding="utf-8"))
    for row in of(document):
        own = "\n".join(text.get(number, "") for number in row.numbers)
        assert missing(quotes(row.said), own) == [], row.where


# Tasks and steps


def test_the_tasks_of_every_row_are_there():
    there = {f"fab {name}" for name in (*ns.task_names, *CONTENTS.names)}
    there |= {f"inv {name}" for name in importlib.import_module("tasks").ns.task_names}
    for row in rows():
        assert set(row.tasks) - there == set(), row
        assert row.tasks or row.done.startswith("Nothing to do"), row


@pytest.fixture(scope="module")
def texts(cluster):
    """By the name of a task, all that its steps say on any host; under "check", the probes."""
    keyed, facts = answered(cluster)
    said = {}
    for section in CONTENTS.sections:
        for task in section.work:
            if isinstance(task, StepTask):
                steps = steps_of(task, keyed, facts)
                said[task.name] = "\n".join(f"{one.title}\n{one.apply}" for one in steps)
        said[section.name] = "\n".join(said.get(task.name, "") for task in section.in_order())
        probes = (one for host in keyed.hosts.values() for one in section.questions(host, keyed))
        said[f"{section.name}.check"] = "\n".join(f"{one.title}\n{one.command}" for one in probes)
    return said


@pytest.mark.parametrize("document", [*DOCUMENTS, ""])
def test_what_a_row_quotes_is_in_the_steps_of_its_tasks_or_in_hosts_yaml(document, texts):
    inventory = (PROJECT / "hosts.yaml").read_text(encoding="utf-8")
    for row in of(document):
        own = [texts.get(name.partition(" ")[2], "") for name in row.tasks]
        assert missing(row.steps, "\n".join([*own, inventory])) == [], row.where or row.said


# Reasons


def test_every_row_that_differs_has_a_reason():
    for row in rows():
        the_same = re.match(r"The same\b(?!, but)|Nothing to do", row.done)
        assert row.why.endswith(".") or (the_same and not row.why), row
