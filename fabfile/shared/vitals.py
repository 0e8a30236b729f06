"""What every server reports: load, memory, disks, clock, failed services, pending reboots."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from statistics import median
from typing import Annotated, Callable, Optional

from runbook.declare.answers import Count, Line, Number, Path, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import ERROR, OK, WARN, Cause, Finding, Findings, Verdict
from runbook.declare.step import RUNTIME, quote
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster
from runbook.inventory.entry import UnitName, between, named

from .forecast import RECORD, SOON, WEEKS, Growth, growth, soonest

Several = Annotated[int, between(1, 2**62)]
Percentage = Annotated[str, named("percentage, or a dash", "[0-9]{1,3}%|-")]

DISK = Cause("HOST_DISK_FULL", "services stop or fail to start when they cannot write")
FILLS = Cause("HOST_DISK_FILLS", "the disk will be full within a month")
MEMORY = Cause("HOST_MEMORY_SHORT", "the kernel kills processes when memory runs out")
CLOCK = Cause("HOST_CLOCK_OFF", "Airflow considers live servers dead, and log times are wrong")
NO_TIME_SOURCE = Cause("HOST_NO_TIME_SOURCE", "the clock will drift")
REBOOT = Cause("HOST_REBOOT_DUE", "updates are installed but not in use")
FAILED = Cause("HOST_UNIT_FAILED", "the unit does not do its work")
CAUSES = (DISK, FILLS, MEMORY, CLOCK, NO_TIME_SOURCE, REBOOT, FAILED)

DISK_WARN, DISK_ERROR = 85, 95
"""Percentage of a disk, or of its inodes, that is used."""
MEMORY_WARN, MEMORY_ERROR = 8, 3
"""Percentage of the memory that is left."""
APART = 1.0
"""Seconds by which clocks may differ."""


@dataclass(frozen=True)
class Disk:
    """A file system: where, how full in per cent, of space or of inodes."""

    path: str
    used: int


@dataclass(frozen=True)
class Vitals:
    """One server. `load` is that of the last five minutes; memory is in MiB, `uptime` in seconds.

    `reboot`: why it has to reboot; empty if it does not have to.
    """

    load: float
    cpus: int
    memory: int
    available: int
    uptime: int
    disks: tuple[Disk, ...]
    synchronised: bool
    failed: tuple[str, ...]
    reboot: str
    growths: tuple[Growth, ...] = ()

    @property
    def fullest(self) -> Disk:
        """The disk with the least space."""
        return max(self.disks, key=lambda disk: disk.used, default=Disk("/", 0))

    @property
    def left(self) -> int:
        """Per cent of the memory that is available."""
        return round(100 * self.available / self.memory)


def parse(text: str) -> Vitals:
    """Parse the answer of VITALS: lines of a word and its values."""
    told: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        word, *values = line.split()
        told.setdefault(word, []).append(values)
    return Vitals(
        load=one(told["load"][0][1], Number),
        cpus=one(told["cpus"][0][0], Several),
        memory=max(one(told["memory"][0][0], Several) // 1024, 1),
        available=one(told["memory"][0][1], Count) // 1024,
        uptime=int(one(told["uptime"][0][0], Number)),
        disks=tuple(
            Disk(one(" ".join(path), Path), max(percent(space), percent(inodes)))
            for space, inodes, *path in told.get("disk", ())
        ),
        synchronised=told.get("clock", [[""]])[0] == ["Normal"],
        failed=tuple(one(values[0], UnitName) for values in told.get("failed", ())),
        reboot=one(" ".join(told.get("reboot", [[]])[0]), Line),
        growths=tuple(growth(values) for values in told.get("grew", ())),
    )


def percent(text: str) -> int:
    """df's percentage; a file system without inodes has a dash there."""
    share = one(text, Percentage)
    return int(share.rstrip("%")) if share != "-" else 0


