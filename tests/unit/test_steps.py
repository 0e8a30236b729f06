"""Steps, carried out by a real bash on files of this test's own."""

from __future__ import annotations

import os
import subprocess

import pytest
from support.here import AS_ME, KINDS, OURS, Here, kinds

from runbook.declare import steps
from runbook.declare.library import library
from runbook.declare.probes import Answer, probe, succeeds
from runbook.declare.step import REBOOT, Handler, Step
from runbook.results import CHECK, DO, PLAN
from runbook.script import Reader, compile_script


def bash(text: str) -> subprocess.CompletedProcess[bytes]:
    """What a host's root shell does with a script."""
    return subprocess.run(["bash", "-s"], input=(library() + text).encode(), capture_output=True)


@pytest.fixture
def here(tmp_path) -> Here:
    return Here(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_second_run_changes_nothing(here, kind):
    wanted = kinds(here)[kind]
    assert here.statuses(*wanted) == ["changed"]
    assert here.statuses(*wanted) == ["ok"]


@pytest.mark.parametrize("kind", KINDS)
def test_plan_and_check_change_nothing_and_say_what_the_run_will(here, kind):
    wanted = kinds(here)[kind]
    before = sorted((path.name, path.read_bytes()) for path in here.folder.iterdir())
    assert here.statuses(*wanted, mode=PLAN) == ["differs"]
    assert here.statuses(*wanted, mode=CHECK) == ["differs"]
    assert sorted((path.name, path.read_bytes()) for path in here.folder.iterdir()) == before
    here.run(*wanted)
    assert here.statuses(*wanted, mode=PLAN) == ["ok"]


@pytest.mark.parametrize("kind", KINDS)
def test_shown_commands_do_the_same_when_typed(here, kind):
    wanted = kinds(here)[kind]
    for step in wanted:
        subprocess.run(["bash", "-c", AS_ME + step.apply], check=True)
    assert here.statuses(*wanted) == ["ok"]


def test_a_file_keeps_every_character(here):
    text = "tab\there \\n 'single' \"double\" $x `y` é ─\n\nlast\n"
    here.run(steps.file(here.path("f"), text, **OURS))
    assert (here.folder / "f").read_text() == text


def test_plan_of_a_file_is_a_diff(here):
    (here.folder / "f").write_text("old\n")
    reader = here.run(steps.file(here.path("f"), "new\n", **OURS), mode=PLAN)
    assert "-old" in reader.results[0].output
    assert "+new" in reader.results[0].output


def test_plan_of_a_secret_file_shows_no_content(here):
    wanted = steps.file(here.path("f"), "password=hunter2\n", "0600", **OURS, secret=True)
    reader = here.run(wanted, mode=PLAN)
    assert reader.results[0].status == "differs"
    assert "hunter2" not in "\n".join(reader.results[0].output)


def test_plan_of_a_file_with_passwords_shows_all_but_these(here):
    (here.folder / "f").write_text("user: a\npassword: hunter2\n")
    wanted = steps.file(here.path("f"), "user: b\npassword: hunter3\n", **OURS, hide="password: ")
    output = "\n".join(here.run(wanted, mode=PLAN).results[0].output)
    assert "+user: b" in output
    assert "hunter" not in output
    only = steps.file(here.path("f"), "user: a\npassword: new\n", **OURS, hide="password: ")
    assert "differs in a secret" in here.run(only, mode=PLAN).results[0].output[0]


def test_a_guard_refuses_before_anything_is_done(here):
    guard = steps.precondition("nobody else is here", "false", "echo 'somebody is here; ask them'")
    after = steps.command("after", f"touch {here.path('after')}", f"[[ -e {here.path('after')} ]]")
    for mode in (DO, PLAN):
        reader = here.run(guard, after, mode=mode)
        assert [result.status for result in reader.results] == ["refused"]
        assert reader.results[0].output == ["somebody is here; ask them"]
        assert not (here.folder / "after").exists()
    assert here.statuses(guard, after, mode=CHECK) == ["refused", "differs"]
    assert here.statuses(steps.precondition("fine", "true", "echo no"), after) == ["ok", "changed"]


def test_a_test_may_end_early_also_after_a_step_has_changed_something(here):
    """`grep -q` closes its pipe; what writes into it must not make the test fail."""
    changes = steps.command("t", f"touch {here.path('t')}", f"[[ -e {here.path('t')} ]]")
    early = steps.command("early", "false", "yes | grep -q y")
    assert here.statuses(changes, early) == ["changed", "ok"]


def test_a_daemon_that_a_step_leaves_behind_does_not_keep_the_lock(here):
    daemon = "sleep 20 >/dev/null 2>&1 &\necho $! >" + here.path("pid")
    wanted = steps.command("it runs", daemon, f"[[ -e {here.path('pid')} ]]")
    try:
        assert here.statuses(wanted) == ["changed"]
        reader = here.run(wanted)
        assert reader.holder is None
        assert [result.status for result in reader.results] == ["ok"]
    finally:
        os.kill(int((here.folder / "pid").read_text()), 9)


def test_an_action_runs_each_time(here):
    wanted = steps.action("again", f"echo >>{here.path('times')}")
    assert here.statuses(wanted) == ["changed"]
    assert here.statuses(wanted, mode=PLAN) == ["differs"]
    assert here.statuses(wanted) == ["changed"]
    assert (here.folder / "times").read_text() == "\n\n"


def test_waiting_ends_when_what_is_waited_for_comes(here):
    done = here.path("done")
    wanted = steps.wait_for("it comes", f"[[ -e {done} ]]", timeout=10)
    late = subprocess.Popen(["bash", "-c", f"sleep 0.5; touch {done}"])
    assert here.statuses(wanted, mode=CHECK) == ["differs"]
    assert here.statuses(wanted, mode=PLAN) == ["ok"]
    assert here.statuses(wanted) == ["ok"]
    assert here.statuses(wanted, mode=CHECK) == ["ok"]
    late.wait()


def test_waiting_has_an_end(here):
    assert here.statuses(steps.wait_for("never", "false", timeout=1)) == ["failed"]


def test_a_secret_file_is_not_in_shown_commands_or_failures(here):
    wanted = steps.file(here.path("f"), "hunter2\n", **OURS, secret=True, validate="false")
    assert "hunter2" not in wanted.shown
    assert "mktemp" in wanted.shown
    reader = here.run(wanted)
    assert reader.results[0].status == "failed"
    assert "hunter2" not in reader.results[0].command


def test_wrong_mode_alone_is_mended(here):
    wanted = steps.file(here.path("f"), "text\n", "0640", **OURS)
    here.run(wanted)
    (here.folder / "f").chmod(0o666)
    assert here.statuses(wanted, mode=CHECK) == ["differs"]
    assert here.statuses(wanted) == ["changed"]
    assert (here.folder / "f").stat().st_mode & 0o777 == 0o640


def link_of_others(here: Here) -> Step:
    """A file behind a link that no step follows."""
    link = here.folder / "link"
    link.symlink_to(here.folder)
    if os.geteuid() == 0:
        os.lchown(link, 65534, 65534)
    return steps.file(here.path("link/f"), "x", **OURS)


def test_a_plan_ends_where_the_run_would_refuse_to_write(here):
    refused = link_of_others(here)
    after = steps.file(here.path("g"), "x", **OURS)
    assert here.statuses(refused, after, mode=PLAN) == ["refused"]
    assert here.statuses(refused, after) == ["failed"]


def test_a_plan_goes_on_where_a_step_before_may_make_the_way_free(here):
    before = steps.file(here.path("g"), "x", **OURS)
    assert here.statuses(before, link_of_others(here), mode=PLAN) == ["differs", "differs"]


def test_a_file_that_its_validator_refuses_is_not_put_in_place(here):
    (here.folder / "f").write_text("good\n")
    reader = here.run(steps.file(here.path("f"), "bad\n", **OURS, validate="grep -q good"))
    assert [result.status for result in reader.results] == ["failed"]
    assert (here.folder / "f").read_text() == "good\n"
    assert [path.name for path in here.folder.iterdir() if path.name.startswith(".f")] == []


def block(here: Here) -> Step:
    lines = ["10.0.0.1 sql1", "10.0.0.2 sql2"]
    return steps.block(here.path("hosts"), "us", lines, owns=["sql1", "sql2"], **OURS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "B"),
        ("127.0.0.1 localhost\n", "127.0.0.1 localhost\nB"),
        ("10.9.9.9 sql1\n", "B"),
        ("127.0.0.1 localhost sql1 # here\n", "127.0.0.1 localhost\nB"),
        ("10.9.9.9 other sql2 more\n", "10.9.9.9 other more\nB"),
        ("# sql1 is a comment\n", "# sql1 is a comment\nB"),
        ("127.0.1.1 SQL1\n", "B"),
        ("10.9.9.9 sql1\r\n10.9.9.8 other sql2\r\n", "10.9.9.8 other\nB"),
        ("10.9.9.9 sql1#old\n10.9.9.8 other#sql1\n", "10.9.9.8 other#sql1\nB"),
        ("\t 10.9.9.9\tother\vsql2\n", "10.9.9.9 other\nB"),
        ("10.9.9.9 sql10 my.sql1\n", "10.9.9.9 sql10 my.sql1\nB"),
        ("a\n# BEGIN us\nstale\n# END us\nb\n", "a\nBb\n"),
        ("# BEGIN us\n# END us\n# BEGIN us\nagain\n# END us\n", "B"),
        ("# BEGIN us\nthe end marker is gone\n", "the end marker is gone\nB"),
        ("no newline at the end", "no newline at the end\nB"),
    ],
)
def test_block_replaces_itself_and_nothing_contradicts_it(here, before, after):
    managed = "# BEGIN us\n10.0.0.1 sql1\n10.0.0.2 sql2\n# END us\n"
    (here.folder / "hosts").write_text(before)
    here.run(block(here))
    assert (here.folder / "hosts").read_text() == after.replace("B", managed, 1)
    assert here.statuses(block(here)) == ["ok"]


