"""The vocabulary of the sections: each kind of step is one function.

A step says how the host should be (`title`), how to see whether it is (`test`) and what a person
would type to make it so (`apply`). The same `apply` is run, planned and shown. Tests may use the
functions of library.sh; `apply` may not, so that it can be copied from the screen.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .secrets import MASK

RUNTIME = "/run/airflow-runbook"
"""A host's folder for the lock and for notes of restarts still due; a reboot empties it."""


@dataclass(frozen=True)
class Handler:
    """What has to happen once, at the end, if a step that names it changed something.

    Without `apply` it is a note for a later task, such as the one that reboots.
    """

    name: str
    title: str
    apply: str = ""


@dataclass(frozen=True)
class Step:
    """One wanted state of a host."""

    title: str
    test: str
    apply: str
    text: str = ""
    render: str = ""
    diff: str = ""
    paths: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    notify: tuple[Handler, ...] = ()
    timeout: int = 300
    reboots: bool = False
    masked: str = ""

    @property
    def shown(self) -> str:
        """The commands as they may be shown; the same, unless the step holds a secret."""
        return self.masked or self.apply

    def then(self, *handlers: Handler) -> Step:
        """This step, with handlers to run at the end of the task if it changed something."""
        return replace(self, notify=(*self.notify, *handlers))


Steps = Iterator[Step]

REBOOT = Handler("reboot", "the host has to reboot")


def quote(text: str) -> str:
    """`text` as one word of shell."""
    return shlex.quote(text)


def command(title: str, apply: str, unless: str, timeout: int = 300) -> Step:
    """Run `apply`, unless the shell test `unless` holds; afterwards it must hold."""
    return Step(title, unless, apply, timeout=timeout)


def packages(*names: str) -> Step:
    """RPM packages, or what other packages provide under these names, are installed."""
    words = " ".join(quote(name) for name in names)
    return Step(
        f"installed: {' '.join(names)}",
        test=f"packages_installed {words}",
        apply=f"dnf install -y {words}",
        diff=f"packages_missing {words}",
        packages=names,
        timeout=900,
    )


def updated() -> Step:
    """Every installed package is at its newest version. May restart services; see `base.update`."""
    return Step(
        "all packages are up to date",
        test="dnf -q --refresh check-update",
        apply="dnf upgrade -y --refresh",
        diff="dnf -q check-update || :",
        timeout=3600,
    )


def file(
    path: str,
    text: str,
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
    validate: str = "",
    secret: bool = False,
) -> Step:
    """A whole file, replaced atomically. `validate` is a command that gets the new file's path.

    `secret` keeps the content out of plans, reports and shown commands.
    """
    body = text if text.endswith("\n") else f"{text}\n"
    target = quote(path)

    def commands(content: str) -> str:
        return _replacement(path, f'cat >"$temp" {_here(content)}', mode, owner, group, validate)

    return Step(
        f"file {path}",
        test=f"{_path_test(path, 'regular file', mode, owner, group)} && holds_text {target}",
        apply=commands(body),
        masked=commands(f"{MASK}\n") if secret else "",
        text=body,
        diff=f"echo {quote(f'{path} differs (secret)')}" if secret else f"text_diff {target}",
        paths=(path,),
    )


def edited(
    path: str,
    title: str,
    render: str,
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
    validate: str = "",
) -> Step:
    """A file of which only a part is ours. `render` is a filter from present to wanted text."""
    target = quote(path)
    fill = f'{{ cat {target} 2>/dev/null || true; }} | {render} >"$temp"'
    return Step(
        title,
        test=f"{_path_test(path, 'regular file', mode, owner, group)} && holds_rendered {target}",
        apply=_replacement(path, fill, mode, owner, group, validate),
        render=render,
        diff=f"rendered_diff {target}",
        paths=(path,),
    )


def line(
    path: str, text: str, mode: str = "0644", owner: str = "root", group: str = "root"
) -> Step:
    """A file holds this line, whatever else it holds."""
    render = f"""line={quote(text)} awk '{{ print }} $0 == ENVIRON["line"] {{ found = 1 }}
  END {{ if (!found) print ENVIRON["line"] }}'"""
    return edited(path, f"{path} has the line: {_short(text)}", render, mode, owner, group)


def setting(path: str, key: str, value: str) -> Step:
    """A `KEY=value` file has this value for the key, once."""
    render = f"""key={quote(key)} value={quote(value)} awk '
  BEGIN {{ wanted = ENVIRON["key"] "=" ENVIRON["value"] }}
  index($0, ENVIRON["key"] "=") == 1 {{ if (!found++) print wanted; next }}
  {{ print }}
  END {{ if (!found) print wanted }}'"""
    return edited(path, f"{path} says {key}={value}", render)


