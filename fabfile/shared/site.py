"""A certificate of the site's own for the web UI, instead of one of the cluster's CA."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from runbook.errors import SettingsError
from runbook.inventory.cluster import Cluster
from runbook.secrets.vault import Secret

from .authority import pem, spki
from .tls import FOLDER

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization import Encoding


def _yours() -> str:
    raise SettingsError(f"Only you can give {WEB.name}: fab tls.use-web")


WEB = Secret(
    "tls_web",
    "your own certificate for the web UI: its private key and certificates",
    passing=True,
    make=_yours,
)
WEB_TRUSTED = f"{FOLDER}/web-ca.crt"
"""The root of that certificate, by which servers of Airflow know the web UI."""


@dataclass(frozen=True)
class Site:
    """A key, its certificate, and the certificates above it, the root last."""

    key: PrivateKeyTypes
    chain: tuple[x509.Certificate, ...]

    @property
    def pem(self) -> str:
        """What HAProxy reads: certificates, but for the root, and the key."""
        from cryptography.hazmat.primitives.serialization import Encoding

        sent = self.chain[:-1] or self.chain
        return "".join(map(pem, sent)) + self._private(Encoding.PEM).decode()

    @property
    def root(self) -> str:
        """What its clients trust."""
        return pem(self.chain[-1])

    @property
    def name(self) -> str:
        """The first name that it is for; empty if it has none but addresses."""
        names = _names(self.chain[0])
        return next((one for one in names if "*" not in one), "")

    @property
    def ends(self) -> float:
        """When it expires, or one of those above it."""
        return min(one.not_valid_after_utc.timestamp() for one in self.chain)

    @property
    def text(self) -> str:
        """It as one word of secrets.yaml: key and certificates, each in base64 of DER."""
        from cryptography.hazmat.primitives.serialization import Encoding

        der = [one.public_bytes(Encoding.DER) for one in self.chain]
        return ".".join(
            base64.b64encode(one).decode() for one in (self._private(Encoding.DER), *der)
        )

    def _private(self, encoding: Encoding) -> bytes:
        from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

        return self.key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())


def site(cluster: Cluster) -> Optional[Site]:
    """The certificate of the site's own; None if the cluster's CA signs that of the web UI."""
    if not cluster.vault.knows(WEB):
        return None
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    text = cluster.secret(WEB)
    cluster.vault.mask.add(text.partition(".")[0])
    try:
        key, *chain = (base64.b64decode(part, validate=True) for part in text.split("."))
        found = tuple(x509.load_der_x509_certificate(part) for part in chain)
        return _fit(Site(load_der_private_key(key, None), found), WEB.name)
    except (ValueError, TypeError, binascii.Error):
        raise SettingsError(f"{WEB.name} is damaged. Give it again: fab tls.use-web") from None


def site_in(key: bytes, certificates: bytes) -> Site:
    """The certificate whose key and certificates, its own first, are in these PEM texts."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key, None)
        chain = tuple(x509.load_pem_x509_certificates(certificates))
    except (ValueError, TypeError):
        raise SettingsError(
            "An unencrypted private key and certificates are expected, both in PEM."
        ) from None
    return _fit(Site(private, chain), "the file")


def _fit(own: Site, where: str) -> Site:
    """Refuse a key of another certificate, and certificates that do not lead up to a root."""
    from cryptography.exceptions import InvalidSignature

    if spki(own.key.public_key()) != spki(own.chain[0].public_key()):  # type: ignore[arg-type]
        raise SettingsError(f"The first certificate in {where} is not that of the key.")
    try:
        for one, above in zip(own.chain, (*own.chain[1:], own.chain[-1])):
            one.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        raise SettingsError(
            f"The certificates in {where} do not lead up to a root. That of the web UI is expected "
            "first, then each that has signed the one before, the root last."
        ) from None
    return own


def _names(certificate: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)