def test_a_second_begin_marker_loses_no_lines(here):
    before = "# BEGIN us\n10.5.5.5 customer\n# BEGIN us\nstale\n# END us\n"
    (here.folder / "hosts").write_text(before)
    here.run(block(here))
    text = (here.folder / "hosts").read_text()
    assert text.startswith("10.5.5.5 customer\n# BEGIN us\n10.0.0.1 sql1\n")
    assert "stale" not in text


def test_backslashes_are_kept(here):
    wanted = steps.line(here.path("keys"), r"ssh-ed25519 AAAA CORP\nina@pc", "0600", **OURS)
    assert here.statuses(wanted) == ["changed"]
    assert here.statuses(wanted) == ["ok"]
    assert (here.folder / "keys").read_text() == "ssh-ed25519 AAAA CORP\\nina@pc\n"


def test_line_is_added_once_and_others_stay(here):
    (here.folder / "keys").write_text("mine\n")
    wanted = steps.line(here.path("keys"), "ssh-ed25519 AAAA me", "0600", **OURS)
    here.run(wanted, wanted)
    assert (here.folder / "keys").read_text() == "mine\nssh-ed25519 AAAA me\n"


def test_setting_replaces_the_key_and_no_other(here):
    [wanted] = kinds(here)["setting"]
    here.run(wanted)
    text = (here.folder / "config").read_text()
    assert text == "SELINUX=disabled\n# SELINUX=x\nSELINUXTYPE=targeted\n"


