"""What the lab's repositories offer: installed on fresh hosts, and run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from support.one_host import output
from support.states import lab_name

from lab import CHECKOUT
from lab.machine import Lab

pytestmark = pytest.mark.long

HOSTS = {
    "sql1": "{vm: 8, address: 192.168.83.148, ram: 1GB, cpu: 1, disk: 10GB, roles: [target]}",
    "sql2": "{vm: 9, address: 192.168.83.147, ram: 1GB, cpu: 1, disk: 10GB, roles: [target]}",
    "worker1": "{vm: 4, address: 192.168.83.131, ram: 1GB, cpu: 1, disk: 10GB, roles: [target]}",
}
VIP = "192.168.83.210"
SHARED = "/srv/nfs/shared"
MOUNT = """\
[Mount]
What=nfs:/srv/nfs/shared
Where=/shared
Type=nfs4
Options=_netdev,hard,proto=tcp,timeo=50,retrans=2,noatime
"""
PROGRAM = """\
#include <stdio.h>
#include <bzlib.h>
#include <curses.h>
#include <ffi.h>
#include <gdbm.h>
#include <lzma.h>
#include <openssl/ssl.h>
#include <readline/readline.h>
#include <rpcsvc/nis.h>
#include <sqlite3.h>
#include <uuid/uuid.h>
#include <zlib.h>

int main(void)
{
    ffi_cif call;
    uuid_t id;
    uuid_generate(id);
    printf("%s %s %s %s %s %s %s %s %d\\n", OpenSSL_version(OPENSSL_VERSION), BZ2_bzlibVersion(),
           lzma_version_string(), zlibVersion(), sqlite3_libversion(), gdbm_version,
           curses_version(), rl_library_version,
           ffi_prep_cif(&call, FFI_DEFAULT_ABI, 0, &ffi_type_void, NULL) == FFI_OK);
    return 0;
}
"""


@pytest.fixture
def fresh(tmp_path):
    """A lab of some hosts that nobody has touched: fresh("sql1")."""
    hosts = tmp_path / "hosts.yaml"
    opened = Lab.open(lab_name("packages"), hosts)
    opened.down()

    def up(*names: str) -> Lab:
        lines = [f"  {name}: {HOSTS[name]}\n" for name in names]
        hosts.write_text("".join(["cluster: packages\nhosts:\n", *lines]))
        opened.up()
        return opened

    yield up
    opened.down()


def refusal(lab: Lab, host: str, command: str) -> str:
    done = lab.root_shell(host, command)
    assert done.returncode == 1, done
    return done.stdout + done.stderr


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def repository(name: str, url: str) -> str:
    return f"[{name}]\nname={name}\nbaseurl={url}\ngpgcheck=0\n"


def add_repositories(lab: Lab, host: str, text: str) -> None:
    output(lab, host, f"cat >/etc/yum.repos.d/added.repo <<'EOF'\n{text}EOF")


def pgdg_repositories() -> str:
    """What the lab's settings name; the extras come last."""
    settings = yaml.safe_load((CHECKOUT / "lab/override.yaml").read_text())["sources"]["pgdg"]
    names = ("postgresql", "common", "extras")
    return "".join(repository(name, settings[name]) for name in names)


def rabbitmq_repositories() -> str:
    erlang = repository("modern-erlang", "http://$labmirror/rabbitmq-erlang")
    return erlang + repository("rabbitmq-el8-noarch", "http://$labmirror/rabbitmq-server")


def test_packages_come_from_the_labs_repository(fresh):
    lab = fresh("sql1")
    assert "basesystem" in lab.root_shell("sql1", "dnf -q check-update").stdout
    output(lab, "sql1", "dnf -q -y update")
    assert output(lab, "sql1", "dnf -q check-update") == ""
    packages = "vim curl wget rsync nfs-utils firewalld chrony yum-utils"
    output(lab, "sql1", f"dnf -q -y install {packages}")
    assert output(lab, "sql1", "rpm -q vim-enhanced wget rsync nfs-utils")
    assert output(lab, "sql1", "vim --version; rsync --version; showmount --version")
    assert "Nothing to do" in output(lab, "sql1", f"dnf -y install {packages}")


