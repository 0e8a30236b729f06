"""Kernel parameters of the database servers."""

from __future__ import annotations

import pytest

from fabfile import CONTENTS
from fabfile.postgres import kernel
from runbook.errors import InventoryError

CLIENTS = "  clients: [] "


@pytest.fixture
def with_kernel(hosts_yaml):
    """with_kernel("{vm.swappiness: 1}") -> a cluster with this in postgres.kernel."""
    return lambda text: CONTENTS.load(hosts_yaml(CLIENTS, f"  kernel: {text}\n{CLIENTS}"))


def steps(cluster):
    return list(kernel.kernel(cluster.hosts["sql1"], cluster))


def test_the_kernel_swaps_late(cluster):
    assert steps(cluster)[0].text == "vm.swappiness = 10\n"


def test_values_of_hosts_yaml_are_added_or_replace_it(with_kernel):
    found = steps(with_kernel("{vm.swappiness: 1, vm.nr_hugepages: 600}"))
    assert found[0].text == "vm.swappiness = 1\nvm.nr_hugepages = 600\n"
    assert "sysctl -q -p" in found[1].apply


def test_null_leaves_the_value_to_the_servers_own_files(with_kernel):
    [gone] = steps(with_kernel("{vm.swappiness: null}"))
    assert gone.apply == "rm -f /etc/sysctl.d/60-postgres-airflow.conf"


@pytest.mark.parametrize("text", ["{vm.swappiness: low}", "{vm.swappiness: -1}", "{VM: 1}"])
def test_other_values_are_refused(with_kernel, text):
    with pytest.raises(InventoryError, match=r"postgres\.kernel"):
        with_kernel(text)
