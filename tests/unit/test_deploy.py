"""The runbook as a whole: order, what runs at the same time, what is remembered."""

from __future__ import annotations

import io
import threading
import time

import pytest

from fabfile import SECTIONS
from fabfile.engine.beside import Prefixed, Turns, at_the_same_time
from fabfile.engine.errors import UnreachableError, UsageError
from fabfile.engine.inventory import load
from fabfile.engine.journal import Journal
from fabfile.engine.report import Report
from fabfile.engine.results import HostResult
from fabfile.engine.run import Options, Run
from fabfile.engine.script import CHECK, StepResult
from fabfile.engine.secrets import Mask, Passwords
from fabfile.operator import sections
from fabfile.operator.deploy import NEEDS, ONLY_IF_ASKED, Done, among, left_to_do, wanted
from fabfile.operator.judge import differences, not_compared, verdict
from fabfile.operator.memory import digest, forget, keep, recall
from fabfile.operator.sections import CHECKS, work


@pytest.fixture
def run(cluster, tmp_path):
    """A run whose connections are never used."""
    mask = Mask()
    run = Run(
        cluster=cluster,
        options=Options(),
        report=Report(mask, order=list(cluster.hosts), stream=io.StringIO()),
        config=None,
        journal=Journal(tmp_path, mask),
        passwords=Passwords(mask, ask=str),
    )
    run._connections = Idle()
    return run


class Idle:
    """Connections to nobody."""

    def open(self, host, bootstrap=False):
        return None

    def close(self):
        return None


# The order


def test_every_section_is_a_part_and_every_part_is_a_task():
    sections = {name.partition(".")[0] for name in NEEDS if name != CHECKS}
    assert sections == {section.name for section in SECTIONS}
    for name in NEEDS:
        assert name == CHECKS or work(name)


def test_what_a_part_needs_stands_before_it():
    seen = set()
    for name, needs in NEEDS.items():
        assert set(needs) <= seen, name
        seen.add(name)


def test_sections_on_different_servers_do_not_need_each_other():
    beside = {"postgres", "rabbitmq", "nfs"}
    assert all(not beside & set(NEEDS[name]) for name in beside)


def test_updating_all_packages_takes_a_word(cluster):
    assert ONLY_IF_ASKED not in wanted(cluster, update=False)
    assert ONLY_IF_ASKED in wanted(cluster, update=True)


def test_what_a_left_out_part_needs_is_needed_instead(cluster):
    assert among(NEEDS, wanted(cluster, update=False))["base"] == {"ssh.bootstrap"}
    assert among(NEEDS, ["airflow", "systemd"]) == {"airflow": set(), "systemd": {"airflow"}}


def test_a_part_without_servers_is_left_out(hosts_yaml):
    small = load(hosts_yaml("roles: [target]", "roles: [worker]"))
    assert "rabbitmq" in wanted(small, update=False)
    without = {name: host for name, host in small.hosts.items() if "rabbitmq" not in host.roles}
    from msgspec.structs import replace

    assert "rabbitmq" not in wanted(replace(small, hosts=without), update=False)


# What is remembered


def test_it_goes_on_where_it_stopped(cluster):
    now = digest(cluster)
    done = Done(dict.fromkeys(("ssh.trust", "ssh.bootstrap", "base"), now))
    assert left_to_do(cluster, done, now, "", update=False)[0] == "hostnames"


def test_what_succeeded_under_another_inventory_runs_again(cluster):
    done = Done(dict.fromkeys(NEEDS, "another"))
    assert left_to_do(cluster, done, digest(cluster), "", False) == wanted(cluster, False)


def test_from_a_part_on(cluster):
    left = left_to_do(cluster, Done(), "now", "airflow", False)
    assert left == ["airflow", "systemd", CHECKS, "airflow.smoke"]
    with pytest.raises(UsageError, match="did you mean postgres"):
        left_to_do(cluster, Done(), "now", "postgre", False)


def test_a_comment_is_no_change_and_a_setting_is(cluster, hosts_yaml):
    assert digest(load(hosts_yaml("# The cluster", "# Our cluster"))) == digest(cluster)
    assert digest(load(hosts_yaml("ttl: 20", "ttl: 30"))) != digest(cluster)


def test_what_is_kept_is_read_again_and_half_of_it_is_as_none(tmp_path):
    file = tmp_path / "state" / "deploy.json"
    assert recall(file, Done) == Done()
    keep(file, Done({"base": "1"}))
    assert recall(file, Done) == Done({"base": "1"})
    assert [path.name for path in file.parent.iterdir()] == ["deploy.json"]
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(file.read_text()[:7])
    assert recall(file, Done) == Done()
    forget(file)
    assert not file.exists()


# At the same time


def test_jobs_that_do_not_need_each_other_run_at_the_same_time(run):
    both = threading.Barrier(2, timeout=5)
    met = {name: lambda own: both.wait() >= 0 for name in ("a", "b")}
    assert at_the_same_time(run, met) is None


def test_what_is_needed_comes_first(run):
    order = []
    jobs = {name: lambda own, name=name: order.append(name) is None for name in "dcba"}
    assert at_the_same_time(run, jobs, {"d": "c", "c": "b", "b": "a"}) is None
    assert order == ["a", "b", "c", "d"]


