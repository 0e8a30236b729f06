"""Reads and validates hosts.yaml, before the first connection is made."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Optional, TypeVar

import msgspec

from runbook.errors import InventoryError
from runbook.inventory.cluster import SIZE, Cluster, Connection, Host, Vip
from runbook.inventory.document import Document, document_of, explained, merged
from runbook.inventory.entry import perhaps
from runbook.inventory.schema import Schema, Settings, Understood
from runbook.secrets.vault import Mask, Vault
from runbook.yaml_source import Source

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

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
    `state` is the folder of known_hosts, journal and secrets; by default the inventory's folder.
    `mask` gets every secret that a task uses.
    Raises InventoryError, whose text lists every problem.
    """
    sources = [Source(file)]
    data = sources[0].data
    if override:
        sources.insert(0, Source(override))
        data = merged(data, sources[0].data)
    judge = _Judge(sources, data, state or file.resolve().parent, schema)
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
        self, sources: list[Source], data: dict[str, Any], state: Path, schema: Schema
    ) -> None:
        self.schema = schema
        self.sources = sources
        self.data = data
        self.state = state
        self.complaints: list[str] = []
        self.warnings: list[str] = []

    def cluster(self, vault: Vault) -> Cluster:
        document = self._entry(document_of(self.schema), self.data)
        if not document:
            self._refuse()
        hosts = self._named_entries(Host, document.hosts, "hosts")
        vips = self._named_entries(Vip, document.vips, "vips")
        connection = self._entry(Connection, document.connection, "connection")
        settings = self._settings(document)
        groups = self._groups(document.groups, document.hosts)
        self._hosts(hosts)
        self._addresses(hosts, vips)
        self._vips(vips, hosts)
        self._roles(hosts)
        self.warnings += self._weak_quorums(hosts)
        self._objections(document, settings)
        self._document(document, hosts)
        if self.complaints or not connection:
            self._refuse()
        return Cluster(
            name=document.cluster,
            hosts=hosts,
            vips=vips,
            groups=groups,
            connection=connection,
            timezone=document.timezone,
            selinux=document.selinux,
            roles=self.schema.roles,
            settings=settings,
            vault=vault,
            public_key=_public_key(self.state / Path(connection.key).expanduser()),
            file=self.sources[-1].file.resolve(),
            state=self.state,
            warnings=self.warnings,
        )

    def _document(self, document: Document, hosts: dict[str, Host]) -> None:
        if "root" in (document.connection.get("user"), *(host.user for host in hosts.values())):
            self._complain(
                "root cannot be the administrator's account, because its password would be "
                "locked; name another account here, and root in bootstrap_user",
                "connection",
                "user",
            )
        if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", document.timezone):
            self._complain("is not a time zone; use Area/City, such as Asia/Tehran", "timezone")
        if not document.hosts:
            self._complain("is empty; the cluster needs at least one host", "hosts")

    def _objections(self, document: Document, settings: dict[str, Settings]) -> None:
        """Collect what the settings of sections find wrong with each other and with the hosts."""
        understood = Understood(document.hosts, tuple(settings.values()))
        for entry in settings.values():
            for objection in entry.objections(understood):
                if objection.grave:
                    self._complain(objection.sentence, *objection.path)
                else:
                    self.warnings.append(objection.sentence)

    def _refuse(self) -> NoReturn:
        raise InventoryError("\n".join(self.complaints))

    def _complain(self, sentence: str, *path: str) -> None:
        source = next((one for one in self.sources if one.has(*path)), self.sources[-1])
        self.complaints.append(f"{source.where(*path)}: {sentence}.")

    def _entry(self, kind: type[T], data: Any, *path: str) -> Optional[T]:
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            self._complain(*explained(error, kind, path))
            return None

    def _named_entries(self, kind: type[T], data: dict[str, Any], section: str) -> dict[str, T]:
        entries: dict[str, T] = {}
        for name, value in data.items():
            if not _NAME.fullmatch(name):
                self._complain(
                    "is not a host name; use a-z, 0-9 and -, at most 63 characters", section, name
                )
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

    def _roles(self, hosts: dict[str, Host]) -> None:
        for host in hosts.values():
            for role in host.roles:
                if role not in self.schema.roles:
                    self._complain(self._no_role(role), "hosts", host.name, "roles")

    def _no_role(self, role: str) -> str:
        known = self.schema.roles
        return f"{role} is not known{perhaps(role, known)}; allowed: {', '.join(known)}"

    def _weak_quorums(self, hosts: dict[str, Host]) -> Iterator[str]:
        """A sentence for each role that needs a majority and has one member, or an even number."""
        for role in self.schema.roles:
            members = [host.name for host in hosts.values() if role.majority and role in host.roles]
            if len(members) == 1:
                yield (
                    f"{members[0]} is the only host with the role {role}: while it is down, "
                    f"{role.loss}; with three hosts, any one of them may fail."
                )
            elif members and len(members) % 2 == 0:
                yield (
                    f"{len(members)} hosts have the role {role} ({', '.join(members)}): an even "
                    "number survives no more failures than one host fewer; use 3 or 5."
                )

    def _groups(self, groups: dict[str, Any], hosts: dict[str, Any]) -> dict[str, list[str]]:
        for name, members in groups.items():
            if name == "all" or name in self.schema.roles:
                self._complain(
                    "is reserved, as all and the roles are groups already; choose another name",
                    "groups",
                    name,
                )
            if not isinstance(members, list):
                self._complain("must be a list of hosts", "groups", name)
                continue
            for member in members:
                if not isinstance(member, str) or member not in hosts:
                    self._complain(
                        f"{member} is not one of the hosts{perhaps(str(member), hosts)}",
                        "groups",
                        name,
                    )
        return groups

    def _hosts(self, hosts: dict[str, Host]) -> None:
        seen: dict[int, str] = {}
        for host in hosts.values():
            for key in ("ram", "disk"):
                if not SIZE.fullmatch(getattr(host, key)):
                    self._complain("is not a size; write 4GB or 512MB", "hosts", host.name, key)
            if host.vm in seen:
                self._complain(
                    f"{host.vm} is already the number of {seen[host.vm]}", "hosts", host.name, "vm"
                )
            seen.setdefault(host.vm, host.name)

    def _addresses(self, hosts: dict[str, Host], vips: dict[str, Vip]) -> None:
        taken: dict[str, str] = {}
        entries: list[tuple[str, str, str]] = [
            *(("hosts", host.name, host.address) for host in hosts.values()),
            *(("vips", vip.name, vip.address) for vip in vips.values()),
        ]
        for section, name, address in entries:
            path = (section, name, "address")
            try:
                parsed = ipaddress.ip_address(address)
            except ValueError:
                self._complain(f"{address} is not an IP address", *path)
                continue
            if parsed.version != 4:
                self._complain(
                    f"{address} is not an IPv4 address, which VRRP and NFS need here", *path
                )
            if address in taken:
                self._complain(f"{address} is already the address of {taken[address]}", *path)
            taken.setdefault(address, name)

    def _vips(self, vips: dict[str, Vip], hosts: dict[str, Host]) -> None:
        groups: dict[int, str] = {}
        for vip in vips.values():
            if vip.role not in self.schema.roles:
                self._complain(self._no_role(vip.role), "vips", vip.name, "role")
            if not vip.address.rpartition(".")[2].isdigit():
                continue
            other = groups.setdefault(vip.router_id, vip.name)
            if other != vip.name:
                self._complain(
                    f"its VRRP group {vip.router_id} is also that of {other}; set another vrrp_id",
                    *("vips", vip.name),
                )
            if vip.name in hosts:
                self._complain(
                    "is also the name of a host; choose another name for the VIP", "vips", vip.name
                )
            for member, priority in vip.members.items():
                path = ("vips", vip.name, "members", member)
                if member not in self.data["hosts"]:
                    self._complain(f"is not one of the hosts{perhaps(member, hosts)}", *path)
                elif member in hosts and vip.role not in hosts[member].roles:
                    self._complain(f"lacks the role {vip.role} that this VIP serves", *path)
                if not 1 <= priority <= 254:
                    self._complain("the priority must be 1 to 254", *path)
            if len(set(vip.members.values())) < len(vip.members):
                self._complain("two members have the same priority", "vips", vip.name, "members")


def _public_key(key: Path) -> str:
    """The controller's public key; empty if there is none (yet)."""
    try:
        return key.with_name(f"{key.name}.pub").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
