"""Host certificates: a key that an authority of known_hosts has signed for a name."""

from __future__ import annotations

import base64
import time
from collections.abc import Collection

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from runbook.ssh.patterns import matches

SUFFIX = "-cert-v01@openssh.com"


def certificate_of(key: paramiko.PKey) -> SSHCertificate | None:
    """The certificate that came with a host's key, if one did."""
    blob = getattr(key, "public_blob", None)
    if not blob or not blob.key_type.endswith(SUFFIX):
        return None
    line = f"{blob.key_type} {base64.b64encode(blob.key_blob).decode()}"
    try:
        found = load_ssh_public_identity(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return found if isinstance(found, SSHCertificate) else None


def authority_of(certificate: SSHCertificate) -> bytes:
    """The key that signed it, as SSH sends it."""
    signer = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(signer.split()[1])


def objection(certificate: SSHCertificate, names: Collection[str]) -> str:
    """Why a certificate does not hold for a host of these names; empty if it does.

    Who signed it is for known_hosts to judge.
    """
    try:
        certificate.verify_cert_signature()
    except (InvalidSignature, UnsupportedAlgorithm):
        return "its signature is wrong"
    if certificate.type is not SSHCertificateType.HOST:
        return "it is for users, not for hosts"
    now = time.time()
    if now < certificate.valid_after:
        return "it is not valid yet"
    if now >= certificate.valid_before:
        return "it has expired"
    if certificate.critical_options:
        return "it has options that are not supported"
    principals = [name.decode(errors="replace") for name in certificate.valid_principals]
    if not any(matches(name, principal) for name in names for principal in principals):
        return f"it is for {', '.join(principals) or 'no name'}, not for {' or '.join(names)}"
    return ""
