"""For a Prometheus that exists already: the files that it needs, in a folder of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.errors import SettingsError
from runbook.inventory.cluster import Host
from runbook.secrets.private_file import write_private

from ..postgres.transport import TRANSPORT
from .common import section, watched
from .rules import files

if TYPE_CHECKING:
    from runbook.execute.run import Run


@section.on_controller(
    on="all", help={"folder": "the folder for the files; it is made if it is missing"}, alone=True
)
def targets(run: Run, hosts: Sequence[Host], *, folder: str) -> None:
    """Write targets and alert rules for a Prometheus that you have.

    It asks the database servers whether Patroni speaks TLS. Run it again when servers come or go,
    and after `fab tls.switch` and `fab tls.rotate-ca`.
    """
    cluster = run.cluster
    if not watched(cluster):
        raise SettingsError(
            f"{cluster.file.name} does not ask for monitoring: set monitoring.enabled: true, then "
            "fab monitoring."
        )
    place = Path(folder).expanduser()
    for name, text in files(cluster, run.gather([TRANSPORT], hosts)).items():
        path = place / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            run.report.say(f"  {path}: unchanged")
            continue
        if not run.options.plan:
            _write(path, text)
        run.report.say(f"  {path}: {'would be written' if run.options.plan else 'written'}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, text.encode(), mode=0o644)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.") from None
