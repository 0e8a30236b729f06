"""The share, looked at past the product, and under the load of a drill's client."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.controller import PROJECT

from lab.machine import Lab

SERVERS = ("ftp", "nfs2")
SHARE = (*SERVERS, "airflow", "scheduler2", "haproxy2", "worker1")
"""The servers, and all that mount the share."""
VIP = "192.168.83.220"
DAGS = "/app1/airflow/dags"
RESCUED = "/app1/airflow/rescued"
CLIENT = "airflow"
CLIENTS = "/root/drill"
"""Where the programs are."""


@dataclass
class Outcome:
    """What a client met that appends a line ten times a second."""

    pause: float = 0
    acknowledged: int = 0
    lost: int = 0
    errors: list[str] = field(default_factory=list)
    closed: bool = False

    def __str__(self) -> str:
        return (
            f"{self.pause:.1f} s without writes, {self.lost} of {self.acknowledged} lines lost, "
            f"{len(self.errors)} errors"
        )


class Share:
    """The two servers and a client that writes."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.shell(CLIENT, f"mkdir -p {CLIENTS}")
        for program in ("clients.py", "load.py"):
            text = (PROJECT / "files/airflow/drill" / program).read_text()
            self.shell(CLIENT, f"cat >{CLIENTS}/{program} <<'PROGRAM'\n{text}PROGRAM")

    def shell(self, host: str, command: str) -> str:
        done = self.lab.root_shell(host, command)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def holds(self, server: str) -> bool:
        done = self.lab.root_shell(server, f"ip -o -4 addr show to {VIP}")
        return done.returncode == 0 and VIP in done.stdout

    def active(self) -> str:
        """The server that holds the VIP."""
        [name] = [server for server in SERVERS if self.holds(server)]
        return name

    def standby(self) -> str:
        return next(name for name in SERVERS if name != self.active())

    def wait_for_active(self, name: str, seconds: float = 30) -> float:
        """Seconds until this server holds the VIP."""
        began = time.monotonic()
        while not self.holds(name):
            assert time.monotonic() - began < seconds, f"{name} does not take over"
            time.sleep(0.1)
        return time.monotonic() - began

    def generation(self, server: str) -> int:
        return int(self.shell(server, "cat /var/lib/nfs-ha/generation"))

    def wait_until_copied(self, name: str) -> None:
        """Until both servers have the same file of this name."""
        deadline = time.monotonic() + 30
        sums = f"sha256sum {DAGS}/{name} 2>/dev/null || :"
        while len(texts := {self.shell(server, sums) for server in SERVERS}) > 1 or "" in texts:
            assert time.monotonic() < deadline, f"{name} is not copied"
            time.sleep(0.3)

    def wait_until_fit(self, server: str) -> None:
        """Until this server was brought up to date by the other one, in its generation."""
        [other] = set(SERVERS) - {server}
        deadline = time.monotonic() + 90
        while (
            self.holds(server)
            or self.generation(server) != self.generation(other)
            or not self.shell(server, "ls /run/nfs-ha | grep -x fit || :")
        ):
            assert time.monotonic() < deadline, f"{server} is not brought up to date"
            time.sleep(0.5)

    @contextmanager
    def writing(self, name: str):
        """A client appends to NAME as long as this lasts; a closed file lies beside it."""
        log = f"/root/{name}.log"
        client = f"python3 -E -s {CLIENTS}/load.py lines"
        files = f"--log {log} --file {DAGS}/{name}"
        self.shell(CLIENT, f"echo closed >{DAGS}/closed-{name}; rm -f {DAGS}/{name}")
        run = f"{client} run {files} --seconds 3600"
        self.shell(CLIENT, f"systemd-run -q --unit=appender {run}")
        outcome = Outcome()
        try:
            time.sleep(5)
            yield outcome
            time.sleep(3)
        finally:
            self.shell(CLIENT, "systemctl stop appender")
        account = json.loads(self.shell(CLIENT, f"{client} account {files}"))
        done = [(item[0], item[2]) for item in account["items"] if len(item) == 3]
        times = [when for _, when in done]
        outcome.pause = max(after - before for before, after in zip(times, times[1:]))
        outcome.errors = self.shell(CLIENT, f"grep ^error {log} || :").splitlines()
        outcome.acknowledged = len(done)
        present = set(account["there"])
        outcome.lost = sum(number not in present for number, _ in done)
        outcome.closed = self.shell(CLIENT, f"cat {DAGS}/closed-{name}") == "closed"


def told(fab, words: str, level: str = "error") -> bool:
    """Whether the check says so."""
    return any(words in title for _, title in fab("nfs.check").steps(level))


def tell(fab, words: str, level: str = "error", seconds: float = 60) -> None:
    """Wait until the check says so."""
    deadline = time.monotonic() + seconds
    while not told(fab, words, level):
        assert time.monotonic() < deadline, fab("nfs.check").text
        time.sleep(1)
