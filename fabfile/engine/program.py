"""The command `fab`: Fabric's, with hosts and groups of hosts.yaml, in parallel."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import invoke
from fabric.executor import Executor as FabricExecutor
from fabric.main import Fab
from invoke import Argument

from .errors import FAILED, USAGE, RunbookError
from .section import SectionTask


class Executor(FabricExecutor):
    """Runs section tasks on hosts.yaml's hosts in parallel; nothing falls back to this machine."""

    def execute(self, *tasks: Any) -> dict[Any, Any]:
        """Run the tasks in the order given, then the command after `--`, if any."""
        try:
            code = self._execute(self.normalize(tasks))
        except RunbookError as error:
            raise invoke.Exit(str(error), error.exit_code) from None
        if code:
            raise invoke.Exit(code=code)
        return {}

    def _execute(self, calls: list[Any]) -> int:
        from .inventory import load_configured
        from .journal import Journal
        from .report import Report
        from .run import Options, Run
        from .secrets import Mask, Passwords

        if not calls and not self._flag("hosts"):
            raise invoke.Exit("Which hosts? For example: fab -H @postgres -- uptime", USAGE)
        cluster = load_configured()
        mask = Mask()
        report = Report(mask, as_json=bool(self._flag("json")), order=list(cluster.hosts))
        run = Run(
            cluster=cluster,
            options=Options(
                hosts=self._flag("hosts") or "",
                plan=bool(self._flag("plan")),
                dry=bool(self.config.run.dry),
                yes=bool(self._flag("yes")),
                keep_going=bool(self._flag("keep-going")),
            ),
            report=report,
            config=self.config,
            journal=Journal(cluster.state, mask),
            passwords=Passwords(mask, report.ask),
        )
        for warning in cluster.warnings:
            report.say(f"warning: {warning}")
        try:
            self._perform(run, calls)
        except KeyboardInterrupt:
            report.task_ends()
            print(
                "\nInterrupted. Each host finishes the step it is at; rerunning is safe.",
                file=sys.stderr,
            )
            return 130
        finally:
            report.close()
            run.close()
        if not run.options.dry:
            report.recap(run.exit_code)
        return run.exit_code

    def _perform(self, run: Any, calls: list[Any]) -> None:
        for call in calls:
            if not isinstance(call.task, SectionTask):
                raise RunbookError(f"{call.called_as} is not a task of this project's sections.")
            run.hosts_for(call.task.work)
        for number, call in enumerate(calls, 1):
            if not run.perform(call.task.work, dict(call.kwargs)):
                left = [later.called_as for later in calls[number:]]
                if left:
                    run.report.say(f"\nnot started: {', '.join(left)} (--keep-going would)")
                return
        if self.core.remainder:
            run.ad_hoc(self.core.remainder)

    def _flag(self, name: str) -> Any:
        arguments = self.core[0].args
        return arguments[name].value if name in arguments else None


class RunbookFab(Fab):
    """Fabric's program plus the options that hold for a whole run."""

    def core_args(self) -> list[Argument]:
        """Fabric's options and ours; like Fabric's, they may stand before or after task names."""
        return [
            *super().core_args(),
            Argument(
                names=("plan",),
                kind=bool,
                help="Connect, change nothing, show what would change.",
            ),
            Argument(names=("json",), kind=bool, help="Print one JSON document instead of text."),
            Argument(names=("yes",), kind=bool, help="Answer yes to every question."),
            Argument(
                names=("keep-going",),
                kind=bool,
                help="Start the next task even if a host failed in this one.",
            ),
        ]

    def parse_core(self, argv: list[str] | None) -> None:
        """Fabric's parsing, with this project's exit code for a wrong command line."""
        with _usage_errors():
            super().parse_core(argv)

    def parse_tasks(self) -> None:
        """Likewise for task names and their options."""
        with _usage_errors():
            super().parse_tasks()

    def load_collection(self) -> None:
        """Load the sections and fabric.yaml, also for `fab -H … -- command`."""
        invoke.Program.load_collection(self)

    def list_tasks(self) -> None:
        """The sections in the runbook's order; `fab --list SECTION` shows one."""
        if self.list_format != "flat" or not hasattr(self.scoped_collection, "tasks"):
            super().list_tasks()
            return
        sections = self.scoped_collection.collections or {"": self.scoped_collection}
        print("Available tasks, in the runbook's order; a section's name alone runs its tasks:\n")
        listed = [_lines(name or self.list_root, section) for name, section in sections.items()]
        width = max(len(name) for lines in listed for name, _ in lines)
        for lines in listed:
            self.print_columns([(f"{name:<{width}}", about) for name, about in lines])


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except invoke.ParseError as error:
        raise invoke.Exit(str(error), USAGE) from None


def _lines(name: str, section: invoke.Collection) -> list[tuple[str, str]]:
    """A section and its tasks, each with the first line of its docstring."""
    return [
        (name, _first_line(section[section.default])),
        *(
            (f"  {name}.{task_name}", _first_line(task))
            for task_name, task in section.tasks.items()
            if task_name != section.default
        ),
    ]


def _first_line(task: invoke.Task) -> str:
    return str(task.__doc__).splitlines()[0]


def main() -> None:
    """Run `fab`; whatever happens, the user reads a sentence and not a traceback."""
    import fabric

    program = RunbookFab(
        name="Fabric",
        binary="fab",
        binary_names=["fab"],
        version=fabric.__version__,
        executor_class=Executor,
        config_class=fabric.Config,
    )
    try:
        program.run()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception:
        report = Path(tempfile.gettempdir()) / f"fab-error-{os.getpid()}.txt"
        report.write_text(traceback.format_exc(), encoding="utf-8")
        print(f"fab met an error of its own; please report it with {report}.", file=sys.stderr)
        sys.exit(FAILED)
