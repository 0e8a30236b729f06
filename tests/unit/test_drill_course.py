"""The course of a drill, with a bash of this machine as its hosts and a clock that never waits."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from support.drill_field import HOST, LOAD_HOST, Field

from fabfile import CONTENTS
from fabfile.operator.drill import course as course_of
from fabfile.operator.drill import ledger, loads, rounds, site
from fabfile.operator.drill.ledger import FAILED, MISSED, NOT_RUN, PASSED
from runbook.declare.drills import Mark, Target, nothing
from runbook.errors import RunbookError
from runbook.execute import conversation as engine


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """Signals are heeded also where the tests run in the background, which ignores them."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def field_(cluster, tmp_path, monkeypatch) -> Field:
    """Where drills take place in these tests."""
    own = CONTENTS.load(cluster.file, state=tmp_path)
    made = Field(own, tmp_path)
    for module in (course_of, loads, site, rounds):
        monkeypatch.setattr(module, "time", made.clock)
    monkeypatch.setattr(site.Site, "look", lambda self: made.look())
    compiled = engine.compile_script

    def here(*arguments):
        return compiled(*arguments, runtime=str(tmp_path / threading.current_thread().name))

    monkeypatch.setattr(engine, "compile_script", here)
    return made


def left(field: Field) -> bool:
    """Whether a fault is noted as standing."""
    return ledger.standing(field.folder).exists()


def test_load_fault_watch_heal_verify_and_nothing_is_left(field_):
    field_.account([(1006, 1006.1), (1007, 1010.1)], there=[1, 2])
    [entry] = field_.go(field_.outage())
    assert (entry.word, entry.why) == (PASSED, [])
    assert (entry.struck, entry.alone, entry.lost) == ([HOST], True, 0)
    assert field_.notes == ["look: OK", "power-loss of mq2", "heal mq2", "look: OK"]
    words = [line.split()[0] for line in field_.on_hosts()]
    clean = ["stop", "clean", "sweep"]
    assert words == [*clean, "prepare", "start", "stop", "stop", *clean]
    assert not left(field_)
    assert [one.word for one in ledger.read(field_.folder)] == [PASSED]


def test_a_drill_that_is_repeated_begins_only_while_the_status_is_ok(field_):
    entries = field_.go(field_.outage(), times=3)
    assert [one.word for one in entries] == [PASSED] * 3
    assert field_.notes.count("power-loss of mq2") == 3
    assert [line for line in field_.on_hosts() if line.startswith("prepare")] == [
        "prepare on worker1"
    ], "once for all drills"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda field: field.statuses.append("WARN"), "the status is WARN (PG_PAUSED)"),
        (lambda field: field.plugs.faulty.update(sql1="off"), "inv lab.heal sql1"),
        (lambda field: field.reasons.append("there is no backup"), "there is no backup"),
        (lambda field: field.waits(99), "the load does not work: rows, written all the time"),
        (lambda field: field.waits(None), "answered what is not expected"),
    ],
)
def test_a_cluster_that_is_not_well_is_not_struck(field_, spoil, why):
    spoil(field_)
    [entry] = field_.go(field_.outage())
    assert entry.word == NOT_RUN
    assert why in "; ".join(entry.why)
    assert not [note for note in field_.notes if "power" in note]
    assert not left(field_)


def test_a_soft_drill_needs_no_backup(field_):
    field_.reasons.append("there is no backup")
    assert field_.go(field_.deed("true", "true"))[0].word == PASSED


def test_outside_a_lab_only_soft_drills_are_carried_out(field_):
    field_.plugs = None
    hard, gentle = field_.go(field_.outage(), field_.deed("true", "true"))
    assert (hard.word, hard.why) == (NOT_RUN, ["only a lab may have such a fault"])
    assert (gentle.word, gentle.ground) == (PASSED, "real servers")


def test_commands_strike_and_undo(field_):
    field_.go(field_.deed("true", "true", trade="the lease"))
    order = [line for line in field_.on_hosts() if line.startswith("true")]
    assert order == ["true on mq2"] * 2


def test_no_service_until_the_heal_is_a_missed_mark(field_):
    def waits(now: float) -> None:
        healed = "heal mq2" in field_.notes
        field_.waits(0 if healed or "power-loss of mq2" not in field_.notes else 9)

    field_.clock.then = waits
    [entry] = field_.go(field_.outage())
    assert (entry.word, entry.alone) == (MISSED, False)
    assert "no service until the fault was healed" in entry.why[0]


