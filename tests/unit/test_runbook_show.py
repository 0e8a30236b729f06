"""The runbook for a person who types: the same steps, in a shell of the person's own."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from contextlib import suppress
from html.parser import HTMLParser

import pytest
from support.here import KINDS, OURS, Here, kinds

from fabfile import CONTENTS, python_build
from fabfile.airflow.configure import fernet
from fabfile.operator.runbook.chapters import Author, Chapter, written
from fabfile.operator.runbook.show import page
from fabfile.shared.roles import RABBITMQ
from runbook.declare.by_hand import SHELL, asked, typed
from runbook.declare.facts import Fact
from runbook.declare.library import library
from runbook.declare.placeholders import Placeholders
from runbook.declare.probes import OK, Verdict, probe
from runbook.declare.section import Section
from runbook.declare.step import Handler, Step
from runbook.declare.steps import command, file, precondition, restarted, service
from runbook.declare.work import StepTask
from runbook.errors import UsageError

EVERY = [section.name for section in CONTENTS.sections]
LIBRARY = re.findall(r"^(\w+)\(\)", library(), re.MULTILINE)


@pytest.fixture(scope="module")
def keyed(cluster):
    """The inventory of a controller that has a key, with every section in use."""
    from msgspec.structs import replace

    card1 = replace(cluster.hosts["card1"], roles=["target", "monitoring"])
    return replace(
        cluster,
        public_key="ssh-ed25519 AAAA controller",
        hosts={**cluster.hosts, "card1": card1},
    )


@pytest.fixture(scope="module")
def chapters(keyed) -> dict[str, Chapter]:
    """Every section, as written for all hosts."""
    hosts = list(keyed.hosts.values())
    author = Author(keyed, hosts)
    return {chapter.name: chapter for chapter in written(author, CONTENTS.sections, "", hosts)}


def steps_of(chapter: Chapter):
    return [step for part in chapter.parts for passage in part.passages for step in passage.steps]


def pasted(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash"], input=text, capture_output=True, text=True)


@pytest.fixture
def here(tmp_path) -> Here:
    return Here(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pasted_one_after_the_other_does_what_the_run_does(here, kind):
    wanted = kinds(here)[kind]
    said = pasted("\n".join(step.commands for step in typed(wanted)))
    assert said.stderr == ""
    assert here.statuses(*wanted) == ["ok"]


@pytest.mark.parametrize("kind", KINDS)
def test_pasted_twice_it_is_still_as_wanted(here, kind):
    wanted = kinds(here)[kind]
    text = "\n".join(step.commands for step in typed(wanted))
    pasted(text + "\n" + text)
    assert here.statuses(*wanted) == ["ok"]


def test_a_failing_step_neither_ends_the_shell_nor_eats_what_follows(here):
    first = command("t", "cat >/dev/null\necho no luck\nexit 3", unless="[[ a == b ]]")
    said = pasted(f"{typed([first])[0].commands}\necho next")
    assert said.stdout == "no luck\nnext\n"


def test_a_test_that_reads_does_not_eat_what_follows():
    step = command("t", "echo made", unless="[[ $(ssh sql1 cat) == so ]]")
    hungry = "ssh() { cat >/dev/null; }"
    said = pasted(f"{hungry}\n{typed([step])[0].commands}\necho next")
    assert said.stdout == "made\nnext\n"


def test_commands_stop_at_the_first_that_fails_as_in_a_run(here):
    step = command("t", "false\necho too far", unless="[[ a == b ]]")
    assert pasted(typed([step])[0].commands).stdout == ""


def test_a_command_whose_result_is_there_does_nothing_when_pasted(here):
    step = command("t", "echo again", unless="[[ a == a ]]")
    assert pasted(typed([step])[0].commands).stdout == ""


@pytest.mark.parametrize(("holds", "said"), [("true", ""), ("false", "the way out\n")])
def test_what_is_required_speaks_up_only_if_it_is_not_so(holds, said):
    [step] = typed([precondition("t", holds, "echo the way out; exit")])
    assert pasted(f"{step.commands}").stdout == said
    assert "stop here" in step.when


def test_a_restart_comes_once_at_the_end_and_says_what_for():
    handler = restarted("x.service")
    steps = typed([file("/a", "1").then(handler), file("/b", "2").then(handler)])
    assert [step.title for step in steps] == ["file /a", "file /b", "restart x.service"]
    assert "file /a; file /b" in steps[-1].when
    assert steps[0].entails == ("If this changes anything: restart x.service, at the end.",)


def test_a_note_for_later_is_said_where_it_is_taken_and_where_it_is_due():
    note = Handler("restart-x", "x has to restart, one by one")
    taken, due = typed(
        [
            file("/a", "1").then(note),
            Step("x runs", "[[ ! -e $runtime/notes/restart-x ]]", "restart x", clears=(note,)),
        ]
    )
    assert taken.entails == ("If this changes anything: x has to restart, one by one, later.",)
    assert "x has to restart, one by one" in due.when


def test_how_to_see_the_result_needs_no_library():
    [file_step, unit] = typed([file("/etc/a b", "1", "0640"), service("x.service")])
    assert file_step.looks[0].command == "stat -c '%F, %a, %U:%G' '/etc/a b'"
    assert file_step.looks[0].expected == "regular file, 640, root:root"
    assert unit.looks[0].expected == "ActiveState=active, UnitFileState=enabled"


def test_a_probe_says_in_words_what_it_expects():
    def fits(answer):
        """It fits. More."""
        return Verdict(OK)

    [look] = asked([probe("t", "ssh x true", fits)])
    assert look.expected == "It fits. More"
    assert look.command == "(ssh x true\n) </dev/null"


@pytest.mark.parametrize("name", EVERY)
def test_nothing_that_is_printed_needs_the_library(chapters, name):
    """Its functions as commands, and the variables of a run."""
    calls = re.compile(rf"(?:^|[;&|(!{{]|\bthen|\bif|\bdo|\buntil)\s*({'|'.join(LIBRARY)})\s")
    for step in steps_of(chapters[name]):
        texts = [step.commands, *(look.command for look in step.looks)]
        for text in texts:
            outside = re.sub(r"<<'(EOF_*)'\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
            found = calls.findall(outside)
            assert found == [], text
            assert not re.search(r"\$\{?(runtime|noted|carried_out)\b", outside), text
            assert "$text" not in outside or "text=" in outside, text


@pytest.mark.parametrize("name", EVERY)
def test_every_question_has_an_expected_answer(chapters, name):
    for checks in chapters[name].checks:
        for look in checks.looks:
            assert look.expected, look.title


@pytest.mark.parametrize("name", EVERY)
def test_the_text_is_bash_from_end_to_end(keyed, name):
    text = page(keyed, name, "", "text")
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("name", EVERY)
def test_every_section_and_task_is_there(keyed, chapters, name):
    section = next(one for one in CONTENTS.sections if one.name == name)
    chapter = chapters[name]
    parts = {part.name for part in chapter.parts}
    assert {work.name for work in section.in_order()} <= parts | {name}
    by_name = {one.name for one in chapter.by_name}
    assert by_name == {work.name for work in section.work if getattr(work, "alone", False)}


def test_what_run_and_page_do_is_the_same_text(keyed, chapters):
    """A page has no commands of its own: each is its step's, as typed."""
    for section in CONTENTS.sections:
        for work in section.step_tasks():
            part = next(
                (one for one in chapters[section.name].parts if one.name == work.name), None
            )
            for passage in part.passages if part and not work.needs else ():
                host = keyed.hosts[passage.hosts[0]]
                placeholders = Placeholders()
                marked = keyed.with_vault(placeholders)
                wanted = work.typed(host, marked, list(keyed.hosts.values()))
                assert [placeholders.shown(one.commands) for one in wanted] == [
                    step.commands for step in passage.steps
                ]


