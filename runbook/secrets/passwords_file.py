"""The text of secrets.yaml: a name and a password on each line."""

from __future__ import annotations

from pathlib import Path

from runbook.errors import SettingsError


def parse_passwords(content: bytes, file: Path) -> dict[str, str]:
    """The passwords in the text of secrets.yaml; SettingsError if it is invalid."""
    from runbook.yaml_source import Source, shown

    data = Source(file, content).data
    for name, value in data.items():
        if not isinstance(value, str) or not value:
            raise SettingsError(f"{file}: {shown(name)} must be text; put it in quotes.")
        sayable(value, f"{file}: {shown(name)}")
    return data


def sayable(value: str, where: str) -> str:
    """`value` if it is printable ASCII: configuration files and SCRAM agree on nothing else."""
    if not value.isascii() or not value.isprintable():
        raise SettingsError(f"{where} must be printable ASCII.")
    return value
