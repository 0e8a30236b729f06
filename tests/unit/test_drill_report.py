"""What drills have cost: measured, judged, written down and reported."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fabfile import CONTENTS
from fabfile.operator.drill import ledger, table
from fabfile.operator.drill.course import Course
from fabfile.operator.drill.known import known, loads
from fabfile.operator.drill.ledger import BY_DESIGN, FAILED, MISSED, NOT_RUN, PASSED, Entry
from fabfile.operator.drill.measure import Figures, Window, figures, undone
from fabfile.operator.drill.verdict import verdict
from runbook.declare.drills import Account, Item


@pytest.fixture(scope="module")
def drills(cluster):
    return {drill.name: drill for drill in known(CONTENTS, cluster)}


# What it has cost


WINDOW = Window(opened=100, struck=110, begins=110, closed=140)


@pytest.fixture
def rows(cluster):
    return next(load for load in loads(CONTENTS, cluster) if load.name == "rows")


@pytest.fixture
def lines(cluster):
    return next(load for load in loads(CONTENTS, cluster) if load.name == "lines")


def items(*times: tuple[float, float | None]) -> list[Item]:
    return [Item(number, *one) for number, one in enumerate(times, 1)]


def test_the_longest_wait_for_an_acknowledgement_counts(rows):
    account = Account(items((105, 105.1), (110.2, 127.3), (127.4, 127.5)), there=[1, 2, 3])
    found = figures(rows, account, WINDOW)
    assert (found.seconds, found.acknowledged, found.lost) == (17.0, 3, 0)


def test_what_waited_before_the_fault_waits_from_then_on(rows):
    account = Account(items((104, 104.1), (109, 115)), there=[1, 2])
    assert figures(rows, account, WINDOW).seconds == 4.9


def test_what_is_never_acknowledged_waits_until_the_end(rows):
    assert figures(rows, Account(items((112, None)), there=[]), WINDOW).seconds == 28


def test_what_was_slow_before_is_no_outage(rows):
    account = Account(items((101, 102), (102, 104), (115, 118)), there=[1, 2, 3])
    assert figures(rows, account, WINDOW).seconds == 1.5


def test_acknowledged_and_not_there_is_lost_and_there_twice_is_told(rows):
    account = Account(items((101, 102), (103, 104), (111, 112)), there=[2, 2, 3])
    found = figures(rows, account, WINDOW)
    assert (found.lost, found.twice) == (1, 1)


def test_pages_cannot_be_lost(rows):
    assert figures(rows, Account(items((101, 102))), WINDOW).lost is None


def test_when_a_server_returns_lines_of_before_the_fault_do_not_count(lines, rows):
    account = Account(items((101, 102), (112, 113), (131, 131.5)), there=[2])
    window = replace(WINDOW, begins=130)
    assert figures(lines, account, window, returns=True).lost == 1
    assert figures(lines, account, window, returns=True).lossy == ""
    assert figures(lines, account, window).lossy
    assert figures(rows, account, window, returns=True).lost == 2


def test_a_client_whose_server_was_struck_waited_for_nothing(rows):
    account = Account(items((101, 102), (109, None)), there=[])
    found = figures(rows, account, WINDOW, died=True)
    assert (found.seconds, found.lost) == (None, 1)


def test_the_clock_of_a_load_may_be_ahead(rows):
    account = Account(items((1110.2, 1127.3)), there=[1])
    assert figures(rows, account, WINDOW.at(1000)).seconds == 17.1
    assert undone(Account(items((1139, None), (1141, None))), WINDOW.at(1000)) == 1


# The word for it


def course(drill, **changes) -> Course:
    usual = {
        "fault": 110.0,
        "heal": 130.0,
        "closed": 150.0,
        "back": True,
        "well": True,
        "figures": [figure(12.0)],
    }
    return Course(drill, (), **{**usual, **changes})


def figure(seconds, lost=0, load="rows", **changes) -> Figures:
    return Figures(load, load[:-1], seconds, 0.1, 500, lost, **changes)


def test_a_drill_within_its_marks_has_passed(drills):
    found = course(drills["leader-freeze"])
    assert verdict(found, []) == (PASSED, [])
    assert found.alone
    assert found.seconds == 12


@pytest.mark.parametrize(
    ("name", "changes", "word", "why"),
    [
        ("leader-freeze", {"figures": [figure(18.2)]}, MISSED, "18.2 s without rows"),
        ("leader-freeze", {"figures": [figure(1, lost=2)]}, MISSED, "2 of 500 rows lost"),
        ("leader-freeze", {"back": False}, MISSED, "no service until the fault was healed"),
        ("leader-freeze", {"well": False, "status": "ERROR (X)"}, FAILED, "ERROR (X)"),
        ("leader-freeze", {"figures": []}, FAILED, "nothing has measured it"),
        (
            "queue-leader-partition",
            {"repaired": True, "figures": [figure(5, load="messages")]},
            MISSED,
            "only after fab rabbitmq.cluster",
        ),
        (
            "vm1-power-loss",
            {"figures": [figure(1, retried=1, load="tasks")]},
            MISSED,
            "1 task ran again",
        ),
        ("all-power-loss", {"back": False, "closed": 204.2}, MISSED, "74.2 s until the status"),
        ("all-power-loss", {"back": False}, PASSED, ""),
        ("share-power-loss", {"figures": [figure(3, 9, "lines", lossy="late")]}, PASSED, ""),
    ],
)
def test_a_mark_that_is_missed_is_said(drills, name, changes, word, why):
    found, said = verdict(course(drills[name], **changes), [])
    assert found == word
    assert why in "; ".join(said)


def test_an_outage_without_a_second_server_is_by_design(drills):
    found = course(drills["host-worker1"], out=["tasks"], figures=[figure(70, load="tasks")])
    assert verdict(found, ["worker1 is the only worker: no task runs"]) == (
        BY_DESIGN,
        ["worker1 is the only worker: no task runs"],
    )


# The ledger and the report


def entry(drill="leader-freeze", word=PASSED, seconds=12.0, **changes) -> Entry:
    usual = {
        "when": "2026-11-29T20:00:00+0000",
        "run": "1",
        "who": "me@here",
        "cluster": "airflow-ha",
        "ground": "the lab test",
        "sentence": "It freezes.",
        "struck": ["sql1"],
        "mark": 15,
        "alone": True,
        "loads": [figure(seconds)],
    }
    return Entry(**{**usual, "drill": drill, "word": word, "seconds": seconds, **changes})


def test_what_is_written_down_is_read_again(tmp_path):
    ledger.append(tmp_path, entry())
    with ledger.ledger(tmp_path).open("ab") as file:
        file.write(b'{"when": "cut sh\n')
    ledger.append(tmp_path, entry(word=MISSED))
    assert [one.word for one in ledger.read(tmp_path)] == [PASSED, MISSED]
    assert ledger.ledger(tmp_path).stat().st_mode & 0o777 == 0o600
    assert ledger.read(tmp_path / "none") == []


def test_a_row_has_the_figures_of_all_runs_and_the_worst_word():
    entries = [
        entry(seconds=12.0),
        entry(seconds=18.2, word=MISSED, why=["18.2 s"], trade="the lease", alone=False),
        entry(seconds=14.0, loads=[figure(14.0, 3), figure(3.0, 4, "lines", lossy="late")]),
        entry(word=NOT_RUN, seconds=None, why=["the status is WARN"]),
    ]
    [row] = table.rows(entries)
    said = row.said()
    assert (said["min"], said["median"], said["max"]) == ("12.0", "14.0", "18.2")
    assert (said["runs"], said["mark"], said["lost"]) == (3, "15.0", "3 + 4")
    assert (said["by itself"], said["result"]) == ("2 of 3", MISSED)
    assert row.why == "18.2 s; the lease"
    assert "leader-freeze: missed: 18.2 s; the lease" in table.text(entries)
    assert "lost after a +: lines: late" in table.text(entries)


def test_a_drill_that_was_never_carried_out_says_why():
    [row] = table.rows([entry(word=NOT_RUN, seconds=None, why=["there is no backup"])])
    assert row.said()["result"] == NOT_RUN
    assert row.said()["min"] == "–"
    assert row.why == "there is no backup"


def test_the_page_has_a_row_for_each_drill_and_escapes_what_was_said(inv, tmp_path):
    why = ["<script>alert(1)</script>"]
    ledger.append(tmp_path, entry(word=FAILED, why=why, versions={"airflow": "2.9.0"}))
    answer = inv("drill.report", "--html", str(tmp_path / "drills.html"))
    assert answer.code == 0, answer.text
    page = (tmp_path / "drills.html").read_text()
    assert '<tr id="leader-freeze">' in page
    assert "<script>" not in page
    assert "airflow 2.9.0" in page
    assert "all-power-loss" in page.partition('id="missing"')[2]


def test_the_report_is_also_a_table_and_json(inv, tmp_path):
    assert "There has been no drill yet" in inv("drill.report").text
    for seconds in (12.0, 18.0, 16.0):
        ledger.append(tmp_path, entry(seconds=seconds))
    assert "12.0" in inv("drill.report").text
    answer = inv("drill.report", "--last", "2", "--json")
    assert [one["seconds"] for one in json.loads(answer.text)["drills"]] == [18.0, 16.0]
    assert inv("drill.report", "--last=-1").code == 2
