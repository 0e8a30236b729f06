"""hosts.yaml: what it says, and what a typo in it says back."""

from __future__ import annotations

import pytest

from fabfile import CONTENTS
from runbook.errors import InventoryError, UsageError

RUNBOOK_TABLE = {
    "airflow": (1, "192.168.83.129", 4, 2, 20),
    "scheduler2": (13, "192.168.83.151", 2, 2, 15),
    "haproxy2": (14, "192.168.83.154", 4, 2, 20),
    "ftp": (2, "192.168.83.132", 2, 1, 15),
    "nfs2": (12, "192.168.83.150", 2, 1, 15),
    "worker1": (4, "192.168.83.131", 2, 2, 15),
    "card1": (3, "192.168.83.133", 1, 1, 10),
    "mq1": (5, "192.168.83.135", 2, 1, 10),
    "mq2": (6, "192.168.83.136", 2, 1, 10),
    "mq3": (7, "192.168.83.137", 2, 1, 10),
    "sql1": (8, "192.168.83.148", 4, 2, 20),
    "sql2": (9, "192.168.83.147", 4, 2, 20),
    "sql3": (10, "192.168.83.149", 4, 2, 20),
}


def test_shipped_inventory_is_the_runbooks_table(cluster):
    found = {
        host.name: (host.vm, host.address, host.ram_mb // 1024, host.cpu, host.disk_mb // 1024)
        for host in cluster.hosts.values()
    }
    assert found == RUNBOOK_TABLE
    assert {vip.name: vip.address for vip in cluster.vips.values()} == {
        "airflow-vip": "192.168.83.210",
        "nfs-vip": "192.168.83.220",
    }
    assert (cluster.timezone, cluster.selinux) == ("Asia/Tehran", "disabled")
    assert cluster.warnings == []


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "ram: 4GB",
            "rma: 4GB",
            "hosts.yaml:17: hosts.airflow.rma: unknown key (did you mean ram?)",
        ),
        ("cluster: airflow", "clustre: airflow", "clustre: unknown key (did you mean cluster?)"),
        ("192.168.83.154", "192.168.83.151", "hosts.haproxy2.address: 192.168.83.151 is already"),
        ("vm: 13", "vm: 1", "hosts.scheduler2.vm: 1 is already the number of airflow"),
        ("192.168.83.210", "192.168.83.129", "vips.airflow-vip.address: 192.168.83.129 is already"),
        (
            "192.168.83.129",
            "192.168.83.999",
            "hosts.airflow.address: 192.168.83.999 is not valid; allowed: IPv4 address.",
        ),
        (
            "192.168.83.129",
            "fe80::1",
            "hosts.airflow.address: fe80::1 is not valid; allowed: IPv4 address.",
        ),
        ("roles: [worker]", "roles: [wroker]", "wroker is not known (did you mean worker?)"),
        (
            "selinux: disabled",
            "selinux: soft",
            "soft is not valid; allowed: disabled, enforcing, permissive",
        ),
        ("ftp: 110", "card1: 110", "vips.nfs-vip.members.card1: lacks the role nfs"),
        ("nfs2: 100}", "nsf2: 100}", "is not one of the hosts (did you mean nfs2?)"),
        ("haproxy2: 100", "haproxy2: 110", "two members have the same priority"),
        (
            "haproxy2: 100",
            "haproxy2: 300",
            "vips.airflow-vip.members.haproxy2: 300 is not valid; allowed: whole number",
        ),
        ("python: 3.9.16", "python: 3.13.1", "does not fit Airflow 2.9.0"),
        ("airflow: 2.9.0", "airflow: 2.1.0", "2.1.0 is not supported"),
        ("erlang: 26.1.2", "erlang: 27.0.1", "does not fit RabbitMQ 3.12.10"),
        ("erlang: 26.1.2", "erlang: 24.3.4", "which needs 25.0 to 26.2"),
        (
            "Asia/Tehran",
            "Tehran time",
            "timezone: Tehran time is not valid; allowed: time zone: Area",
        ),
        ("disk: 20GB", "disk: plenty", "plenty is not valid; allowed: size: 4GB, 512MB"),
        ("key_host: airflow", "key_host: nobody", "ssh.key_host: is not one of the hosts"),
        ("groups: {}", "groups: {web: [nobody]}", "nobody is not one of the hosts"),
        ("groups: {}", "groups: {worker: [card1]}", "is reserved"),
        ("  scheduler2:", "  airflow:", "hosts.airflow: is defined twice (first in line 17)"),
        ("  scheduler2:", "  Scheduler_2:", "is not a host name"),
        ("vm: 1,", "vm: one,", "hosts.airflow.vm: one is not valid; allowed: whole number"),
        ("vm: 1,", "", "hosts.airflow: `vm` is missing"),
        ("hosts:\n", "hosts: [\n", "not valid YAML"),
        ("groups: {}", "groups: {web: [{a: 1}]}", "is not one of the hosts"),
        (
            "cluster: airflow-ha",
            "cluster: \x01",
            "hosts.yaml:2: control characters are not allowed",
        ),
        (
            "port: 22",
            "port: 99999",
            "connection.port: 99999 is not valid; allowed: whole number, at ",
        ),
        (
            "parallel: 32",
            "parallel: 0",
            "connection.parallel: 0 is not valid; allowed: whole number, at ",
        ),
        (
            "timeout: 10",
            "timeout: -1",
            "connection.timeout: -1 is not valid; allowed: whole number, at ",
        ),
        ("user: rocky", "user: root", "root cannot be the administrator's account"),
        (
            "user: rocky",
            "user: rocky; reboot",
            "connection.user: rocky; reboot is not valid; allowed: ",
        ),
        ("user: rocky", "user: jo.doe", "connection.user: jo.doe is not valid; allowed: account"),
        ("[vim, curl", "[--nogpgcheck, curl", "--nogpgcheck is not valid; allowed: package"),
        (
            "ignored_units: []",
            "ignored_units: [kdump]",
            "base.ignored_units: kdump is not valid; allowed: unit",
        ),
        (
            "[vim, curl, wget, rsync, nfs-utils, firewalld, chrony]",
            "[]",
            "firewalld and chrony must be",
        ),
    ],
)
def test_a_wrong_inventory_names_the_place_and_the_way_out(hosts_yaml, old, new, sentence):
    with pytest.raises(InventoryError) as caught:
        CONTENTS.load(hosts_yaml(old, new))
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_complaints_come_at_once(hosts_yaml):
    file = hosts_yaml("192.168.83.154", "192.168.83.151")
    file.write_text(file.read_text().replace("erlang: 26.1.2", "erlang: 27.0.0"))
    with pytest.raises(InventoryError) as caught:
        CONTENTS.load(file)
    assert len(str(caught.value).splitlines()) == 2


