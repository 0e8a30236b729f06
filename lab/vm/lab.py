"""A lab whose hosts are virtual machines: same image and network, each with its own kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import CHECKOUT
from lab.cache import Cache, hold
from lab.command import run
from lab.controller import make_credentials
from lab.errors import LabError
from lab.host import Host
from lab.image import build_image
from lab.inventory import OWN_HOSTS_FILE, Layout
from lab.machine import Lab
from lab.mirror import start_mirror
from lab.preflight import prepare_machine
from lab.progress import Progress
from lab.record import Record
from lab.vm.disk import REPOSITORY
from lab.vm.image import VmImage, build_vm_image
from lab.vm.machine import Machine

PACKAGE_OF = {
    "cpio": "cpio",
    "depmod": "kmod",
    "mke2fs": "e2fsprogs",
    "qemu-system-x86_64": "qemu-system-x86",
}
FAULTS = ("power-loss", "power-on")


class VirtualLab(Lab):
    """A lab of virtual machines; it cannot be saved."""

    def up(self) -> list[str]:
        """Boot fresh machines, wait until their units have started, and return their names."""
        say = Progress(self.write)
        prepare_machine(say, PACKAGE_OF)
        self.down()
        with self.locked():
            self.state.mkdir(parents=True)
            with self.cache_locked():
                image = build_image(self.cache, say)
                layout = Layout.of(self.hosts_file or OWN_HOSTS_FILE)
                record = Record(**vars(layout), tag=self.tag, image=image.names())
                record.write(self.state)
                say("building the kernel and nfs-utils, if they are missing")
                entry = build_vm_image(self._own_cache, image).entry
                self._own_cache.prune({entry})
            password_hash = make_credentials(self.state)
            record.network.up()
            with hold([*image.entries, entry]) as held:
                start_mirror(self, record, image, held)
                served = self.state / "mirror" / REPOSITORY
                served.symlink_to(VmImage(entry).repository)
                self._image_note.write_text(str(entry))
                self._boot_fresh(record, image.layers, password_hash, held)
            self._wait(record, say)
        return list(record.hosts)

    def root_shell(self, host: str, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on a machine, without the product; returns its output."""
        return self._machine(self.host(host)).shell(command)

    def fault(
        self, host: str, kind: str, percent: int | None = None, peers: Sequence[str] = ()
    ) -> None:
        """Cut or restore a machine's power."""
        machine = self._machine(self.host(host))
        if kind not in FAULTS:
            raise LabError(f"virtual machines have no fault {kind}", exit_code=2)
        if kind == "power-loss":
            machine.power_loss()
            return
        with hold([machine.image.entry]) as held:
            machine.power_on(held)

    def heal(self, host: str) -> None:
        """Restore a machine's power and wait until it answers."""
        self.fault(host, "power-on")
        self._machine(self.host(host)).wait()

    @property
    def _own_cache(self) -> Cache:
        """Beside the lab's cache, which removes entries that it does not know."""
        return Cache(self.cache.root.with_name("machines"))

    def _machine(self, host: Host) -> Machine:
        return Machine(host, VmImage(Path(self._image_note.read_text())))

    @property
    def _image_note(self) -> Path:
        """The file that names the image of the running machines."""
        return self.state / "vm-image"

    def _boot_fresh(self, record: Record, layers: str, password_hash: str, held: list[int]) -> None:
        """Write the disks of all machines, and start each as soon as its disk is written."""

        def begin(host: Host) -> None:
            host.prepare(layers, password_hash)
            machine = self._machine(host)
            make = [sys.executable, "-m", "lab.vm.disk", self.state, host.name, machine.image.entry]
            private = ("unshare", "--mount", "--propagation=private", "--")
            run(*record.network.inside(*private, *make), env={"PYTHONPATH": str(CHECKOUT)})
            machine.power_on(held)

        with ThreadPoolExecutor(os.cpu_count()) as workers:
            list(workers.map(begin, record.hosts_in(self.state).values()))

    def _wait(self, record: Record, say: Progress) -> None:
        """Wait until all machines answer and their units have started."""

        def wait(host: Host) -> None:
            machine = self._machine(host)
            machine.wait()
            say(f"{host.name} answers")
            failed = machine.settle()
            say(f"{host.name} has settled" + (f" without {failed}" if failed else ""))

        hosts = record.hosts_in(self.state).values()
        with ThreadPoolExecutor(len(hosts)) as waiters:
            list(waiters.map(wait, hosts))
