"""`inv runbook.walk`: the runbook step by step, with a person who decides."""

from __future__ import annotations

from invoke import Context, Exit, task

from runbook.execute.session import in_sentences

from ..session import session

HELP = {
    "section": "a section, or one task of it; --section is optional (default: the whole runbook)",
    "host": "only on these hosts: sql1,@rabbitmq",
    "afresh": "begin at the first step, and ask again about skipped steps",
}


@task(positional=["section"], help=HELP)
@in_sentences
def walk(c: Context, section: str = "", host: str = "", afresh: bool = False) -> None:
    """Walk through the runbook, and decide about each step that differs.

    For each step that differs from the wanted state, type a letter: r runs it, s skips it, d shows
    what would change, h opens a root shell there, q quits. The next walk continues there, also if
    another person starts it.
    """
    from runbook.execute.run import Options

    from ... import CONTENTS
    from .bookmark import Bookmark, Walk
    from .chapters import wanted
    from .person import Console
    from .walker import Walker

    sections = wanted(CONTENTS.sections, section)
    person = Console()
    with session(Options(hosts=host)) as run:
        part = " on ".join(filter(None, [section or "all", host]))
        bookmark = Bookmark(run.cluster.state, part, run.journal.who)
        if afresh:
            bookmark.open()
            bookmark.move(lambda found: Walk())
        again = " ".join(["inv runbook.walk", *filter(None, [section, host and f"--host {host}"])])
        code = Walker(run, person, bookmark, again).walk(sections)
    if code:
        raise Exit(code=code)
