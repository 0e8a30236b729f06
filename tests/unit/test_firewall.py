"""The firewall: each port is open to those who need it, and what is no longer wanted is closed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from support.all_steps import answered

from fabfile import CONTENTS, base
from fabfile.shared import firewall
from fabfile.shared.firewall import Firewall
from runbook.declare import steps
from runbook.declare.facts import Facts, hosts_on
from runbook.declare.library import library
from runbook.declare.probes import WARN, Answer
from runbook.declare.step import quote
from runbook.declare.templates import script
from runbook.declare.work import StepTask
from runbook.errors import InventoryError
from runbook.inventory.access import access, accesses
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import ALL, EVERYBODY, Port
from runbook.results import DO, PLAN
from runbook.script import Reader, compile_script


def bash(text: str) -> subprocess.CompletedProcess[bytes]:
    """What a host's root shell does with a script."""
    return subprocess.run(["bash", "-s"], input=(library() + text).encode(), capture_output=True)


# What firewalld says


ZONE = (
    'a{sv} 5 "services" as 1 "ssh" "ports" a(ss) 3 "2049" "tcp" "5000-5100" "tcp" "53" "udp" '
    '"masquerade" b false "source_ports" a(ss) 1 "9999" "tcp" '
    '"rules_str" as 1 "rule family=\\"ipv4\\" accept" "protocols" as 1 "vrrp"'
)


@pytest.mark.parametrize(
    ("key", "value", "held"),
    [
        ("ports", "2049/tcp", True),
        ("ports", "5050/tcp", True),
        ("ports", "5000-5010/tcp", True),
        ("ports", "5101/tcp", False),
        ("ports", "53/tcp", False),
        ("ports", "9999/tcp", False),
        ("services", "ssh", True),
        ("services", "nfs", False),
        ("protocols", "vrrp", True),
        ("protocols", "ssh", False),
        ("rules_str", 'rule family="ipv4" accept', True),
        ("rules_str", 'rule family="ipv4" drop', False),
    ],
)
def test_what_firewalld_says_is_understood(key, value, held):
    answer = bash(f"note_zone now {quote(ZONE)}; zone_has now {key} {quote(value)} && echo held")
    assert (answer.stdout == b"held\n") is held


# Two interfaces in different zones; the port is open in that of eth1. D-Bus answers like firewalld.
TWO_ZONES = """
ip() { case ${*: -1} in 10.0.0.5) echo '2: eth0    inet 10.0.0.5/24' ;;
  10.1.0.5) echo '3: eth1    inet 10.1.0.5/24' ;; esac }
zone() { [[ $1 == *work* ]] && echo 'a{sv} 1 "ports" a(ss) 1 "80" "tcp"' || echo 'a{sv} 0'; }
busctl() { case $* in *getZoneOfInterface*eth1) echo 's "work"' ;;
  *getZoneOfInterface*) echo 's ""' ;;
  *getZoneByName*) echo "o \\"/config/${*: -1}\\"" ;;
  *getZoneSettings2*) zone "${*: -1}" ;;
  *getSettings2*) zone "$3" ;; esac }
text_of() { current='DefaultZone=public'; }
"""
BY_COMMAND = (
    TWO_ZONES
    + """
busctl() { return 1; }
systemctl() { [[ $running ]]; }
firewall-cmd() { asked "$@"; }
firewall-offline-cmd() { asked "$@"; }
asked() { case $* in --get-zone-of-interface=eth1) echo work ;;
  --get-zone-of-interface=*) echo 'no zone'; return 2 ;;
  --get-default-zone) echo public ;;
  *--zone=work*--query-port=80/tcp) ;;
  *) return 1 ;; esac }
"""
)


