"""Releases of DAGs and plugins: files of a project side by side, of which one runs at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Optional, Union

from runbook.declare import steps
from runbook.declare.answers import Count, lines_of, one
from runbook.declare.step import Step, Steps
from runbook.declare.templates import PROJECT
from runbook.errors import RunbookError, SettingsError
from runbook.inventory.cluster import Cluster, local_path
from runbook.inventory.entry import named

from .common import SCRIPTS
from .folder import read
from .git import GitFailed
from .installation import python
from .repository import Git, Repository
from .settings import Airflow
from .tree import Tree, checked

PROGRAM = f"{SCRIPTS}/releases"
PARTS = ("__main__.py", "place.py", "change.py", "show.py")
TRY = "can-be-imported"

RUN = f"{SCRIPTS}/airflow-releases"
"""What runs the program: as root, or as the owner of the folder."""

LIMIT = 900
"""Seconds that Airflow may take to import all of a release."""

ReleaseName = Annotated[
    str,
    named(
        "release: the beginnings of its commit and its digest",
        r"(?:[0-9a-f]{12}-)?[0-9a-f]{12}(?:\.[0-9]{1,3})?",
    ),
]

What = Annotated[str, named("`current`, `before`, `kept`", "current|before|kept")]
State = Annotated[str, named("`intact`, `changed`", "intact|changed")]


def programs() -> Steps:
    """The programs that keep releases on a server, and try to import them."""
    yield steps.directory(SCRIPTS)
    yield steps.directory(PROGRAM)
    for part in PARTS:
        yield steps.template(f"{PROGRAM}/{part}", f"airflow/releases/{part}", {})
    yield steps.template(f"{SCRIPTS}/{TRY}", f"airflow/{TRY}", {})
    yield steps.template(RUN, "airflow/airflow-releases", {}, mode="0755")


_ONE_AT_A_TIME = threading.Lock()


def files_of(which: Literal["dags", "plugins"], cluster: Cluster) -> Tree:
    """The files that airflow.dags or airflow.plugins names, from a folder or from git.

    git is asked once in a run. SettingsError if they are not there, or no release can have them.
    """
    wanted = getattr(cluster[Airflow], which)
    setting = f"airflow.{which} in {cluster.file.name}"
    with _ONE_AT_A_TIME:
        try:
            if isinstance(wanted, Git):
                return _fetched(wanted, setting, cluster.state)
            return checked(read(local_path(wanted, PROJECT), setting, cluster.state), RESERVED)
        except GitFailed as error:
            said = " ".join(str(error).split())
            raise SettingsError(f"{setting}: git failed: {said[-300:]}") from None


@lru_cache
def _fetched(wanted: Git, setting: str, state: Path) -> Tree:
    return checked(Repository(wanted, setting, state).tree(), RESERVED)


RESERVED = (".releases", ".nfs-ha", "airflow-runbook")
"""Names in the folder of the DAGs that are this project's own."""


