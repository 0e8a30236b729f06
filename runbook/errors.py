"""Errors whose text is the sentence the user reads, and the exit codes they end in."""

from __future__ import annotations

FAILED = 1
"""Something failed, was refused, or is not as it should be."""

USAGE = 2
"""The command, the inventory, or a file of this machine is wrong; no host was touched by it."""

UNREACHABLE = 3
"""Nothing failed, but a host could not be reached."""

INTERRUPTED = 130
"""Ctrl-C: each host finishes the step that it is at; rerunning is safe."""


class RunbookError(Exception):
    """Something the user can act on; `str()` of it names the thing and the way out."""

    exit_code = FAILED


class UsageError(RunbookError):
    """The command line asks for something that does not exist or does not fit.

    Type it as the sentence says; `fab --list` and `fab --help TASK` show what there is.
    """

    exit_code = USAGE


class InventoryError(RunbookError):
    """hosts.yaml is absent, cannot be read, or says something that cannot be.

    Change the line that is named; `inv inventory.check` judges it again, without a connection.
    """

    exit_code = USAGE


class SettingsError(RunbookError):
    """A file or variable that the run needs on the controller is missing or unsafe.

    Do what the sentence says on this machine: nothing is wrong with the servers.
    """

    exit_code = USAGE


class UnreachableError(RunbookError):
    """No usable connection to a host: refused, timed out, cut or not trusted.

    Look at the host, its network, its firewall, its host key; then the same command again.
    """

    exit_code = UNREACHABLE


class AccessError(RunbookError):
    """The host answers, but does not let the user in, or not through sudo.

    Look at the account and its key: `fab -H HOST ssh.bootstrap` makes both.
    """

    exit_code = FAILED


class MissingFact(RunbookError):
    """A task needs something from another host that is not there.

    Bring that host up, or run the task that makes the thing; the sentence names both.
    """
