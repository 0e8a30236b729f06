"""What became of each test, how long it took, and how much of that was work: printed, and kept.

A ledger is a file of lines: first the hash of the tree that was tested, then one line for each
test. A run that was cut off goes on with `--resume`, which leaves out the files that have passed on
the same tree; not single tests, which may build on those before them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from support.controller import PROJECT
from support.states import TOLD, lab_name

from lab import cgroups
from lab.cache import key_of
from lab.errors import LabError
from lab.machine import Lab
from lab.network import tag_of

LONGEST = 20
"""How many tests the table at the end of a run names."""


@dataclass
class Result:
    """One test; seconds are those of its fixtures, too."""

    test: str
    outcome: str = "passed"
    seconds: float = 0
    cpu: float = 0
    figures: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        return self.test.partition("::")[0]


def git(*arguments: str) -> str:
    """What git says of this checkout."""
    return subprocess.run(
        ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.strip()


def tree() -> str:
    """The hash of what git knows, or would, of this checkout."""
    listed = git("ls-files", "-co", "--exclude-standard").splitlines()
    files = [PROJECT / name for name in listed if not name.startswith("docs/")]
    return key_of(*(file for file in files if file.is_file()))


def read(file: Path) -> tuple[str, list[Result]]:
    """The tree that was tested, and the results."""
    if not file.exists():
        return "", []
    first, *lines = file.read_text().splitlines()
    results = [Result(**json.loads(line)) for line in lines]
    return json.loads(first)["tree"], list({result.test: result for result in results}.values())


class Clock:
    """Seconds of CPU that this process, its children and its labs have used."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def used(self) -> float:
        """Since the last call. A counter falls when a host boots anew, as its group goes."""
        used = 0.0
        for name, seconds in self._counters():
            used += max(0.0, seconds - self.seen.get(name, 0.0))
            self.seen[name] = seconds
        return used

    def _counters(self) -> Iterator[tuple[str, float]]:
        yield "self", sum(os.times()[:4])
        labs = Lab.open(lab_name()).state.parent
        for state in labs.glob(f"{lab_name()}*"):
            tag = tag_of(state)
            try:
                text = (cgroups.group(tag).path / "cpu.stat").read_text()
            except (OSError, LabError):
                continue
            usage = next(line for line in text.splitlines() if line.startswith("usage_usec"))
            yield tag, int(usage.split()[1]) / 1e6


class Ledger:
    """The plugin; with several processes, each measures its tests, and the first one keeps them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.file: Path | None = config.getoption("ledger")
        self.keeps = not hasattr(config, "workerinput")
        self.results: dict[str, Result] = {}
        self.clock = Clock()

    def pytest_sessionstart(self) -> None:
        if not self.keeps or not self.file:
            return
        known, _ = read(self.file)
        if not self.config.getoption("resume") or known != tree():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps({"tree": tree()}) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if not self.config.getoption("resume") or not self.file:
            return
        passed = {result.test for result in read(self.file)[1] if result.outcome == "passed"}
        open_files = {item.path for item in items if item.nodeid not in passed}
        gone = [item for item in items if item.path not in open_files]
        self.config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item.path in open_files]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        report.cpu = self.clock.used()
        report.user_properties += [("figure", line) for line in TOLD]
        TOLD.clear()
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not self.keeps:
            return
        result = self.results.setdefault(report.nodeid, Result(report.nodeid))
        result.seconds += report.duration
        result.cpu += getattr(report, "cpu", 0.0)
        if report.failed:
            result.outcome = "failed"
        elif report.skipped and result.outcome == "passed":
            result.outcome = "skipped"
        for name, text in report.user_properties:
            if name == "figure" and text not in result.figures:
                result.figures.append(str(text))
                self._say(f"    {text}")
        if report.when == "teardown" and self.file:
            with self.file.open("a") as ledger:
                ledger.write(json.dumps(asdict(result)) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Nothing left to do is no error."""
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.config.getoption("resume"):
            session.exitstatus = pytest.ExitCode.OK

    def pytest_terminal_summary(self) -> None:
        if self.results:
            self._say("\n" + "\n".join(table(self.results.values())))

    def _say(self, text: str) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal:
            terminal.ensure_newline()
            terminal.write_line(text)


def table(results: Iterable[Result]) -> Iterator[str]:
    """Seconds by file, and the tests that took longest, as Markdown."""
    files: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        files[result.file].append(result)
    yield "| file | tests | minutes | seconds of CPU | share of waiting |"
    yield "| --- | --- | --- | --- | --- |"
    for file, ours in sorted(files.items(), key=lambda one: -seconds(one[1])):
        cpu = sum(result.cpu for result in ours)
        waiting = max(0.0, 1 - cpu / max(seconds(ours), 0.1))
        name = Path(file).name
        yield f"| {name} | {len(ours)} | {seconds(ours) / 60:.1f} | {cpu:.0f} | {waiting:.0%} |"
    yield ""
    yield "| what took longest | seconds |"
    yield "| --- | --- |"
    everything = [result for ours in files.values() for result in ours]
    for result in sorted(everything, key=lambda one: -one.seconds)[:LONGEST]:
        yield f"| {result.test.removeprefix('tests/lab/')} | {result.seconds:.0f} |"


def seconds(results: Iterable[Result]) -> float:
    return sum(result.seconds for result in results)