@dataclass(frozen=True)
class Place:
    """A folder on servers that has releases; `run` begins a command of the program there.

    `by`: what other commands of the folder's owner begin with.
    """

    folder: str
    run: str
    by: str = ""

    def staged(self, release: Tree) -> Step:
        """The files of a release are there, beside those that run."""
        first = f"echo 'the first release: {len(release.files)} files'"
        return steps.with_stdin(
            f"release {release.name} has arrived: {len(release.files)} files",
            f"{self.run} stage {release.name}",
            release.packed,
            unless=f"{self.run} has {release.name} >/dev/null",
            diff=f"if [[ -x {RUN} ]]\n"
            f'then {self.run} diff {release.name} - <<<"$text"; else {first}; fi',
        )

    def differences(self, name: str) -> str:
        """A command for a plan: the files that a release that has arrived adds or changes."""
        return f"if [[ -x {RUN} ]]; then {self.run} diff {name}; fi"

    def importable(
        self, what: str, name: str, installation: str, cluster: Cluster, also_running: bool = False
    ) -> Step:
        """An installation of Airflow imports all of a release that has arrived, before it runs.

        One that runs already is imported again only with `also_running`: airflow.switch asks
        whether another installation can import it.
        """
        mark = f"{self.folder}/.releases/{name}.imported-{installation}"
        known = f"{self.by}test -e {mark}"
        refuse = cluster[Airflow].broken_dags == "refuse"
        step = steps.command(
            f"Airflow {installation} can import the {what} of {name}",
            f"""(set -euo pipefail
folder=$({self.run} has {name})
code=0
{SCRIPTS}/as-airflow timeout -k 10 {LIMIT} \\
  {python(installation)} {SCRIPTS}/{TRY} {what} "$folder" || code=$?
((code != 124)) || echo 'The import did not end within {LIMIT} s.'
{"" if refuse else "((code != 3)) || code=0"}
((!code)) || {{ echo 'Nothing was released.'; exit "$code"; }}
{self.by}touch {mark})""",
            unless=known if also_running else f"{known} || {self.run} runs {name}",
            timeout=LIMIT + 60,
        )
        return step if refuse else step.with_output()

    def old(self, cluster: Cluster, unless: str = "false") -> Step:
        """Old releases are gone, beyond the number to keep; `unless`: a test for not now."""
        count = cluster[Airflow].releases
        return steps.command(
            f"releases beyond the last {count} are gone",
            f"{self.run} prune {count}",
            unless=f"[[ ! $({self.run} old {count}) ]] || {unless}",
        ).showing(f"{self.run} old {count}")


@dataclass(frozen=True)
class Kept:
    """A release on a server: whether it runs, ran before, is intact; seconds since it changed."""

    name: str
    what: str
    intact: bool
    age: int


def parse(text: str) -> tuple[Kept, ...]:
    """Parse the answer of `list`: a line for each release, and one at the end."""
    *lines, _ = lines_of(text, 1, 2000)
    words = [line.split(" ") for line in lines]
    return tuple(
        Kept(
            one(name, ReleaseName),
            one(what, What),
            one(state, State) == "intact",
            one(age, Count),
        )
        for name, what, state, age in words
    )


def current(kept: tuple[Kept, ...]) -> Optional[Kept]:
    """The release that runs."""
    return next((one for one in kept if one.what == "current"), None)


def chosen(kept: tuple[Kept, ...], to: str) -> Kept:
    """The release to go back to: that which ran before, or the one that `to` begins to name."""
    names = ", ".join(one.name for one in kept if one.what != "current") or "none"
    found = [one for one in kept if one.what != "current" and _named(one, to)]
    if not to and not found:
        raise RunbookError(f"No release is known that ran before. There are: {names}.")
    if len(found) != 1:
        raise RunbookError(f"--to {to} names {len(found)} releases. There are: {names}.")
    if not found[0].intact:
        raise RunbookError(
            f"Release {found[0].name} was changed by others since it ran. Choose another one with "
            f"--to; there are: {names}."
        )
    return found[0]


def _named(kept: Kept, to: str) -> bool:
    if not to:
        return kept.what == "before"
    return any(part.startswith(to) for part in (kept.name, kept.name.rpartition("-")[2]))


Source = Union[str, Git]
"""What airflow.dags and airflow.plugins may be: a folder on this machine, or files in git."""


def to_stay(which: str, source: Source, kept: Kept) -> str:
    """What keeps the next run from releasing again what hosts.yaml says now."""
    if isinstance(source, Git) and "-" in kept.name:
        return (
            f"The next fab airflow.{which}, or cluster.deploy, releases what hosts.yaml says. To "
            f"stay with the former release, set airflow.{which}.ref to its commit "
            f"({kept.name.partition('-')[0]}…)."
        )
    return (
        f"The next fab airflow.{which}, or cluster.deploy, releases what the folder has. To stay "
        "with the former release, restore that folder."
    )
