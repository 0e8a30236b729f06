"""Sends one script to one host, and interprets its answer."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from runbook.declare.probes import OK, Answer, Probe, Verdict, probe
from runbook.declare.step import Step
from runbook.errors import RunbookError, SettingsError, UnreachableError
from runbook.execute.run import Run
from runbook.inventory.cluster import Host
from runbook.results import BROKEN, CHECK, DO, PLAN, HostResult, Mode, Status, StepResult
from runbook.script import Reader, Script, compile_script
from runbook.secrets.patterns import without_passwords

REBOOT_PATIENCE = 600
"""Seconds that a rebooting host has to come back."""

# systemd 239 has no `is-system-running --wait`.
SETTLED = """cat /proc/sys/kernel/random/boot_id
for _ in {1..50}; do
  state=$(systemctl is-system-running)
  case $state in initializing | starting) sleep 1 ;; *) break ;; esac
done
echo "$state\""""


def converse(
    run: Run,
    result: HostResult,
    host: Host,
    steps: Sequence[Step],
    probes: Sequence[Probe] = (),
    bootstrap: bool = False,
) -> HostResult:
    """Carry out steps and probes on one host in the result's mode; errors are in the result."""
    if result.mode == DO:
        _keep_secrets(run)
    script = compile_script(steps, probes, result.mode, run.journal.who, run.noted(host))
    began = time.monotonic()
    try:
        reader = _send(run, host, script, bootstrap)
    except SettingsError:
        raise
    except RunbookError as error:
        unreachable = isinstance(error, UnreachableError)
        result.status = Status.UNREACHABLE if unreachable else Status.FAILED
        result.sentence = str(error)
        if isinstance(error, UnreachableError):
            run.lose(host, error)
        return result
    finally:
        result.seconds = time.monotonic() - began
    offset = len(script.parts) - len(probes)
    for part in reader.results:
        if part.index >= offset:
            _judge(part, probes[part.index - offset], result.section, host)
        elif part.status is Status.DIFFERS and part.output:
            part.output = without_passwords("\n".join(part.output)).split("\n")
        elif part.status is Status.CHANGED and _tells(steps, part.index):
            part.status = Status.RAN
        result.add(part)
    if result.mode == PLAN:
        _note(run.noted(host), reader, steps)
    _ending(run, result, host, reader)
    result.seconds = time.monotonic() - began
    return result


def _send(run: Run, host: Host, script: Script, bootstrap: bool) -> Reader:
    def progress(reader: Reader) -> None:
        title = reader.current.title if reader.current else ""
        run.report.progress(host, title, len(reader.results), len(script.parts))

    run.connections.open(host, bootstrap)
    reader: Reader = run.connections.run(host, script, progress)
    return reader


def _tells(steps: Sequence[Step], index: int) -> bool:
    """Whether the part's output is shown; parts after the steps are their handlers."""
    return index < len(steps) and steps[index].shows_output


def _judge(part: StepResult, question: Probe, section: str, host: Host) -> None:
    answer = Answer("\n".join(part.output), part.code)
    part.judged(question.finding(answer, section, host.name))


def _note(noted: set[str], reader: Reader, steps: Sequence[Step]) -> None:
    """Note what a plan would leave for later tasks."""
    for part in reader.results:
        if part.status is Status.DIFFERS and part.index < len(steps):
            step = steps[part.index]
            noted.update(handler.name for handler in step.notify if not handler.apply)
            noted.difference_update(handler.name for handler in step.clears)


def _ending(run: Run, result: HostResult, host: Host, reader: Reader) -> None:
    """Set the result's status by the way the script ended."""
    if reader.rebooting and reader.current:
        _await_reboot(run, result, host, reader.current)
    elif reader.holder is not None:
        result.status = Status.REFUSED
        result.sentence = (
            f"{host.name}: another run is in progress there, by {reader.holder}. "
            "Wait for it or stop it, then rerun."
        )
    elif not reader.finished and not result.count(Status.REFUSED, *BROKEN):
        result.status = Status.FAILED
        step = f" at: {reader.current.title}" if reader.current else ""
        result.sentence = f"{host.name}: the script ended early{step}. Rerunning is safe."


def _keep_secrets(run: Run) -> None:
    """Save new passwords before a host gets them."""
    names = run.cluster.vault.keep()
    if names:
        run.report.say(f"  generated and kept in {run.cluster.vault.file}: {', '.join(names)}")


def _await_reboot(run: Run, result: HostResult, host: Host, part: StepResult) -> None:
    """Wait until the host answers with another boot id and has settled."""
    old = part.output[0] if part.output else ""
    deadline = time.monotonic() + REBOOT_PATIENCE
    while time.monotonic() < deadline:
        run.report.progress(host, "rebooting", 0, 1)
        run.connections.drop(host)
        time.sleep(0.5 + random.random() / 2)
        try:
            run.connections.open(host)
            answer = next(iter(ask(run, host, [SETTLED])), Answer(""))
        except RunbookError:  # refused logins too: as long as it boots, only root gets in
            continue
        if answer.words and answer.words[0] != old:
            part.status, part.output = Status.CHANGED, []
            result.add(part)
            if "degraded" in answer.text:
                title = "a unit has failed since the reboot: see systemctl --failed"
                result.add(StepResult(title, "", Status.WARN))
            return
    part.status = Status.FAILED
    result.add(part)
    result.sentence = f"{host.name} did not come back within {REBOOT_PATIENCE} s after its reboot."


def ask(run: Run, host: Host, commands: Sequence[str]) -> list[Answer]:
    """Ask questions over the host's open connection; no answers if some are missing."""
    probes = [probe("", command, lambda answer: Verdict(OK)) for command in commands]
    reader = run.connections.run(host, compile_script([], probes, CHECK), lambda reader: None)
    if not reader.complete:
        return []
    return [Answer("\n".join(part.output), part.code) for part in reader.results]


def take(
    run: Run, task: str, host: Host, steps: Sequence[Step], mode: Mode, bootstrap: bool = False
) -> HostResult:
    """Carry out some steps of a task on one host, apart from the whole task."""
    return converse(run, HostResult(task, host.name, mode), host, steps, bootstrap=bootstrap)
