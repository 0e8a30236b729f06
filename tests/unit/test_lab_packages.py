from __future__ import annotations

import os
import re
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from lab.apt import apt_sources, deb822_sources, of_source_code
from lab.errors import LabError
from lab.image import ROCKY as IMAGE
from lab.packages import NOT_SHIPPED, PACKAGES, TOPICS, TREES
from lab.packages.model import (
    EPEL,
    PGDG15,
    PGDG_COMMON,
    PGDG_EXTRAS,
    RABBITMQ_ERLANG,
    RABBITMQ_SERVER,
    REPOSITORIES,
    ROCKY,
    Directory,
    Module,
    Package,
    User,
)
from lab.rpm.debs import Deb, rpm_version
from lab.rpm.modules import module_metadata
from lab.rpm.plan import plan_rpms
from lab.rpm.spec import scriptlets
from lab.rpm.tree import to_rhel_layout
from lab.rpm.wheels import unpack

BASE = {
    line for line in (IMAGE / "base.packages").read_text().split("\n") if line and line[0] != "#"
}
INSTALLED = [
    line.split()
    for line in (IMAGE / "installed.rpms").read_text().splitlines()
    if line and line[0] != "#"
]


def deb(name: str, depends: str = "", provides: str = "") -> Deb:
    control = f"Package: {name}\nVersion: 1:2.3-4\nDepends: {depends}\nProvides: {provides}\n"
    return Deb.parse(Path(f"/{name}.deb"), control + f"Description: the {name}\n long text\n")


def every_top_deb() -> list[Deb]:
    return [deb(name) for package in PACKAGES.values() for name in package.debs]


def test_each_debian_package_is_claimed_once_and_not_in_the_base():
    claimed = [name for package in PACKAGES.values() for name in package.debs]
    assert len(claimed) == len(set(claimed))
    assert not BASE.intersection(claimed)
    assert not NOT_SHIPPED.intersection(claimed)


def test_each_entry_is_in_one_topic():
    assert sum(len(topic) for topic in TOPICS) == len(PACKAGES)


def test_a_package_without_debian_packages_has_a_version():
    for name, package in PACKAGES.items():
        assert package.debs or package.version or package.wheel or package.part, name


def test_each_folder_of_files_belongs_to_an_entry():
    assert {folder.name for folder in TREES.iterdir()} <= set(PACKAGES)


def test_what_an_entry_requires_is_offered_or_there():
    offered = {package.name or key for key, package in PACKAGES.items()}
    there = {name for name, *_ in INSTALLED} | {"dnf-plugins-core"}
    for key, package in PACKAGES.items():
        assert {name.split()[0] for name in package.requires} <= offered | there, key


def test_no_package_pretends_to_be_installed_but_the_one_to_update():
    installed = {name for name, *_ in INSTALLED}
    assert installed.intersection(PACKAGES) == {"basesystem"}
    for name in ("vim", "wget", "rsync", "nfs-utils"):
        assert name not in installed


@pytest.mark.parametrize(
    ("repository", "names"),
    [
        (PGDG15, {"postgresql15", "postgresql15-libs", "postgresql15-server"}),
        (PGDG_COMMON, {"patroni", "patroni-etcd", "pgbackrest"}),
        (PGDG_EXTRAS, {"etcd", "haproxy"}),
        (RABBITMQ_ERLANG, {"erlang"}),
        (RABBITMQ_SERVER, {"rabbitmq-server"}),
        (EPEL, {"lsyncd", "golang-github-prometheus", "golang-github-prometheus-node-exporter"}),
        (ROCKY, {"haproxy", "keepalived", "socat"}),
    ],
)
def test_vendors_packages_are_in_their_repositories(repository, names):
    offered = {
        package.name or key for key, package in PACKAGES.items() if package.repository == repository
    }
    assert names <= offered
    assert repository in REPOSITORIES


def test_postgres_is_the_same_user_in_all_packages():
    users = {user for package in PACKAGES.values() for user in package.users}
    assert [user for user in users if user.name == "postgres"] == [
        User("postgres", 26, home="/var/lib/pgsql", shell="/bin/bash")
    ]


def test_data_belongs_to_its_service_alone():
    for key, path, owner in (
        ("postgresql15-server", "/var/lib/pgsql/15/data", "postgres"),
        ("etcd", "/var/lib/etcd", "etcd"),
        ("pgbackrest", "/var/lib/pgbackrest", "postgres"),
    ):
        assert PACKAGES[key].directories[path] == Directory("700", owner, owner)


def test_patronis_unit_has_the_mistakes_of_pgdgs():
    lines = (TREES / "patroni/usr/lib/systemd/system/patroni.service").read_text().splitlines()
    assert not [line for line in lines if line.startswith("After=")]
    assert [line for line in lines if line.startswith("Restart=")][-1] == "Restart=no"


