"""SELinux: its mode, and what confined services may do with our files and ports.

Where SELinux is off, labels, ports and booleans mean nothing: these steps leave the host alone, and
a check after the reboot that switches it on says what is still to be done.
"""

from __future__ import annotations

from runbook.declare.step import REBOOT, Step, Steps, quote
from runbook.declare.steps.commands import command
from runbook.declare.steps.files import setting

NEEDS_SEMANAGE = """type -P semanage >/dev/null || {
  echo 'semanage is missing: dnf install policycoreutils-python-utils'
  exit 1
}
"""

OFF = "! selinuxenabled 2>/dev/null"
"""A test: SELinux is off, or there is none."""


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


def selinux_boolean(name: str) -> Step:
    """A boolean of SELinux is on, now and after a reboot."""
    return command(
        f"SELinux's boolean {name} is on",
        f"setsebool -P {name} 1",
        unless=f"{OFF} || [[ $(getsebool {name}) == *'--> on' ]]",
    )


def selinux_labels(path: str) -> Step:
    """What is below a path has the labels that the policy gives it, not those of where it was made.

    systemd confines a service by the label of its program.
    """
    return command(
        f"what is below {path} has its labels for SELinux",
        f"restorecon -R {quote(path)}",
        unless=f"{OFF} || [[ ! $(restorecon -R -n -v {quote(path)}) ]]",
        timeout=600,
    )


def selinux_context(path: str, kind: str) -> Step:
    """What is below a path has a type that a confined service may read, also after a relabelling.

    New files get it from their directory.
    """
    pattern, inside = quote(f"{path}(/.*)?"), quote(f"{path}/file")
    return command(
        f"what is below {path} is {kind} for SELinux",
        f"{NEEDS_SEMANAGE}semanage fcontext -a -t {kind} {pattern} ||\n"
        f"  semanage fcontext -m -t {kind} {pattern}\n"
        f"restorecon -R {quote(path)}",
        unless=f"{OFF} || {{ [[ $(matchpathcon -n {inside}) == *:{kind}:* ]] && "
        f"[[ ! $(restorecon -R -n -v {quote(path)}) ]]; }}",
    )


def selinux_port(kind: str, port: str) -> Step:
    """A port such as 15692/tcp has a type that a confined service may use."""
    number, protocol = port.split("/")
    change = f"-t {kind} -p {protocol} {number}"
    return command(
        f"port {port} is {kind} for SELinux",
        f"{NEEDS_SEMANAGE}semanage port -a {change} || semanage port -m {change}",
        unless=f"{OFF} || semanage port -l | grep -E '^{kind} +{protocol} ' | grep -wq {number}",
    )
