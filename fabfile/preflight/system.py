"""Release, size, mounts, security and accounts of a server, and findings on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Optional

from runbook.declare.facts import Fact
from runbook.declare.probes import Finding
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from .trouble import fine, impairs, stops

SUPPORTED = {"platform:el8": 8, "platform:el9": 9}
TESTED = {"rocky", "rhel"}
ENOUGH = 0.75
"""Share of the memory or disk in hosts.yaml; kernel, crash kernel and /boot take the rest."""
TOO_LITTLE = 0.5
NEVER = 99999
"""Maximum age in days of a password that never expires, as useradd writes it."""


@dataclass(frozen=True)
class Account:
    """The line of an account in /etc/shadow, in days; None for an empty field."""

    last: Optional[int]
    most: Optional[int]
    inactive: Optional[int]
    expires: Optional[int]

    @property
    def ends(self) -> Optional[int]:
        """The last day on which a login is possible, even with a key."""
        days = [self.expires] if self.expires is not None else []
        if self.last is not None and self.most is not None and 0 <= self.most < NEVER:
            days.append(self.last + self.most)
        return min(days, default=None)


@dataclass(frozen=True)
class System:
    """The system of a server: memory and disks in MiB, mounts with type and options."""

    os: Mapping[str, str]
    arch: str
    memory: int
    swap: int
    disks: Mapping[str, int]
    mounts: Mapping[str, tuple[str, frozenset[str]]]
    umask: str
    session_umask: str
    fips: bool
    selinux: str
    cloud: Mapping[str, str]
    units: Mapping[str, str]
    proxies: Mapping[str, str]
    max_days: int
    today: int
    accounts: Mapping[str, Account]

    @property
    def release(self) -> int:
        """8 or 9; 0 for any other system."""
        return SUPPORTED.get(self.os.get("PLATFORM_ID", ""), 0)

    @property
    def platform(self) -> str:
        """The platform that programs are compiled for, such as EL8 x86_64."""
        return f"EL{self.release} {self.arch}"

    @property
    def name(self) -> str:
        """The name of the system in os-release."""
        return self.os.get("PRETTY_NAME") or self.os.get("ID") or "an unknown system"

    def mount(self, path: str) -> tuple[str, frozenset[str]]:
        """Type and options of the file system of a path."""
        for parent in (PurePosixPath(path), *PurePosixPath(path).parents):
            if str(parent) in self.mounts:
                return self.mounts[str(parent)]
        return "", frozenset()

    def noexec(self, path: str) -> bool:
        """Whether a path is mounted noexec."""
        return "noexec" in self.mount(path)[1]


def parse(text: str) -> System:
    """Parse the answer of SYSTEM: lines of a word and its values."""
    told: dict[str, list[list[str]]] = {}
    for line in filter(str.strip, text.splitlines()):
        word, *values = line.split()
        told.setdefault(word, []).append(values)
    memory = {key: int(size) // 1024 for key, size in told["memory"]}
    effective, session = told["umask"][0]
    return System(
        os={key: " ".join(value) for key, *value in told.get("os", ())},
        arch=told["arch"][0][0],
        memory=memory["MemTotal:"],
        swap=memory.get("SwapTotal:", 0),
        disks={source: int(size) // 1024 for source, size, *_ in told.get("disk", ())},
        mounts={
            path: (kind, frozenset(options.split(",")))
            for path, kind, options in told.get("mount", ())
        },
        umask=effective,
        session_umask=session,
        fips=told.get("fips", [["0"]])[0] == ["1"],
        selinux=told["selinux"][0][0],
        cloud={key: value.strip("\"'").lower() for key, value in told.get("cloud", ())},
        units=dict(told.get("unit", ())),
        proxies={name: " ".join(value) for name, *value in told.get("proxy", ())},
        max_days=int(told.get("max_days", [[str(NEVER)]])[-1][0]),
        today=int(told["today"][0][0]),
        accounts={name: Account(*map(_days, days)) for name, *days in told.get("account", ())},
    )


def _days(text: str) -> Optional[int]:
    return int(text) if text.lstrip("-").isdigit() else None


SYSTEM = Fact(
    "the system",
    on="all",
    command=lambda cluster, host: script(
        "preflight/system.sh", accounts=f"{cluster.user(host)} airflow"
    ),
    parse=parse,
    absent="it cannot be asked",
)


def findings(host: Host, cluster: Cluster, system: System) -> Iterator[Finding]:
    """Findings on the system of one server."""
    yield from release(host, system)
    yield from size(host, system)
    yield from umask(host, system)
    yield from temporary(host, system)
    yield from security(host, cluster, system)
    yield from cloud_init(host, system)
    yield from proxy(host, cluster, system)
    yield from accounts(host, cluster, system)


def release(host: Host, system: System) -> Iterator[Finding]:
    """Check that this is Enterprise Linux 8 or 9."""
    if not system.release:
        yield stops(
            host.name,
            "release",
            f"{system.name} is not supported: this project sets up Enterprise Linux 8 and 9",
            "install Rocky Linux or Red Hat Enterprise Linux 8 or 9",
        )
    elif system.os.get("ID") not in TESTED:
        yield impairs(
            host.name,
            "release",
            f"{system.name} is not tested",
            "rehearse first, or use Rocky Linux or Red Hat Enterprise Linux",
        )
    else:
        yield fine(host.name, "release")


def size(host: Host, system: System) -> Iterator[Finding]:
    """Compare memory and disk with hosts.yaml, less the share of kernel and boot partition."""
    share = system.memory / host.ram_mb
    if share < ENOUGH:
        level = stops if share < TOO_LITTLE else impairs
        yield level(
            host.name,
            "memory",
            f"{system.memory} MiB, but hosts.yaml specifies {host.ram}",
            "add memory, or correct `ram` in hosts.yaml: PostgreSQL's and Airflow's settings "
            "depend on it",
        )
    total = sum(system.disks.values()) + system.swap
    if system.disks and total < ENOUGH * host.disk_mb:
        yield impairs(
            host.name,
            "disk",
            f"the file systems have {total // 1024} GiB, but hosts.yaml specifies {host.disk}",
            "enlarge them, or correct `disk` in hosts.yaml",
        )


def umask(host: Host, system: System) -> Iterator[Finding]:
    """Check that services can read the files that root creates."""
    way_out = (
        "set umask 022 for root's sessions: in pam_umask, /etc/profile.d, or sudoers "
        "(Defaults umask=0022)"
    )
    if int(system.umask, 8) & 0o055:
        sentence = (
            f"commands of root run with umask {system.umask}: services could not read their files"
        )
        yield stops(host.name, "umask", sentence, way_out)
    elif system.session_umask != "unknown" and int(system.session_umask, 8) & 0o055:
        sentence = (
            f"login shells have umask {system.session_umask}: services cannot read files that you "
            "create by hand"
        )
        yield impairs(host.name, "umask", sentence, "check the modes of files that you copy there")


def temporary(host: Host, system: System) -> Iterator[Finding]:
    """Check that programs can run from the directories for temporary files."""
    closed = [path for path in ("/tmp", "/var/tmp") if system.noexec(path)]
    if closed:
        yield impairs(
            host.name,
            "mounts",
            f"{' and '.join(closed)} {'is' if len(closed) == 1 else 'are'} mounted noexec: "
            "DAGs and Python packages that run programs there fail",
            "this project does not need it; DAGs may set TMPDIR",
        )


def security(host: Host, cluster: Cluster, system: System) -> Iterator[Finding]:
    """Check FIPS mode, fapolicyd, other firewalls and SELinux."""
    if system.fips:
        yield stops(
            host.name,
            "FIPS",
            "FIPS mode is on: ssh-keygen and sshd refuse ed25519 keys, which this project uses",
            "fips-mode-setup --disable, then reboot",
        )
    if system.units.get("fapolicyd.service") == "active":
        yield stops(
            host.name,
            "fapolicyd",
            "fapolicyd is running: it blocks programs that no package installed, such as Airflow's",
            "systemctl disable --now fapolicyd; or add rules that allow /opt/airflow, "
            "python.prefix and /usr/libexec",
        )
    for unit in ("nftables.service", "iptables.service"):
        if system.units.get(unit) == "active":
            sentence = f"{unit} is active: base.firewall starts firewalld, which stops it"
            yield impairs(host.name, "firewall", sentence, "move its rules to firewalld")
    wanted, now = cluster.selinux, system.selinux.lower()
    if wanted == now:
        yield fine(host.name, "SELinux")
    elif now == "disabled":
        yield impairs(
            host.name,
            "SELinux",
            f"disabled, but hosts.yaml specifies {wanted}: a reboot relabels all files",
            "none needed; base.selinux prepares it, and hostnames.reboot takes minutes longer",
        )
    elif now == "enforcing":
        yield impairs(
            host.name,
            "SELinux",
            f"enforcing, but hosts.yaml specifies {wanted}",
            "to keep it, set selinux: enforcing in hosts.yaml",
        )


def cloud_init(host: Host, system: System) -> Iterator[Finding]:
    """Check for changes that cloud-init would undo at the next boot.

    Its user data overrides our drop-ins (cloud-init's documentation, "Configuration priority").
    """
    cloud, way_out = system.cloud, "remove the line from the user data of the instance"
    if cloud.get("manage_etc_hosts", "false") not in ("false", "no", "off"):
        sentence = "manage_etc_hosts is on: /etc/hosts loses the cluster's names at the next boot"
        yield impairs(host.name, "cloud-init", sentence, way_out)
    if cloud.get("preserve_hostname", "true") not in ("true", "yes", "on"):
        sentence = "preserve_hostname is off: the next boot may set another hostname"
        yield impairs(host.name, "cloud-init", sentence, way_out)


def proxy(host: Host, cluster: Cluster, system: System) -> Iterator[Finding]:
    """Check that downloads use the site's proxy, and requests within the cluster do not."""
    proxies = system.proxies
    if "dnf" in proxies and not {"https_proxy", "HTTPS_PROXY"} & proxies.keys():
        yield impairs(
            host.name,
            "proxy",
            f"dnf uses the proxy {proxies['dnf']}, but other downloads do not",
            f"set https_proxy={proxies['dnf']} in /etc/environment, or mirrors in `sources`",
        )
    if "http_proxy" in proxies:
        given = proxies.get("no_proxy") or proxies.get("NO_PROXY") or ""
        direct = {word.strip() for word in given.split(",")}
        addresses = [one.address for one in cluster.hosts.values()]
        addresses += [vip.address for vip in cluster.vips.values()]
        if "*" not in direct and not set(addresses) <= direct:
            yield impairs(
                host.name,
                "proxy",
                "http_proxy is set, but no_proxy lacks addresses of the cluster: checks of "
                "services would go through the proxy",
                f"set no_proxy={','.join(['127.0.0.1', *addresses])} in /etc/environment",
            )


def accounts(host: Host, cluster: Cluster, system: System) -> Iterator[Finding]:
    """Check expiry dates: an expired account or password refuses key logins, too."""
    for name, account in system.accounts.items():
        if account.ends is None:
            continue
        left = account.ends - system.today
        never = f"chage -M -1 -E -1 {name}"
        if left < 0:
            sentence = f"{name} or its password has expired: logins fail, even with a key"
            yield stops(host.name, "accounts", sentence, f"{never} -d {system.today}")
        else:
            sentence = (
                f"{name} or its password expires in {left} days: then logins fail, even with a key"
            )
            yield impairs(host.name, "accounts", sentence, never)
    absent = [name for name in (cluster.user(host),) if name not in system.accounts]
    if absent and 0 < system.max_days < NEVER:
        yield impairs(
            host.name,
            "accounts",
            f"passwords of new accounts expire after {system.max_days} days (PASS_MAX_DAYS): "
            f"then logins as {absent[0]} fail, even with a key",
            f"after the deployment: chage -M -1 {absent[0]}; chage -M -1 airflow",
        )
