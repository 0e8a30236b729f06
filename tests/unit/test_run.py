"""A whole run, with a bash of this machine in the place of each host's root shell."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
import threading
from types import SimpleNamespace

import pytest
from support.shells import Shells

from fabfile import CONTENTS
from fabfile.shared.roles import RABBITMQ, WORKER
from runbook.declare.answers import Count, one
from runbook.declare.facts import Fact
from runbook.declare.probes import OK, WARN, Finding, Verdict, probe, says, succeeds
from runbook.declare.section import Section
from runbook.declare.step import Handler
from runbook.declare.steps import action, command
from runbook.declare.work import Question, stage
from runbook.errors import RunbookError, UsageError
from runbook.execute import conversation as engine
from runbook.execute.journal import Journal
from runbook.execute.run import Options, Run
from runbook.execute.tasks import perform
from runbook.output.document import document
from runbook.output.report import Report
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Passwords
from runbook.visible import in_json


@pytest.fixture
def start(cluster, tmp_path, monkeypatch):
    """start(section, "a-task", …, off=[…]) -> the run after those tasks, its text in `.said`."""
    compiled = engine.compile_script

    def here(*arguments):
        return compiled(*arguments, runtime=str(tmp_path / threading.current_thread().name))

    monkeypatch.setattr(engine, "compile_script", here)

    def go(
        section: Section, *tasks: str, off=(), refusing=(), arguments=None, **options
    ) -> SimpleNamespace:
        stream = io.StringIO()
        mask = Mask()
        run = Run(
            contents=CONTENTS,
            cluster=cluster,
            options=Options(**options),
            report=Report(mask, order=list(cluster.hosts), stream=stream),
            config=None,
            journal=Journal(tmp_path, mask),
            passwords=Passwords(mask, ask=str),
        )
        shells = Shells(off, refusing)
        run._connections = shells
        works = {task.name: task.work for task in section.collection(CONTENTS).tasks.values()}
        went_on = [perform(run, works[name], arguments or {}) for name in tasks]
        run.report.recap(run.results, run.exit_code)
        statuses = {result.host: result.status for result in run.results}
        return SimpleNamespace(
            run=run, shells=shells, said=stream.getvalue(), went_on=went_on, statuses=statuses
        )

    return go


@pytest.fixture
def section(tmp_path):
    """A section whose first task fails on mq2, and whose second leaves a file per host."""
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def first(host, cluster):
        """Do the first."""
        done = tmp_path / f"first-{host.name}"
        apply = "echo no such luck; exit 4" if host.name == "mq2" else f"touch {done}"
        yield command("first", apply, f"[[ -e {done} ]]")

    @section.task
    def second(host, cluster):
        """Do the second."""
        done = tmp_path / f"second-{host.name}"
        yield command("second", f"touch {done}", f"[[ -e {done} ]]")

    return section


def test_a_failure_stops_its_host_and_the_next_task_but_not_the_others(section, start, tmp_path):
    ended = start(section, "all")
    assert ended.statuses == {"mq1": "changed", "mq2": "failed", "mq3": "changed"}
    assert ended.went_on == [False]
    assert not (tmp_path / "second-mq1").exists()
    assert ended.run.exit_code == 1
    for words in ("mq2 failed in s.first at: first", "$ echo no such luck; exit 4", "exit code 4"):
        assert words in ended.said
    assert "then rerun: fab -H mq2 s.first" in ended.said


def test_of_a_traceback_the_user_sees_the_exception(start):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")
    program = "def deep():\n raise OSError('no route')\ntry:\n deep()\nfinally:\n print('end')"

    @section.task
    def migrate(host, cluster):
        """Run a program that fails."""
        yield command("migrated", shlex.join([sys.executable, "-c", program]), "false")

    said = start(section, "migrate").said
    assert "    OSError: no route" in said
    assert "    end" in said
    assert "Traceback" not in said
    assert "line 2" not in said


def test_the_recap_does_not_count_a_finding_as_a_change(start):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def tidy(host, cluster):
        """Nothing to do."""
        yield command("tidy", "true", "true")

    @section.check
    def check(host, cluster):
        """Ask."""
        yield probe("it says hi", "echo ho", says("hi", otherwise="it says ho"), fix="fab s")

    said = start(section, "tidy", "check").said
    assert re.search(r"^host +ok +changed +not fine +failed +seconds$", said, re.M)
    assert re.search(r"^mq1 +2 +0 +1 +0 ", said, re.M)


def test_keep_going_starts_the_next_task(section, start, tmp_path):
    start(section, "all", keep_going=True)
    assert (tmp_path / "second-mq1").exists()
    assert (tmp_path / "second-mq2").exists()


def test_an_unreachable_host_is_not_tried_again(section, start):
    ended = start(section, "second", "check", off=["mq3"])
    assert ended.shells.tried.count("mq3") == 1
    assert ended.statuses["mq3"] == "unreachable"


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ({"off": ["mq3"]}, 3),
        ({"refusing": ["mq3"]}, 1),
        ({"off": ["mq3"], "refusing": ["mq1"]}, 1),
        ({}, 0),
    ],
)
def test_exit_code_tells_failed_from_unreachable(section, start, trouble, code):
    assert start(section, "second", **trouble).run.exit_code == code


def test_check_ends_in_1_if_something_differs_and_plan_in_0(section, start):
    assert start(section, "check").run.exit_code == 1
    assert start(section, "second", plan=True).run.exit_code == 0
    start(section, "second")
    assert "3 ok" in start(section, "second", plan=True).said


def test_hosts_of_the_run_narrow_a_section_and_an_outsider_is_refused(section, start):
    assert set(start(section, "second", hosts="mq1,mq3").statuses) == {"mq1", "mq3"}
    with pytest.raises(
        UsageError, match="second does not apply to sql1; it applies to mq1, mq2, mq3"
    ):
        start(section, "second", hosts="mq1,sql1")


def test_batches_go_one_after_another_and_stop_at_a_failure(start, tmp_path):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task(batches=lambda hosts, cluster: [[host] for host in hosts])
    def rolling(host, cluster):
        """Do one at a time."""
        apply = f"echo {host.name} >>{tmp_path}/order"
        failing = " && false" if host.name == "mq2" else ""
        yield command("roll", apply + failing, f"grep -q {host.name} {tmp_path}/order")

    start(section, "rolling")
    assert (tmp_path / "order").read_text().split() == ["mq1", "mq2"]


def test_a_rolling_task_gets_its_turn_after_each_batch_that_is_fine(start, tmp_path):
    section = Section("web", on=RABBITMQ, runbook="1", about="Web.")
    turns = []

    def one_by_one(run, hosts):
        for host in hosts:
            yield [host]
            turns.append(host.name)

    @section.task(rolling=one_by_one)
    def broken_on_mq2(host, cluster):
        """Break on mq2."""
        yield action("it works", "false" if host.name == "mq2" else "true")

    run = start(section, "broken-on-mq2")
    assert turns == ["mq1"]
    assert "mq3" not in run.said


@pytest.fixture
def gift(tmp_path) -> Section:
    """mq1 gives something to each host that the task is for; it tells what."""
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task(by=lambda cluster: [cluster.hosts["mq1"]])
    def give(host, cluster, hosts):
        """Give."""
        for other in hosts:
            done = tmp_path / f"{host.name}-to-{other.name}"
            title = f"{host.name} gives to {other.name}"
            step = command(title, f"echo given; touch {done}", f"[[ -e {done} ]]")
            yield step.with_output().then(Handler("thanks", "thanks", "true"))

    return section


@pytest.mark.parametrize(("hosts", "given"), [("", ["mq1", "mq2", "mq3"]), ("mq2", ["mq2"])])
def test_a_task_by_another_host_is_for_the_hosts_of_the_run(gift, start, tmp_path, hosts, given):
    ended = start(gift, "all", hosts=hosts)
    assert sorted(path.name for path in tmp_path.glob("mq*-to-*")) == [
        f"mq1-to-{name}" for name in given
    ]
    assert set(ended.shells.tried) == {"mq1"}
    assert ended.statuses == {"mq1": "changed"}
    assert "      given" in ended.said


def test_check_judges_such_a_task_where_its_steps_are_taken(gift, start):
    assert start(gift, "check").statuses == {"mq1": "differs", "mq2": "ok", "mq3": "ok"}


def key_section(tmp_path) -> Section:
    key = Fact(
        "the key",
        on=lambda cluster: [cluster.hosts["mq1"]],
        command=lambda cluster, host: f"cat {tmp_path}/key",
        parse=str.strip,
        absent="fab s.key makes it",
    )
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task(needs=[key])
    def spread(host, cluster, facts):
        """Give everybody the key."""
        text = facts.of(key, cluster.hosts["mq1"])
        done = tmp_path / f"key-{host.name}"
        yield command("has the key", f"echo {text} >{done}", f"[[ -e {done} ]]")

    return section


def test_a_fact_of_one_host_reaches_the_others(start, tmp_path):
    (tmp_path / "key").write_text("AAAA\n")
    start(key_section(tmp_path), "spread")
    assert (tmp_path / "key-mq3").read_text() == "AAAA\n"


def test_without_the_fact_a_plan_says_unknown_and_a_run_refuses(start, tmp_path):
    planned = start(key_section(tmp_path), "spread", plan=True)
    assert set(planned.statuses.values()) == {"unknown"}
    assert "the key on mq1 is unknown: fab s.key makes it" in planned.said
    assert planned.run.exit_code == 0
    done = start(key_section(tmp_path), "spread")
    assert set(done.statuses.values()) == {"refused"}
    assert done.run.exit_code == 1


def test_a_host_whose_answer_cannot_be_one_is_refused_and_the_others_go_on(start, tmp_path):
    lies = Fact(
        "the weight",
        on=RABBITMQ,
        command=lambda cluster, host: "echo 'x; touch f'" if host.name == "mq2" else "echo 3",
        parse=lambda text: one(text.strip(), Count),
        absent="weigh it",
    )
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task(needs=[lies])
    def weigh(host, cluster, facts):
        """Weigh."""
        done = tmp_path / f"weighed-{host.name}"
        yield command("is weighed", f"echo {facts.known(lies)} >{done}", f"[[ -e {done} ]]")

    @section.procedure(needs=[lies])
    def move(hosts, cluster, facts):
        """Move."""
        for host in hosts:
            yield stage(f"move {host.name}", host, action("is moved", f"echo >{tmp_path}/moved"))

    ended = start(section, "weigh", "weigh")
    assert ended.statuses == {"mq1": "changed", "mq2": "refused", "mq3": "changed"} | dict.fromkeys(
        ("mq1", "mq3"), "ok"
    )
    assert "mq2 answered 'x; touch f' to 'the weight', which is not as expected: " in ended.said
    assert not (tmp_path / "weighed-mq2").exists()
    assert "mq2" not in (tmp_path / "weighed-mq1").read_text()
    assert ended.went_on == [False, False]
    assert ended.run.exit_code == 1
    moved = start(section, "move", hosts="mq2")
    assert not (tmp_path / "moved").exists()
    assert moved.said.count("mq2 answered 'x; touch f'") >= 1
    assert moved.run.exit_code == 1


ODD = "\x1b[31mred\x1b]0;title\x07 \u202egnp \x9b2J \x7f"
SHOWN = r"\x1b[31mred\x1b]0;title\x07 \u202egnp \x9b2J \x7f"


def odd_section(tmp_path) -> Section:
    """A section whose step fails, and whose probe and host answer with control characters."""
    (tmp_path / "odd").write_text(f"{ODD}\n", encoding="utf-8")
    section = Section("s", on=WORKER, runbook="9", about="About s.")

    @section.task
    def fail(host, cluster):
        """Fail."""
        yield command("fails", f"cat {tmp_path}/odd; exit 3", "false")

    @section.check
    def check(host, cluster):
        """Ask."""
        yield probe("odd", f"cat {tmp_path}/odd; false", succeeds)

    return section


@pytest.mark.parametrize("task", ["fail", "check"])
def test_control_characters_of_a_host_are_shown(start, tmp_path, task):
    ended = start(odd_section(tmp_path), task)
    assert SHOWN in ended.said
    assert not set(ended.said) & set("\x1b\x07\u202e\x9b\x7f")
    journal = (tmp_path / "journal.jsonl").read_text(encoding="utf-8")
    assert not set(journal) & set("\x1b\x07\u202e\x9b\x7f")


def test_json_has_them_as_they_are_and_escaped(start, tmp_path):
    run = start(odd_section(tmp_path), "fail").run
    text = in_json(document(run.results, {}, [], 1))
    assert text.isprintable()
    [step] = json.loads(text)["tasks"]["s.fail"]["hosts"]["worker1"]["steps"]
    assert step["output"] == [ODD]


def test_dry_shows_commands_and_opens_nothing(section, start):
    ended = start(section, "all", dry=True)
    assert ended.shells.tried == []
    assert "exit 4" in ended.said


def test_probes_are_judged_and_a_fix_is_named(start):
    section = Section("s", on=WORKER, runbook="9", about="About s.")

    @section.check
    def check(host, cluster):
        """Ask."""
        yield probe("two is two", "true", succeeds)
        yield probe("it says hi", "echo ho", says("hi", otherwise="it says ho"), fix="fab s")
        yield probe("not understood", "echo x", lambda answer: [][0])

    ended = start(section, "check")
    assert "[worker1] error: it says hi: it says ho" in ended.said
    assert "fix: fab s" in ended.said
    assert "[worker1] unknown: not understood" in ended.said
    assert ended.run.exit_code == 1


def test_the_journal_has_every_host_and_what_was_not_simply_fine(section, start):
    ended = start(section, "first")
    entries = ended.run.journal.file.read_text()
    assert '"host": "mq2", "mode": "do", "step": "first", "result": "failed"' in entries
    assert '"host": "mq1", "mode": "do", "result": "changed"' in entries


def test_a_host_that_a_task_refuses_does_not_keep_the_others_from_it(start, tmp_path):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def pick(host, cluster):
        """Pick."""
        if host.name == "mq2":
            raise RunbookError("mq2 belongs to somebody else.")
        done = tmp_path / host.name
        yield command("picked", f"touch {done}", f"[[ -e {done} ]]")

    for plan in (True, False):
        ended = start(section, "pick", plan=plan)
        assert ended.statuses["mq2"] == "refused"
        assert "mq2 belongs to somebody else." in ended.said
        assert ended.run.exit_code == 1
    assert (tmp_path / "mq3").exists()
    assert start(section, "check").statuses["mq2"] == "refused"


# Procedures, tables, verdicts


WEIGHT = Fact(
    "the weight",
    on=RABBITMQ,
    command=lambda cluster, host: f"echo {len(host.name)}",
    parse=int,
    absent="weigh it",
)


@pytest.fixture
def moves(tmp_path):
    """A section with a procedure in two stages, the second of which can be made to fail."""
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.procedure(needs=[WEIGHT])
    def move(hosts, cluster, facts, *, asking=False):
        """Move."""
        if asking:
            yield Question("It will be moved.")
        for host in hosts:
            fails = "exit 3" if (tmp_path / f"broken-{host.name}").exists() else ""
            note = action(f"{host.name} is moved", f"echo >{tmp_path}/moved-{host.name}; {fails}")
            yield stage(f"move {host.name}", host, note)

    @section.table(needs=[WEIGHT])
    def weights(cluster, facts):
        """Show."""
        return [{"host": name, "kg": kg} for name, kg in sorted(facts.known(WEIGHT).items())]

    @section.cluster_check(needs=[WEIGHT])
    def check_cluster(cluster, facts):
        total = sum(facts.known(WEIGHT).values())
        yield Finding("weight", Verdict(OK if total == 9 else WARN, f"{total} kg"), fix="eat")

    return section


def test_a_procedure_stops_at_the_first_stage_that_fails(moves, start, tmp_path):
    (tmp_path / "broken-mq2").touch()
    ended = start(moves, "move")
    assert ended.went_on == [False]
    assert (tmp_path / "moved-mq1").exists()
    assert not (tmp_path / "moved-mq3").exists()
    assert ended.run.exit_code == 1


def test_the_plan_of_a_procedure_names_every_stage_and_does_none(moves, start, tmp_path):
    ended = start(moves, "move", plan=True)
    for name in ("mq1", "mq2", "mq3"):
        assert f"would change: {name} is moved" in ended.said
        assert not (tmp_path / f"moved-{name}").exists()


def test_a_procedure_that_asks_does_nothing_unless_somebody_agrees(moves, start, tmp_path):
    start(moves, "move", arguments={"asking": True}, plan=True)
    with pytest.raises(UsageError, match="Pass --yes"):
        start(moves, "move", arguments={"asking": True})
    assert not (tmp_path / "moved-mq1").exists()
    start(moves, "move", arguments={"asking": True}, yes=True)
    assert (tmp_path / "moved-mq3").exists()


def test_a_table_shows_what_hosts_say_and_who_is_silent(moves, start):
    ended = start(moves, "weights", off=["mq2"])
    assert "mq1" in ended.said
    assert ended.statuses == {"mq2": "unreachable"}
    assert ended.run.exit_code == 3


def test_the_verdict_on_all_hosts_is_always_told(moves, start):
    assert "[cluster] ok: weight: 9 kg" in start(moves, "check").said
    less = start(moves, "check", off=["mq2"])
    assert "[cluster] warning: weight: 6 kg" in less.said
    assert "fix: eat" in less.said


def test_json_holds_a_finding_and_not_the_raw_answer(start):
    section = Section("s", on=WORKER, runbook="9", about="About s.")

    @section.check
    def check(host, cluster):
        """Ask."""
        yield probe("it says hi", "echo a secret; false", says("hi", otherwise="no"), fix="fab s")

    run = start(section, "check").run
    [step] = document(run.results, {}, [], 1)["tasks"]["s.check"]["hosts"]["worker1"]["steps"]
    assert (step["says"], step["fix"], step["output"]) == ("no", "fab s", [])
