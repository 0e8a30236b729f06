"""A lab: the hosts of an inventory, running on this machine."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab import cgroups, faults
from lab.cache import Cache, hold, locked
from lab.command import run, start_detached
from lab.errors import LabError
from lab.host import Host
from lab.image import Image, build_image, wanted_image
from lab.inventory import CHECKOUT, OVERRIDE, layout, versions
from lab.network import Cable, Network, tag_of
from lab.packages.model import REPOSITORIES
from lab.preflight import prepare_machine, require_root
from lab.progress import Progress
from lab.record import Record
from lab.saved import CONTROLLER, INVENTORY, Saved, Store, digest_of
from lab.shelf import INDEX, SOURCES

OWN_HOSTS_FILE = CHECKOUT / "hosts.yaml"
SETTLING = 180  # seconds a host may take from its power-on until nothing is starting any more
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")


@dataclass(frozen=True)
class HostStatus:
    name: str
    address: str
    state: str
    uptime: float | None  # in seconds; None when the host is off


class Lab:
    """One lab by its name. Everything it has on this machine is found again by that name."""

    def __init__(
        self,
        name: str,
        state: Path,
        cache: Cache,
        hosts_file: Path | None = None,
        write: Callable[[str], Any] = print,
    ) -> None:
        self.name = name
        self.state = state
        self.cache = cache
        self.hosts_file = hosts_file
        self.write = write
        self.tag = tag_of(state)
        self.store = Store(state.parent)

    @classmethod
    def open(
        cls,
        name: str | None = None,
        hosts_file: Path | None = None,
        write: Callable[[str], Any] = print,
    ) -> Lab:
        """The lab of that name (default: LAB_NAME, else `lab`), whether it is up or not."""
        require_root()
        name = name or os.environ.get("LAB_NAME") or "lab"
        _require_name("a lab", name)
        states = Path(os.environ.get("LAB_STATE", "/var/lib/airflow-runbook/labs")).absolute()
        cache = Path(os.environ.get("LAB_CACHE", "/var/cache/airflow-runbook/lab")).absolute()
        return cls(name, states / name, Cache(cache), hosts_file, write)

    # --- the whole lab ---

    def up(self) -> list[str]:
        """Bring up what is not running, wait until it has settled, name what was started."""
        say = Progress(self.write)
        prepare_machine(say)
        with self._locked():
            before = Record.read(self.state)
            plan = self._plan(before)
            if not self.hosts_file and plan["hosts_file"] != str(OWN_HOSTS_FILE.resolve()):
                say(f"the lab {self.name} is that of {plan['hosts_file']}; another needs --name")
            self.state.mkdir(parents=True, exist_ok=True)
            with locked(self.cache.root / "lock", self._wait_for_other):
                image = self._image(before, say)
                record = Record(image=image.names(), **plan)
                record.write(self.state)
                wanted = wanted_image(self.cache)
                self.cache.prune({*wanted.entries, *self._recorded_entries()})
            return self._boot(record, say, record.hosts)

    def build_cache(self) -> None:
        """Build what lab.up needs, ahead of it."""
        say = Progress(self.write)
        prepare_machine(say)
        with locked(self.cache.root / "lock", self._wait_for_other):
            build_image(self.cache, say)

    def down(self) -> None:
        """End the lab and remove its hosts; works also after a crash, and when nothing is up."""
        with self._locked():
            self._end()
        with self._store_locked():
            self.store.remove_unused()

    def is_up(self) -> bool:
        """Whether the lab has been brought up, and not taken down again."""
        return bool(Record.read(self.state)) and Network(self.tag, "", 0).exists()

    def status(self) -> list[HostStatus]:
        """How each host is."""
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
        return self._record().machines(self.state)

    def host(self, name: str) -> Host:
        _require_hosts(self._record(), [name])
        return self.hosts()[name]

    # --- saved states ---

    def save(self, name: str, why: str = "", boot: bool = True) -> Saved:
        """Keep the lab as it is now, to go back to; its hosts are stopped for it, and boot again.

        All of them stand still before the first one loses its power, so that their disks are of the
        same moment. All must be well, or have been left off: a state with a fault in it is none to
        begin from. Without `boot` they stay off.
        """
        say = Progress(self.write)
        _require_name("a saved state", name)
        with self._locked():
            record = self._record()
            self._require_savable(name, record)
            wanted = versions(Path(record.hosts_file))
            hosts = list(record.machines(self.state).values())
            running = [host for host in hosts if host.init()]
            with ThreadPoolExecutor(len(hosts)) as switches:
                for switch in (faults.freeze, faults.power_loss):
                    list(switches.map(switch, running))
            say(f"{len(hosts)} hosts are off")
            with self._store_locked():
                # The record goes first: until its layer is there, a host's own files are on top.
                layer = secrets.token_hex(6)
                record = replace(record, layers=(layer, *record.layers))
                record.write(self.state)
                for host in hosts:
                    host.freeze(self.store.layers / layer / host.name)
                self.store.add(name, record, self.state / CONTROLLER, wanted, why)
            say(f"{name} is saved")
            self._boot(record, say, only=[host.name for host in running if boot])
        return self.store.read(name)

    def restore(self, name: str, only: Collection[str] = ()) -> list[str]:
        """Go back to a saved state; what this lab has now is given up. Names what was started.

        With `only`, the other hosts are left off until somebody needs them.
        """
        say = Progress(self.write)
        prepare_machine(say)
        with self._locked():
            wanted = self.store.read(name).record
            self._recorded_image(wanted)
            _require_hosts(wanted, only)
            self._end()
            with self._store_locked():
                saved = self.store.read(name)
                self.state.mkdir(parents=True)
                run("cp", "-a", saved.folder / CONTROLLER, self.state / CONTROLLER)
                hosts_file = self._inventory_of(saved, say)
                record = replace(
                    saved.record,
                    tag=self.tag,
                    hosts_file=str(hosts_file),
                    left_off=tuple(name for name in wanted.hosts if only and name not in only),
                )
                for host in record.machines(self.state).values():
                    host.begin_on_layers()
                record.write(self.state)
                self.store.remove_unused()
            return self._boot(record, say, only or record.hosts)

    def forget(self, name: str) -> None:
        """Drop a saved state; labs that stand on it go on."""
        with self._store_locked():
            self.store.read(name)
            self.store.forget(name)
            self.store.remove_unused()

    # --- commands ---

    def environment(self) -> dict[str, str]:
        """The environment for a command in the controller's place: it finds this lab's hosts."""
        record = self._record()
        controller = self.state / CONTROLLER
        environment = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
        return {
            **environment,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "RUNBOOK_INVENTORY": record.hosts_file,
            "RUNBOOK_OVERRIDE": str(OVERRIDE),
            "RUNBOOK_STATE": str(controller),
            "RUNBOOK_BOOTSTRAP_PASSWORD": (controller / "root-password").read_text().strip(),
        }

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs argv in the controller's network namespace."""
        return self._record().network.inside(*argv)

    def exec(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where the controller is; `options` are those of subprocess.run."""
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
            raise LabError(f"there is no fault {kind}; there are {known}", exit_code=2)
        if peers and kind != "cut":  # also of kinds that are no fault of a cable
            raise LabError(f"peers go with cut only, not with {kind}", exit_code=2)
        machine = self.host(host)
        others = [self.host(peer) for peer in dict.fromkeys(peers)]
        with self._locked():
            if kind in faults.CABLE_FAULTS:
                faults.break_cable(machine, kind, percent, others)
            elif kind == "power-on":
                self._power_on(machine)
            elif kind == "power-off":
                faults.power_off(machine)
            elif kind == "power-loss":
                faults.power_loss(machine)
            else:
                faults.freeze(machine)

    def heal(self, host: str) -> None:
        """Undo every fault of a host; returns when it answers again."""
        machine = self.host(host)
        with self._locked():
            faults.thaw(machine)
            machine.set_cable(Cable())
            self._power_on(machine)
            self._wait_for_answer(machine)

    # --- how it is done ---

    def _locked(self) -> AbstractContextManager[None]:
        """One at a time changes the lab."""
        return locked(self.state.with_name(f".{self.name}.lock"), self._wait_for_other)

    def _store_locked(self) -> AbstractContextManager[None]:
        return self.store.locked(
            lambda: self.write("waiting: another command is changing the saved states")
        )

    def _wait_for_other(self) -> None:
        self.write(f"waiting: another command is changing the lab {self.name} or its cache")

    def _record(self) -> Record:
        record = Record.read(self.state)
        if not record or not record.network.exists():
            named = "" if self.name == "lab" else f" --name {self.name}"
            raise LabError(f"no lab is up; run: inv lab.up{named}")
        return record

    def _plan(self, before: Record | None) -> dict[str, Any]:
        """Hosts and network as the hosts file in use wants them."""
        hosts_file = self.hosts_file or OWN_HOSTS_FILE
        if before and not self.hosts_file:
            hosts_file = Path(before.hosts_file)
        plan = {
            **layout(hosts_file),
            "tag": self.tag,
            "layers": before.layers if before else (),
        }
        if before and not before.extended_by(plan):
            raise LabError(
                f"{hosts_file.name} moves or drops hosts of the running lab {self.name};"
                " begin afresh: inv lab.down, then inv lab.up"
            )
        return plan

    def _image(self, before: Record | None, say: Progress) -> Image:
        """The image the lab's hosts were made from; for a new lab, the checkout's."""
        if not before:
            return build_image(self.cache, say)
        return self._recorded_image(before)

    def _recorded_image(self, record: Record) -> Image:
        image = Image.named(self.cache.root, record.image)
        if not image.complete():
            raise LabError(
                f"the image that the lab {self.name} is made from is no longer in the cache;"
                " begin afresh: inv lab.down, then inv lab.up"
            )
        return image

    def _recorded_entries(self) -> Iterable[Path]:
        """The cache entries that all labs and saved states were made from."""
        for record in self.store.records():
            yield from Image.named(self.cache.root, record.image).entries

    def _require_savable(self, name: str, record: Record) -> None:
        if name in self.store.names():
            raise LabError(f"{name} is saved already; drop that first: inv lab.forget {name}", 2)
        for host in record.machines(self.state).values():
            state = faults.state_of(host)
            if state != "running" and not (state == "off" and host.name in record.left_off):
                raise LabError(
                    f"{host.name} is {state}, and only a lab whose hosts are all well is saved;"
                    f" first: inv lab.heal {host.name}"
                )

    def _inventory_of(self, saved: Saved, say: Progress) -> Path:
        """The hosts file that a state was saved with: one that people edit, else the saved copy."""
        own = [self.hosts_file] if self.hosts_file else []
        for file in (*own, OWN_HOSTS_FILE, Path(saved.record.hosts_file)):
            if file.exists() and digest_of(file) == saved.digest:
                return file.resolve()
        copy = self.state / INVENTORY
        shutil.copyfile(saved.inventory, copy)
        say(f"the hosts file has changed since; the lab keeps to that of then: {copy}")
        return copy

    def _boot(self, record: Record, say: Progress, only: Collection[str]) -> list[str]:
        """Start those of these hosts that are not running, and wait until they have settled."""
        image = self._recorded_image(record)
        with hold(image.entries) as held:
            started = self._start(record, image, held, say, only)
        self._wait(record, started, say)
        return started

    def _end(self) -> None:
        """End whatever of the lab is there, and remove its hosts."""
        group = cgroups.group(self.tag)
        group.kill()
        Network(self.tag, "", 0).down()
        cgroups.remove_everywhere(self.tag)
        for path in Path("/run/systemd/nspawn/propagate").glob(f"{self.tag}-*"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)

    def _start(
        self,
        record: Record,
        image: Image,
        held: list[int],
        say: Progress,
        only: Collection[str],
    ) -> list[str]:
        password_hash = self._make_credentials()
        record.network.up()
        self._start_mirror(record, image, held)
        missing = [host for host in record.machines(self.state).values() if not host.runs()]
        for host in missing:
            disks = [str(layer) for layer in self.store.disks(record, host.name)]
            host.prepare(":".join([*disks, image.layers]), password_hash)

        def start(host: Host) -> None:
            host.power_on(held)
            host.wait_for_boot()

        wanted = [host for host in missing if host.name in only]
        if wanted:
            say(f"starting {len(wanted)} of {len(record.hosts)} hosts")
        with ThreadPoolExecutor(os.cpu_count()) as starters:
            list(starters.map(start, wanted))
        return [host.name for host in wanted]

    def _make_credentials(self) -> str:
        """The controller's key and the hosts' root password, made once; returns its hash."""
        controller = self.state / CONTROLLER
        controller.mkdir(mode=0o700, exist_ok=True)
        key, password = controller / "id_ed25519", controller / "root-password"
        if not password.exists():
            password.touch(mode=0o600)
            password.write_text(secrets.token_urlsafe(12) + "\n")
        if not key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab controller", "-f", key)
        return run("openssl", "passwd", "-6", "-stdin", feed=password.read_text()).stdout.strip()

    def _start_mirror(self, record: Record, image: Image, held: list[int]) -> None:
        """Serve repositories and shelf by HTTP where only the lab's hosts can reach it."""
        group = cgroups.group(self.tag).child("mirror")
        if group.pids():
            return
        served = self.state / "mirror"
        served.mkdir(exist_ok=True)
        entries = dict.fromkeys(REPOSITORIES, image.repository)
        entries.update(dict.fromkeys((SOURCES, INDEX), image.shelf))
        for name, entry in entries.items():
            link = served / name
            link.unlink(missing_ok=True)
            link.symlink_to(entry / name)
        server = [sys.executable, "-m", "http.server", "80", "--bind", record.address]
        server += ["--directory", str(served)]
        log = self.state / "mirror.log"
        group.add(start_detached(record.network.inside(*server), log=log, held=held))

    def _wait(self, record: Record, names: list[str], say: Progress) -> None:
        """Wait until the started hosts answer by ssh and have settled."""
        hosts = record.machines(self.state)
        waiting = {
            hosts[name].address: hosts[name] for name in names if not hosts[name].cable.fault
        }
        total = len(waiting)
        for number, address in enumerate(
            record.network.wait_for_ssh(list(waiting), SETTLING), start=1
        ):
            say(f"{waiting.pop(address).name} answers ({number} of {total})")
        if waiting:
            silent = ", ".join(host.name for host in waiting.values())
            raise LabError(f"no ssh server answers after {SETTLING} s on {silent}")
        with ThreadPoolExecutor(32) as waiters:
            troubles = list(waiters.map(_settle, [hosts[name] for name in names]))
        for trouble in filter(None, troubles):
            say(trouble)
        states = {host.name: faults.state_of(host) for host in hosts.values()}
        left_off = [name for name in record.left_off if states[name] == "off"]
        for name, state in states.items():
            if state != "running" and name not in left_off:
                say(f"{name} is {state}, and stays so until: inv lab.heal {name}")
        up = f"{len(hosts) - len(left_off)} hosts are up" + ("" if names else ", nothing to do")
        others = f"; left off: {', '.join(left_off)}" if left_off else ""
        say(up + others)

    def _power_on(self, host: Host) -> None:
        """Boot a host that is off."""
        if host.supervised():
            return
        image = self._recorded_image(self._record())
        with hold(image.entries) as held:
            host.power_on(held)
        host.wait_for_boot()
        if not host.cable.fault:
            self._wait_for_answer(host)

    def _wait_for_answer(self, host: Host) -> None:
        if not list(host.network.wait_for_ssh([host.address], SETTLING)):
            raise LabError(f"no ssh server answers on {host.name}")


def _require_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise LabError(f"{kind}'s name is made of letters, digits, - and _, not {name!r}", 2)


def _require_hosts(record: Record, names: Iterable[str]) -> None:
    for name in names:
        if name not in record.hosts:
            known = ", ".join(record.hosts)
            raise LabError(f"the lab has no host {name}; it has {known}", exit_code=2)


def clean(cache: Cache, store: Store, saved: bool = False) -> list[Path]:
    """Remove everything from the cache, and the saved states if they are to go, too.

    Refuses while a lab uses the cache, or a saved state that stays is made from it.
    """
    with locked(cache.root / "lock", lambda: None):
        used = [entry.name for entry in cache.entries() if cache.held(entry)]
        if used:
            raise LabError(f"a running lab uses {', '.join(used)}; end it first: inv lab.down")
        if store.names() and not saved:
            raise LabError(
                f"saved states are made from it: {', '.join(store.names())};"
                " to drop them, too: inv lab.clean --saved"
            )
        for name in store.names():
            store.forget(name)
        with store.locked(lambda: None):
            store.remove_unused()
        return cache.prune(())


def _settle(host: Host) -> str | None:
    """Wait until a host has started everything; a sentence if something failed."""
    if not host.init():
        return f"{host.name} went off while it started; see {host.folder / 'console.log'}"
    state = run(*host.shell("systemctl", "is-system-running", "--wait"), check=False)
    if state.stdout.strip() == "running":
        return None
    failed = run(*host.shell("systemctl", "--failed", "--plain", "--no-legend"), check=False)
    units = ", ".join(line.split()[0] for line in failed.stdout.splitlines() if line.strip())
    return f"{host.name} is {state.stdout.strip() or 'in trouble'}: {units or state.stderr.strip()}"
