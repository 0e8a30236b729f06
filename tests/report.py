#!/usr/bin/env python3
"""Write a run's ledger as a page: what was tested, where the time went, what was measured.

.venv/bin/python tests/report.py .tests/long.jsonl >docs/test-long.md
Exit code 1 if a test has failed, or none has run.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from support.ledger import Result, git, read, seconds, table  # noqa: E402


def page(file: Path, results: list[Result]) -> Iterator[str]:
    """The page's lines."""
    failed = [result for result in results if result.outcome == "failed"]
    commit = git("rev-parse", "--short", "HEAD")
    verdict = f"{len(failed)} failed" if failed else "none failed"
    day = time.strftime("%F", time.gmtime(file.stat().st_mtime))
    yield "# The last long test run"
    yield ""
    yield (
        f"`make test-long` at {commit}, ended {day}: {len(results)} tests, {verdict}; "
        f"{seconds(results) / 60:.0f} minutes of tests, two labs at once, on "
        f"Linux {platform.release()}, Python {platform.python_version()}."
    )
    for result in failed:
        yield f"\n**Failed**: {result.test}"
    yield "\n## Where the time goes\n"
    yield from table(results)
    yield "\n## What was measured\n"
    for result in results:
        name = result.test.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        for figure in result.figures:
            yield f"- {name}: {figure}"


def main() -> int:
    """0 if tests have run, and none has failed."""
    file = Path(sys.argv[1])
    _, results = read(file)
    print("\n".join(page(file, results)))
    return not results or any(result.outcome == "failed" for result in results)


if __name__ == "__main__":
    sys.exit(main())
