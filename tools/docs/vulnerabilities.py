"""The table of Airflow's known vulnerabilities in docs/security.md."""

from __future__ import annotations

from fabfile.shared.versions import PYTHON_FOR_AIRFLOW
from fabfile.shared.vulnerabilities import AS_OF, KNOWN, SOURCE, THREADS

from .markdown import table


def known() -> str:
    """The sentence before the table, and the table."""
    rows = [
        (
            f"[{one.cve}]({THREADS}{one.thread})",
            ", ".join(version for version in sorted(PYTHON_FOR_AIRFLOW) if one.affects(version)),
            one.fixed,
            one.impact,
        )
        for one in KNOWN
    ]
    return f"From [Apache's advisories]({SOURCE}), as of {AS_OF}:\n\n" + table(
        ("advisory", "in", "fixed in", "what it allows"), rows
    )
