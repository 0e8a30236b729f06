"""Host certificates: host keys that a certificate authority has signed."""

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
    """Return the certificate sent with a host key; None if there is none, or an unreadable one."""
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
    """Return the public key of the signing authority, in SSH's wire format."""
    signer = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(signer.split()[1])


def objection(certificate: SSHCertificate, names: Collection[str]) -> str:
    """Return why a certificate is not valid for a host with these names; empty if it is valid.

    `known_hosts` checks whether the signing authority is trusted.
    """
    try:
        certificate.verify_cert_signature()
    except (InvalidSignature, UnsupportedAlgorithm):
        return "its signature is invalid"
    if certificate.type is not SSHCertificateType.HOST:
        return "it is a user certificate, not a host certificate"
    now = time.time()
    if now < certificate.valid_after:
        return "it is not valid yet"
    if now >= certificate.valid_before:
        return "it has expired"
    if certificate.critical_options:
        return "it has critical options, which are not supported"
    principals = [name.decode(errors="replace") for name in certificate.valid_principals]
    if not any(matches(name, principal) for name in names for principal in principals):
        return f"it is valid for {', '.join(principals) or 'no name'}, not for {' or '.join(names)}"
    return ""