@pytest.mark.parametrize("name", ["erlang", "rabbitmq-server"])
def test_who_does_not_pin_rabbitmq_gets_a_version_without_files(name):
    entries = {key: package for key, package in PACKAGES.items() if (package.name or key) == name}
    assert entries.pop(name).debs
    assert entries
    for decoy in entries.values():
        assert not decoy.debs
        assert decoy.repository == PACKAGES[name].repository


def test_rabbitmqs_unit_and_folders_are_the_vendors():
    unit = (TREES / "rabbitmq-server/usr/lib/systemd/system/rabbitmq-server.service").read_text()
    for line in ("Type=notify", "UMask=0027", "LimitNOFILE=32768", "TimeoutStartSec=600"):
        assert f"\n{line}\n" in unit
    folders = PACKAGES["rabbitmq-server"].directories
    assert folders["/etc/rabbitmq"] == Directory("2755", "root", "rabbitmq")
    assert folders["/var/lib/rabbitmq/mnesia"] == Directory("750", "rabbitmq", "rabbitmq")
    assert "/usr/lib/systemd" in PACKAGES["erlang"].remove  # epmd belongs to the node


def test_haproxys_and_keepaliveds_units_are_rhels():
    for name, lines in {
        "haproxy": ("Type=notify", "KillMode=mixed", "EnvironmentFile=-/etc/sysconfig/haproxy"),
        "keepalived": ("Type=forking", "EnvironmentFile=-/etc/sysconfig/keepalived"),
        "lsyncd": ("EnvironmentFile=-/etc/sysconfig/lsyncd",),
    }.items():
        unit = (TREES / name / f"usr/lib/systemd/system/{name}.service").read_text()
        for line in lines:
            assert f"\n{line}\n" in unit
        assert f"/etc/sysconfig/{name}" in PACKAGES[name].files
    assert PACKAGES["haproxy"].users == (User("haproxy", 188, home="/var/lib/haproxy"),)


def test_keepaliveds_example_would_run():
    example = (TREES / "keepalived/etc/keepalived/keepalived.conf").read_text()
    assert "state MASTER" in example
    assert "virtual_server" not in example  # the kernel has no IPVS, keepalived would end


def test_what_a_package_takes_from_the_base_is_not_on_a_fresh_host():
    script = (IMAGE / "build-image.sh").read_text()
    for package in PACKAGES.values():
        for name in package.from_base:
            assert re.search(rf"\b{Path(name).stem}\b", script), name


def test_installed_rpms_names_each_once():
    names = [name for name, *_ in INSTALLED]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("debian", "rpm"),
    [
        ("2:9.0.1378-2+deb12u2", "9.0.1378"),
        ("3.2.7-1", "3.2.7"),
        ("1.21.3-1+b1", "1.21.3"),
        ("2.1.12-stable-8", "2.1.12_stable"),
        ("3.0.2+dfsg1-1", "3.0.2"),
        ("10", "10"),
    ],
)
def test_versions_in_rpms_characters(debian, rpm):
    assert rpm_version(debian) == rpm


def test_dependencies_follow_the_new_names():
    debs = [
        *(top for top in every_top_deb() if top.name not in {"nfs-common", "nfs-kernel-server"}),
        deb("nfs-common", depends="rpcbind, libevent (>= 2) | other, libc6, ucf, virtual-thing"),
        deb("nfs-kernel-server", depends="nfs-common (= 1:2.3-4)"),
        deb("libevent"),
        deb("thing", provides="virtual-thing (= 3)"),
        deb("ucf"),
    ]
    rpms = {rpm.name: rpm for rpm in plan_rpms(debs)}
    own = set(PACKAGES["nfs-utils"].requires)
    assert rpms["nfs-utils"].requires - own == {"rpcbind", "libevent", "thing"}
    assert [member.name for member in rpms["nfs-utils"].debs] == ["nfs-common", "nfs-kernel-server"]
    assert "ucf" not in rpms
    assert rpms["yum-utils"].debs == ()
    assert rpms["libevent"].version == "2.3"


def test_a_dependency_that_the_base_has_is_not_required():
    rpms = {rpm.name: rpm for rpm in plan_rpms([*every_top_deb(), deb("python3-click")])}
    assert "python3-dateutil" in PACKAGES["patroni"].depends
    assert rpms["patroni"].requires == {"python3-click", "python3-psycopg2"}


def test_what_only_debians_plumbing_wanted_is_not_offered():
    debs = [
        *(top for top in every_top_deb() if top.name != "wget"),
        deb("wget", depends="ucf, libidn (>= 1)"),
        deb("ucf", depends="plumbing"),
        deb("plumbing"),
        deb("libidn", depends="libunistring"),
        deb("libunistring"),
    ]
    names = {rpm.name for rpm in plan_rpms(debs)}
    assert {"libidn", "libunistring"} <= names
    assert not {"ucf", "plumbing"} & names


def test_two_packages_of_one_name_are_made_for_two_repositories():
    rpms = plan_rpms(every_top_deb())
    assert {rpm.package.repository for rpm in rpms if rpm.name == "haproxy"} >= {PGDG_EXTRAS}
    assert len({rpm.key for rpm in rpms}) == len(rpms)


