"""`inv cluster.support`: one file for a bug report: logs, states, versions, checks; no secrets."""

from __future__ import annotations

import io
import os
import platform
import tarfile
import time
from collections.abc import Iterable, Mapping
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from runbook.errors import UNREACHABLE, UsageError
from runbook.execute.session import in_sentences
from runbook.secrets.mask import Mask
from runbook.secrets.patterns import without_passwords
from runbook.secrets.private_file import write_private

from ..shared.versions import Versions
from .bundle import files
from .session import session

if TYPE_CHECKING:
    from runbook.declare.contents import Contents
    from runbook.execute.run import Run
    from runbook.inventory.cluster import Cluster

JOURNAL = 1_000_000
"""The last bytes of the controller's own journal that are included."""


@task(
    auto_shortflags=False,
    help={
        "hours": "how far back logs go (default: 24)",
        "to": "the folder that the file is written to (default: where secrets.yaml is)",
    },
)
@in_sentences
def support(c: Context, hours: int = 24, to: str = "") -> None:
    """Gather logs, states, settings and checks in one file, without passwords.

    Known passwords are replaced, as is what looks like one. A server that does not answer is named
    in it and left out (exit code 3). At most three megabytes of text per server are included,
    before compression.
    """
    from runbook.execute.run import Options

    if hours < 1:
        raise UsageError(f"--hours must be at least 1, not {hours}.")
    with session(Options()) as run:
        folder = Path(to).expanduser() if to else run.cluster.state
        if not folder.is_dir():
            raise UsageError(f"--to {to} is not a folder.")
        hosts = list(run.cluster.hosts.values())
        run.report.say(f"asking {len(hosts)} servers")
        wanted = files(run.contents, hours)
        facts = run.gather(wanted, hosts)
        answers = {
            f"{host.name}/{fact.name}": facts.known(fact)[host.name]
            for host in hosts
            for fact in wanted
            if host.name in facts.known(fact)
        }
        answered = {name.partition("/")[0] for name in answers}
        silent = [host.name for host in hosts if host.name not in answered]
        answers.update({f"{name}/unreachable.txt": "It did not answer.\n" for name in silent})
        run.report.say("running the checks of all sections")
        answers.update(of_the_controller(run))
        bundle = folder / f"support-{run.cluster.name}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
        write(bundle, scrubbed(answers, run.contents, run.cluster))
        size = bundle.stat().st_size / 1_000_000
        run.report.say(
            f"{bundle}: {size:.1f} MB, readable by you alone. Look into it before you send it."
        )
        if silent:
            run.report.say(f"without {', '.join(silent)}: no answer")
    if silent:
        raise Exit(code=UNREACHABLE)


def of_the_controller(run: Run) -> dict[str, str]:
    """What this machine knows: versions, hosts.yaml, the journal, the checks."""
    import fabric
    import invoke

    from runbook.execute.concurrent import separate_run
    from runbook.operate.checks import check as check_all

    text = io.StringIO()
    own = separate_run(run, run.connections, run.report.separate(text, later=True))
    check_all(own)
    statuses = [
        {"task": one.task, "host": one.host, "status": one.status, "why": one.sentence}
        for one in own.results
    ]
    about = {
        "cluster": run.cluster.name,
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "fabric": fabric.__version__,
        "invoke": invoke.__version__,
        "system": platform.platform(),
        "versions": {
            name: getattr(run.cluster[Versions], name)
            for name in run.cluster[Versions].__struct_fields__
        },
        "warnings": run.cluster.warnings,
    }
    return {
        "about.json": dumps(about, indent=2, ensure_ascii=False),
        "checks.txt": text.getvalue(),
        "checks.json": dumps(statuses, indent=2, ensure_ascii=False),
        "hosts.yaml": tail(run.cluster.file),
        "journal.jsonl": tail(run.journal.file),
    }


def tail(file: Path) -> str:
    """The end of a file on this machine; empty if there is none."""
    try:
        return file.read_bytes()[-JOURNAL:].decode(errors="replace")
    except OSError:
        return ""


def scrubbed(answers: Mapping[str, str], contents: Contents, cluster: Cluster) -> dict[str, str]:
    """The files without passwords of the cluster, of the environment, and what looks like one."""
    mask = Mask()
    mask.learn(passwords(contents, cluster))
    return {name: without_passwords(mask(text)) for name, text in answers.items()}


def passwords(contents: Contents, cluster: Cluster) -> Iterable[str]:
    """Every password that the sections or the environment know."""
    for section in contents.sections:
        for secret in section.secrets:
            if cluster.vault.knows(secret):
                yield cluster.vault.unjudged(secret)
    yield from cluster.vault.everything().values()
    for variable, value in os.environ.items():
        if variable.startswith("RUNBOOK_") and (
            "PASSWORD" in variable or "SECRET_" in variable or "PASSPHRASE" in variable
        ):
            yield value


def write(bundle: Path, answers: Mapping[str, str]) -> None:
    """The file appears complete, for its owner only, or not at all."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in sorted(answers.items()):
            data = text.encode()
            entry = tarfile.TarInfo(f"{bundle.name[: -len('.tar.gz')]}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    write_private(bundle, packed.getvalue())
