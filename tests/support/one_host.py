"""Labs of one host, for tests of the lab itself."""

from __future__ import annotations

from pathlib import Path

from lab import cgroups
from lab.machine import Lab

ONE_HOST = """\
cluster: alone
hosts:
  sql1: {vm: 8, address: 192.168.83.148, ram: 1GB, cpu: 1, disk: 10GB, roles: [postgres]}
"""
TWO_HOSTS = f"""\
{ONE_HOST}\
  sql2: {{vm: 9, address: 192.168.83.147, ram: 1GB, cpu: 1, disk: 10GB, roles: [postgres]}}
"""


def output(lab: Lab, host: str, command: str) -> str:
    """What a command says as root on a host; it has to succeed."""
    done = lab.root_shell(host, command)
    assert done.returncode == 0, done
    return done.stdout.strip()


def state(lab: Lab, host: str) -> str:
    return next(status.state for status in lab.status() if status.name == host)


def leftovers(lab: Lab) -> list[str]:
    """Everything on this machine that carries the lab's tag."""
    groups = [path / lab.tag for path in cgroups.mounted(Path("/proc/self/mounts").read_text())]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return [
        *(str(path) for path in groups if path.exists()),
        *(line for line in mounts if lab.tag in line or f"{lab.state}/" in line),
        *(path.name for path in Path("/run/netns").glob(f"{lab.tag}*")),
        *(line for line in processes() if f"{lab.state} " in line or f"{lab.tag}-" in line),
        *([str(lab.state)] if lab.state.exists() else []),
    ]


def processes() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return lines
