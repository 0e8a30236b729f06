#!/usr/bin/python3
"""Make ganesha serve what exportfs says: /var/lib/nfs/etab becomes its configuration."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

TABLE = Path("/var/lib/nfs/etab")
CONFIGURATION = Path("/var/lib/nfs/ganesha.conf")
PID = Path("/run/ganesha.pid")

# NFS 4 alone, as a kernel server with `vers3=n`. No grace: clients here do not reclaim anything.
# Nothing is cached: as with a kernel server, what is written beside it must show at once. Whenever
# a file is opened the client asks for a layout, which ganesha has not and would complain about.
GENERAL = """\
NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFSV4 { Graceless = true; Minor_Versions = 0, 1, 2; Only_Numeric_Owners = true; }
LOG { Default_Log_Level = WARN; Components { PNFS = CRIT; } }
MDCACHE { Dir_Chunk = 0; }
EXPORT_DEFAULTS { Protocols = 4; Transports = TCP; SecType = sys; Attr_Expiration_Time = 0; }
"""


@dataclass(frozen=True)
class Client:
    """Who may mount an export, and how."""

    name: str
    options: tuple[str, ...]

    def value(self, option: str, default: str) -> str:
        found = [text.partition("=")[2] for text in self.options if text.startswith(f"{option}=")]
        return found[-1] if found else default

    def last(self, *options: str) -> str:
        """Of options that exclude each other, the one that counts."""
        return [text for text in self.options if text in options][-1]

    @property
    def precedence(self) -> tuple[bool, bool]:
        """Ganesha takes the first that matches: whoever is named comes before networks and all."""
        return (self.name == "*", "/" in self.name or "*" in self.name)

    def block(self) -> str:
        access = {"rw": "RW", "ro": "RO"}[self.last("rw", "ro")]
        squash = self.last("root_squash", "no_root_squash")
        if self.last("all_squash", "no_all_squash") == "all_squash":
            squash = "all_squash"
        privileged = str(self.last("secure", "insecure") == "secure").lower()
        return (
            f"    CLIENT {{ Clients = {self.name}; Access_Type = {access}; Squash = {squash};"
            f" PrivilegedPort = {privileged}; Anonymous_Uid = {self.value('anonuid', '65534')};"
            f" Anonymous_Gid = {self.value('anongid', '65534')}; }}\n"
        )


@dataclass(frozen=True)
class Export:
    path: str
    clients: tuple[Client, ...]

    @property
    def fsid(self) -> str:
        return next((fsid for fsid in (c.value("fsid", "") for c in self.clients) if fsid), "")

    @property
    def number(self) -> int:
        if self.fsid.isdigit() and 0 < int(self.fsid) < 0x8000:
            return int(self.fsid)
        return 0x8000 + crc32(self.path.encode()) % 0x7FFF

    @property
    def is_root(self) -> bool:
        return self.fsid in ("0", "root")

    def block(self, root: str) -> str:
        """`root` is the path of the export with fsid=0: paths of clients start there."""
        pseudo = "/" + os.path.relpath(self.path, root) if root else self.path
        if pseudo == "/." or pseudo.startswith("/.."):
            pseudo = "/" if self.is_root else self.path
        clients = "".join(
            client.block() for client in sorted(self.clients, key=lambda client: client.precedence)
        )
        return (
            f'EXPORT {{\n    Path = "{self.path}"; Pseudo = "{pseudo}";\n'
            f"    Export_Id = {self.number}; Filesystem_Id = {self.number}.{self.number};\n"
            "    Access_Type = None; Trust_Readdir_Negative_Cache = false;\n"
            "    FSAL { Name = VFS; }\n"
            f"{clients}}}\n"
        )


def exports(table: str) -> Iterator[Export]:
    """What a table of exportfs's says, in lines of a path, a tab, a client and (options)."""
    clients: dict[str, list[Client]] = {}
    for line in table.splitlines():
        found = re.fullmatch(r"(\S+)\t(\S+)\((\S*)\)", line)
        if found:
            path, name, options = found.groups()
            path = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)
            clients.setdefault(path, []).append(Client(name, tuple(options.split(","))))
    for path, members in clients.items():
        yield Export(path, tuple(members))


def configuration(served: Iterable[Export]) -> str:
    served = list(served)
    root = next((export.path for export in served if export.is_root), "")
    return GENERAL + "".join(export.block(root) for export in served)


def main() -> int:
    served = [export for export in exports(TABLE.read_text()) if Path(export.path).is_dir()]
    new = CONFIGURATION.with_suffix(".new")
    new.write_text(configuration(served))
    new.rename(CONFIGURATION)
    with suppress(OSError, ValueError):  # the server is not running
        os.kill(int(PID.read_text()), signal.SIGHUP)
    return 0


if __name__ == "__main__":
    sys.exit(main())
