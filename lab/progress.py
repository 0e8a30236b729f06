"""What a command of the lab prints while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Plain lines with the seconds since the start."""

    write: Callable[[str], Any] = print
    start: float = field(default_factory=time.monotonic)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, line: str) -> None:
        with self.turn:
            self.write(f"{time.monotonic() - self.start:6.1f} s  {line}")
