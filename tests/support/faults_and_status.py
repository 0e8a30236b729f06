"""Single faults, what `inv cluster.status` has to say of each, and what mends it.

The tests and the transcripts of docs/status-transcripts.md are made from the same list.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Callable

from support.controller import PROJECT

from lab.errors import LabError
from lab.machine import Lab

PRIMARY = "runuser -u postgres -- psql -XqAtc 'select not pg_is_in_recovery()'"


@dataclass
class Status:
    """One call of cluster.status: exit code, text, seconds, and with --json what it says."""

    code: int
    text: str
    seconds: float
    data: dict[str, Any]

    @property
    def codes(self) -> list[str]:
        return [problem["code"] for problem in self.data["problems"]]

    def problem(self, code: str) -> dict[str, Any]:
        return next(problem for problem in self.data["problems"] if problem["code"] == code)


@dataclass
class Operator:
    """Somebody at the controller, and at the power plugs."""

    lab: Lab

    def type(self, command: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """A command line, as the person would type it; no traceback may come out of it."""
        done = self.lab.exec(
            ["bash", "-c", command],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert "Traceback" not in done.stdout
        assert "Internal error" not in done.stdout
        return done

    def status(self, options: str = "") -> Status:
        """One look; with --json as data."""
        began = time.monotonic()
        done = self.type(f"inv cluster.status {options}")
        seconds = time.monotonic() - began
        data = json.loads(done.stdout) if "--json" in options else {}
        return Status(done.returncode, done.stdout, seconds, data)

    def wait_for(self, code: str, seconds: float = 120) -> Status:
        """Look again and again until the status names this code."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.status("--json")
            if code in seen.codes:
                return seen
            assert time.monotonic() < deadline, seen.text
            time.sleep(2)

    def on(self, host: str, command: str) -> str:
        """As root on a host, past the network and the product."""
        done = self.lab.root_shell(host, command)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return str(done.stdout).strip()

    def leader(self) -> str:
        """Who leads the database."""
        for host in ("sql1", "sql2", "sql3"):
            try:
                if self.lab.root_shell(host, PRIMARY).stdout.strip() == "t":
                    return host
            except LabError:  # it has no power
                continue
        raise AssertionError("no server leads")

    def holder(self, address: str, hosts: tuple[str, ...]) -> str:
        """Who holds an address."""
        asked = f"ip -o -4 addr show to {address}"
        return next(host for host in hosts if self.lab.root_shell(host, asked).stdout.strip())

    def address(self) -> str:
        """The controller's own."""
        shown = self.lab.exec(["ip", "-o", "-4", "addr"], capture_output=True, text=True).stdout
        return re.findall(r"inet (192\.168\.83\.\d+)/", shown)[0]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    `strike` makes it so, and returns what to write into the transcript. `mend` returns the command
    that the status named and that was typed, or what else was done. `hosts` is whom the status has
    to name, or a word of it.
    """

    name: str
    code: str
    strike: Callable[[Operator], str]
    mend: Callable[[Operator, Status], str]
    impact: str
    exits: int = 2
    long: bool = True


def power(choose: Callable[[Operator], str]) -> Callable[[Operator], str]:
    """A strike: the power of a host fails."""

    def strike(operator: Operator) -> str:
        host = choose(operator)
        operator.lab.fault(host, "power-loss")
        return f"inv lab.fault {host} power-loss"

    return strike


def power_back(operator: Operator, seen: Status) -> str:
    """The power of the host that the status calls down returns."""
    [host] = seen.problem("HOST_DOWN")["hosts"]
    operator.lab.heal(host)
    return f"inv lab.heal {host}"


def root(host: str, command: str) -> Callable[[Operator], str]:
    """A strike: somebody types something as root on a host."""

    def strike(operator: Operator) -> str:
        operator.on(host, command)
        return f"on {host}: {command}"

    return strike


def as_told(code: str) -> Callable[[Operator, Status], str]:
    """Type what the status names; only the first command of several."""

    def mend(operator: Operator, seen: Status) -> str:
        command = str(seen.problem(code)["fix"][0]).split(";")[0].split(", ")[0]
        done = operator.type(command)
        assert done.returncode == 0, done.stdout
        return command

    return mend


def undo(host: str, command: str) -> Callable[[Operator, Status], str]:
    """What no command of ours can do is done on the host."""

    def mend(operator: Operator, seen: Status) -> str:
        operator.on(host, command)
        return f"on {host}: {command}"

    return mend


def paused(operator: Operator) -> str:
    command = "patronictl -c /etc/patroni/patroni.yml pause"
    operator.on("sql1", command)
    return f"on sql1: {command}"


def cut_off(operator: Operator) -> str:
    """Only the controller does not reach the host any more."""
    rule = f"rule family=ipv4 source address={operator.address()} drop"
    operator.on("mq3", f"firewall-cmd --add-rich-rule='{rule}'")
    return f"on mq3: firewall-cmd --add-rich-rule='{rule}'"


def let_in(operator: Operator, seen: Status) -> str:
    operator.on("mq3", "firewall-cmd --reload")
    return "on mq3: firewall-cmd --reload"


def frozen(operator: Operator) -> str:
    operator.lab.fault("mq2", "freeze")
    return "inv lab.fault mq2 freeze"


def thawed(operator: Operator, seen: Status) -> str:
    """A node that slept for long may find itself parted from the others."""
    operator.lab.heal("mq2")
    done = operator.status("--json --wait 60")
    if "MQ_PARTED" not in done.codes:
        return "inv lab.heal mq2"
    return f"inv lab.heal mq2, then what the status names: {as_told('MQ_PARTED')(operator, done)}"


FULL = "/srv/full"
NOTES = "/run/airflow-runbook/notes"

FAULTS = (
    Fault(
        "a server of the message queue loses its power",
        "HOST_DOWN",
        power(lambda operator: "mq2"),
        power_back,
        "2 of 3 queue nodes left",
        long=False,
    ),
    Fault(
        "a scheduler is stopped",
        "AIRFLOW_UNIT_DOWN",
        root("scheduler2", "systemctl stop airflow-scheduler"),
        as_told("AIRFLOW_UNIT_DOWN"),
        "the other servers of this role do its work",
        long=False,
    ),
    Fault(
        "Patroni is paused",
        "PG_PAUSED",
        paused,
        as_told("PG_PAUSED"),
        "no replica takes over",
        exits=1,
        long=False,
    ),
    Fault(
        "a disk is full",
        "HOST_DISK_FULL",
        root(
            "card1",
            f"mkdir -p {FULL}; mount -t tmpfs -o size=8m tmpfs {FULL}; "
            f"head -c 8388608 /dev/zero >{FULL}/core 2>/dev/null || :",
        ),
        undo("card1", f"rm {FULL}/core; umount {FULL}"),
        "services stop",
        long=False,
    ),
    Fault(
        "a server cannot be reached from the controller, and only from there",
        "HOST_UNREACHABLE",
        cut_off,
        let_in,
        "the host may be running",
        exits=3,
        long=False,
    ),
    Fault(
        "a member of etcd is stopped",
        "PG_ETCD_MEMBER_DOWN",
        root("sql3", "systemctl stop etcd"),
        as_told("PG_ETCD_MEMBER_DOWN"),
        "no leader can be elected",
    ),
    Fault(
        "RabbitMQ is stopped inside its node",
        "MQ_NODE_DOWN",
        root("mq1", "rabbitmqctl stop_app </dev/null"),
        as_told("MQ_NODE_DOWN"),
        "one node fewer",
    ),
    Fault(
        "the database's leader loses its power",
        "HOST_DOWN",
        power(Operator.leader),
        power_back,
        "2 of 3 database servers left",
    ),
    Fault(
        "the active server of the share loses its power",
        "HOST_DOWN",
        power(lambda operator: operator.holder("192.168.83.220", ("ftp", "nfs2"))),
        power_back,
        "1 of 2 NFS servers left",
    ),
    Fault(
        "the server with the VIP loses its power",
        "HOST_DOWN",
        power(lambda operator: operator.holder("192.168.83.210", ("airflow", "haproxy2"))),
        power_back,
        "1 of 2 HAProxy servers left",
    ),
    Fault(
        "the only worker loses its power",
        "HOST_DOWN",
        power(lambda operator: "worker1"),
        power_back,
        "no worker left: no task runs",
    ),
    Fault(
        "HAProxy is stopped where the VIP is",
        "LB_DOWN",
        root("airflow", "systemctl stop haproxy"),
        as_told("LB_DOWN"),
        "the VIP moves to the other server",
    ),
    Fault(
        "a server hangs",
        "HOST_HANGS",
        frozen,
        thawed,
        "2 of 3 queue nodes left",
    ),
    Fault(
        "a change of ours waits for a reboot",
        "HOST_REBOOT_DUE",
        root(
            "card1", "mkdir -p /run/airflow-runbook/notes; touch /run/airflow-runbook/notes/reboot"
        ),
        as_told("HOST_REBOOT_DUE"),
        "not in use",
        exits=1,
    ),
    Fault(
        "a webserver is stopped",
        "AIRFLOW_UNIT_DOWN",
        root("haproxy2", "systemctl stop airflow-webserver"),
        as_told("AIRFLOW_UNIT_DOWN"),
        "the other servers of this role do its work",
    ),
)
