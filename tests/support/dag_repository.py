"""A team's repository of DAGs, about 300 files, in versions that can be told apart.

Each file of a version says its number, so that a reader of two versions at once is found out.
`python tests/support/dag_repository.py FOLDER` writes the first version, to look at.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

PARTS = 40
"""Modules that the DAG `consistent` imports."""

IGNORE = "^tests(/|$)\n^lib(/|$)\n"

CONSISTENT = '''"""Imports forty modules, which all have to be of one release."""
from datetime import datetime
from pathlib import Path

from airflow import DAG
from airflow.operators.empty import EmptyOperator

from lib import {imports}

VERSION = {version}
FOUND = {{VERSION, {versions}, int((Path(__file__).parent / "version.txt").read_text())}}
if len(FOUND) > 1:
    raise RuntimeError(f"half a release: {{sorted(FOUND)}}")

with DAG("consistent", start_date=datetime(2024, 1, 1), schedule=None, tags=[f"v{version}"]):
    EmptyOperator(task_id="nothing")
'''

IN_FLIGHT = '''"""Twenty tasks that import a module of their own release after some seconds."""
import importlib
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

from airflow import DAG
from airflow.operators.python import PythonOperator

from lib import part_000

VERSION = {version}


def work() -> None:
    time.sleep(8)
    late = importlib.import_module(f"lib.late_{{VERSION}}")
    found = {{VERSION, part_000.VERSION, late.VERSION}}
    print("VERSIONS", found)
    if len(found) > 1:
        raise RuntimeError(f"half a release: {{found}}")
    subprocess.run([str(Path(__file__).parent / "bin/report")], check=True)


with DAG(
    "in_flight",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    is_paused_upon_creation=False,
    max_active_tasks=16,
    default_args={{"retries": 2, "retry_delay": timedelta(seconds=5)}},
):
    for number in range(20):
        PythonOperator(task_id=f"t{{number:02}}", python_callable=work)
'''

SMALL = """from datetime import datetime

from airflow import DAG
from airflow.operators.empty import EmptyOperator

with DAG("{name}", start_date=datetime(2024, 1, 1), schedule=None, tags=["v{version}"]):
    EmptyOperator(task_id="nothing")
"""

BROKEN = "from airflow import DAG\n\nraise RuntimeError('this folder is ignored')\n"

PLUGIN = """from airflow.plugins_manager import AirflowPlugin


def version() -> int:
    return {version}


class Team(AirflowPlugin):
    name = "team_v{version}"
    macros = [version]
"""


@dataclass
class DagRepository:
    """The repository in a folder: DAGs in `dags`, plugins in `plugins`."""

    folder: Path

    def write(self, version: int) -> None:
        """The files of a version, in place of what is there."""
        for path in sorted(self.folder.glob("[!.]*/**/*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, text in self.texts(version).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        dags = self.folder / "dags"
        (dags / "bin/report").chmod(0o755)
        (dags / "bin/latest").symlink_to("report")
        (dags / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * version)
        with zipfile.ZipFile(dags / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("packed.py", SMALL.format(name="packed", version=version))
            archive.writestr("unused.py", "# nothing\n" * 500 * version)

    def texts(self, version: int) -> dict[str, str]:
        parts = [f"part_{number:03}" for number in range(200)]
        used = parts[:PARTS]
        values = {
            "imports": ", ".join(used),
            "versions": ", ".join(f"{name}.VERSION" for name in used),
            "version": version,
        }
        small = [f"small_{number}" for number in range(6)] + [f"only_v{version}"]
        return {
            ".gitignore": "*.log\n",
            "README.md": "DAGs of a team\n",
            "dags/.airflowignore": IGNORE,
            "dags/version.txt": str(version),
            "dags/consistent.py": CONSISTENT.format(**values),
            "dags/in_flight.py": IN_FLIGHT.format(version=version),
            "dags/bin/report": f"#!/bin/sh\necho REPORT {version}\n",
            **{f"dags/lib/{name}.py": f"VERSION = {version}\n" for name in parts},
            "dags/lib/__init__.py": "",
            f"dags/lib/late_{version}.py": f"VERSION = {version}\n",
            **{f"dags/team/{name}.py": SMALL.format(name=name, version=version) for name in small},
            **{f"dags/sql/{number:02}.sql": f"select {version};\n" for number in range(60)},
            **{f"dags/tests/deep/broken_{number}.py": BROKEN for number in range(20)},
            "plugins/team.py": PLUGIN.format(version=version),
        }

    def commit(self) -> str:
        """Commit what is there; returns the commit."""
        if not (self.folder / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x", "--allow-empty")
        return self.git("rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=team", "-c", "user.email=team@example.com"]
        command = ["git", "-C", str(self.folder), *identity, "-c", "commit.gpgsign=false", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    DagRepository(Path(sys.argv[1])).write(1)