def block(
    path: str,
    label: str,
    lines: Iterable[str],
    owns: Sequence[str] = (),
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
) -> Step:
    """Lines between two markers in a file that is otherwise left alone.

    Words that the block `owns` are taken out of all other lines, so that nothing contradicts it.
    """
    begin, end = f"# BEGIN {label}", f"# END {label}"
    body = "\n".join([begin, *lines, end])
    render = f"""begin={quote(begin)} end={quote(end)} owns={quote(" ".join(owns))} \\
block={quote(body)} awk '
  BEGIN {{
    block = ENVIRON["block"]; begin = ENVIRON["begin"]; end = ENVIRON["end"]
    count = split(ENVIRON["owns"], word, " ")
    for (i = 1; i <= count; i++) owned[word[i]] = 1
  }}
  function release(   i) {{ for (i = 0; i < held; i++) keep(hold[i]); held = 0 }}
  function keep(text,   field, n, i, left, dropped) {{
    if (text ~ /^[ \\t]*(#|$)/) {{ print text; return }}
    n = split(text, field, /[ \\t]+/)
    left = field[1]
    for (i = 2; i <= n; i++) {{
      if (field[i] ~ /^#/) break
      if (field[i] in owned) {{ dropped = 1; continue }}
      left = left " " field[i]
    }}
    if (!dropped) print text
    else if (left != field[1]) print left
  }}
  $0 == begin {{ release(); inside = 1; next }}
  inside && $0 == end {{ inside = held = 0; if (!placed++) print block; next }}
  inside {{ hold[held++] = $0; next }}
  {{ keep($0) }}
  END {{
    release()
    if (!placed) print block
  }}'"""
    return edited(
        path,
        f"{path} has the block {label!r}",
        render,
        mode,
        owner,
        group,
    )


def directory(path: str, mode: str = "0755", owner: str = "root", group: str = "root") -> Step:
    """A directory with this owner and mode; nothing in it is touched."""
    return Step(
        f"directory {path}",
        test=_path_test(path, "directory", mode, owner, group),
        apply=f"install -d -m {mode} -o {owner} -g {group} {quote(path)}",
        paths=(path,),
    )


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


def password_locked(name: str) -> Step:
    """Nobody logs in as this user with a password; keys go on working."""
    return Step(
        f"{name} has no password to guess",
        test=f"[[ $(getent shadow {name}) == {name}:[*!]* ]]",
        apply=f"usermod --lock {name}",
    )


def sudoers(name: str, rule: str) -> Step:
    """A file in /etc/sudoers.d that passed visudo before it took effect."""
    return file(f"/etc/sudoers.d/{name}", rule, mode="0440", validate="visudo -cqf")


def authorised_key(user_name: str, key: str, home: str) -> Steps:
    """This public key opens the user's account."""
    yield directory(f"{home}/.ssh", "0700", user_name, user_name)
    yield line(f"{home}/.ssh/authorized_keys", key, "0600", user_name, user_name)


def service(name: str) -> Step:
    """A unit runs now and after a reboot."""
    return Step(
        f"{name} runs and is enabled",
        test=f"unit_is {name} active enabled",
        apply=f"systemctl enable --now {name}",
        units=(name,),
    )


def restarted(name: str) -> Handler:
    """The service restarts, once, if a step that names this changed something."""
    return Handler(f"restart-{name}", f"restart {name}", f"systemctl restart {name}")


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


def reboot_if_noted() -> Step:
    """Reboot, if an earlier step left the note that it takes one; waits for a new boot id."""
    return Step(
        "reboot, as an earlier change asked for",
        test=f"[[ ! -e $runtime/notes/{REBOOT.name} && ! ${{noted[{REBOOT.name}]-}} ]]",
        apply="systemctl reboot",
        reboots=True,
        timeout=60,
    )


def _firewall(title: str, key: str, option: str, values: Sequence[str]) -> Step:
    options = " ".join(f"--add-{option}={quote(value)}" for value in values)
    return Step(
        title,
        test=f"firewall_has {key} {' '.join(quote(value) for value in values)}",
        apply=f"firewall-cmd --permanent {options}\nfirewall-cmd {options}",
    )


def _path_test(path: str, kind: str, mode: str, owner: str, group: str) -> str:
    return f"path_is {quote(path)} {quote(kind)} {mode} {owner} {group}"


def _replacement(path: str, fill: str, mode: str, owner: str, group: str, validate: str) -> str:
    """Commands that put a new file in place of `path` in one instant, or not at all."""
    folder, _, name = path.rpartition("/")
    target = quote(path)
    commands = [
        "(set -euo pipefail",
        f"temp=$(mktemp {quote(f'{folder}/.{name}.XXXXXX')})",
        "trap 'rm -f \"$temp\"' EXIT",
        fill,
        f'chown {owner}:{group} "$temp"',
        f'chmod {mode} "$temp"',
    ]
    if validate:
        commands.append(f'{validate} "$temp"')
    commands += [
        'sync "$temp"',
        f'mv -f "$temp" {target}',
        f"if selinuxenabled 2>/dev/null; then restorecon {target}; fi)",
    ]
    return "\n".join(commands)


def _here(text: str) -> str:
    """`text` as a here-document, under a delimiter that does not occur in it."""
    delimiter = "EOF"
    while re.search(rf"^{delimiter}$", text, re.MULTILINE):
        delimiter += "_"
    return f"<<'{delimiter}'\n{text}{delimiter}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:28]}…{text[-28:]}"
