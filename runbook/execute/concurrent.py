"""Tasks that are carried out at the same time, over one connection to each host.

A task that needs a host waits while another task is using it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from io import TextIOBase
from typing import Any, Callable, Optional, TextIO, cast

from runbook.errors import UnreachableError
from runbook.execute.run import Run
from runbook.inventory.cluster import Host
from runbook.output.report import Report
from runbook.secrets.vault import Passwords

Job = Callable[[Run], bool]
"""A job with a run of its own; it returns False if it failed."""


class SharedConnections:
    """The connections of a run, shared by several runs; one at a time uses a host."""

    def __init__(self, connections: Any, hosts: Iterable[str]) -> None:
        self._connections = connections
        self._locks = {host: threading.RLock() for host in hosts}
        self._silent: dict[str, str] = {}
        self._ended = False

    def open(self, host: Host, bootstrap: bool = False) -> Any:
        """The host's connection; a host that did not answer another run is not tried again."""
        with self._alone_with(host):
            if host.name in self._silent:
                raise UnreachableError(self._silent[host.name])
            try:
                return self._connections.open(host, bootstrap)
            except UnreachableError as error:
                self._silent[host.name] = str(error)
                raise

    def run(self, host: Host, *arguments: Any, **options: Any) -> Any:
        """Run a script, once no other run is using this host."""
        with self._alone_with(host):
            self._connections.open(host)
            return self._connections.run(host, *arguments, **options)

    def command(self, host: Host, *arguments: Any) -> Any:
        """Run a command as the login user."""
        with self._alone_with(host):
            self._connections.open(host)
            return self._connections.command(host, *arguments)

    def drop(self, host: Host) -> None:
        """Forget the host's connection, and that it did not answer."""
        with self._alone_with(host):
            self._silent.pop(host.name, None)
            self._connections.drop(host)

    def close(self) -> None:
        """Do nothing: other runs still use them, and the run that opened them closes them."""

    def end(self) -> None:
        """Let no run use a host again, and cut off what is in progress."""
        self._ended = True
        self._connections.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connections, name)

    @contextmanager
    def _alone_with(self, host: Host) -> Iterator[None]:
        with self._locks[host.name]:
            if self._ended:
                raise UnreachableError(f"the run ended before {host.name} was reached.")
            yield


class Waiting(Passwords):
    """Passwords that only the main thread asks for; all others wait for its answer."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    def get(self, variable: str, question: str) -> str:
        """The password, once the main thread has it."""
        return self._passwords.get(variable, question)

    def answer(self) -> None:
        """Ask the user, if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._passwords.answer()

    def give_up(self) -> None:
        """Do nothing: other threads may still get their answers."""


class Prefixed(TextIOBase):
    """A stream whose lines begin with a name; a line appears when it is complete."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._rest = ""

    def write(self, text: str) -> int:
        """Accept text; writes the lines that it completes."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._stream.write(f"{self._name:<12} | {line}".rstrip() + "\n")
        return len(text)

    def flush(self) -> None:
        """Pass on what is complete."""
        self._stream.flush()

    def isatty(self) -> bool:
        """False, because several jobs share the terminal, so there is no live line."""
        return False


def separate_run(run: Run, connections: Any, report: Report, fresh: bool = False) -> Run:
    """A run with results of its own over the same connections.

    `fresh`: hosts that were lost are tried again.
    """
    return replace(
        run,
        report=report,
        results=[],
        passwords=Waiting(run.passwords),
        _connections=connections,
        _facts={},
        _lost={} if fresh else run._lost,
    )


def run_concurrently(
    run: Run,
    jobs: Mapping[str, Job],
    needs: Optional[Mapping[str, Iterable[str]]] = None,
    after: Callable[[str, bool], None] = lambda name, fine: None,
    reports: Optional[Callable[[str], Report]] = None,
) -> Optional[str]:
    """Carry out jobs, each as soon as those that it needs are done; returns the first that failed.

    After a failure no further job is started, and those in progress are finished. A single job
    uses the terminal itself; the lines of several begin with their names, or go to the `reports`
    made for them. `after` is called when a job has ended.
    """
    reports = reports or (
        lambda name: run.report.separate(cast(TextIO, Prefixed(run.report.stream, name)))
    )
    needed = {name: {*(needs or {}).get(name, ())} & jobs.keys() for name in jobs}
    shared = SharedConnections(run.connections, run.cluster.hosts)
    ended: dict[str, bool] = {}
    at_work: dict[Future[bool], tuple[str, Run]] = {}
    pool = ThreadPoolExecutor(max(1, len(jobs)))

    def end(name: str, fine: bool) -> None:
        ended[name] = fine
        after(name, fine)

    try:
        while True:
            started = {*ended, *(name for name, _ in at_work.values())}
            going = all(ended.values())
            ready = [one for one in jobs if one not in started and needed[one] <= ended.keys()]
            if going and len(ready) == 1 and not at_work:
                end(ready[0], jobs[ready[0]](run))
                continue
            for name in ready if going else ():
                own = separate_run(run, shared, reports(name))
                at_work[pool.submit(jobs[name], own)] = name, own
            if not at_work:
                break
            _collect(run, at_work, end)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        run.passwords.give_up()
        shared.end()
        raise
    pool.shutdown(wait=False)
    return next((name for name, fine in ended.items() if not fine), None)


def _collect(
    run: Run, at_work: dict[Future[bool], tuple[str, Run]], end: Callable[[str, bool], None]
) -> None:
    """Wait a moment, and collect the jobs that have ended."""
    finished, _ = wait(at_work, timeout=0.2, return_when=FIRST_COMPLETED)
    run.passwords.answer()
    for future in finished:
        name, own = at_work.pop(future)
        run.take_over(own)
        end(name, future.result())
