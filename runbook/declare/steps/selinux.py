"""SELinux: its mode, and what confined services may do with our files and ports.

Where SELinux is off, labels, ports and booleans have no effect, and these steps do nothing; a check
after the reboot that enables SELinux reports what is still to do.
"""

from __future__ import annotations

from runbook.declare.step import REBOOT, Step, Steps, quote, worker
from runbook.declare.steps.commands import command
from runbook.declare.steps.files import setting

NEEDS_SEMANAGE = """type -P semanage >/dev/null || {
  echo 'semanage is missing: dnf install policycoreutils-python-utils'
  exit 1
}
"""

OFF = "! selinuxenabled 2>/dev/null"
"""A test: SELinux is off or not installed."""


def selinux_mode(mode: str) -> Steps:
    """SELinux is `disabled`, `permissive` or `enforcing`, now as far as the running kernel can.

    A running kernel cannot change to or from disabled: that takes a reboot and, from disabled, a
    relabeled file system as well (RHEL 8, "Using SELinux").
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


def selinux_boolean(name: str) -> Step:
    """A boolean of SELinux is on, now and after a reboot."""
    return command(
        f"SELinux's boolean {name} is on",
        f"setsebool -P {name} 1",
        unless=f"{OFF} || [[ $(getsebool {name}) == *'--> on' ]]",
    )


def selinux_labels(path: str) -> Step:
    """The files below a path have the labels of the policy, not those of where they were created.

    The label of its program decides in which domain systemd starts a service.
    """
    who, _ = worker(path, "root", missing_ok=True)
    return command(
        f"SELinux labels below {path} are those of the policy",
        f"(set -euo pipefail\n{who}\nrestorecon -R {quote(path)})",
        unless=f"{OFF} || [[ ! $(restorecon -R -n -v {quote(path)}) ]]",
        timeout=600,
    )


def selinux_context(path: str, kind: str, owner: str = "root") -> Step:
    """The files below a path have a type that a confined service may read, even after relabeling.

    New files inherit it from their directory. `owner` is the owner of the path.
    """
    who, by = worker(path, owner, missing_ok=True)
    pattern, inside = quote(f"{path}(/.*)?"), quote(f"{path}/file")
    return command(
        f"SELinux type of {path} is {kind}",
        f"(set -euo pipefail\n{who}\n{NEEDS_SEMANAGE}semanage fcontext -a -t {kind} {pattern} ||\n"
        f"  semanage fcontext -m -t {kind} {pattern}\n"
        f"{by}restorecon -R {quote(path)})",
        unless=f"{OFF} || {{ [[ $(matchpathcon -n {inside}) == *:{kind}:* ]] && "
        f"[[ ! $(restorecon -R -n -v {quote(path)}) ]]; }}",
    )


def selinux_port(kind: str, port: str) -> Step:
    """A port such as 15692/tcp has a type that a confined service may use."""
    number, protocol = port.split("/")
    change = f"-t {kind} -p {protocol} {number}"
    return command(
        f"SELinux type of port {port} is {kind}",
        f"{NEEDS_SEMANAGE}semanage port -a {change} || semanage port -m {change}",
        unless=f"{OFF} || semanage port -l | grep -E '^{kind} +{protocol} ' | grep -wq {number}",
    )
