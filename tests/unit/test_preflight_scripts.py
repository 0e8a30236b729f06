"""The bash of a preflight: run here by a real bash, on small trees in the place of /etc."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from fabfile.operator import sources
from fabfile.preflight import login, network, reach, system
from runbook.declare.library import ENVIRONMENT
from runbook.declare.templates import script


class Tree:
    """A folder that stands for the root of a server; `bin` comes first in its PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()

    def write(self, path: str, text: str) -> None:
        """A file of the server."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def program(self, name: str, text: str) -> None:
        """A program of the server."""
        self.write(f"bin/{name}", f"#!/bin/bash\n{text}\n")
        (self.root / "bin" / name).chmod(0o755)

    def run(self, text: str) -> str:
        """What a script prints on this server."""
        here = re.sub(r"(?<![\w.}])/(etc|var/lib)/", rf"{self.root}/\1/", text)
        environment = ENVIRONMENT.replace("PATH=", f"PATH={self.root}/bin:")
        done = subprocess.run(
            ["bash", "-c", f"{environment}\n{here}"], capture_output=True, text=True, check=True
        )
        return done.stdout


@pytest.fixture
def tree(tmp_path) -> Tree:
    made = Tree(tmp_path)
    made.write(
        "/etc/os-release",
        'NAME="Rocky Linux"\nID="rocky"\nVERSION_ID="8.10"\nPLATFORM_ID="platform:el8"\n'
        'PRETTY_NAME="Rocky Linux 8.10 (Green Obsidian)"\n',
    )
    made.program(
        "systemctl", "for unit; do [[ $unit == is-active ]] || echo inactive; done; exit 3"
    )
    return made


# system.sh


def of_system(tree: Tree) -> system.System:
    return system.parse(tree.run(script("preflight/system.sh", accounts="root nobody-here")))


def test_a_server_says_what_it_is(tree):
    found = of_system(tree)
    assert (found.release, found.name) == (8, "Rocky Linux 8.10 (Green Obsidian)")
    assert found.arch == os.uname().machine
    assert found.memory > 100
    assert found.mounts["/"]
    assert set(found.accounts) <= {"root"}
    assert found.units["fapolicyd.service"] == "inactive"


def test_the_umask_is_that_of_the_commands(tree):
    assert system.parse(
        tree.run("umask 0027\n" + script("preflight/system.sh", accounts="root"))
    ).umask in ("0027", "27")


def test_what_cloud_inits_user_data_says_counts_and_comments_do_not(tree):
    """The user data goes before files in /etc/cloud, where hosts and hostnames say otherwise."""
    tree.write("/etc/cloud/cloud.cfg", "manage_etc_hosts: true\n")
    assert of_system(tree).cloud == {}
    tree.write(
        "/var/lib/cloud/instance/cloud-config.txt",
        "manage_etc_hosts: true  # by the site\n# preserve_hostname: false\n",
    )
    assert of_system(tree).cloud == {"manage_etc_hosts": "true"}
    tree.write("/etc/cloud/cloud-init.disabled", "")
    assert of_system(tree).cloud == {}


def test_a_proxy_is_told_without_its_password(tree):
    tree.write("/etc/dnf/dnf.conf", "[main]\nproxy = http://me:hunter2@proxy:3128\n")
    text = tree.run(
        "export https_proxy=http://me:hunter2@proxy:3128\n"
        + script("preflight/system.sh", accounts="root")
    )
    assert "hunter2" not in text
    assert system.parse(text).proxies == {
        "https_proxy": "http://proxy:3128",
        "dnf": "http://proxy:3128",
    }


def test_password_ages_of_the_site_are_read(tree):
    tree.write("/etc/login.defs", "#PASS_MAX_DAYS 1\nPASS_MAX_DAYS\t90\nPASS_MIN_DAYS 1\n")
    assert of_system(tree).max_days == 90


# login.sh


def test_sshd_is_asked_for_each_login_and_sudo_for_terminals(tree):
    tree.program("sshd", 'echo "allowusers rocky"; echo "port 22"; echo "authenticationmethods $3"')
    tree.program("id", '[[ $2 == rocky ]] && echo "rocky wheel"')
    tree.write("/etc/sudoers", "#Defaults requiretty\nDefaults    requiretty\nroot ALL=(ALL) ALL\n")
    tree.write("/etc/sudoers.d/rocky", "Defaults:rocky !requiretty\n")
    tree.write("/etc/sudoers.d/old.rpmsave", "Defaults requiretty\n")
    asked = script(
        "preflight/login.sh", logins="rocky@ airflow@10.0.0.7", address="10.0.0.5", port=22
    )
    said = login.parse(tree.run(asked))
    rocky, airflow = said.logins
    assert rocky.groups == ("rocky", "wheel")
    assert (airflow.address, airflow.groups) == ("10.0.0.7", ())
    asked_for = "user=airflow,host=10.0.0.7,addr=10.0.0.7,laddr=10.0.0.5,lport=22"
    assert airflow.settings == {"allowusers": ["rocky"], "authenticationmethods": [asked_for]}
    assert said.sudo == ("Defaults    requiretty", "Defaults:rocky !requiretty")


# network.sh


@pytest.mark.skipif(not shutil.which("ss"), reason="iproute2 is not here")
def test_who_listens_is_told_with_its_process(tree, cluster):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        asked = script("preflight/network.sh", address="127.0.0.1", peers="127.0.0.1", ports=port)
        [one] = network.parse(tree.run(asked)).listeners
    assert (one.port, one.pid) == (port, str(os.getpid()))


def test_the_zone_that_an_interface_comes_into_is_known_before_firewalld_runs(tree):
    tree.program(
        "ip", "[[ $3 == addr ]] && echo '2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope'"
    )
    tree.program("ss", "")
    tree.write("/etc/firewalld/firewalld.conf", "# comment\nDefaultZone=drop\n")
    tree.write("/etc/firewalld/zones/site.xml", '<zone>\n  <interface name="eth0"/>\n</zone>\n')
    asked = script("preflight/network.sh", address="10.0.0.5", peers="", ports="")
    found = network.parse(tree.run(asked))
    assert (found.default_zone, found.zone("10.0.0.5"), found.running) == ("drop", "site", False)


# reach.sh


def test_connections_are_tried_and_a_refusal_is_told_from_an_answer(tree):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        answers, refuses = (one.getsockname()[1] for one in (server, closed))
        targets = f"127.0.0.1:{answers} 127.0.0.1:{refuses}"
        seen = reach.parse(tree.run(script("preflight/reach.sh", targets=targets)))
    assert seen == {
        f"127.0.0.1:{answers}": "open",
        f"127.0.0.1:{refuses}": "Connection refused",
    }


def test_a_server_that_calls_nobody_tries_nothing(tree):
    assert tree.run(script("preflight/reach.sh", targets="")) == ""


# packages.sh


REPOSITORY = """\
>pgdg.repo
[pgdg-common]
name=PGDG common
baseurl=https://example.com/rhel-$elmajor-$basearch
gpgcheck=1
repo_gpgcheck=1
"""


@pytest.fixture
def dnf(tree):
    """dnf(wanted, installed) -> what the script says; dnf shows the files that it is handed."""
    tree.write("/etc/yum.repos.d/base.repo", "[baseos]\n")
    tree.write("/etc/yum.repos.d/pgdg.repo", "[old]\n")
    tree.program(
        "dnf",
        'for word; do case $word in --setopt=reposdir=*) cd "${word##*=}" ;; esac; done\n'
        'tail -n +1 *.repo; echo "asked: $*" | sed "s/--setopt=[^ ]* //"; exit 1',
    )

    def ask(wanted: str, installed: str = "", files: str = REPOSITORY) -> str:
        tree.program(
            "rpm",
            f"""have=" {installed} "
