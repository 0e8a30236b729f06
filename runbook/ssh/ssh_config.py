"""What ssh_config says of a host. ssh itself reads it: with Include, Match and all else."""

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
"""Lines of the machine's own files that make a difference here."""
DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
"""What ssh tries if no IdentityFile says anything else."""
PATIENCE = 30
"""Seconds that ssh gets to read its configuration: `Match exec` may run commands."""


@dataclass(frozen=True)
class SshSettings:
    """What ssh would use to connect to a host.

    `jump`: as in ProxyJump. `proxy`: the ProxyCommand. `agent`: its socket; empty if there is none.
    `alias`: the name that known_hosts has for the host, if not its own.
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
    """One host of a ProxyJump: `[user@]host[:port]`; what is empty is for ssh_config to say."""

    host: str
    user: str = ""
    port: int = 0


def hop_of(text: str) -> Hop:
    """The parts of a gateway, as ProxyJump and hosts.yaml write it; SettingsError otherwise."""
    user, _, place = text.rpartition("@")
    match = re.fullmatch(r"(\[(?P<v6>[^]]+)\]|(?P<host>[^:\s]+))(:(?P<port>\d+))?", place)
    if not match:
        raise SettingsError(f"{text} is not a gateway; write user@host or user@host:port.")
    return Hop(match["v6"] or match["host"], user, int(match["port"] or 0))


class SshConfig:
    """The configuration of ssh on this machine; `file` takes its place, as with `ssh -F`."""

    def __init__(self, file: str | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, int], SshSettings] = {}
        self._needed: bool | None = None

    @property
    def options(self) -> list[str]:
        """What makes ssh read the same configuration."""
        return ["-F", self._file] if self._file else []

    def of(self, name: str, user: str = "", port: int = 0, address: str = "") -> SshSettings:
        """What ssh would do for `ssh -l USER -p PORT NAME`; SettingsError if it refuses.

        `address` is where a host of hosts.yaml is, if ssh_config has no HostName for it. Such a
        host is not offered the keys that ssh tries by default: hosts.yaml names one.
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
                "There is an ssh_config, but no ssh to read it; install OpenSSH's client."
            ) from None
        except subprocess.TimeoutExpired:
            raise SettingsError(
                f"ssh takes more than {PATIENCE} s to read its configuration; try: ssh -G {name}"
            ) from None
        if answer.returncode:
            lines = answer.stderr.decode(errors="replace").strip().splitlines()
            why = lines[0].rstrip(".") if lines else f"exit code {answer.returncode}"
            raise SettingsError(
                f"ssh cannot use its configuration for {name}: {why}. Correct it until this works: "
                f"ssh -G {name}"
            )
        said: dict[str, list[str]] = {}
        for line in answer.stdout.decode(errors="surrogateescape").splitlines():
            key, _, value = line.partition(" ")
            said.setdefault(key.lower(), []).append(value)
        return said


def _says_something() -> bool:
    """Whether ssh's configuration can make a difference, so that it is worth starting ssh."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # ssh does not ask HOME
    if (home / ".ssh" / "config").exists():
        return True
    try:
        return any(RELEVANT.search(file.read_bytes()) for file in SYSTEM_FILES if file.exists())
    except OSError:
        return True


def _understood(
    said: Mapping[str, list[str]], name: str, user: str, port: int, address: str
) -> SshSettings:
    """The settings in the answer of `ssh -G`."""

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
    """`text` with the values of ssh's tokens, such as %h."""
    return re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)


def _agent(text: str, tokens: Mapping[str, str]) -> str:
    if text.lower() == "none":
        return ""
    if text == "SSH_AUTH_SOCK" or text.startswith("$"):
        return os.environ.get(text.strip("${}"), "")
    return str(Path(expanded(text, tokens)).expanduser())
