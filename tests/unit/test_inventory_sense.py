"""What is well written in hosts.yaml and cannot work is refused: line, key, what is allowed."""

from __future__ import annotations

import zoneinfo

import pytest
import yaml
from conftest import PROJECT
from msgspec import inspect as kinds

from fabfile import CONTENTS
from runbook.errors import InventoryError
from runbook.inventory import whole
from runbook.inventory.cluster import Connection, Host, Vip
from runbook.inventory.document import Document

VIP = "vips.airflow-vip.address"


def refusal(file) -> list[str]:
    """The complaints."""
    with pytest.raises(InventoryError) as caught:
        CONTENTS.load(file)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        # Names
        ("cluster: airflow-ha", 'cluster: ""', "cluster: empty text is not valid; allowed: name ("),
        ("cluster: airflow-ha", "cluster: it's a/b c", "cluster: it's a/b c is not valid; allowed"),
        (
            "cluster: airflow-ha",
            "cluster: a]b",
            "cluster: a]b is not valid; allowed: name (letters",
        ),
        ("  card1:", "  localhost:", "hosts.localhost: is reserved for the server itself"),
        ("  card1:", "  '12':", "hosts.12: is not a host name; use a-z, 0-9 and -, at most 63"),
        ("  card1:", "  card1-:", "hosts.card1-: is not a host name"),
        ("groups: {}", "groups: {'a b': [sql1]}", "groups.a b: a b is not valid; allowed: name"),
        ("user: rocky", "user: airflow", "connection.user: airflow is an account of a service"),
        ("user: rocky", "user: postgres", "connection.user: postgres is an account of a service"),
        ("user: rocky", "user: etcd", "connection.user: etcd is an account of a service"),
        ("user: rocky", "user: nobody", "connection.user: nobody is an account of a service"),
        ("user: rocky", 'user: "rocky\\n"', 'connection.user: "rocky\\n" is not valid; allowed'),
        ("roles: [worker]}", "roles: [worker], user: root}", "hosts.worker1.user: root cannot be"),
        ("[worker]", "[worker, worker]", "hosts.worker1.roles: worker is named twice; keep one."),
        ("roles: [worker]", "roles: null", "hosts.worker1.roles: is empty; allowed: list of text."),
        ("port: 22", "port: 8008", "connection.port: 8008 is a port of the role postgres on sql1"),
        (
            "roles: [rabbitmq]",
            "port: 35680, roles: [rabbitmq]",
            "hosts.mq1.port: 35680 is a port of",
        ),
        # Addresses
        ("192.168.83.131", "127.0.0.1", "hosts.worker1.address: 127.0.0.1 is a loopback address"),
        (
            "192.168.83.131",
            "0.0.0.0",
            "hosts.worker1.address: 0.0.0.0 is not the address of a host",
        ),
        (
            "192.168.83.131",
            "224.0.0.18",
            "hosts.worker1.address: 224.0.0.18 is a multicast address",
        ),
        ("192.168.83.131", "169.254.0.9", "hosts.worker1.address: 169.254.0.9 is a link-local"),
        ("192.168.83.131", "255.255.255.255", "255.255.255.255 is a reserved address; choose"),
        (
            "192.168.83.131",
            "192.168.083.131",
            "192.168.083.131 is not valid; allowed: IPv4 address.",
        ),
        ("192.168.83.210", "127.0.0.9", f"{VIP}: 127.0.0.9 is a loopback address; choose an"),
        ("192.168.83.210", "10.0.0.²", f"{VIP}: 10.0.0.² is not valid; allowed: IPv4 address."),
        ("clients: []", "clients: [999.1.1.1/8]", "postgres.clients: 999.1.1.1/8 is not valid"),
        ("clients: []", "clients: [10.0.0.0/33]", "postgres.clients: 10.0.0.0/33 is not valid"),
        ("clients: []", "clients: [10.2.3.4/8]", "10.2.3.4/8 is not a network; write 10.0.0.0/8."),
        # VIPs
        (
            "192.168.83.210",
            "192.168.84.210",
            f"{VIP}: 192.168.84.210 is not in 192.168.83.0/24, where its members are; if their "
            "network is larger, name it in `network`.",
        ),
        (
            "address: 192.168.83.210",
            "address: 192.168.83.210, network: 192.168.80.0/24",
            "vips.airflow-vip.network: 192.168.83.210 is not in 192.168.80.0/24",
        ),
        (
            "address: 192.168.83.210",
            "address: 192.168.83.210, network: 192.168.83.0/16",
            "vips.airflow-vip.network: 192.168.83.0/16 is not a network; write 192.168.0.0/16.",
        ),
        (
            "members: {airflow: 110, haproxy2: 100}",
            "members: {}",
            "vips.airflow-vip.members: this mapping is empty; allowed: mapping, at least one: ",
        ),
        ("nfs2: 100", "nfs2: 1000", "vips.nfs-vip.members.nfs2: 1000 is not valid; allowed: whole"),
        ("ftp: 110, nfs2: 100", "ftp: 110", "vips.nfs-vip.members: nfs2 has the role nfs, and is"),
        (
            "  nfs-vip:",
            "  b: {address: 192.168.83.9, role: nfs, members: {ftp: 9, nfs2: 8}}\n  nfs-vip:",
            "vips.nfs-vip: is one too many: b is the address of the share.",
        ),
        # Sizes, times, numbers
        ("ram: 4GB", "ram: 1MB", "hosts.airflow.ram: 1MB is not valid; allowed: 512MB to 64TB."),
        ("disk: 20GB", "disk: 99999TB", "99999TB is not valid; allowed: 5GB to 9999TB."),
        ("ram: 4GB", "ram: '4GB\n'", "hosts.airflow.ram: "),
        (
            "cpu: 2",
            "cpu: 0",
            "hosts.airflow.cpu: 0 is not valid; allowed: whole number, at least 1",
        ),
        ("idle: 24h", "idle: 30d", "haproxy.idle: 30d is not valid; allowed: 30s to 24d."),
        ("idle: 24h", "idle: 5s", "haproxy.idle: 5s is not valid; allowed: 30s to 24d."),
        ("idle: 24h", f"idle: {'9' * 30}d", "is not valid; allowed: duration: 90s, 30m, 24h, 2d."),
        ("max_connections: 4000", "max_connections: 2", "whole number, at least 300, at most"),
        ("ttl: 20", f"ttl: 1{'0' * 29}", "whole number, at least 20, at most 3600."),
        (
            "memory_share: 0.4",
            "memory_share: .nan",
            "nan is not valid; allowed: number, at least 0.1",
        ),
        (
            "memory_share: 0.4",
            "memory_share: .inf",
            "inf is not valid; allowed: number, at least 0.1",
        ),
        (
            "longest_task: 86400",
            "longest_task: 1",
            "rabbitmq.longest_task: 1 is not valid; allowed",
        ),
        ("keep_full: 2", "keep_full: 0", "postgres.backup.keep_full: 0 is not valid; allowed"),
        (
            "Asia/Tehran",
            "Asia/Teheran",
            "Asia/Teheran is not a time zone (did you mean Asia/Tehran?)",
        ),
        ("Asia/Tehran", "2024-02-30", "timezone: 2024-02-30 is not valid; allowed: time zone: "),
        ("Asia/Tehran", "--help", "timezone: --help is not valid; allowed: time zone: Area/City"),
        # Versions
        (
            "erlang: 26.1.2",
            f"erlang: '{'9' * 5000}'",
            "99… is not valid; allowed: version: 3.12.10.",
        ),
        ("airflow: 2.9.0", "airflow: 2.9", "versions.airflow: 2.9 is not valid; allowed: version"),
        (
            'postgresql: "15"',
            "postgresql: 15",
            'versions.postgresql: 15 is not text; write "15", in quotes.',
        ),
        ("rabbitmq: 3.12.10", "rabbitmq: 3.12.10; x", "3.12.10; x is not valid; allowed: version"),
        # Paths, URLs, expressions
        (
            "key: ~/.ssh/id_ed25519",
            "key: /",
            "connection.key: / is not valid; allowed: path on this",
        ),
        ("key: ~/.ssh/id_ed25519", 'key: "a\\0b"', "connection.key: a\\x00b is not valid; allowed"),
        (
            "key: ~/.ssh/id_ed25519",
            "key: ~nobody/k",
            "~nobody/k is not valid; allowed: path on this",
        ),
        ("prefix: /opt/airflow", "prefix: /usr/../etc", "python.prefix: /usr/../etc is not valid"),
        ("full: Sun 01:30", 'full: "Sun\\nX=1"', "postgres.backup.full: Sun\\nX=1 is not valid"),
        (
            "sources: {}",
            "sources: {pypi: {index: 'http://x; y'}}",
            "sources.pypi.index: http://x; y",
        ),
        (
            "sources: {}",
            "sources: {epel: {packages: 'nowhere'}}",
            "sources.epel.packages: nowhere is",
        ),
        (
            "sources: {}",
            "sources: {epel: {packages: [a b]}}",
            "sources.epel.packages: a b is not val",
        ),
        ("sources: {}", "sources: {pgdg: {common: []}}", "sources.pgdg.common: this list is empty"),
        # Keys
        ("database: vip", "database: hots", "database: hots is not valid; allowed: hosts, vip."),
        (
            "parameters: {} ",
            "parameters: {TimeZone: UTC} ",
            "postgres.parameters.TimeZone: TimeZone is not valid; allowed: name (a-z",
        ),
        ("parameters: {} ", "parameters: {a: [1]} ", "postgres.parameters.a: a list is not valid"),
        (
            "settings: {}  ",
            "settings: {core: {a: null}}  ",
            "airflow.settings.core.a: is empty; allow",
        ),
        ("groups: {}", "groups:", "groups: is empty; allowed: mapping"),
        ("firewalld, chrony]", "chrony]", "base.packages: firewalld must be among them; Section 1"),
        ("firewalld, chrony]", "firewalld]", "base.packages: chrony must be among them; Section 1"),
    ],
)
def test_what_cannot_work_names_line_key_and_what_is_allowed(hosts_yaml, old, new, sentence):
    text = hosts_yaml().read_text()
    first = text[: text.index(old)].count("\n") + 1
    complaints = refusal(hosts_yaml(old, new))
    assert any(sentence in one for one in complaints), complaints
    for number, complaint in (one.split(":", 2)[1:] for one in complaints):
        assert first <= int(number) <= first + 1
        assert complaint.endswith(".")


