"""Copies the project's DAGs to the share, after all of them could be imported."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.templates import PROJECT
from runbook.errors import SettingsError
from runbook.inventory.cluster import Cluster, Host, local_path

from ..nfs.common import NETWORK
from ..nfs.state import SERVER, the_active
from ..shared.airflow import AS_USER, DAGS, USER
from ..shared.roles import NFS
from ..shared.versions import Versions
from .common import SCRIPTS, section
from .installation import python, python_in_use, wanted
from .settings import Airflow

SHIPPED = f"{DAGS}/.shipped"
"""The list of files that came from here: files that others put on the share are kept."""

TRY = "dags-can-be-imported"

IMPORTED = f"{DAGS}/.imported"
"""What a version imported last; it is on the share, so a server that takes over knows it, too."""


@section.task(on=NFS, needs=[NETWORK, SERVER])
def dags(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Copy the project's DAGs to the share; none of them if one cannot be imported.

    airflow.dags in hosts.yaml is their folder. A DAG that is no longer in it is removed; files that
    others put on the share are kept.
    """
    yield from script()
    if host != the_active(cluster, facts):
        return
    files = project_files(cluster)
    yield importable(files, cluster, python_in_use())
    for folder in folders(files):
        yield steps.directory(f"{DAGS}/{folder}", owner=USER, group=USER)
    for name, text in files.items():
        yield steps.file(f"{DAGS}/{name}", text, owner=USER, group=USER)
    yield no_others(files)


def project_files(cluster: Cluster) -> dict[str, str]:
    """Path and text of every file in the DAG folder; SettingsError if it does not exist."""
    folder = local_path(cluster[Airflow].dags, PROJECT)
    if not folder.is_dir():
        raise SettingsError(
            f"{folder} is not a folder. Correct airflow.dags in {cluster.file.name}."
        )
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or "__pycache__" in path.parts or name.startswith("."):
            continue
        try:
            found[name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} cannot be read as text: {error}.") from None
    return found


def folders(files: dict[str, str]) -> list[str]:
    """Folders below the DAG folder, outer ones first."""
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    return sorted(parents - {"."})


def script() -> Steps:
    """The script that tries to import DAGs; on all NFS servers, as any may become active."""
    yield steps.directory(SCRIPTS)
    yield steps.template(f"{SCRIPTS}/{TRY}", f"airflow/{TRY}", {})


def tried(files: dict[str, str], cluster: Cluster) -> Steps:
    """The installation of hosts.yaml can import these DAGs; the share is not changed."""
    yield from script()
    yield importable(files, cluster, python(wanted(cluster)))


def importable(files: dict[str, str], cluster: Cluster, program: str) -> Step:
    """Airflow itself imports all of them, away from the share."""
    text = json.dumps(files)
    wanted = hashlib.sha256(text.encode()).hexdigest()
    imported = f"{IMPORTED}-{cluster[Versions].airflow}"
    return steps.with_stdin(
        f"the DAGs can be imported: {len(files)} files",
        f"""(set -euo pipefail
{SCRIPTS}/as-airflow {program} {SCRIPTS}/{TRY}
{replaced(imported)} <<<{wanted})""",
        text,
        unless=f"[[ $({AS_USER} cat {imported} 2>/dev/null) == {wanted} ]]",
    )


def replaced(path: str) -> str:
    """Replace a file of the user airflow by standard input, with that user's rights only."""
    return f'{AS_USER} bash -c \'cat >"$1.new" && mv -fT "$1.new" "$1"\' - {path}'


def no_others(files: dict[str, str]) -> Step:
    """Files that came from here and are no longer in the folder are removed."""
    # The list is on the share, where clients can write: only what is a file there can go, and
    # airflow, which may remove it anyway, removes it.
    shipped = f"{AS_USER} cat {SHIPPED} 2>/dev/null"
    there = f"{AS_USER} find {DAGS} -type f -printf '%P\\n' | sort"
    names = f"{shipped} | grep -vE '^/|(^|/)\\.\\.(/|$)' | sort"
    others = f'comm -23 <({names}) <(sort <<<"$text")'
    gone = f"comm -12 <({there}) <({others})"
    return steps.with_stdin(
        "DAGs that were taken out of the project are gone",
        f"""(set -euo pipefail
text=$(cat)
{gone} | while IFS= read -r name; do {AS_USER} rm -f -- {DAGS}/"$name"; done
{replaced(SHIPPED)} <<<"$text")""",
        "\n".join(sorted(files)),
        unless=f"[[ $text == \"$({shipped})\"$'\\n' ]]",
        diff=f"{gone} | sed 's/^/gone: /'",
    )