def test_after_a_failure_nothing_starts_and_what_runs_comes_to_its_end(run):
    ended = []

    def slow(own) -> bool:
        time.sleep(0.5)
        return True

    jobs = {"fails": lambda own: False, "slow": slow, "next": lambda own: True}
    failed = at_the_same_time(
        run, jobs, {"next": ["slow"]}, after=lambda name, fine: ended.append((name, fine))
    )
    assert failed == "fails"
    assert ended == [("fails", False), ("slow", True)]


def test_lines_of_several_begin_with_their_names(run):
    both = threading.Barrier(2, timeout=5)

    def says(own) -> bool:
        both.wait()
        own.report.say("one\ntwo")
        return True

    at_the_same_time(run, {"postgres": says, "nfs": says})
    lines = sorted(run.report.stream.getvalue().splitlines())
    assert lines == [
        f"{name:<12} | {word}" for name in ("nfs", "postgres") for word in ("one", "two")
    ]


def test_one_that_is_alone_has_the_terminal(run):
    at_the_same_time(run, {"base": lambda own: own is run})
    assert not isinstance(run.report.stream, Prefixed)


def test_what_they_found_ends_up_in_one_report(run):
    def fails(own) -> bool:
        own.report.results.append(HostResult("t", "mq1", "do", "failed"))
        return True

    at_the_same_time(run, {"a": fails, "b": lambda own: True})
    assert run.exit_code == 1


def test_a_host_has_one_script_at_a_time(cluster):
    at_work, most = [], []

    class Slow(Idle):
        def run(self, host, script):
            at_work.append(host)
            most.append(at_work.count(host))
            time.sleep(0.05)
            at_work.remove(host)

    turns = Turns(Slow(), cluster.hosts)
    hosts = [cluster.hosts["mq1"], cluster.hosts["mq2"]] * 3
    threads = [threading.Thread(target=turns.run, args=(host, "")) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_a_host_that_is_off_costs_its_timeout_once(cluster):
    tried = []

    class Off(Idle):
        def open(self, host, bootstrap=False):
            tried.append(host.name)
            raise UnreachableError("no route")

        def drop(self, host):
            return None

    turns = Turns(Off(), cluster.hosts)
    for _ in range(3):
        with pytest.raises(UnreachableError, match="no route"):
            turns.open(cluster.hosts["mq1"])
    assert tried == ["mq1"]
    turns.drop(cluster.hosts["mq1"])
    with pytest.raises(UnreachableError):
        turns.open(cluster.hosts["mq1"])
    assert tried == ["mq1", "mq1"]


def test_nobody_gets_a_turn_after_the_end(cluster):
    turns = Turns(Idle(), cluster.hosts)
    turns.end()
    with pytest.raises(UnreachableError):
        turns.open(cluster.hosts["mq1"])


# The verdict


def judged(status: str, title: str = "a step") -> HostResult:
    result = HostResult("hosts.check", "mq1", CHECK)
    result.add(StepResult(title, "", status, output=["-old", "+new"]))
    result.settle()
    return result


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        (["ok"], "OK"),
        (["ok", "warn"], "WARN: nothing is wrong, 1 to know about"),
        (["warn", "error", "differs"], "ERROR: 1 differs, 1 error"),
    ],
)
def test_one_word_for_the_whole(statuses, word):
    assert verdict([judged(status) for status in statuses]) == word


def test_a_host_that_does_not_answer_is_no_ok():
    away = HostResult("hosts.check", "mq1", CHECK, "unreachable", "no route")
    assert verdict([away]) == "ERROR: 1 unreachable"


def test_differences_are_told_once_for_hosts_that_are_alike():
    one, other = judged("differs"), judged("differs")
    other.host = "mq2"
    assert differences([one, other, judged("ok")]) == ["# mq1,mq2: a step", "-old", "+new"]


def test_what_could_not_be_compared_is_named():
    away = HostResult("hosts.names", "mq1", "plan", "unreachable", "no route")
    assert not_compared([away, judged("ok")]) == ["mq1: no route (hosts.names)"]


# Waiting for the checks


@pytest.fixture
def answers(monkeypatch):
    """answers(["error"], ["ok"]) -> what the checks say at the first call, and at the next."""

    def given(*statuses: list[str]) -> None:
        rounds = list(statuses)

        def check(run, sections=None) -> None:
            now = rounds.pop(0) if len(rounds) > 1 else rounds[0]
            run.report.results += [judged(status) for status in now]
            run.report.say(f"  hosts: {', '.join(now)}")

        monkeypatch.setattr(sections, "check", check)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)

    return given


def test_it_waits_until_nothing_is_wrong_and_says_what_is_worth_knowing(run, answers):
    answers(["ok", "error"], ["ok", "warn"])
    assert sections.settled(run)
    assert run.report.stream.getvalue().splitlines() == [
        "  waiting: a step",
        "  the checks of hosts find nothing wrong: 1 ok, 1 to know about:",
        "  [mq1] warning: a step",
    ]
    assert run.exit_code == 0


def test_when_patience_ends_it_says_what_is_wrong(run, answers):
    answers(["error"])
    assert not sections.settled(run, patience=0)
    assert "hosts: error" in run.report.stream.getvalue()
    assert run.exit_code == 1
