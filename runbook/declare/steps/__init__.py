"""The vocabulary of the sections: each kind of step is one function.

A step has the wanted state of a host (`title`), a test for it (`test`) and what a person would
type to reach it (`apply`). The same `apply` is run, planned and shown. Tests may use the functions
of library.sh; `apply` may not, so that it can be copied from the screen.
"""

from __future__ import annotations

from runbook.declare.steps.commands import (
    action,
    answers,
    command,
    moved_aside,
    not_noted,
    precondition,
    wait_for,
    with_stdin,
)
from runbook.declare.steps.files import (
    authorised_key,
    block,
    directory,
    edited,
    file,
    line,
    setting,
    sudoers,
    template,
)
from runbook.declare.steps.firewall import firewall_lets, firewall_lets_ssh, firewall_zone
from runbook.declare.steps.keys import Authorised, authorised_keys, unmarked
from runbook.declare.steps.machine import (
    cloud_init,
    hostname,
    password_locked,
    reboot,
    reboot_if_noted,
    ssh_key,
    sysctl,
    system_user,
    timezone,
    user,
)
from runbook.declare.steps.rpm import (
    module_disabled,
    packages,
    packages_at,
    release_variable,
    repository,
    signed,
    updated,
    version_locked,
)
from runbook.declare.steps.selinux import (
    selinux_boolean,
    selinux_context,
    selinux_labels,
    selinux_mode,
    selinux_port,
)
from runbook.declare.steps.units import (
    drop_in,
    enabled,
    masked,
    reloaded,
    restarted,
    restarted_if_noted,
    restarted_if_running,
    service,
    service_off,
    stopped,
    unit,
)

__all__ = [
    "Authorised",
    "action",
    "answers",
    "authorised_key",
    "authorised_keys",
    "block",
    "cloud_init",
    "command",
    "directory",
    "drop_in",
    "edited",
    "enabled",
    "file",
    "firewall_lets",
    "firewall_lets_ssh",
    "firewall_zone",
    "hostname",
    "line",
    "masked",
    "module_disabled",
    "moved_aside",
    "not_noted",
    "packages",
    "packages_at",
    "password_locked",
    "precondition",
    "reboot",
    "reboot_if_noted",
    "release_variable",
    "reloaded",
    "repository",
    "restarted",
    "restarted_if_noted",
    "restarted_if_running",
    "selinux_boolean",
    "selinux_context",
    "selinux_labels",
    "selinux_mode",
    "selinux_port",
    "service",
    "service_off",
    "setting",
    "signed",
    "ssh_key",
    "stopped",
    "sudoers",
    "sysctl",
    "system_user",
    "template",
    "timezone",
    "unit",
    "unmarked",
    "updated",
    "user",
    "version_locked",
    "wait_for",
    "with_stdin",
]
