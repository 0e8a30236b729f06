"""Settings from ssh_config, which ssh itself reads, including Include and Match."""

from __future__ import annotations

import getpass
import os
import pwd
import re
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import SettingsError

SYSTEM_FILES = (Path("/etc/ssh/ssh_config"), *Path("/etc/ssh/ssh_config.d").glob("*.conf"))
RELEVANT = re.compile(
    rb"^\s*(HostName|User|Port|Proxy|Identit|HostKeyAlias|Canonical"
    rb"|Include(?!\s+/etc/(ssh/ssh_config\.d|crypto-policies)/))",
    re.IGNORECASE | re.MULTILINE,
)
"""Lines of the system's ssh_config that affect the settings used here."""
DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
"""The keys that ssh tries if IdentityFile is not set."""
PATIENCE = 30
"""Seconds to wait for ssh to read its configuration: `Match exec` may run commands."""


@dataclass(frozen=True)
class SshSettings:
    """The settings with which ssh would connect to a host.

    `jump`: ProxyJump. `proxy`: ProxyCommand. `agent`: the agent's socket; empty without an agent.
    `alias`: HostKeyAlias, the host's name in known_hosts; empty if not set.
    """

    hostname: str
    user: str
    port: int
    jump: str = ""
    proxy: str = ""
    key_files: tuple[Path, ...] = ()
    only_key_files: bool = False
    agent: str = ""
    alias: str = ""


@dataclass(frozen=True)
class Hop:
    """One gateway of a ProxyJump: `[user@]host[:port]`; empty parts come from ssh_config."""

    host: str
    user: str = ""
    port: int = 0


def hop_of(text: str) -> Hop:
    """Parse a gateway as written in ProxyJump or hosts.yaml; SettingsError if it is not one."""
    user, _, place = text.rpartition("@")
    match = re.fullmatch(r"(\[(?P<v6>[^]]+)\]|(?P<host>[^:\s]+))(:(?P<port>\d+))?", place)
    if not match:
        raise SettingsError(f"{text} is not a gateway; write user@host or user@host:port.")
    return Hop(match["v6"] or match["host"], user, int(match["port"] or 0))


class SshConfig:
    """The configuration of ssh on this machine, or the one in `file`, as with `ssh -F`."""

    def __init__(self, file: str | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, int], SshSettings] = {}
        self._needed: bool | None = None

    @property
    def options(self) -> list[str]:
        """The options that make ssh read the same configuration."""
        return ["-F", self._file] if self._file else []

    def of(self, name: str, user: str = "", port: int = 0, address: str = "") -> SshSettings:
        """Return the settings of `ssh -l USER -p PORT NAME`; SettingsError if ssh rejects them.

        `address`: the address in hosts.yaml, used unless ssh_config has a HostName. A host with an
        `address` is not offered ssh's default keys, because hosts.yaml names its key.
        """
        wanted = (name, user, port)
        with self._lock:
            found = self._known.get(wanted)
            if self._needed is None:
                self._needed = bool(self._file) or _says_something()
        if not found:
            said = self._asked(*wanted) if self._needed else {}
            found = _understood(said, *wanted, address)
            with self._lock:
                self._known[wanted] = found
        return found

    def _asked(self, name: str, user: str, port: int) -> Mapping[str, list[str]]:
        command = ["ssh", "-G", "-T", *self.options]
        command += ["-l", user] if user else []
        command += ["-p", str(port)] if port else []
        try:
            answer = subprocess.run(
                [*command, "--", name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
        except FileNotFoundError:
            raise SettingsError(
                "ssh, which reads ssh_config, is not installed; install the OpenSSH client."
            ) from None
        except subprocess.TimeoutExpired:
            raise SettingsError(
                f"ssh needs more than {PATIENCE} s to read its configuration; check it "
                f"with: ssh -G {name}"
            ) from None
        if answer.returncode:
            lines = answer.stderr.decode(errors="replace").strip().splitlines()
            why = lines[0].rstrip(".") if lines else f"exit code {answer.returncode}"
            raise SettingsError(
                f"ssh cannot use its configuration for {name}: {why}. Correct it, and check it "
                f"with: ssh -G {name}"
            )
        said: dict[str, list[str]] = {}
        for line in answer.stdout.decode(errors="surrogateescape").splitlines():
            key, _, value = line.partition(" ")
            said.setdefault(key.lower(), []).append(value)
        return said


def _says_something() -> bool:
    """Whether an ssh_config may affect the settings, so that ssh has to be started."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # ssh ignores HOME
    if (home / ".ssh" / "config").exists():
        return True
    try:
        return any(RELEVANT.search(file.read_bytes()) for file in SYSTEM_FILES if file.exists())
    except OSError:
        return True


def _understood(
    said: Mapping[str, list[str]], name: str, user: str, port: int, address: str
) -> SshSettings:
    """Return the settings from the output of `ssh -G`."""

    def first(key: str, default: str = "") -> str:
        value = said.get(key, [default])[0]
        return "" if value.lower() == "none" else value

    hostname = first("hostname", name)
    hostname = address if address and hostname == name else hostname
    user = user or first("user") or getpass.getuser()
    port = port or int(first("port", "22"))
    tokens = {
        "%": "%",
        "d": str(Path.home()),
        "h": hostname,
        "n": name,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
    }
    files = [name for name in said.get("identityfile", DEFAULT_KEYS) if name.lower() != "none"]
    if address and set(files) >= set(DEFAULT_KEYS):
        files = []
    return SshSettings(
        hostname=hostname,
        user=user,
        port=port,
        jump=first("proxyjump"),
        proxy=expanded(first("proxycommand"), tokens),
        key_files=tuple(Path(expanded(name, tokens)).expanduser() for name in files),
        only_key_files=first("identitiesonly") == "yes",
        agent=_agent(said.get("identityagent", ["SSH_AUTH_SOCK"])[0], tokens),
        alias=first("hostkeyalias"),
    )


def expanded(text: str, tokens: Mapping[str, str]) -> str:
    """Return `text` with ssh's tokens, such as %h, replaced by their values."""
    return re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)


def _agent(text: str, tokens: Mapping[str, str]) -> str:
    if text.lower() == "none":
        return ""
    if text == "SSH_AUTH_SOCK" or text.startswith("$"):
        return os.environ.get(text.strip("${}"), "")
    return str(Path(expanded(text, tokens)).expanduser())
