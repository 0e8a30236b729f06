"""Whether another account of this machine can change what a run relies on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runbook.errors import SettingsError


def warning(file: Path) -> str:
    """A sentence if others can change a file; empty if only its owner and root can."""
    who = writer(file)
    if not who:
        return ""
    return f"{who} can change {file}, which decides what root does on all servers: {_fix(file)}."


def refuse_shared(folder: Path) -> None:
    """Refuse a state folder in which everybody may put files: host keys, passwords, links."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return
    if mode & stat.S_IWOTH:
        raise SettingsError(
            f"Every user of this machine can write to {folder}, where the host keys and passwords "
            f"are kept. Fix: chmod o-w {folder}, or set RUNBOOK_STATE to a folder of your own."
        )


def writer(file: Path) -> str:
    """Who can change a file besides the present user and root; empty if nobody can."""
    try:
        found = file.stat()
    except OSError:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return "every user of this machine"
    if found.st_uid not in {0, os.geteuid(), int(os.environ.get("SUDO_UID", "0"))}:
        return f"the user {_user(found.st_uid)}"
    if found.st_mode & stat.S_IWGRP and _has_others(found.st_gid, found.st_uid):
        return f"the group {_group(found.st_gid)}"
    return ""


def _fix(file: Path) -> str:
    if file.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"chmod go-w {file}"
    return f"chown {_user(os.geteuid())} {file}"


def _has_others(gid: int, owner: int) -> bool:
    """Whether a group is not the owner's own, as most distributions create one for each user."""
    import grp

    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return gid != owner
    return bool(set(group.gr_mem) - {_user(owner)}) or group.gr_name != _user(owner)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
