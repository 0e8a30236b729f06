"""A certificate authority of the cluster's own: keys and certificates as X.509 has them.

P-256 and SHA-256 throughout, which every crypto policy of RHEL allows, also in FIPS mode.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import TYPE_CHECKING, Union

from runbook.errors import RunbookError, SettingsError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificatePublicKeyTypes,
    )

YEARS = 10
"""How long a new authority is valid."""
DAY = 86400
EARLY = timedelta(hours=1)
"""How long before it was signed a certificate is valid: clocks differ."""


@dataclass(frozen=True)
class Subject:
    """Whom a certificate is for: its common name, its other names, and how it may be used.

    `client`: it may also be shown to servers, by a client.
    """

    common_name: str
    names: frozenset[str]
    addresses: frozenset[str]
    client: bool = False


@dataclass(frozen=True)
class Described:
    """A certificate as far as it is compared with what is wanted."""

    subject: Subject
    begins: float
    ends: float
    issuer: str
    serial: str
    public_key: bytes


@dataclass(frozen=True)
class Authority:
    """A CA: its key, its certificate, and the certificates above it, the root last."""

    key: CertificateIssuerPrivateKeyTypes
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()

    @property
    def trusted(self) -> list[str]:
        """The certificates that a client has to know, each in PEM."""
        return [pem(one) for one in (self.certificate, *self.above)]

    @property
    def complete(self) -> bool:
        """Whether the certificates go up to a root, without which most clients trust none."""
        root = (self.certificate, *self.above)[-1]
        return root.issuer == root.subject

    @property
    def chain(self) -> str:
        """What a server sends after its own certificate, in PEM: everything below a root."""
        chain = (self.certificate, *self.above)
        return "".join(pem(one) for one in chain if one.issuer != one.subject)

    @property
    def name(self) -> str:
        """Its name, as certificates state it."""
        return self.certificate.subject.rfc4514_string()

    @property
    def ends(self) -> float:
        """When it expires, or one of those above it."""
        chain = (self.certificate, *self.above)
        return min(one.not_valid_after_utc.timestamp() for one in chain)

    def issued(self, certificate: str) -> bool:
        """Whether it has signed this certificate, of whoever."""
        from cryptography.exceptions import InvalidSignature

        try:
            _loaded(certificate).verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def sign(self, key: EllipticCurvePublicKey, subject: Subject, days: int, now: float) -> str:
        """A certificate of this key for a server, and perhaps a client, with the chain; in PEM.

        It does not outlive the authority; RunbookError if that has expired.
        """
        if self.ends <= now:
            raise RunbookError(f"The CA {self.name} has expired; change it: fab tls.rotate-ca")
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

        names = [x509.DNSName(name) for name in sorted(subject.names)]
        addresses = [x509.IPAddress(ip_address(one)) for one in sorted(subject.addresses)]
        usages = [Usage.SERVER_AUTH, *([Usage.CLIENT_AUTH] if subject.client else [])]
        begin = datetime.fromtimestamp(now, timezone.utc) - EARLY
        end = datetime.fromtimestamp(min(now + days * DAY, self.ends), timezone.utc)
        own_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(_public(self.certificate))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(subject.common_name))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(leaf=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(own_id, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return pem(certificate) + self.chain


def new(name: str, now: float) -> str:
    """The text of a new authority, as secrets.yaml keeps it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.fromtimestamp(now, timezone.utc) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=YEARS * 365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(leaf=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return text_of(Authority(key, certificate))


def text_of(authority: Authority) -> str:
    """An authority as one word: its key, then its certificates, each in base64 of DER."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = authority.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    chain = (authority.certificate, *authority.above)
    parts = [key, *(one.public_bytes(Encoding.DER) for one in chain)]
    return ".".join(base64.b64encode(part).decode() for part in parts)


def authority_of(text: str, secret: str) -> Authority:
    """The authority that a text is; SettingsError, which names the secret, if it is none."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        key, *chain = (base64.b64decode(part, validate=True) for part in text.split("."))
        private = load_der_private_key(key, None)
        own, *above = (x509.load_der_x509_certificate(part) for part in chain)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        raise SettingsError(
            f"{secret} is not a certificate authority: a key and its certificate, in base64 of "
            "DER, with a dot in between. Restore it from your backup."
        ) from None
    _refuse_unfit(private, own, secret)
    return Authority(private, own, tuple(above))  # type: ignore[arg-type]


def _refuse_unfit(private: object, certificate: x509.Certificate, secret: str) -> None:
    from cryptography import x509

    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound):
        basic = None
    if not basic or not basic.ca:
        raise SettingsError(f"The certificate in {secret} is not that of an authority.")
    if spki(private.public_key()) != spki(certificate.public_key()):  # type: ignore[attr-defined]
        raise SettingsError(f"The certificate in {secret} is not that of its key.")


def authority_in(key: bytes, certificates: bytes) -> Authority:
    """The authority whose key and certificates, its own first, are in these PEM texts."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key, None)
        own, *above = x509.load_pem_x509_certificates(certificates)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(
            "An unencrypted private key and certificates are expected, both in PEM."
        ) from None
    _refuse_unfit(private, own, "the file")
    return Authority(private, own, tuple(above))  # type: ignore[arg-type]


def requested_key(request: str) -> EllipticCurvePublicKey:
    """The public key of a certificate request, whose owner has its private key.

    Nothing else in the request is used. ValueError for another kind of key, or a wrong signature.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    read = x509.load_pem_x509_csr(request.encode())
    key = read.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ValueError("the key of the request is not of P-256")
    if not read.is_signature_valid:
        raise ValueError("the request is not signed by its own key")
    return key


def described(certificate: str) -> Described:
    """What a certificate in PEM says; ValueError if it is none, or not like ours."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
    from cryptography.x509.oid import NameOID

    read = _loaded(certificate)
    try:
        extensions = read.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usages = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound as error:
        raise ValueError(str(error)) from None
    common = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Described(
        Subject(
            str(common[0].value) if common else "",
            frozenset(names.get_values_for_type(x509.DNSName)),
            frozenset(str(one) for one in names.get_values_for_type(x509.IPAddress)),
            Usage.CLIENT_AUTH in usages,
        ),
        read.not_valid_before_utc.timestamp(),
        read.not_valid_after_utc.timestamp(),
        read.issuer.rfc4514_string(),
        f"{read.serial_number:x}",
        spki(read.public_key()),
    )


def spki(key: Union[EllipticCurvePublicKey, CertificatePublicKeyTypes]) -> bytes:
    """A public key as certificates have it, to compare two of them."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _loaded(certificate: str) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode())


def _public(certificate: x509.Certificate) -> EllipticCurvePublicKey:
    return certificate.public_key()  # type: ignore[return-value]


def pem(certificate: x509.Certificate) -> str:
    """A certificate as files have it."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(leaf: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )


def names_of(certificates: str) -> Sequence[str]:
    """The names of the authorities in a PEM text; ValueError if there is none."""
    from cryptography import x509

    found = x509.load_pem_x509_certificates(certificates.encode())
    return [one.subject.rfc4514_string() for one in found]
