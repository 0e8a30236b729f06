"""The CA: every server knows it; the controller has its key, which may also be one of your own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.errors import SettingsError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..shared import authority, tls
from ..shared.site import WEB, site_in
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


@section.on_controller(
    help={
        "certificate": "a file with it and the certificates above it, the root last (PEM)",
        "key": "a file with its private key (PEM, not encrypted)",
        "remove": "use one of the cluster's CA again",
    },
    alone=True,
)
def use_web(
    run: Run,
    hosts: Sequence[Host],
    *,
    certificate: str = "",
    key: str = "",
    remove: bool = False,
) -> None:
    """Use a certificate of your own for the web UI, which browsers know.

    Key and certificates are kept in secrets.yaml. Before it expires, give the next one in the same
    way. HAProxy shows it for the web UI and for its statistics.
    """
    cluster = run.cluster
    if remove == bool(certificate and key):
        raise UsageError("Give --certificate and --key, or --remove.")
    own = None if remove else site_in(_read(cluster, key), _read(cluster, certificate))
    said = f"for {own.name or 'addresses only'}" if own else "of the cluster's CA"
    if run.options.plan:
        run.report.say(f"  the certificate of the web UI would be one {said}")
        return
    if own:
        cluster.vault.put(WEB, own.text)
    else:
        cluster.vault.forget(WEB)
    cluster.vault.keep()
    run.report.say(
        f"  the certificate of the web UI is to be one {said}; "
        "fab haproxy.certificates airflow.configure systemd.restart give it to the servers"
    )


def _read(cluster: Cluster, file: str) -> bytes:
    try:
        return cluster.path(file).read_bytes()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None
