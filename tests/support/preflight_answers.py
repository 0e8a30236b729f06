"""What servers answer to a preflight: a Rocky 8.10 minimal installation, and changes to that."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace

from fabfile import CONTENTS
from fabfile.shared.vitals import TIME
from runbook.execute.journal import Journal
from runbook.execute.run import Options, Run
from runbook.output.report import Report
from runbook.results import StepResult
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Passwords

SYSTEM = """\
os ID rocky
os VERSION_ID 8.10
os PLATFORM_ID platform:el8
os PRETTY_NAME Rocky Linux 8.10 (Green Obsidian)
arch x86_64
memory MemTotal: 3825220
memory SwapTotal: 2097148
disk /dev/mapper/rl-root 17811456 15905132 /
disk /dev/sda1 1038336 803236 /boot
mount / xfs rw,seclabel,relatime,attr2,inode64
mount /boot xfs rw,seclabel,relatime
umask 0022 0022
fips 0
selinux Disabled
unit fapolicyd.service inactive
unit nftables.service inactive
unit iptables.service inactive
max_days 99999
today 20785
account rocky 20785 - - -
"""

# `firewall-cmd --list-all-zones` of firewalld 0.9.11.
ZONES = """\
block
  target: %%REJECT%%
  icmp-block-inversion: no
  interfaces:
  sources:
  services:
  ports:
  protocols:
  forward: no
  masquerade: no
  rich rules:

internal
  target: default
  icmp-block-inversion: no
  interfaces:
  sources:
  services: cockpit dhcpv6-client mdns samba-client ssh
  ports:
  protocols:
  rich rules:

public (active)
  target: default
  icmp-block-inversion: no
  interfaces: eth0
  sources:
  services: cockpit dhcpv6-client ssh
  ports: 8080/tcp 35672-35682/tcp
  protocols:
  rich rules:
	rule family="ipv4" source address="192.168.83.147" port port="2379" protocol="tcp" accept
"""

# `sshd -T -C …` of OpenSSH 8.0p1, the lines that are asked for.
SSHD = """\
sshd pubkeyauthentication yes
sshd authorizedkeysfile .ssh/authorized_keys
sshd authenticationmethods any
"""


def network(
    address: str, peers=(), zones: str = ZONES, running: bool = True, more: str = ""
) -> str:
    """The answer of a server with one card."""
    lines = [f"address eth0 {address}/24", *(f"route {peer} eth0 {address}" for peer in peers)]
    lines += ["default_zone public"]
    if running:
        lines += ["firewalld running", *(f"zones|{line}" for line in zones.splitlines())]
    return "\n".join([*lines, more.strip()]).strip() + "\n"


class Servers:
    """Stands in for connections: answers each question with a text, by what its command says."""

    def __init__(self, cluster, changes=None, off=None) -> None:
        self.cluster = cluster
        self.changes = changes or {}
        self.off = off or {}

    def open(self, host, bootstrap=False) -> None:
        if host.name in self.off:
            raise self.off[host.name]

    def run(self, host, script, progress, prompt=False) -> SimpleNamespace:
        results = []
        for part in script.parts:
            text, code = self.answer(host, part.command), 0
            results.append(StepResult(part.title, "", output=text.splitlines(), code=code))
        return SimpleNamespace(complete=True, results=results)

    def answer(self, host, command: str) -> str:
        """The text that a server prints."""
        for (name, word), text in self.changes.items():
            if name == host.name and word in command:
                return text
        others = [one.address for one in self.cluster.hosts.values() if one != host]
        if command == TIME.command(self.cluster, host):
            return f"{time.time():.3f}"
        if "list-all-zones" in command:
            return network(host.address, others)
        if "sshd -T" in command:
            return f"origin 192.168.83.1\nlogin rocky 192.168.83.1\n{SSHD}groups rocky wheel\n"
        if "/dev/tcp/" in command:
            targets = command.partition("targets='")[2].partition("'")[0].split()
            return "".join(f"{target} open\n" for target in targets)
        if "dnf install --assumeno" in command:
            return "installed\n"
        if "PRETTY_NAME" in command:
            return SYSTEM
        return "none\n" if "keepalived" in command else ""

    def close(self) -> None:
        return

    def drop(self, host) -> None:
        return


def run(cluster, tmp_path, servers, **options) -> Run:
    """A run over such servers, whose report is `run.report.stream`."""
    mask = Mask()
    own = Run(
        contents=CONTENTS,
        cluster=cluster,
        options=Options(**options),
        report=Report(mask, order=list(cluster.hosts), stream=io.StringIO()),
        config=None,
        journal=Journal(tmp_path, mask),
        passwords=Passwords(mask, ask=str),
    )
    own.task = "base.preflight"
    own._connections = servers
    return own
