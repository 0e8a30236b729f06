"""Errors whose text is the sentence the user reads, and the exit codes they end in."""

from __future__ import annotations

FAILED = 1
USAGE = 2
UNREACHABLE = 3


class RunbookError(Exception):
    """Something the user can act on; `str()` of it names the thing and the way out."""

    exit_code = FAILED


class UsageError(RunbookError):
    """The command line asks for something that does not exist or does not fit."""

    exit_code = USAGE


class InventoryError(RunbookError):
    """hosts.yaml is absent, cannot be read, or says something that cannot be."""

    exit_code = USAGE


class SettingsError(RunbookError):
    """A file or variable that the run needs on the controller is missing or unsafe."""

    exit_code = USAGE


class UnreachableError(RunbookError):
    """No usable connection to a host: refused, timed out, cut or not trusted."""

    exit_code = UNREACHABLE


class AccessError(RunbookError):
    """The host answers, but does not let the user in, or not through sudo."""

    exit_code = FAILED


class MissingFact(RunbookError):
    """A task needs something from another host that is not there."""
