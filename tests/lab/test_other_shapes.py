"""Inventories of other sizes and in other networks: the lab and Section 1 follow hosts.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.long


def inventory(folder: Path, workers: int) -> Path:
    """One host of most kinds and as many workers as wanted, in 10.77.0.0/16."""
    size = "ram: 2GB, cpu: 1, disk: 10GB"
    others = {
        "front": "[scheduler, triggerer, webserver, haproxy]",
        "db": "[postgres]",
        "queue": "[rabbitmq]",
        "files": "[nfs, dag-processor]",
    }
    roles = [*others.items(), *((f"w{number}", "[worker]") for number in range(1, workers + 1))]
    hosts = [
        f"  {name}: {{vm: {number}, address: 10.77.{number % 3}.{number}, {size}, roles: {role}}}"
        for number, (name, role) in enumerate(roles, 10)
    ]
    vips = [
        "  main: {address: 10.77.1.200, role: haproxy, members: {front: 110}}",
        "  share: {address: 10.77.1.201, role: nfs, members: {files: 110}}",
    ]
    rest = ["vips:", *vips, "ssh: {key_host: front}", ""]
    file = folder / "hosts.yaml"
    file.write_text("\n".join(["cluster: other", "hosts:", *hosts, *rest]))
    return file


@pytest.mark.parametrize("workers", [1, 21])
def test_section_one_on_another_cluster_and_a_second_run(lab_of_its_own, tmp_path, workers):
    fab = lab_of_its_own(f"shape{workers}", inventory(tmp_path, workers))
    tasks = ("base", "hostnames", "hosts", "ssh")
    first = fab(*tasks)
    assert first.code == 0, first.text
    assert len(first.data["hosts"]) == workers + 4
    assert fab(*tasks).steps("changed") == set()
    checks = fab("base.check", "hostnames.check", "hosts.check", "ssh.check")
    assert checks.code == 0, checks.text
