"""One host of a lab: where it is, how it is switched on, and how to get a shell in it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups
from lab.cgroups import Group
from lab.command import run, start_detached
from lab.controller import public_key
from lab.errors import LabError
from lab.network import Cable, Network
from lab.site import SECOND_NETWORK, Site
from lab.waiting import wait_until

POWER_OFF = signal.SIGRTMIN + 4  # to systemd as pid 1
RELEASED = 15  # seconds after which the kernel has let go of the disk of a host that went off
MIRROR = "labmirror"  # what every host calls the mirror, without DNS


@dataclass(frozen=True)
class Host:
    """A host as the lab runs it: where it is in the network, and where its files are."""

    name: str
    vm: int
    address: str
    state: Path
    network: Network
    port: int
    site: Site

    @property
    def folder(self) -> Path:
        return self.state / "hosts" / self.name

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def machine_name(self) -> str:
        return f"{self.network.tag}-vm{self.vm}"

    @property
    def group(self) -> Group:
        return cgroups.group(self.network.tag).child(self.name)

    @property
    def supervisor_group(self) -> Group:
        return cgroups.group(self.network.tag).child(f"{self.name}.supervisor")

    @property
    def payload(self) -> Group:
        """The group in which systemd-nspawn puts all that runs in the host."""
        return self.group.child("payload")

    @property
    def cable(self) -> Cable:
        return Cable.read(self.folder / "cable")

    def set_cable(self, cable: Cable) -> None:
        """Make the cable faulty or sound, now and after each boot."""
        cable.write(self.folder / "cable")
        if self.init():
            self.network.set_cable(self.vm, cable)

    def init(self) -> int | None:
        """The pid of the host's systemd, None when the host is off."""
        return self.payload.init()

    def require_on(self) -> int:
        """The pid of the host's systemd; a sentence for the user when the host is off."""
        init = self.init()
        if not init:
            raise LabError(f"{self.name} is off; switch it on: inv lab.fault {self.name} power-on")
        return init

    def supervised(self) -> bool:
        """Whether a supervisor looks after the host: it runs, or is on its way up or down."""
        return bool(self.supervisor_group.pids())

    def runs(self, timeout: float = 30) -> bool:
        """Whether the host runs; waits for one that is on its way up or down."""
        wait_until(lambda: bool(self.init()) or not self.supervised(), timeout)
        return self.supervised()

    def off(self) -> bool:
        """Whether nothing of the host runs any more."""
        return not self.supervised() and not self.group.pids()

    def uptime(self) -> float:
        """Seconds since the last boot."""
        return time.time() - (self.folder / "booted").stat().st_mtime

    def connect(self) -> None:
        """Give the host a fresh network namespace, with a cable to each of its networks."""
        self.network.connect(self.name, self.vm, self.address, self.cable)
        if SECOND_NETWORK in self.site.profiles:
            self.network.connect_second(self.name, self.vm)

    def prepare(self, layers: str, password_hash: str) -> None:
        """Note what the next power-on mounts, and the password that a fresh host gets."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "layers").write_text(layers)
        fresh = self.folder / "password-hash"
        fresh.touch(mode=0o600)
        fresh.write_text(password_hash)

    def mount(self) -> None:
        """Mount the root filesystem, and give a fresh host an identity of its own.

        Only in the mount namespace of the host's supervisor: elsewhere, hosts that are booted
        meanwhile would keep the mount in use.
        """
        if not (self.folder / "upper").exists():
            shutil.rmtree(self.folder / "work", ignore_errors=True)  # of a layer that was frozen
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(exist_ok=True)
        options = f"lowerdir={(self.folder / 'layers').read_text()}"
        options += f",upperdir={self.folder}/upper,workdir={self.folder}/work"
        options += ",index=on,nfs_export=on"  # files have handles, which an NFS server needs
        mount = ("mount", "-t", "overlay", self.machine_name, "-o", options, self.root)
        if not wait_until(lambda: run(*mount, check=False).returncode == 0, RELEASED, pause=0.1):
            run(*mount)
        prepared = self.folder / "prepared"
        if not prepared.exists():
            self._make_individual((self.folder / "password-hash").read_text())
            prepared.touch()

    def freeze(self, layer: Path) -> None:
        """Turn what a host that is off has written into a layer that never changes again."""
        written = self.folder / "upper"
        layer.parent.mkdir(parents=True, exist_ok=True)
        if written.exists():  # one that was left off since the last layer has nothing
            written.rename(layer)

    def begin_on_layers(self) -> None:
        """Begin a host whose layers already have an identity, so that it gets no new one."""
        self.folder.mkdir(parents=True)
        (self.folder / "prepared").touch()

    def _make_individual(self, password_hash: str) -> None:
        """Create what differs between two hosts of the same image, as after an installation."""
        etc = self.root / "etc"
        (etc / "machine-id").write_text(uuid.uuid4().hex + "\n")
        (etc / "resolv.conf").write_text(f"nameserver {self.network.address}\n")
        (etc / "dnf/vars/labmirror").write_text(f"{self.network.address}\n")
        with (etc / "hosts").open("a") as hosts:
            hosts.write(f"{self.network.address}   {MIRROR}\n")
        shadow = etc / "shadow"
        _, *others = shadow.read_text().splitlines()
        shadow.write_text("\n".join([f"root:{password_hash}:19000:0:99999:7:::", *others]) + "\n")
        for kind in ("ed25519", "ecdsa"):
            key = etc / f"ssh/ssh_host_{kind}_key"
            key.unlink(missing_ok=True)
            run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", key)
        self.site.prepare(self.root, self.port, password_hash, public_key(self.state))

    def power_on(self, held: list[int]) -> None:
        """Start the supervisor, which holds the cache entries whose descriptors are `held`."""
        self.group.kill()  # what a killed supervisor left behind could not reboot
        supervise = [sys.executable, "-m", "lab.supervisor", str(self.state), self.name]
        supervisor = start_detached(
            ["unshare", "--mount", "--propagation=private", *supervise],
            log=self.folder / "supervisor.log",
            held=held,
        )
        self.supervisor_group.add(supervisor)

    def wait_for_boot(self, timeout: float = 30) -> None:
        """Wait until the host's systemd has begun to run."""
        if not wait_until(lambda: bool(self.init()), timeout):
            log = self.folder / "console.log"
            raise LabError(f"{self.name} does not boot; see {log} and supervisor.log beside it")

    def shell(self, *argv: str) -> list[str]:
        """The command that runs argv as root in the host, without ssh."""
        init = self.require_on()
        return [
            *("nsenter", f"--target={init}", "--mount", "--uts", "--ipc", "--net", "--pid"),
            *("--cgroup", "--time", "--root", "--wd", "--no-fork", "--"),
            # It is this sh that forks into the host's pid namespace: nsenter, when it forks, stops
            # with its child when the host shuts down, and the host then waits for it for ever.
            *("sh", "-c", '"$@"; exit $?', "sh"),
            *("env", "-i", "HOME=/root", f"TERM={os.environ.get('TERM', 'dumb')}", "LANG=C.UTF-8"),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
            *argv,
        ]
