"""Programs on a client of the share that is mounted by the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.share import CLIENT, DAGS, VIP

On = Callable[[str, str], str]
HERE = Path(__file__).resolve().parent


def install(on: On, *programs: str) -> None:
    """Put programs of this folder on the client."""
    for name in programs:
        text = (HERE / name).read_text()
        on(CLIENT, f"cat >/root/{name} <<'PROGRAM'\n{text}PROGRAM")


def moved(on: On, seconds: int) -> float:
    """Seconds until a client finds somebody who serves NFS at the VIP again."""
    began = time.monotonic()
    asked = f"timeout 1 bash -c '</dev/tcp/{VIP}/2049' 2>/dev/null"
    on(CLIENT, f'timeout {seconds} bash -c "until {asked}; do sleep 0.1; done"')
    return time.monotonic() - began


@dataclass
class Held:
    """What a file that stays open met: errors by the names of their errnos."""

    errors: list[str] = field(default_factory=list)
    pause: float = 0
    goes_on: bool = False

    def __str__(self) -> str:
        kinds = ", ".join(dict.fromkeys(self.errors)) or "no error"
        after = "goes on" if self.goes_on else "stays unusable"
        return f"{kinds}, {after}, {self.pause:.1f} s without writes"


@contextmanager
def held_open(on: On, name: str, *options: str) -> Iterator[Held]:
    """A client keeps the file NAME open as long as this lasts, and appends to it."""
    log = f"/root/{name}.log"
    command = f"python3 /root/open_file.py {DAGS}/{name} {log} {' '.join(options)}"
    on(CLIENT, f"systemd-run -q --unit={name} {command}")
    held = Held()
    try:
        yield held
    finally:
        on(CLIENT, f"systemctl stop {name}")
    lines = [line.split() for line in on(CLIENT, f"cat {log}").splitlines()]
    held.errors = [what for _, kind, what in lines if kind == "error"]
    held.goes_on = lines[-1][1] == "ok"
    times = [float(when) for when, kind, _ in lines if kind == "ok"]
    held.pause = max((after - before for before, after in zip(times, times[1:])), default=0)


@dataclass(frozen=True)
class Watcher:
    """A client that looks at something: `stat`, `read` or `list`."""

    on: On
    kind: str
    path: str

    @property
    def unit(self) -> str:
        return f"watcher-{self.kind}"

    def start(self) -> None:
        command = f"python3 /root/watcher.py {self.kind} {self.path}"
        log = f"-p StandardOutput=file:/root/{self.unit}"
        self.on(CLIENT, f"systemd-run -q --unit={self.unit} {log} {command}")

    def seen(self, seconds: float) -> float:
        """When the client saw a change, by its own clock."""
        deadline = time.monotonic() + seconds
        while True:
            first, *told = self.on(CLIENT, f"cat /root/{self.unit}").split()
            if told:
                return float(told[0])
            assert time.monotonic() < deadline, f"{first} {self.path}, and nothing changes"
            time.sleep(1)
