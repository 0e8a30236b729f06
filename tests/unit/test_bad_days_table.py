"""The tables of bad days in the sections' pages, which ledgers of test runs fill."""

from __future__ import annotations

import json
from pathlib import Path

import bad_days
import pytest
from support.bad_days import figure
from support.messages import Outcome


@pytest.fixture
def ledgers(tmp_path):
    """ledgers([1.0, …], …) -> a ledger for each run, with the pauses of the queue's situation."""

    def write(*pauses: float, lost: int = 0) -> list[Path]:
        files = []
        for number, pause in enumerate(pauses):
            outcome = Outcome(pause=pause, confirmed=400, lost=lost if number else 0)
            results = [
                {"test": f"tests/lab/test_{section}_bad_days.py::test", "figures": [text]}
                for section, text in (
                    ("rabbitmq", figure("a dead broker", "`fab rabbitmq`", outcome)),
                    ("postgres", "bad day | other | none | 9.0 s without writes, 0 of 1 rows lost"),
                )
            ]
            file = tmp_path / f"days-{number}.jsonl"
            file.write_text("\n".join(map(json.dumps, [{"tree": ""}, *results])))
            files.append(file)
        return files

    return write


def test_a_page_gets_the_median_and_the_greatest_loss_of_its_own_section(ledgers, tmp_path):
    page = tmp_path / "rabbitmq.md"
    page.write_text(f"before\n\n{bad_days.BEGIN}\nan older table\n{bad_days.END}\n\nafter\n")
    assert bad_days.main(page, *ledgers(10.0, 30.0, 12.0, lost=2)) == 0
    assert page.read_text() == (
        f"before\n\n{bad_days.BEGIN}\n"
        "| situation | command | seconds without confirms | messages lost | runs |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| a dead broker | `fab rabbitmq` | 12.0 | 2 | 3 |\n"
        f"{bad_days.END}\n\nafter\n"
    )


def test_without_figures_the_page_stays_as_it_is(tmp_path):
    page = tmp_path / "rabbitmq.md"
    page.write_text("before")
    assert bad_days.main(page, tmp_path / "none.jsonl") == 1
    assert page.read_text() == "before"
