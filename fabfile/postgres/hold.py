"""Patroni held back: while data is being replaced, not even a reboot may start it."""

from __future__ import annotations

from runbook.declare.facts import Fact
from runbook.declare.step import Step
from runbook.declare.steps import command, precondition

from ..shared.roles import POSTGRES

ALONE = "postgresql-restore.service"
"""PostgreSQL without Patroni, for as long as a restore takes."""

MASKED = "[[ $(readlink /etc/systemd/system/patroni.service) == /dev/null ]]"

HELD = Fact(
    "whether Patroni is held back",
    on=POSTGRES,
    command=lambda cluster, host: f"if {MASKED}; then echo yes; else echo no; fi",
    parse=lambda text: text.strip() == "yes",
    absent="it does not answer",
)


def held() -> Step:
    """Neither Patroni nor PostgreSQL runs, and a reboot does not start them.

    Patroni is stopped before its unit is masked: a masked unit would be stopped by other rules.
    """
    return command(
        "Patroni is stopped, and masked until its turn comes",
        f"""systemctl stop patroni
systemctl mask patroni
if systemctl is-active -q {ALONE}; then systemctl stop {ALONE}; fi""",
        unless=f"{MASKED} && unit_is patroni.service inactive && unit_is {ALONE} inactive",
        timeout=900,
    )


def detached() -> Step:
    """Patroni does not run, not even after a reboot; PostgreSQL goes on, as Patroni is paused."""
    return command(
        "Patroni is stopped, and masked until its turn comes; PostgreSQL goes on",
        "systemctl stop patroni\nsystemctl mask patroni",
        unless=f"{MASKED} && unit_is patroni.service inactive",
        timeout=120,
    )


def released() -> Step:
    """Patroni may start again."""
    return command("Patroni is no longer masked", "systemctl unmask patroni", f"! {MASKED}")


def not_held() -> Step:
    """No interrupted procedure has left Patroni masked while no server leads."""
    return precondition(
        "Patroni is not masked by a procedure that was interrupted",
        f"! {MASKED}",
        "echo 'A restore, a recovery or a major upgrade of the database was interrupted: rerun'\n"
        "echo 'it. To go on after an interrupted restore with'\n"
        "echo 'the data as it is on this server: systemctl unmask patroni'",
    )