WHY_REBOOT = f"""if [[ -e {RUNTIME}/notes/reboot ]]; then
  echo 'a change of ours waits for it'
elif [[ -d /lib/modules ]]; then
  newest=$(rpm -q --qf '%{{INSTALLTIME}} %{{VERSION}}-%{{RELEASE}}.%{{ARCH}}\\n' kernel-core |
    sort -n | tail -1)
  runs=$(uname -r)
  if [[ $newest == [0-9]* && ${{newest#* }} != "$runs" ]]; then
    echo "kernel ${{newest#* }} is installed, $runs runs"
  fi
fi"""
"""Prints why the server has to reboot, if it has to."""

QUESTIONS = f"""{script("shared/vitals.sh", record=RECORD, days=str(WEEKS))}
while read -r why; do echo "reboot $why"; done < <({WHY_REBOOT})
exit 0"""

VITALS = Fact(
    "the state of the server",
    on="all",
    command=lambda cluster, host: QUESTIONS,
    parse=parse,
    absent="it does not answer",
)


@dataclass(frozen=True)
class Clock:
    """Seconds that a server's clock is ahead of the controller's, plus or minus `within`."""

    ahead: float
    within: float


def compared(text: str, before: float, after: float) -> Clock:
    """The server's clock from its time, which was asked between two times of the controller."""
    return Clock(one(text.strip(), Number) - (before + after) / 2, (after - before) / 2)


TIME = Fact(
    "the time",
    on="all",
    command=lambda cluster, host: "date +%s.%N",
    parse=compared,
    absent="it does not answer",
    timed=True,
)


