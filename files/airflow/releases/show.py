"""What shows releases, and changes nothing."""

from __future__ import annotations

import difflib
import os
import time
from pathlib import Path

from change import among, arrived, beyond, copied, tops_of
from place import Refused, Releases, content_of, manifest

LARGEST_TEXT, LONGEST_DIFF = 1 << 16, 300
"""Bytes of a file, and lines in all, of which a diff shows the content."""

Contents = dict[str, tuple[str, bytes]]
"""Mode and content of files, by their paths; of a link, its target."""


def has(own: Releases, name: str) -> None:
    """Print the folder of a release that is there and unchanged."""
    found = own.of(name)
    if not found:
        raise Refused(f"{name} is not there, or it was changed.")
    print(own.place / found)


def runs(own: Releases, name: str) -> None:
    """Whether this release runs, unchanged, and every name in the folder leads into it."""
    found = own.running()
    if not found or own.of(name) != found:
        raise Refused(f"{found or 'No release'} runs, or it was changed.")
    if not own.plain and own.links() != own.entries(found):
        raise Refused("Links are missing, or lead nowhere.")


def old(own: Releases, count: str) -> None:
    """Print the releases that would be removed."""
    for one in beyond(own, count):
        print(f"removed: release {one}")


def all_of(own: Releases) -> None:
    """Print a line for each release: its name, what it is, and for how many seconds."""
    running = own.running()
    for one in own.names():
        what = "current" if one == running else "before" if one == own.before(running) else "kept"
        state = "intact" if own.intact(one) else "changed"
        age = max(0, int(time.time() - (own.place / one).stat().st_mtime))
        print(one, what, state, age)
    print("end")


def diff(own: Releases, name: str, source: str = "") -> None:
    """Print what a release that is there would change; with `-`, what one on standard input would.

    Each is shown once: by the step that brings it, or by the one that lets it run.
    """
    wanted, running = own.of(name), own.running()
    if bool(wanted) == bool(source) or (wanted and wanted == running):
        return
    new = _kept(own, wanted) if wanted else _packed()
    former = copied(own)
    now = _kept(own, running) if running else {one: content_of(own.folder / one) for one in former}
    for path in _others(own, sorted(new), former):
        print(f"refused: {path} was put there by others")
    for path in sorted(new.keys() | now.keys()):
        if new.get(path) != now.get(path):
            word = "added" if path not in now else "changed" if path in new else "removed"
            print(f"{word}: {path}{_modes(now.get(path), new.get(path))}")
    _show_texts(now, new)


def _others(own: Releases, names: list[str], former: list[str]) -> list[Path]:
    """What keeps a release with these names from running; `former`: what is no obstacle."""
    if own.plain:
        return []
    taken = [one for one in own.strangers(tops_of(names)) if one not in tops_of(former)]
    return [*(own.folder / one for one in taken), *among(own, former)]


def _kept(own: Releases, name: str) -> Contents:
    folder = own.place / name
    return {path: content_of(folder / path) for path in manifest(folder)}


def _packed() -> Contents:
    found: Contents = {}
    with arrived() as packed:
        for member in packed:
            if member.issym():
                found[member.name] = ("120000", os.fsencode(member.linkname))
                continue
            content = packed.extractfile(member)
            found[member.name] = (f"100{member.mode:o}", content.read() if content else b"")
    return found


def _modes(now: tuple | None, new: tuple | None) -> str:
    if not now or not new or now[0] == new[0]:
        return ""
    return f", mode {now[0]} becomes {new[0]}"


def _show_texts(now: Contents, new: Contents) -> None:
    """Print the lines of texts that change, as many as are allowed."""
    lines: list[str] = []
    for path in sorted(new):
        lines += _compared(path, now.get(path, ("", b""))[1], new[path][1])
    print("".join(f"{line}\n" for line in lines[:LONGEST_DIFF]), end="")
    if len(lines) > LONGEST_DIFF:
        print(f"… {len(lines) - LONGEST_DIFF} more lines")


def _compared(path: str, now: bytes, new: bytes) -> list[str]:
    if now == new:
        return []
    if len(now) + len(new) > LARGEST_TEXT or b"\0" in now + new:
        return [f"{path}: {len(now)} bytes become {len(new)}"]
    texts = [part.decode(errors="replace").splitlines() for part in (now, new)]
    return list(difflib.unified_diff(*texts, f"{path} now", f"{path} wanted", lineterm=""))
