"""Sizes and durations in a few words."""

from __future__ import annotations


def size(lag: object) -> str:
    """The lag of a replica, in bytes."""
    if not isinstance(lag, int):
        return "an unknown amount"
    return f"{lag} B" if lag < 10_000 else f"{lag / 1_000_000:.1f} MB"


def duration(seconds: int) -> str:
    """Seconds, in their largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
