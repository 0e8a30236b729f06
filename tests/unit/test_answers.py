"""What a host answers is a value of the stated kind, or a sentence; whatever it says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.postgres_facts import SQL, etcd_facts, member

from fabfile import CONTENTS
from fabfile.operator.reboot import PENDING
from fabfile.postgres import etcd, operate
from fabfile.postgres.common import CONFIGURED, MAJOR
from fabfile.postgres.etcd import ETCD, Etcd, EtcdMember, listed
from fabfile.postgres.members import MEMBER, leader
from fabfile.postgres.repository import BACKUPS
from fabfile.postgres.transport import Speaks
from runbook.declare.answers import LARGEST, HexId, Unexpected, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import Answer
from runbook.declare.steps import command
from runbook.errors import DistrustedAnswer, MissingFact, RunbookError
from runbook.execute.survey import plain
from runbook.operate.phases import BOOT
from runbook.operate.rolling import OUTDATED, serving
from runbook.results import CHECK
from runbook.script import FLOOD, Reader, compile_script

LISTING = (
    "data\n8e9e05c52164694d, started, sql1, http://10.0.0.1:2380, http://10.0.0.1:2379, false\n"
)
HOSTILE = [
    *("x; touch f", "$(touch f)", "`touch f`", "'", '"', "\\", "-rf /", "../../etc", "\x1b[2J"),
    *("\x1b]0;owned\x07", "\u202e", "\ufffd\ufffd", "\x00", "nan", "inf", "1e999", "-1", "²"),
    *("9" * 5000, "[" * 5000, '{"a":' * 5000, "null", "[]", "{}", "[[]]", '"x"', "true", "0"),
    *("x\n" * 3000, ", , , , ,", "200 200\n{}\n{}\n", "active\n\n", "data\nx, y, z, w, v", "a b c"),
]


def every_fact() -> list[Fact]:
    """Every fact that any section or operator's task asks for."""
    found = [PENDING, BOOT, OUTDATED, serving(CONTENTS)]
    for section in CONTENTS.sections:
        for work in section.work:
            found += getattr(work, "needs", ())
        found += [*section.cluster_check_needs, *section.requires.facts]
    return list(dict.fromkeys(found))


FACTS = every_fact()


def read(fact: Fact, text: str):
    moment = (1.0, 2.0) if fact.timed else ()
    return fact.read("sql2", Answer(text), *moment)


def one_sentence(error: RunbookError) -> None:
    text = str(error)
    assert text.startswith("sql2 answered ")
    assert "\n" not in text
    assert len(text) < 1000


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_a_hostile_answer_is_a_value_or_a_sentence(fact):
    for text in HOSTILE:
        try:
            read(fact, text)
        except DistrustedAnswer as error:
            one_sentence(error)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(text=st.text(max_size=200))
def test_so_is_any_text(fact, text):
    try:
        read(fact, text)
    except DistrustedAnswer as error:
        one_sentence(error)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_an_answer_has_a_largest_size(fact):
    with pytest.raises(DistrustedAnswer, match="shorter than"):
        read(fact, "x" * (fact.largest + 1))


def test_no_answer_is_no_lie():
    assert ETCD.read("sql2", Answer("")) is None
    assert ETCD.read("sql2", Answer("x; touch f", code=1)) is None


@pytest.mark.parametrize(
    "id", ["x; touch f", "8E9E", "8e9e05c52164694d0", "", "-1", "8e9e\n", "$(id)", "0x1f"]
)
def test_the_id_of_a_member_is_hexadecimal(id):
    with pytest.raises(Unexpected, match="hexadecimal"):
        one(id, HexId)
    with pytest.raises(DistrustedAnswer, match=r"sql2 answered .* to 'the state of etcd'"):
        read(ETCD, LISTING.replace("8e9e05c52164694d", id))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sql1", "sql1;id"),
        ("http://10.0.0.1:2380", "http://10.0.0.1:2380,http://x"),
        ("http://10.0.0.1:2380", "unix://x"),
        ("data", "data; id"),
        (", started, sql1", ""),
    ],
)
def test_so_is_nothing_else_of_a_member(old, new):
    with pytest.raises(DistrustedAnswer):
        read(ETCD, LISTING.replace(old, new, 1))


@pytest.mark.parametrize(
    "label", ["x; touch f", "20260101-000000F_x", "../20260101-000000F", "20260101-000000F\n"]
)
def test_the_label_of_a_backup_has_its_form(label):
    backup = {
        "label": "20260101-000000F",
        "type": "full",
        "timestamp": {"start": 1, "stop": 2},
        "info": {"repository": {"delta": 3}},
    }
    good = f"5\n{json.dumps([{'backup': [backup]}])}"
    assert read(BACKUPS, good).backups[0].label == "20260101-000000F"
    with pytest.raises(DistrustedAnswer, match="label"):
        read(BACKUPS, f"5\n{json.dumps([{'backup': [{**backup, 'label': label}]}])}")


# The majority


def swapped(cluster, name: str, listing: tuple[EtcdMember, ...], **changes) -> Facts:
    """What the servers say, when one of them has a list of its own."""
    states = {**etcd_facts(cluster, **changes), name: Etcd(True, listing)}
    return Facts({ETCD: states, CONFIGURED: dict.fromkeys(SQL, True)})


def of_sql2_alone(cluster) -> tuple[EtcdMember, ...]:
    return (EtcdMember("abc", "sql2", etcd.peer(cluster.hosts["sql2"], Speaks.TLS)),)


