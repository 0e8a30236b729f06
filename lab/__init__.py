"""Test hosts on one machine: Rocky-like hosts of the user's own inventory, in a closed network."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
