"""The runbook as a whole: order, what runs at the same time, what is remembered."""

from __future__ import annotations

import io
import threading
import time

import pytest

from fabfile import CONTENTS
from fabfile.operator.check import differences, not_compared, overall
from fabfile.operator.checkpoint import digest, forget, keep, recall
from fabfile.operator.deploy import Done, begun, left_to_do, nearest, unheeded, wanted
from runbook.declare.operations import CHECKS
from runbook.errors import UnreachableError, UsageError
from runbook.execute.concurrent import Prefixed, SharedConnections, run_concurrently
from runbook.execute.journal import Journal
from runbook.execute.run import Options, Run
from runbook.operate import checks
from runbook.output.report import Report
from runbook.results import CHECK, DO, PLAN, HostResult, Status, StepResult
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Passwords


@pytest.fixture
def run(cluster, tmp_path):
    """A run whose connections are never used."""
    mask = Mask()
    run = Run(
        contents=CONTENTS,
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


NEEDS = {part.name: part.after for part in CONTENTS.parts}


def test_every_section_is_a_part_and_every_part_is_a_task():
    sections = {name.partition(".")[0] for name in NEEDS if name != CHECKS}
    assert sections == set(CONTENTS.names)
    for name in NEEDS:
        assert name == CHECKS or CONTENTS.find(name)


def test_what_a_part_needs_stands_before_it():
    seen = set()
    for name, needs in NEEDS.items():
        assert set(needs) <= seen, name
        seen.add(name)


def test_the_whole_is_carried_out_in_the_runbooks_order():
    order = "ssh.trust base.preflight ssh.bootstrap base.update base hostnames hosts ssh tls"
    order += " python-build.start postgres rabbitmq nfs haproxy python-build airflow systemd"
    order += " monitoring checks airflow.smoke"
    assert " ".join(NEEDS) == order


def test_sections_on_different_servers_do_not_need_each_other():
    beside = {"postgres", "rabbitmq", "nfs"}
    assert all(not beside & set(NEEDS[name]) for name in beside)


def test_updating_all_packages_takes_a_word(cluster):
    assert "base.update" not in wanted(CONTENTS, cluster, update=False)
    assert "base.update" in wanted(CONTENTS, cluster, update=True)


def test_what_a_left_out_part_needs_is_needed_instead(cluster):
    assert nearest(NEEDS, wanted(CONTENTS, cluster, update=False))["base"] == {"ssh.bootstrap"}
    assert nearest(NEEDS, ["airflow", "systemd"]) == {"airflow": set(), "systemd": {"airflow"}}


def test_a_part_without_servers_is_left_out(hosts_yaml):
    small = CONTENTS.load(hosts_yaml("roles: [target]", "roles: [worker]"))
    assert "rabbitmq" in wanted(CONTENTS, small, update=False)
    without = {name: host for name, host in small.hosts.items() if "rabbitmq" not in host.roles}
    from msgspec.structs import replace

    assert "rabbitmq" not in wanted(CONTENTS, replace(small, hosts=without), update=False)


def test_what_would_stop_the_work_is_asked_before_the_first_change(cluster):
    before = list(NEEDS)[: list(NEEDS).index("base.preflight")]
    assert before == ["ssh.trust"]  # which changes the controller's own file
    assert NEEDS["ssh.bootstrap"] == ("base.preflight",)
    assert "base.preflight" not in {work.name for work in CONTENTS.section("base").in_order()}


def test_findings_of_the_preflight_can_be_ignored(run):
    found = HostResult("base.preflight", "sql1", CHECK)
    found.add(StepResult("umask", "", Status.ERROR))
    found.settle()

    def look(own: Run, name: str) -> bool:
        own.results.append(found)
        return own.options.keep_going

    assert begun(run, afresh=True, ignore_preflight=True).ignored == {"base.preflight"}
    assert begun(run, afresh=True).ignored == frozenset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "perform_named", look)
        assert unheeded(run, "base.preflight")
    assert run.exit_code == 0


# What is remembered


def test_it_goes_on_where_it_stopped(cluster):
    now = digest(cluster)
    done = Done(dict.fromkeys(("ssh.trust", "base.preflight", "ssh.bootstrap", "base"), now))
    assert left_to_do(list(NEEDS), done, now, "")[:2] == ["base.update", "hostnames"]


def test_what_succeeded_under_another_inventory_runs_again(cluster):
    done = Done(dict.fromkeys(NEEDS, "another"))
    assert left_to_do(list(NEEDS), done, digest(cluster), "") == list(NEEDS)


def test_from_a_part_on():
    left = left_to_do(list(NEEDS), Done(), "now", "airflow")
    assert left == ["airflow", "systemd", "monitoring", CHECKS, "airflow.smoke"]
    with pytest.raises(UsageError, match="did you mean postgres"):
        left_to_do(list(NEEDS), Done(), "now", "postgre")


def test_a_comment_is_no_change_and_a_setting_is(cluster, hosts_yaml):
    assert digest(CONTENTS.load(hosts_yaml("# The cluster", "# Our cluster"))) == digest(cluster)
    assert digest(CONTENTS.load(hosts_yaml("ttl: 20", "ttl: 30"))) != digest(cluster)


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


