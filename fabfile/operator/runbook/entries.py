"""The journal's entries, read back: filtered, and put together as runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from json import loads
from pathlib import Path
from typing import Any, Optional

from runbook.declare.probes import CLUSTER_WIDE
from runbook.errors import SettingsError, UsageError
from runbook.inventory.entry import perhaps

WRONG = {"failed", "unconvinced", "refused", "unreachable", "error"}
"""Results that `--failed` shows."""

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MOMENTS = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")


@dataclass(frozen=True)
class Entry:
    """One line of the journal. Lines from before runs had ids have no id."""

    data: dict[str, Any] = field(repr=False)

    def text(self, key: str) -> str:
        """The value of a key; empty if it has none."""
        return str(self.data.get(key) or "")

    @property
    def seconds(self) -> float:
        """How long it took."""
        value = self.data.get("seconds")
        return float(value) if isinstance(value, (int, float)) else 0.0

    @property
    def moment(self) -> Optional[datetime]:
        """When it was written."""
        return _moment(self.text("when"), MOMENTS[:1])

    @property
    def of_a_step(self) -> bool:
        """Whether it concerns a step, and not its host as a whole."""
        return bool(self.text("step"))


def journal(state: Path) -> list[Entry]:
    """All entries, the oldest first; a line that a full disk cut short is left out."""
    file = state / "journal.jsonl"
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        raise UsageError(f"There is no journal in {state} yet.") from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None
    return [Entry(data) for data in map(_understood, lines) if data]


def _understood(line: str) -> dict[str, Any]:
    try:
        data = loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


@dataclass(frozen=True)
class Filter:
    """Which entries to show; empty fields do not filter."""

    host: str = ""
    task: str = ""
    run: str = ""
    failed: bool = False
    since: str = ""

    def of(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those entries; UsageError for a host, task or run that the journal has never seen."""
        _known("host", self.host, {one.text("host") for one in entries})
        tasks = {one.text("task") for one in entries}
        sections = {task.partition(".")[0] for task in tasks}
        _known("task", self.task, tasks | sections)
        run = found_run(self.run, entries) if self.run else ""
        since = since_moment(self.since) if self.since else None
        return [one for one in entries if self._fits(one, run, since)]

    def _fits(self, entry: Entry, run: str, since: Optional[datetime]) -> bool:
        task = entry.text("task")
        return (
            (not self.host or entry.text("host") == self.host)
            and (not self.task or task == self.task or task.startswith(f"{self.task}."))
            and (not run or entry.text("run") == run)
            and (not self.failed or entry.text("result") in WRONG)
            and (not since or bool(entry.moment and entry.moment >= since))
        )


def _known(what: str, word: str, known: Iterable[str]) -> None:
    words = sorted(filter(None, known))
    if word and word not in words:
        raise UsageError(f"The journal has no {what} {word}{perhaps(word, words)}.")


def found_run(name: str, entries: Sequence[Entry]) -> str:
    """The id of a run, of which the beginning is enough; UsageError if there is none or several."""
    ids = list(dict.fromkeys(filter(None, (one.text("run") for one in entries))))
    if name in ids:
        return name
    found = [one for one in ids if one.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"Several runs begin with {name}: {', '.join(found[-5:])}.")
    raise UsageError(f"The journal has no run {name}{perhaps(name, ids)}; see inv runbook.runs.")


def since_moment(text: str) -> datetime:
    """`90m`, `2h`, `3d`, `1w` ago, `14:30` today, `2026-11-22` or `2026-11-22 14:30`."""
    now = datetime.now().astimezone()
    ago = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if ago:
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}", text):
        text = f"{now:%Y-%m-%d} {text}"
    found = _moment(text, MOMENTS)
    if not found:
        raise UsageError(
            f"--since {text!r} is not a point in time; write 90m, 2h, 3d, 14:30, 2026-11-22 or "
            "'2026-11-22 14:30'."
        )
    return found if found.tzinfo else found.astimezone()


def _moment(text: str, forms: Sequence[str]) -> Optional[datetime]:
    for form in forms:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None


@dataclass
class RunEntries:
    """The entries of one run."""

    id: str
    entries: list[Entry] = field(default_factory=list)

    @property
    def tasks(self) -> list[str]:
        """Its tasks, in order."""
        return list(dict.fromkeys(one.text("task") for one in self.entries if one.text("task")))

    @property
    def modes(self) -> list[str]:
        """do, plan, check."""
        return list(dict.fromkeys(one.text("mode") for one in self.entries if one.text("mode")))

    @property
    def hosts(self) -> list[str]:
        """Its hosts."""
        names = dict.fromkeys(one.text("host") for one in self.entries)
        return [name for name in names if name not in ("", CLUSTER_WIDE)]

    @property
    def seconds(self) -> float:
        """Seconds from the start of the first host to the end of the last one, in whole seconds."""
        spans = [
            (one.moment - timedelta(seconds=one.seconds), one.moment)
            for one in self.entries
            if one.moment
        ]
        if not spans:
            return 0.0
        return (max(end for _, end in spans) - min(begin for begin, _ in spans)).total_seconds()

    def count(self, *results: str) -> int:
        """How many steps, or hosts without entries of steps, had one of these results."""
        steps = [one for one in self.entries if one.of_a_step]
        spoken_for = {(one.text("task"), one.text("host")) for one in steps}
        rest = [
            one
            for one in self.entries
            if not one.of_a_step and (one.text("task"), one.text("host")) not in spoken_for
        ]
        return sum(one.text("result") in results for one in (*steps, *rest))


def runs(entries: Sequence[Entry]) -> list[RunEntries]:
    """The runs, the oldest first; entries without an id are one run without a name."""
    found: dict[str, RunEntries] = {}
    for entry in entries:
        name = entry.text("run")
        found.setdefault(name, RunEntries(name)).entries.append(entry)
    return list(found.values())