def test_absent_inventory_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(InventoryError, match="does not exist"):
        CONTENTS.load(tmp_path / "hosts.yaml")


def test_even_quorum_is_a_warning(hosts_yaml):
    cluster = CONTENTS.load(
        hosts_yaml("disk: 20GB, roles: [postgres]}", "disk: 20GB, roles: [target]}")
    )
    assert "2 hosts have the role postgres" in cluster.warnings[0]


def test_a_second_worker_is_one_line(hosts_yaml):
    size = "ram: 2GB, cpu: 2, disk: 15GB"
    line = f"  worker2: {{vm: 15, address: 192.168.83.160, {size}, roles: [worker]}}\n"
    cluster = CONTENTS.load(hosts_yaml("  card1:", f"{line}  card1:"))
    assert [host.name for host in cluster.group("worker")] == ["worker1", "worker2"]


def test_a_wrong_override_is_named_itself(hosts_yaml, tmp_path):
    override = tmp_path / "override.yaml"
    override.write_text("connection: {port: no}\n")
    with pytest.raises(InventoryError, match=r"override\.yaml:1: connection\.port"):
        CONTENTS.load(hosts_yaml(), override)


def test_override_changes_just_what_it_names(hosts_yaml, tmp_path):
    override = tmp_path / "override.yaml"
    override.write_text("connection: {key: id_ed25519}\n")
    cluster = CONTENTS.load(hosts_yaml(), override, state=tmp_path / "state")
    assert cluster.connection.user == "rocky"
    assert cluster.path(cluster.connection.key) == tmp_path / "state" / "id_ed25519"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sql1,sql2,sql3", ["sql1", "sql2", "sql3"]),
        ("@postgres", ["sql1", "sql2", "sql3"]),
        ("sql2, sql1,sql2", ["sql1", "sql2"]),
        ("192.168.83.135,@nfs", ["ftp", "nfs2", "mq1"]),
    ],
)
def test_hosts_are_chosen_by_name_group_and_address(cluster, text, names):
    assert [host.name for host in cluster.select(text)] == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sqll1", "did you mean sql1?"),
        ("@postgress", "did you mean @postgres?"),
        (",", "names no host"),
    ],
)
def test_a_stranger_in_hosts_is_refused(cluster, text, sentence):
    with pytest.raises(UsageError) as caught:
        cluster.select(text)
    assert sentence in str(caught.value)


def test_hosts_apart_share_no_role(cluster):
    batches = cluster.apart(cluster.hosts.values())
    assert sorted(host.name for batch in batches for host in batch) == sorted(cluster.hosts)
    assert len(batches) == 3
    for batch in batches:
        roles = [role for host in batch for role in host.roles]
        assert len(roles) == len(set(roles))
