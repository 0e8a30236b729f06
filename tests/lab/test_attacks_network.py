"""Who else is in the network: every port is tried from every host, and from a stranger.

Something listens on every port while it is tried, so that it is the firewall that closes it.
"""

from __future__ import annotations

import subprocess
import time
from shlex import quote

import pytest
import yaml
from support.controller import PROJECT
from support.strangers import CONTROLLER, STRANGER, inventory, stranger

from runbook.inventory.access import access, owned

STATE = "section one"

CLOSED = (111, 8405, 9999)
"""Ports that nobody opens."""
VRRP = 112


@pytest.fixture(scope="module")
def network(lab):
    with stranger(lab) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(lab):
    return inventory(lab)


@pytest.fixture(scope="module")
def ports(cluster) -> list[int]:
    """The ports of the table, the first and the last of a range, and some that are in none."""
    spans = [port.partition("/")[0].split("-") for port in owned(cluster) if "/tcp" in port]
    return sorted({int(number) for span in spans for number in span} | {*CLOSED})


@pytest.fixture(scope="module")
def listeners(network, cluster, ports):
    with network.listening(dict.fromkeys(cluster.hosts, ports)):
        yield


def number_in(port: str, number: int) -> bool:
    low, _, high = port.partition("/")[0].partition("-")
    return port.endswith("/tcp") and int(low) <= number <= int(high or low)


def test_a_second_run_changes_nothing(fab):
    answer = fab("base.firewall")
    assert answer.code == 0, answer.text
    assert answer.steps("changed") == set()


def test_each_port_of_each_host_is_open_to_just_those_of_the_table(
    network, cluster, listeners, ports, report
):
    places = {
        f"{host.address}:{port}": name
        for name, host in cluster.hosts.items()
        for port in (22, *ports)
    }
    whom = [*cluster.hosts, STRANGER, CONTROLLER]
    table = {
        f"{port}/tcp": next((one for one in owned(cluster) if number_in(one, port)), f"{port}/tcp")
        for port in (22, *ports)
    }
    wanted = {
        (who, place)
        for who in whom
        for place, target in places.items()
        if target != who
        and access(cluster.hosts[target], table[f"{place.rpartition(':')[2]}/tcp"], cluster).admits(
            network.addresses[who]
        )
    }
    assert ("worker1", "192.168.83.135:5671") in wanted
    assert {place.rpartition(":")[2] for who, place in wanted if who == STRANGER} == {
        "22",
        "443",
        "8081",
    }
    began = time.monotonic()
    found = network.all_open(whom, places)
    report(f"{len(whom) * len(places)} connections tried in {time.monotonic() - began:.0f} s")
    assert found - wanted == set()
    assert wanted - found == set()


PEERS = {"ftp": "nfs2", "airflow": "haproxy2"}


@pytest.mark.parametrize("target", PEERS)
def test_vrrp_is_heard_from_the_peers_only(network, cluster, target):
    """The targets do not write to each other, as an answer would be let in."""
    ear = subprocess.Popen(network.run("hear", target, VRRP, 4), stdout=subprocess.PIPE, text=True)
    assert ear.stdout.readline() == "listening\n"
    for who in (*cluster.hosts, STRANGER):
        if who not in PEERS:
            address = network.addresses[target]
            subprocess.run(network.run("send", who, VRRP, address), check=True)
    heard, _ = ear.communicate(timeout=20)
    assert {*heard.split()} == {network.addresses[PEERS[target]]}


def change(on, host: str, verb: str, *things: str) -> None:
    """Add or remove things such as port=80/tcp by hand, now and after a reboot."""
    for thing in things:
        for when in ("", "--permanent "):
            on(host, f"firewall-cmd {when}{quote(f'--{verb}-{thing}')}")


def rules(on, host: str) -> tuple[str, str]:
    return on(host, "firewall-cmd --list-all"), on(host, "firewall-cmd --permanent --list-all")


