"""Reads and validates hosts.yaml, before the first connection is made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Optional, TypeVar, Union

import msgspec

from runbook.errors import InventoryError
from runbook.inventory.cluster import Cluster, Connection, Host, Vip, local_path
from runbook.inventory.document import Document, document_of, merged
from runbook.inventory.entry import GroupName, perhaps
from runbook.inventory.owned import refuse_shared, warning
from runbook.inventory.parts import AnySource, parts_of, place_of, with_parts
from runbook.inventory.schema import Objection, Schema, Settings, Understood
from runbook.inventory.shape import faults
from runbook.inventory.whole import objections, unknown_zone
from runbook.secrets import references
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Vault
from runbook.yaml_source import Source, shown

# A name of digits alone is an address to most programs.
_NAME = re.compile(r"(?!-)(?=[0-9-]*[a-z])[a-z0-9-]{1,63}(?<!-)")

LOCAL_NAMES = frozenset({"localhost", "localhost4", "localhost6"})
"""Names by which each server's /etc/hosts refers to the server itself."""

T = TypeVar("T")


def load(
    file: Path,
    schema: Schema,
    override: Optional[Path] = None,
    state: Optional[Path] = None,
    mask: Optional[Mask] = None,
) -> Cluster:
    """Read and validate an inventory, which may use the roles and settings of `schema`.

    `override` is merged over it, key by key (a rehearsal in a lab differs in a few settings).
    A setting may name a file with its mapping (`Settings.in_files`), beside the inventory.
    `state` is the folder of known_hosts, journal and secrets; by default the inventory's folder.
    `mask` gets every secret that a task uses.
    Raises InventoryError, whose text lists every problem.
    """
    sources: list[AnySource] = [Source(file)]
    data = sources[0].data
    if override:
        sources.insert(0, Source(override))
        data = merged(data, sources[0].data)
    parts = parts_of(data, sources, schema, file.resolve().parent)
    sources[:0] = parts
    data = with_parts(data, parts)
    judge = _Judge(sources, data, state or file.resolve().parent, schema)
    refuse_shared(judge.state)
    judge.warnings += filter(None, (warning(source.file) for source in sources))
    return judge.cluster(Vault(judge.state / "secrets.yaml", mask or Mask()))


def load_configured(schema: Schema, mask: Optional[Mask] = None) -> Cluster:
    """The inventory that RUNBOOK_INVENTORY, RUNBOOK_OVERRIDE and RUNBOOK_STATE name.

    Without them: hosts.yaml in the project's folder, no override, state beside it.
    """
    project = Path(__file__).resolve().parents[2]
    override = os.environ.get("RUNBOOK_OVERRIDE")
    state = os.environ.get("RUNBOOK_STATE")
    return load(
        Path(os.environ.get("RUNBOOK_INVENTORY") or project / "hosts.yaml"),
        schema,
        Path(override) if override else None,
        Path(state) if state else None,
        mask,
    )