def test_pgdgs_packages_come_from_repositories_of_their_own(fresh):
    lab = fresh("sql1")
    packages = "postgresql15-server postgresql15-contrib etcd patroni patroni-etcd pgbackrest"
    assert lab.root_shell("sql1", f"dnf -q list --available {packages}").returncode != 0
    add_repositories(lab, "sql1", pgdg_repositories())
    # AppStream's stream of the module hides what provides the same names, until it is disabled.
    hidden = refusal(lab, "sql1", "dnf -y install postgresql15-server")
    assert "filtered out by modular filtering" in hidden
    assert "10 [d]" in output(lab, "sql1", "dnf -q module list postgresql")
    output(lab, "sql1", "dnf -q -y module disable postgresql")
    assert "postgresql" in output(lab, "sql1", "dnf -q module list --disabled")
    output(lab, "sql1", f"dnf -q -y install {packages}")
    said = output(
        lab,
        "sql1",
        "patroni --version; etcdctl version; pgbackrest version; psql --version;"
        "stat -c '%a %U %g' /var/lib/pgsql/15/data; systemctl is-enabled postgresql-15 etcd || :",
    )
    for words in ("patroni 4.1.0", "3.4.", "pgBackRest 2.45", ") 15.", "700 postgres 26"):
        assert words in said
    assert said.endswith("disabled\ndisabled")
    initdb = "/usr/pgsql-15/bin/initdb --locale=C.UTF-8 --encoding=UTF8 /var/lib/pgsql/15/data"
    output(lab, "sql1", f"cd /; runuser -u postgres -- {initdb}")
    output(lab, "sql1", f"dnf -q -y remove {packages}")
    assert lab.root_shell("sql1", "type psql patroni etcd").returncode != 0


def test_the_extras_offer_a_newer_haproxy_to_whoever_does_not_keep_it_out(fresh):
    lab = fresh("sql1")
    for more, offered in (("includepkgs=etcd\n", False), ("", True)):
        add_repositories(lab, "sql1", pgdg_repositories() + more)
        listed = lab.root_shell("sql1", "dnf -q list --available haproxy etcd").stdout
        assert "etcd.x86_64" in listed
        assert (" 3.3.4-" in listed) == offered


def test_rabbitmq_and_erlang_have_to_be_pinned(fresh):
    lab = fresh("sql1")
    add_repositories(lab, "sql1", rabbitmq_repositories())
    both, one = "erlang rabbitmq-server", "rabbitmq-server-3.10.8"
    assert "requires erlang < 27.0" in refusal(lab, "sql1", f"dnf --assumeno install {both}")
    assert " 26.2.5" in refusal(lab, "sql1", f"dnf --assumeno install {one}")
    assert "No such command" in refusal(lab, "sql1", "dnf versionlock list")
    output(lab, "sql1", "dnf -q -y install python3-dnf-plugin-versionlock")
    output(lab, "sql1", f"dnf -q versionlock add erlang-25.2.3 {one}")
    output(lab, "sql1", f"dnf -q -y install {both}")
    assert output(lab, "sql1", f"rpm -q {both}").split() == [
        "erlang-25.2.3-1.el8.x86_64",
        "rabbitmq-server-3.10.8-1.el8.noarch",
    ]


def test_rabbitmq_is_as_its_vendor_packages_it(fresh):
    lab = fresh("sql1")
    add_repositories(lab, "sql1", rabbitmq_repositories())
    output(lab, "sql1", "dnf -q -y install erlang-25.2.3 rabbitmq-server-3.10.8")
    assert output(lab, "sql1", "find /etc/rabbitmq /var/lib/rabbitmq -type f") == ""
    is_it = "systemctl is-enabled rabbitmq-server; systemctl is-active rabbitmq-server || :"
    assert output(lab, "sql1", is_it) == "disabled\ninactive"
    output(lab, "sql1", "systemctl start rabbitmq-server")
    assert "Ping succeeded" in output(lab, "sql1", "rabbitmq-diagnostics -q ping")
    cookie = "stat -c '%a %U' /var/lib/rabbitmq/.erlang.cookie"
    assert output(lab, "sql1", cookie) == "400 rabbitmq"
    output(lab, "sql1", "rabbitmqctl add_vhost airflow --default-queue-type quorum")
    refused = refusal(lab, "sql1", "runuser -u nobody -- rabbitmqctl status")
    assert "Only root or rabbitmq can run rabbitmqctl" in refused
    output(lab, "sql1", "dnf -q -y remove rabbitmq-server erlang")
    assert lab.root_shell("sql1", "ls /usr/sbin/rabbitmqctl").returncode != 0


