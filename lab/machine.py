"""A lab: the hosts of an inventory, running on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import controller, faults, save_and_restore
from lab.boot import boot, power_on, wait_for_answers
from lab.cache import Cache, locked
from lab.command import run
from lab.errors import LabError
from lab.host import Host
from lab.image import Image, build_image, wanted_image
from lab.inventory import OWN_HOSTS_FILE, Layout
from lab.network import Cable, Network
from lab.place import NAME, Place, end, require_name
from lab.preflight import prepare_machine, require_root
from lab.progress import Progress
from lab.record import Record
from lab.saved import Saved, Store
from lab.site import require_profiles


@dataclass(frozen=True)
class HostStatus:
    """The state of one host."""

    name: str
    address: str
    state: str
    uptime: float | None  # in seconds; None when the host is off


class Lab(Place):
    """One lab, and what can be done with it."""

    @classmethod
    def open(
        cls,
        name: str | None = None,
        hosts_file: Path | None = None,
        write: Callable[[str], Any] = print,
        profiles: Collection[str] | None = None,
    ) -> Lab:
        """The lab of that name (default: LAB_NAME, else `lab`), whether it is up or not."""
        require_root()
        name = name or os.environ.get("LAB_NAME") or "lab"
        require_name("a lab", name)
        states = states_folder()
        cache = Path(os.environ.get("LAB_CACHE", "/var/cache/airflow-runbook/lab")).absolute()
        return cls(name, states / name, Cache(cache), hosts_file, write, profiles)

    # --- the whole lab ---

    def up(self) -> list[str]:
        """Boot what is not running, wait until it has settled, return what was started."""
        say = Progress(self.write)
        prepare_machine(say)
        with self.locked():
            before = Record.read(self.state)
            profiles = self._profiles(before)
            layout = self._layout(before, profiles)
            if not self.hosts_file and layout.hosts_file != str(OWN_HOSTS_FILE.resolve()):
                say(f"the lab {self.name} uses {layout.hosts_file}; for another lab, add --name")
            self.state.mkdir(parents=True, exist_ok=True)
            with self.cache_locked():
                # A lab that is there keeps the image that its hosts were made from.
                image = self.recorded_image(before) if before else build_image(self.cache, say)
                record = Record(
                    **vars(layout),
                    tag=self.tag,
                    image=image.names(),
                    layers=before.layers if before else (),
                    profiles=profiles,
                )
                record.write(self.state)
                wanted = wanted_image(self.cache)
                self.cache.prune({*wanted.entries, *self._recorded_entries()})
            return boot(self, record, record.hosts, say)

    def build_cache(self) -> None:
        """Build in advance what lab.up needs."""
        say = Progress(self.write)
        prepare_machine(say)
        with self.cache_locked():
            build_image(self.cache, say)

    def down(self) -> None:
        """End the lab and remove its hosts; works also after a crash, and when nothing is up."""
        with self.locked():
            end(self)
        with self.store_locked():
            self.store.remove_unused()

    def is_up(self) -> bool:
        """Whether the lab has been brought up, and not taken down again."""
        return bool(Record.read(self.state)) and Network(self.tag, "", 0).exists()

    def status(self) -> list[HostStatus]:
        """The state of each host."""
        return [
            HostStatus(
                host.name,
                host.address,
                faults.state_of(host),
                host.uptime() if host.init() else None,
            )
            for host in self.hosts().values()
        ]

    def hosts(self) -> dict[str, Host]:
        """The hosts of a lab that is up."""
        return self.record().hosts_in(self.state)

    def host(self, name: str) -> Host:
        """One host of a lab that is up; LabError if the lab has no host of this name."""
        self.record().require_hosts([name])
        return self.hosts()[name]

    # --- saved states ---

    def save(self, name: str, why: str = "", boot: bool = True) -> Saved:
        """Save the current state of the lab; its hosts are stopped for it, and boot again.

        Without `boot` they stay off.
        """
        return save_and_restore.save(self, name, why, boot)

    def restore(self, name: str, only: Collection[str] = ()) -> list[str]:
        """Go back to a saved state, with `only` these hosts on; returns what was started."""
        return save_and_restore.restore(self, name, only)

    def forget(self, name: str) -> None:
        """Delete a saved state; labs that use it keep running."""
        save_and_restore.forget(self, name)

    # --- commands ---

    def environment(self) -> dict[str, str]:
        """The environment in which a command on the controller finds this lab's hosts."""
        record = self.record()
        return controller.environment(self.state, record.hosts_file, record.profiles)

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs argv in the controller's network namespace."""
        return self.record().network.inside(*argv)

    def exec(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the controller; `options` are those of subprocess.run."""
        environment = {**self.environment(), **(env or {})}
        options = {"text": True, "check": False, **options}
        return subprocess.run(self.inside(argv), env=environment, **options)

    def root_shell(self, host: str, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root in a host, without network and ssh; its output is kept."""
        return run(*self.host(host).shell("bash", "-c", command), check=False)

    # --- faults ---

    def fault(
        self, host: str, kind: str, percent: int | None = None, peers: Sequence[str] = ()
    ) -> None:
        """Make something go wrong with a host; returns when it has happened."""
        if kind not in faults.KINDS:
            known = ", ".join(faults.KINDS)
            raise LabError(f"{kind} is not a fault; available: {known}", exit_code=2)
        if peers and kind != "cut":  # also of kinds that are no fault of a cable
            raise LabError(f"--peers can be used only with cut, not with {kind}", exit_code=2)
        found = self.host(host)
        others = [self.host(peer) for peer in dict.fromkeys(peers)]
        with self.locked():
            if kind in faults.CABLE_FAULTS:
                faults.break_cable(found, kind, percent, others)
            elif kind == "power-on":
                power_on(self, [found])
            elif kind == "power-off":
                faults.power_off(found)
            elif kind == "power-loss":
                faults.power_loss(found)
            else:
                faults.freeze(found)

    def strike(self, names: Sequence[str], kind: str) -> None:
        """A fault of several hosts; power losses are at the same moment."""
        if kind != "power-loss":
            for name in names:
                self.fault(name, kind)
            return
        found = [self.host(name) for name in names]
        with self.locked():
            faults.cut_power(found)

    def heal(self, host: str) -> None:
        """Undo every fault of a host; returns when it answers again."""
        self.heal_all([host])

    def heal_all(self, names: Sequence[str]) -> None:
        """Undo every fault of these hosts at the same time; returns when they answer again."""
        found = [self.host(name) for name in names]
        with self.locked():
            for host in found:
                faults.thaw(host)
                host.set_cable(Cable())
            power_on(self, found)
            wait_for_answers(found)

    # --- how it is done ---

    def _profiles(self, before: Record | None) -> tuple[str, ...]:
        """The profiles of fresh hosts; those of a lab that is there stay as they are."""
        if self.profiles is None:
            return before.profiles if before else ()
        wanted = require_profiles(self.profiles)
        if before and wanted != before.profiles:
            has = ", ".join(before.profiles) or "no profile"
            raise LabError(
                f"the lab {self.name} runs with {has}; for another one: inv lab.down, inv lab.up"
            )
        return wanted

    def _layout(self, before: Record | None, profiles: Sequence[str]) -> Layout:
        """Hosts and network as the hosts file in use wants them."""
        hosts_file = self.hosts_file or OWN_HOSTS_FILE
        if before and not self.hosts_file:
            hosts_file = Path(before.hosts_file)
        layout = Layout.of(hosts_file, profiles)
        if before and not before.extended_by(layout):
            raise LabError(
                f"{hosts_file.name} moves or removes hosts of the running lab {self.name};"
                " start again: inv lab.down, then inv lab.up"
            )
        return layout

    def _recorded_entries(self) -> Iterable[Path]:
        """The cache entries that all labs and saved states were made from."""
        for record in self.store.records():
            yield from Image.named(self.cache.root, record.image).entries


def states_folder() -> Path:
    """Where labs are on this machine."""
    return Path(os.environ.get("LAB_STATE", "/var/lib/airflow-runbook/labs")).absolute()


def labs() -> Iterator[Lab]:
    """The labs of this machine, whether they are up or not."""
    folder = states_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if NAME.fullmatch(path.name):
            yield Lab.open(path.name)


def clean(cache: Cache, store: Store, saved: bool = False) -> list[Path]:
    """Remove everything from the cache and, with `saved`, the saved states, too.

    Refuses while a lab uses the cache, or a saved state that stays is made from it.
    """
    with locked(cache.root / "lock", lambda: None):
        used = [entry.name for entry in cache.entries() if cache.held(entry)]
        if used:
            raise LabError(f"a running lab uses {', '.join(used)}; end it first: inv lab.down")
        if store.names() and not saved:
            raise LabError(
                f"saved states are made from the cache: {', '.join(store.names())};"
                " to delete them, too: inv lab.clean --saved"
            )
        for name in store.names():
            store.forget(name)
        with store.locked(lambda: None):
            store.remove_unused()
        return cache.prune(())
