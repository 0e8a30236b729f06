"""A new user follows the README, on a fresh clone with a `make setup` of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRY = Path(__file__).resolve().parents[1] / "new_user.py"


def test_every_command_of_the_readme_does_what_it_should(tmp_path):
    tried = subprocess.run(
        [sys.executable, str(TRY), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
