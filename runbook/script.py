"""Steps and probes as one bash script, and its answer as results."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from runbook.captured import Captured
from runbook.declare.probes import Probe
from runbook.declare.step import RUNTIME, Handler, Step, quote
from runbook.results import DO, Mode, Status, StepResult

STATUSES = {status.value: status for status in Status}
"""The statuses that an event may carry; `answer` and `rebooting` are not among them."""
LOCK_PATIENCE = 10
"""Seconds that a run waits for another one on the same host before it gives up."""
PROBE_LIMIT = 60
"""Seconds that a probe or a fact may take."""
FLOOD = 32 << 20
"""Bytes of an answer after which a host is not listened to any longer."""
LONGEST_EVENT = 100
"""The maximum length of an event in bytes."""


@dataclass
class Event:
    """One line of a script's answer that is meant for the controller."""

    kind: str
    index: int
    uptime: float
    code: int


@dataclass(frozen=True)
class Part:
    """One thing a script does: its title, its commands, its limit in seconds, its bash.

    `asks`: it is a question, and what it prints is the answer.
    """

    title: str
    command: str
    limit: int
    call: str
    asks: bool = False


@dataclass(frozen=True)
class Script:
    """A script for one host: its parts, the bash text, and the mark that its events start with."""

    parts: tuple[Part, ...]
    text: str
    mark: str


def compile_script(
    steps: Iterable[Step],
    probes: Iterable[Probe] = (),
    mode: Mode = DO,
    who: str = "",
    noted: Iterable[str] = (),
    runtime: str = RUNTIME,
    at_once: int = 0,
) -> Script:
    """One script for all steps, then the handlers they name, then the probes.

    `mode` is do, plan or check; only do takes the host's lock, and only do changes anything.
    `noted` are handlers that an earlier part of the same plan would have requested. `at_once`: the
    probes run at the same time, and each may take this many seconds.
    """
    steps = list(steps)
    handlers = {handler.name: handler for step in steps for handler in step.notify}
    parts = [_step_part(index, step) for index, step in enumerate(steps)]
    for handler in handlers.values():
        if handler.apply:
            parts.append(_handler_part(len(parts), handler))
    for question in probes:
        parts.append(_probe_part(len(parts), question, at_once))
    mark = f"\x1e{secrets.token_hex(8)} "
    calls = "\n".join(part.call for part in parts)
    return Script(
        tuple(parts),
        # Parsed as a whole before its first command runs: half a script does nothing at all.
        f"""airflow_runbook() {{
forget
noted=()
mark={quote(mark)} mode={mode} runtime={quote(runtime)}
paths=({_words(path for step in steps for path in step.paths)})
packages=({_words(name for step in steps for name in step.packages)})
units=({_words(unit for step in steps for unit in step.units)})
for note in {_words(noted)}; do noted[$note]=yes; done
{f"lock {quote(who)} {LOCK_PATIENCE} || return 0" if mode == DO else ""}
{calls}
{"hear" if at_once else ""}
event end -1
}}
airflow_runbook </dev/null
exec 9>&-
event over -1
""",
        mark,
    )


