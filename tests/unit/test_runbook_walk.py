"""A walk through the runbook, with a bash of this machine as each host and a scripted person."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from support.here import ME, MINE
from support.shells import Shells

from fabfile import CONTENTS
from fabfile.operator.runbook.bookmark import Bookmark, Moved, Place, Walk
from fabfile.operator.runbook.person import Console
from fabfile.operator.runbook.walker import Walker, one_by_one
from fabfile.shared.roles import RABBITMQ
from runbook.declare.facts import Fact
from runbook.declare.section import Section
from runbook.declare.step import REBOOT, Handler
from runbook.declare.steps import command, file, precondition, with_stdin
from runbook.errors import SettingsError, UsageError
from runbook.execute import conversation as engine
from runbook.execute.journal import Journal
from runbook.execute.run import Options, Run
from runbook.output.report import Report
from runbook.results import CHECK
from runbook.script import compile_script
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Passwords


class Answers:
    """A person who gives these letters, and then has had enough; may do something on the way."""

    def __init__(self, letters: str, at_terminal: bool = True, meanwhile=None) -> None:
        self.at_terminal = at_terminal
        self.offered: list[str] = []
        self._left = list(letters)
        self._meanwhile = meanwhile or {}

    def choose(self, letters: str) -> str:
        self.offered.append(letters)
        answer = self._left.pop(0) if self._left else "q"
        self._meanwhile.get(len(self.offered), lambda: None)()
        return answer


@pytest.fixture
def walk(cluster, tmp_path, monkeypatch):
    """walk(section, "rr", …) -> what was said, the exit code, the person, the journal."""
    compiled = compile_script

    def here(*arguments, **options):
        return compiled(*arguments, **options, runtime=str(tmp_path / "run"))

    monkeypatch.setattr(engine, "compile_script", here)

    def go(section, letters, hosts="mq1", who="me@here", off=(), **person) -> SimpleNamespace:
        stream = io.StringIO()
        mask = Mask()
        run = Run(
            contents=CONTENTS,
            cluster=cluster,
            options=Options(hosts=hosts),
            report=Report(mask, order=list(cluster.hosts), stream=stream),
            config=None,
            journal=Journal(tmp_path, mask),
            passwords=Passwords(mask, ask=str),
        )
        run._connections = Shells(off)
        someone = Answers(letters, **person)
        code = Walker(run, someone, Bookmark(tmp_path, "s", who)).walk([(section, "")])
        journal = tmp_path / "journal.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return SimpleNamespace(
            said=stream.getvalue(), code=code, person=someone, journal=list(map(json.loads, lines))
        )

    return go


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "host").mkdir()
    return tmp_path / "host"


def made(folder, name: str):
    """The step that makes an empty file."""
    return command(f"{name} is there", f"touch {folder}/{name}", f"[[ -e {folder}/{name} ]]")


@pytest.fixture
def section(folder):
    """Two tasks: the first makes a and b, the second c."""
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def first(host, cluster):
        """Make two."""
        yield made(folder, "a")
        yield made(folder, "b")

    @section.task
    def second(host, cluster):
        """Make one."""
        yield made(folder, "c")

    return section


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_what_is_not_as_wanted_is_asked_about(section, walk, folder):
    (folder / "a").touch()
    ended = walk(section, "rr")
    assert names(folder) == ["a", "b", "c"]
    assert "a is there" not in ended.said
    assert len(ended.person.offered) == 2
    assert ended.said.rstrip().endswith("Everything is in the wanted state.")
    assert ended.code == 0


def test_a_walk_where_all_is_well_asks_nothing(section, walk, folder):
    for name in "abc":
        (folder / name).touch()
    ended = walk(section, "")
    assert ended.person.offered == []
    assert ended.said == "Everything is in the wanted state.\n"


def test_the_commands_are_shown_before_anything_is_done(section, walk, folder):
    ended = walk(section, "q")
    assert f"touch {folder}/a" in ended.said
    assert names(folder) == []
    assert "Stopped here" in ended.said


def test_what_was_skipped_is_not_asked_again_and_named_at_the_end(section, walk, folder):
    ended = walk(section, "srr")
    assert names(folder) == ["b", "c"]
    assert "skipped: s.first on mq1: a is there" in ended.said
    assert [one["step"] for one in ended.journal if one["result"] == "skipped"] == ["a is there"]


def test_the_next_walk_goes_on_where_the_last_one_was_left(section, walk, folder):
    walk(section, "srq")
    ended = walk(section, "r", who="you@there")
    assert "Continuing at s.second, where me@here was" in ended.said
    assert names(folder) == ["b", "c"]
    assert walk(section, "r").said.count("is there\n") >= 1  # a new walk asks about `a` again
    assert names(folder) == ["a", "b", "c"]


def test_a_diff_changes_nothing_and_asks_again(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")
    path = folder / "f"
    path.write_text("old\n")
    path.chmod(0o644)

    @section.task
    def first(host, cluster):
        """Write."""
        yield file(str(path), "new\n", owner=ME, group=MINE)

    ended = walk(section, "dq")
    assert "-old" in ended.said
    assert "+new" in ended.said
    assert path.read_text() == "old\n"
    walk(section, "r")
    assert path.read_text() == "new\n"


def test_a_diff_leaves_no_note_of_a_restart(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def first(host, cluster):
        """Make one."""
        yield made(folder, "a").then(REBOOT)

    @section.task
    def second(host, cluster):
        """Reboot."""
        from runbook.declare.steps import not_noted

        yield command("booted", f"touch {folder}/booted", not_noted(REBOOT))

    ended = walk(section, "ds")
    assert names(folder) == []
    assert len(ended.person.offered) == 2


def test_a_failed_step_is_shown_and_asked_about_again(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def first(host, cluster):
        """Fail at first."""
        lucky = f"[[ -e {folder}/luck ]]"
        yield command("lucky", f"{lucky} || {{ touch {folder}/luck; exit 4; }}", f"{lucky}; false")

    ended = walk(section, "rq")
    assert "exit code 4" in ended.said
    assert len(ended.person.offered) == 2
    assert ended.code == 1


def test_what_failed_and_then_succeeded_ends_well(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def first(host, cluster):
        """Fail at first."""
        again = f"[[ -e {folder}/once ]]"
        apply = f"{again} || {{ touch {folder}/once; exit 4; }}\ntouch {folder}/done"
        yield command("done", apply, f"[[ -e {folder}/done ]]")

    assert walk(section, "rr").code == 0


def test_a_restart_comes_once_at_the_end_of_the_task_and_only_if_due(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")
    restart = Handler("restart-x", "restart x", f"echo x >>{folder}/restarts")

    @section.task
    def first(host, cluster):
        """Make two."""
        yield made(folder, "a").then(restart)
        yield made(folder, "b").then(restart)

    ended = walk(section, "rrr")
    assert (folder / "restarts").read_text() == "x\n"
    assert ended.said.index("* b is there") < ended.said.index("* restart x")
    assert walk(section, "").person.offered == []


def test_a_skipped_change_restarts_nothing(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def first(host, cluster):
        """Make one."""
        yield made(folder, "a").then(Handler("restart-x", "restart x", "touch {folder}/restarts"))

    ended = walk(section, "s")
    assert len(ended.person.offered) == 1


def test_steps_one_by_one_end_where_the_run_of_all_ends(folder, tmp_path):
    restart = Handler("restart-y", "restart y", "true")
    steps = one_by_one([made(folder, "a").then(restart), made(folder, "a").then(restart)])
    assert [step.title for step in steps] == ["a is there", "restart y"]
    assert steps[0].notify[0].apply == ""
    script = compile_script(steps, (), CHECK, runtime=str(tmp_path / "run"))
    assert len(script.parts) == 2


def test_alike_hosts_are_asked_about_together_and_the_last_in_line_comes_first(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def first(host, cluster):
        """Make one of one's own, then one for all."""
        yield made(folder, host.name)
        yield made(folder, "all")

    (folder / "mq2").touch()
    ended = walk(section, "rrr", hosts="@rabbitmq")
    where = [line for line in ended.said.splitlines() if line.startswith("s.first on mq")]
    assert where[0] == "s.first on mq1"
    assert "s.first on mq3" in where
    assert names(folder) == ["all", "mq1", "mq2", "mq3"]
    assert "s.first on mq1, mq2, mq3" in ended.said


