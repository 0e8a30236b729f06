"""Waiting until something has happened."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(happened: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Wait until it has happened or the time is up; returns whether it has happened."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