class Reader:
    """Turns a script's answer, as it arrives, into results.

    `finished`: the script has reached its end. `over`: it has stopped, there or earlier.
    `taken`: bytes of output since the present part began.
    """

    def __init__(self, script: Script) -> None:
        self.results: list[StepResult] = []
        self.current: StepResult | None = None
        self.holder: str | None = None
        self.finished = False
        self.over = False
        self.rebooting = False
        self.noise: list[str] = []
        self.taken = 0
        self._script = script
        self._pattern = re.compile(
            re.escape(script.mark).encode() + rb"([a-z_]{1,12}) (-1|\d{1,6}) (\d{1,15}) (\d{1,3})\n"
        )
        self._pending = b""
        self._output = Captured()
        self._began = 0.0
        self._index = -1
        self._begun: set[int] = set()

    @property
    def began(self) -> bool:
        """Whether the script itself has printed anything."""
        return bool(self.finished or self.over or self.results or self.current)

    @property
    def complete(self) -> bool:
        """Whether the script has reached its end, and each of its parts has a result."""
        parts = [part.index for part in self.results]
        return self.finished and parts == list(range(len(self._script.parts)))

    @property
    def flooded(self) -> bool:
        """Whether an answer has become longer than any that somebody reads."""
        part = self._script.parts[self._index] if self._index >= 0 else None
        return self.taken > FLOOD and (not part or part.asks)

    @property
    def limit(self) -> int:
        """Seconds within which the next event has to come."""
        if not self.current:
            return PROBE_LIMIT
        return self._script.parts[self._index].limit if self._index >= 0 else PROBE_LIMIT

    def feed(self, data: bytes) -> list[StepResult]:
        """Read more of the answer; returns the results that it completes."""
        self._pending += data
        self.taken += len(data)
        done: list[StepResult] = []
        while True:
            match = self._pattern.search(self._pending)
            if not match:
                self._take_all_but_an_event()
                return done
            self._output.add(self._pending[: match.start()])
            self._end_output()
            self._pending = self._pending[match.end() :]
            kind, index, uptime, code = match.groups()
            result = self._event(Event(kind.decode(), int(index), int(uptime) / 100, int(code)))
            if result:
                done.append(result)

    def close(self) -> None:
        """End the answer; what is left is output of the step that was in progress."""
        self._output.add(self._pending)
        self._end_output()
        self._pending = b""

    def _take_all_but_an_event(self) -> None:
        """Take as output everything that cannot be the beginning of an event."""
        begin = self._pending.rfind(self._script.mark[0].encode())
        if begin < 0 or len(self._pending) - begin > LONGEST_EVENT:
            begin = len(self._pending)
        self._output.add(self._pending[:begin])
        self._pending = self._pending[begin:]

    def _end_output(self) -> None:
        lines, self._output = self._output.end(), Captured()
        (self.current.output if self.current else self.noise).extend(lines)

    def _event(self, event: Event) -> StepResult | None:
        if not self._may_be(event):
            return None
        if event.kind == "end":
            self.finished = True
            return None
        if event.kind == "over":
            self.over = True
            return None
        if event.kind == "begin":
            self._index = event.index
            self._begun.add(event.index)
            self.taken = 0
            self._began = event.uptime
            part = self._script.parts[event.index] if event.index >= 0 else None
            self.current = StepResult(part.title if part else "lock", part.command if part else "")
            return None
        result = self.current
        assert result
        if event.kind == "locked":
            self.holder = " ".join(result.output).strip() or "unknown"
            self.current = None
            return None
        result.status = STATUSES.get(event.kind)
        result.code = event.code
        result.index = event.index
        result.seconds = max(0.0, event.uptime - self._began)
        if event.kind == "rebooting":
            self.rebooting = True
            return None
        self.current = None
        self.results.append(result)
        return result

    def _may_be(self, event: Event) -> bool:
        """Whether the script may say this now: a host that is not itself may say anything."""
        if event.kind in {"end", "over"}:
            return True
        if event.kind == "begin":
            return event.index < len(self._script.parts) and event.index not in self._begun
        return self.current is not None and event.index == self._index


def _step_part(index: int, step: Step) -> Part:
    notes = " ".join(handler.name for handler in step.notify)
    clears = " ".join(handler.name for handler in step.clears)
    return Part(
        step.title,
        step.shown,
        step.timeout,
        f"""want() {{ {step.test}; }}
render() {{ {step.render or ":"}; }}
differ() {{ {step.diff or ":"}; }}
text={quote(step.text)}
make={quote(step.apply)}
notes={quote(notes)}
clears={quote(clears)}
{_function(step)} {index} {step.timeout} || return 0""",
    )


def _function(step: Step) -> str:
    """The library function that carries out the step."""
    if step.guard:
        return "guard"
    if step.waits:
        return "waiting"
    return "reboot_step" if step.reboots else "step"


def _handler_part(index: int, handler: Handler) -> Part:
    return Part(
        handler.title,
        handler.apply,
        300,
        f"make={quote(handler.apply)}\nhandler {index} 300 {handler.name} || return 0",
    )


def _probe_part(index: int, question: Probe, at_once: int) -> Part:
    limit = at_once or PROBE_LIMIT
    ask = "ask" if at_once else "probe"
    return Part(
        question.title,
        question.command,
        limit,
        f"make={quote(question.command)}\n{ask} {index} {limit}",
        asks=True,
    )


def _words(words: Iterable[str]) -> str:
    return " ".join(quote(word) for word in dict.fromkeys(words))