def test_what_is_required_is_said_and_looked_at_again(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")

    @section.task
    def first(host, cluster):
        """Need something."""
        yield precondition("there is room", f"[[ -e {folder}/room ]]", "echo make room first")

    ended = walk(section, "r", meanwhile={1: lambda: (folder / "room").touch()})
    assert "make room first" in ended.said
    assert ended.code == 0


def test_an_unreachable_host_is_left_out_and_the_others_go_on(section, walk, folder):
    ended = walk(section, "rrr", hosts="mq1,mq2", off=["mq2"])
    assert names(folder) == ["a", "b", "c"]
    assert ended.said.count("mq2 is unreachable: no route to host.") == 1
    assert "Everything is in the wanted state" not in ended.said
    assert "unreachable: mq2\n" in ended.said
    assert ended.code == 3


def test_what_hangs_on_an_answer_that_nobody_gave_is_named(walk, folder):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")
    fact = Fact("the leader", "rabbitmq", lambda cluster, host: "false", str, "nobody said")

    @section.task(needs=[fact])
    def first(host, cluster, facts):
        """Follow."""
        yield made(folder, facts.of(fact, host))

    ended = walk(section, "")
    assert "s.first on mq1: not known yet: the leader on mq1 is unknown" in ended.said
    assert "not known yet: s.first on mq1" in ended.said
    assert ended.code == 0


def test_a_walk_on_hosts_that_have_no_part_in_it_is_refused(section, walk):
    with pytest.raises(UsageError, match="nothing to do on these hosts"):
        walk(section, "", hosts="worker1")


def test_every_change_is_in_the_journal(section, walk):
    ended = walk(section, "rrr")
    changed = [one for one in ended.journal if one["result"] == "changed" and "step" in one]
    assert [one["step"] for one in changed] == ["a is there", "b is there", "c is there"]
    assert {one["mode"] for one in changed} == {"do"}


def test_a_password_is_neither_shown_nor_left_anywhere(walk, folder, tmp_path, cluster):
    section = Section("s", on=RABBITMQ, runbook="9", about="About s.")
    secret = section.secret("walk_password", "for the test")

    @section.task
    def first(host, cluster):
        """Write one."""
        value = cluster.secret(secret)
        yield with_stdin("it is set", f"cat >{folder}/p", value, f"holds_text {folder}/p")

    ended = walk(section, "dq")
    assert "@walk_password@" in ended.said
    value = cluster.vault.get(secret)
    assert value not in ended.said
    assert value not in "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())


def test_who_finds_that_another_went_on_looks_again_and_does_nothing_twice(
    section, walk, folder, tmp_path
):
    def other() -> None:
        (folder / "a").touch()
        theirs = Bookmark(tmp_path, "s", "you@there")
        theirs.open()
        place = Place("s.first", "mq1", "b is there")
        theirs.move(lambda walk: msgspec.structs.replace(walk, at=place))

    ended = walk(section, "rrr", meanwhile={1: other})
    assert "you@there has continued meanwhile to s.first" in ended.said
    assert names(folder) == ["a", "b", "c"]
    assert len([one for one in ended.journal if one.get("step") == "a is there"]) == 0


def test_two_people_at_the_same_step_may_both_look_and_one_acts(section, walk, folder, tmp_path):
    place = Place("s.first", "mq1", "a is there")
    theirs = Bookmark(tmp_path, "s", "you@there")
    theirs.open()
    theirs.move(lambda walk: msgspec.structs.replace(walk, at=place))
    ended = walk(section, "drrr")
    assert "has continued meanwhile" not in ended.said
    with pytest.raises(Moved):
        theirs.move(lambda walk: walk)


def test_a_bookmark_is_private_whole_and_one_for_each_part(tmp_path):
    mine, whole = Bookmark(tmp_path, "hosts", "me"), Bookmark(tmp_path, "all", "me")
    for bookmark in (mine, whole):
        bookmark.open()
        bookmark.move(lambda walk: walk)
    assert stat.S_IMODE(mine.file.stat().st_mode) == 0o600
    assert set(json.loads(mine.file.read_text())) == {"hosts", "all"}
    assert [path.name for path in tmp_path.glob(".walk.??*") if "lock" not in path.name] == []


def test_a_bookmark_that_somebody_moved_is_not_moved_over(tmp_path):
    mine, theirs = Bookmark(tmp_path, "all", "me"), Bookmark(tmp_path, "all", "you")
    mine.open()
    theirs.open()
    theirs.move(lambda walk: walk)
    with pytest.raises(Moved) as news:
        mine.move(lambda walk: Walk())
    assert news.value.walk.who == "you"
    mine.move(lambda walk: walk)


def test_a_damaged_bookmark_is_one_sentence(tmp_path):
    (tmp_path / "walk.json").write_text("{")
    with pytest.raises(SettingsError, match="Remove it; the walk then begins"):
        Bookmark(tmp_path, "all", "me").open()


def test_a_state_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "state").touch()
    bookmark = Bookmark(tmp_path / "state", "all", "me")
    with pytest.raises(SettingsError, match="cannot be"):
        bookmark.move(lambda walk: walk)


