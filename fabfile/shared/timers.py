"""Work that systemd starts on a schedule, and whether it was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from runbook.declare import steps
from runbook.declare.answers import Count, UnitState, one
from runbook.declare.probes import OK, WARN, Cause, Finding, Findings, Verdict
from runbook.declare.step import Steps
from runbook.output.quantities import duration

HOUR = 3600
DAY = 24 * HOUR

STAMPS = "/var/lib/systemd/timers"
"""systemd's files whose times say when a timer last elapsed, or began to wait for the first time.

They outlast a reboot (systemd.timer(5), "Persistent=").
"""


@dataclass(frozen=True)
class Timer:
    """A timer and its service, called `name`. `every`: seconds from one run to the next."""

    name: str
    about: str
    calendar: str
    every: int = DAY


@dataclass(frozen=True)
class Ran:
    """A timer on a host: does it run, how did its service last end, seconds since it elapsed."""

    scheduled: bool
    result: str
    age: int


def scheduled(timer: Timer, source: str, context: Mapping[str, Any]) -> Steps:
    """The service, from `files/SOURCE`, runs on schedule."""
    about = {"about": timer.about, "calendar": timer.calendar}
    yield steps.unit(f"{timer.name}.service", source, {**context, **about})
    name = f"{timer.name}.timer"
    again = steps.restarted(name)
    yield steps.unit(name, "shared/timer.j2", about).then(again)
    yield steps.service(name).clearing(again)


def off(timer: Timer) -> Steps:
    """Nothing is done on schedule any more."""
    yield steps.service_off(f"{timer.name}.timer")


def question(timers: Sequence[Timer]) -> str:
    """Commands whose output `answers` understands."""
    names = " ".join(timer.name for timer in timers)
    return f"""now=$(date +%s)
for name in {names}; do
  elapsed=$(stat -c %Y "{STAMPS}/stamp-$name.timer" 2>/dev/null || echo "$now")
  state=$(systemctl is-active "$name.timer") ended=$(systemctl show -p Result "$name.service")
  echo "$name $state ${{ended#*=}} $((now > elapsed ? now - elapsed : 0))"
done"""


def answers(text: str) -> dict[str, Ran]:
    """Parse the answer to `question`: each timer by its name."""
    told = {}
    for line in text.splitlines():
        name, state, result, age = line.split()
        scheduled = one(state, UnitState) == "active"
        told[name] = Ran(scheduled, one(result, UnitState), one(age, Count))
    return told


def done(
    title: str,
    wanted: Mapping[str, Sequence[Timer]],
    known: Mapping[str, Mapping[str, Ran]],
    fix: str,
    cause: Cause,
) -> Findings:
    """A finding: on each host that answers, what is scheduled is done. None if nothing is.

    `wanted`: the timers of each host.
    """
    asked = {name: timers for name, timers in wanted.items() if timers and name in known}
    troubles = [
        (name, timer, sentence)
        for name, timers in asked.items()
        for timer in timers
        if (sentence := trouble(timer, known[name].get(timer.name)))
    ]
    if troubles:
        said = "; ".join(f"{timer.name} on {name} {words}" for name, timer, words in troubles)
        units = " ".join(f"-u {unit}" for unit in sorted({one.name for _, one, _ in troubles}))
        way_out = f"see journalctl {units} there, then: {fix}"
        yield Finding(title, Verdict(WARN, said), way_out, cause)
    elif asked:
        yield Finding(title, Verdict(OK, f"on {', '.join(asked)}"))


def trouble(timer: Timer, ran: Optional[Ran]) -> str:
    """What is wrong with a timer; empty if its work was done when it was due."""
    if not ran or not ran.scheduled:
        return "is not scheduled"
    if ran.result != "success":
        return f"failed ({ran.result}), {duration(ran.age)} ago"
    if ran.age > timer.every + 2 * HOUR:
        return f"has not run for {duration(ran.age)}"
    return ""
