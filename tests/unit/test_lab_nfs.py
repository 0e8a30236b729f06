"""The lab's NFS: what exportfs says is what ganesha serves, what mount says is what is mounted."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from lab.packages import PACKAGES, TREES

TREE = TREES / "nfs-utils/usr"
COMMON = "sync,wdelay,hide,nocrossmnt,secure,root_squash,no_all_squash,no_subtree_check"


def load(path: str) -> ModuleType:
    """A program of the hosts' as a module; without bytecode beside it, which an RPM would pack."""
    file = TREE / path
    module = ModuleType(f"lab_nfs_{file.stem}")
    sys.modules[module.__name__] = module  # where dataclasses look
    exec(compile(file.read_text(), file, "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def ganesha() -> ModuleType:
    return load("libexec/nfs-utils/ganesha.py")


@pytest.fixture(scope="module")
def mount() -> ModuleType:
    return load("sbin/mount.nfs4")


def line(path: str, client: str, options: str) -> str:
    return f"{path}\t{client}({options})\n"


def test_an_export_is_served_under_its_fsid(ganesha):
    table = line("/srv/nfs", "10.0.0.0/24", f"rw,{COMMON},fsid=83,sec=sys,rw,root_squash")
    text = ganesha.configuration(ganesha.exports(table))
    assert text.startswith(ganesha.GENERAL)
    assert 'Path = "/srv/nfs"; Pseudo = "/srv/nfs";' in text
    assert "Export_Id = 83; Filesystem_Id = 83.83;" in text
    assert "Clients = 10.0.0.0/24; Access_Type = RW; Squash = root_squash;" in text
    assert "PrivilegedPort = true; Anonymous_Uid = 65534; Anonymous_Gid = 65534;" in text


def test_without_an_fsid_the_number_comes_from_the_path(ganesha):
    table = line("/a", "*", f"ro,{COMMON}") + line("/b", "*", f"ro,{COMMON}")
    first, second = ganesha.exports(table)
    assert first.number != second.number
    assert first.number == next(ganesha.exports(table)).number
    assert 0 < first.number < 0x10000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("ro,secure,root_squash,no_all_squash,ro", "Access_Type = RO; Squash = root_squash;"),
        ("ro,secure,root_squash,no_all_squash,rw", "Access_Type = RW;"),
        ("rw,secure,no_root_squash,no_all_squash", "Squash = no_root_squash;"),
        ("rw,insecure,root_squash,no_all_squash", "PrivilegedPort = false;"),
        (
            "rw,secure,root_squash,all_squash,anonuid=5,anongid=6",
            "Squash = all_squash; PrivilegedPort = true; Anonymous_Uid = 5; Anonymous_Gid = 6;",
        ),
    ],
)
def test_the_options_of_a_client(ganesha, options, words):
    (export,) = ganesha.exports(line("/a", "host", options))
    assert words in export.block("")


def test_who_is_named_comes_before_networks_and_networks_before_everybody(ganesha):
    table = "".join(
        line("/a", client, f"ro,{COMMON}") for client in ("*", "10.0.0.0/8", "*.example.com", "ftp")
    )
    (export,) = ganesha.exports(table)
    clients = re.findall(r"Clients = ([^;]+);", export.block(""))
    assert clients == ["ftp", "10.0.0.0/8", "*.example.com", "*"]


def test_paths_start_at_the_export_with_fsid_0(ganesha):
    table = "".join(
        line(path, "*", f"ro,{COMMON}{fsid}")
        for path, fsid in (("/srv", ",fsid=0"), ("/srv/dags", ",fsid=2"), ("/other", ",fsid=3"))
    )
    pseudo = re.findall(r'Pseudo = "([^"]+)"', ganesha.configuration(ganesha.exports(table)))
    assert pseudo == ["/", "/dags", "/other"]


def test_a_path_with_a_blank(ganesha):
    (export,) = ganesha.exports(line(r"/my\040files", "*", f"ro,{COMMON}"))
    assert export.path == "/my files"


@pytest.mark.parametrize(
    ("source", "options", "complaint"),
    [
        ("ftp:/srv", "rw,_netdev,hard,proto=tcp,timeo=50,retrans=2,noatime,vers=4.2", ""),
        ("ftp:/srv", "x-systemd.automount,nofail,soft,actimeo=3,v4.1", ""),
        ("ftp:/srv", "hrad", "an incorrect mount option was specified"),
        ("ftp:/srv", "timeo", "an incorrect mount option was specified"),
        ("ftp:/srv", "vers=3", "requested NFS version or transport protocol is not supported"),
        ("ftp/srv", "", "remote share not in 'host:dir' format: ftp/srv"),
    ],
)
def test_what_mount_refuses(mount, source, options, complaint):
    assert mount.judge(source, [word for word in options.split(",") if word]) == complaint


def test_the_stand_ins_are_in_the_place_of_the_kernels_tools():
    package = PACKAGES["nfs-utils"]
    assert "/usr/sbin/mount.nfs*" in package.remove
    assert package.links["/usr/sbin/mount.nfs"] == "mount.nfs4"
    # The real one checks and lists; the one in its place tells ganesha, too.
    assert package.move["/usr/sbin/exportfs"] == "/usr/libexec/nfs-utils/exportfs"
    assert "/usr/libexec/nfs-utils/exportfs" in (TREE / "sbin/exportfs").read_text()
    unit = (TREE / "lib/systemd/system/nfs-server.service").read_text()
    assert "ExecStartPre=-/usr/sbin/exportfs -r\n" in unit
    assert "/usr/lib/systemd" in PACKAGES["nfs-ganesha"].remove
