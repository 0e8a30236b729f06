"""Control groups: where each process of a lab is found, frozen and ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lab.errors import LabError
from lab.waiting import wait_until


def mounted(mounts: str) -> dict[Path, str]:
    """Where control groups are mounted, each with its kind: `cgroup2`, or `cgroup` for v1."""
    words = (line.split() for line in mounts.splitlines())
    return {Path(target): kind for _, target, kind, *_ in words if kind.startswith("cgroup")}


def top() -> Path:
    """Where cgroup v2 is mounted, alone or beside v1."""
    for path, kind in mounted(_mounts()).items():
        if kind == "cgroup2":
            return path
    raise LabError("the lab needs cgroup v2, which is not mounted on this machine")


def group(name: str) -> Group:
    """The group of that name right below the top."""
    return Group(top() / name)


def remove_everywhere(name: str) -> None:
    """Remove the empty groups of that name; beside v1, systemd-nspawn makes some there, too."""
    for path in mounted(_mounts()):
        Group(path / name).remove()


def _mounts() -> str:
    return Path("/proc/self/mounts").read_text()


class Group:
    """One control group with everything below it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def child(self, name: str) -> Group:
        return Group(self.path / name)

    def add(self, pid: int) -> None:
        """Move a process in here (0 is the caller); the group is made if need be."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "cgroup.procs").write_text(str(pid))

    def pids(self) -> list[int]:
        """Every process in here and below."""
        found = []
        for path in self._groups():
            try:
                found += [int(pid) for pid in (path / "cgroup.procs").read_text().split()]
            except OSError:  # the group went away in between
                continue
        return found

    def init(self) -> int | None:
        """The process that is pid 1 of a container which runs in here, as seen from outside.

        One that was killed counts no more, even if it and its container have not ended yet.
        """
        return next((pid for pid in self.pids() if _pid_inside(pid) == 1), None)

    def freeze(self, frozen: bool) -> None:
        """Freeze every process in here, or thaw all of them; returns when that is done."""
        (self.path / "cgroup.freeze").write_text("1" if frozen else "0")
        wanted = f"frozen {int(frozen)}"
        events = self.path / "cgroup.events"
        if not wait_until(lambda: wanted in events.read_text(), 10, pause=0.02):
            raise LabError(f"the kernel did not {'freeze' if frozen else 'thaw'} {self.path}")

    def frozen(self) -> bool:
        try:
            return (self.path / "cgroup.freeze").read_text().strip() == "1"
        except OSError:
            return False

    def kill(self, timeout: float = 30) -> None:
        """End every process in here at once, by its pid, and wait until they are gone."""
        deadline = time.monotonic() + timeout
        while pids := self.pids():
            if time.monotonic() > deadline:
                raise LabError(f"these processes of the lab do not end: {pids}")
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)

    def remove(self) -> None:
        """Remove the group and those below; there must be no process left in them."""
        for path in self._groups():
            _remove_empty(path)

    def _groups(self) -> list[Path]:
        """This group and those below it, innermost first."""
        # Groups come and go meanwhile, which os.walk does not mind.
        return [Path(folder) for folder, _, _ in os.walk(self.path, topdown=False)]


def _remove_empty(path: Path) -> None:
    """Remove one group; a killed process leaves its group a moment after it is gone."""
    for _ in range(100):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise LabError(f"the control group {path} is still in use")


def _pid_inside(pid: int) -> int | None:
    """A process's pid as it sees itself, if it lives in a pid namespace one level down."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    killed = int(fields["ShdPnd"], 16) >> (signal.SIGKILL - 1) & 1
    seen = fields["NSpid"].split()
    return int(seen[1]) if len(seen) == 2 and not killed else None
