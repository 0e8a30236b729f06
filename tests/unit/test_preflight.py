"""What a preflight makes of the answers of servers; they are those of EL8 and EL9."""

from __future__ import annotations

import pytest
from msgspec import structs
from support.preflight_answers import SSHD, SYSTEM, ZONES, Servers, run
from support.preflight_answers import network as network_answer
from support.public_keys import ed25519
from support.status_of import well

from fabfile import CONTENTS
from fabfile.airflow.connections import WORKER_KEY
from fabfile.airflow.install import SHIPPED as AIRFLOW_SHIPPED
from fabfile.nfs.sync import KEYS
from fabfile.postgres.backup import CERTIFICATE
from fabfile.preflight import login, network, packages, preflight, reach, system
from fabfile.preflight.foreign import none
from fabfile.preflight.tell import grouped
from fabfile.python_build import SHIPPED as PYTHON_SHIPPED
from fabfile.ssh import HOST_KEYS, KEY
from runbook.declare.facts import Facts, hosts_on
from runbook.declare.probes import ERROR, OK, WARN, Answer, Finding, Verdict
from runbook.declare.work import StepTask
from runbook.errors import AccessError, UnreachableError
from runbook.execute.tasks import perform
from runbook.results import CHECK, Status


def wrong(findings) -> list[tuple[str, str, str]]:
    """Level, title and sentence of what is not fine."""
    return [
        (str(one.level), one.title, one.verdict.sentence) for one in findings if one.level is not OK
    ]


# One server


@pytest.fixture
def judged(cluster):
    """judged(old, new, …, host="sql1") -> what is wrong with a server whose answer is changed."""

    def judge(*changes: str, host: str = "sql1", **settings) -> list[tuple[str, str, str]]:
        text = SYSTEM
        for old, new in zip(changes[::2], changes[1::2]):
            assert old in text
            text = text.replace(old, new)
        own = structs.replace(cluster, **settings)
        return wrong(system.findings(cluster.hosts[host], own, system.parse(text)))

    return judge


def test_a_fresh_rocky_server_is_fine(judged):
    assert judged() == []


def test_enterprise_linux_9_is_supported_and_10_is_refused_with_a_sentence(judged):
    assert judged("platform:el8", "platform:el9", "8.10 (Green", "9.6 (Blue") == []
    [(level, title, sentence)] = judged(
        "platform:el8", "platform:el10", "Rocky Linux 8.10 (Green Obsidian)", "Rocky Linux 10.1"
    )
    assert (level, title) == ("error", "release")
    assert sentence.startswith("Rocky Linux 10.1 is not supported: this project sets up Enterprise")


def test_another_rebuild_is_a_warning(judged):
    [(level, _, sentence)] = judged("ID rocky", "ID ol", "Rocky Linux", "Oracle Linux Server")
    assert level == "warn"
    assert "is not tested" in sentence


def test_memory_that_the_kernel_takes_is_no_lack_and_half_of_it_is_an_error(judged):
    assert judged("MemTotal: 3825220", "MemTotal: 3560000") == []
    assert judged("MemTotal: 3825220", "MemTotal: 2900000")[0][0] == "warn"
    [(level, title, sentence)] = judged("MemTotal: 3825220", "MemTotal: 1800000")
    assert (level, title, sentence) == ("error", "memory", "1757 MiB, but hosts.yaml specifies 4GB")


def test_a_smaller_disk_than_in_hosts_yaml_is_a_warning(judged):
    [(level, title, _)] = judged("rl-root 17811456", "rl-root 9811456")
    assert (level, title) == ("warn", "disk")


def test_the_umask_of_commands_stops_and_that_of_logins_does_not(judged):
    [(level, title, _)] = judged("umask 0022 0022", "umask 0077 0077")
    assert (level, title) == ("error", "umask")
    [(level, title, _)] = judged("umask 0022 0022", "umask 0022 0027")
    assert (level, title) == ("warn", "umask")
    assert judged("umask 0022 0022", "umask 0002 0002") == []


def test_a_folder_for_temporary_files_without_programs_is_a_warning(judged):
    mounts = "mount /tmp tmpfs rw,nosuid,nodev,noexec\nmount /boot xfs"
    [(level, title, sentence)] = judged("mount /boot xfs", mounts)
    assert (level, title) == ("warn", "mounts")
    assert sentence.startswith("/tmp is mounted noexec")


