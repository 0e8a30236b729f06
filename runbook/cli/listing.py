"""`fab --list`: the sections in the runbook's order, and their tasks."""

from __future__ import annotations

from typing import Any

import invoke

from runbook.cli.checkout import OwnLoader
from runbook.cli.program import Program


class Listing(Program):
    """A program that lists the sections of a fabfile."""

    def list_tasks(self) -> None:
        """Print the sections in the runbook's order; `fab --list SECTION` prints one."""
        if self.list_format != "flat" or not hasattr(self.scoped_collection, "tasks"):
            super().list_tasks()
            return
        sections = self.scoped_collection.collections or {"": self.scoped_collection}
        print("Available tasks, in the runbook's order; a section's name alone runs its tasks:\n")
        listed = [_lines(name or self.list_root, section) for name, section in sections.items()]
        width = max(len(name) for lines in listed for name, _ in lines)
        for lines in listed:
            self.print_columns([(f"{name:<{width}}", about) for name, about in lines])


def _lines(name: str, section: invoke.Collection) -> list[tuple[str, str]]:
    """A section and its tasks, each with the first line of its docstring."""
    return [
        (name, section[section.default].work.summary),
        *(
            (f"  {name}.{task_name}", task.work.summary)
            for task_name, task in section.tasks.items()
            if task_name != section.default
        ),
    ]


class _Config(invoke.Config):
    """Fabric's configuration, as far as it says where the tasks are."""

    prefix = "fabric"

    @staticmethod
    def global_defaults() -> dict[str, Any]:
        """Invoke's defaults, and the name of Fabric's module."""
        defaults: dict[str, Any] = invoke.Config.global_defaults()
        defaults["tasks"]["collection_name"] = "fabfile"
        return defaults


def program() -> Listing:
    """The program, which runs no task and does without Fabric."""
    return Listing(
        name="Fabric",
        binary="fab",
        binary_names=["fab"],
        loader_class=OwnLoader,
        config_class=_Config,
    )
