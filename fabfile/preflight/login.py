"""Whether sshd and sudo accept the accounts that the cluster needs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from runbook.declare.contents import Contents
from runbook.declare.facts import hosts_on
from runbook.declare.probes import Finding
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from .trouble import fine, stops


@dataclass(frozen=True)
class Login:
    """An account that logs in to a host from an address, and the settings of sshd for it."""

    user: str
    address: str
    groups: tuple[str, ...]
    settings: dict[str, list[str]]


@dataclass(frozen=True)
class Logins:
    """All logins to a host, and the `requiretty` lines of sudoers."""

    logins: tuple[Login, ...]
    sudo: tuple[str, ...]


def wanted(
    contents: Contents, cluster: Cluster, host: Host
) -> dict[tuple[str, str], tuple[str, ...]]:
    """The logins that sections declare for a host: (user, address), and the planned groups."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for section in contents.sections:
        for login in section.requires.logins:
            if host not in hosts_on(login.on, cluster):
                continue
            user = login.user(cluster, host)
            origins = hosts_on(login.by, cluster) if login.by else []
            addresses = [one.address for one in origins if one != host] if login.by else [""]
            for address in addresses:
                found.setdefault((user, address), login.groups)
    return found


def command(contents: Contents, cluster: Cluster, host: Host) -> str:
    """A command that prints the settings of sshd and sudo for these logins."""
    logins = wanted(contents, cluster, host)
    return script(
        "preflight/login.sh",
        logins=" ".join(f"{user}@{address}" for user, address in logins),
        address=host.address,
        port=cluster.ssh_port(host),
    )


def parse(text: str) -> Logins:
    """Parse the answer of `command`."""
    logins: list[Login] = []
    sudo: list[str] = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "login":
            user, address = rest.split()
            logins.append(Login(user, address, (), {}))
        elif word == "sshd":
            key, *values = rest.split()
            logins[-1].settings.setdefault(key, []).extend(values)
        elif word == "groups":
            last = logins.pop()
            logins.append(Login(last.user, last.address, tuple(rest.split()), last.settings))
        elif word == "sudo":
            sudo.append(rest)
    return Logins(tuple(logins), tuple(sudo))


def findings(contents: Contents, cluster: Cluster, host: Host, said: Logins) -> Iterator[Finding]:
    """Findings on the accounts that sshd or sudo would refuse."""
    planned = {user: groups for (user, _), groups in wanted(contents, cluster, host).items()}
    for login in said.logins:
        yield from _login(host, login, planned.get(login.user, ()))
    user = cluster.user(host)
    if terminal_needed(said.sudo, user):
        yield stops(
            host.name,
            "sudo",
            f"sudo requires a terminal for {user} (requiretty)",
            f"echo 'Defaults:{user} !requiretty' >/etc/sudoers.d/00-{user}-tty",
        )


def _login(host: Host, login: Login, planned: Sequence[str]) -> Iterator[Finding]:
    settings = login.settings
    who = f"{login.user} from {login.address}"
    title = "sshd"
    if not settings:
        yield stops(host.name, title, "`sshd -T` prints no settings", "run sshd -t to see why")
        return
    refused = refusal(login, (*login.groups, login.user, *planned))
    if refused:
        sentence = f"{refused} refuses the login of {who}"
        yield stops(host.name, title, sentence, f"change {refused} in sshd's configuration")
    if settings.get("pubkeyauthentication") == ["no"]:
        sentence = f"login by key is disabled for {login.user} (PubkeyAuthentication)"
        way_out = f"add to sshd's configuration: Match User {login.user}, PubkeyAuthentication yes"
        yield stops(host.name, title, sentence, way_out)
    methods = settings.get("authenticationmethods", ["any"])
    if not {"any", "publickey"} & set(methods):
        sentence = f"a key is not enough to log in as {login.user} (AuthenticationMethods)"
        way_out = (
            f"add to sshd's configuration: Match User {login.user}, AuthenticationMethods publickey"
        )
        yield stops(host.name, title, sentence, way_out)
    files = settings.get("authorizedkeysfile", [".ssh/authorized_keys"])
    if not any(name.endswith(".ssh/authorized_keys") for name in files):
        sentence = (
            f"keys of {login.user} are read from {' '.join(files)}, not from .ssh/authorized_keys"
        )
        way_out = "set AuthorizedKeysFile .ssh/authorized_keys in sshd's configuration"
        yield stops(host.name, title, sentence, way_out)
    yield fine(host.name, title)


def refusal(login: Login, groups: Sequence[str]) -> str:
    """The setting of sshd that refuses a login; empty if none does (sshd_config(5))."""

    def listed(key: str) -> list[str]:
        return login.settings.get(key, [])

    def named(key: str) -> bool:
        return any(_is_login(login, pattern) for pattern in listed(key))

    def in_group(key: str) -> bool:
        return any(fnmatchcase(group, pattern) for group in groups for pattern in listed(key))

    if named("denyusers"):
        return "DenyUsers"
    if listed("allowusers") and not named("allowusers"):
        return "AllowUsers"
    if in_group("denygroups"):
        return "DenyGroups"
    return "AllowGroups" if listed("allowgroups") and not in_group("allowgroups") else ""


def _is_login(login: Login, pattern: str) -> bool:
    """Whether a pattern such as rocky or rocky@10.0.0.0/8 matches this login."""
    user, _, origin = pattern.partition("@")
    return fnmatchcase(login.user, user) and (not origin or _is_from(login.address, origin))


def _is_from(address: str, pattern: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return fnmatchcase(address, pattern)


def terminal_needed(defaults: Sequence[str], user: str) -> bool:
    """Whether sudo requires a terminal for this user; the last line wins (sudoers(5))."""
    needed = False
    for line in defaults:
        scope = re.match(r"Defaults([:@!>][^ ]+)?", line)
        of = (scope[1] or "") if scope else ""
        if of in ("", f":{user}", ":%wheel", ":ALL"):
            needed = "!requiretty" not in line
    return needed