def test_the_mark_is_compared_with_the_longest_wait(field_):
    field_.account([(1003, 1003.1), (1007, 1025)], there=[1])
    [entry] = field_.go(field_.outage(mark=Mark(seconds=3)))
    assert entry.word == MISSED
    assert entry.why == ["17.9 s without rows; the mark is 3 s", "1 of 2 rows lost; none may be"]
    assert "rows: 2 rows, 17.9 s without service, 1 lost" in field_.said.getvalue()


def test_if_the_cluster_does_not_recover_no_further_drill_begins(field_):
    field_.statuses += ["OK", *["ERROR"] * 2000]
    first, second = field_.go(field_.outage(), field_.deed("true", "true"))
    assert (first.word, second.word) == (FAILED, NOT_RUN)
    assert "the status is ERROR (PG_PAUSED)" in first.why[0]
    assert second.why[0].endswith("since power")
    assert "heal mq2" in field_.notes


def test_a_repair_is_carried_out_but_the_cluster_has_not_recovered_by_itself(field_, monkeypatch):
    performed = []
    monkeypatch.setattr(
        site.Site, "perform", lambda self, task: (performed.append(task), field_.statuses.clear())
    )
    field_.statuses += ["OK", *["ERROR"] * 200]
    [entry] = field_.go(field_.outage(repair=("s.repair",)))
    assert performed == ["s.repair"]
    assert (entry.word, entry.alone) == (MISSED, False)
    assert entry.why == ["the cluster recovered only after fab s.repair"]


def test_a_fault_that_could_not_be_caused_is_healed_all_the_same(field_):
    [entry] = field_.go(field_.deed("false", "true"))
    assert entry.word == FAILED
    assert "mq2 failed at: false" in entry.why[0]
    assert "true on mq2" in field_.on_hosts()
    assert not left(field_)


def interrupt(field: Field) -> None:
    """Ctrl-C in the middle of the fault."""

    def now(moment: float) -> None:
        if field.notes[-1].startswith("power-loss"):
            raise KeyboardInterrupt

    field.clock.then = now