def test_fips_and_fapolicyd_stop(judged):
    assert [one[:2] for one in judged("fips 1".replace("1", "0"), "fips 1")] == [("error", "FIPS")]
    changed = judged("fapolicyd.service inactive", "fapolicyd.service active")
    assert [one[:2] for one in changed] == [("error", "fapolicyd")]


def test_a_kernel_without_fips_has_no_file_for_it(judged):
    assert judged("fips 0\n", "") == []


def test_selinux_that_will_be_switched_off_is_said_and_so_is_a_relabelling(judged):
    [(level, _, sentence)] = judged("selinux Disabled", "selinux Enforcing")
    assert (level, sentence) == (
        "warn",
        "enforcing, but hosts.yaml specifies disabled",
    )
    [(level, _, sentence)] = judged(selinux="enforcing")
    assert level == "warn"
    assert "a reboot relabels all files" in sentence
    assert judged("selinux Disabled", "selinux Enforcing", selinux="enforcing") == []


@pytest.mark.parametrize("value", ["true", "True", "template", "localhost", "'true'"])
def test_cloud_init_that_owns_etc_hosts_is_a_warning(judged, value):
    changed = judged("fips 0", f"cloud manage_etc_hosts {value}")
    assert [one[:2] for one in changed] == [("warn", "cloud-init")]
    assert judged("fips 0", f"cloud manage_etc_hosts {value}\ncloud manage_etc_hosts false") == []


def test_a_proxy_that_only_dnf_knows_is_a_warning(judged):
    [(level, title, sentence)] = judged("fips 0", "proxy dnf http://proxy.example.com:3128")
    assert (level, title) == ("warn", "proxy")
    assert "http://proxy.example.com:3128" in sentence
    known = "proxy dnf http://p:3128\nproxy https_proxy http://p:3128"
    assert judged("fips 0", known) == []


def test_requests_within_the_cluster_do_not_go_through_a_proxy(judged, cluster):
    assert len(judged("fips 0", "proxy http_proxy http://p\nproxy no_proxy localhost")) == 1
    addresses = [one.address for one in (*cluster.hosts.values(), *cluster.vips.values())]
    assert (
        judged("fips 0", f"proxy http_proxy http://p\nproxy no_proxy {','.join(addresses)}") == []
    )


def test_an_account_that_has_expired_lets_no_key_in(judged):
    [(level, _, sentence)] = judged("rocky 20785 - - -", "rocky 20600 90 - -")
    assert level == "error"
    assert sentence.startswith("rocky or its password has expired")
    [(level, _, sentence)] = judged("rocky 20785 - - -", "rocky 20785 90 30 -")
    assert (level, "expires in 90 days" in sentence) == ("warn", True)
    assert judged("rocky 20785 - - -", "rocky 20785 99999 - -") == []


def test_accounts_that_are_made_later_expire_where_the_site_says_so(judged):
    absent = ("account rocky 20785 - - -\n", "")
    [(level, _, sentence)] = judged("max_days 99999", "max_days 90", *absent)
    assert level == "warn"
    assert "PASS_MAX_DAYS" in sentence


# Logins


def logins(*lines: str, groups: str = "rocky wheel", sudo: str = "") -> login.Logins:
    settings = SSHD + "".join(f"sshd {line}\n" for line in lines)
    return login.parse(f"origin 10.0.0.9\nlogin rocky 10.0.0.9\n{settings}groups {groups}\n{sudo}")


@pytest.mark.parametrize(
    ("setting", "refusal"),
    [
        ("allowusers root admin", "AllowUsers"),
        ("allowusers root rocky", ""),
        ("allowusers root r*", ""),
        ("allowusers rocky@10.0.0.0/8", ""),
        ("allowusers rocky@192.168.0.0/16", "AllowUsers"),
        ("denyusers rocky", "DenyUsers"),
        ("denyusers rock", ""),
        ("allowgroups ssh-users", "AllowGroups"),
        ("allowgroups ssh-users wheel", ""),
        ("denygroups wheel", "DenyGroups"),
    ],
)
def test_what_sshd_says_to_the_administrator(setting, refusal):
    [one] = logins(setting).logins
    assert login.refusal(one, one.groups) == refusal


