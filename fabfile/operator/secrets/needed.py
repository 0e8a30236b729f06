"""Which passwords an inventory needs."""

from __future__ import annotations

from json import loads

from runbook.declare.facts import hosts_on
from runbook.declare.section import Section
from runbook.inventory.cluster import Cluster
from runbook.secrets.vault import Secret

from ... import CONTENTS


def needed(cluster: Cluster) -> list[Secret]:
    """The passwords of the sections that have hosts, without temporary ones; the user's own."""
    own = [
        secret
        for section in CONTENTS.sections
        if _hosts(section, cluster)
        for secret in section.secrets
        if not secret.passing and not secret.family
    ]
    names = {secret.name for secret in declared()}
    return [*own, *(secret for secret in cluster.given_secrets if secret.name not in names)]


def declared() -> list[Secret]:
    """All passwords of all sections, including temporary ones and families."""
    return [secret for section in CONTENTS.sections for secret in section.secrets]


def first_run(cluster: Cluster) -> bool:
    """Whether the journal has no change that may have brought a password to a server."""
    with_secrets = {section.name for section in CONTENTS.sections if section.secrets}
    try:
        lines = (cluster.state / "journal.jsonl").read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return True
    return not any(_changed(line, with_secrets) for line in lines)


def _changed(line: str, sections: set[str]) -> bool:
    try:
        entry = loads(line)
        section = entry["task"].partition(".")[0]
        return (
            section in sections and entry.get("mode") == "do" and entry.get("result") == "changed"
        )
    except (ValueError, KeyError, AttributeError, TypeError):  # a full disk cut the line short
        return False


def _hosts(section: Section, cluster: Cluster) -> bool:
    return bool(hosts_on(section.on, cluster))
