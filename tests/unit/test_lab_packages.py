from __future__ import annotations

from pathlib import Path

import pytest

from lab.image import ROCKY, apt_sources, deb822_sources
from lab.packages import NOT_SHIPPED, PACKAGES, Package, User
from lab.rpm_repository import Deb, plan_rpms, rpm_version, scriptlets

BASE = {
    line for line in (ROCKY / "base.packages").read_text().split("\n") if line and line[0] != "#"
}
INSTALLED = [
    line.split()
    for line in (ROCKY / "installed.rpms").read_text().splitlines()
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


def test_a_package_without_debian_packages_has_a_version():
    for name, package in PACKAGES.items():
        assert package.debs or package.version, name


def test_no_package_pretends_to_be_installed_but_the_one_to_update():
    installed = {name for name, *_ in INSTALLED}
    assert installed.intersection(PACKAGES) == {"basesystem"}
    for name in ("vim", "wget", "rsync", "nfs-utils"):
        assert name not in installed


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
    assert rpms["nfs-utils"].requires == {"rpcbind", "libevent", "thing"}
    assert [member.name for member in rpms["nfs-utils"].debs] == ["nfs-common", "nfs-kernel-server"]
    assert "ucf" not in rpms
    assert rpms["yum-utils"].debs == ()
    assert rpms["libevent"].version == "2.3"


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
