"""The vocabulary of the sections: each kind of step is one function.

A step says how the host should be (`title`), how to see whether it is (`test`) and what a person
would type to make it so (`apply`). The same `apply` is run, planned and shown. Tests may use the
functions of library.sh; `apply` may not, so that it can be copied from the screen.
"""

from __future__ import annotations

from .commands import action, command, fed, not_noted, required, until
from .files import authorised_key, block, directory, edited, file, line, setting, sudoers, template
from .machine import (
    firewall_ports,
    firewall_ports_from,
    firewall_protocol,
    hostname,
    password_locked,
    reboot_if_noted,
    selinux_mode,
    system_user,
    timezone,
    user,
)
from .rpm import (
    module_disabled,
    packages,
    packages_at,
    release_variable,
    repository,
    signed,
    updated,
    version_locked,
)
from .units import (
    drop_in,
    enabled,
    masked,
    reloaded,
    restarted,
    restarted_if_noted,
    restarted_if_running,
    service,
    service_off,
    unit,
)

__all__ = [
    "action",
    "authorised_key",
    "block",
    "command",
    "directory",
    "drop_in",
    "edited",
    "enabled",
    "fed",
    "file",
    "firewall_ports",
    "firewall_ports_from",
    "firewall_protocol",
    "hostname",
    "line",
    "masked",
    "module_disabled",
    "not_noted",
    "packages",
    "packages_at",
    "password_locked",
    "reboot_if_noted",
    "release_variable",
    "reloaded",
    "repository",
    "required",
    "restarted",
    "restarted_if_noted",
    "restarted_if_running",
    "selinux_mode",
    "service",
    "service_off",
    "setting",
    "signed",
    "sudoers",
    "system_user",
    "template",
    "timezone",
    "unit",
    "until",
    "updated",
    "user",
    "version_locked",
]
