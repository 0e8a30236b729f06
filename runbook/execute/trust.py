"""First contact: a person sees the fingerprints before anything is pinned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional

from runbook.errors import UnreachableError
from runbook.inventory.cluster import Host
from runbook.output.prompt import confirmed
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
    def listed(self) -> bool:
        """Whether hosts.yaml has the fingerprint of the key."""
        return self.key is not None and self.key.fingerprint in self.host.fingerprints

    @property
    def contradicted(self) -> bool:
        """Whether hosts.yaml has fingerprints, but not that of the key."""
        return self.key is not None and bool(self.host.fingerprints) and not self.listed

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

    Until then no connection is made. Keys whose fingerprints are in hosts.yaml (`host_key`) are
    pinned without a question; --accept-host-keys accepts all others, too. --yes does not. A key
    that differs from the pinned one is refused, unless --replace says that the server was
    reinstalled; one that differs from hosts.yaml is always refused.
    """
    shown = {host.name: look for host, look in zip(hosts, run.parallel(hosts, _look_with(run)))}
    differing = [look for look in shown.values() if look.new or look.changed]
    listed = [look for look in differing if look.listed]
    offered = [
        look
        for look in differing
        if not look.host.fingerprints and (look.new or (replace and look.changed))
    ]
    for look in (*listed, *offered):
        assert look.key
        run.report.say(
            f"  {look.host.name:<12} {look.host.address:<15} "
            f"{look.key.get_name()} {look.key.fingerprint}"
            + (", as in hosts.yaml" if look.listed else "")
        )
    if not run.options.plan:
        _pin(run, listed)
    accepted = not run.options.plan and bool(offered) and _accepted(run, len(offered))
    if accepted:
        _pin(run, offered)

    def outcome(host: Host) -> HostResult:
        look = shown[host.name]
        result = HostResult(run.task, host.name, run.mode)
        if look.trouble:
            result.status, result.sentence = Status.UNREACHABLE, look.trouble
        elif look.contradicted:
            result.status, result.sentence = Status.REFUSED, _contradiction(look)
        elif look in listed:
            result.add(_pinned(run.options.plan, accepted=True))
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
    if run.options.accept_host_keys:
        return True
    run.report.close()
    return confirmed(
        f"Do they match the fingerprints on the servers' consoles? Pin {keys}?",
        otherwise="Compare the fingerprints, then pass --accept-host-keys, or set host_key of each "
        "server in hosts.yaml; --yes does not accept host keys.",
    )


def _pin(run: Run, looks: Sequence[Shown]) -> None:
    for look in looks:
        assert look.key
        run.connections.known.pin(look.host, look.name, look.key)


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


def _contradiction(look: Shown) -> str:
    assert look.key
    name = look.host.name
    return (
        f"{name} shows {look.key.get_name()} {look.key.fingerprint}, but hosts.yaml lists "
        f"{' or '.join(look.host.fingerprints)}. If the server was reinstalled, or shows a key of "
        f"another type, compare the fingerprint on its console and correct hosts.{name}.host_key. "
        "If not, the connection may be intercepted."
    )
