"""Questions of several sections in one script for each host, all at the same time."""

from __future__ import annotations

import socket
import subprocess
import time
from types import SimpleNamespace

import pytest
from fabric import Config

from fabfile import CONTENTS
from fabfile.shared.roles import RABBITMQ
from runbook.declare.facts import Fact
from runbook.declare.library import library
from runbook.declare.probes import OK, UNKNOWN, WARN, Cause, Finding, Verdict, probe, succeeds
from runbook.declare.section import Section
from runbook.errors import UnreachableError
from runbook.execute.run import Run
from runbook.execute.survey import cluster_checks, survey
from runbook.results import CHECK
from runbook.script import Reader, compile_script
from runbook.ssh.transport import GRACE, Connections

BROKEN = Cause("BROKEN", "something is lost")


class Shells:
    """Stands in for connections: scripts run here, for real; hosts may be off."""

    def __init__(self, off=()) -> None:
        self.off = set(off)
        self.scripts: dict[str, int] = {}
        self.dropped: list[str] = []

    def open(self, host) -> None:
        if host.name in self.off:
            raise UnreachableError(f"{host.name} is unreachable: no route to host.")

    def drop(self, host) -> None:
        self.dropped.append(host.name)

    def run(self, host, script, progress, prompt) -> Reader:
        self.scripts[host.name] = self.scripts.get(host.name, 0) + 1
        text = (library() + script.text).encode()
        answer = subprocess.run(["bash", "-s"], input=text, capture_output=True)
        reader = Reader(script)
        reader.feed(answer.stdout)
        reader.close()
        return reader


@pytest.fixture
def ask(cluster):
    """ask(section, …, off=[…]) -> what the survey found, and the shells that it used."""

    def go(*sections: Section, off=(), thorough=False) -> SimpleNamespace:
        run = Run(CONTENTS, cluster, None, None, None, None, SimpleNamespace(answer=lambda: None))
        shells = Shells(off)
        run._connections = shells
        found = survey(run, sections, thorough)
        found.findings += cluster_checks(cluster, sections, found.facts)
        return SimpleNamespace(found=found, shells=shells)

    return go


def weighing(**options) -> Fact:
    return Fact("weight", RABBITMQ, lambda cluster, host: "echo 3", int, "no scales", **options)


def with_verdict(fact: Fact) -> Section:
    section = Section("scales", on=RABBITMQ, runbook="9", about="About scales.")

    @section.cluster_check(needs=[fact])
    def check_cluster(cluster, facts):
        total = sum(facts.known(fact).values())
        if facts.asked(fact):
            yield Finding(
                "weight", Verdict(OK if total == 9 else WARN, f"{total} kg"), "eat", BROKEN
            )

    return section


def with_probes(*commands: str, **options) -> Section:
    section = Section("questions", on=RABBITMQ, runbook="9", about="About questions.")

    @section.check
    def check(host, cluster):
        for number, command in enumerate(commands):
            yield probe(f"question {number}", command, succeeds, "mend it", BROKEN, **options)

    return section


def test_facts_and_questions_of_all_sections_are_one_script_for_each_host(ask):
    answer = ask(with_verdict(weighing()), with_probes("true", "echo no; false"))
    assert answer.shells.scripts == {"mq1": 1, "mq2": 1, "mq3": 1}
    judged = {(one.section, one.host, one.title): one for one in answer.found.findings}
    assert judged["questions", "mq2", "question 0"].verdict == Verdict(OK)
    wrong = judged["questions", "mq2", "question 1"]
    assert (wrong.verdict.sentence, wrong.fix, wrong.cause) == ("no", "mend it", BROKEN)
    assert wrong.about == ("mq2",)
    assert judged["scales", "cluster", "weight"].verdict == Verdict(OK, "9 kg")


def test_a_host_takes_as_long_as_its_slowest_question(ask):
    began = time.monotonic()
    ask(with_probes(*["sleep 0.7"] * 6))
    assert time.monotonic() - began < 3


