"""A CA and certificates for tests, as servers have them that speak TLS."""

from __future__ import annotations

from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fabfile.shared import authority, tls
from fabfile.shared.tls import Held, Service
from fabfile.tls.common import SERVICES, TRUSTS
from runbook.declare.facts import Fact, hosts_on
from runbook.inventory.cluster import Cluster

NOW = 1_700_000_000.0


@cache
def new_authority(name: str = "test CA") -> str:
    """A CA as secrets.yaml has it."""
    return authority.new(name, NOW)


@cache
def key(of: str) -> ec.EllipticCurvePrivateKey:
    """A private key that is somebody's."""
    return ec.generate_private_key(ec.SECP256R1())


def request(of: str, name: str = "anything", names: tuple[str, ...] = ()) -> str:
    """A request for a certificate of somebody's key, under names of their choice."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(key(of), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def held(service: Service, name: str, cluster: Cluster, **changes) -> Held:
    """What a server holds whose certificate is as it should be."""
    host = cluster.hosts[name]
    own = request(f"{service.name} on {name}")
    subject = service.subject(host, cluster)
    made = tls.signer(cluster).sign(authority.requested_key(own), subject, 397, NOW)
    values = {
        "request": own,
        "key": f"640 root {service.group}",
        "certificate": made,
        "trusts": tls.trusted(cluster),
        "at": NOW,
    }
    return Held(**{**values, **changes})


def certificate_facts(cluster: Cluster) -> dict[Fact, dict[str, object]]:
    """What all servers say of their certificates; the cluster has a CA from now on."""
    if not cluster.vault.knows(tls.CA):
        cluster.vault.put(tls.CA, new_authority())
    return {
        TRUSTS: dict.fromkeys(cluster.hosts, tls.trusted(cluster)),
        **{
            service.held: {
                host.name: held(service, host.name, cluster)
                for host in hosts_on(service.on, cluster)
            }
            for service in SERVICES
        },
    }
