"""The controller of a lab: its key and password, and the environment of its commands."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.command import run
from lab.inventory import override_file

CONTROLLER = "controller"  # its folder, in a lab's and in a saved state's
PASSWORD = "root-password"


def make_credentials(state: Path) -> str:
    """The controller's key and the hosts' root password, made once; returns its hash."""
    controller = state / CONTROLLER
    controller.mkdir(mode=0o700, exist_ok=True)
    key, password = controller / "id_ed25519", controller / PASSWORD
    if not password.exists():
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(12) + "\n")
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab controller", "-f", key)
    return run("openssl", "passwd", "-6", "-stdin", feed=password.read_text()).stdout.strip()


def public_key(state: Path) -> str:
    """The controller's public key."""
    return (state / CONTROLLER / "id_ed25519.pub").read_text().strip()


def environment(state: Path, hosts_file: str, profiles: Sequence[str] = ()) -> dict[str, str]:
    """The environment in which a command on the controller finds this lab's hosts."""
    controller = state / CONTROLLER
    own = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
    return {
        **own,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "RUNBOOK_INVENTORY": hosts_file,
        "RUNBOOK_OVERRIDE": str(override_file(profiles, state)),
        "RUNBOOK_STATE": str(controller),
        "RUNBOOK_BOOTSTRAP_PASSWORD": (controller / PASSWORD).read_text().strip(),
    }