def test_haproxy_runs_as_it_comes_and_has_rhels_paths(fresh):
    lab = fresh("sql1")
    output(lab, "sql1", "dnf -q -y install haproxy socat")
    output(lab, "sql1", "systemctl start haproxy && systemctl reload haproxy")
    assert " 503 " in output(lab, "sql1", "curl -sI http://127.0.0.1:5000/ | head -n 1")
    assert "HAProxy" in output(lab, "sql1", "echo show info | socat - /var/lib/haproxy/stats")
    assert output(lab, "sql1", "id haproxy").startswith("uid=188(haproxy) gid=188(haproxy)")
    assert lab.root_shell("sql1", "ls /run/haproxy /etc/rsyslog.d/49*").returncode != 0


def test_c_is_compiled_against_what_python_needs(fresh):
    lab = fresh("sql1")
    headers = "openssl bzip2 libffi zlib xz readline sqlite ncurses gdbm libuuid libnsl2"
    packages = " ".join(f"{name}-devel" for name in headers.split())
    output(lab, "sql1", f"dnf -q -y install gcc make tar gzip xz rsync {packages}")
    output(lab, "sql1", f"cat >/root/all.c <<'EOF'\n{PROGRAM}EOF")
    libraries = "-lbz2 -lffi -lz -llzma -lreadline -lsqlite3 -lncurses -lgdbm -luuid"
    flags = f'CFLAGS=-Werror LDLIBS="$(pkg-config --cflags --libs openssl libnsl) {libraries}"'
    output(lab, "sql1", f"cd /root && make -s all {flags}")
    said = output(lab, "sql1", "/root/all")
    assert said.startswith("OpenSSL 3.")
    assert said.endswith(" 1")


def test_the_mirror_has_pythons_source_and_an_index_and_a_name_at_each_boot(fresh):
    lab = fresh("sql1")
    sources = yaml.safe_load((CHECKOUT / "lab/override.yaml").read_text())["sources"]
    python, index = sources["python"], sources["pypi"]["index"]
    named = output(lab, "sql1", "getent hosts labmirror")
    assert named.split()[1:] == ["labmirror"]
    lab.fault("sql1", "power-off")
    lab.fault("sql1", "power-on")
    assert output(lab, "sql1", "getent hosts labmirror") == named
    tarball = output(lab, "sql1", f"curl -sSf {python['url']} | sha256sum")
    assert tarball.split()[0] == python["sha256"]
    assert '<a href="uv/">uv</a>' in output(lab, "sql1", f"curl -sSf {index}")
    (link,) = re.findall('href="([^"]+)"', output(lab, "sql1", f"curl -sSf {index}wheel/"))
    file, _, sha256 = link.partition("#sha256=")
    assert output(lab, "sql1", f"curl -sSf {index}wheel/{file} | sha256sum").split()[0] == sha256


def test_an_example_of_keepalived_takes_addresses_that_nobody_asked_for(fresh):
    lab = fresh("sql1")
    output(lab, "sql1", "dnf -q -y install keepalived && systemctl start keepalived")
    until(lambda: "192.168.200.16" in output(lab, "sql1", "ip -br address"))


def test_vrrp_moves_an_address(fresh):
    lab = fresh("sql1", "sql2")

    def holders() -> list[str]:
        addresses = "ip -br address show eth0"
        running = [host.name for host in lab.status() if host.state == "running"]
        return [name for name in running if VIP in output(lab, name, addresses)]

    for name, peer in (("sql1", "sql2"), ("sql2", "sql1")):
        output(lab, name, "dnf -q -y install keepalived")
        vrrp = "firewall-cmd -q --add-rich-rule='rule protocol value=vrrp accept'"
        text = (
            "vrrp_instance A {\n state BACKUP\n interface eth0\n virtual_router_id 83\n"
            f" unicast_src_ip {lab.host(name).address}\n"
            f" unicast_peer {{\n {lab.host(peer).address}\n }}\n"
            f" virtual_ipaddress {{\n {VIP}/24\n }}\n}}\n"
        )
        output(lab, name, f"{vrrp}; printf '{text}' >/etc/keepalived/keepalived.conf")
        output(lab, name, "keepalived -t && systemctl start keepalived")
    until(lambda: len(holders()) == 1)
    (first,) = holders()
    lab.fault(first, "power-loss")
    until(lambda: len(holders()) == 1)
    assert holders() != [first]