def test_failed_step_stops_the_host_and_says_what_it_printed(here):
    reader = here.run(
        steps.command("first", "echo out; echo err >&2; exit 7", "false"),
        steps.command("second", f"touch {here.path('never')}", "false"),
    )
    [result] = reader.results
    assert (result.status, result.code, result.output) == ("failed", 7, ["out", "err"])
    assert not reader.finished
    assert not (here.folder / "never").exists()


def test_commands_that_succeed_without_effect_do_not_count(here):
    assert here.statuses(steps.command("liar", "true", "false")) == ["no_effect"]


def test_a_step_that_hangs_is_ended(here):
    reader = here.run(steps.command("sleeper", "sleep 60", "false", timeout=1))
    assert [(result.status, result.code) for result in reader.results] == [("failed", 124)]


def test_a_command_cannot_eat_the_script(here):
    here.run(steps.command("hungry", "cat >/dev/null; touch " + here.path("ate"), "false"))
    assert here.statuses(steps.command("x", "true", f"[[ -e {here.path('ate')} ]]")) == ["ok"]


def test_an_administrator_with_umask_077_leaves_files_that_services_can_read(here):
    """As benchmarks of CIS and STIG set it; sudo hands it on."""
    folder = here.path("new")
    made = steps.command("made", f"mkdir {folder}; echo >{folder}/file", f"[[ -e {folder}/file ]]")
    before = os.umask(0o077)
    try:
        assert here.statuses(made) == ["changed"]
    finally:
        os.umask(before)
    new = here.folder / "new"
    modes = [path.stat().st_mode & 0o777 for path in (new, new / "file")]
    assert [oct(mode) for mode in modes] == ["0o755", "0o644"]