@pytest.mark.parametrize("firewalld", [TWO_ZONES, f"{BY_COMMAND} running=yes", BY_COMMAND])
@pytest.mark.parametrize(("address", "held"), [("10.1.0.5", True), ("10.0.0.5", False)])
def test_the_zone_is_that_of_the_interface_with_the_address(firewalld, address, held):
    """Rules in the default zone do nothing for an interface that is in another one."""
    answer = bash(f"{firewalld}\nfirewall_has {address} ports 80/tcp && echo held")
    assert (answer.stdout == b"held\n") is held, answer.stderr
    assert answer.stderr == b""


@pytest.mark.parametrize(
    ("sources", "option"),
    [
        (["0.0.0.0/0"], "--add-port=80/tcp"),
        (
            ["10.1.0.9"],
            '--add-rich-rule=rule family="ipv4" source address="10.1.0.9" '
            'port port="80" protocol="tcp" accept',
        ),
    ],
)
def test_rules_are_added_to_the_zone_of_the_address(sources, option):
    step = steps.firewall_lets("10.1.0.5", "some", sources, ["80/tcp"])
    answer = bash(f"""{BY_COMMAND}
firewall-cmd() {{ case $* in *--add-*) echo "$@" ;; *) asked "$@" ;; esac }}
{step.apply}""")
    assert answer.stdout.decode().splitlines() == [
        f"--permanent --zone=work {option}",
        f"--zone=work {option}",
    ]


@pytest.mark.parametrize(
    ("sources", "target", "said"),
    [
        ("10.0.0.0/24", "default", "inside 10.0.0.0/24 10.0.0.7"),
        ("10.0.0.7", "default", "inside 10.0.0.7 10.0.0.7"),
        ("10.0.0.0/24", "ACCEPT", ""),
        ("10.9.0.0/16 ipset:friends 00:11:22:33:44:55", "default", ""),
    ],
)
def test_a_zone_of_sources_that_has_the_clusters_addresses_is_told(sources, target, said):
    """firewalld asks for the source before the interface."""
    command = script("base/source-zones.sh", addresses="10.0.0.7 10.0.1.7")
    answer = bash(f"""firewall-cmd() {{ case $* in
  --get-active-zones) printf 'inside\n  sources: {sources}\npublic\n  interfaces: eth0\n' ;;
  *--get-target) echo {target} ;; esac }}
{command}""")
    assert answer.stdout.decode().strip() == said, answer.stderr


# Who may reach what


def test_a_port_without_callers_is_refused():
    with pytest.raises(ValueError, match="80/tcp: name who may reach it"):
        Port("80/tcp", "web", ())


def test_callers_that_are_words_are_roles(cluster):
    words = {
        caller
        for opening in cluster.openings
        for caller in opening.port.callers
        if isinstance(caller, str)
    }
    assert words <= {ALL, EVERYBODY, *cluster.roles}


def test_only_the_web_ui_and_sshd_are_open_to_everybody_as_shipped(cluster):
    public = {
        one.number
        for host in cluster.hosts.values()
        for one in accesses(host, cluster)
        if one.public
    }
    assert public == {"443/tcp", "8081/tcp", "22/tcp"}


@pytest.mark.parametrize(
    ("host", "port", "caller", "may"),
    [
        ("sql1", "8008/tcp", "haproxy2", True),
        ("sql1", "8008/tcp", "mq1", False),
        ("sql1", "5432/tcp", "airflow", True),  # its HAProxy
        ("sql1", "5432/tcp", "worker1", False),
        ("airflow", "5000/tcp", "worker1", True),
        ("airflow", "5000/tcp", "card1", False),
        ("mq1", "5672/tcp", "scheduler2", True),
        ("mq1", "5672/tcp", "sql1", False),
        ("mq1", "15672/tcp", "airflow", False),
        ("ftp", "2049/tcp", "nfs2", True),
        ("ftp", "2049/tcp", "worker1", True),
        ("ftp", "2049/tcp", "card1", False),
        ("ftp", "vrrp", "nfs2", True),
        ("ftp", "vrrp", "airflow", False),
        ("sql1", "8432/tcp", "nfs2", True),
        ("sql1", "8432/tcp", "sql2", False),
        ("card1", "5432/tcp", "sql1", False),
    ],
)
def test_a_port_is_open_to_those_who_need_it(cluster, host, port, caller, may):
    there = access(cluster.hosts[host], port, cluster)
    assert there.admits(cluster.hosts[caller].address) is may


