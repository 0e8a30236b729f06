"""The runbook's Python: the settings of its installation, and the sources with known hashes."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.inventory.entry import AbsolutePath
from runbook.inventory.schema import Objection, Settings, Understood

from .sources import Sources
from .versions import Versions

PYTHON_SHA256 = {
    "3.9.16": "1ad539e9dbd2b42df714b69726e0693bc6b9d2d2c8e91c2e43204026605140c5",
    "3.9.25": "a7438eabd3a48139f42d4e058096af8d880b0bb6e8fb8c78838892e4ce5583f2",
    "3.11.7": "068c05f82262e57641bd93458dfa883128858f5f4997aad7a36fd25b13b29209",
    "3.11.9": "e7de3240a8bc2b1e1ba5c81bf943f06861ff494b69fda990ce2722a504c6153d",
    "3.11.14": "563d2a1b2a5ba5d5409b5ecd05a0e1bf9b028cf3e6a6f0c87a5dc8dc3f2d9182",
}
"""sha256 of python.org's Python-VERSION.tgz, where it is known (pyenv's build definitions)."""


class Python(Settings, frozen=True):
    """Settings of the section `python-build`."""

    prefix: AbsolutePath = "/opt/airflow"
    """The directory that contains python-VERSION, on every server of Airflow."""
    optimizations: bool = True
    """A faster Python, whose build takes ten minutes instead of three."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """A tarball of another version, or one whose hash is not known."""
        versions, sources = inventory.get(Versions), inventory.get(Sources)
        if not versions or not sources:
            return
        url = sources.python.url
        if url and versions.python not in url:
            sentence = (
                f"{url} does not name Python {versions.python}, which versions.python asks for"
            )
            yield Objection(sentence, ("sources", "python", "url"))
        if not sources.python.sha256 and versions.python not in PYTHON_SHA256:
            yield Objection(
                f"is missing: the tarball's hash is known for {', '.join(PYTHON_SHA256)} only",
                ("sources", "python", "sha256"),
            )
