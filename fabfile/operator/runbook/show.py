"""`inv runbook.show`: the runbook for a person who types."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

from invoke import Context, Exit, task

from runbook.errors import UNREACHABLE, UsageError
from runbook.execute.session import in_sentences

from ..session import session

FORMATS = ("text", "markdown", "html")
HELP = {
    "section": "a section, or one task of it; --section is optional (default: the whole runbook)",
    "host": "only what is typed on these hosts: sql1,@rabbitmq",
    "format": "text, which can be pasted into a root shell; markdown; or html, a single file",
    "ask": "connect, and fill in what depends on the current state of the servers",
}


@task(positional=["section"], help=HELP)
@in_sentences
def show(
    c: Context, section: str = "", host: str = "", format: str = "text", ask: bool = False
) -> None:
    """Print the runbook with real addresses, as commands to type by hand.

    It connects to no host, unless --ask is given. Passwords are placeholders such as
    @rabbitmq_admin@.
    """
    if format not in FORMATS:
        raise UsageError(f"{format} is not a format; available: {', '.join(FORMATS)}.")
    from runbook.execute.run import Options

    from ..session import configured

    if not ask:
        print(page(configured(), section, host, format), end="")
        return
    # What is said on the way is not part of the page.
    with redirect_stdout(sys.stderr), session(Options(hosts=host)) as run:
        text = page(run.cluster, section, host, format, run.gather)
        silent = run.lost
    print(text, end="")
    for sentence in silent.values():
        print(sentence, file=sys.stderr)
    if silent:
        raise Exit(code=UNREACHABLE)


def page(cluster: Any, section: str, host: str, format: str, gather: Any = None) -> str:
    """The runbook as text in one of the formats."""
    from runbook.declare.by_hand import SHELL
    from runbook.declare.templates import render

    from ... import CONTENTS
    from .chapters import Author, written

    hosts = cluster.select(host) if host else list(cluster.hosts.values())
    chapters = written(Author(cluster, hosts, gather), CONTENTS.sections, section, hosts)
    context = {
        "cluster": cluster,
        "chapters": chapters,
        "hosts": hosts,
        "shell": SHELL,
        "asked": bool(gather),
        "again": " ".join(
            ["inv runbook.show", *filter(None, [section, host and f"--host {host}"]), "--ask"]
        ),
    }
    return render(f"runbook/{format}.j2", context)
