"""RHEL 8's modules: streams of packages that hide all others that provide the same names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from lab.packages.model import Module

PLATFORM = "el8"


def module_metadata(artifacts: Mapping[Module, Iterable[str]]) -> str:
    """A repository's modules.yaml for module → its RPMs as name-epoch:version-release.arch."""
    documents: list[dict[str, Any]] = []
    for module, rpms in artifacts.items():
        documents.append(_stream(module, sorted(rpms)))
        if module.default:
            documents.append(_default(module))
    return yaml.safe_dump_all(documents, explicit_start=True, sort_keys=False)


def _stream(module: Module, rpms: list[str]) -> dict[str, Any]:
    names = [rpm.split("-0:")[0] for rpm in rpms]
    return {
        "document": "modulemd",
        "version": 2,
        "data": {
            "name": module.name,
            "stream": module.stream,
            "version": module.version,
            "context": module.context,
            "arch": "x86_64",
            "summary": f"{module.name} {module.stream}",
            "description": f"The stream {module.stream} of {module.name}.",
            "license": {"module": ["MIT"]},
            "dependencies": [{"requires": {"platform": [PLATFORM]}}],
            "profiles": {
                name.rpartition("-")[2]: {"rpms": [name]} for name in names if "-" in name
            },
            "api": {"rpms": names},
            "artifacts": {"rpms": rpms},
        },
    }


def _default(module: Module) -> dict[str, Any]:
    return {
        "document": "modulemd-defaults",
        "version": 1,
        "data": {
            "module": module.name,
            "stream": module.stream,
            "profiles": {module.stream: ["server"]},
        },
    }
