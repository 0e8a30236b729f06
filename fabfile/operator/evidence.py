"""What a bug report needs to know of a server: commands, by role, and what is kept of their output.

A name ends up as a file of the bundle; the commands change nothing.
"""

from __future__ import annotations

import re

from ..airflow import chapter as airflow
from ..engine.cluster import Cluster, Host
from ..engine.secrets import MASK
from ..engine.section import Fact
from ..haproxy import chapter as haproxy
from ..nfs import chapter as nfs
from ..postgres import chapter as postgres

SHORT, LONG = 100_000, 1_000_000
"""Bytes that are kept of a command's output, and of logs: the last ones."""

UNITS = {
    "all": ("sshd", "chronyd", "firewalld"),
    "postgres": ("etcd", "patroni", "pgbackrest", "pgbackrest-*"),
    "rabbitmq": ("rabbitmq-server",),
    "haproxy": ("haproxy", "keepalived"),
    "nfs": ("nfs-*", "keepalived"),
    **{role: (f"airflow-{role}",) for role in airflow.COMPONENTS},
}

AIRFLOW = tuple(
    f"{airflow.SETTINGS}/{name}" for name in ("airflow.cfg", "airflow.env", "python/*.py")
)

FILES = {
    "all": ("/etc/hosts", "/etc/chrony.conf", "/etc/os-release", "/etc/selinux/config"),
    "postgres": (postgres.PATRONI, "/etc/etcd/*.conf", "/etc/pgbackrest.conf"),
    "rabbitmq": ("/etc/rabbitmq/*.conf",),
    "haproxy": (haproxy.CONFIG, "/etc/keepalived/*.conf", "/etc/keepalived/conf.d/*"),
    "nfs": ("/etc/nfs.conf", "/etc/exports.d/*", f"{nfs.SETTINGS}/settings", f"{nfs.STATE}/[agp]*"),
    **dict.fromkeys(airflow.COMPONENTS, AIRFLOW),
}

LOGS = {
    "postgres": ("/var/lib/pgsql/*/data/log/*", "/var/log/pgbackrest/*"),
    "rabbitmq": ("/var/log/rabbitmq/*.log",),
}

STATE = {
    "all": (
        "uptime",
        "uname -a",
        "df -hT; df -i",
        "free -m",
        "ip -br addr; ip route",
        "ss -lntu",
        "chronyc -n tracking",
        "systemctl --failed --no-pager",
        "firewall-cmd --list-all",
        "ps -eo pid,user,pcpu,pmem,etimes,comm --sort=-pmem | head -40",
    ),
    "postgres": (
        f"timeout 20 {postgres.PATRONICTL} list",
        f"timeout 20 {postgres.PATRONICTL} history",
        "timeout 20 etcdctl endpoint status -w table; timeout 20 etcdctl member list",
    ),
    "rabbitmq": (
        "timeout 30 rabbitmqctl cluster_status",
        "timeout 30 rabbitmqctl list_queues -p airflow name type messages state",
    ),
    "haproxy": (f"curl -s -m 5 '{haproxy.HEALTH}/stats;csv' | cut -d, -f1-20",),
    "nfs": ("exportfs -s", "ls -la /app1/airflow /app1/airflow/dags | head -60"),
    **dict.fromkeys(("scheduler", "worker"), (f"{airflow.CLI} version",)),
}


def files(cluster: Cluster, hours: int) -> list[Fact]:
    """A fact for each file that the bundle gets from each server."""

    def units(host: Host) -> str:
        return " ".join(f"-u '{unit}'" for unit in of(UNITS, host))

    def journal(cluster: Cluster, host: Host) -> str:
        when = f"journalctl --no-pager -o short-iso --since '-{hours} hours'"
        return limited(f"{when} {units(host)}; echo; {when} -k -p warning", LONG)

    def logs(cluster: Cluster, host: Host) -> str:
        names = " ".join(of(LOGS, host))
        found = f"find {names or '/nonexistent'} -type f -mmin -{hours * 60} 2>/dev/null"
        return limited(f'{found} | while read -r log; do echo "== $log"; cat "$log"; done', LONG)

    def configuration(cluster: Cluster, host: Host) -> str:
        names = " ".join(of(FILES, host))
        return limited(f'for file in {names}; do echo "== $file"; cat "$file"; echo; done', SHORT)

    def state(cluster: Cluster, host: Host) -> str:
        asked = [f"echo {_quoted(f'== {command}')}\n{command}\necho" for command in of(STATE, host)]
        return limited("\n".join(asked), SHORT)

    def services(cluster: Cluster, host: Host) -> str:
        names = " ".join(f"'{unit}'" for unit in of(UNITS, host))
        return limited(f"systemctl status --no-pager -n 0 {names}", SHORT)

    def packages(cluster: Cluster, host: Host) -> str:
        return limited("rpm -qa | sort", SHORT)

    asked = {
        "state.txt": state,
        "services.txt": services,
        "configuration.txt": configuration,
        "packages.txt": packages,
        "journal.txt": journal,
        "logs.txt": logs,
    }
    return [
        Fact(name, on="all", command=command, parse=str, absent="it does not answer")
        for name, command in asked.items()
    ]


def of(by_role: dict[str, tuple[str, ...]], host: Host) -> list[str]:
    """What a table has for all servers, and for this one's roles."""
    wanted = [item for role in ("all", *host.roles) for item in by_role.get(role, ())]
    return list(dict.fromkeys(wanted))


def limited(commands: str, size: int) -> str:
    """The end of what commands print, on both streams; they may fail."""
    return f"{{\n{commands}\n}} 2>&1 </dev/null | tail -c {size}\ntrue"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


PATTERNS = (
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(-----END|\Z)"),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)"),
    re.compile(r"((?:auth_pass|stats auth|requirepass)\s+)\S+()"),
    re.compile(r"(?i)(authorization:\s*\w+\s+)\S+()"),
    re.compile(r"(SCRAM-SHA-256\$)\S+()"),
    re.compile(r"\b(md5)[0-9a-f]{32}\b()"),
    re.compile(
        r"(?i)([\w.-]*(?:password|passwd|secret|token|cookie|fernet|_key\b)[\w.-]*"
        r"[\"']?\s*[:=]\s*)(?!\s)[^\n]+()"
    ),
)
"""What looks like a password wherever it comes from; around it stays what says so."""


def without_passwords(text: str) -> str:
    """`text` without what looks like a password."""
    for pattern in PATTERNS:
        text = pattern.sub(rf"\1{MASK}\2", text)
    return text