for name; do
  case $name in -q | --whatprovides) continue ;; esac
  [[ $have != *" $name "* ]] || {{ echo "$name-1"; continue; }}
  if [[ $2 == --whatprovides ]]; then echo "no package provides $name"
  else echo "package $name is not installed"; fi
done""",
        )
        return tree.run(
            script("preflight/packages.sh", wanted=wanted, files=files.strip(), seconds=5)
        )

    return ask


def test_dnf_is_not_asked_if_all_is_there(dnf):
    assert dnf("vim rsync", installed="vim rsync") == "installed\n"


def test_dnf_is_asked_for_what_is_missing_with_the_repositories_of_later_steps(dnf):
    said = dnf("vim erlang-26.1.2 patroni", installed="vim erlang-26.1.2")
    assert said.startswith("code 1 1\n")
    assert "asked: install --assumeno patroni" in said
    assert "[baseos]" in said
    assert "[old]" not in said
    assert "baseurl=https://example.com/rhel-8-$basearch" in said


def test_a_server_without_repositories_of_later_steps_has_its_own(dnf):
    said = dnf("vim", files="")
    assert said.startswith("code 1 1\n")
    assert "[old]" in said


def test_no_key_is_asked_for_and_no_module_hides_a_package(dnf):
    said = dnf("patroni")
    assert "repo_gpgcheck" not in said
    assert "[pgdg-common]\nmodule_hotfixes=1\n" in said


def test_nothing_is_left_behind(dnf, tree):
    before = set(Path("/tmp").glob("tmp.*"))
    dnf("patroni")
    assert set(Path("/tmp").glob("tmp.*")) <= before
    assert sorted(path.name for path in (tree.root / "etc/yum.repos.d").iterdir()) == [
        "base.repo",
        "pgdg.repo",
    ]


# sources.sh


class Site(http.server.BaseHTTPRequestHandler):
    """Knows a repository for EL8 and, by GET only, a key."""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/el8/repodata/repomd.xml" else 405)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/key" else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not here")
def test_urls_are_asked_for_as_dnf_fills_them_in(tree, site):
    tree.write("/etc/dnf/vars/mirror", f"{site}\n")
    private = site.replace("//", "//me:hunter2@")
    asked = f"repository $mirror/el$elmajor\nfile {private}/key\nindex ${{mirror}}/simple"
    text = tree.run(script("preflight/sources.sh", asked=asked, netrc=""))
    assert "hunter2" not in text
    told = sorted(line.split()[:3] for line in text.splitlines())
    assert told == [
        ["0", "200", f"{site}/el8/repodata/repomd.xml"],
        ["1", "200", f"{site}/key"],
        ["2", "404", f"{site}/simple/apache-airflow/"],
    ]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not here")
def test_a_site_that_is_away_says_why(tree):
    text = tree.run(script("preflight/sources.sh", asked="file http://127.0.0.1:1/key", netrc=""))
    number, code, url, *why = text.split()
    assert (number, code, url) == ("0", "000", "http://127.0.0.1:1/key")
    assert "connect" in " ".join(why)


def test_the_controller_asks_too(site):
    assert sources.asked_here(f"{site}/key") == sources.Answer(f"{site}/key", 200)
    assert sources.asked_here(f"{site}/nothing").code == 404
    assert not sources.asked_here("http://127.0.0.1:1/").fine


# What is foreign


def test_units_of_the_runbook_by_hand_are_named(tree):
    tree.write(
        "/etc/systemd/system/airflow-celeryworker.service",
        "[Service]\nExecStart=/usr/local/bin/airflow celery worker -D\n",
    )
    tree.write(
        "/etc/systemd/system/airflow-worker.service",
        "[Service]\nExecStart=/opt/airflow/2.9.0/bin/airflow celery worker\n",
    )
    assert tree.run(airflows_by_hand(tree)) == "airflow-celeryworker.service\n"


def test_processes_of_an_airflow_by_hand_are_named_unless_units_of_ours_run_them(tree):
    processes = {
        17: ("/usr/local/bin/airflow", "/user.slice/session-1.scope"),
        18: ("/usr/local/bin/airflow", "/system.slice/airflow-worker.service"),
        19: ("/opt/airflow/2.9.0/bin/airflow", "/user.slice/session-1.scope"),
    }
    for number, (program, group) in processes.items():
        tree.write(f"/proc/{number}/cmdline", f"python3\0{program}\0scheduler\0")
        tree.write(f"/proc/{number}/cgroup", f"0::{group}\n")
    assert tree.run(airflows_by_hand(tree)) == "/usr/local/bin/airflow (pid 17)\n"


def airflows_by_hand(tree: Tree) -> str:
    """The script, which sees the processes of this server only."""
    text = script("airflow/foreign.sh", home="/app1/airflow")
    return text.replace("/proc/[0-9]*", f"{tree.root}/proc/[0-9]*")


def test_data_of_a_database_that_is_not_ours_is_named(tree):
    tree.program("systemctl", "echo 'postgresql-15.service loaded active running PostgreSQL 15'")
    tree.write("/var/lib/pgsql/15/data/PG_VERSION", "15\n")
    ours = str(tree.root / "patroni-airflow.conf")
    asked = script("postgres/foreign.sh", ours=ours)
    assert tree.run(asked).split() == [
        "postgresql-15.service",
        f"{tree.root}/var/lib/pgsql/15/data",
    ]
    Path(ours).touch()
    assert tree.run(asked) == ""
