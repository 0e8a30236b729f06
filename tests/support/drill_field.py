"""A place for drills in unit tests: a bash of this machine as hosts, a clock that never waits."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from types import SimpleNamespace

from support.shells import Shells

from fabfile.operator.drill.ground import Ground
from fabfile.operator.drill.rounds import Round
from fabfile.shared.versions import Versions
from runbook.declare.contents import Contents
from runbook.declare.drills import POWER_LOSS, Deed, Drill, Load, Outage, Target
from runbook.declare.section import Section
from runbook.declare.steps import action
from runbook.errors import RunbookError
from runbook.execute.journal import Journal
from runbook.execute.run import Options, Run
from runbook.output.report import Report
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Passwords

HOST, LOAD_HOST = "mq2", "worker1"


class Clock:
    """A clock that goes on when somebody sleeps; `then` is called at each such time, `tick` too."""

    def __init__(self, tick) -> None:
        self.now = 1000.0
        self.tick = tick
        self.then = lambda now: None

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then(self.now)
        self.tick()

    def strftime(self, form: str) -> str:
        return "2026-11-29T20:00:00"


@dataclass
class Plugs:
    """A lab that notes what is done to its hosts."""

    notes: list[str]
    faulty: dict[str, str] = field(default_factory=dict)
    name = "test"
    broken: int = 0

    def strike(self, hosts, kind) -> None:
        self.notes.append(f"{kind} of {','.join(hosts)}")

    def heal(self, hosts) -> None:
        if self.broken:
            self.broken -= 1
            raise RunbookError("it does not answer")
        self.notes.append(f"heal {','.join(hosts)}")

    def standing(self) -> dict[str, str]:
        return self.faulty


class Field:
    """A place for drills: a section with one load, whose client is a file; and what happened."""

    def __init__(self, cluster, folder) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.clock = Clock(self.beat)
        self.waiting: float | None = 0.0
        self.plugs: Plugs | None = Plugs(self.notes)
        self.statuses: list[str] = []
        self.reasons: list[str] = []
        self.drills: list[Drill] = []
        self.section = Section("s", on="all", runbook="9", about="About s.")
        self.section.drill_function = lambda cluster: self.drills
        self.section.before_hard_drills(needs=())(lambda cluster, facts: self.reasons)
        self.section.load(self._load())
        self.beat()
        self.account([(1005, 1005.1)], there=[1])
        self.said = io.StringIO()
        mask = Mask()
        self.run = Run(
            contents=Contents((self.section,), {"versions": Versions}),
            cluster=cluster,
            options=Options(yes=True),
            report=Report(mask, order=list(cluster.hosts), stream=self.said),
            config=None,
            journal=Journal(folder, mask),
            passwords=Passwords(mask, ask=str),
        )
        self.run._connections = Shells()

    def _load(self) -> Load:
        def noted(word):
            def steps(host, cluster):
                fails = f"{self.folder}/fails-{word}"
                yield action(
                    word,
                    f"if [[ -s {fails} ]]; then sed -i 1d {fails}; exit 1; fi\n"
                    f"echo {word} on {host.name} >>{self.folder}/notes",
                )

            return steps

        return Load(
            name="rows",
            about="rows, written all the time",
            item="row",
            on=lambda cluster: [cluster.hosts[LOAD_HOST]],
            uses=("worker",),
            prepare=noted("prepare"),
            start=noted("start"),
            stop=noted("stop"),
            clean=noted("clean"),
            pulse=lambda host, cluster: f"cat {self.folder}/pulse",
            account=lambda host, cluster: f"cat {self.folder}/account",
            sweep=((lambda cluster: [cluster.hosts[LOAD_HOST]], noted("sweep")),),
        )

    def beat(self) -> None:
        """What the client says of itself; nonsense, if it is not known how long it waits."""
        pulse = {"now": self.clock.now, "acknowledged": 7, "waits": self.waiting}
        (self.folder / "pulse").write_text(json.dumps(pulse))

    def fails(self, *often: tuple[str, int]) -> None:
        """These steps of the load fail so many times."""
        for word, times in often:
            (self.folder / f"fails-{word}").write_text("again\n" * times)

    def waits(self, seconds: float | None) -> None:
        """The client waits that long for an acknowledgement."""
        self.waiting = seconds
        self.beat()

    def account(self, times, there) -> None:
        items = [[number, *one] for number, one in enumerate(times, 1)]
        (self.folder / "account").write_text(json.dumps({"items": items, "there": there}))

    def look(self):
        """The status: OK, unless the test has put words for the next looks."""
        word = self.statuses.pop(0) if self.statuses else "OK"
        self.notes.append(f"look: {word}")
        return SimpleNamespace(
            exit_code=word != "OK", word=word, problems=[SimpleNamespace(code="PG_PAUSED")]
        )

    def outage(self, name="power", **changes) -> Drill:
        usual = {
            "sentence": "It loses its power.",
            "target": Target(lambda cluster, facts: [cluster.hosts[HOST]]),
            "fault": Outage(POWER_LOSS),
            "measure": ("rows",),
            "watch": 5,
            "patience": 20,
        }
        self.drills.append(Drill(name, **{**usual, **changes}))
        return self.drills[-1]

    def deed(self, strike: str, undo: str, **changes) -> Drill:
        def steps(text):
            def of(host, cluster):
                yield action(text, f"echo {text} on {host.name} >>{self.folder}/notes; {text}")

            return of

        return self.outage("deed", fault=Deed(steps(strike), steps(undo), soft=True), **changes)

    def go(self, *drills: Drill, times: int = 1):
        return self.round().carry_out(list(drills), times)

    def round(self) -> Round:
        return Round(self.run, Ground(self.run.cluster, self.plugs))

    def on_hosts(self) -> list[str]:
        """What was done on hosts, in order."""
        file = self.folder / "notes"
        return file.read_text().splitlines() if file.exists() else []