# What a whole cluster needs


@pytest.mark.parametrize(
    ("role", "loss"),
    [
        ("scheduler", "no DAG run starts"),
        ("worker", "no task runs"),
        ("dag-processor", "changed DAGs are not picked up"),
        ("postgres", "nothing can be written"),
        ("rabbitmq", "no task is handed out"),
        ("nfs", "DAGs cannot be read"),
        ("haproxy", "database and web UI cannot be reached"),
    ],
)
def test_a_cluster_that_runs_airflow_has_every_role_that_it_needs(tmp_path, role, loss):
    data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
    for host in data["hosts"].values():
        host["roles"] = [one for one in host["roles"] if one != role]
    data["vips"] = {name: vip for name, vip in data["vips"].items() if vip["role"] != role}
    (tmp_path / "hosts.yaml").write_text(yaml.safe_dump(data))
    [complaint] = refusal(tmp_path / "hosts.yaml")
    assert complaint.endswith(
        f": hosts: no host has the role {role}, so {loss}; give it to a host."
    )


@pytest.mark.parametrize("role", ["haproxy", "nfs"])
def test_it_has_an_address_for_each_that_is_reached_by_one(hosts_yaml, role):
    file = hosts_yaml()
    lines = [line for line in file.read_text().splitlines() if f"role: {role}," not in line]
    file.write_text("\n".join(lines))
    [complaint] = refusal(file)
    assert complaint.startswith(f"hosts.yaml:31: vips: no VIP has the role {role}, by which ")