def test_networks_of_hosts_yaml_are_let_in(cluster):
    listed = {**cluster.settings, "firewall": Firewall(operators=["10.20.0.0/24", "10.9.9.9/32"])}
    wider = structs.replace(cluster, settings=listed)
    there = access(wider.hosts["mq1"], "15672/tcp", wider)
    assert there.sources == ("10.20.0.0/24", "10.9.9.9")
    assert there.admits("10.20.0.7")
    assert not there.admits("10.20.1.7")


def test_a_database_without_haproxy_is_open_to_airflow(hosts_yaml):
    direct = CONTENTS.load(hosts_yaml("database: vip", "database: hosts"))
    there = access(direct.hosts["sql1"], "5432/tcp", direct)
    assert there.admits(direct.hosts["worker1"].address)


def test_restricted_ssh_is_open_to_the_servers_that_need_it(cluster):
    there = restricted(cluster, "10.20.0.0/24")
    sshd = access(there.hosts["card1"], "ssh", there)
    assert not sshd.public
    may = {name for name, host in there.hosts.items() if sshd.admits(host.address)}
    assert may == {"airflow", "worker1"}


def restricted(cluster: Cluster, *networks: str) -> Cluster:
    settings = {**cluster.settings, "firewall": Firewall(ssh=[*networks])}
    return structs.replace(cluster, settings=settings)


# What connects to a port may do so

CONNECTS = (r"(?<![\w.-])({})(?::| port=)(\d+)(?![\w.])", r"/dev/tcp/({})/(\d+)")


def connections(text: str, cluster: Cluster) -> set[tuple[str, int]]:
    """(host, port) that a text names as ADDRESS:PORT, /dev/tcp/ADDRESS/PORT and the like."""
    names: dict[str, list[str]] = {}
    for host in cluster.hosts.values():
        names[host.name] = names[host.address] = [host.name]
    for vip in cluster.vips.values():
        names[vip.name] = names[vip.address] = [*vip.members]
    known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    found = [pair for one in CONNECTS for pair in re.findall(one.format(known), text)]
    if "check port 8008" in text:  # HAProxy asks Patroni about the servers of the database
        found += [(name, "8008") for name, port in found if port == "5432"]
    return {(host, int(port)) for name, port in found for host in names[name]}


def texts(cluster: Cluster, facts: Facts) -> Iterator[tuple[Host, str]]:
    """What each host runs or is given: steps, files, and questions."""
    for section in CONTENTS.sections:
        for task in section.work:
            if isinstance(task, StepTask):
                on = hosts_on(task.on, cluster)
                for host in task.taken_by(on, cluster):
                    for step in task.steps(host, cluster, facts, on):
                        yield host, "\n".join((step.apply, step.text, step.test))
        for host in cluster.hosts.values():
            for question in section.questions(host, cluster):
                yield host, question.command
        for fact in section.cluster_check_needs:
            for host in hosts_on(fact.on, cluster):
                yield host, fact.command(cluster, host)


def test_every_connection_of_a_step_a_file_or_a_question_is_let_in(cluster):
    keyed, facts = answered(cluster)
    seen = {
        (host.name, target, port)
        for host, text in texts(keyed, facts)
        for target, port in connections(text, keyed)
        if host.name != target
    }
    assert {
        ("sql1", "sql2", 2379),
        ("airflow", "sql1", 5432),
        ("haproxy2", "sql3", 8008),
        ("airflow", "haproxy2", 8080),
        ("scheduler2", "airflow", 5000),
        ("worker1", "mq1", 5671),
        ("ftp", "nfs2", 2049),
        ("ftp", "worker1", 22),
    } <= seen
    closed = {
        (host, target, port)
        for host, target, port in seen
        if not access(keyed.hosts[target], f"{port}/tcp", keyed).admits(keyed.hosts[host].address)
    }
    assert closed == set()


