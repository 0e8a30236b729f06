"""A section as an Invoke namespace, and its tasks as Invoke parses and lists them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable

import invoke

from runbook.declare.work import ControllerTask, ProcedureTask, Work
from runbook.errors import RunbookError

if TYPE_CHECKING:
    from runbook.declare.contents import Contents


class SectionTask(invoke.Task):
    """A task as Invoke lists and parses it; the executor passes its `work` to a run."""

    def __init__(self, work: Work, contents: Contents, name: str, **options: Any) -> None:
        help_texts = {option.replace("_", "-"): text for option, text in work.help.items()}
        super().__init__(_body(work), name=name, help=help_texts, **options)
        self.work = work
        self.contents = contents


def _body(work: Work) -> Callable[..., None]:
    def body(context: Any, **options: Any) -> None:
        raise RunbookError(
            f"{work.name} cannot be run by this program; use .venv/bin/fab (created by make setup)."
        )

    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    if isinstance(work, (ControllerTask, ProcedureTask)):
        parameters += [
            parameter
            for parameter in inspect.signature(work.function).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    body.__doc__ = work.doc
    body.__name__ = work.short
    return body
