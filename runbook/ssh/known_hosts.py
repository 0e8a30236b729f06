"""Host keys: read once, verified at every connection, pinned only when the user says so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import paramiko

from runbook.errors import SettingsError, UnreachableError
from runbook.inventory.cluster import Cluster, Host


class UnknownHostKey(Exception):
    """The host showed a key that is not pinned."""

    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__(key.fingerprint)
        self.key = key


class RefuseUnknown(paramiko.MissingHostKeyPolicy):
    """Rejects unknown keys; only `fab ssh.trust` pins new ones."""

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        raise UnknownHostKey(key)


def lookup_name(address: str, port: int) -> str:
    """The name under which known_hosts files keep a host's key."""
    return address if port == 22 else f"[{address}]:{port}"


class KnownHosts:
    """The keys of all files that hosts.yaml names; new ones go to the first."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = list(files)
        self._keys = paramiko.HostKeys()
        for file in self.files:
            self._load(file)

    @classmethod
    def of(cls, cluster: Cluster) -> KnownHosts:
        """The known hosts of this inventory."""
        return cls(cluster.path(name) for name in cluster.connection.known_hosts)

    def _load(self, file: Path) -> None:
        try:
            self._keys.load(str(file))
        except FileNotFoundError:
            return
        except OSError as error:
            raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None
        except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey, ValueError) as error:
            raise SettingsError(f"{file} has an invalid line: {error}.") from None

    def keys(self, name: str) -> list[paramiko.PKey]:
        """The keys pinned for a name; see `lookup_name`."""
        found = self._keys.lookup(name)
        return list(found.values()) if found else []

    def teach(self, client: paramiko.SSHClient, name: str) -> None:
        """Let a client accept just the keys pinned for this name."""
        for key in self.keys(name):
            client.get_host_keys().add(name, key.get_name(), key)
        client.set_missing_host_key_policy(RefuseUnknown())

    def pin(self, host: Host, name: str, key: paramiko.PKey) -> None:
        """Write a verified key under the host's name and address, in place of older ones."""
        file = self.files[0]
        names = [name] if name.startswith("[") else [host.name, name]
        old = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        kept = [text for text in old if not set(names) & set(text.split(" ")[0].split(","))]
        kept.append(f"{','.join(names)} {key.get_name()} {key.get_base64()}")
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_text("\n".join(kept) + "\n", encoding="utf-8")
        new.replace(file)
        if name in self._keys:
            del self._keys[name]
        self._keys.add(name, key.get_name(), key)


def shown_key(
    sock: object, host: Host, timeout: float, preferred: Iterable[str] = ()
) -> paramiko.PKey:
    """The key that a host shows at the other end of `sock`, without logging in.

    A host has keys of several types; one of the `preferred` types is asked for first.
    """
    transport = paramiko.Transport(sock)  # type: ignore[arg-type]
    options = transport.get_security_options()
    first = [name for name in preferred if name in options.key_types]
    options.key_types = (*first, *(name for name in options.key_types if name not in first))
    try:
        transport.start_client(timeout=timeout)
        return transport.get_remote_server_key()
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            f"{host.name} does not speak SSH: {str(error) or 'it closed the connection'}."
        ) from None
    finally:
        transport.close()
