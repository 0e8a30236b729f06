"""The states that test files begin from: each is built on the one before, once, and kept.

A state is kept under the hash of what it is made from, so later runs find it, too. A test file says
`STATE = "queue"`, and its `lab` begins there.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.controller import PROJECT, Controller

from lab.cache import Cache, key_of, locked
from lab.image import wanted_image
from lab.machine import Lab

KEEP = os.environ.get("LAB_KEEP") == "1"
"""Go on with the lab that is up, if one is, and leave it running: for work on a test."""

TOLD: list[str] = []
"""What was done to states, for the test whose fixture did it."""

SPARE = 2
"""How many states of the same name are kept, made from something else."""


def lab_name(suffix: str = "") -> str:
    """The name of this process's lab: LAB_NAME, else `test`, and the number of the process."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return "-".join(filter(None, (os.environ.get("LAB_NAME", "test"), worker, suffix)))


def fab(lab: Lab, *arguments: str) -> None:
    answer = Controller(lab)("--yes", *arguments)
    assert answer.code == 0, answer.text


def inv(lab: Lab, *arguments: str) -> None:
    done = lab.exec(["inv", *arguments], cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def settled(*sections: str) -> Callable[[Lab], None]:
    """Wait until these sections' checks have nothing to say."""

    def wait(lab: Lab) -> None:
        for section in sections:
            Controller(lab).settled(section, 240)

    return wait


@dataclass(frozen=True)
class State:
    """Hosts on which some sections have been carried out."""

    before: str
    build: Callable[[Lab], None]
    files: tuple[str, ...]  # what it is made from, beside what the one before it is made from
    well: Callable[[Lab], None] = lambda lab: None  # waits until services have started


EVERYWHERE = ("hosts.yaml", "lab/override.yaml", "lab/host.py", "fabfile/engine", "fabfile/*.py")
"""What every state is made from. Section 1 opens the ports that the chapters name."""

STATES = {
    "section one": State(
        "bare",
        lambda lab: fab(lab, "ssh.trust", "ssh.bootstrap", "base", "hostnames", "hosts", "ssh"),
        (*EVERYWHERE, "fabfile/*/chapter.py", "tests/support/states.py"),
    ),
    "database": State(
        "section one",
        lambda lab: fab(lab, "postgres"),
        ("fabfile/postgres", "files/postgres"),
        settled("postgres"),
    ),
    "queue": State(
        "database",
        lambda lab: fab(lab, "rabbitmq"),
        ("fabfile/rabbitmq", "files/rabbitmq"),
        settled("postgres", "rabbitmq"),
    ),
    "storage": State(
        "queue",
        lambda lab: fab(lab, "nfs", "haproxy"),
        ("fabfile/nfs", "files/nfs", "files/keepalived", "fabfile/haproxy", "files/haproxy"),
        settled("postgres", "rabbitmq", "nfs"),
    ),
    "python": State(
        "storage",
        lambda lab: fab(lab, "python-build"),
        ("files/python-build",),
        settled("postgres", "rabbitmq", "nfs"),
    ),
    "whole": State(
        "python",
        lambda lab: inv(lab, "cluster.deploy", "--yes"),
        ("fabfile/airflow", "files/airflow", "files/systemd", "fabfile/operator"),
        lambda lab: inv(lab, "cluster.status", "--wait", "300"),
    ),
}


def key(name: str) -> str:
    """The hash of all that a state is made from."""
    if name == "bare":
        return key_of(*(entry.name for entry in wanted_image(Cache(Path())).entries))
    state = STATES[name]
    paths = [path for pattern in state.files for path in sorted(PROJECT.glob(pattern))]
    return key_of(key(state.before), *paths)


def begin(lab: Lab, name: str) -> None:
    """The lab's hosts are in this state, whatever they were before."""
    if name == "bare":
        lab.down()
        lab.up()
        return
    state, saved = STATES[name], f"test-{name.replace(' ', '-')}-{key(name)}"
    with locked(lab.state.parent / f".{saved}.lock", lambda: None):
        if saved in lab.store.names():
            began = time.monotonic()
            lab.restore(saved)
            what = "restored"
        else:
            begin(lab, state.before)
            began = time.monotonic()
            state.build(lab)
            lab.save(saved, "what tests begin from")
            forget_older(lab, saved)
            what = "built"
    state.well(lab)
    TOLD.append(f"state {name}: {what} in {time.monotonic() - began:.0f} s")


def forget_older(lab: Lab, saved: str) -> None:
    """Of states with the same name that are made from something else, the newest are kept."""
    kind, _, _ = saved.rpartition("-")
    others = [one for one in lab.store.names() if one.rpartition("-")[0] == kind and one != saved]
    by_age = sorted(others, key=lambda one: lab.store.read(one).at)
    for old in by_age[:-SPARE]:
        lab.forget(old)


@contextmanager
def bare_hosts(suffix: str, hosts_file: Path) -> Iterator[Lab]:
    """A lab of other hosts than hosts.yaml's, which nobody has touched; gone at the end."""
    lab = Lab.open(lab_name(suffix), hosts_file)
    if not KEEP:
        lab.down()
    try:
        lab.up()
        yield lab
    finally:
        if not KEEP:
            lab.down()