def test_lsyncd_comes_from_epel(fresh):
    lab = fresh("sql1")
    add_repositories(lab, "sql1", repository("epel", "http://$labmirror/epel"))
    output(lab, "sql1", "dnf -q -y install lsyncd && mkdir /root/a /root/b && touch /root/a/x")
    sync = 'sync{default.rsync, source="/root/a", target="/root/b", delay=1}'
    output(lab, "sql1", f"echo '{sync}' >/etc/lsyncd.conf && systemctl start lsyncd")
    until(lambda: output(lab, "sql1", "ls /root/b") == "x")


def share(lab: Lab, servers: tuple[str, ...], address: str) -> None:
    """Export the same folder of all servers, and mount it on worker1 at the first access."""
    for host in (*servers, "worker1"):
        output(lab, host, f"dnf -q -y install nfs-utils; echo {address} nfs >>/etc/hosts")
        output(lab, host, "useradd -u 5000 writer")
    for host in servers:
        options = "rw,sync,no_subtree_check,root_squash,fsid=83"
        output(lab, host, f"echo '{SHARED} 192.168.83.0/24({options})' >/etc/exports")
        output(lab, host, f"install -d -o writer {SHARED}; firewall-cmd -q --add-service=nfs")
        output(lab, host, f"echo {host} >{SHARED}/server; systemctl enable -q --now nfs-server")
        assert "fsid=83,sec=sys,rw,root_squash" in output(lab, host, "exportfs -v")
    units = "/etc/systemd/system/shared"
    output(lab, "worker1", f"printf '{MOUNT}' >{units}.mount; mkdir /shared")
    output(lab, "worker1", f"printf '[Automount]\\nWhere=/shared\\n' >{units}.automount")
    output(lab, "worker1", "systemctl daemon-reload && systemctl start shared.automount")


def test_nfs_is_written_and_read_on_both_sides_and_outlives_its_server(fresh):
    lab = fresh("sql1", "worker1")
    share(lab, ("sql1",), lab.host("sql1").address)
    assert output(lab, "worker1", "cat /shared/server") == "sql1"
    found = output(lab, "worker1", "findmnt -n -t fuse.nfs4 -o SOURCE,TARGET")
    assert found.split() == ["nfs:/srv/nfs/shared", "/shared"]
    for number in range(5):
        output(lab, "worker1", f"runuser -u writer -- sh -c 'echo {number} >/shared/there'")
        assert output(lab, "sql1", f"cat {SHARED}/there; rm {SHARED}/there") == str(number)
        output(lab, "sql1", f"echo {'x' * number} >{SHARED}/here")
        assert output(lab, "worker1", "cat /shared/here; ls /shared").startswith("x" * number)
    assert "Permission denied" in refusal(lab, "worker1", "touch /shared/by-root")
    lab.fault("sql1", "power-loss")
    with ThreadPoolExecutor() as background:
        reading = background.submit(output, lab, "worker1", "cat /shared/server")
        time.sleep(1)
        lab.fault("sql1", "power-on")
        output(lab, "sql1", "firewall-cmd -q --add-service=nfs")
        assert reading.result() == "sql1"


def test_nfs_goes_on_with_another_server_at_the_same_address(fresh):
    lab = fresh("sql1", "sql2", "worker1")
    share(lab, ("sql1", "sql2"), VIP)
    output(lab, "sql1", f"ip address add {VIP}/24 dev eth0")
    assert output(lab, "worker1", "cat /shared/server") == "sql1"
    lab.fault("sql1", "power-loss")
    output(lab, "sql2", f"ip address add {VIP}/24 dev eth0; arping -q -U -c 1 -I eth0 {VIP}")
    assert output(lab, "worker1", "cat /shared/server") == "sql2"
    output(lab, "worker1", "runuser -u writer -- touch /shared/new")
    assert output(lab, "sql2", f"stat -c %U {SHARED}/new") == "writer"