def test_it_has_two_servers_for_the_share_at_most(hosts_yaml):
    file = hosts_yaml("roles: [target]", "roles: [target, nfs]")
    assert refusal(file) == [
        "hosts.yaml:23: hosts.card1.roles: card1 is one too many for the role nfs: "
        "ftp and nfs2 have it."
    ]


def test_databases_or_queues_alone_are_a_cluster_too(tmp_path):
    file = tmp_path / "hosts.yaml"
    host = "{vm: 8, address: 10.0.0.8, ram: 1GB, cpu: 1, disk: 10GB, roles: [postgres]}"
    file.write_text(f"cluster: alone\nhosts:\n  sql1: {host}\n")
    assert list(CONTENTS.load(file).hosts) == ["sql1"]


def test_nothing_is_missing_as_long_as_an_entry_is_wrong(hosts_yaml):
    """The typo is the reason, and the only complaint."""
    [complaint] = refusal(hosts_yaml("roles: [worker]", "roles: [wroker]"))
    assert "wroker is not known (did you mean worker?)" in complaint


# Networks


@pytest.mark.parametrize(
    ("second", "vip", "network"),
    [
        ("192.168.82.154", "192.168.82.210", ""),
        ("192.168.83.154", "192.168.200.210", "192.168.0.0/16"),
        ("192.10.83.154", "192.200.9.9", "192.0.0.0/8"),
    ],
)
def test_a_larger_network_is_taken_from_the_members_or_named(hosts_yaml, second, vip, network):
    named = f", network: {network}" if network else ""
    file = hosts_yaml("192.168.83.154", second)
    file.write_text(file.read_text().replace("address: 192.168.83.210", f"address: {vip}{named}"))
    assert CONTENTS.load(file).vips["airflow-vip"].address == vip