def test_ctrl_c_ends_the_fault_first(field_):
    interrupt(field_)
    with pytest.raises(KeyboardInterrupt):
        field_.go(field_.outage())
    assert field_.notes[-1] == "heal mq2"
    assert not left(field_)
    [entry] = ledger.read(field_.folder)
    assert (entry.word, entry.why) == (FAILED, ["interrupted"])
    assert field_.on_hosts()[-2:] == ["clean on worker1", "sweep on worker1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_counts_as_ctrl_c(field_, number):
    def now(moment: float) -> None:
        if field_.notes[-1].startswith("power-loss"):
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    field_.clock.then = now
    with pytest.raises(KeyboardInterrupt):
        field_.go(field_.outage())
    assert field_.notes[-1] == "heal mq2"
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_waits_until_the_fault_has_ended(field_):
    healed = field_.plugs.heal

    def slowly(hosts) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        healed(hosts)

    field_.plugs.heal = slowly
    with pytest.raises(KeyboardInterrupt):
        field_.go(field_.outage())
    assert field_.notes[-1] == "heal mq2"
    assert "the fault is ended first" in field_.said.getvalue()


def test_a_signal_between_the_fault_and_its_end_does_not_keep_it_from_ending(field_, monkeypatch):
    """Ctrl-C comes when the first one is just being dealt with."""
    handled = course_of.handled

    @contextmanager
    def again(handler):
        with handled(handler):
            yield
        if field_.notes[-1].startswith("power-loss"):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(course_of, "handled", again)
    interrupt(field_)
    with pytest.raises(KeyboardInterrupt):
        field_.go(field_.outage())
    assert field_.notes[-1] == "heal mq2"
    assert not left(field_)


def test_ctrl_c_counts_also_if_the_fault_cannot_be_ended(field_):
    """No further drill begins, and what stands is told."""

    def now(moment: float) -> None:
        if field_.notes[-1].startswith("power-loss") and field_.plugs.broken == course_of.ATTEMPTS:
            os.kill(os.getpid(), signal.SIGINT)

    field_.plugs.broken = course_of.ATTEMPTS
    field_.clock.then = now
    drill = field_.outage()
    with pytest.raises(KeyboardInterrupt):
        field_.go(drill, drill)
    assert left(field_)
    assert "the fault stands. To end it: inv drill.clean" in field_.said.getvalue()
    assert len(ledger.read(field_.folder)) == 1


def test_a_signal_that_is_ignored_stays_so(field_, monkeypatch):
    """As with nohup, when the terminal is closed."""

    def now(moment: float) -> None:
        if field_.notes[-1].startswith("power-loss"):
            os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        field_.clock.then = now
        assert field_.go(field_.outage())[0].word == PASSED
    finally:
        signal.signal(signal.SIGHUP, before)


def test_two_commands_do_not_carry_out_drills_at_the_same_time(field_):
    with ledger.alone_with(field_.folder):
        for work in (lambda: field_.go(field_.outage()), lambda: field_.round().clean()):
            with pytest.raises(RunbookError, match="Another command carries out drills"):
                work()
    assert field_.notes == []
    assert field_.go(field_.drills[0])[0].word == PASSED


def test_a_drill_waits_until_the_status_is_ok_again_after_the_one_before(field_):
    first, second = field_.outage("first"), field_.outage("second")
    field_.statuses += ["OK", "OK", "WARN", "WARN", "OK"]
    assert [one.word for one in field_.go(first, second)] == [PASSED] * 2


def test_a_heal_that_fails_is_tried_again(field_):
    field_.plugs.broken = 2
    assert field_.go(field_.outage())[0].word == PASSED
    assert "not healed yet: it does not answer" in field_.said.getvalue()


def test_a_fault_that_cannot_be_ended_stands_until_it_is(field_):
    field_.plugs.broken = course_of.ATTEMPTS
    [entry] = field_.go(drill := field_.outage())
    assert entry.word == FAILED
    assert left(field_)
    [refused] = field_.go(drill)
    assert refused.why == ["the fault of power (on mq2) was not ended. To end it: inv drill.clean"]
    field_.round().clean()
    assert field_.notes[-1] == "heal mq2"
    assert not left(field_)


def test_what_a_killed_command_has_left_is_removed_twice_without_harm(field_):
    field_.outage()
    file = ledger.standing(field_.folder)
    file.write_text(json.dumps({"drill": "power", "struck": [HOST], "since": "2026"}))
    for _ in range(2):
        field_.round().clean()
    assert field_.notes == ["heal mq2"]
    file.write_text(json.dumps({"drill": "gone", "struck": [HOST], "since": "2026"}))
    with pytest.raises(RunbookError, match=r"which hosts\.yaml does not have any more"):
        field_.round().clean()
    assert left(field_)


def test_a_fault_of_a_lab_is_not_ended_from_elsewhere(field_):
    field_.outage()
    text = json.dumps({"drill": "power", "struck": [HOST], "since": "2026"})
    ledger.standing(field_.folder).write_text(text)
    field_.plugs = None
    with pytest.raises(RunbookError, match=r"run this there: inv lab\.exec"):
        field_.round().clean()


def test_what_could_not_be_removed_is_told(field_):
    """A client that cannot be reached at the end of a drill."""

    def unreachable(now: float) -> None:
        if "heal mq2" in field_.notes:
            field_.run._connections.off = {LOAD_HOST}

    field_.clock.then = unreachable
    field_.statuses += ["OK", "WARN", "OK"]
    with pytest.raises(RunbookError, match=r"Rerun: inv drill\.clean"):
        field_.go(field_.outage())
    [entry] = ledger.read(field_.folder)
    assert entry.word == FAILED


def test_what_cannot_be_removed_yet_is_tried_again(field_):
    """As without a leader of the database, after a drill that was interrupted."""
    field_.fails(("clean", 3))
    assert field_.go(field_.outage())[0].word == NOT_RUN, "before a drill, it is told at once"
    field_.fails(("clean", 3))
    field_.round().clean()
    assert field_.on_hosts()[-2:] == ["clean on worker1", "sweep on worker1"]


def test_what_may_be_somebody_elses_is_not_swept(field_):
    """A load refuses to remove what no drill has made: its logs stay, too."""
    field_.fails(("clean", 1000))
    with pytest.raises(RunbookError, match="Not everything could be removed"):
        field_.round().clean()
    assert "sweep on worker1" not in field_.on_hosts()


def test_without_a_host_for_the_load_the_drill_is_not_carried_out(field_):
    target = Target(lambda cluster, facts: [cluster.hosts[LOAD_HOST]])
    [entry] = field_.go(replace(field_.outage(), target=target))
    assert entry.word == NOT_RUN
    assert entry.why == ["no other server can measure it by rows."]


def test_steps_that_do_nothing_connect_to_nobody(field_):
    site.Site(field_.run).carry_out("nothing", [field_.run.cluster.hosts[HOST]], nothing)
    assert field_.run._connections.tried == []