def test_the_default_stream_of_a_module_names_its_packages():
    module = Module("db", "10", 8, "abc")
    rpms = ["db-0:10.1-1.x86_64", "db-server-0:10.1-1.x86_64"]
    stream, default = yaml.safe_load_all(module_metadata({module: rpms}))
    assert stream["data"]["artifacts"]["rpms"] == rpms
    assert stream["data"]["stream"] == "10"
    assert stream["data"]["dependencies"] == [{"requires": {"platform": ["el8"]}}]
    assert default["document"] == "modulemd-defaults"
    assert default["data"]["stream"] == "10"


def touch(tree: Path, *names: str) -> None:
    for name in names:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()}


def test_server_and_contrib_share_out_the_same_debian_package(tmp_path):
    made = {}
    sample = "usr/share/postgresql/15/postgresql.conf.sample"
    for key in ("postgresql15-server", "postgresql15-contrib"):
        tree = tmp_path / key
        touch(tree, sample, "usr/share/doc/copyright", "usr/lib/postgresql/15/lib/llvmjit.so")
        touch(tree, *(f"usr/lib/postgresql/15/lib/{name}.so" for name in ("plpgsql", "hstore")))
        touch(tree, *(f"usr/lib/postgresql/15/bin/{name}" for name in ("initdb", "vacuumlo")))
        to_rhel_layout(tree, key, PACKAGES[key])
        assert not (tree / "usr/lib/postgresql").exists()
        made[key] = listed(tree)
    assert made["postgresql15-contrib"] == {
        "usr/pgsql-15/lib/hstore.so",
        "usr/pgsql-15/bin/vacuumlo",
    }
    server = made["postgresql15-server"]
    assert {"usr/pgsql-15/lib/plpgsql.so", "usr/pgsql-15/bin/initdb", sample} <= server
    assert not server & made["postgresql15-contrib"]
    assert "logging_collector = on" in (tmp_path / "postgresql15-server" / sample).read_text()
    setup = tmp_path / "postgresql15-server/usr/pgsql-15/bin/postgresql-15-setup"
    assert os.access(setup, os.X_OK)


def test_a_wheels_command_can_be_imported_without_running(tmp_path):
    file = tmp_path / "tool-1-py3-none-any.whl"
    with ZipFile(file, "w") as archive:
        archive.writestr("tool.py", "def main():\n    raise SystemExit(7)\n")
        archive.writestr("tool-1.dist-info/entry_points.txt", "[console_scripts]\ntool=tool:main")
    unpack(file, ("tool",), tmp_path / "tree")
    command = tmp_path / "tree/usr/bin/tool"
    assert command.read_text().startswith("#!/usr/bin/python3\n")
    assert os.access(command, os.X_OK)
    assert 'if __name__ == "__main__":' in command.read_text()
    with pytest.raises(LabError, match="no command other; it has tool"):
        unpack(file, ("other",), tmp_path / "again")


def test_scriptlets_make_users_and_follow_presets():
    package = Package(users=(User("rpcuser", 29, home="/var/lib/nfs"),), groups={"extra": 0})
    made = scriptlets(package, ["a.service", "b@.service"], has_library=True)
    assert "groupadd -r -g 29 rpcuser" in made["pre"]
    assert "groupadd -r extra" in made["pre"]
    assert "useradd -r -M -g rpcuser -u 29 -d /var/lib/nfs" in made["pre"]
    assert "preset a.service " in made["post"]
    assert "b@" not in made["post"]
    assert made["postun"].startswith("/usr/sbin/ldconfig\n")
    assert scriptlets(Package(), [], has_library=False) == {}


def test_only_debians_own_sources_are_used():
    lines = """
    # deb http://mirror/debian bookworm main
    deb [signed-by=/k.gpg] http://mirror/debian bookworm main contrib
    deb-src http://mirror/debian bookworm main
    deb http://other/apt cloud-sdk-bookworm main
    deb http://other/docker bookworm stable
    """
    assert list(apt_sources(lines)) == [
        "deb [signed-by=/k.gpg] http://mirror/debian bookworm main contrib"
    ]
    wanted = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n"
    wanted += "Components: main\nSigned-By:\n -----BEGIN\n ."
    other = "Types: deb\nURIs: http://other\nSuites: nodistro\nComponents: main"
    off = "Enabled: no\n" + wanted
    assert list(deb822_sources(f"{wanted}\n\n{other}\n\n{off}\n")) == [wanted]


def test_the_same_sources_have_source_code():
    line = "deb [signed-by=/deb.gpg] http://mirror/debian bookworm main"
    assert of_source_code(line) == line.replace("deb ", "deb-src ", 1)
    stanza = "Types: deb deb-src\nURIs: http://mirror/debian\nSuites: bookworm\n"
    assert of_source_code(stanza) == stanza.replace("deb deb-src", "deb-src")
