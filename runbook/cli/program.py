"""The command `inv`, and what it shares with `fab`: how usage errors are reported."""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

import invoke
from invoke import Argument

from runbook.cli.checkout import OwnLoader
from runbook.declare.contents import Contents
from runbook.declare.namespace import SectionTask
from runbook.errors import FAILED, USAGE, RunbookError
from runbook.output.terminal import only_text

PASSWORDS = {
    "prompt-for-sudo-password": ("RUNBOOK_SUDO_PASSWORD", "sudo password: "),
    "prompt-for-login-password": ("RUNBOOK_BOOTSTRAP_PASSWORD", "Password on new hosts: "),
    "prompt-for-passphrase": ("RUNBOOK_KEY_PASSPHRASE", "Passphrase of the key: "),
}
"""Options that ask for a password at the start: the variable that it replaces, and the prompt."""


class Program(invoke.Program):
    """Invoke's program; a usage error ends with one sentence and exit code 2."""

    def parse_core(self, argv: list[str] | None) -> None:
        """Invoke's parsing, with our own completion scripts."""
        with _usage_errors():
            shell = _shell_to_complete(argv or sys.argv)
            if shell:
                from runbook.cli.completion import script

                print(script(shell, self.binary_names[0]), end="")
                raise invoke.Exit
            super().parse_core(argv)

    def parse_collection(self) -> None:
        """Invoke's search for the tasks."""
        with _usage_errors():
            super().parse_collection()

    def parse_tasks(self) -> None:
        """Invoke's parsing of task names and their options."""
        with _usage_errors():
            super().parse_tasks()

    def update_config(self, *arguments: Any, **options: Any) -> None:
        """Update the configuration; passwords asked for now are for this project's logins."""
        for name, (variable, question) in PASSWORDS.items():
            if name in self.args and self.args[name].value:
                self.args[name].value = False
                _ask_now(name, variable, question)
        super().update_config(*arguments, **options)

    def parse_cleanup(self) -> None:
        """Handle lists, help and completion, which run no task."""
        with _usage_errors():
            if self.args.complete.value:
                from runbook.cli.completion import hosts

                found = hosts(self.core.remainder, contents_of(self.collection))
                if found is not None:
                    print("\n".join(found))
                    raise invoke.Exit
                if self.core.remainder.split(" ")[-1].startswith("--"):  # also after a task's name
                    print("\n".join(_long(self.initial_context.flag_names())))
            super().parse_cleanup()


class RunbookInv(Program):
    """Invoke's program, with tasks that may have optional positional arguments."""

    def parse_tasks(self) -> None:
        """Parse task names, options and optional positional arguments."""
        self.core.unparsed[:] = self._with_flags(self.core.unparsed)
        super().parse_tasks()

    def _with_flags(self, words: list[str]) -> list[str]:
        """`runbook.show hosts` as `runbook.show --section hosts`, which Invoke can parse.

        An optional argument directly follows its task, which declares it as positional, with an
        empty default. One that may be given several times takes all words up to an option.
        """
        names = self.collection.task_names
        flagged: list[str] = []
        waiting: list[Argument] = []
        for word in words:
            if word in names:
                arguments = self.collection[word].get_arguments()
                waiting = [one for one in arguments if one.positional and _optional(one)]
            elif word.startswith("-"):
                waiting = []
            elif waiting:
                name = waiting[0].name
                flagged.append(f"--{name}" if len(name) > 1 else f"-{name}")
                if waiting[0].kind is not list:
                    del waiting[0]
            flagged.append(word)
        return flagged


def _optional(argument: Argument) -> bool:
    return argument.default == "" or argument.kind is list


def contents_of(collection: invoke.Collection) -> Contents:
    """The table of contents that a program's tasks come from."""
    tasks = (task for section in collection.collections.values() for task in section.tasks.values())
    return next(task.contents for task in tasks if isinstance(task, SectionTask))


def _ask_now(option: str, variable: str, question: str) -> None:
    from runbook.secrets.vault import Passwords

    if not sys.stdin.isatty():
        raise invoke.Exit(
            f"--{option} needs a terminal, but stdin is not a terminal. "
            f"Set {variable} in the environment.",
            USAGE,
        )
    try:
        Passwords.given[variable] = getpass.getpass(question)
    except EOFError:
        raise invoke.Exit("The password was not given.", USAGE) from None


def _long(flags: Iterable[str]) -> list[str]:
    return [flag for flag in flags if flag.startswith("--")]


def _shell_to_complete(argv: list[str]) -> str:
    """The value of --print-completion-script; empty if the option is not given."""
    option = "--print-completion-script"
    for word, following in zip(argv[1:], [*argv[2:], ""]):
        if word == option:
            return following or "none"
        if word.startswith(f"{option}="):
            return word.partition("=")[2] or "none"
    return ""


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except invoke.ParseError as error:
        raise invoke.Exit(str(error), USAGE) from None
    except RunbookError as error:
        raise invoke.Exit(str(error), error.exit_code) from None
    except invoke.Exit as ending:
        raise invoke.Exit(ending.message, USAGE if ending.message else ending.code) from None


def main() -> None:
    """Run `inv`."""
    program = RunbookInv(
        name="Invoke",
        binary="inv",
        binary_names=["inv"],
        version=invoke.__version__,
        loader_class=OwnLoader,
    )
    start("inv", program)


def start(name: str, program: invoke.Program) -> None:
    """Run a program; an unexpected error is reported as one sentence, not as a traceback."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # terminals without Unicode
    with only_text():
        try:
            program.run()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(FAILED)
        except Exception:
            report = _saved(f"{name}-error-", traceback.format_exc())
            print(
                f"Internal error (a bug in {name}). Traceback saved to {report}.", file=sys.stderr
            )
            sys.exit(FAILED)


def _saved(prefix: str, text: str) -> str:
    """The name of a new file with this text, which only its owner reads."""
    with tempfile.NamedTemporaryFile(
        "w", prefix=prefix, suffix=".txt", delete=False, encoding="utf-8", errors="replace"
    ) as file:
        file.write(text)
        return file.name