def middle(clocks: Collection[Clock]) -> Clock:
    """The middle of the clocks that were measured best; answers that took long do not count."""
    best = sorted(clocks, key=lambda clock: clock.within)[: max(3, len(clocks) // 2 + 1)]
    return Clock(median(clock.ahead for clock in best), max(clock.within for clock in best))


def apart(facts: Facts) -> dict[str, float]:
    """How many seconds each clock is away from the middle one, at least."""
    clocks = facts.known(TIME)
    if not clocks:
        return {}
    mid = middle(clocks.values())
    return {
        name: max(0.0, abs(clock.ahead - mid.ahead) - clock.within - mid.within)
        for name, clock in clocks.items()
    }


def widest(facts: Facts) -> float:
    """How many seconds a clock may be away from the middle one, at most; slow answers add to it."""
    clocks = facts.known(TIME)
    if not clocks:
        return 0.0
    mid = middle(clocks.values())
    return max(
        abs(clock.ahead - mid.ahead) + clock.within + mid.within for clock in clocks.values()
    )


def findings_of(cluster: Cluster, facts: Facts, ignored: Sequence[str] = ()) -> Findings:
    """What is wrong with which server; one line for each thing that is OK on all.

    `ignored`: patterns of units that may fail.
    """
    known = {name: without(one, ignored) for name, one in facts.known(VITALS).items()}
    yield from clocks_agree(facts)
    yield from each(known, "disks have room", room, DISK, largest)
    yield from each(known, "disks fill slowly", filling, FILLS, largest)
    yield from each(known, "memory is left", memory, MEMORY, who_uses)
    yield from each(known, "nothing waits for a reboot", reboot, REBOOT, rebooting)
    yield from each(known, "no unit has failed", failed, FAILED, why_failed)


def clocks_agree(facts: Facts) -> Findings:
    """No clock is more than a second away from the others."""
    title = "clocks agree"
    off = {name: far for name, far in apart(facts).items() if far > APART}
    for name, far in off.items():
        sentence = f"{name} is {far:.1f} s away from the others"
        fix = f"fab -H {name} base.time; fab -H {name} -- sudo chronyc makestep"
        yield Finding(title, Verdict(ERROR, sentence), fix, CLOCK, (name,))
    if not off and facts.known(TIME):
        yield Finding(title, Verdict(OK, f"within {widest(facts):.1f} s, as far as measured"))


def without(vitals: Vitals, ignored: Sequence[str]) -> Vitals:
    """The vitals without failed units that may fail."""
    failed = (unit for unit in vitals.failed if not any(fnmatchcase(unit, one) for one in ignored))
    return replace(vitals, failed=tuple(failed))


Judge = Callable[[Vitals], Optional[Verdict]]


def each(
    known: Mapping[str, Vitals],
    title: str,
    judge: Judge,
    cause: Cause,
    fix: Callable[[str, Vitals], str],
) -> Findings:
    """One finding for each server that is not OK, else one for all."""
    wrong = {name: verdict for name, one in known.items() if (verdict := judge(one))}
    for name, verdict in wrong.items():
        sentence = f"{name}: {verdict.sentence}"
        way_out = fix(name, known[name])
        yield Finding(title, Verdict(verdict.level, sentence), way_out, cause, (name,))
    if known and not wrong:
        yield Finding(title, Verdict(OK, f"{len(known)} servers"))


def room(vitals: Vitals) -> Optional[Verdict]:
    """No disk is nearly full."""
    full = [disk for disk in vitals.disks if disk.used >= DISK_WARN]
    if not full:
        return None
    level = ERROR if any(disk.used >= DISK_ERROR for disk in full) else WARN
    return Verdict(level, ", ".join(f"{disk.path} is {disk.used} % full" for disk in full))


def filling(vitals: Vitals) -> Optional[Verdict]:
    """No disk will be full within a month, as far as the last weeks tell."""
    soon = [one for one in vitals.growths if one.left is not None and one.left < SOON]
    return Verdict(WARN, "; ".join(map(str, soon))) if soon else None


def largest(name: str, vitals: Vitals) -> str:
    """A command that shows what takes up the space."""
    path = vitals.fullest.path
    show = f"sudo du -xh --max-depth=3 {quote(path)} | sort -h | tail"
    return f"fab -H {name} -- {quote(show)}, then make room"


def memory(vitals: Vitals) -> Optional[Verdict]:
    """Some memory is left."""
    if vitals.left >= MEMORY_WARN:
        return None
    level = ERROR if vitals.left < MEMORY_ERROR else WARN
    return Verdict(level, f"{vitals.left} % of {vitals.memory} MiB are left")


def who_uses(name: str, vitals: Vitals) -> str:
    """A command that shows which processes use the memory."""
    return f"fab -H {name} -- 'ps axo rss,args --sort=-rss | head'"


def reboot(vitals: Vitals) -> Optional[Verdict]:
    """No reboot is pending."""
    return Verdict(WARN, vitals.reboot) if vitals.reboot else None


def rebooting(name: str, vitals: Vitals) -> str:
    """The command to reboot: the runbook's, for its own changes; else cluster.reboot."""
    ours = "kernel" not in vitals.reboot
    return f"fab -H {name} hostnames.reboot" if ours else "inv cluster.reboot --only-pending"


def failed(vitals: Vitals) -> Optional[Verdict]:
    """No unit has failed."""
    return Verdict(WARN, ", ".join(vitals.failed)) if vitals.failed else None


def why_failed(name: str, vitals: Vitals) -> str:
    """Commands that show what the unit printed last, and start it again."""
    show = f"fab -H {name} -- sudo systemctl status {quote(vitals.failed[0])}"
    return f"{show}; then restart it there, or add it to base.ignored_units"


def in_short(cluster: Cluster, facts: Facts) -> str:
    """How many answer, how far their clocks are apart, the fullest disk, memory, load."""
    known = facts.known(VITALS)
    said = [f"{len(known)} of {len(cluster.hosts)} answer"]
    if not known:
        return said[0]
    said.append(f"clocks within {max(widest(facts), 0.1):.1f} s")
    name, vitals = max(known.items(), key=lambda item: item[1].fullest.used)
    said.append(f"fullest disk {vitals.fullest.used} % ({name} {vitals.fullest.path})")
    first = soonest({name: one.growths for name, one in known.items()})
    if first:
        host, disk = first
        said.append(f"first full in about {disk.left} days ({host} {disk.path})")
    short, least = min(known.items(), key=lambda item: item[1].left)
    said.append(f"least memory left {least.left} % ({short})")
    busy, load = max(known.items(), key=lambda item: item[1].load / item[1].cpus)
    said.append(f"highest load {load.load:.1f} on {load.cpus} CPUs ({busy})")
    return ", ".join(said)