def test_an_account_that_is_made_later_counts_with_its_planned_groups(cluster):
    said = logins("allowgroups wheel", groups="")
    assert wrong(login.findings(CONTENTS, cluster, cluster.hosts["sql1"], said)) == []
    said = logins("allowgroups sftp", groups="")
    [(level, _, sentence)] = wrong(login.findings(CONTENTS, cluster, cluster.hosts["sql1"], said))
    assert (level, sentence) == ("error", "AllowGroups refuses the login of rocky from 10.0.0.9")


@pytest.mark.parametrize(
    "line",
    [
        "pubkeyauthentication no",
        "authenticationmethods publickey,password",
        "authorizedkeysfile /etc/ssh/keys/%u",
    ],
)
def test_a_key_alone_opens_the_account(cluster, line):
    key = line.split()[0]
    text = "\n".join(one for one in SSHD.splitlines() if key not in one) + f"\nsshd {line}\n"
    said = login.parse(f"origin 10.0.0.9\nlogin rocky 10.0.0.9\n{text}groups rocky\n")
    assert len(wrong(login.findings(CONTENTS, cluster, cluster.hosts["sql1"], said))) == 1


def test_a_terminal_for_sudo_is_asked_of_everybody_or_of_somebody_else():
    needed = login.terminal_needed
    assert needed(["Defaults    requiretty"], "rocky")
    assert not needed(["Defaults requiretty", "Defaults:rocky !requiretty"], "rocky")
    assert not needed(["Defaults:nagios requiretty"], "rocky")
    assert not needed([], "rocky")


# Network


def of_network(cluster, text: str, host: str = "sql1") -> list[tuple[str, str, str]]:
    return wrong(network.findings(cluster.hosts[host], cluster, network.parse(text)))


def test_an_address_that_is_elsewhere_is_an_error(cluster):
    [(level, _, sentence), *_] = of_network(cluster, network_answer("10.0.0.5"))
    assert (level, sentence) == (
        "error",
        "no interface has 192.168.83.148; this server has 10.0.0.5",
    )


def test_a_second_card_is_fine_as_long_as_packets_leave_from_the_right_address(cluster):
    text = network_answer("192.168.83.148", ["192.168.83.147"], more="address eth1 198.18.0.9/16")
    assert of_network(cluster, text) == []
    other = text.replace(
        "route 192.168.83.147 eth0 192.168.83.148", "route 192.168.83.147 eth1 198.18.0.9"
    )
    [(level, title, sentence)] = of_network(cluster, other)
    assert (level, title) == ("error", "address")
    assert sentence.startswith("packets to sql2 leave from 198.18.0.9 (eth1)")


def test_own_services_are_not_foreign_and_others_are(cluster):
    own = """\
listens 5432 900 patroni.service postgres
listens 8008 800 patroni.service patroni
listens 2379 700 etcd.service etcd"""
    assert of_network(cluster, network_answer("192.168.83.148", more=own)) == []
    foreign = "listens 5432 900 postgresql-15.service postmaster"
    [(level, title, sentence)] = of_network(cluster, network_answer("192.168.83.148", more=foreign))
    assert (level, title) == ("error", "ports")
    assert sentence == "postmaster (pid 900, postgresql-15.service) listens on 5432"


def test_epmd_outlives_the_command_that_started_it(cluster):
    own = "listens 4369 77 session-3.scope epmd\nlistens 5672 80 rabbitmq-server.service beam.smp"
    assert of_network(cluster, network_answer("192.168.83.135", more=own), "mq1") == []


def test_the_kernel_serves_nfs(cluster):
    text = network_answer("192.168.83.132", more="listens 2049 - kernel kernel")
    assert of_network(cluster, text, "ftp") == []


def test_ports_of_a_range_are_taken_for_moments_only(cluster):
    assert 35672 not in network.ports(cluster, cluster.hosts["mq1"])
    assert network.ports(cluster, cluster.hosts["worker1"]) == [8793]


