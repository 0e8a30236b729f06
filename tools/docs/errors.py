"""docs/errors.md: exit codes, what a host may end in, and every sentence an error may say."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from runbook import errors
from runbook.declare.templates import PROJECT
from runbook.results import Status

from .markdown import MADE, code, table

INTRODUCTION = (
    f"{MADE}\n\n# When something goes wrong\n\n"
    "Whatever goes wrong ends in a sentence that names the thing and the way out, and in "
    "one of these exit codes. (`inv cluster.status` alone has codes of its own: "
    "[status.md](status.md).) What each finding of a `check` means is in the page of its "
    "subsystem: [postgres.md](postgres.md), [rabbitmq.md](rabbitmq.md), [nfs.md](nfs.md), "
    "[haproxy.md](haproxy.md), [airflow.md](airflow.md).\n\n"
    "A traceback is a fault of this software: it goes to a file, which the last line names. "
    "The hosts are safe to rerun on then, too."
)

MEANING = {
    "unreachable": (
        "no usable connection; the others went on",
        "look at the host, then rerun",
    ),
    "failed": (
        "a step or a command on it failed; its later steps were not begun",
        "read the command and its last lines, fix the cause, rerun",
    ),
    "refused": (
        "nothing was done there, because something that is there must not be overwritten or lost",
        "the sentence says what was found, and who decides",
    ),
    "error": ("a check found a fault", "the line below it says what to type"),
    "unknown": (
        "could not be judged, or planned, as something is not there yet",
        "run what makes it first, or bring that host up",
    ),
    "differs": (
        "a check or a plan found another state than hosts.yaml asks for",
        "`fab SECTION --plan` shows how; `fab SECTION` changes it",
    ),
    "warn": ("a check found what may become a fault; exit code 0", "read it by daylight"),
    "changed": ("it was not as wanted, and is now", "nothing"),
    "ran": ("a command that runs each time did", "nothing"),
    "ok": ("all is as wanted", "nothing"),
}
"""What a host may end in, the gravest first, and what to do."""


def page() -> str:
    """The whole page."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.RunbookError)
    ]
    parts = [
        INTRODUCTION,
        f"## Exit codes\n\n{table(('code', 'meaning'), exit_codes())}",
        "## What a host may end in\n\n"
        + table(
            ("word", "meaning", "what to do"),
            [(str(word), *MEANING[word]) for word in Status if word in MEANING],
        ),
        "## Kinds of errors\n\n"
        + table(
            ("kind", "code", "meaning", "what to do"),
            [kind_row(kind) for kind in kinds if kind is not errors.RunbookError],
        ),
        "## Every sentence\n\n`…` stands for what differs from case to case. What is in "
        "brackets after the heading is the exit code.",
    ]
    said = sentences()
    for kind in kinds:
        if said.get(kind.__name__):
            lines = "\n".join(f"- {sentence}" for sentence in sorted(said[kind.__name__]))
            parts.append(f"### {kind.__name__} ({kind.exit_code})\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def exit_codes() -> Iterator[tuple[str, str]]:
    """A row for each exit code, from what is written under its name."""
    yield code("0"), "All is well."
    body = ast.parse(inspect.getsource(errors)).body
    for assignment, text in zip(body, body[1:]):
        if (
            isinstance(assignment, ast.Assign)
            and isinstance(assignment.value, ast.Constant)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            yield code(str(assignment.value.value)), str(text.value.value)


def kind_row(kind: type[errors.RunbookError]) -> tuple[str, str, str, str]:
    """A kind of error: its class says what it means, and what to do."""
    meaning, _, remedy = (inspect.getdoc(kind) or "").partition("\n\n")
    return code(kind.__name__), code(str(kind.exit_code)), meaning, remedy


def sentences() -> dict[str, set[str]]:
    """What is raised anywhere in the product, by the kind of error."""
    said: dict[str, set[str]] = {}
    for file in sorted((*PROJECT.glob("runbook/**/*.py"), *PROJECT.glob("fabfile/**/*.py"))):
        for kind, sentence in _raised(file):
            said.setdefault(kind, set()).add(sentence)
    return said


def _raised(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
            sentence = " ".join(_said(call.args[0]).split())
            if sentence.strip("… "):
                yield call.func.id, sentence


def _said(node: ast.expr) -> str:
    """A text of the source with `…` in the place of what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_said(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _said(node.left) + _said(node.right)
    return "…"