def test_members_in_different_networks_cannot_share_an_address(hosts_yaml):
    assert refusal(hosts_yaml("192.168.83.154", "10.168.83.154")) == [
        "hosts.yaml:32: vips.airflow-vip.address: its members 192.168.83.129, 10.168.83.154 are in "
        "different networks; if their network is larger, name it in `network`."
    ]


# Time zones


def test_without_a_database_of_time_zones_the_servers_judge(hosts_yaml, monkeypatch):
    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    monkeypatch.setattr(whole, "_zones", frozenset)
    assert CONTENTS.load(hosts_yaml("Asia/Tehran", "Mars/Olympus")).timezone == "Mars/Olympus"


def test_without_the_old_names_an_unknown_one_is_a_warning(hosts_yaml, monkeypatch):
    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    monkeypatch.setattr(whole, "_zones", lambda: frozenset({"Asia/Tehran", "Asia/Tokyo"}))
    assert CONTENTS.load(hosts_yaml("Asia/Tehran", "US/Pacific")).warnings == [
        "The time zone US/Pacific is not known on this machine."
    ]


# Merge keys


def test_settings_may_be_shared_with_merge_keys(hosts_yaml):
    file = hosts_yaml("sql1:       {", "sql1: &db   {")
    text = file.read_text()
    line = next(line for line in text.splitlines() if line.startswith("  sql2:"))
    file.write_text(text.replace(line, "  sql2: {<<: *db, vm: 9, address: 192.168.83.147}"))
    cluster = CONTENTS.load(file)
    assert cluster.hosts["sql2"].ram == cluster.hosts["sql1"].ram
    assert cluster.hosts["sql2"].vm == 9


def test_a_complaint_about_what_is_merged_has_the_line_where_it_is_written(hosts_yaml):
    file = hosts_yaml("sql1:       {vm: 8,", "sql1: &db   {cpus: 1, vm: 8,")
    text = file.read_text()
    line = next(line for line in text.splitlines() if line.startswith("  sql2:"))
    file.write_text(text.replace(line, "  sql2: {<<: *db, vm: 9, address: 192.168.83.147}"))
    assert [one.partition(": unknown")[0] for one in refusal(file)] == [
        "hosts.yaml:27: hosts.sql1.cpus",
        "hosts.yaml:27: hosts.sql2.cpus",
    ]


# Overrides


def test_a_complaint_names_the_file_that_says_most_of_it(hosts_yaml, tmp_path):
    override = tmp_path / "override.yaml"
    override.write_text("sources:\n  python:\n    url: http://x/Python-3.9.17.tgz\n")
    text = hosts_yaml("python: 3.9.16", "python: 3.9.17")
    with pytest.raises(InventoryError) as caught:
        CONTENTS.load(text, override)
    assert str(caught.value).startswith("override.yaml:2: sources.python.sha256: is missing")