# Packages


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "code 1 2\nError: \n Problem: conflicting requests\n  - nothing provides python3.12 "
            "needed by patroni-4.1.0-1PGDG.rhel8.noarch from pgdg-common\n(try to add …)",
            "nothing provides python3.12 needed by patroni-4.1.0-1PGDG.rhel8.noarch",
        ),
        (
            "code 1 1\nNo match for argument: lsyncd\nError: Unable to find a match: lsyncd",
            "no repository has lsyncd",
        ),
        (
            "code 1 3\nErrors during downloading metadata for repository 'baseos':\n"
            "  - Curl error (7): Couldn't connect to server\n"
            "Error: Failed to download metadata for repo 'baseos': Cannot download repomd.xml",
            "repository 'baseos': Cannot download repomd.xml",
        ),
        (
            'code 1 1\nError: There are no enabled repositories in "/etc/yum.repos.d".',
            'There are no enabled repositories in "/etc/yum.repos.d".',
        ),
        ("code 124 9", "dnf did not finish within 240 s"),
        ("code 127 9\nbash: dnf: command not found", "bash: dnf: command not found"),
    ],
)
def test_what_dnf_cannot_install_is_one_sentence(cluster, text, sentence):
    [(level, title, said)] = wrong(packages.findings(cluster.hosts["sql1"], packages.parse(text)))
    assert (level, title, said) == ("error", "packages", sentence)


def test_a_transaction_that_dnf_would_carry_out_is_fine(cluster):
    text = "code 1 2\nInstall  2 Packages\n\nTotal size: 11 k\nOperation aborted."
    assert wrong(packages.findings(cluster.hosts["sql1"], packages.parse(text))) == []
    noisy = "warning: Found bdb Packages database\ninstalled"
    assert wrong(packages.findings(cluster.hosts["sql1"], packages.parse(noisy))) == []


def test_a_pinned_release_is_named_where_python_3_12_is_missing(cluster):
    text = "code 1 2\n  - nothing provides python3.12 needed by patroni-4.1.0"
    [one] = packages.findings(cluster.hosts["sql1"], packages.parse(text))
    assert "undo the pin" in one.fix


@pytest.fixture
def answered(hosts_yaml):
    """A cluster whose hosts have said all that a step may need, and what they said."""
    cluster = structs.replace(CONTENTS.load(hosts_yaml()), public_key="ssh-ed25519 AAAA controller")
    for section in CONTENTS.sections:
        for secret in section.secrets:
            if not (secret.passing and secret.make):
                cluster.secret(secret)
    cluster.vault.keep()
    names, known = list(cluster.hosts), well(cluster)
    known[KEY] = known[WORKER_KEY] = {name: f"{ed25519(name)} x" for name in names}
    known[HOST_KEYS] = {name: [ed25519(f"host {name}")] for name in names}
    known[KEYS] = {name: [ed25519(f"nfs {name}"), *known[HOST_KEYS][name]] for name in names}
    known[CERTIFICATE] = dict.fromkeys(names, "PEM")
    known[AIRFLOW_SHIPPED] = known[PYTHON_SHIPPED] = {}
    return cluster, Facts(known)


def installed(host, cluster, facts) -> set[str]:
    """What all tasks of all sections install on a host."""
    wanted = set()
    for section in CONTENTS.sections:
        for task in section.work:
            on = hosts_on(task.on, cluster)
            if isinstance(task, StepTask) and host in task.taken_by(on, cluster):
                for step in task.steps(host, cluster, facts, on):
                    wanted |= {*step.installs}
    return wanted


def test_dnf_is_asked_for_all_that_the_sections_install(cluster, answered):
    """The steps that need answers of hosts install nothing that the others do not."""
    for host in cluster.hosts.values():
        asked = packages.known_steps(CONTENTS, cluster, host)
        assert installed(host, *answered) <= {name for step in asked for name in step.installs}


def test_repositories_are_those_of_the_steps(cluster):
    host = cluster.hosts["sql1"]
    command = packages.command(list(packages.known_steps(CONTENTS, cluster, host)))
    assert ">epel.repo" in command
    assert ">pgdg-redhat-all.repo" in command
    assert "postgresql15-server" in command


def test_no_password_is_made_for_a_preflight(cluster):
    list(packages.known_steps(CONTENTS, cluster, cluster.hosts["sql1"]))
    assert not (cluster.state / "secrets.yaml").exists()


# Paths


@pytest.fixture
def seen(cluster):
    """seen(answer, zones) -> what becomes of sql2's way to sql1's PostgreSQL."""
    path = reach.Path("sql2", "sql1", 5432)

    def outcome(said: str, zones: str = ZONES, running: bool = True, ssh: str = "open") -> str:
        there = network.parse(network_answer("192.168.83.148", zones=zones, running=running))
        answers = {"192.168.83.148:5432": said, "192.168.83.148:22": ssh}
        return reach.Reach(cluster, {"sql2": answers}, {"sql1": there}).outcome(path)

    return outcome