def test_half_a_script_does_nothing(here):
    script = compile_script(kinds(here)["file"], mode=DO, runtime=here.path("run"))
    half = script.text[: script.text.rindex("event end")]
    subprocess.run(
        ["bash", "-s"], input=(library() + half).encode(), capture_output=True, check=False
    )
    assert not (here.folder / "file").exists()


def restart(here: Here) -> Handler:
    return Handler("restart-x", "restart x", f"echo x >>{here.path('restarts')}")


def test_handler_runs_once_and_only_after_a_change(here):
    wanted = [
        steps.file(here.path("a"), "a\n", **OURS).then(restart(here)),
        steps.file(here.path("b"), "b\n", **OURS).then(restart(here)),
    ]
    assert here.statuses(*wanted, mode=PLAN) == ["differs", "differs", "differs"]
    assert here.statuses(*wanted) == ["changed", "changed", "changed"]
    assert here.statuses(*wanted) == ["ok", "ok"]
    assert (here.folder / "restarts").read_text() == "x\n"


def test_restart_that_was_cut_off_is_made_up_for_by_the_next_run(here):
    wanted = steps.file(here.path("a"), "a\n", **OURS).then(restart(here))
    here.run(wanted, steps.command("power loss", "exit 1", "false"))
    assert not (here.folder / "restarts").exists()
    assert here.statuses(wanted, mode=PLAN) == ["ok", "differs"]
    assert here.statuses(wanted) == ["ok", "changed"]
    assert here.statuses(wanted) == ["ok"]


def test_reboot_is_due_only_after_a_step_noted_it(here):
    rename = steps.command("rename", f"touch {here.path('name')}", f"[[ -e {here.path('name')} ]]")
    assert here.statuses(steps.reboot_if_noted(), mode=PLAN) == ["ok"]
    assert here.statuses(steps.reboot_if_noted(), mode=PLAN, noted=["reboot"]) == ["differs"]
    here.run(rename.then(REBOOT))
    assert here.statuses(steps.reboot_if_noted(), mode=PLAN) == ["differs"]


def test_second_run_at_the_same_time_is_refused_by_name(here):
    runtime = here.folder / "run"
    runtime.mkdir()
    (runtime / "holder").write_text("alice@laptop\n")
    with (runtime / "lock").open("w") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        script = compile_script([], mode=DO, who="me", runtime=str(runtime))
        text = script.text.replace("lock me 10", "lock me 0")
        answer = subprocess.run(
            ["bash", "-s"], input=(library() + text).encode(), capture_output=True
        )
    reader = Reader(script)
    reader.feed(answer.stdout)
    assert reader.holder == "alice@laptop"
    assert not reader.finished


def test_probe_answers_with_output_and_exit_code(here):
    reader = here.run(mode=CHECK, probes=[probe("x", "echo hi; exit 3", succeeds)])
    [result] = reader.results
    assert (result.status, result.code, result.output) == (None, 3, ["hi"])
    assert reader.finished


def test_output_that_looks_like_an_event_is_output(here):
    reader = here.run(steps.command("liar", r"printf '\x1eok 0 1 0\n'; exit 1", "false"))
    assert [result.status for result in reader.results] == ["failed"]


def test_answer_may_arrive_in_any_pieces(here):
    wanted = kinds(here)["file"]
    script = compile_script(wanted, mode=PLAN, runtime=here.path("run"))
    answer = subprocess.run(
        ["bash", "-s"], input=(library() + script.text).encode(), capture_output=True
    ).stdout
    reader = Reader(script)
    for index in range(len(answer)):
        reader.feed(answer[index : index + 1])
    assert reader.finished
    assert [result.status for result in reader.results] == ["differs"]


def test_judges_are_pure():
    assert succeeds(Answer("no such host", 2)).sentence == "no such host"
