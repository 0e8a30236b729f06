"""Fabric's connection, which `runbook.ssh.routes` opens."""

from __future__ import annotations

from typing import Any

import fabric

from runbook.errors import UnreachableError


class HostConnection(fabric.Connection):
    """Fabric's connection; `runbook.ssh.routes` logs in and verifies host keys."""

    login_password: str = ""
    """What its user logged in with, if that was a password: sudo wants the same one."""

    def open(self) -> Any:
        """Fabric calls this before each command: the connection has to be there already."""
        if not self.is_connected:
            raise UnreachableError(f"the connection to {self.host} is closed; rerun.")

    def close(self) -> None:
        """Close it, also if logging in has failed."""
        super().close()
        self.client.close()

    @property
    def patience(self) -> int:
        """Seconds to wait for a connection."""
        return int(self.connect_timeout or 10)
