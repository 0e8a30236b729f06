"""Whether dnf can install the packages of all sections, before a section needs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from runbook.declare.contents import Contents
from runbook.declare.facts import Facts, hosts_on
from runbook.declare.placeholders import Placeholders
from runbook.declare.probes import Finding
from runbook.declare.step import Step
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from .trouble import fine, stops

REPOSITORIES = "/etc/yum.repos.d/"
SECONDS = 240
"""Timeout of dnf, which may first have to download the metadata of all repositories."""

HINTS = {
    "python3.12": "python3.12 is in AppStream of 8.10 and 9.4: update the server, or undo the pin "
    "of its release (subscription-manager release --unset; /etc/dnf/vars/releasever)",
    "-devel": "headers may be in the repository crb (9) or powertools (8): "
    "dnf config-manager --set-enabled NAME",
    "no enabled repositories": "register the server (subscription-manager register), or add the "
    "distribution's repositories",
}
"""Words in the output of dnf, and the way out."""

ASK = "inv sources.check shows which repositories answer; dnf repolist lists the server's own"


def known_steps(contents: Contents, cluster: Cluster, host: Host) -> Iterator[Step]:
    """The steps for a host, as far as they are known without facts.

    A task that needs a fact contributes the steps before that. Passwords are placeholders, except
    those of repositories.
    """
    marked = cluster.with_vault(Placeholders(given=cluster.vault))
    for section in contents.sections:
        for task in section.step_tasks():
            on = hosts_on(task.on, cluster)
            if host in task.taken_by(on, cluster):
                with suppress(RunbookError):
                    yield from task.steps(host, marked, Facts(), on)


def command(steps: list[Step]) -> str:
    """A command that asks dnf for the packages of these steps, from their repositories, too."""
    files = {
        step.paths[0].rpartition("/")[2]: step.text
        for step in steps
        if step.paths and step.paths[0].startswith(REPOSITORIES)
    }
    return script(
        "preflight/packages.sh",
        wanted=" ".join(dict.fromkeys(name for step in steps for name in step.installs)),
        files="\n".join(f">{name}\n{text.strip()}" for name, text in files.items()),
        seconds=SECONDS,
    )


def parse(text: str) -> list[str]:
    """Parse the answer of `command`: `installed`, or `code N …` and the output of dnf.

    Warnings of rpm before that are left out.
    """
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line == "installed" or line[:5] == "code ")
    return lines[start:]


def findings(host: Host, said: list[str]) -> Iterator[Finding]:
    """A finding that names what dnf cannot install, and why."""
    text = "\n".join(said)
    if said[0] == "installed" or "Operation aborted" in text:
        yield fine(host.name, "packages")
        return
    why = reason(said)
    fix = next((way for word, way in HINTS.items() if word in text), ASK)
    yield stops(host.name, "packages", why, fix)


def reason(said: list[str]) -> str:
    """The most informative line of dnf's output."""
    code = said[0].split()[1]
    if code in ("124", "137"):
        return f"dnf did not finish within {SECONDS} s"
    lines = [line.strip(" -") for line in said[1:]]
    lacking = [line for line in lines if line.startswith("nothing provides")]
    if lacking:
        return "; ".join(dict.fromkeys(re.sub(r" from \S+$", "", line) for line in lacking[:3]))
    for start in (
        "Error: Unable to find a match: ",
        "Error: Failed to download metadata for repo ",
    ):
        found = [line.partition(start)[2] for line in lines if line.startswith(start)]
        if found:
            missing = start.startswith("Error: Unable")
            return f"no repository has {found[0]}" if missing else f"repository {found[0]}"
    errors = [line.partition("Error:")[2].strip() or line for line in lines if "rror" in line]
    problems = [line for line in lines if line.startswith("Problem")]
    told = [*problems, *filter(None, errors), *lines[-1:]]
    return told[0] if told else f"dnf ended with exit code {code}"