def test_alike_hosts_are_told_once(keyed):
    text = page(keyed, "base.packages", "", "text")
    assert text.count("dnf install -y vim") == 1
    assert "# On airflow, scheduler2, haproxy2, ftp" in text


def test_one_host_gets_only_what_is_typed_there(keyed):
    text = page(keyed, "hostnames", "mq1", "text")
    assert "nmcli general hostname mq1" in text
    assert "hostname mq2" not in text


def test_a_password_is_a_placeholder_and_says_where_it_comes_from(keyed, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_RABBITMQ_COOKIE", "hunter2hunter2")
    for form in ("text", "markdown", "html"):
        text = page(keyed, "rabbitmq", "mq1", form)
        assert "@rabbitmq_cookie@" in text
        assert "the Erlang cookie that RabbitMQ" in text
        assert "hunter2" not in text


@pytest.mark.parametrize("name", EVERY)
def test_no_password_of_the_vault_is_read(keyed, name):
    class Closed(Placeholders):
        def get(self, secret):
            raise AssertionError(secret.name)

    hosts = list(keyed.hosts.values())
    written(Author(keyed.with_vault(Closed()), hosts), CONTENTS.sections, name, hosts)


def test_placeholders_are_found_as_any_language_quotes_them():
    section = Section("s", on="all", runbook="9", about="About.")
    secret = section.secret("some_password", "for some")

    class Kept(Placeholders):
        def get(self, secret):
            return 'it\'s % "x"'

    placeholders = Placeholders(Kept())
    value = placeholders.get(secret)
    import json
    import shlex
    from urllib.parse import quote

    forms = [value, shlex.quote(value), json.dumps(value)[1:-1], quote(value, safe="")]
    for form in forms:
        assert placeholders.shown(f"a {form} b") == "a @some_password@ b"
    assert placeholders.named_in("a @some_password@ and @other@") == [secret]


def test_what_hangs_on_an_answer_names_the_question_and_where_to_ask_it(keyed):
    text = page(keyed, "rabbitmq.cluster", "mq2", "text")
    assert "# Look up the state of RabbitMQ, on mq1:" in text
    assert "#       runuser -u rabbitmq -- cat /var/lib/rabbitmq/mnesia/rabbit@mq1/cluster_" in text
    assert "asking the servers: the state of RabbitMQ on mq2 is unknown" in text
    assert "inv runbook.show rabbitmq.cluster --host mq2 --ask" in text


def test_with_answers_it_is_written_out(keyed):
    section = Section("s", on=RABBITMQ, runbook="9", about="About.")
    fact = Fact("the leader", "rabbitmq", lambda cluster, host: "who", str, "nobody said")

    @section.task(needs=[fact])
    def follow(host, cluster, facts):
        """Follow."""
        yield command("follows", f"follow {facts.of(fact, host)}", unless="false")

    from runbook.declare.facts import Facts

    hosts = keyed.group("rabbitmq")
    known = Facts({fact: {host.name: "mq9" for host in hosts}})
    [chapter] = written(Author(keyed, hosts, lambda needs, on: known), [section], "s", hosts)
    [passage] = chapter.parts[0].passages
    assert passage.steps[0].commands == "false ||\nfollow mq9"
    assert chapter.parts[0].lookups == ()


def test_batches_and_deputies_are_named(keyed, chapters):
    settle = next(part for part in chapters["rabbitmq"].parts if part.name == "rabbitmq.settle")
    assert "mq1, then mq2, then mq3" in " ".join(settle.notes)
    ship = next(part for part in chapters["python-build"].parts if part.name.endswith(".ship"))
    assert [passage.hosts for passage in ship.passages] == [("airflow",)]
    assert any(note.startswith("On behalf of") for note in ship.notes)
    worker = Author(keyed, [keyed.hosts["worker1"]]).chapter(python_build.section)
    ship, receive = worker.parts
    assert receive.name == "python-build.receive"
    assert ship.notes == ("Typed on airflow: inv runbook.show python-build.ship --host airflow",)
    assert Author(keyed, [keyed.hosts["mq1"]]).chapter(python_build.section).parts == ()


class Page(HTMLParser):
    """What a browser would fetch, and whether every tag ends."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href", "srcset", "data") and not value.startswith("#"):
                self.fetched.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


def test_html_is_one_file_that_holds_the_same_commands(keyed, chapters):
    import html

    text = page(keyed, "", "", "html")
    parser = Page()
    parser.feed(text)
    assert parser.fetched == []
    assert parser.open == []
    assert "url(" not in text.partition("</style>")[0]
    assert "<script" not in text
    for step in steps_of(chapters["postgres"])[:20]:
        assert html.escape(step.title, quote=False) in text.replace("&#39;", "'").replace(
            "&#34;", '"'
        )


def test_an_unknown_section_is_named_with_what_was_perhaps_meant(keyed):
    with pytest.raises(UsageError, match="did you mean rabbitmq"):
        page(keyed, "rabitmq", "", "text")
    with pytest.raises(UsageError, match="rabbitmq has no commands for worker1"):
        page(keyed, "rabbitmq", "worker1", "text")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["runbook.show", "hosts", "--format", "pdf"], 2, "pdf is not a format"),
        (["runbook.show", "hosts", "--host", "sqll1"], 2, "did you mean sql1?"),
        (["runbook.show", "hostss"], 2, "did you mean hosts?"),
        (["runbook.show", "hosts", "--host", "mq1"], 0, "192.168.83.220 nfs-vip"),
        (["runbook.show", "--host", "mq1", "--section", "hosts"], 0, "192.168.83.220 nfs-vip"),
        (["runbook.show", "hosts", "--format", "markdown"], 0, "````bash"),
    ],
)
def test_the_command_line(inv, arguments, code, sentence):
    answer = inv(*arguments)
    assert sentence in answer.text
    assert answer.code == code


def test_the_parts_of_a_check_are_shown_as_in_dry(inv, keyed):
    shown = inv("runbook.show", "hosts", "--host", "mq1").text
    assert "# * nfs-vip is 192.168.83.220. Expected: The first word is 192.168.83.220" in shown
    assert "getent ahostsv4 nfs-vip" in shown


def test_every_task_that_is_typed_is_a_task_of_steps(chapters):
    names = {
        work.name
        for section in CONTENTS.sections
        for work in section.work
        if type(work) is StepTask
    }
    typed_parts = {
        part.name for chapter in chapters.values() for part in chapter.parts if part.passages
    }
    assert typed_parts <= names


def test_a_terminal_takes_what_is_pasted_as_it_is(here):
    """No history expansion of `!`, no completion at a tab, as the page's first lines promise."""
    text = "a\ttab, !history, !!, $HOME and `id`\n\tit's \\n\n"
    wanted = [
        file(here.path("f"), text, **OURS),
        command("t", f"printf '%s' '!x!y' >{here.path('t')}\nls", f"[[ -e {here.path('t')} ]]"),
    ]
    shell = ["bash", "--noprofile", "--norc", "--noediting", "-i"]
    controller, terminal = pty.openpty()
    typing = subprocess.Popen(
        shell, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    lines = [SHELL, *(step.commands for step in typed(wanted)), "exit", ""]
    os.write(controller, "\n".join(lines).encode())
    with suppress(OSError):  # the terminal closes when the shell ends
        while os.read(controller, 4096):
            pass
    assert typing.wait(10) == 0
    os.close(controller)
    assert (here.folder / "f").read_text() == text
    assert (here.folder / "t").read_text() == "!x!y"


def test_keys_that_are_there_only_during_a_rotation_are_not_shown(cluster):
    shown = Placeholders()
    text = fernet(cluster.with_vault(shown))
    assert shown.shown(text) == "@airflow_fernet@="