def test_answers_stay_with_their_questions_whichever_is_faster(ask):
    found = ask(with_probes("sleep 0.4; echo slow; false", "echo fast; false")).found
    said = [one.verdict.sentence for one in found.findings if one.host == "mq1"]
    assert said == ["slow", "fast"]


def test_an_answer_may_be_longer_than_a_pipe_holds(ask):
    found = ask(with_probes("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end; false")).found
    assert {one.verdict.sentence for one in found.findings} == {"end"}


def test_a_host_that_is_off_is_named_and_the_others_are_asked(ask):
    answer = ask(with_verdict(weighing()), with_probes("true"), off=["mq3"])
    assert list(answer.found.silent) == ["mq3"]
    assert answer.shells.dropped == ["mq3"]
    assert {one.host for one in answer.found.findings} == {"mq1", "mq2", "cluster"}
    [verdict] = [one.verdict for one in answer.found.findings if one.host == "cluster"]
    assert verdict == Verdict(WARN, "6 kg")


def test_what_takes_long_is_asked_only_if_wanted(ask):
    sections = with_verdict(weighing(thorough=True)), with_probes("true", thorough=True)
    assert ask(*sections).found.findings == []
    assert len(ask(*sections, thorough=True).found.findings) == 4


def test_what_is_timed_learns_when_it_was_asked(ask):
    seen = []

    def parse(text, before, after):
        seen.append(after - before)
        return float(text) - (before + after) / 2

    fact = Fact("time", RABBITMQ, lambda c, h: "date +%s.%N", parse, "no clock", timed=True)
    found = ask(with_verdict(fact), with_probes("sleep 1")).found
    assert all(abs(ahead) < 0.5 for ahead in found.facts.known(fact).values())
    assert max(seen) < 1, "the others are not asked in that time"


class Channel:
    """Says what it is given, and then nothing more."""

    def __init__(self, *said: bytes) -> None:
        self.said = list(said)
        self.waits: list[float] = []

    def settimeout(self, seconds) -> None:
        self.waits.append(seconds)

    def sendall(self, text) -> None:
        pass

    def recv(self, size) -> bytes:
        if not self.said:
            raise socket.timeout
        return self.said.pop(0)


def test_a_host_that_fell_silent_costs_the_time_of_a_connection(cluster):
    script = compile_script([], [probe("is it there", "true", succeeds)], CHECK)
    begins = f"{script.mark}begin 0 100 0\n".encode()
    connections = Connections(cluster, Config(), None, [])
    connections._open["mq1"] = SimpleNamespace(patience=7, close=lambda: None)

    def waits(*said: bytes, prompt: bool) -> list[float]:
        channel = connections._shells["mq1"] = Channel(*said)
        with pytest.raises(UnreachableError, match="mq1"):
            connections.run(cluster.hosts["mq1"], script, lambda reader: None, prompt)
        return channel.waits

    assert waits(prompt=True) == [7]
    assert waits(begins, prompt=True) == [7, script.parts[0].limit + GRACE]
    assert waits(prompt=False)[0] > 60


def test_a_section_without_hosts_is_left_out(ask):
    section = Section("nobody", on=lambda cluster: [], runbook="9", about="About nobody.")

    @section.cluster_check(needs=[])
    def check_cluster(cluster, facts):
        yield Finding("somebody is there", Verdict(WARN))

    assert ask(section).found.findings == []


def test_a_verdict_that_cannot_be_given_is_unknown(ask):
    section = Section("odd", on=RABBITMQ, runbook="9", about="About odd things.")

    @section.cluster_check(needs=[])
    def check_cluster(cluster, facts):
        raise UnreachableError("there is nobody to judge.")
        yield

    [one] = ask(section).found.findings
    assert one.verdict == Verdict(UNKNOWN, "there is nobody to judge.")
