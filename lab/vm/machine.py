"""One virtual machine: its power and its shell."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.command import run, start_detached
from lab.controller import CONTROLLER
from lab.errors import LabError
from lab.host import Host
from lab.network import Cable, cable_of, hardware_address
from lab.vm.disk import disk_of
from lab.vm.image import VmImage
from lab.waiting import wait_until

MEMORY = "640M"
BOOTING = 300  # seconds, on an emulated processor
SILENT = 10  # seconds until a connection to a machine without power ends


def processor(cpuinfo: str, kvm: bool) -> list[str]:
    """qemu's options: this machine's processor if it supports virtualization, or an emulated one.

    Without vmx or svm, /dev/kvm works only for guests with a kernel made for it.
    """
    if kvm and {"vmx", "svm"}.intersection(cpuinfo.split()):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg", "-cpu", "qemu64,+rdrand"]


@dataclass(frozen=True)
class Machine:
    """A virtual machine as a lab host."""

    host: Host
    image: VmImage

    def power_on(self, held: Sequence[int] = ()) -> None:
        """Start the machine, unless it is running."""
        if not self._off():
            return
        self._plug_in()
        argv = self.host.network.inside(*self.command())
        qemu = start_detached(argv, log=self.host.folder / "qemu.log", held=held)
        self.host.group.add(qemu)

    def power_loss(self) -> None:
        """Kill the machine; what it has written to its disk survives."""
        run(*self._ssh("-O", "exit", self.host.address), check=False)
        self.host.group.kill()

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on the machine; all commands share one connection."""
        ssh = self._ssh(self.host.address, f"bash -c {shlex.quote(command)}")
        return run(*ssh, check=False)

    def wait(self) -> None:
        """Wait until a login succeeds; each attempt takes a second of an emulated processor."""
        folder = self.host.folder
        answers = wait_until(lambda: self._off() or self._accepts_login(), BOOTING, pause=1)
        if self._off():
            raise LabError(f"{self.host.name} went off; see {folder / 'qemu.log'}")
        if not answers:
            log = folder / "console.log"
            raise LabError(f"{self.host.name} does not answer after {BOOTING} s; see {log}")

    def settle(self) -> str:
        """Wait until all units have started; returns the names of those that failed."""
        self.shell("systemctl is-system-running --wait")
        failed = self.shell("systemctl --failed --plain --no-legend").stdout
        return ", ".join(line.split()[0] for line in failed.splitlines() if line.strip())

    def command(self) -> list[str]:
        """The command that runs the machine."""
        host, network = self.host, self.host.network
        kernel = (
            f"console=ttyS0 quiet net.ifnames=0 systemd.getty_auto=no mitigations=off"
            # Under load the kernel would distrust this clock and change to a much slower one.
            f" audit=0 tsc=reliable"
            f" lab_address={host.address}/{network.prefix} lab_gateway={network.address}"
        )
        cable = f"tap,id=cable,ifname={cable_of(host.vm)},script=no,downscript=no"
        return [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-name", host.name, "-machine", "q35", "-smp", "1", "-m", MEMORY),
            *processor(Path("/proc/cpuinfo").read_text(), Path("/dev/kvm").exists()),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initramfs)),
            *("-append", kernel, "-serial", f"file:{host.folder / 'console.log'}"),
            # The data has to survive qemu only, so there is no need to flush this machine's disk.
            *("-drive", f"file={disk_of(host)},format=raw,if=virtio,cache=unsafe"),
            *("-netdev", cable),
            *("-device", f"virtio-net-pci,netdev=cable,mac={hardware_address(host.vm)},romfile="),
        ]

    def _off(self) -> bool:
        return not self.host.group.pids()

    def _accepts_login(self) -> bool:
        """Whether a login succeeds within 30 seconds; during a boot, one may hang."""
        login = run("timeout", 30, *self._ssh(self.host.address, "true"), check=False)
        return login.returncode == 0

    def _plug_in(self) -> None:
        """Connect a new tap device, which qemu opens, to the bridge."""
        name, network = cable_of(self.host.vm), self.host.network
        ip = ("ip", "-n", network.controller)
        run(*ip, "link", "del", name, check=False)
        run(*ip, "tuntap", "add", "dev", name, "mode", "tap")
        network.set_cable(self.host.vm, Cable())

    def _ssh(self, *argv: str) -> list[str]:
        """The command that runs ssh as root with the lab's key."""
        state, folder = self.host.state, self.host.folder
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": SILENT,
            "ControlMaster": "auto",
            "ControlPath": folder / "ssh",
            "ControlPersist": "yes",
            "IdentityFile": state / CONTROLLER / "id_ed25519",
            "LogLevel": "ERROR",
            "Port": self.host.port,
            "ServerAliveCountMax": 2,
            "ServerAliveInterval": SILENT // 2,
            "StrictHostKeyChecking": "no",
            "User": "root",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return self.host.network.inside("ssh", "-F", "none", *words, *argv)
