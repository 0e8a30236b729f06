"""`inv cluster.status` looks once, every few seconds, or until all is well; `report` draws it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from runbook.errors import UsageError
from runbook.execute.session import in_sentences
from runbook.output.terminal import drawable
from runbook.visible import in_json, visible

from ..session import session

if TYPE_CHECKING:
    from runbook.execute.run import Run

    from .picture import Picture

PAUSE = 5
"""Seconds between two looks of --watch."""
SHORT_PAUSE = 4
"""Seconds between two looks of --wait, at least."""
THOROUGH = "also check what takes long: what is installed, each worker by Celery, time sources"


@task(
    auto_shortflags=False,
    help={
        "watch": "look again every few seconds, until Ctrl-C",
        "json": "as one JSON document (docs/status.md); with --watch one in each line",
        "wait": "seconds: look again until all is OK, at most that long",
        "thorough": THOROUGH,
    },
)
@in_sentences
def status(
    c: Context,
    watch: bool = False,
    json: bool = False,
    wait: str = "",
    thorough: bool = False,
) -> None:
    """Show who leads, what is wrong, how to fix it, and what redundancy is left.

    It asks all servers at once, and changes nothing. Exit codes: 0 all is OK, 1 a warning,
    2 an error, 3 a host could not be reached from here and nothing worse is known.
    """
    from runbook.execute.run import Options

    patience = seconds(wait)
    if watch and wait:
        raise UsageError("--watch and --wait cannot be used together.")
    with session(Options(), as_json=json) as run:
        if watch:
            watching(run, json, thorough)
            return
        picture = awaited(run, patience, thorough)
        show(run, picture, json)
    if picture.exit_code:
        raise Exit(code=picture.exit_code)


def seconds(wait: str) -> float:
    """The value of --wait; UsageError if it is not a number of seconds."""
    if not wait:
        return 0.0
    if not wait.isdigit():
        raise UsageError(f"--wait {wait!r} is not a number of seconds; for example: --wait 300")
    return float(wait)


def awaited(run: Run, patience: float, thorough: bool) -> Picture:
    """The first picture that is OK, or the last one when the time is over.

    A pause is as long as the look before it: servers that start need their processors.
    """
    from .look import look

    deadline = time.monotonic() + patience
    while True:
        began = time.monotonic()
        picture = look(run, thorough)
        pause = max(SHORT_PAUSE, time.monotonic() - began)
        if not picture.exit_code or time.monotonic() + pause > deadline:
            return picture
        time.sleep(pause)


def show(run: Run, picture: Picture, as_json: bool, indent: int | None = 2) -> None:
    """Print a picture, with every secret masked."""
    from .document import document
    from .text import text

    if not as_json:
        run.report.say(text(picture))
        return
    told = run.report.masked(document(picture))
    print(in_json(told, indent=indent), flush=True)


def watching(run: Run, as_json: bool, thorough: bool) -> None:
    """Look again and again; a terminal is redrawn, anything else gets one picture after another."""
    from .look import look

    try:
        if sys.stdout.isatty() and not as_json:
            redrawing(run, thorough)
        while True:
            show(run, look(run, thorough), as_json, indent=None)
            if not as_json:
                run.report.say()
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        return


def redrawing(run: Run, thorough: bool) -> None:
    """Redraw the picture in its place; the last one stays when it ends."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from .look import look
    from .text import text

    picture = None
    try:
        console = Console(file=drawable(sys.stdout))
        looking = Text("looking …", style="dim")
        with Live(looking, console=console, auto_refresh=False, screen=True) as live:
            while True:
                picture = look(run, thorough)
                height = live.console.height - 2
                said = visible(run.report.masked(text(picture, height)))
                live.update(Text(f"{said}\n\nevery {PAUSE} s; Ctrl-C ends it"), refresh=True)
                time.sleep(PAUSE)
    finally:
        if picture:
            run.report.say(text(picture))


@task(
    auto_shortflags=False,
    help={
        "html": "the file to write; it is self-contained, and can be sent to others",
        "thorough": THOROUGH,
    },
)
@in_sentences
def report(c: Context, html: str, thorough: bool = False) -> None:
    """Write an HTML page: a drawing of the cluster, what is wrong, every check.

    Exit codes as for cluster.status.
    """
    from runbook.execute.run import Options
    from runbook.secrets.private_file import write_private

    from .document import document
    from .drawing import drawing
    from .look import look
    from .page import page

    path = Path(html).expanduser()
    writable(path)
    with session(Options()) as run:
        picture = look(run, thorough)
        told = run.report.masked(document(picture))
        text = run.report.masked(page(told, drawing(picture)))
        write_private(path, text.encode(), mode=0o644)
    print(f"{picture.cluster.name} is {picture.word}: {path}")
    if picture.exit_code:
        raise Exit(code=picture.exit_code)


def writable(path: Path) -> None:
    """Refuse before anything is asked if the file cannot be written."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file: --html {path / 'status.html'}")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it: mkdir -p {path.parent}")
