"""The monitoring, as far as it needs no Prometheus."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from types import SimpleNamespace

import pytest
import yaml
from conftest import PROJECT
from support.all_steps import answered, steps_of
from support.here import Here
from support.status_of import well

from fabfile import CONTENTS
from fabfile.monitoring import check, common, exporters, rules, targets
from fabfile.monitoring.common import readings_of, watched
from fabfile.postgres.transport import TRANSPORT, Transport
from fabfile.shared.metrics import of_cluster
from fabfile.shared.transport import Speaks
from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, WARN, Answer
from runbook.declare.work import StepTask
from runbook.errors import SettingsError
from runbook.inventory.access import access

FILES = PROJECT / "files/monitoring"
ON = ("  enabled: false", "  enabled: true ")


@pytest.fixture
def monitored(hosts_yaml):
    """The shipped hosts.yaml, with monitoring."""
    return CONTENTS.load(hosts_yaml(*ON))


# Which servers, and who may read


def test_nothing_is_installed_where_nobody_asks_for_it(cluster):
    assert watched(cluster) == []


def test_a_monitoring_server_watches_all_servers(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("roles: [target]", "roles: [target, monitoring]"))
    assert watched(cluster) == list(cluster.hosts.values())
    card1 = cluster.hosts["card1"].address
    for name, port in (("sql1", "8008/tcp"), ("mq1", "15692/tcp"), ("ftp", "9960/tcp")):
        assert access(cluster.hosts[name], port, cluster).admits(card1)


def test_metrics_that_nobody_may_read_are_a_warning(monitored):
    [warning] = monitored.warnings
    assert "put the address of your Prometheus into firewall.monitoring" in warning
    assert not access(monitored.hosts["sql1"], "9960/tcp", monitored).sources


# What a server says about itself


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("sql1", {"vitals", "certificates", "database", "etcd", "airflow"}),
        ("mq1", {"vitals", "certificates"}),
        ("ftp", {"vitals", "certificates", "addresses", "units", "share"}),
        ("nfs2", {"vitals", "certificates", "addresses", "units", "share", "backups"}),
        ("worker1", {"vitals", "certificates", "units", "mounts"}),
        ("haproxy2", {"vitals", "certificates", "addresses", "units", "mounts", "proxy"}),
        ("card1", {"vitals", "certificates"}),
    ],
)
def test_a_server_is_asked_what_its_roles_are_about(monitored, host, names):
    assert {one.name for one in readings_of(monitored.hosts[host], monitored)} == names


def every_reading(cluster):
    return {
        (one.name, host.name): one.command(cluster, host)
        for host in cluster.hosts.values()
        for one in readings_of(host, cluster)
    }


def test_every_reading_is_turned_into_metrics_and_is_in_the_documentation(monitored):
    page = (PROJECT / "docs/monitoring.md").read_text()
    names = {one.name for part in common.PARTS for one in part.readings}
    assert names == {file.stem for file in (FILES / "readings").glob("*.awk")} - {"metrics"}
    assert all(f"\n| {name} | " in page for name in names)


def test_readings_are_good_shell(monitored):
    functions = [
        f"f{number}() {{\n{text}\n}}"
        for number, text in enumerate(dict.fromkeys(every_reading(monitored).values()))
    ]
    done = subprocess.run(
        ["shellcheck", "--shell=bash", "--severity=warning", "--exclude=SC2154,SC2046", "-"],
        input="\n".join(functions),
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""


def steps(cluster, *names):
    everything, facts = answered(cluster)
    for work in common.section.work:
        if isinstance(work, StepTask) and (not names or work.short in names):
            yield from steps_of(work, everything, facts)


def test_no_password_is_in_what_is_installed(monitored):
    everything, _ = answered(monitored)
    secrets = {
        everything.secret(secret)
        for section in CONTENTS.sections
        for secret in section.secrets
        if not (secret.passing or secret.family or secret.make)
    }
    assert secrets
    for step in steps(monitored):
        for text in (step.text, step.apply, step.test):
            assert not any(secret in text for secret in secrets), step.title


def test_node_exporter_listens_on_the_address_of_hosts_yaml(monitored):
    units = [one.text for one in steps(monitored) if one.title.endswith(common.EXPORTER)]
    for host in monitored.hosts.values():
        assert any(f"--web.listen-address={host.address}:9960 " in text for text in units)


@pytest.mark.parametrize("name", ["vitals", "database", "etcd", "share", "proxy", "backups"])
def test_a_reading_asks_what_the_checks_ask(monitored, name):
    """The same commands, in the same words: nothing is asked in two ways."""
    host = {"share": "ftp", "proxy": "airflow", "backups": "nfs2"}.get(name, "sql1")
    asked = every_reading(monitored)[name, host]
    one = monitored.hosts[host]
    known = [
        fact.command(monitored, one)
        for section in CONTENTS.sections
        for fact in section.cluster_check_needs
    ]
    probes = [
        probe.command
        for section in CONTENTS.sections
        if section.probes
        for probe in section.probes(one, monitored)
    ]
    assert any(asked in command for command in (*known, *probes))


# The script that asks


@pytest.fixture
def collect(tmp_path):
    """collect(name=(command, awk), …) -> the files that it leaves, and what is in them."""
    readings, metrics = tmp_path / "readings", tmp_path / "metrics"
    readings.mkdir()
    metrics.mkdir()
    (readings / "metrics.awk").write_text((FILES / "readings/metrics.awk").read_text())

    def run(**asked: tuple[str, str]) -> dict[str, str]:
        for name, (command, program) in asked.items():
            (readings / f"{name}.sh").write_text(command)
            (readings / f"{name}.awk").write_text(program)
        subprocess.run(["bash", str(FILES / "collect"), readings, metrics], check=True)
        assert not [file for file in metrics.iterdir() if file.suffix != ".prom"]
        return {file.stem: file.read_text() for file in metrics.iterdir()}

    run.readings, run.metrics = readings, metrics
    return run


TWO = '{ say("seen", $1) }'


def test_an_answer_becomes_metrics(collect):
    found = collect(good=("echo 17", TWO))
    assert found["good"] == "runbook_seen 17\n"
    ok, collected = found["collect"].splitlines()
    assert ok == 'runbook_reading_ok{reading="good"} 1'
    assert re.fullmatch("runbook_collected_seconds [0-9]{10}", collected)


@pytest.mark.parametrize("command", ["echo 17; exit 3", "true", "echo >&2 17", "syntax ("])
def test_no_answer_leaves_no_metrics_and_says_so(collect, command):
    assert "bad" in collect(bad=("echo 17", TWO), good=("echo 1", TWO))
    found = collect(bad=(command, TWO))
    assert "bad" not in found
    assert found["good"] == "runbook_seen 1\n"
    assert 'runbook_reading_ok{reading="bad"} 0' in found["collect"].splitlines()


def test_what_is_not_asked_any_more_is_gone(collect):
    collect(old=("echo 1", TWO), good=("echo 2", TWO))
    (collect.readings / "old.sh").unlink()
    assert set(collect()) == {"good", "collect"}


def test_readings_are_asked_at_the_same_time(collect):
    slow = {f"slow{number}": ("sleep 1; echo 1", TWO) for number in range(8)}
    before = os.times().elapsed
    assert len(collect(**slow)) == 9
    assert os.times().elapsed - before < 7


def test_what_a_service_says_ends_no_quotes_and_no_line(collect):
    program = '{ say("seen", $1, label("what", $2)); say("other", $2) }'
    found = collect(bad=("""printf '1 "}\\\\x\\033é\\n'""", program))
    assert found["bad"] == 'runbook_seen{what="\\"}\\\\x???"} 1\n'


# What the answers mean


INFO = """1700
[{"backup":[{"archive":{"start":"a","stop":"b"},"error":false,"info":{"delta":1},"label":"F",
"timestamp":{"start":100,"stop":200},"type":"full"},{"error":true,
"timestamp":{"start":300,"stop":400},"type":"diff"},{"error":false,
"timestamp":{"start":500,"stop":600},"type":"diff"}]}]"""

STATISTICS = """2.6
active
here
# pxname,svname,qcur,qmax,scur,smax,status
health,FRONTEND,,,1,8,OPEN
primary,FRONTEND,,,7,8,OPEN
primary,sql1:tls,0,0,0,0,DOWN
primary,sql1,0,0,0,0,UP
primary,sql2,0,0,0,0,DOWN 1/2
primary,BACKEND,0,0,0,0,UP"""


@pytest.mark.parametrize(
    ("name", "answer", "metrics"),
    [
        (
            "vitals",
            "load 1 2 3\nmemory 1000 333\ndisk 33% 40% /var\ndisk - - /a b\nclock Normal\n"
            "failed x.service\nreboot kernel 5 is installed",
            [
                "memory_left_percent 33",
                'disk_used_percent{path="/var"} 40',
                'disk_used_percent{path="/a b"} 0',
                "clock_synchronised 1",
                'unit_failed{unit="x.service"} 1',
                'reboot_due{why="kernel 5 is installed"} 1',
            ],
        ),
        (
            "certificates",
            "1800000000 etcd",
            ['certificate_expires_seconds{name="etcd"} 1800000000'],
        ),
        (
            "database",
            "waiting 3 61\narchiving fails\nconnections 20 97\ncorrupt 0\nage 5 200\n"
            "snapshot 17\nverified ok 1700 35\ndropped 12\nwatchdog none",
            [
                "wal_waiting_files 3",
                "wal_waiting_seconds 61",
                "wal_archiving 0",
                "database_connections 20",
                "database_connections_allowed 97",
                "database_damaged_pages 0",
                "database_oldest_row 5",
                "database_freezes_at 200",
                "etcd_copied_seconds 17",
                "restore_succeeded 1",
                "restore_tried_seconds 1700",
                "wal_dropped_seconds 12",
            ],
        ),
        ("etcd", '{"health":"true"}\n{"health":"true"}', ["etcd_healthy 1"]),
        ("etcd", '{"health":"false"}\n{"health":"true"}', ["etcd_healthy 0"]),
        ("etcd", "inactive", ["etcd_healthy 0"]),
        ("etcd", "\n", ["etcd_healthy 0"]),
        (
            "backups",
            INFO,
            [
                'backup_started_seconds{type="full"} 100',
                'backup_finished_seconds{type="full"} 200',
                'backup_started_seconds{type="diff"} 500',
                'backup_finished_seconds{type="diff"} 600',
            ],
        ),
        (
            "share",
            "generation 4\nled 4\nfit yes\ncopying active\nexport x\ncompared 1000\n"
            "lacks 960 /a\nlacks 990 /b\nrescued x",
            [
                "share_copying 1",
                "share_fit 1",
                "share_rescued_files 1",
                "share_lacking_files 2",
                "share_lacking_seconds 40",
            ],
        ),
        (
            "share",
            "generation 4\nled 3\ncopying inactive",
            ["share_copying 0", "share_fit 0", "share_rescued_files 0"],
        ),
        (
            "mounts",
            "yes /dags\nno /logs",
            ['share_readable{path="/dags"} 1', 'share_readable{path="/logs"} 0'],
        ),
        ("addresses", "nfs-vip held\nx free", ['vip_held{vip="nfs-vip"} 1', 'vip_held{vip="x"} 0']),
        (
            "proxy",
            STATISTICS,
            [
                "keepalived_runs 1",
                "proxy_away 0",
                "proxy_answers 1",
                "proxy_sessions 7",
                'proxy_server_up{backend="primary",server="sql1"} 1',
                'proxy_server_up{backend="primary",server="sql2"} 0',
            ],
        ),
        ("proxy", "2.6\ninactive\naway", ["keepalived_runs 0", "proxy_away 1", "proxy_answers 0"]),
        (
            "units",
            "unit a.service worker\nSubState=running\nNRestarts=0\n12\n"
            "unit b.service dag-processor follows\nSubState=dead\nNRestarts=0\n"
            "unit c.service scheduler\nSubState=dead\nNRestarts=0",
            [
                'unit_runs{unit="a.service",role="worker"} 1',
                'unit_runs{unit="b.service",role="dag-processor"} 1',
                'unit_runs{unit="c.service",role="scheduler"} 0',
            ],
        ),
        (
            "airflow",
            "leader true\nage SchedulerJob scheduler2 4\nbroken 1\nqueued 2\nrunning 3\nwaited 0",
            [
                "airflow_leader 1",
                'airflow_heartbeat_seconds{kind="SchedulerJob",server="scheduler2"} 4',
                "airflow_broken_dags 1",
                "airflow_tasks_waiting 2",
                "airflow_tasks_running 3",
                "airflow_lock_wait_seconds 0",
            ],
        ),
        ("airflow", "leader false\nage SchedulerJob scheduler2 4", ["airflow_leader 0"]),
        (
            "pooler",
            "active\ndatabase,user,cl_active,maxwait\nairflow,airflow,3,7\nairflow,pgbouncer,1,9",
            ["pooler_wait_seconds 7", "pooler_answers 1"],
        ),
        ("pooler", "active", ["pooler_answers 0"]),
        ("pooler", "inactive", ["pooler_answers 0"]),
    ],
)
def test_an_answer_is_read(name, answer, metrics):
    programs = [f"-f{FILES / 'readings' / one}.awk" for one in ("metrics", name)]
    done = subprocess.run(
        ["awk", *programs],
        input=answer + "\n",
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == sorted(f"runbook_{one}" for one in metrics)


# Steps


def test_readings_that_a_server_does_not_need_any_more_are_removed(tmp_path, monkeypatch):
    folder, needed = tmp_path / "readings", {"metrics.awk", "vitals.sh", "vitals.awk"}
    folder.mkdir()
    monkeypatch.setattr(exporters, "READINGS", str(folder))
    here, step = Here(tmp_path), exporters.no_others(["vitals"])
    for name in needed:
        (folder / name).write_text("")
    assert here.statuses(step) == ["ok"]
    (folder / "proxy.sh").write_text("")
    assert here.statuses(step, mode="plan") == ["differs"]
    assert here.statuses(step) == ["changed"]
    assert here.statuses(step) == ["ok"]
    assert {file.name for file in folder.iterdir()} == needed


# Targets, rules, and the words in them


def endpoints(cluster, speaks=Speaks.TLS):
    facts = Facts({TRANSPORT: {name: Transport(speaks, speaks) for name in ("sql1", "sql2")}})
    told = rules.endpoints(cluster, facts)
    return {one["targets"][0]: one["labels"] for one in told}


def test_every_server_and_each_service_with_metrics_is_a_target(monitored):
    found = endpoints(monitored)
    jobs = [labels["job"] for labels in found.values()]
    assert (jobs.count("node"), jobs.count("patroni"), jobs.count("rabbitmq")) == (13, 3, 3)
    assert found["192.168.83.148:8008"] == {
        "cluster": "airflow-ha",
        "host": "sql1",
        "job": "patroni",
        "__scheme__": "https",
    }
    assert found["192.168.83.148:9960"]["__scheme__"] == "http"


def test_patroni_is_read_as_it_speaks_and_not_as_hosts_yaml_wants(monitored):
    for speaks, scheme in ((Speaks.CLEAR, "http"), (Speaks.BOTH, "http"), (Speaks.TLS, "https")):
        assert endpoints(monitored, speaks)["192.168.83.148:8008"]["__scheme__"] == scheme


def test_the_ca_is_among_the_files_if_there_is_one(monitored):
    everything, _ = answered(monitored)
    without, with_it = rules.files(monitored, Facts()), rules.files(everything, Facts())
    assert "ca.crt" not in without
    assert "tls_config" not in without["scrape.yml"]
    assert "BEGIN CERTIFICATE" in with_it["ca.crt"]
    [job] = yaml.safe_load(with_it["scrape.yml"])["scrape_configs"]
    assert job["tls_config"] == {"ca_file": "ca.crt"}
    assert job["file_sd_configs"] == [{"files": ["targets.json"]}]


@pytest.fixture
def written(monitored, tmp_path):
    """written(plan=False) -> what is said while the files are written."""

    def write(plan: bool = False, cluster=monitored) -> list[str]:
        said: list[str] = []
        run = SimpleNamespace(
            cluster=cluster,
            options=SimpleNamespace(plan=plan),
            report=SimpleNamespace(say=said.append),
            gather=lambda facts, hosts: Facts(well(cluster)),
        )
        targets.targets(run, [], folder=str(tmp_path / "a" / "folder"))
        return said

    write.folder = tmp_path / "a" / "folder"
    return write


def test_files_are_written_once(written):
    assert all(line.endswith(": would be written") for line in written(plan=True))
    assert not written.folder.exists()
    assert all(line.endswith(": written") for line in written())
    assert {file.name for file in written.folder.iterdir()} == {
        "targets.json",
        "rules.yml",
        "scrape.yml",
        "ca.crt",
    }
    assert all(line.endswith(": unchanged") for line in written())
    (written.folder / "rules.yml").write_text("")
    [line] = [line for line in written(plan=True) if not line.endswith(": unchanged")]
    assert line == f"  {written.folder}/rules.yml: would be written"
    json.loads((written.folder / "targets.json").read_text())


def test_without_monitoring_it_says_what_to_do(written, cluster):
    with pytest.raises(SettingsError, match=r"set monitoring.enabled: true, then fab monitoring"):
        written(cluster=cluster)


def test_a_folder_that_cannot_be_written_is_named(written):
    written.folder.parent.write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        written()


def test_an_expression_is_about_one_cluster():
    said = of_cluster('max by (host) (up{job="x"}) == 1 and patroni_primary > 0', "a")
    assert (
        said == 'max by (host) (up{cluster="a",job="x"}) == 1 and patroni_primary{cluster="a"} > 0'
    )


def templates() -> list[tuple[re.Pattern[str], int]]:
    """All texts of the sections, as patterns: what varies in them may be anything.

    And how many characters of each do not vary.
    """
    found = []
    for file in (PROJECT / "fabfile").rglob("*.py"):
        if file.name == "alerts.py" or file == PROJECT / "fabfile/monitoring/servers.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            parts = texts(node)
            pattern = "".join(re.escape(one) if one else ".*" for one in parts)
            found.append((re.compile(pattern), len("".join(parts))))
    return found


def texts(node: ast.AST) -> list[str]:
    """The parts of a text; empty ones stand for what varies."""
    if isinstance(node, ast.JoinedStr):
        return [str(part.value) if isinstance(part, ast.Constant) else "" for part in node.values]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


OTHERWISE = {
    "AIRFLOW_DB_HELD_UP",  # the check names the session that has to end, which no metric does
    "TLS_EXPIRES",  # the tasks are those of the service, in both
    "TLS_EXPIRED",
}


def test_an_alert_has_the_impact_of_the_check(monitored):
    causes = {cause.code: cause for one in CONTENTS.sections for cause in one.causes}
    for rule in every_rule(monitored):
        if rule["alert"] != "HOST_DOWN":
            assert rule["annotations"]["impact"] == causes[rule["alert"]].impact


def test_an_alert_has_the_fix_of_the_check(monitored):
    """Word for word, but for names and numbers."""
    known, others = templates(), {}
    fixes = {(rule["annotations"]["fix"], rule["alert"]) for rule in every_rule(monitored)}
    for fix, alert in fixes:
        size = len(re.sub("{{.*?}}", "", fix))
        alike = [text for text, own in known if size / 3 < own <= size]
        if not any(text.fullmatch(fix) for text in alike):
            others[alert] = fix
    assert set(others) == OTHERWISE, others


def every_rule(cluster):
    return [rule for group in rules.groups(cluster) for rule in group["rules"]]


def test_the_impact_of_a_server_that_is_down_is_what_is_left_of_its_roles(monitored):
    [down] = [
        rule
        for rule in every_rule(monitored)
        if rule["alert"] == "HOST_DOWN" and rule["labels"]["host"] == "sql1"
    ]
    assert down["annotations"]["impact"] == "2 of 3 database servers left"


def test_every_task_that_a_fix_names_is_there(monitored):
    from fabfile import ns

    for rule in every_rule(monitored):
        for name in re.findall(r"\b[a-z-]+\.[a-z_-]+\b", rule["annotations"]["fix"]):
            section, _, own = name.partition(".")
            if section in CONTENTS.names:
                settings = CONTENTS.schema.settings.get(section)
                assert name in ns.task_names or own in settings.__struct_fields__, name


# The monitoring server


RECEIVER = (
    "  enabled: false",
    "  receiver: {webhook_configs: [{url: {secret: hook}}]}\n  enabled: false",
)
HOOK = "http://hook.example.com/f00d-and-t0ken"


@pytest.fixture
def serving(tmp_path, monkeypatch):
    """serving(secret=HOOK) -> a cluster with a monitoring server, and its files by name."""

    def load(secret: str = HOOK):
        if secret:
            monkeypatch.setenv("RUNBOOK_SECRET_HOOK", secret)
        text = (PROJECT / "hosts.yaml").read_text()
        text = text.replace("roles: [target]", "roles: [target, monitoring]")
        file = tmp_path / "hosts.yaml"
        file.write_text(text.replace(*RECEIVER))
        return CONTENTS.load(file)

    return load


def served(cluster):
    return {
        step.paths[0].rpartition("/")[2]: step
        for step in steps(cluster, "server")
        if step.paths and step.text
    }


def test_prometheus_reads_all_targets_and_tells_its_own_alertmanager(serving):
    found = served(serving())
    told = yaml.safe_load(found["prometheus.yml"].text)
    assert told["rule_files"] == ["rules.yml"]
    [one] = told["alerting"]["alertmanagers"]
    assert one["static_configs"] == [{"targets": ["127.0.0.1:9093"]}]
    [job] = told["scrape_configs"]
    assert job["tls_config"] == {"ca_file": "/etc/pki/airflow-runbook/ca.crt"}
    assert len(json.loads(found["targets.json"].text)) == 19


def test_both_listen_where_nobody_else_is(serving):
    found = served(serving())
    assert " --web.listen-address=127.0.0.1:9090" in found[common.PROMETHEUS].text
    unit = found[common.ALERTMANAGER].text
    assert " --web.listen-address=127.0.0.1:9093 --cluster.listen-address=\n" in unit


def test_a_secret_of_the_receiver_is_in_one_file_and_is_not_shown(serving):
    cluster = serving()
    found = served(cluster)
    told = json.loads(found["alertmanager.yml"].text)
    assert told["receivers"] == [{"name": "operators", "webhook_configs": [{"url": HOOK}]}]
    assert "0640 root:runbook-alerts" in re.sub(
        r"chown root:(\S+) .*\nchmod (\d+)", r"\2 root:\1", found["alertmanager.yml"].apply
    )
    for name, step in found.items():
        assert HOOK not in step.shown + step.diff
        assert (HOOK in step.text) == (name == "alertmanager.yml")


def test_only_who_sends_needs_the_secret(serving):
    cluster = serving(secret="")
    assert watched(cluster)
    everything, facts = answered(cluster)
    assert rules.files(everything, facts)["rules.yml"]
    with pytest.raises(SettingsError, match=r"inv secrets\.set"):
        list(steps(cluster, "server"))


def test_without_a_receiver_nobody_is_told(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("roles: [target]", "roles: [target, monitoring]"))
    told = json.loads(served(cluster)["alertmanager.yml"].text)
    assert told["receivers"] == [{"name": "operators"}]


# The check


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        ('1000\nrunbook_reading_ok{reading="a"} 1\nrunbook_collected_seconds 980', OK, ""),
        ("1000\nrunbook_collected_seconds 880", OK, ""),
        ("1000\nrunbook_collected_seconds 879", ERROR, "the answers are 121 s old"),
        (
            '1000\nrunbook_reading_ok{reading="b"} 0\nrunbook_collected_seconds 980',
            WARN,
            "no answer about: b",
        ),
        ("1000", ERROR, "nothing was asked yet"),
        ("1000\ncat: collect.prom: No such file", ERROR, "nothing was asked yet"),
        ("", ERROR, "nothing was asked yet"),
        ("of another kind\nword\nrunbook_collected_seconds 980", ERROR, "nothing was asked yet"),
    ],
)
def test_answers_are_new(answer, level, words):
    verdict = check.new(30)(Answer(answer))
    assert (verdict.level, verdict.sentence) == (level, words)


def test_the_status_says_how_many_servers_show_metrics(monitored):
    findings = [
        probe.finding(Answer("", code), "monitoring", host.name)
        for host, code in zip(monitored.hosts.values(), (0, 0, 7))
        for probe in check.check(host, monitored)
        if probe.title == check.SHOWN
    ]
    assert check.line(monitored, Facts(), findings) == "2 of 13 servers show metrics"
