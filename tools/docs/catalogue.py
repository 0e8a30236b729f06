"""docs/tasks.md: every task of `fab` and of `inv`, from its declaration."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from copy import copy
from inspect import cleandoc
from typing import Any

import invoke

from runbook.declare.contents import Contents
from runbook.declare.facts import On, hosts_on
from runbook.declare.namespace import SectionTask
from runbook.declare.section import Section
from runbook.declare.templates import PROJECT
from runbook.declare.work import CheckTask, WholeSection
from runbook.inventory.cluster import Cluster, Host

from .markdown import MADE, code, table

INTRODUCTION = (
    f"{MADE}\n\n# Tasks\n\n"
    "All tasks of `fab`, in the runbook's order, and of `inv`. Hosts are those of the "
    "shipped `hosts.yaml`; `-H` limits them. `fab --help TASK` prints the same on a "
    "terminal.\n\n"
    "Every task of `fab` that consists of steps can be planned (`--plan`), and shown as commands "
    "(`--dry`). The name of a section alone runs its tasks in order, without those that are "
    "marked *by name only*."
)


def page(contents: Contents) -> str:
    """The whole page."""
    cluster = contents.load(PROJECT / "hosts.yaml")
    chapters = [_section(section, contents, cluster) for section in contents.sections]
    commands = importlib.import_module("tasks").ns
    own = [_collection(name, commands.collections[name]) for name in sorted(commands.collections)]
    return "\n\n".join([INTRODUCTION, "# fab", *chapters, "# inv", *own]) + "\n"


def _section(section: Section, contents: Contents, cluster: Cluster) -> str:
    collection = section.collection(contents)
    tasks = [task for task in collection.tasks.values() if isinstance(task, SectionTask)]
    chapter = next(task for task in tasks if isinstance(task.work, WholeSection))
    others = [task for task in tasks if task is not chapter]
    head = f"## {section.name}\n\n{section.about} Runbook: {section.runbook}."
    return "\n\n".join([head, *(_task(task, cluster) for task in others)])


def _task(task: SectionTask, cluster: Cluster) -> str:
    work = task.work
    alone = work.alone and not isinstance(work, CheckTask)
    return _entry("fab", work.name, task, f"On {on(work.on, cluster)}{'; by name only' * alone}.")


def _collection(name: str, collection: invoke.Collection) -> str:
    tasks = [
        _entry("inv", f"{name}.{short}", collection.tasks[short])
        for short in sorted(collection.tasks)
    ]
    return "\n\n".join([f"## {name}", *tasks])


def _entry(program: str, name: str, task: invoke.Task, where: str = "") -> str:
    arguments = arguments_of(task)
    words = [_name(argument).upper() for argument in arguments if argument.positional]
    typed = " ".join([f"{program} {name}", *words])
    parts = [f"### {typed}", cleandoc(str(task.__doc__)), where]
    rows = list(options(arguments))
    if rows:
        parts.append(table(("option", "default", "meaning"), rows))
    return "\n\n".join(filter(None, parts))


def arguments_of(task: invoke.Task) -> list[Any]:
    """A task's arguments; from a copy, as Invoke takes the help texts out of the task."""
    asked = copy(task)
    asked.help = dict(task.help)
    return list(asked.get_arguments())


def options(arguments: Sequence[Any]) -> Iterator[tuple[str, str, str]]:
    """A row for each option of a task."""
    for argument in arguments:
        value = {bool: "", int: " N"}.get(argument.kind, " TEXT")
        name = _name(argument)
        typed = name.upper() if argument.positional else f"--{name}{value}"
        shown = "" if argument.default in (None, "", False) else code(str(argument.default))
        yield code(typed), shown, argument.help or ""


def _name(argument: Any) -> str:
    """The option as it is typed."""
    return str(argument.names[0]).replace("_", "-")


NONE = "no host of the shipped hosts.yaml"


def on(hosts: On, cluster: Cluster) -> str:
    """The hosts that a task is for, in as few words as possible."""
    chosen = hosts_on(hosts, cluster)
    if isinstance(hosts, str) and hosts != "all":
        return f"{code('@' + hosts)}: {_names(chosen) or NONE}"
    if len(chosen) == len(cluster.hosts):
        return "all hosts"
    return _names(chosen) or NONE


def _names(hosts: Sequence[Host]) -> str:
    return ", ".join(host.name for host in hosts)
