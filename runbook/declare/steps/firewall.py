"""Steps for firewalld: who may reach which port, in the zone of the host's address."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.step import Step, quote
from runbook.inventory.schema import EVERYBODY


def firewall_lets(address: str, who: str, sources: Sequence[str], ports: Sequence[str]) -> Step:
    """Ports such as 8080/tcp, or protocols such as vrrp, are open to these sources, now and later.

    `who` says in words who the sources are; one of them may be EVERYBODY.
    """
    if not (sources and ports):
        raise ValueError(f"{' '.join(ports)}: there is nothing to let in")
    kinds = {"port" if "/" in port else "protocol" for port in ports}
    if len(kinds) > 1:
        raise ValueError(f"{' '.join(ports)}: ports and protocols need steps of their own")
    kind = kinds.pop()
    everybody = f"options=({' '.join(f'--add-{kind}={port}' for port in ports)})"
    add = everybody if EVERYBODY in sources else _rules(sources, ports, ELEMENTS[kind])
    wanted = f"{quote(' '.join(sources))} {quote(' '.join(ports))}"
    return Step(
        f"firewall lets {who} reach {' '.join(ports)}",
        test=f"firewall_lets {address} {wanted}",
        apply=f"""{firewall_zone(address)}
{add}
firewall-cmd --permanent --zone="$zone" "${{options[@]}}"
firewall-cmd --zone="$zone" "${{options[@]}}\"""",
    )


def firewall_lets_ssh(address: str, port: str) -> Step:
    """The port of sshd is open to everybody, by itself or, if it is 22, by the service ssh."""
    service = f" || firewall_has {address} services ssh" if port == "22/tcp" else ""
    option = "--add-service=ssh" if port == "22/tcp" else f"--add-port={port}"
    return Step(
        f"firewall lets everybody reach sshd on {port}",
        test=f"firewall_has {address} ports {port}{service}",
        apply=f"""{firewall_zone(address)}
firewall-cmd --permanent --zone="$zone" {option}
firewall-cmd --zone="$zone" {option}""",
    )


def firewall_zone(address: str) -> str:
    """Commands that set $zone to the firewalld zone of the interface with this address."""
    interface = f"$(ip -o -4 addr show to {address} | awk '{{ print $2; exit }}')"
    return f"""zone=$(firewall-cmd --get-zone-of-interface="{interface}" 2>/dev/null) ||
  zone=$(firewall-cmd --get-default-zone)"""


ELEMENTS = {
    "port": r"port port=\"${port%/*}\" protocol=\"${port#*/}\"",
    "protocol": r"protocol value=\"$port\"",
}
"""Parts of a rich rule, in a shell where $port is a port or a protocol."""


def _rules(sources: Sequence[str], ports: Sequence[str], element: str) -> str:
    rule = rf"rule family=\"ipv4\" source address=\"$source\" {element} accept"
    return f"""sources=({" ".join(sources)}) ports=({" ".join(ports)}) options=()
for source in "${{sources[@]}}"; do
  for port in "${{ports[@]}}"; do
    options+=("--add-rich-rule={rule}")
  done
done"""