# Steps, on a firewalld that this machine plays

PLAYED = r"""
ip() { echo '2: eth0    inet 10.0.0.1/24'; }
busctl() { return 1; }
unit_is() { return 0; }
systemctl() { return 0; }
firewall-cmd() {
  local when=now word kind value only=''
  case $1 in --get-zone-of-interface=*) echo public; return ;; --get-active-zones) return ;; esac
  [[ $* != *--permanent* ]] || when=later
  for word; do
    value=${word#*=} kind=${word%%=*} kind=${kind#--*-}
    if [[ $word == --add-* || $word == --remove-* ]]; then
      [[ $kind == "${only:=$kind}" ]] || return 2 # one kind at a time, as the real one
    fi
    case $word in
      --add-*) echo "$kind $value" >>"$PLACE/$when"; echo "+ $when $value" >>"$PLACE/log" ;;
      --remove-*)
        grep -vxF "$kind $value" "$PLACE/$when" >"$PLACE/new"; mv "$PLACE/new" "$PLACE/$when"
        echo "- $when $value" >>"$PLACE/log" ;;
      --query-*) grep -qxF "$kind $value" "$PLACE/$when" || return 1 ;;
      --list-all)
        echo 'public (active)'; echo '  target: default'
        echo "  services: $(sed -n 's/^service //p' "$PLACE/$when" | xargs)"
        echo "  ports: $(sed -n 's/^port //p' "$PLACE/$when" | xargs)"
        echo "  protocols: $(sed -n 's/^protocol //p' "$PLACE/$when" | xargs)"
        echo '  rich rules: '
        sed -n 's/^rich-rule /\t/p' "$PLACE/$when" ;;
    esac
  done
}
export -f ip firewall-cmd
"""


