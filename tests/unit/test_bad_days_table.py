"""The tables of bad days in the sections' pages, which the ledgers of test runs fill."""

from __future__ import annotations

import json
from pathlib import Path

import bad_days
import pytest
from support.bad_days import figure
from support.messages import Outcome


@pytest.fixture
def ledger(tmp_path):
    """ledger(10.0) -> the ledger of a run in which the queue was away for ten seconds."""

    def write(pause: float, lost: int = 0, outcome: str = "passed") -> Path:
        cost = Outcome(pause=pause, confirmed=400, lost=lost)
        figures = [figure("a dead broker", "`fab rabbitmq`", cost), "state queue: restored"]
        test = "tests/lab/test_rabbitmq_bad_days.py::test"
        lines = [{"tree": ""}, {"test": test, "outcome": outcome, "figures": figures}]
        file = tmp_path / f"{pause}.jsonl"
        file.write_text("\n".join(map(json.dumps, lines)))
        return file

    return write


@pytest.fixture
def docs(tmp_path):
    """Two pages that have had a table before."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for page in ("rabbitmq", "postgres"):
        text = f"before\n\n{bad_days.BEGIN}\nan older table\n{bad_days.END}\n\nafter\n"
        (folder / f"{page}.md").write_text(text)
    return folder


def test_a_page_gets_the_median_and_the_greatest_loss_of_all_runs(docs, ledger):
    bad_days.main(docs, ledger(10.0))
    bad_days.main(docs, ledger(30.0, lost=2), ledger(12.0))
    assert (docs / "rabbitmq.md").read_text() == (
        f"before\n\n{bad_days.BEGIN}\n"
        "| situation | command | seconds without confirms | messages lost | runs |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| a dead broker | `fab rabbitmq` | 12.0 | 2 | 3 |\n"
        f"{bad_days.END}\n\nafter\n"
    )


def test_a_page_without_figures_stays_as_it_is(docs, ledger):
    bad_days.main(docs, ledger(10.0))
    assert "an older table" in (docs / "postgres.md").read_text()


def test_a_failed_test_has_no_figure(docs, ledger):
    bad_days.main(docs, ledger(10.0), ledger(99.0, outcome="failed"))
    assert "| 10.0 | 0 | 1 |" in (docs / "rabbitmq.md").read_text()