def test_jobs_that_do_not_need_each_other_run_run_concurrently(run):
    both = threading.Barrier(2, timeout=5)
    met = {name: lambda own: both.wait() >= 0 for name in ("a", "b")}
    assert run_concurrently(run, met) is None


def test_what_is_needed_comes_first(run):
    order = []
    jobs = {name: lambda own, name=name: order.append(name) is None for name in "dcba"}
    assert run_concurrently(run, jobs, {"d": "c", "c": "b", "b": "a"}) is None
    assert order == ["a", "b", "c", "d"]


def test_after_a_failure_nothing_starts_and_what_runs_comes_to_its_end(run):
    ended = []

    def slow(own) -> bool:
        time.sleep(0.5)
        return True

    jobs = {"fails": lambda own: False, "slow": slow, "next": lambda own: True}
    failed = run_concurrently(
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

    run_concurrently(run, {"postgres": says, "nfs": says})
    lines = sorted(run.report.stream.getvalue().splitlines())
    assert lines == [
        f"{name:<12} | {word}" for name in ("nfs", "postgres") for word in ("one", "two")
    ]


def test_one_that_is_alone_has_the_terminal(run):
    run_concurrently(run, {"base": lambda own: own is run})
    assert not isinstance(run.report.stream, Prefixed)


def test_what_they_found_ends_up_in_one_run(run):
    def fails(own) -> bool:
        own.results.append(HostResult("t", "mq1", DO, Status.FAILED))
        return True

    run_concurrently(run, {"a": fails, "b": lambda own: True})
    assert run.exit_code == 1


def test_a_host_has_one_script_at_a_time(cluster):
    at_work, most = [], []

    class Slow(Idle):
        def run(self, host, script):
            at_work.append(host)
            most.append(at_work.count(host))
            time.sleep(0.05)
            at_work.remove(host)

    shared = SharedConnections(Slow(), cluster.hosts)
    hosts = [cluster.hosts["mq1"], cluster.hosts["mq2"]] * 3
    threads = [threading.Thread(target=shared.run, args=(host, "")) for host in hosts]
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

    shared = SharedConnections(Off(), cluster.hosts)
    for _ in range(3):
        with pytest.raises(UnreachableError, match="no route"):
            shared.open(cluster.hosts["mq1"])
    assert tried == ["mq1"]
    shared.drop(cluster.hosts["mq1"])
    with pytest.raises(UnreachableError):
        shared.open(cluster.hosts["mq1"])
    assert tried == ["mq1", "mq1"]


def test_nobody_gets_a_turn_after_the_end(cluster):
    shared = SharedConnections(Idle(), cluster.hosts)
    shared.end()
    with pytest.raises(UnreachableError):
        shared.open(cluster.hosts["mq1"])


# The verdict


def judged(status: str, title: str = "a step") -> HostResult:
    result = HostResult("hosts.check", "mq1", CHECK)
    result.add(StepResult(title, "", Status(status), output=["-old", "+new"]))
    result.settle()
    return result


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        (["ok"], "OK"),
        (["ok", "warn"], "WARN: 1 warning"),
        (["warn", "error", "differs"], "ERROR: 1 differs, 1 error"),
    ],
)
def test_one_word_for_the_whole(statuses, word):
    assert overall([judged(status) for status in statuses]) == word


def test_a_host_that_does_not_answer_is_no_ok():
    away = HostResult("hosts.check", "mq1", CHECK, Status.UNREACHABLE, "no route")
    assert overall([away]) == "ERROR: 1 unreachable"


def test_differences_are_told_once_for_hosts_that_are_alike():
    one, other = judged("differs"), judged("differs")
    other.host = "mq2"
    assert differences([one, other, judged("ok")]) == ["# mq1,mq2: a step", "-old", "+new"]


def test_what_could_not_be_compared_is_named():
    away = HostResult("hosts.names", "mq1", PLAN, Status.UNREACHABLE, "no route")
    assert not_compared([away, judged("ok")]) == ["mq1: no route (hosts.names)"]


# Waiting for the checks


@pytest.fixture
def answers(monkeypatch):
    """answers(["error"], ["ok"]) -> what the checks say at the first call, and at the next."""

    def given(*statuses: list[str]) -> None:
        rounds = list(statuses)

        def check(run, sections=None) -> None:
            now = rounds.pop(0) if len(rounds) > 1 else rounds[0]
            run.results += [judged(status) for status in now]
            run.report.say(f"  hosts: {', '.join(now)}")

        monkeypatch.setattr(checks, "check", check)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)

    return given


def test_it_waits_until_nothing_is_wrong_and_says_what_is_worth_knowing(run, answers):
    answers(["ok", "error"], ["ok", "warn"])
    assert checks.settled(run)
    assert run.report.stream.getvalue().splitlines() == [
        "  waiting: a step",
        "  the checks of hosts found no errors: 1 ok, 1 warning:",
        "  [mq1] warning: a step",
    ]
    assert run.exit_code == 0


def test_when_patience_ends_it_says_what_is_wrong(run, answers):
    answers(["error"])
    assert not checks.settled(run, patience=0)
    assert "hosts: error" in run.report.stream.getvalue()
    assert run.exit_code == 1
