"""The journal read back: filtered, as runs, and what two runs did differently."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from fabfile.operator.runbook.difference import Difference, differences
from fabfile.operator.runbook.entries import Entry, Filter, found_run, journal, runs, since_moment
from runbook.errors import UsageError
from runbook.execute.journal import Journal
from runbook.secrets.mask import Mask


def entry(**data) -> Entry:
    given = {"when": "2026-11-20T10:00:00+0000", "who": "alice@laptop", "mode": "do", **data}
    return Entry(given)


def run_of(name: str, *entries: dict) -> list[Entry]:
    return [entry(run=name, **data) for data in entries]


NAMES = {"task": "hosts.names", "host": "mq1"}


def test_every_run_has_an_id_of_its_own_in_all_its_entries(tmp_path):
    for _ in range(2):
        own = Journal(tmp_path, Mask())
        own.write(**NAMES, result="ok")
        own.write(**NAMES, result="ok")
    found = runs(journal(tmp_path))
    assert [len(run.entries) for run in found] == [2, 2]
    assert found[0].id != found[1].id


def test_lines_without_an_id_and_lines_cut_short_do_not_matter(tmp_path):
    old = {"when": "2026-01-01T00:00:00+0000", "who": "bob@x", "task": "hosts.names", "host": "mq1"}
    lines = [json.dumps(old), '{"when": "2026-', "[1]", json.dumps({**old, "run": "7"})]
    (tmp_path / "journal.jsonl").write_text("\n".join(lines))
    assert [run.id for run in runs(journal(tmp_path))] == ["", "7"]


def test_no_journal_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="There is no journal in"):
        journal(tmp_path)


ENTRIES = [
    *run_of("a1", {**NAMES, "result": "ok"}),
    *run_of("a2", {"task": "base.user", "host": "mq2", "result": "failed"}),
    *run_of("b1", {"task": "base.time", "host": "mq1", "result": "unreachable"}),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [0, 1, 2]),
        (Filter(host="mq1"), [0, 2]),
        (Filter(task="base"), [1, 2]),
        (Filter(task="base.user"), [1]),
        (Filter(run="a2"), [1]),
        (Filter(run="b"), [2]),
        (Filter(failed=True), [1, 2]),
        (Filter(host="mq1", failed=True), [2]),
        (Filter(since="2026-11-20"), [0, 1, 2]),
        (Filter(since="2026-11-21"), []),
    ],
)
def test_filters_narrow_each_other(wanted, found):
    assert wanted.of(ENTRIES) == [ENTRIES[index] for index in found]


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (Filter(host="mq11"), "no host mq11 .did you mean mq1"),
        (Filter(task="bsae"), "no task bsae .did you mean base"),
        (Filter(run="x"), "no run x"),
        (Filter(run="a"), "Several runs begin with a: a1, a2"),
        (Filter(since="yesterday"), "is not a point in time; write 90m"),
        (Filter(since="99999999m"), "is not a point in time"),
    ],
)
def test_what_the_journal_does_not_know_is_said(wanted, sentence):
    with pytest.raises(UsageError, match=sentence):
        wanted.of(ENTRIES)


def test_since_understands_how_people_say_it():
    now = datetime.now().astimezone()
    assert abs(now - timedelta(hours=2) - since_moment("2h")) < timedelta(seconds=5)
    assert since_moment("00:00").date() == now.date()
    assert (since_moment("2026-11-22 14:30").hour, since_moment("2026-11-22").hour) == (14, 0)


def test_the_whole_id_is_found_among_longer_ones():
    entries = [*run_of("a", NAMES), *run_of("ab", NAMES)]
    assert found_run("a", entries) == "a"


def differing(a: list[dict], b: list[dict]) -> list[Difference]:
    one, other = runs([*run_of("a", *a), *run_of("b", *b)])
    return differences(one, other)


def test_equal_runs_differ_in_nothing():
    same = [{**NAMES, "result": "ok", "seconds": 0.2}]
    assert differing(same, [{**NAMES, "result": "ok", "seconds": 0.9}]) == []


def test_a_task_or_host_of_one_run_only():
    a = [{**NAMES, "result": "ok"}, {**NAMES, "host": "mq2", "result": "ok"}]
    b = [{**NAMES, "result": "ok"}, {"task": "base.user", "host": "mq1", "result": "changed"}]
    assert differing(a, b) == [
        Difference("hosts.names", "", "ok", "not there", ("mq2",)),
        Difference("base.user", "", "not there", "changed", ("mq1",)),
    ]


def test_another_result_and_the_step_that_made_it_so_on_all_hosts_together():
    a, b = [], []
    for host in ("mq1", "mq2"):
        own = {"task": "hosts.names", "host": host}
        a += [{**own, "step": "/etc/hosts", "result": "changed"}, {**own, "result": "changed"}]
        b += [{**own, "result": "ok"}]
    assert differing(a, b) == [
        Difference("hosts.names", "", "changed", "ok", ("mq1", "mq2")),
        Difference("hosts.names", "/etc/hosts", "changed", "ok", ("mq1", "mq2")),
    ]


def test_a_step_behind_a_failure_was_not_reached():
    a = [{**NAMES, "step": "last", "result": "changed"}, {**NAMES, "result": "changed"}]
    b = [{**NAMES, "step": "first", "result": "failed"}, {**NAMES, "result": "failed"}]
    assert ("last", "changed", "not reached") in [
        (one.step, one.a, one.b) for one in differing(a, b)
    ]


@pytest.mark.parametrize(("seconds", "told"), [(1.5, False), (1.9, False), (2.5, True), (9, True)])
def test_seconds_count_when_they_are_far_apart(seconds, told):
    found = differing(
        [{**NAMES, "result": "ok", "seconds": 1.0}], [{**NAMES, "result": "ok", "seconds": seconds}]
    )
    assert bool(found) == told


def test_stages_of_a_procedure_count_together():
    a = [{**NAMES, "result": "ran", "seconds": 5.0}, {**NAMES, "result": "failed", "seconds": 5.0}]
    b = [{**NAMES, "result": "failed", "seconds": 10.0}]
    assert differing(a, b) == []


@pytest.fixture
def kept(tmp_path):
    """kept(entries…): they are the journal."""

    def write(entries: list[Entry]) -> None:
        lines = [json.dumps(one.data) for one in entries]
        (tmp_path / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines))

    return write


def test_log_shows_the_last_and_json_all_of_a_run(inv, kept):
    kept(run_of("a", *[{**NAMES, "result": "ok", "step": f"step {i}"} for i in range(30)]))
    assert inv("runbook.log").text.count("step ") == 20
    assert inv("runbook.log", "--last", "3").text.count("step ") == 3
    lines = inv("runbook.log", "--run", "a", "--json").text.splitlines()
    assert [json.loads(line)["step"] for line in lines] == [f"step {i}" for i in range(30)]
    assert inv("runbook.log", "--failed").text == "The journal has no such entries.\n"
    assert inv("runbook.log", "--last", "-3").code == 2
    assert inv("runbook.log", "--host", "mq7").code == 2


def test_runs_are_listed_with_old_lines_first(inv, kept):
    old = Entry({"when": "2026-01-01T00:00:00+0000", "who": "b@x", "task": "t.t", "host": "mq1"})
    failed = {"task": "base.user", "host": "mq1", "result": "failed"}
    kept([old, *run_of("1120-a", {**NAMES, "result": "changed"}, failed)])
    text = inv("runbook.runs").text
    assert "(no id)" in text
    [row] = [
        json.loads(one)
        for one in inv("runbook.runs", "--json", "--last", "1").text.split("\n")
        if one
    ]
    assert (row["run"], row["hosts"], row["changed"], row["wrong"]) == ("1120-a", 1, 1, 1)
    assert row["tasks"] == ["hosts.names", "base.user"]


def test_diff_of_two_runs_and_of_the_last_with_the_one_like_it(inv, kept):
    kept(
        [
            *run_of("1", {**NAMES, "result": "changed"}),
            *run_of("2", {"task": "base.user", "host": "mq1", "result": "ok"}),
            *run_of("3", {**NAMES, "result": "ok"}),
        ]
    )
    answer = inv("runbook.diff")
    assert answer.code == 0
    assert "a: 1, " in answer.text
    assert "hosts.names  mq1              changed  ok" in answer.text
    assert "base.user" in inv("runbook.diff", "2", "3").text
    data = json.loads(inv("runbook.diff", "1", "3", "--json").text)
    assert [one["a"] for one in data["differences"]] == ["changed"]
    assert inv("runbook.diff", "3", "3").text.endswith("The two runs did the same.\n")
    assert inv("runbook.diff", "9").code == 2


def test_diff_without_two_runs_is_one_sentence(inv, kept):
    kept(run_of("1", {**NAMES, "result": "changed"}))
    answer = inv("runbook.diff")
    assert "does not have two runs to compare yet" in answer.text
    assert answer.code == 2
