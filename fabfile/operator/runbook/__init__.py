"""`inv runbook.*`: the runbook by hand, and what was done."""

from __future__ import annotations

from invoke import Collection

from .log import diff, log, runs
from .show import show
from .walk import walk

runbook = Collection("runbook", show, walk, log, runs, diff)
