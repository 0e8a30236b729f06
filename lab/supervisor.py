"""The process that runs one host: `python -m lab.supervisor STATE NAME`.

It mounts the host's disk in a mount namespace of its own, boots the host in a fresh network
namespace, boots it again after a reboot, and ends when the host is off.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from lab.host import Host
from lab.record import Record

DEVICES = ("/dev/autofs", "/dev/fuse")  # for filesystems that a host mounts
REBOOTED = 133  # systemd-nspawn's exit code when the container asks for a reboot


def supervise(host: Host) -> None:
    """Boot the host, again after each reboot, until it is off."""
    host.supervisor_group.add(0)
    host.mount()
    while boot(host) == REBOOTED:
        continue


def boot(host: Host) -> int:
    """Run the host from its power-on to its power-off; returns systemd-nspawn's exit code."""
    # Sysctls, firewall rules and addresses (VIPs!) of the last boot go with its namespace.
    host.connect()
    host.group.remove()
    # systemd-nspawn must find itself in the host's group when it starts, so it inherits it.
    host.group.add(0)
    with (host.folder / "console.log").open("ab") as console:
        container = subprocess.Popen(
            nspawn(host),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"],
                "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            },
        )
    host.supervisor_group.add(0)
    (host.folder / "booted").touch()
    code = container.wait()
    host.network.disconnect(host.name, host.vm)
    with (host.folder / "events").open("a") as events:
        events.write(f"{time.strftime('%F %T')} systemd-nspawn ended with {code}\n")
    return code


def nspawn(host: Host) -> list[str]:
    """The command that boots the host."""
    uptime = int(time.clock_gettime(time.CLOCK_BOOTTIME)) - 1
    return [
        # With a clock of its own, uptime starts at zero with each boot.
        *("unshare", "--time", f"--boottime=-{uptime}", f"--monotonic=-{uptime}"),
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={host.root}"),
        *(f"--machine={host.machine_name}", "--hostname=localhost.localdomain"),
        *("--register=no", "--keep-unit", "--link-journal=no", "--console=pipe"),
        *("--resolv-conf=off", "--timezone=off"),
        f"--network-namespace-path=/run/netns/{host.network.namespace(host.name)}",
        # The clock belongs to the machine.
        *("--capability=CAP_NET_ADMIN,CAP_NET_RAW", "--drop-capability=CAP_SYS_TIME"),
        # An NFS server in user space opens files by their handles; its clients mount by FUSE.
        "--system-call-filter=name_to_handle_at open_by_handle_at",
        *(f"--bind={device}" for device in DEVICES if Path(device).exists()),
    ]


def main() -> None:
    state, name = Path(sys.argv[1]), sys.argv[2]
    record = Record.read(state)
    if record and name in record.hosts:
        supervise(record.hosts_in(state)[name])


if __name__ == "__main__":
    main()
