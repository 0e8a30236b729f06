"""New certificates before the old ones expire, or at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from runbook.declare.facts import Facts
from runbook.declare.work import Procedure, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from .common import HELD, PARTS, Part, held, section


@section.procedure(needs=HELD)
def renew(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Sign all certificates anew, one server after the other; -H HOST for some only.

    Only Flower restarts, and connections stay. Each run of a section renews certificates that are
    about to expire, so this is for what cannot wait: a key that others have seen is replaced if
    you remove it on the server before (`fab postgres.keys postgres.certificates`).
    """
    chosen = [host for host in hosts if held(host, facts)]
    if not chosen:
        raise RunbookError("None of these servers has a certificate.")
    for host in chosen:
        yield from renewed(host, cluster, facts, anew=True)


def renewed(host: Host, cluster: Cluster, facts: Facts, anew: bool) -> Procedure:
    """A server's services have certificates of the present CA, new ones if asked for."""
    for part in parts_on(host, facts):
        names = ", ".join(service.name for service in part.services)
        signed = partial(part.certified, cluster=cluster, facts=facts, anew=anew)
        yield stage(f"certificates of {names} on {host.name}", host, signed)
        yield stage(f"{host.name} is well", host, partial(part.settled, cluster=cluster))


def parts_on(host: Host, facts: Facts) -> list[Part]:
    """The parts that have certificates on a server."""
    own = held(host, facts)
    return [part for part in PARTS if all(service in own for service in part.services)]
