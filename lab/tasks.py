"""`inv lab.*`: test hosts on this machine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invoke import Collection, Context, Exit, task
from tabulate import tabulate

from lab import machine
from lab.errors import LabError
from lab.faults import KINDS
from lab.machine import Lab
from lab.site import PROFILES

NAME_HELP = "which lab, if there are several (default: LAB_NAME, else lab)"
STATE_HELP = "the saved state's name"


@contextmanager
def _sentences() -> Iterator[None]:
    """An error ends the command with one sentence."""
    try:
        yield
    except LabError as error:
        raise Exit(str(error), error.exit_code) from None
    except OSError as error:
        raise Exit(f"this machine does not allow it: {error}", 1) from None
    except KeyboardInterrupt:
        raise Exit("interrupted; rerun the same command to continue", 130) from None


@task(
    help={
        "hosts": "the hosts file to rehearse (default: hosts.yaml)",
        "from_": "begin with this saved state instead of fresh hosts",
        "profile": f"what fresh hosts are like, one or several of {', '.join(PROFILES)}",
        "name": NAME_HELP,
    }
)
def up(
    c: Context,
    hosts: str | None = None,
    from_: str | None = None,
    profile: str | None = None,
    name: str | None = None,
) -> None:
    """Boot the hosts of hosts.yaml on this machine; those that run are not changed."""
    with _sentences():
        file = Path(hosts) if hosts else None
        lab = Lab.open(name, file, _line, None if profile is None else _names(profile))
        if from_ and profile:
            raise LabError("a saved state keeps the profiles that it was saved with", 2)
        if not from_:
            lab.up()
        elif lab.is_up():
            raise LabError(
                f"the lab {lab.name} is up; to replace its state: inv lab.restore {from_}", 2
            )
        else:
            lab.restore(from_)


@task
def build(c: Context) -> None:
    """Build the cache now; otherwise the next lab.up builds it."""
    with _sentences():
        Lab.open(write=_line).build_cache()


@task(help={"name": NAME_HELP})
def down(c: Context, name: str | None = None) -> None:
    """End the lab and remove its hosts; the cache and saved states stay."""
    with _sentences():
        Lab.open(name).down()


@task(help={"name": NAME_HELP})
def status(c: Context, name: str | None = None) -> None:
    """Show each host: address, state, uptime."""
    with _sentences():
        rows = [
            (host.name, host.address, host.state, _duration(host.uptime))
            for host in Lab.open(name).status()
        ]
    print(tabulate(rows, headers=["host", "address", "state", "uptime"]))


@task(help={"host": "the host's name", "name": NAME_HELP})
def shell(c: Context, host: str, name: str | None = None) -> None:
    """Open a root shell in a host, without network and ssh."""
    with _sentences():
        argv = Lab.open(name).host(host).shell("bash", "--login")
    _become(argv)


@task(name="exec", help={"name": NAME_HELP})
def exec_(c: Context, name: str | None = None) -> None:
    """Run the COMMAND that follows `--` as the controller: inv lab.exec -- fab base."""
    # Invoke does not hand on what follows `--`.
    command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    with _sentences():
        if not command:
            raise LabError("the command is missing: inv lab.exec -- COMMAND…", exit_code=2)
        lab = Lab.open(name)
        argv, environment = lab.inside(command), lab.environment()
    _become(argv, environment)


@task(
    positional=["host", "kind"],
    help={
        "host": "the host's name",
        "kind": ", ".join(KINDS),
        "percent": "percentage of the packets that loss drops (default: 30)",
        "peers": "the hosts from which cut separates the host, e.g. sql2,sql3",
        "name": NAME_HELP,
    },
)
def fault(
    c: Context,
    host: str,
    kind: str,
    percent: str | None = None,
    peers: str | None = None,
    name: str | None = None,
) -> None:
    """Cause a fault on a host."""
    with _sentences():
        if percent and not percent.isdigit():
            raise LabError(f"--percent must be a whole number, not {percent}", exit_code=2)
        Lab.open(name).fault(host, kind, int(percent) if percent else None, _names(peers))


@task(help={"host": "the host's name", "name": NAME_HELP})
def heal(c: Context, host: str, name: str | None = None) -> None:
    """Undo every fault of a host and wait until it answers again."""
    with _sentences():
        Lab.open(name).heal(host)


@task(help={"state": STATE_HELP, "why": "a note for lab.saved", "name": NAME_HELP})
def save(c: Context, state: str, why: str = "", name: str | None = None) -> None:
    """Save the current state of the lab under a name.

    Its hosts lose power for it, all at the same moment, and boot again.
    """
    with _sentences():
        Lab.open(name, write=_line).save(state, why)


@task(
    help={
        "state": STATE_HELP,
        "only": "the hosts to boot, e.g. sql1,sql2,sql3; the others are left off",
        "name": NAME_HELP,
    }
)
def restore(c: Context, state: str, only: str = "", name: str | None = None) -> None:
    """Go back to a saved state; the lab's current state is lost."""
    with _sentences():
        Lab.open(name, write=_line).restore(state, _names(only))


@task
def saved(c: Context) -> None:
    """Show all saved states: name, age, size, inventory, versions."""
    with _sentences():
        store = Lab.open().store
        rows = [
            (
                state.name,
                _duration(state.age),
                f"{store.size(state) / 2**20:.0f} MB",
                state.digest,
                ", ".join(f"{name} {version}" for name, version in state.versions.items()),
                state.why,
            )
            for state in store.all()
        ]
    print(tabulate(rows, headers=["name", "age", "size", "hosts file", "versions", "why"]))


@task(help={"state": STATE_HELP})
def forget(c: Context, state: str) -> None:
    """Delete a saved state; labs that use it keep running."""
    with _sentences():
        Lab.open().forget(state)


@task(help={"saved": "also delete the saved states, which are made from it"})
def clean(c: Context, saved: bool = False) -> None:
    """Delete the cached base, image, repositories and shelf.

    The next lab.up builds them again.
    """
    with _sentences():
        lab = Lab.open()
        removed = machine.clean(lab.cache, lab.store, saved)
    print("\n".join(f"removed {entry}" for entry in removed) or "the cache was empty")


def _become(argv: list[str], environment: dict[str, str] | None = None) -> None:
    """Replace this process by the command, which gets its terminal, signals and exit code."""
    sys.stdout.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that is inherited
    os.execvpe(argv[0], argv, environment or dict(os.environ))


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _line(text: str) -> None:
    print(text, flush=True)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


lab = Collection(
    "lab", up, build, down, status, shell, exec_, fault, heal, save, restore, saved, forget, clean
)
