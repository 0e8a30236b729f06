from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.network import (
    Cable,
    Network,
    cable_of,
    common_network,
    first_free,
    hardware_address,
    tag_of,
)


def addresses(*texts: str) -> list[IPv4Address]:
    return [IPv4Address(text) for text in texts]


@pytest.mark.parametrize(
    ("hosts", "network"),
    [
        (["192.168.83.129", "192.168.83.220"], "192.168.83.0/24"),
        (["10.1.2.3"], "10.1.2.0/24"),
        (["10.1.2.3", "10.1.3.3"], "10.1.2.0/23"),
        (["10.1.2.3", "10.200.0.1", "10.7.7.7"], "10.0.0.0/8"),
        (["10.0.0.1", "192.168.1.1"], "0.0.0.0/0"),
    ],
)
def test_the_network_holds_all_hosts(hosts, network):
    assert common_network(addresses(*hosts)) == IPv4Network(network)


@pytest.mark.parametrize(
    ("hosts", "free"),
    [
        (["192.168.83.129"], "192.168.83.1"),
        (["192.168.83.1", "192.168.83.2"], "192.168.83.3"),
        (["10.0.0.1", "192.168.1.1"], "10.0.0.2"),
    ],
)
def test_the_controller_takes_the_first_free_address(hosts, free):
    taken = addresses(*hosts)
    assert first_free(common_network(taken), taken) == IPv4Address(free)


def test_a_full_network_has_no_place_for_the_controller():
    network = IPv4Network("10.0.0.0/24")
    with pytest.raises(LabError, match="no address is left"):
        first_free(network, network.hosts())


def test_names_are_short_enough_and_belong_to_one_lab():
    assert len(cable_of(2**32)) <= 15
    with pytest.raises(LabError, match="too long"):
        cable_of(10**14)
    assert tag_of(Path("/a/lab")) != tag_of(Path("/b/lab"))
    assert len(tag_of(Path("/a/lab"))) < 15


def test_each_host_has_its_own_hardware_address():
    assert hardware_address(1) == "52:54:00:00:00:01"
    assert len({hardware_address(vm) for vm in range(1000)}) == 1000


def test_a_cable_fault_is_remembered(tmp_path):
    file = tmp_path / "cable"
    assert Cable.read(file) == Cable()
    for fault in (Cable("loss", 30), Cable("cut", peers=(("sql-2", 9), ("sql3", 10)))):
        fault.write(file)
        assert Cable.read(file) == fault
    Cable().write(file)
    assert not file.exists()


def test_a_cut_drops_both_directions_between_a_host_and_its_peers_only(monkeypatch):
    fed: list[str] = []
    monkeypatch.setattr("lab.network.run", lambda *argv, feed=None, **_: fed.append(feed))
    network = Network("lab-1", "10.0.0.1", 24)
    network.set_cable(8, Cable("cut", peers=(("sql2", 9), ("sql3", 10))))
    cables, rules = fed
    assert cables == "link set vm8 master br0\nlink set vm8 up\n"
    drops = [line for line in rules.splitlines() if line.endswith("drop")]
    assert drops == [
        'iifname "vm8" oifname { "vm9", "vm10" } drop',
        'iifname { "vm9", "vm10" } oifname "vm8" drop',
    ]
    network.set_cable(8, Cable())
    assert "delete table bridge vm8\n" in fed[-1]
    assert "drop" not in fed[-1]


def test_a_command_in_the_controllers_place_enters_only_the_network():
    network = Network("lab-1", "10.0.0.1", 24)
    assert network.inside("fab", "base") == [
        "nsenter",
        "--net=/run/netns/lab-1",
        "--",
        "fab",
        "base",
    ]
