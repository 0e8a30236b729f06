"""Hosts that nobody has touched, whatever an earlier run left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.machine import Lab

KEEP = os.environ.get("LAB_KEEP") == "1"
"""Go on with the lab that is up, if one is, and leave it running: for work on a test."""


@contextmanager
def bare_hosts(name: str, hosts_file: Path | None = None, *, keep: bool = False) -> Iterator[Lab]:
    """The lab of that name, begun afresh and taken down afterwards, unless it is to be kept."""
    lab = Lab.open(name, hosts_file)
    if not keep:
        lab.down()
    try:
        lab.up()
        yield lab
    finally:
        if not keep:
            lab.down()
