"""A run as the command line opens and closes it, for `fab` and for `inv`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

import invoke

from runbook.declare.templates import PROJECT
from runbook.errors import INTERRUPTED, RunbookError

if TYPE_CHECKING:
    from runbook.declare.contents import Contents
    from runbook.execute.run import Options, Run

Function = TypeVar("Function", bound=Callable[..., Any])


@contextmanager
def session(
    contents: Contents, options: Options, as_json: bool = False, config: Optional[Any] = None
) -> Iterator[Run]:
    """A run of a runbook on the configured inventory, whose connections are closed at the end.

    `config` is Fabric's configuration; without it (in `inv`) the project's own is read.
    """
    from runbook.execute.journal import Journal
    from runbook.execute.run import Run
    from runbook.output.report import Report
    from runbook.secrets.mask import Mask
    from runbook.secrets.vault import Passwords

    mask = Mask()
    cluster = contents.configured(mask)
    report = Report(mask, as_json=as_json, order=list(cluster.hosts))
    run = Run(
        contents=contents,
        cluster=cluster,
        options=options,
        report=report,
        config=config or _own_config(),
        journal=Journal(cluster.state, mask),
        passwords=Passwords(mask, report.ask),
    )
    cluster.vault.ask = run.passwords.get
    cluster.vault.learn()
    for warning in cluster.warnings:
        report.say(f"warning: {warning}")
    try:
        yield run
    except Exception as error:
        error.args = mask.all(error.args)
        raise
    except KeyboardInterrupt:
        report.task_ends()
        print(
            "\nInterrupted. Each host finishes its current step; rerunning is safe.",
            file=sys.stderr,
        )
        raise invoke.Exit(code=INTERRUPTED) from None
    finally:
        report.close()
        run.close()


def _own_config() -> Any:
    """Return the project's Fabric configuration without ssh_config, which ssh itself reads."""
    from fabric import Config
    from paramiko import SSHConfig

    return Config(project_location=str(PROJECT), ssh_config=SSHConfig())


def in_sentences(function: Function) -> Function:
    """An `inv` task whose errors end it with one sentence and the right exit code."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except RunbookError as error:
            raise invoke.Exit(str(error), error.exit_code) from None
        except KeyboardInterrupt:
            raise invoke.Exit("\nInterrupted.", INTERRUPTED) from None

    return guarded  # type: ignore[return-value]
