"""`inv cluster.*`: the cluster as a whole."""

from __future__ import annotations

from invoke import Collection

from .check import check, diff, plan
from .deploy import deploy
from .power import start, stop
from .reboot import reboot
from .status.tasks import report, status
from .support import support

cluster = Collection(
    "cluster", status, report, deploy, check, plan, diff, stop, start, reboot, support
)
