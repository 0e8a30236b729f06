"""Errors whose text is the sentence the user reads, and the exit codes they end in."""

from __future__ import annotations

FAILED = 1
"""Something failed or was refused, or a check found a problem."""

USAGE = 2
"""The command, the inventory, or a file on the controller is wrong; no host was changed."""

UNREACHABLE = 3
"""Nothing failed, but a host could not be reached."""

INTERRUPTED = 130
"""Ctrl-C: each host finished its current step; rerunning is safe."""


class RunbookError(Exception):
    """Something the user can fix; `str()` of it says what failed and what to do."""

    exit_code = FAILED


class UsageError(RunbookError):
    """The command line is wrong, or names something that does not exist.

    Correct the command as the message says; see `fab --list` and `fab --help TASK`.
    """

    exit_code = USAGE


class InventoryError(RunbookError):
    """hosts.yaml is missing, cannot be read, or is invalid.

    Correct the line in the message; check the file with `inv inventory.check`.
    """

    exit_code = USAGE


class SettingsError(RunbookError):
    """A file or variable on the controller is missing, wrong or unsafe.

    Do what the message says on the controller; the servers are not affected.
    """

    exit_code = USAGE


class UnreachableError(RunbookError):
    """No usable connection to a host: refused, timed out, cut or not trusted.

    Check the host, its network, firewall and host key, then rerun.
    """

    exit_code = UNREACHABLE


class AccessError(RunbookError):
    """The host answers, but refuses the login or sudo.

    Check the account and its key; `fab -H HOST ssh.bootstrap` sets up both.
    """

    exit_code = FAILED


class MissingFact(RunbookError):
    """A task needs information from another host that is not available.

    Bring that host up, or run the task that the message names.
    """


class DistrustedAnswer(RunbookError):
    """A host answered a question with something that cannot be an answer to it.

    Find out what is wrong with that host: a program that prints something else, or an intruder.
    """
