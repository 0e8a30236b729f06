"""The states that test files begin from: each is built on the one before, once, and kept.

A state is kept under the hash of what it is made from, so later runs find it, too. A test file says
`STATE = "queue"`, and its `lab` begins there.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.controller import PROJECT, Controller
from support.database import DATABASE
from support.messages import MQ
from support.share import SHARE

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
    answer = Controller(lab)("--yes", "--accept-host-keys", *arguments)
    assert answer.code == 0, answer.text


def inv(lab: Lab, *arguments: str) -> None:
    done = said_by_inv(lab, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def said_by_inv(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.exec(
        ["inv", *arguments], cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@dataclass(frozen=True)
class State:
    """Hosts on which some sections have been carried out."""

    before: str
    hosts: tuple[str, ...]  # that it takes to build it; none: all
    build: Callable[[Lab], None]
    files: tuple[str, ...]  # what it is made from, beside what the one before it is made from


EVERYWHERE = ("hosts.yaml", "lab/override.yaml", "lab/host.py", "runbook", "fabfile/shared")
"""What every state is made from."""

SECTION_ONE = tuple(f"fabfile/{name}.py" for name in ("base", "hostnames", "hosts", "ssh"))

SETTLING = (
    ("database", "postgres", DATABASE),
    ("queue", "rabbitmq", MQ),
    ("storage", "nfs", SHARE),
)
"""From which state on a section's services find each other after a boot, and where they are."""

STATES = {
    "section one": State(
        "bare",
        (),
        lambda lab: fab(lab, "ssh.trust", "ssh.bootstrap", "base", "hostnames", "hosts", "ssh"),
        (*EVERYWHERE, *SECTION_ONE, "files/base", "files/firewall", "tests/support/states.py"),
    ),
    "database": State(
        "section one",
        DATABASE,
        lambda lab: fab(lab, "postgres"),
        ("fabfile/postgres", "files/postgres", "files/shared/sandbox.j2"),
    ),
    "queue": State(
        "database",
        MQ,
        lambda lab: fab(lab, "rabbitmq"),
        ("fabfile/rabbitmq", "files/rabbitmq"),
    ),
    "storage": State(
        "queue",
        SHARE,
        lambda lab: fab(lab, "nfs", "haproxy"),
        ("fabfile/nfs", "files/nfs", "files/keepalived", "fabfile/haproxy", "files/haproxy"),
    ),
    "python": State(
        "storage",
        SHARE,
        lambda lab: fab(lab, "python-build"),
        ("fabfile/python_build.py", "files/python-build", "files/shared", "files/ssh"),
    ),
    "whole": State(
        "storage",
        (),
        lambda lab: inv(lab, "cluster.deploy", "--yes"),
        (
            *("fabfile/python_build.py", "files/python-build", "fabfile/systemd.py", "fabfile/tls"),
            *("files/shared", "files/ssh"),
            *("fabfile/airflow", "files/airflow", "files/systemd", "fabfile/operator"),
        ),
    ),
}


def key(name: str) -> str:
    """The hash of all that a state is made from."""
    if name == "bare":
        return key_of(*(entry.name for entry in wanted_image(Cache(Path())).entries))
    state = STATES[name]
    paths = [path for pattern in state.files for path in sorted(PROJECT.glob(pattern))]
    return key_of(key(state.before), *paths)


def begin(lab: Lab, name: str, hosts: Sequence[str] = ()) -> None:
    """The lab is in this state, whatever it was before; only `hosts` are on, if any are named."""
    assert not (hosts and name == "whole"), "a whole cluster needs all its hosts"
    if name == "bare":
        lab.down()
        lab.up()
        return
    saved = f"test-{name.replace(' ', '-')}-{key(name)}"
    with locked(lab.state.parent / f".{saved}.lock", lambda: None):
        if saved not in lab.store.names():
            state = STATES[name]
            begin(lab, state.before, state.hosts)
            with timed(f"state {name}: built"):
                state.build(lab)
                lab.save(saved, "what tests begin from", boot=False)
            forget_older(lab, saved)
    with timed(f"state {name}: restored"):
        lab.restore(saved, hosts)
        settle(lab, name, hosts or tuple(lab.hosts()))


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    TOLD.append(f"{what} in {time.monotonic() - began:.0f} s")


def settle(lab: Lab, name: str, hosts: Sequence[str]) -> None:
    """Wait until the services on these hosts have nothing to say any more."""
    if name == "whole":
        settle_all(lab)
        return
    order = list(STATES)
    for state, section, where in SETTLING:
        if order.index(state) <= order.index(name) and set(where) <= set(hosts):
            Controller(lab).settled(section, 240)


def settle_all(lab: Lab) -> None:
    """Wait until the status is OK.

    After a boot under load one node may lead all quorum queues: the status warns for good, and says
    how to spread them.
    """
    for seconds in ("120", "300"):
        looked = said_by_inv(lab, "cluster.status", "--wait", seconds)
        if looked.returncode == 0:
            return
        if "is WARN" in looked.stdout and "MQ_LEADERS_UNEVEN" in looked.stdout:
            Controller(lab)("--yes", "rabbitmq.restart")
    pytest.fail(looked.stdout + looked.stderr)


def forget_older(lab: Lab, saved: str) -> None:
    """Of states with the same name that are made from something else, the newest are kept."""
    kind, _, _ = saved.rpartition("-")
    others = [one for one in lab.store.names() if one.rpartition("-")[0] == kind and one != saved]
    by_age = sorted(others, key=lambda one: lab.store.read(one).at)
    for old in by_age[:-SPARE]:
        lab.forget(old)


@contextmanager
def bare_hosts(suffix: str, hosts_file: Path, profiles: Sequence[str] = ()) -> Iterator[Lab]:
    """A lab of other hosts than hosts.yaml's, which nobody has touched; gone at the end."""
    lab = Lab.open(lab_name(suffix), hosts_file, profiles=profiles)
    if not KEEP:
        lab.down()
    try:
        lab.up()
        yield lab
    finally:
        if not KEEP:
            lab.down()
