"""Certificates that must not be accepted: of another CA, too old, or for another server."""

from __future__ import annotations

import time
from pathlib import Path

import yaml
from support.database import ADDRESSES

from fabfile.shared import authority, tls
from fabfile.shared.authority import Authority, Subject
from lab.machine import Lab

PKI = tls.FOLDER
KINDS = ("foreign", "expired", "of another server")
AGO = 10 * authority.DAY


def own_authority(lab: Lab) -> Authority:
    """The cluster's CA, as the controller has it."""
    kept = Path(lab.environment()["RUNBOOK_STATE"], "secrets.yaml").read_text()
    return authority.authority_of(yaml.safe_load(kept)["tls_ca"], "tls_ca")


def signed(lab: Lab, kind: str, host: str, service: str) -> str:
    """A certificate of this kind for the key that a service has on a host."""
    asked = f"openssl req -new -sha256 -key {PKI}/{service}.key -subj /CN=x"
    request = lab.root_shell(host, asked).stdout
    signer, now, address = own_authority(lab), time.time(), ADDRESSES[host]
    if kind == "foreign":
        signer = authority.authority_of(authority.new("foreign CA", now), "")
    elif kind == "expired":
        now -= AGO
    elif kind == "of another server":
        host, address = "mq1", "192.168.83.135"
    subject = Subject(service, frozenset({host}), frozenset({address}), client=True)
    days = 397 if kind != "expired" else 5
    return signer.sign(authority.requested_key(request), subject, days, now)


def write(lab: Lab, host: str, path: str, text: str) -> None:
    """A file on a host."""
    done = lab.root_shell(host, f"cat >{path} <<'EOF'\n{text}EOF")
    assert done.returncode == 0, done.stderr


def serial(lab: Lab, host: str, port: int, options: str = "") -> str:
    """The serial number of the certificate that a port shows."""
    shown = f"openssl s_client -connect {ADDRESSES[host]}:{port} {options} </dev/null 2>/dev/null"
    return lab.root_shell(host, f"{shown} | openssl x509 -noout -serial").stdout.strip()
