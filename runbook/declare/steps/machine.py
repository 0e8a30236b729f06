"""Steps for users, hostname, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from runbook.declare.step import REBOOT, Step, Steps, quote
from runbook.declare.steps.commands import action, command, not_noted, precondition
from runbook.declare.steps.files import file


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
    """A user and its group with exactly these numbers; the host is refused if they are in use."""
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
    """The user's password is locked; login with a key still works."""
    return Step(
        f"{name} has no password to guess",
        test=f"shadow=$(getent shadow {name}) || :; [[ ! $shadow || $shadow == {name}:[*!]* ]]",
        apply=f"usermod --lock {name}",
    )


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


def cloud_init(key: str, value: str) -> Step:
    """A drop-in of cloud-init sets this value, on hosts that have cloud-init.

    Its name sorts late, because later files override earlier ones. The user data of an instance
    overrides all of them (cloud-init's documentation, "Configuration priority").
    """
    folder = "/etc/cloud/cloud.cfg.d"
    step = file(
        f"{folder}/99-airflow-runbook-{key.replace('_', '-')}.cfg", text=f"{key}: {value}\n"
    )
    title = f"cloud-init, if installed, has {key}: {value}"
    return replace(step, title=title, test=f"[[ ! -d {folder} ]] || {{ {step.test}; }}")


def sysctl(title: str, path: str, values: Mapping[str, int]) -> Steps:
    """Kernel parameters, now and after a reboot, by a file of /etc/sysctl.d."""
    yield file(path, "".join(f"{name} = {value}\n" for name, value in values.items()))
    wanted = "".join(f"{value} " for value in values.values())
    test = f"[[ $(sysctl -n {' '.join(values)} | tr '\\n' ' ') == '{wanted}' ]]"
    yield command(title, f"sysctl -q -p {path}", unless=test)


def ssh_key(title: str, path: str, user: str, comment: str) -> Step:
    """An SSH key of this user without a passphrase, with its public key beside it."""
    by_user, key = f"runuser -u {user} --", quote(path)
    return command(
        title,
        f"""if {by_user} test -s {key}; then
  {by_user} sh -c {quote(f"ssh-keygen -y -f {key} >{key}.pub")}
else
  {by_user} ssh-keygen -q -t ed25519 -C {comment} -f {key} -N ''
fi""",
        unless=f"[[ -s {key} && -s {key}.pub ]]",
    )


def reboot_if_noted() -> Step:
    """Reboot if an earlier step noted that one is needed; waits for a new boot id."""
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