def test_a_host_that_left_is_let_in_no_more(fab, on, network, cluster, listeners, tmp_path):
    data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
    del data["hosts"]["sql3"]
    smaller = tmp_path / "hosts.yaml"
    smaller.write_text(yaml.safe_dump(data))
    assert network.open("sql3", "sql1", 2379, 5432) == {2379, 5432}
    without = fab.given(RUNBOOK_INVENTORY=str(smaller))
    planned = without.text("-H", "sql1", "--plan", "base.firewall")
    assert f'- rule family="ipv4" source address="{cluster.hosts["sql3"].address}"' in planned.text
    answer = without("-H", "sql1", "base.firewall")
    assert answer.code == 0, answer.text
    for told in rules(on, "sql1"):
        assert cluster.hosts["sql3"].address not in told
        assert cluster.hosts["sql2"].address in told
    assert network.open("sql3", "sql1", 2379, 5432) == set()
    assert without("-H", "sql1", "base.firewall").steps("changed") == set()
    assert fab("-H", "sql1", "base.firewall").code == 0
    assert network.open("sql3", "sql1", 2379, 5432) == {2379, 5432}


def test_what_an_earlier_release_opened_to_everybody_is_found_and_closed(
    fab, on, network, listeners
):
    """It opened PostgreSQL, Patroni and VRRP like this."""
    change(on, "sql2", "add", "port=5432/tcp", "port=8008/tcp", "protocol=vrrp")
    assert network.open(STRANGER, "sql2", 5432, 8008) == {5432, 8008}
    found = fab("-H", "sql2", "base.check")
    assert [title for _, title in found.steps("warn") if "ports 5432/tcp" in title]
    answer = fab("-H", "sql2", "base.firewall")
    assert answer.code == 0, answer.text
    assert network.open(STRANGER, "sql2", 5432, 8008) == set()
    assert network.open("sql1", "sql2", 5432, 8008) == {5432, 8008}
    assert fab("-H", "sql2", "base.check").code == 0
    on("sql2", "firewall-cmd --reload")
    assert network.open(STRANGER, "sql2", 5432, 8008) == set()


def test_a_rule_of_the_site_for_another_port_stays(fab, on, network):
    rule = (
        'rule family="ipv4" source address="192.168.83.77" port port="9200" protocol="tcp" accept'
    )
    change(on, "mq2", "add", "port=9100/tcp", f"rich-rule={rule}")
    assert fab("-H", "mq2", "base.firewall").steps("changed") == set()
    with network.listening({"mq2": [9100, 9200]}):
        assert network.open(STRANGER, "mq2", 9100, 9200) == {9100, 9200}
    change(on, "mq2", "remove", "port=9100/tcp", f"rich-rule={rule}")


def test_ssh_is_closed_to_strangers_by_a_setting_and_never_to_the_controller(
    fab, on, network, settings
):
    elsewhere = settings("firewall", ssh=["10.20.0.0/24"])
    refused = fab("-H", "card1", "base.firewall", **elsewhere)
    assert refused.code == 1
    assert network.addresses[CONTROLLER] in refused.text
    assert network.open(STRANGER, "card1", 22) == {22}
    ours = settings("firewall", ssh=[f"{network.addresses[CONTROLLER]}/32"])
    try:
        answer = fab("-H", "card1", "base.firewall", **ours)
        assert answer.code == 0, answer.text
        assert fab("-H", "card1", "base.firewall", **ours).steps("changed") == set()
        may = {
            who
            for who in ("airflow", "worker1", "mq1", STRANGER, CONTROLLER)
            if network.open(who, "card1", 22)
        }
        assert may == {"airflow", "worker1", CONTROLLER}
        assert fab("-H", "card1", "ssh.check", **ours).code == 0
    finally:
        assert fab("-H", "card1", "base.firewall").code == 0
    assert network.open(STRANGER, "card1", 22) == {22}