# The kinds of values themselves

ENTRIES = [Document, Connection, Host, Vip, *CONTENTS.schema.settings.values()]
UNBOUND = {"name", "roles", "role", "writers", "host", "key_host"}
"""Text that has to be a name that is defined elsewhere in the file."""


def leaves(kind, name):
    """(name, kind, bounds) of everything that a key may hold, within lists and mappings, too."""
    if isinstance(kind, kinds.StructType):
        for field in kind.fields:
            yield from leaves(field.type, field.name)
    elif isinstance(kind, kinds.Metadata):
        yield from leaves(kind.type, name)
    elif isinstance(kind, kinds.UnionType):
        for one in kind.types:
            yield from leaves(one, name)
    elif isinstance(kind, kinds.ListType):
        yield from leaves(kind.item_type, name)
    elif isinstance(kind, kinds.DictType):
        yield from leaves(kind.value_type, name)
    else:
        yield name, kind


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_every_text_has_a_pattern_and_every_number_a_range(entry):
    for name, kind in leaves(kinds.type_info(entry), ""):
        if isinstance(kind, kinds.StrType) and name not in UNBOUND:
            assert kind.pattern or kind.max_length, name
        if isinstance(kind, (kinds.IntType, kinds.FloatType)):
            assert None not in (kind.ge, kind.le), name


def test_no_pattern_ends_before_a_newline():
    """`$` would."""
    for entry in ENTRIES:
        for name, kind in leaves(kinds.type_info(entry), ""):
            if isinstance(kind, kinds.StrType) and kind.pattern:
                assert kind.pattern.endswith(r"\Z"), name


def unions(kind):
    """All unions within a kind."""
    if isinstance(kind, kinds.UnionType):
        yield kind
    parts = getattr(kind, "types", ())
    inner = [getattr(kind, key, None) for key in ("type", "item_type", "key_type", "value_type")]
    for one in (*parts, *(part for part in inner if isinstance(part, kinds.Type))):
        yield from unions(one)
    for field in getattr(kind, "fields", ()):
        yield from unions(field.type)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_no_text_with_a_pattern_may_be_a_list_instead(entry):
    """msgspec 0.22 would crash as it collects garbage (its issue 717)."""
    for union in unions(kinds.type_info(entry)):
        plain = [one.type if isinstance(one, kinds.Metadata) else one for one in union.types]
        patterns = any(getattr(one, "pattern", None) for one in plain)
        assert not (
            patterns and any(isinstance(one, (kinds.ListType, kinds.DictType)) for one in plain)
        )


@pytest.mark.parametrize("name", ["hosts.yaml", "examples/small.yaml", "examples/large.yaml"])
def test_a_shipped_inventory_is_valid_in_a_lab_too(name):
    rehearsed = CONTENTS.load(PROJECT / name, PROJECT / "lab/override.yaml")
    assert rehearsed.hosts == CONTENTS.load(PROJECT / name).hosts


@pytest.mark.parametrize(
    ("roles", "refused"),
    [
        ({"worker1": True}, ["worker1"]),
        ({"worker1": True, "ftp": False, "nfs2": False}, []),
        ({"worker1": True, "scheduler2": True, "ftp": False, "nfs2": False}, ["worker1"]),
    ],
)
def test_a_second_dag_processor_is_refused(tmp_path, roles, refused):
    """Two that run at the same time would add and remove DAGs in turn."""
    data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
    for host, has_it in roles.items():
        own = data["hosts"][host]["roles"]
        data["hosts"][host]["roles"] = [one for one in own if one != "dag-processor"]
        data["hosts"][host]["roles"] += ["dag-processor"] * has_it
    file = tmp_path / "hosts.yaml"
    file.write_text(yaml.safe_dump(data))
    if not refused:
        CONTENTS.load(file)
        return
    told = refusal(file)
    assert [line.partition(" would be a second")[0].split()[-1] for line in told] == refused