class _Judge:
    """Turns data into a Cluster, and collects every problem on the way."""

    def __init__(
        self, sources: list[AnySource], data: dict[str, Any], state: Path, schema: Schema
    ) -> None:
        self.schema = schema
        self.sources = sources
        self.data = {
            key: references.with_stand_ins(value) if key in schema.settings else value
            for key, value in data.items()
        }
        self.state = state
        self.complaints: list[str] = []
        self.warnings: list[str] = []

    def cluster(self, vault: Vault) -> Cluster:
        document = self._entry(document_of(self.schema), self.data)
        if not document:
            self._refuse()
        if not document.hosts:
            self._complain("is empty; the cluster needs at least one host", "hosts")
        settings = self._settings(document)
        understood = self._understood(document, tuple(settings.values()))
        groups = self._groups(document)
        self._judge(objections(understood, self.schema))
        self._judge(unknown_zone(document.timezone))
        for entry in settings.values():
            self._judge(entry.objections(understood))
        self._warn_of_passwords(vault)
        if self.complaints or not understood.connection:
            self._refuse()
        return Cluster(
            name=document.cluster,
            hosts=dict(understood.hosts),
            vips=dict(understood.vips),
            groups=groups,
            connection=understood.connection,
            timezone=document.timezone,
            selinux=document.selinux,
            roles=self.schema.roles,
            openings=self.schema.openings,
            settings=settings,
            named_secrets=tuple(references.found(settings)),
            vault=vault,
            public_key=_public_key(local_path(understood.connection.key, self.state)),
            file=self.sources[-1].file.resolve(),
            state=self.state,
            warnings=self.warnings,
        )

    def _understood(self, document: Document, settings: tuple[Settings, ...]) -> Understood:
        hosts = self._named_entries(Host, document.hosts, "hosts")
        vips = self._named_entries(Vip, document.vips, "vips")
        roles = set(self.schema.roles)
        clear = [host for host in hosts.values() if set(host.roles) <= roles]
        return Understood(
            names=tuple(document.hosts),
            hosts=hosts,
            vips=vips,
            connection=self._entry(Connection, document.connection, "connection"),
            settings=settings,
            whole=len(clear) == len(document.hosts) and len(vips) == len(document.vips),
        )

    def _judge(self, found: Iterator[Objection]) -> None:
        for objection in found:
            if objection.grave:
                self._complain(objection.sentence, *objection.path)
            else:
                self.warnings.append(objection.sentence)

    def _warn_of_passwords(self, vault: Vault) -> None:
        own = {key: value for key, value in self.data.items() if key in self.schema.settings}
        for path, password in references.in_clear(own):
            vault.mask.learn([password])
            way_out = "inv secrets.set NAME, and {secret: NAME} here"
            if _in_a_url(own, path):
                way_out = "sources.logins has the login of a server that packages come from"
                if path[0] != "sources":
                    way_out = "inv secrets.set NAME with the whole URL, and {secret: NAME} here"
            self.warnings.append(
                f"{place_of(self.sources, *path)}: is a password in clear text. Better: {way_out}."
            )

    def _refuse(self) -> NoReturn:
        raise InventoryError("\n".join(self.complaints))

    def _complain(self, sentence: str, *path: Union[str, int]) -> None:
        self.complaints.append(f"{place_of(self.sources, *path)}: {sentence}.")

    def _entry(self, kind: type[T], data: Any, *path: str) -> Optional[T]:
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError:
            for sentence, where in faults(kind, data, path):
                self._complain(sentence, *where)
            return None

    def _named_entries(self, kind: type[T], data: dict[str, Any], section: str) -> dict[str, T]:
        entries: dict[str, T] = {}
        for name, value in data.items():
            if not _NAME.fullmatch(name):
                self._complain(
                    "is not a host name; use a-z, 0-9 and -, at most 63 characters, "
                    "one of them a letter",
                    *(section, name),
                )
            elif name in LOCAL_NAMES:
                self._complain("is reserved for the server itself; choose another", section, name)
            elif not isinstance(value, dict):
                self._complain("needs keys such as `address:`", section, name)
            elif "name" in value:
                self._complain("unknown key; the entry's key is the name", section, name, "name")
            else:
                entry = self._entry(kind, {**value, "name": name}, section, name)
                if entry:
                    entries[name] = entry
        return entries

    def _settings(self, document: Document) -> dict[str, Settings]:
        """The valid settings, by key."""
        found = {
            key: self._entry(kind, getattr(document, key), key)
            for key, kind in self.schema.settings.items()
        }
        return {key: entry for key, entry in found.items() if entry}

    def _groups(self, document: Document) -> dict[str, list[str]]:
        for name, members in document.groups.items():
            for sentence, where in faults(GroupName, name, ("groups", name)):
                self._complain(sentence, *where)
            if name == "all" or name in self.schema.roles:
                self._complain(
                    "is reserved, as all and the roles are groups already; choose another name",
                    "groups",
                    name,
                )
            if not isinstance(members, list):
                self._complain("must be a list of hosts", "groups", name)
                continue
            for place, member in enumerate(members):
                if not isinstance(member, str) or member not in document.hosts:
                    self._complain(
                        f"{shown(str(member))} is not one of the hosts"
                        f"{perhaps(str(member), document.hosts)}",
                        *("groups", name, place),
                    )
        return document.groups


def _in_a_url(data: Any, path: references.Path) -> bool:
    for key in path:
        data = data[key]
    return "://" in str(data)


def _public_key(key: Path) -> str:
    """The controller's public key; empty if there is none (yet)."""
    try:
        return key.with_name(f"{key.name}.pub").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