def test_a_refused_connection_has_arrived(seen):
    assert seen("open") == seen("Connection refused") == reach.OPEN


def test_a_port_that_the_target_itself_closes_is_unknown_until_the_firewall_is_set_up(seen):
    assert seen("No route to host") == reach.WAITS


def test_what_the_target_does_not_explain_is_blocked_by_somebody_else(seen):
    opened = ZONES.replace("ports: 8080/tcp", "ports: 5432/tcp 8080/tcp")
    assert seen("No route to host", zones=opened) == reach.BLOCKED
    assert seen("No route to host", running=False) == reach.BLOCKED
    assert seen("silent") == reach.BLOCKED
    assert seen("No route to host", ssh="No route to host") == reach.BLOCKED
    assert seen("silent", running=False) == reach.BLOCKED


def test_a_zone_that_drops_explains_silence(seen):
    dropping = ZONES.replace(
        "public (active)\n  target: default", "public (active)\n  target: DROP"
    )
    assert seen("silent", zones=dropping) == reach.WAITS


def test_a_rule_for_the_caller_lets_it_in(cluster):
    zone = network.parse(network_answer("192.168.83.148")).zones["public"]
    assert zone.lets_in(2379, "192.168.83.147")
    assert not zone.lets_in(2379, "192.168.83.149")
    assert zone.lets_in(22, "10.0.0.1")
    assert zone.lets_in(35680, "10.0.0.1")


@pytest.mark.parametrize(
    ("rule", "caller", "let_in"),
    [
        ('source address="10.1.0.0/16" port port="5432" protocol="tcp" accept', "10.1.2.3", True),
        ('source address="10.1.0.0/16" port port="5432" protocol="tcp" accept', "10.2.0.1", False),
        ('source address="10.1.2.3" port port="5000-6000" protocol="tcp" accept', "10.1.2.3", True),
        ('port port="5432" protocol="tcp" accept', "10.9.9.9", True),
        ('port port="5432" protocol="udp" accept', "10.9.9.9", False),
        ('source NOT address="10.1.2.3" port port="5432" protocol="tcp" accept', "10.9.9.9", False),
        ('source address="10.1.2.3" port port="5432" protocol="tcp" reject', "10.1.2.3", False),
    ],
)
def test_a_rule_is_for_an_address_a_network_or_everybody(rule, caller, let_in):
    zone = network.Zone(rules=(f'rule family="ipv4" {rule}',))
    assert zone.lets_in(5432, caller) is let_in


def test_the_needed_paths_are_those_of_the_sections_and_of_private_ports(cluster):
    paths = set(reach.needed(cluster))
    for caller, target, port in (
        ("sql1", "sql2", 2380),
        ("haproxy2", "sql3", 8008),
        ("airflow", "haproxy2", 5000),
        ("worker1", "mq2", 5672),
        ("worker1", "card1", 22),
        ("airflow", "worker1", 8793),
        ("scheduler2", "nfs2", 2049),
        ("nfs2", "sql1", 8432),
    ):
        assert reach.Path(caller, target, port) in paths
    assert not [path for path in paths if path.caller == "card1"]


def test_the_matrix_names_the_ports_that_are_blocked(cluster):
    paths = [reach.Path("sql2", "sql1", 5432), reach.Path("sql2", "sql1", 8008)]
    there = network.parse(network_answer("192.168.83.148"))
    seen = {"sql2": {"192.168.83.148:5432": "silent", "192.168.83.148:8008": "open"}}
    found = reach.Reach(cluster, seen, {"sql1": there})
    assert reach.matrix(found, paths) == [{"from / to": "sql2", "sql1": "5432"}]
    [(level, _, sentence)] = wrong(reach.findings(found, paths))
    assert (level, sentence) == (
        "error",
        "sql1 cannot be reached on 5432: a firewall between them blocks it",
    )


# All of it


def test_what_is_printed_is_foreign():
    judge = none("was not set up by this project")
    assert judge(Answer("\n")) == Verdict(OK)
    many = "\n".join(f"airflow-{number}.service" for number in range(7))
    assert judge(Answer(many)).sentence.endswith("and 2 more was not set up by this project")


