"""First contact: a person sees the fingerprints before anything is pinned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional

from runbook.errors import UnreachableError
from runbook.inventory.cluster import Host
from runbook.results import HostResult, Status, StepResult

if TYPE_CHECKING:
    import paramiko

    from runbook.execute.run import Run


@dataclass(frozen=True)
class Shown:
    """The key that a host shows and the accepted keys, or why it shows none."""

    host: Host
    name: str = ""
    key: Optional[paramiko.PKey] = None
    pinned: tuple[paramiko.PKey, ...] = ()
    trouble: str = ""

    @property
    def new(self) -> bool:
        """Whether no key is pinned for the host yet."""
        return self.key is not None and not self.pinned

    @property
    def changed(self) -> bool:
        """Whether another key is pinned for the host."""
        return bool(self.pinned) and self.key is not None and self.key not in self.pinned


def trust(run: Run, hosts: Sequence[Host], *, replace: bool = False) -> None:
    """First contact: show the fingerprints of host keys and pin those you accept.

    Until then no connection is made. --yes accepts them all. A key that differs from the pinned one
    is refused, unless --replace says that the server was reinstalled.
    """
    shown = {host.name: look for host, look in zip(hosts, run.parallel(hosts, _look_with(run)))}
    offered = [look for look in shown.values() if look.new or (replace and look.changed)]
    for look in offered:
        assert look.key
        run.report.say(
            f"  {look.host.name:<12} {look.host.address:<15} "
            f"{look.key.get_name()} {look.key.fingerprint}"
        )
    accepted = not run.options.plan and bool(offered) and _accepted(run, len(offered))
    if accepted:
        for look in offered:
            assert look.key
            run.connections.known.pin(look.host, look.name, look.key)

    def outcome(host: Host) -> HostResult:
        look = shown[host.name]
        result = HostResult(run.task, host.name, run.mode)
        if look.trouble:
            result.status, result.sentence = Status.UNREACHABLE, look.trouble
        elif look in offered:
            result.add(_pinned(run.options.plan, accepted))
            if not accepted and not run.options.plan:
                result.status, result.sentence = (
                    Status.REFUSED,
                    f"{host.name}'s key was not accepted.",
                )
        elif look.changed:
            result.status, result.sentence = Status.REFUSED, _warning(look)
        else:
            result.add(StepResult("host key is pinned", "", Status.OK))
        return result

    run.each(hosts, outcome)


def _look_with(run: Run) -> Callable[[Host], Shown]:
    def look(host: Host) -> Shown:
        try:
            name, key, accepted = run.connections.host_key(host)
        except UnreachableError as error:
            return Shown(host, trouble=str(error))
        return Shown(host, name, key, tuple(accepted))

    return look


def _accepted(run: Run, count: int) -> bool:
    keys = "this key" if count == 1 else f"these {count} keys"
    return run.agreed(
        f"Do they match the fingerprints on the servers' consoles? Pin {keys}?",
        otherwise="Pass --yes once you have compared the fingerprints.",
    )


def _pinned(plan: bool, accepted: bool) -> StepResult:
    status = Status.DIFFERS if plan else Status.CHANGED if accepted else Status.REFUSED
    return StepResult("host key is pinned", "", status)


def _warning(look: Shown) -> str:
    assert look.key
    return (
        f"{look.host.name} shows {look.key.fingerprint}, but the pinned key is "
        f"{', '.join(key.fingerprint for key in look.pinned)}. If the server was reinstalled: "
        f"fab -H {look.host.name} ssh.trust --replace. If not, the connection may be intercepted."
    )
