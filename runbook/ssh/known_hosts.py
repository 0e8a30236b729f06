"""Host keys: read once, verified at every connection, pinned only by `fab ssh.trust`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from runbook.errors import SettingsError, UnreachableError
from runbook.inventory.cluster import Cluster, Host
from runbook.secrets.private_file import write_private
from runbook.ssh.certificates import SUFFIX, authority_of, certificate_of, objection
from runbook.ssh.patterns import listed

REVOKED, AUTHORITY = "@revoked", "@cert-authority"
RSA = ("rsa-sha2-512", "rsa-sha2-256")
"""Signature algorithms of RSA keys; known_hosts lists the keys as ssh-rsa."""
SIGNATURES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
CERTIFICATES = tuple(f"{name}{SUFFIX}" for name in (*SIGNATURES, *RSA))


class UnknownHostKey(Exception):
    """The host showed a key that is not pinned. `note`: further findings, as a sentence."""

    def __init__(self, key: paramiko.PKey, note: str = "") -> None:
        super().__init__(key.fingerprint)
        self.key = key
        self.note = note


class RevokedHostKey(Exception):
    """The host showed a key that a line of known_hosts revokes."""

    def __init__(self, key: paramiko.PKey, line: Line) -> None:
        super().__init__(key.fingerprint)
        self.key = key
        self.line = line


class UnlistedHostKey(Exception):
    """The host showed a key whose fingerprint is not among those of hosts.yaml."""

    def __init__(self, key: paramiko.PKey, fingerprints: Sequence[str]) -> None:
        super().__init__(key.fingerprint)
        self.key = key
        self.fingerprints = fingerprints


@dataclass(frozen=True)
class Identity:
    """The names of a host: known_hosts lists the first one, certificates any of them.

    `fingerprints`: those of the keys that hosts.yaml allows, if it names any.
    """

    names: tuple[str, ...]
    port: int = 22
    fingerprints: tuple[str, ...] = ()

    @property
    def pinned(self) -> str:
        """The name under which known_hosts lists the host's key."""
        return lookup_name(self.names[0], self.port)

    def listed_as(self, lines: Iterable[Line]) -> list[str]:
        """Return the names of the host that one of the lines matches."""
        patterns = [line.names for line in lines]
        return [
            name
            for name in self.names
            if any(
                listed(name, one) or listed(lookup_name(name, self.port), one) for one in patterns
            )
        ]


@dataclass(frozen=True)
class Line:
    """A line of a known_hosts file: `marker names type key`."""

    place: str
    marker: str
    names: tuple[str, ...]
    kind: str
    text: str

    def key(self) -> paramiko.PKey | None:
        """Return the key; None if it is invalid or of an unsupported type, which ssh skips, too."""
        try:
            return paramiko.PKey.from_type_string(self.kind, self.blob)
        except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError):
            return None

    @property
    def blob(self) -> bytes:
        """The key in SSH's wire format; empty if it cannot be read."""
        try:
            return base64.b64decode(self.text)
        except ValueError:
            return b""


def lookup_name(address: str, port: int) -> str:
    """Return the name under which known_hosts lists a host's key."""
    return address if port == 22 else f"[{address}]:{port}"