def test_alike_findings_of_several_servers_are_one_row_and_errors_come_first():
    def one(host, level):
        return Finding("umask", Verdict(level, "0077"), "set it", host=host)

    rows = list(grouped([one("a", WARN), one("b", WARN), one("b", ERROR), one("c", OK)], 2))
    assert [(row["level"], row["servers"]) for row in rows] == [
        ("error", "b"),
        ("warning", "all 2"),
    ]


def test_a_fresh_cluster_passes(cluster, tmp_path):
    own = run(cluster, tmp_path, Servers(cluster))
    assert perform(own, CONTENTS.find("base.preflight"), {})
    said = own.report.stream.getvalue()
    assert "0 errors, 0 warnings, 0 unknown" in said, said
    assert own.exit_code == 0


def test_an_error_refuses_the_task_and_names_the_option_to_go_on(cluster, tmp_path):
    changes = {("sql1", "PRETTY_NAME"): SYSTEM.replace("umask 0022", "umask 0077")}
    own = run(cluster, tmp_path, Servers(cluster, changes))
    assert not perform(own, CONTENTS.find("base.preflight"), {})
    said = own.report.stream.getvalue()
    assert "umask: commands of root run with umask" in said
    assert "1 error would stop the work; nothing was changed." in said
    assert "inv cluster.deploy --ignore-preflight" in said
    assert own.exit_code == 1
    assert own.results[-1].status is Status.REFUSED


def test_keep_going_goes_on(cluster, tmp_path):
    changes = {("sql1", "PRETTY_NAME"): SYSTEM.replace("umask 0022", "umask 0077")}
    own = run(cluster, tmp_path, Servers(cluster, changes), keep_going=True)
    assert perform(own, CONTENTS.find("base.preflight"), {})


def test_a_server_that_is_off_ends_in_exit_code_3(cluster, tmp_path):
    off = {"sql1": UnreachableError("sql1 (192.168.83.148:22) is unreachable: no answer in time.")}
    own = run(cluster, tmp_path, Servers(cluster, off=off))
    assert not perform(own, CONTENTS.find("base.preflight"), {})
    assert own.exit_code == 3
    assert "sql1 (192.168.83.148:22) is" in own.report.stream.getvalue()


def test_sudo_that_asks_for_a_terminal_has_a_way_out(cluster, tmp_path):
    why = "sql1: no root shell for rocky: sudo: sorry, you must have a tty to run sudo."
    own = run(cluster, tmp_path, Servers(cluster, off={"sql1": AccessError(why)}))
    assert not perform(own, CONTENTS.find("base.preflight"), {})
    assert "!requiretty" in own.report.stream.getvalue()


def test_an_answer_that_makes_no_sense_is_unknown_and_stops_nothing(cluster, tmp_path):
    changes = {("sql1", "PRETTY_NAME"): "garbage\n", ("sql2", "list-all-zones"): "\n"}
    own = run(cluster, tmp_path, Servers(cluster, changes))
    assert perform(own, CONTENTS.find("base.preflight"), {})
    assert "2 unknown" in own.report.stream.getvalue()


def test_servers_of_airflow_have_one_release(cluster, tmp_path):
    nine = SYSTEM.replace("platform:el8", "platform:el9").replace("8.10 (Green Obsidian)", "9.6")
    own = run(cluster, tmp_path, Servers(cluster, {("worker1", "PRETTY_NAME"): nine}))
    assert not perform(own, CONTENTS.find("base.preflight"), {})
    assert "EL9 x86_64" in own.report.stream.getvalue()
    own = run(cluster, tmp_path, Servers(cluster, {("sql2", "PRETTY_NAME"): nine}))
    assert perform(own, CONTENTS.find("base.preflight"), {})


def test_preconditions_that_hold_before_anything_is_set_up_are_asked(cluster, tmp_path):
    changes = {
        (
            "worker1",
            "has uid",
        ): "user app has uid 50000 gid 50000\nChange what is there, or the numbers."
    }
    own = run(cluster, tmp_path, Servers(cluster, changes))
    assert not perform(own, CONTENTS.find("base.preflight"), {})
    assert "user app has uid 50000" in own.report.stream.getvalue()


def test_it_is_the_tables_only_and_results_are_for_programs(cluster, tmp_path):
    own = run(cluster, tmp_path, Servers(cluster))
    preflight(own, list(cluster.hosts.values()))
    assert {result.mode for result in own.results} == {CHECK}
    assert {result.host for result in own.results} == {*cluster.hosts, "cluster"}
