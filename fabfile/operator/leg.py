"""A part of a long way through the cluster: one subsystem, as a procedure of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Union

from ..engine.section import Fact, ProcedureTask

if TYPE_CHECKING:
    from ..engine.cluster import Cluster, Host
    from ..engine.run import Run
    from ..engine.section import Procedure

ANSWERS = Fact(
    "whether it answers",
    on="all",
    command=lambda cluster, host: "cat /proc/sys/kernel/random/boot_id",
    parse=str.strip,
    absent="it does not answer",
)
"""The number of a host's present boot, which is another one after the next."""


@dataclass(frozen=True)
class Leg:
    """One subsystem on the way: facts that its stages need, and the stages."""

    name: str
    needs: tuple[Fact, ...]
    stages: Callable[..., Procedure]

    def carry_out(self, run: Run, task: str, hosts: Sequence[Host], **options: Any) -> bool:
        """Its stages on these hosts; False after the first that went wrong."""

        def chosen(cluster: Cluster) -> Sequence[Host]:
            return hosts

        doc = self.stages.__doc__ or ""
        return run.perform(ProcedureTask(task, doc, self.stages, chosen, self.needs), options)


def among(wanted: Sequence[Union[Host, str]], hosts: Sequence[Host]) -> list[Host]:
    """Those of `wanted`, in that order, that belong to `hosts`."""
    by_name = {host.name: host for host in hosts}
    names = [one if isinstance(one, str) else one.name for one in wanted]
    return [by_name[name] for name in names if name in by_name]
