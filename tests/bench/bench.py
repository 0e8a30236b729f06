"""A run that changes nothing, on prepared lab hosts: fab beside ssh, pyinfra and Ansible.

`make bench` runs it. Every round takes each command once, so that a slow moment hits all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

PROJECT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PEERS = PROJECT / ".venv-bench"
sys.path.insert(0, str(PROJECT))

from fabfile import CONTENTS  # noqa: E402
from fabfile.hosts import lines  # noqa: E402
from lab.machine import Lab  # noqa: E402
from runbook.inventory.cluster import Cluster  # noqa: E402


@dataclass(frozen=True)
class Contender:
    """A command to time, and what it stands for."""

    name: str
    command: list[str]
    environment: dict[str, str]


def main() -> None:
    """Prepare the lab, time everything, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    install_peers()
    lab = Lab.open(os.environ.get("LAB_NAME", "bench"))
    lab.up()
    prepare(lab)
    state = Path(lab.environment()["RUNBOOK_STATE"])
    cluster = CONTENTS.load(PROJECT / "hosts.yaml", PROJECT / "lab/override.yaml", state)
    contenders = [floor(cluster), *fab(), pyinfra(cluster), ansible(cluster)]
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            taken = timed(lab, contender)
            if number:
                seconds[contender.name].append(taken)
    print(table(seconds))
    if os.environ.get("LAB_KEEP") != "1":
        lab.down()


def install_peers() -> None:
    """pyinfra and Ansible, in an environment of their own."""
    if (PEERS / ".ready").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    requirements = str(HERE / "requirements.txt")
    subprocess.run([str(PEERS / "bin/pip"), "install", "-q", "-r", requirements], check=True)
    (PEERS / ".ready").touch()


def prepare(lab: Lab) -> None:
    """Carry out what is timed afterwards as a run without changes."""
    tasks = ["ssh.trust", "ssh.bootstrap", "base", "hosts"]
    lab.exec(
        ["fab", "--accept-host-keys", *tasks], cwd=PROJECT, stdout=subprocess.DEVNULL, check=True
    )


def timed(lab: Lab, contender: Contender) -> float:
    """Wall seconds of one run, which has to succeed."""
    began = time.monotonic()
    done = lab.exec(
        contender.command,
        env=contender.environment,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    taken = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{contender.name} failed:\n{done.stdout}{done.stderr}")
    return taken


def floor(cluster: Cluster) -> Contender:
    """A cold ssh to every host at once, and nothing else."""
    options = (
        f"-F none -i {cluster.path(cluster.connection.key)} -o IdentitiesOnly=yes "
        "-o BatchMode=yes -o KexAlgorithms=curve25519-sha256 "
        f"-o UserKnownHostsFile={cluster.path(cluster.connection.known_hosts[0])}"
    )
    calls = [
        f"ssh {options} {cluster.connection.user}@{host.address} true & pids+=($!)"
        for host in cluster.hosts.values()
    ]
    script = "\n".join(["pids=()", *calls, 'for pid in "${pids[@]}"; do wait "$pid" || exit; done'])
    return Contender("ssh host true, all at once (floor)", ["bash", "-c", script], {})


def fab() -> list[Contender]:
    """This project: one task, and the work that the others do."""
    return [
        Contender("fab hosts", ["fab", "hosts"], {}),
        Contender("fab base hosts", ["fab", "base", "hosts"], {}),
    ]


def work(cluster: Cluster) -> dict[str, str]:
    """What the peers need to know to do the same work."""
    block = "\n".join(lines(cluster))
    return {"BENCH_BLOCK": block, "BENCH_PUBLIC_KEY": cluster.public_key}


def pyinfra(cluster: Cluster) -> Contender:
    """pyinfra, with its own parallelism."""
    data = [
        "--sudo",
        f"--user={cluster.connection.user}",
        f"--key={cluster.path(cluster.connection.key)}",
        f"--data=ssh_known_hosts_file={cluster.path(cluster.connection.known_hosts[0])}",
    ]
    addresses = ",".join(host.address for host in cluster.hosts.values())
    command = [str(PEERS / "bin/pyinfra"), "-y", *data, addresses, str(HERE / "deploy.py")]
    return Contender("pyinfra, the same work", command, work(cluster))


def ansible(cluster: Cluster) -> Contender:
    """Ansible, with a fork per host and pipelining."""
    addresses = ",".join(host.address for host in cluster.hosts.values())
    command = [
        str(PEERS / "bin/ansible-playbook"),
        f"--inventory={addresses},",
        f"--user={cluster.connection.user}",
        f"--private-key={cluster.path(cluster.connection.key)}",
        f"--forks={len(cluster.hosts)}",
        str(HERE / "playbook.yaml"),
    ]
    known_hosts = cluster.path(cluster.connection.known_hosts[0])
    settings = {
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/libexec/platform-python",
        "ANSIBLE_SSH_ARGS": "-F none -o ControlMaster=auto -o ControlPersist=60s "
        f"-o UserKnownHostsFile={known_hosts}",
    }
    return Contender("Ansible, the same work", command, {**work(cluster), **settings})


def table(seconds: dict[str, list[float]]) -> str:
    """Medians with their spread, and ratios to the floor and to fab."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    base, ours = next(iter(median.values())), median["fab base hosts"]
    rows = [
        [name, value, min(seconds[name]), max(seconds[name]), value / base, value / ours]
        for name, value in median.items()
    ]
    headers = [
        "13 hosts, nothing to change",
        "median s",
        "min",
        "max",
        "× floor",
        "× fab base hosts",
    ]
    return tabulate(rows, headers=headers, floatfmt=".2f")


if __name__ == "__main__":
    main()