@pytest.fixture
def typed_in(tmp_path, monkeypatch):
    """typed_in("r\\n"): that is standard input, from a file."""

    def give(text: str) -> None:
        answers = tmp_path / "answers"
        answers.write_text(text)
        monkeypatch.setattr(sys, "stdin", answers.open())

    return give


def test_piped_answers_are_letters_or_words_and_their_end_means_quit(typed_in, capsys):
    typed_in("\nrun\nX\ns\n")
    person = Console()
    assert [person.choose("rsq") for _ in range(3)] == ["r", "s", "q"]
    said = capsys.readouterr().out
    assert "[r]un  [s]kip  [q]uit > " in said
    assert said.count("Answer with one letter: r, s, q.") == 2


def test_without_anybody_to_answer_it_is_refused(monkeypatch):
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        with pytest.raises(UsageError, match="Answers needed"):
            Console()


def test_the_command_line_refuses_without_a_terminal(inv, monkeypatch):
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        answer = inv("runbook.walk", "hosts")
        assert "Answers needed" in answer.text
        assert answer.code == 2
        assert "did you mean hosts?" in inv("runbook.walk", "hots").text


def test_a_procedure_is_not_walked_but_run(inv, typed_in):
    typed_in("q\n")
    answer = inv("runbook.walk", "rabbitmq.restart")
    assert "run it: fab rabbitmq.restart" in answer.text
    assert answer.code == 2


def test_a_piped_program_is_somebody_who_answers():
    code = "from fabfile.operator.runbook.person import Console; print(Console().choose('rsq'))"
    done = subprocess.run([sys.executable, "-c", code], input="s\n", capture_output=True, text=True)
    assert done.stdout.endswith("s\ns\n")
