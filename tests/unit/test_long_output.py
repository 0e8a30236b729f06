"""Long output of a command: all of it is shown as it arrives, and little of it is kept."""

from __future__ import annotations

import io
import json
import re
import shutil

import pytest
from support.entered import Site
from support.here import Here
from support.ssh_servers import Account

from runbook.captured import KEPT, LONGEST_LINE, Captured, Lines
from runbook.declare.steps import command
from runbook.execute.ad_hoc import SHORT, Output
from runbook.inventory.cluster import Host
from runbook.output.report import Report
from runbook.results import DO, HostResult, Status, StepResult
from runbook.script import Reader, compile_script
from runbook.secrets.mask import Mask


def captured(*pieces: bytes, kept: int = KEPT) -> list[str]:
    output = Captured(kept)
    for piece in pieces:
        output.add(piece)
    return output.end()


@pytest.mark.parametrize(
    "text",
    ["", "a", "a\n", "a\nb", "a\n\nb\n\n", "\n", "a\r\nb\r\n", "10 %\r20 %\n", "ä\nö", "a\x0bb\n"],
)
def test_lines_are_those_of_the_whole_text_however_it_arrives(text):
    data = text.encode()
    assert captured(data) == text.splitlines()
    assert captured(*(data[at : at + 1] for at in range(len(data)))) == text.splitlines()


def test_bytes_that_are_no_text_are_replaced():
    assert captured(b"caf\xe9\n") == ["caf\ufffd"]


def test_of_very_much_the_first_and_the_last_lines_are_kept():
    lines = captured(*(f"line {number}\n".encode() for number in range(10_000)), kept=1000)
    assert lines[0] == "line 0"
    assert lines[-1] == "line 9999"
    assert sum(map(len, lines)) < 2100
    [note] = [line for line in lines if "left out" in line]
    assert int(re.search(r"\d+", note)[0]) == 10_000 - (len(lines) - 1)


def test_a_line_without_an_end_is_cut():
    lines = list(Lines().add(b"x" * (3 * LONGEST_LINE + 1)))
    assert [len(line) for line in lines] == [LONGEST_LINE] * 3


def test_a_step_that_prints_very_much_is_bounded_and_still_understood(tmp_path):
    noisy = command("noise", "seq 400000; echo the end; false", unless="false")
    script = compile_script([noisy], mode=DO)
    reader = Reader(script)
    reader.feed(f"{script.mark}begin 0 100 0\n".encode())
    for _ in range(300):
        reader.feed(b"0123456789abcdef\n" * 4096)
        assert len(reader._pending) < 1000
    reader.feed(f"the end{script.mark[:9]}".encode())
    reader.feed(f"{script.mark[9:]}failed 0 200 1\n".encode())
    [result] = reader.results
    assert (result.status, result.code, result.output[-1]) == (Status.FAILED, 1, "the end")
    assert sum(map(len, result.output)) <= 2 * KEPT


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_events_are_found_however_they_arrive(tmp_path, size):
    step = command("step", "printf 'no end of line'; printf '\\x1e'; false", unless="false")
    found = Here(tmp_path).run(step).results[0]
    script = compile_script([step], mode=DO)
    answer = (
        f"before\n{script.mark}begin 0 100 0\nno end of line\x1e{script.mark}failed 0 200 1\nafter"
    ).encode()
    reader = Reader(script)
    for at in range(0, len(answer), size):
        reader.feed(answer[at : at + size])
    reader.close()
    [result] = reader.results
    assert result.output == found.output == ["no end of line\x1e".splitlines()[0]]
    assert reader.noise == ["before", "after"]


def test_short_output_waits_for_its_turn():
    printed: list[str] = []
    output = Output(printed.extend)
    output.take(b"one\ntwo")
    assert printed == []
    assert output.end() == ["one", "two"]


def test_long_output_is_handed_on_as_it_comes():
    printed: list[str] = []
    output = Output(printed.extend)
    count = 0
    while not printed:
        output.take(f"line {count}\n".encode() * 1000)
        count += 1
    assert count * 8000 < 2 * SHORT
    output.take(b"the end")
    assert output.end() == ["the end"]
    assert len(printed) == count * 1000


@pytest.fixture
def server(tmp_path, cluster, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    if not shutil.which("ssh-keygen"):
        pytest.skip("OpenSSH's client is not installed")
    site = Site(tmp_path, cluster)
    yield site, site.server(rocky=Account([site.keygen()]))
    site.close()


@pytest.mark.parametrize("as_json", [False, True])
def test_all_of_it_is_printed_and_json_has_both_ends(server, as_json):
    site, one = server
    connections = site.connections(one)
    host: Host = connections.cluster.hosts["sql1"]
    connections.open(host)
    stream = io.StringIO()
    report = Report(Mask(), as_json=as_json, stream=stream)
    output = Output(report.output_of(host))
    assert connections.command(host, "seq 1500000; exit 3", output.take) == 3
    part = StepResult("seq", "seq", Status.FAILED, code=3, output=output.end())
    result = HostResult("command", "sql1", DO, parts=[part])
    report.task_begins("command", "seq", [host], DO)
    report.host_done(result)
    report.task_ends()
    report.recap([result], 1)
    if as_json:
        told = json.loads(stream.getvalue())
        shown = told["tasks"]["command"]["hosts"]["sql1"]["steps"][0]["output"]
        assert (shown[0], shown[-1]) == ("1", "1500000")
        assert sum(map(len, shown)) <= 2 * KEPT
    else:
        numbers = re.findall(r"^\[sql1\] (\d+)$", stream.getvalue(), re.MULTILINE)
        assert numbers == [str(number) for number in range(1, 1_500_001)]
        assert "[sql1] exit code 3" in stream.getvalue()
