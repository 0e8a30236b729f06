"""Fabric's connection, which `runbook.ssh.routes` opens."""

from __future__ import annotations

from typing import Any

import fabric

from runbook.errors import UnreachableError


class HostConnection(fabric.Connection):
    """A Fabric connection; `runbook.ssh.routes` verifies the host key and logs in."""

    login_password: str = ""
    """The password of the login, if one was used; sudo gets the same one."""

    def open(self) -> Any:
        """Raise an error if the connection is closed; Fabric calls this before each command."""
        if not self.is_connected:
            raise UnreachableError(f"the connection to {self.host} is closed; rerun.")

    def close(self) -> None:
        """Close the connection, also after a failed login."""
        super().close()
        self.client.close()

    @property
    def patience(self) -> int:
        """Seconds to wait for a connection."""
        return int(self.connect_timeout or 10)
