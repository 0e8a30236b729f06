"""Carry out a task of a section, of whichever kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runbook.declare.facts import Facts
from runbook.declare.probes import CLUSTER_WIDE
from runbook.declare.step import Step
from runbook.declare.work import (
    CheckTask,
    ControllerTask,
    ProcedureTask,
    Question,
    Stage,
    StepTask,
    TableTask,
    WholeSection,
    Work,
)
from runbook.errors import USAGE, MissingFact, RunbookError
from runbook.execute.conversation import converse
from runbook.execute.run import Run
from runbook.inventory.cluster import Host
from runbook.results import CHECK, DO, HostResult, Status, StepResult


def perform(run: Run, work: Work, options: dict[str, Any]) -> bool:
    """Carry out one task; False if the next one should not start."""
    hosts = run.hosts_for(work)
    if not isinstance(work, WholeSection):
        return _perform(run, work, hosts, options)
    for part in work.section.in_order():
        part_hosts = run.hosts_for(part, within=work.section)
        if part_hosts and not _perform(run, part, part_hosts, {}):
            return False
    return True


def _perform(run: Run, work: Work, hosts: list[Host], options: dict[str, Any]) -> bool:
    if isinstance(work, ControllerTask):
        return _on_controller(run, work, hosts, options)
    if isinstance(work, ProcedureTask):
        return _proceed(run, work, hosts, options)
    if isinstance(work, TableTask):
        return _tabulate(run, work)
    if isinstance(work, (StepTask, CheckTask)) and run.options.dry:
        run.report.commands(work.name, work.doc, work.commands(hosts, run.cluster))
        return True
    if isinstance(work, CheckTask):
        _check(run, work, hosts)
        return True
    if isinstance(work, StepTask):
        batches = work.rolling(run, hosts) if work.rolling else [hosts]
        fine = all(_carry_out(run, work, list(batch)) for batch in batches)
        return fine or run.options.keep_going
    raise TypeError(work)


def _on_controller(
    run: Run, work: ControllerTask, hosts: list[Host], options: dict[str, Any]
) -> bool:
    if run.options.dry:
        run.report.say(f"# {work.name} runs on the controller: {work.summary}")
        return True
    before = len(run.results)
    run.begin(work.name, work.doc, hosts, run.options.mode)
    work.function(run, hosts, **options)
    run.report.task_ends()
    return run.options.keep_going or all(result.fine for result in run.results[before:])


def _proceed(run: Run, work: ProcedureTask, hosts: list[Host], options: dict[str, Any]) -> bool:
    """Carry out the stages in order; stop at the first one that fails."""
    if run.options.dry:
        run.report.say(f"# {work.name} depends on the state of the hosts; use --plan")
        return True
    run.task, run.mode = work.name, run.options.mode
    facts = run.gather(work.needs, hosts)
    for part in work.function(hosts, run.cluster, facts, **options):
        if isinstance(part, Question):
            run.report.say(part.text)
            if not run.options.plan and not run.agreed():
                raise RunbookError("Nothing was done.")
        elif not _stage(run, work, part):
            return False
    return True


def _stage(run: Run, work: ProcedureTask, part: Stage) -> bool:
    def take(host: Host) -> HostResult:
        result = HostResult(work.name, host.name, run.options.mode, rerun="the same command")
        return converse(run, result, host, part.of(host))

    run.begin(work.name, part.title, part.hosts, run.options.mode)
    results = run.each(part.hosts, take)
    run.report.task_ends()
    return all(result.fine for result in results)


def _tabulate(run: Run, work: TableTask) -> bool:
    if run.options.dry:
        run.report.say(f"# {work.name} changes nothing")
        return True
    run.task, run.mode = work.name, DO
    facts = run.gather(work.needs, run.on(work.on))
    run.report.table(work.name, work.function(run.cluster, facts))
    for name in sorted(run.lost):
        run.each([run.cluster.hosts[name]], lambda host: HostResult(work.name, host.name, DO))
    return True


def _carry_out(run: Run, work: StepTask, hosts: list[Host]) -> bool:
    takers = work.taken_by(hosts, run.cluster)
    run.begin(work.name, work.doc, takers, run.options.mode)
    facts = run.gather(work.needs, takers, takers)
    batches = work.batches(takers, run.cluster) if work.batches else [takers]
    going = True
    for batch in batches:
        results = run.each(batch, lambda host: _bring(run, work, host, facts, hosts))
        going = all(result.fine for result in results)
        if not going:
            break  # even with --keep-going: the next batch is of the same clusters
    run.report.task_ends()
    return going


def _bring(run: Run, work: StepTask, host: Host, facts: Facts, hosts: Sequence[Host]) -> HostResult:
    result = HostResult(work.name, host.name, run.options.mode)
    result.rerun = "the same command" if work.by else ""
    try:
        steps = list(work.steps(host, run.cluster, facts, hosts))
    except RunbookError as error:
        result.status = _without_steps(run, error)
        result.sentence = str(error)
        return result
    return converse(run, result, host, steps, bootstrap=work.bootstrap)


def _without_steps(run: Run, error: RunbookError) -> Status:
    """The status of a host whose steps are not known; usage errors are raised again."""
    if error.exit_code == USAGE:
        raise error
    only_looking = run.options.plan or run.mode == CHECK
    missing = isinstance(error, MissingFact)
    return Status.UNKNOWN if missing and only_looking else Status.REFUSED


def _check(run: Run, work: CheckTask, hosts: list[Host]) -> None:
    section = work.section
    run.begin(work.name, work.doc, hosts, CHECK)
    needs = [fact for task in section.step_tasks() for fact in task.needs]
    wanted = dict.fromkeys([*needs, *section.cluster_check_needs])
    facts = run.gather(wanted, hosts, hosts)
    run.each(hosts, lambda host: _check_host(run, work, host, facts))
    if section.check_cluster:
        whole = HostResult(work.name, CLUSTER_WIDE, CHECK)
        for finding in section.check_cluster(run.cluster, facts):
            whole.add(StepResult(finding.title, "").judged(finding))
        run.conclude(whole)
    run.report.task_ends()


def _check_host(run: Run, work: CheckTask, host: Host, facts: Facts) -> HostResult:
    result = HostResult(work.name, host.name, CHECK)
    steps: list[Step] = []
    for task in work.section.step_tasks():
        on = run.on(task.on)
        if host not in task.taken_by(on, run.cluster):
            continue
        try:
            steps += task.steps(host, run.cluster, facts, on)
        except RunbookError as error:
            status = _without_steps(run, error)
            result.add(StepResult(task.name, "", status, output=[str(error)]))
    once = list(dict.fromkeys(steps))  # tasks may share a step
    questions = list(work.section.questions(host, run.cluster))
    return converse(run, result, host, once, questions)