class Played:
    """A host whose firewalld is two files: what is open now, and after the next boot."""

    def __init__(self, folder: Path, cluster: Cluster, name: str) -> None:
        self.folder, self.cluster, self.name = folder, cluster, name
        self.opened("service ssh", "service cockpit")

    def opened(self, *lines: str) -> None:
        """These lines, such as `port 80/tcp`, are all that is open, now and later."""
        for when in ("now", "later"):
            (self.folder / when).write_text("".join(f"{line}\n" for line in lines))

    @property
    def open(self) -> set[str]:
        now, later = ({*(self.folder / when).read_text().splitlines()} for when in ("now", "later"))
        assert now == later
        return now

    @property
    def log(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def run(self, mode: str = DO, **environment: str) -> dict[str, str]:
        """The statuses of base.firewall's steps."""
        self.results = self.reader(mode, environment).results
        return {result.title: result.status for result in self.results}

    def reader(self, mode: str, environment: dict[str, str]) -> Reader:
        host = self.cluster.hosts[self.name]
        wanted = [
            *firewall.stays_connected(host, self.cluster),
            *firewall.only_wanted(host, self.cluster),
        ]
        made = compile_script(wanted, (), mode, "me@here", (), str(self.folder / "run"))
        place = f"export PLACE={quote(str(self.folder))}\n"
        answer = subprocess.run(
            ["bash", "-s"],
            input=(library() + place + PLAYED + made.text).encode(),
            capture_output=True,
            env={"SSH_CONNECTION": "10.20.0.7 5 10.0.0.1 22", "PATH": os.defpath, **environment},
        )
        assert answer.stderr == b""
        reader = Reader(made)
        reader.feed(answer.stdout)
        reader.close()
        return reader


@pytest.fixture
def played(cluster, tmp_path, monkeypatch):
    """played("sql1") -> a host of the shipped hosts.yaml; played("sql1", changed) -> of another."""
    monkeypatch.setattr(firewall, "FOLDER", str(tmp_path / "kept"))
    monkeypatch.setattr(firewall, "RECORD", str(tmp_path / "kept/firewall"))
    return lambda name, changed=cluster: Played(tmp_path, changed, name)


def rule(source: str, element: str) -> str:
    if "/" in element:
        number, protocol = element.split("/")
        element = f'port port="{number}" protocol="{protocol}"'
    else:
        element = f'protocol value="{element}"'
    return f'rich-rule rule family="ipv4" source address="{source}" {element} accept'


def test_ports_are_opened_to_their_callers_and_a_second_run_changes_nothing(played):
    ftp = played("ftp")
    assert set(ftp.run().values()) == {"changed", "ok"}
    clients = ("150", "129", "151", "154", "131")
    assert ftp.open == {
        "service ssh",
        "service cockpit",
        rule("192.168.83.150", "vrrp"),
        *(rule(f"192.168.83.{number}", "2049/tcp") for number in clients),
    }
    assert set(ftp.run().values()) == {"ok"}


def test_what_was_open_to_everybody_is_closed_after_the_rest_was_opened(played):
    """As the release before opened it."""
    ftp = played("ftp")
    ftp.opened("service ssh", "port 2049/tcp", "protocol vrrp", "service nfs")
    ftp.run()
    assert not {"port 2049/tcp", "protocol vrrp", "service nfs"} & ftp.open
    first_closed = next(place for place, line in enumerate(ftp.log) if line[0] == "-")
    assert all(line[0] == "-" for line in ftp.log[first_closed:])
    assert set(ftp.run().values()) == {"ok"}


def test_rules_of_a_host_that_left_and_of_a_role_that_changed_are_closed(played):
    sql1 = played("sql1")
    gone = {rule("192.168.83.99", "2380/tcp"), rule("192.168.83.129", "8793/tcp"), "port 5672/tcp"}
    sql1.opened("service ssh", *gone)
    assert not set(sql1.run().values()) & {"failed", "no effect"}
    assert not gone & sql1.open


SITE = (
    "port 9100/tcp",
    "port 5000-5100/tcp",
    rule("10.9.9.9", "9200/tcp"),
    'rich-rule rule family="ipv4" source address="10.6.6.6" reject',
    'rich-rule rule service name="ssh" accept limit value="9/m"',
    'rich-rule rule family="ipv4" source address="10.6.6.6" port port="5432" protocol="tcp" drop',
)


def test_rules_of_the_site_are_not_touched(played):
    sql1 = played("sql1")
    sql1.opened("service ssh", "service cockpit", "protocol gre", *SITE)
    sql1.run()
    assert {"service ssh", "service cockpit", "protocol gre", *SITE} <= sql1.open


def test_a_port_that_was_opened_here_is_closed_once_nobody_needs_it(played, cluster):
    moved = structs.replace(cluster, connection=structs.replace(cluster.connection, port=2222))
    card1 = played("card1", moved)
    card1.run()
    assert "port 2222/tcp" in card1.open
    played("card1").opened(*card1.open)
    back = Played(card1.folder, cluster, "card1")
    back.opened("service ssh", "port 2222/tcp")
    back.run()
    assert back.open == {"service ssh"}
    assert Path(firewall.RECORD).read_text() == ""
    assert set(back.run().values()) == {"ok"}


def test_the_record_is_data(played):
    sql1 = played("sql1")
    Path(firewall.FOLDER).mkdir()
    planted = sql1.folder / "planted"
    Path(firewall.RECORD).write_text(f"x[$(id >{planted})0]/tcp\n-e\n*\n$(id >{planted})\n")
    assert not set(sql1.run().values()) & {"failed", "no effect"}
    assert not planted.exists()
    assert "$" not in Path(firewall.RECORD).read_text()


def test_a_plan_says_what_would_be_closed_and_changes_nothing(played):
    sql1 = played("sql1")
    sql1.opened("service ssh", "port 5432/tcp", rule("192.168.83.99", "2380/tcp"))
    before = sql1.open
    assert "differs" in sql1.run(PLAN).values()
    assert sql1.open == before
    assert sql1.results[-1].output[-2:] == [
        "- ports 5432/tcp",
        f"- {rule('192.168.83.99', '2380/tcp').partition(' ')[2]}",
    ]


def test_ssh_is_closed_to_all_but_the_named_networks(played, cluster):
    card1 = played("card1", restricted(cluster, "10.20.0.0/24"))
    card1.run()
    assert card1.open == {
        "service cockpit",
        rule("10.20.0.0/24", "22/tcp"),
        rule("192.168.83.129", "22/tcp"),  # VM1
        rule("192.168.83.131", "22/tcp"),  # the worker
    }
    assert set(card1.run().values()) == {"ok"}


def test_ssh_can_be_opened_again(played, cluster):
    card1 = played("card1", restricted(cluster, "10.20.0.0/24"))
    card1.run()
    again = Played(card1.folder, cluster, "card1")
    for when in ("now", "later"):
        (card1.folder / when).write_text(
            'rich-rule rule family="ipv4" source address='
            '"10.20.0.0/24" port port="22" protocol="tcp" accept\n'
        )
    again.run()
    assert again.open == {"service ssh"}
    assert Path(firewall.RECORD).read_text() == ""


@pytest.mark.parametrize("address", ["10.20.1.7", "2001:db8::7"])
def test_whoever_is_connected_now_is_not_locked_out(played, cluster, address):
    card1 = played("card1", restricted(cluster, "10.20.0.0/24"))
    before = card1.open
    card1.run(SSH_CONNECTION=f"{address} 5 10.0.0.1 22")
    assert card1.results[0].status == "refused"
    assert address in "\n".join(card1.results[0].output)
    assert card1.open == before


# What a check finds

WIDER = {
    "port 5432/tcp": True,
    "port 5000-5100/tcp": True,
    "port 5000-5100/udp": False,
    "port 9100/tcp": False,
    "service postgresql": True,
    "service cockpit": False,
    "protocol vrrp": True,
    'rich-rule rule family="ipv4" source address="10.0.0.0/8" accept': True,
    'rich-rule rule icmp-type name="echo-request" accept': False,
    'rich-rule rule family="ipv4" source address="10.0.0.1" reject': False,
    rule("192.168.83.99", "2379/tcp"): True,
}


@pytest.mark.parametrize("line", WIDER)
def test_a_check_names_what_is_open_wider_than_wanted(played, line):
    sql1 = played("sql1")
    sql1.run()
    sql1.opened(*sql1.open, line)
    question = firewall.closed_to_others(sql1.cluster.hosts["sql1"], sql1.cluster, base.WIDE)
    place = f"export PLACE={quote(str(sql1.folder))}\n"
    answer = bash(f"{place}{PLAYED}{question.command}").stdout.decode()
    assert bool(answer.strip()) is WIDER[line], answer
    verdict = question.judge(Answer(answer, 0))
    assert (verdict.level == WARN) is WIDER[line]
    assert question.fix == "fab -H sql1 base.firewall"


# hosts.yaml


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("10.20.0.7", "10.20.0.7 is not valid; allowed: network"),
        ("'10.0.0.0/8; reboot'", "10.0.0.0/8; reboot is not valid"),
        ("10.20.0.7/24", "10.20.0.7/24 is not a network; write 10.20.0.0/24"),
    ],
)
def test_a_list_takes_networks_only(hosts_yaml, network, said):
    text = f"  ssh: [{network}]"
    with pytest.raises(InventoryError, match=re.escape(said)):
        CONTENTS.load(hosts_yaml("  ssh: [0.0.0.0/0]", text))