def longer(cluster) -> tuple[EtcdMember, ...]:
    """A list without sql1, and longer than the others'."""
    return (
        *of_sql2_alone(cluster),
        *(EtcdMember(f"{n}", f"x{n}", f"http://10.9.9.{n}:2380") for n in range(1, 6)),
    )


@pytest.mark.parametrize("lie", [of_sql2_alone, longer])
def test_one_servers_list_moves_no_data_aside(cluster, lie):
    known = swapped(cluster, "sql2", lie(cluster))
    assert {one.name for one in listed(known)} == set(SQL)
    for name in ("sql1", "sql3"):
        titles = [step.title for step in etcd.etcd_members(cluster.hosts[name], cluster, known)]
        assert not any("moved aside" in title for title in titles)


@pytest.mark.parametrize("lie", [of_sql2_alone, longer])
@pytest.mark.parametrize("changes", [{"down": ["sql1", "sql3"]}, {"silent": ["sql3"]}])
def test_without_a_majority_nothing_is_done(cluster, lie, changes):
    known = swapped(cluster, "sql2", lie(cluster), **changes)
    with pytest.raises(RunbookError, match="a majority has to agree") as refused:
        list(etcd.etcd_members(cluster.hosts["sql1"], cluster, known))
    assert "sql2 lists sql2 (abc)" in str(refused.value)


def test_one_servers_list_removes_no_member(cluster):
    known = swapped(cluster, "sql2", longer(cluster), silent=["sql3"])
    known._values[MEMBER] = {name: member(name) for name in SQL}
    with pytest.raises(RunbookError, match="a majority has to agree"):
        list(operate.remove([], cluster, known, host="x1"))


def test_a_member_that_was_removed_is_outvoted(cluster):
    """Its data is moved aside because both others agree."""
    others = tuple(one for one in etcd_facts(cluster)["sql1"].listed if one.name != "sql3")
    states = {name: Etcd(True, others) for name in ("sql1", "sql2")}
    known = Facts({ETCD: {**states, "sql3": Etcd(True, ())}})
    titles = [step.title for step in etcd.etcd_members(cluster.hosts["sql3"], cluster, known)]
    assert titles[0] == "data of the member that was removed is moved aside"


def test_a_single_member_grows(cluster):
    alone = (EtcdMember("abc", "sql1", etcd.peer(cluster.hosts["sql1"], Speaks.TLS)),)
    known = Facts({ETCD: {"sql1": Etcd(True, alone), "sql2": Etcd(False, ())}})
    assert listed(known) == alone


def test_two_servers_that_say_they_lead_are_refused(cluster):
    known = Facts({MEMBER: {name: member(name, leads=name) for name in ("sql1", "sql2")}})
    with pytest.raises(RunbookError, match="sql1 and sql2 all report"):
        leader(cluster, known)
    with pytest.raises(MissingFact):
        leader(cluster, Facts())


def test_a_major_version_is_digits():
    assert MAJOR.parse('"server_version": 150004') == "15"
    assert MAJOR.parse('"server_version": ١٥0004') == ""


# The answer to a script


def test_a_script_is_not_told_by_a_host_what_it_is():
    """A host that is not itself invents events, again and again, of parts that do not exist."""
    asked = compile_script([command("a", "b", "c")], (), CHECK)
    reader = Reader(asked)
    mark = asked.mark.encode()
    for event in (
        b"begin 7 1 0",
        b"ok 0 1 0",
        b"begin 0 1 0",
        b"ok 5 1 0",
        b"answer 0 " + b"9" * 5000 + b" 0",
        b"locked -1 1 0",
        b"nonsense 0 1 0",
        b"begin 0 1 0",
        b"ok 0 1 0",
        b"end -1 1 0",
        b"over -1 1 0",
    ):
        reader.feed(mark + event + b"\n")
    reader.close()
    assert [part.index for part in reader.results] == [0]
    assert reader.holder is None


def test_an_answer_without_end_is_noticed():
    asked = compile_script([], plain(["true"]), CHECK)
    reader = Reader(asked)
    reader.feed(asked.mark.encode() + b"begin 0 1 0\n")
    for _ in range(FLOOD // (1 << 20) + 1):
        assert not reader.flooded
        reader.feed(b"x" * (1 << 20))
    assert reader.flooded
    assert LARGEST < FLOOD


HOSTS_AT_ONCE = """
import sys, threading, types
from runbook.declare.answers import of_json
sys.setswitchinterval(1e-6)
for number in range(100):
    own = sys.modules[f"kinds{number}"] = types.ModuleType(f"kinds{number}")
    exec(KINDS, own.__dict__)
    start = threading.Barrier(4)
    def ask():
        start.wait()
        outer = of_json('{"inner": [{"deep": {"k": {"n": 3}}}]}', own.Outer)
        assert outer.inner[0].deep["k"].n == 3
    threads = [threading.Thread(target=ask) for _ in range(4)]
    [one.start() for one in threads]
    [one.join() for one in threads]
"""
KINDS = """
from __future__ import annotations
import msgspec
class Outer(msgspec.Struct):
    inner: list[Inner] = []
class Inner(msgspec.Struct):
    deep: dict[str, Deep] = {}
class Deep(msgspec.Struct):
    n: int = 0
"""


def test_hosts_may_be_the_first_to_answer_at_the_same_time():
    script = f"KINDS = {KINDS!r}\n{HOSTS_AT_ONCE}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
