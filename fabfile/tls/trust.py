"""The CA: every server knows it; the controller has its key, which may also be one of your own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.errors import SettingsError
from runbook.inventory.cluster import Cluster, Host

from ..shared import authority, tls
from .common import TRUSTS, section

if TYPE_CHECKING:
    from runbook.execute.run import Run


@section.task(needs=[TRUSTS])
def trust(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Let every server know the cluster's CA, which is made the first time.

    Its key stays in secrets.yaml. Without that file, a new CA is refused where one is trusted.
    """
    known = facts.known(TRUSTS)
    for name, trusts in known.items():
        tls.refuse_another_authority(cluster, name, trusts)
    if cluster[tls.Tls].enabled or known.get(host.name):
        yield from tls.trust(cluster)


@section.on_controller(
    help={
        "certificate": "a file with its certificate and those above it, the root last (PEM)",
        "key": "a file with its private key (PEM, not encrypted)",
    },
    alone=True,
)
def use_ca(run: Run, hosts: Sequence[Host], *, certificate: str, key: str) -> None:
    """Use a CA of your own instead of a generated one, such as an intermediate CA.

    Its key is kept in secrets.yaml. Where the servers have certificates of another CA already,
    `fab tls.rotate-ca` changes to this one afterwards.
    """
    cluster = run.cluster
    own = authority.authority_in(_read(cluster, key), _read(cluster, certificate))
    if not own.complete:
        raise SettingsError(
            f"{certificate} does not go up to a root: the last certificate is signed by another "
            "one. Add the certificates above it, the root last."
        )
    secret = tls.NEXT_CA if cluster.vault.knows(tls.CA) else tls.CA
    then = "fab tls.rotate-ca changes to it" if secret is tls.NEXT_CA else "fab tls makes it known"
    if run.options.plan:
        run.report.say(f"  {secret.name} would be {own.name}")
        return
    cluster.vault.put(secret, authority.text_of(own))
    cluster.vault.keep()
    run.report.say(f"  {secret.name} in {cluster.vault.file.name} is {own.name}; {then}")


def _read(cluster: Cluster, file: str) -> bytes:
    try:
        return cluster.path(file).read_bytes()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None
