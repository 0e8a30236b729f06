"""Users, firewall, SELinux, names, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from runbook.declare.step import REBOOT, Step, Steps, quote
from runbook.declare.steps.commands import action, command, not_noted, precondition
from runbook.declare.steps.files import file, setting


def user(name: str, groups: Sequence[str] = (), shell: str = "/bin/bash") -> Step:
    """A user with a home, in these groups besides its own; an existing one keeps id and home."""
    wanted = " && ".join(f'" $groups " == *" {group} "*' for group in groups)
    in_groups = f" && groups=$(id -nG {name}) && [[ {wanted} ]]" if groups else ""
    option = f" -G {','.join(groups)}" if groups else ""
    append = f" -aG {','.join(groups)}" if groups else ""
    return Step(
        f"user {name}" + (f" in {' '.join(groups)}" if groups else ""),
        test=f"id -u {name}{in_groups}",
        apply=(
            f"if id -u {name} >/dev/null 2>&1; then usermod{append} {name}; "
            f"else useradd -m -s {shell}{option} {name}; fi"
        ),
    )


def system_user(name: str, uid: int, gid: int, home: str) -> Steps:
    """A user and its group with exactly these numbers; whoever stands in the way is told."""
    yield precondition(
        f"uid {uid} and gid {gid} are {name}'s or free",
        f"! getent passwd {name} {uid} | grep -v '^{name}:[^:]*:{uid}:{gid}:' >/dev/null"
        f" && ! getent group {name} {gid} | grep -v '^{name}:[^:]*:{gid}:' >/dev/null",
        f"""getent passwd {name} {uid} | awk -F: '{{ print "user " $1 " has uid " $3 " gid " $4 }}'
getent group {name} {gid} | awk -F: '{{ print "group " $1 " has gid " $3 }}'
echo 'hosts.yaml wants {name} to have uid {uid} and gid {gid} on every server.'
echo 'Change what is there (usermod -u, groupmod -g, chown), or the numbers.'""",
        early=True,
    )
    yield Step(
        f"user {name} with uid {uid} and gid {gid}",
        test=f"id -u {name}",
        apply=f"getent group {name} >/dev/null || groupadd -g {gid} {name}\n"
        f"useradd -u {uid} -g {gid} -m -d {home} -s /bin/bash {name}",
    )


def password_locked(name: str) -> Step:
    """Nobody logs in as this user with a password; keys go on working."""
    return Step(
        f"{name} has no password to guess",
        test=f"shadow=$(getent shadow {name}) || :; [[ ! $shadow || $shadow == {name}:[*!]* ]]",
        apply=f"usermod --lock {name}",
    )


def firewall_ports(*ports: str) -> Step:
    """Ports such as 8080/tcp are open in the default zone, now and after a reboot."""
    return _firewall(f"firewall lets in {' '.join(ports)}", "ports", "port", ports)


def firewall_protocol(protocol: str) -> Step:
    """An IP protocol such as vrrp is let in by the default zone, now and after a reboot."""
    return _firewall(f"firewall lets in protocol {protocol}", "protocols", "protocol", [protocol])


def firewall_ports_from(addresses: Sequence[str], ports: Sequence[str]) -> Step:
    """Ports are open to these addresses only, now and after a reboot."""
    rules = [
        f'rule family="ipv4" source address="{address}" '
        f'port port="{port.split("/")[0]}" protocol="{port.split("/")[1]}" accept'
        for address in addresses
        for port in ports
    ]
    title = f"firewall lets {' '.join(addresses)} reach {' '.join(ports)}"
    return _firewall(title, "rules_str", "rich-rule", rules)


def _firewall(title: str, key: str, option: str, values: Sequence[str]) -> Step:
    if not values:
        raise ValueError(f"{title}: there is nothing to let in")
    options = " ".join(f"--add-{option}={quote(value)}" for value in values)
    return Step(
        title,
        test=f"firewall_has {key} {' '.join(quote(value) for value in values)}",
        apply=f"firewall-cmd --permanent {options}\nfirewall-cmd {options}",
    )


def selinux_mode(mode: str) -> Steps:
    """SELinux is `disabled`, `permissive` or `enforcing`, now as far as the kernel can.

    A running kernel goes neither to nor from disabled: that takes a reboot, and coming back from
    disabled a relabelled file system as well (RHEL 8, "Using SELinux").
    """
    config = setting("/etc/selinux/config", "SELINUX", mode)
    yield config.then(REBOOT) if mode == "disabled" else config
    if mode == "enforcing":
        yield command("SELinux enforces now", "setenforce 1", "[[ $(getenforce) != Permissive ]]")
    else:
        title = "SELinux does not enforce now"
        yield command(title, "setenforce 0", "[[ $(getenforce) != Enforcing ]]")
    if mode != "disabled":
        yield command(
            "SELinux is not switched off, or files get their labels at the next boot",
            "touch /.autorelabel",
            "[[ $(getenforce) != Disabled || -e /.autorelabel ]]",
        ).then(REBOOT)


def hostname(name: str) -> Step:
    """The static hostname; what already runs may keep the old one until a reboot."""
    return Step(
        f"hostname is {name}",
        test=f"text_of /etc/hostname && [[ ${{current%%[[:space:]]*}} == {name} ]]",
        apply=f"nmcli general hostname {name}",
        notify=(REBOOT,),
    )


def timezone(name: str) -> Step:
    """The system's time zone, such as Asia/Tehran."""
    return Step(
        f"time zone is {name}",
        test=f"[[ /etc/localtime -ef /usr/share/zoneinfo/{name} ]]",
        apply=f"timedatectl set-timezone {name}",
    )


def sysctl(title: str, path: str, values: Mapping[str, int]) -> Steps:
    """Kernel parameters, now and after a reboot, by a file of /etc/sysctl.d."""
    yield file(path, "".join(f"{name} = {value}\n" for name, value in values.items()))
    wanted = "".join(f"{value} " for value in values.values())
    test = f"[[ $(sysctl -n {' '.join(values)} | tr '\\n' ' ') == '{wanted}' ]]"
    yield command(title, f"sysctl -q -p {path}", unless=test)


def selinux_boolean(name: str) -> Step:
    """A boolean of SELinux is on, now and after a reboot."""
    return command(
        f"SELinux's boolean {name} is on",
        f"setsebool -P {name} 1",
        unless=f"[[ $(getsebool {name}) == *'--> on' ]]",
    )


def ssh_key(title: str, path: str, user: str, comment: str) -> Step:
    """An SSH key without a passphrase that this user has made, and its public half beside it."""
    by_user = f"runuser -u {user} --"
    return command(
        title,
        f"""if [[ -s {path} ]]; then {by_user} sh -c 'ssh-keygen -y -f {path} >{path}.pub'
else {by_user} ssh-keygen -q -t ed25519 -C {comment} -f {path} -N ''
fi""",
        unless=f"[[ -s {path} && -s {path}.pub ]]",
    )


def reboot_if_noted() -> Step:
    """Reboot, if an earlier step left the note that it takes one; waits for a new boot id."""
    return Step(
        "reboot, as an earlier change asked for",
        test=not_noted(REBOOT),
        apply="systemctl reboot",
        reboots=True,
        timeout=60,
    )


def reboot() -> Step:
    """Reboot, in any case; waits for a new boot id."""
    again = action("reboot", "systemctl reboot", timeout=60)
    return replace(again, reboots=True).clearing(REBOOT)