class KnownHosts:
    """The keys in all files of connection.known_hosts; new keys are added to the first file."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = list(files)
        self._lines = [_lines(file) for file in self.files]
        self._found: dict[str, list[paramiko.PKey]] = {}

    @classmethod
    def of(cls, cluster: Cluster) -> KnownHosts:
        """Read the files that this inventory names."""
        return cls(cluster.path(name) for name in cluster.connection.known_hosts)

    def keys(self, name: str) -> list[paramiko.PKey]:
        """Return the keys pinned for a name (see `lookup_name`), from the first file with any."""
        if name not in self._found:
            self._found[name] = next(filter(None, self._keys_by_file(name)), [])
        return self._found[name]

    def _keys_by_file(self, name: str) -> Iterator[list[paramiko.PKey]]:
        for lines in self._lines:
            found = [line.key() for line in lines if not line.marker and listed(name, line.names)]
            yield [key for key in found if key]

    def unusable(self, name: str) -> Line | None:
        """Return a line for this name whose key cannot be read, if any."""
        for line in self._marked(""):
            if listed(name, line.names) and not line.key():
                return line
        return None

    def revoked(self, host: Identity, key: paramiko.PKey) -> Line | None:
        """Return the line that revokes a host's key or the authority that signed it, if any."""
        certificate = certificate_of(key)
        shown = {key.asbytes()} | ({authority_of(certificate)} if certificate else set())
        for line in self._marked(REVOKED):
            if line.blob in shown and host.listed_as([line]):
                return line
        return None

    def objection(self, host: Identity, key: paramiko.PKey) -> str:
        """Return why a host's key has no valid certificate; empty if it has one."""
        certificate = certificate_of(key)
        if not certificate:
            return "it has no certificate"
        signer = authority_of(certificate)
        signers = [line for line in self._marked(AUTHORITY) if line.blob == signer]
        names = host.listed_as(signers)
        if not names:
            return "known_hosts has no @cert-authority line for its authority and this host"
        return objection(certificate, names)

    def accepted(self, host: Identity, key: paramiko.PKey) -> list[paramiko.PKey]:
        """Return the pinned keys, and the shown key if its certificate is valid."""
        certified = [] if self.objection(host, key) else [key]
        return [*certified, *self.keys(host.pinned)]

    def verify(self, host: Identity, key: paramiko.PKey) -> None:
        """Verify a key, which must be pinned, not revoked, and among those of hosts.yaml."""
        line = self.revoked(host, key)
        if line:
            raise RevokedHostKey(key, line)
        if host.fingerprints and key.fingerprint not in host.fingerprints:
            raise UnlistedHostKey(key, host.fingerprints)
        accepted = self.accepted(host, key)
        if key in accepted:
            return
        if accepted:
            alike = [one for one in accepted if one.get_name() == key.get_name()]
            raise paramiko.BadHostKeyException(host.pinned, key, [*alike, *accepted][0])
        raise UnknownHostKey(key, self._note(host, key))

    def _note(self, host: Identity, key: paramiko.PKey) -> str:
        if certificate_of(key):
            return f"Its certificate is not accepted: {self.objection(host, key)}. "
        line = self.unusable(host.pinned)
        return f"{line.place} lists the host, but its key cannot be read. " if line else ""

    def preferred(self, host: Identity) -> tuple[str, ...]:
        """Return the algorithms of the keys known for a host, in order of preference."""
        found = list(CERTIFICATES) if host.listed_as(self._marked(AUTHORITY)) else []
        for key in self.keys(host.pinned):
            found += RSA if key.get_name() == "ssh-rsa" else (key.get_name(),)
        return tuple(found)

    def _marked(self, marker: str) -> Iterator[Line]:
        return (line for lines in self._lines for line in lines if line.marker == marker)

    def pin(self, host: Host, name: str, key: paramiko.PKey) -> None:
        """Write a verified key under the host's name and address, in place of older ones."""
        file = self.files[0]
        names = [name] if name.startswith("[") else list(dict.fromkeys([host.name, name]))
        old = _text(file).splitlines() if file.exists() else []
        kept = [left for left in (_without(names, text) for text in old) if left is not None]
        kept.append(f"{','.join(names)} {key.get_name()} {key.get_base64()}")
        write_private(file, ("\n".join(kept) + "\n").encode("utf-8", "surrogateescape"))
        self._lines[0] = _lines(file)
        self._found.clear()


class Verify(paramiko.MissingHostKeyPolicy):
    """Reject unknown host keys; only `fab ssh.trust` pins new ones."""

    def __init__(self, known: KnownHosts, host: Identity) -> None:
        self._known = known
        self._host = host

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Verify a key; Paramiko has no known hosts itself, so it calls this for every key."""
        self._known.verify(self._host, key)


class Transport(paramiko.Transport):
    """Requests a host key of a type that is known for the host, which may have several."""

    def __init__(self, sock: object, preferred: Sequence[str], **options: object) -> None:
        self._first = preferred
        super().__init__(sock, **options)  # type: ignore[arg-type]

    @property
    def preferred_keys(self) -> Sequence[str]:
        """Paramiko's algorithms, those of known keys first."""
        ours: Sequence[str] = super().preferred_keys
        first = [name for name in self._first if name in ours]
        return (*first, *(name for name in ours if name not in first))


def shown_key(
    sock: object, host: Host, timeout: float, preferred: Sequence[str] = ()
) -> paramiko.PKey:
    """Return the key that a host shows on `sock`, without logging in.

    A host may have keys of several types; the `preferred` algorithms are requested first.
    """
    transport = Transport(sock, preferred)
    try:
        transport.start_client(timeout=timeout)
        return transport.get_remote_server_key()
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            f"{host.name} does not speak SSH: {str(error) or 'it closed the connection'}."
        ) from None
    finally:
        transport.close()


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "surrogateescape")


def _lines(file: Path) -> list[Line]:
    """Return the lines of a file that contain host keys; others are skipped, as in ssh."""
    try:
        text = _text(file)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) >= 3 and not words[0].startswith("#"):
            names, kind, key = words[:3]
            found.append(Line(f"{file}:{number}", marker, tuple(names.split(",")), kind, key))
    return found


def _without(names: Sequence[str], line: str) -> str | None:
    """Return a line of known_hosts without these names; None if no name is left."""
    listed_names, space, rest = line.partition(" ")
    if line.startswith(("#", "@")) or not space:
        return line
    old = listed_names.split(",")
    left = [one for one in old if one not in names and not _hides(one, names)]
    return f"{','.join(left)} {rest}" if left else None


def _hides(entry: str, names: Sequence[str]) -> bool:
    return entry.startswith("|1|") and any(listed(name, [entry]) for name in names)
