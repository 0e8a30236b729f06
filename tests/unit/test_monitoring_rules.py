"""Each alert rule fires when it should, and not when all is well: promtool plays the metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml
from conftest import PROJECT
from support.metrics import Series, as_input, changed, well, without

from fabfile import CONTENTS
from fabfile.monitoring.rules import files, groups
from runbook.declare.facts import Facts
from runbook.inventory.cluster import Cluster

DAY = 86400
PROMTOOL = shutil.which(str(PROJECT / ".venv/bin/promtool")) or shutil.which("promtool")

pytestmark = pytest.mark.skipif(
    not PROMTOOL, reason="promtool is missing: make .venv/.dev downloads it"
)


@dataclass(frozen=True)
class Case:
    """What happens, and the alert that it raises; `silent`: servers on which nothing answers."""

    alert: str
    severity: str
    changes: dict[str, Optional[object]] = field(default_factory=dict)
    about: str = ""
    host: str = ""
    silent: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.alert, self.severity, self.about, self.host)))


def expires(name: str, seconds: int) -> dict[str, Optional[object]]:
    return {rf'^runbook_certificate_expires_seconds.*name="{name}"': seconds}


def one(metric: str, value: object, host: str = "", *labels: str) -> dict[str, Optional[object]]:
    marks = "".join(
        f".*{re.escape(label)}" for label in (f'host="{host}"' if host else "", *labels)
    )
    return {f"^{metric}{{{marks}": value}


FAILED = 'runbook_unit_failed{cluster="airflow-ha",host="mq1",unit="x.service"}'
DUE = 'runbook_reboot_due{cluster="airflow-ha",host="mq1",why="a kernel"}'
DROPPED = 'runbook_wal_dropped_seconds{cluster="airflow-ha",host="sql1"}'
TRIED = 'runbook_restore_tried_seconds{cluster="airflow-ha",host="sql3"}'
SUCCEEDED = 'runbook_restore_succeeded{cluster="airflow-ha",host="sql3"}'
POOLER = 'runbook_certificate_expires_seconds{cluster="airflow-ha",host="sql1",name="pgbouncer"}'
POOL = 'runbook_pooler_{}{{cluster="airflow-ha",host="sql1"}}'
MEMORY = "rabbitmq_alarms_memory_used_watermark"
AGE = "runbook_airflow_heartbeat_seconds"
FINISHED = "^runbook_backup_finished_seconds"
WARNING, CRITICAL = "warning", "critical"

CASES = [
    Case("HOST_DOWN", CRITICAL, host="card1", silent=("card1",)),
    Case("HOST_DISK_FULL", WARNING, one("runbook_disk_used_percent", 85, "mq1"), host="mq1"),
    Case("HOST_DISK_FULL", CRITICAL, one("runbook_disk_used_percent", 95, "mq1"), host="mq1"),
    Case("HOST_MEMORY_SHORT", WARNING, one("runbook_memory_left_percent", 7, "mq1"), host="mq1"),
    Case("HOST_MEMORY_SHORT", CRITICAL, one("runbook_memory_left_percent", 2, "mq1"), host="mq1"),
    Case("HOST_CLOCK_OFF", CRITICAL, one("node_time_seconds", "3+15x*", "mq1"), host="mq1"),
    Case("HOST_NO_TIME_SOURCE", WARNING, one("runbook_clock_synchronised", 0, "mq1"), host="mq1"),
    Case("HOST_REBOOT_DUE", WARNING, {DUE: 1}, host="mq1"),
    Case("HOST_UNIT_FAILED", WARNING, {FAILED: 1}, host="mq1"),
    Case("VIP_NOBODY", CRITICAL, one("runbook_vip_held", 0), about="airflow-vip"),
    Case("VIP_NOBODY", CRITICAL, one("runbook_vip_held", 0), about="nfs-vip"),
    Case("VIP_TWICE", CRITICAL, one("runbook_vip_held", 1), about="airflow-vip"),
    Case("VIP_TWICE", CRITICAL, one("runbook_vip_held", 1), about="nfs-vip"),
    Case("AIRFLOW_UNIT_DOWN", CRITICAL, one("runbook_unit_runs", 0, "worker1"), host="worker1"),
    *(
        case
        for name in ("etcd", "patroni", "postgresql", "rabbitmq", "haproxy", "airflow")
        for case in (
            Case("TLS_EXPIRES", WARNING, expires(name, 29 * DAY), about=name),
            Case("TLS_EXPIRED", CRITICAL, expires(name, 0), about=name),
        )
    ),
    Case("TLS_EXPIRES", WARNING, {POOLER: 29 * DAY}, about="pgbouncer"),
    Case("TLS_EXPIRED", CRITICAL, {POOLER: 0}, about="pgbouncer"),
    Case("TLS_CA_EXPIRES", WARNING, expires("ca", 300 * DAY)),
    Case("TLS_CA_EXPIRES", CRITICAL, expires("ca", 0)),
    Case("PG_NO_LEADER", CRITICAL, one("patroni_primary", 0)),
    Case("PG_NO_LEADER", CRITICAL, silent=("sql1", "sql2", "sql3")),
    Case("PG_TWO_LEADERS", CRITICAL, one("patroni_primary", 1, "sql2")),
    Case("PG_REPLICA_DOWN", CRITICAL, one("patroni_postgres_streaming", 0, "sql3"), host="sql3"),
    Case("PG_REPLICA_DOWN", CRITICAL, one("patroni_postgres_running", 0, "sql3"), host="sql3"),
    Case("PG_REPLICA_DOWN", CRITICAL, one("up", 0, "sql3", 'job="patroni"'), host="sql3"),
    Case(
        "PG_REPLICA_BEHIND",
        WARNING,
        one("patroni_xlog_replayed_location", 9 * 10**8, "sql3"),
        host="sql3",
    ),
    Case("PG_PAUSED", WARNING, one("patroni_is_paused", 1)),
    Case("PG_RESTART_DUE", WARNING, one("patroni_pending_restart", 1, "sql2"), host="sql2"),
    Case("PG_ONE_COPY", WARNING, one("patroni_sync_standby", 0)),
    Case("PG_ETCD_DOWN", CRITICAL, one("runbook_etcd_healthy", 0)),
    Case("PG_ETCD_DOWN", CRITICAL, silent=("sql2", "sql3")),
    Case("PG_ETCD_MEMBER_DOWN", CRITICAL, one("runbook_etcd_healthy", 0, "sql2"), host="sql2"),
    Case("PG_ARCHIVE_FAILS", CRITICAL, one("runbook_wal_archiving", 0, "sql1"), host="sql1"),
    Case(
        "PG_ARCHIVE_FAILS",
        WARNING,
        one("runbook_wal_waiting_seconds", 400, "sql1"),
        about="waiting",
    ),
    Case(
        "PG_ARCHIVE_FAILS",
        CRITICAL,
        one("runbook_wal_waiting_seconds", 2000, "sql1"),
        about="waiting",
    ),
    Case("PG_WAL_DROPPED", CRITICAL, {DROPPED: 10}, host="sql1"),
    Case("PG_CONNECTIONS", WARNING, one("runbook_database_connections", 80, "sql1"), host="sql1"),
    Case("PG_CONNECTIONS", CRITICAL, one("runbook_database_connections", 95, "sql1"), host="sql1"),
    Case("PG_CHECKSUMS", CRITICAL, one("runbook_database_damaged_pages", 1, "sql2"), host="sql2"),
    Case("PG_WRAPAROUND", WARNING, one("runbook_database_oldest_row", 5 * 10**8, "sql1")),
    Case("PG_WRAPAROUND", CRITICAL, one("runbook_database_oldest_row", 1_600_000_000, "sql1")),
    Case("PG_BACKUP", CRITICAL, {FINISHED: None}, host="nfs2"),
    Case("PG_BACKUP", WARNING, {FINISHED: -2 * DAY}, about="backup"),
    Case("PG_BACKUP", CRITICAL, {FINISHED: -3 * DAY}, about="backup"),
    Case("PG_BACKUP", WARNING, {f'{FINISHED}.*type="full"': -8 * DAY}, about="full backup"),
    Case("PG_BACKUP", CRITICAL, {f'{FINISHED}.*type="full"': -20 * DAY}, about="full backup"),
    Case("PG_BACKUP", CRITICAL, {TRIED: 0, SUCCEEDED: 0}, about="test restore"),
    Case("PG_BACKUP", WARNING, {TRIED: -36 * DAY, SUCCEEDED: 1}, about="test restore"),
    Case(
        "PG_BACKUP", WARNING, one("runbook_etcd_copied_seconds", -3 * DAY, "sql2"), "etcd", "sql2"
    ),
    Case("PG_POOLER_DOWN", CRITICAL, {POOL.format("answers"): 0}, host="sql1"),
    Case("PG_POOL_FULL", WARNING, {POOL.format("wait_seconds"): 6}, host="sql1"),
    Case("PG_POOL_FULL", CRITICAL, {POOL.format("wait_seconds"): 40}, host="sql1"),
    Case("MQ_NO_MAJORITY", CRITICAL, silent=("mq1", "mq2")),
    Case("MQ_NODE_DOWN", CRITICAL, one("up", 0, "mq2", 'job="rabbitmq"'), host="mq2"),
    Case(
        "MQ_PARTED",
        CRITICAL,
        one("rabbitmq_unreachable_cluster_peers_count", 2, "mq3"),
        host="mq3",
    ),
    Case(
        "MQ_ALARM",
        CRITICAL,
        one("rabbitmq_alarms_free_disk_space_watermark", 1, "mq1"),
        "disk",
        "mq1",
    ),
    Case(
        "MQ_ALARM",
        CRITICAL,
        one(MEMORY, 1, "mq1"),
        "memory",
        "mq1",
    ),
    Case("MQ_LIMIT", WARNING, one("rabbitmq_process_open_fds", 8000, "mq1"), host="mq1"),
    Case("MQ_LIMIT", CRITICAL, one("rabbitmq_process_open_fds", 9600, "mq1"), host="mq1"),
    Case("NFS_MOUNT_LOST", CRITICAL, one("runbook_share_readable", 0, "worker1"), host="worker1"),
    Case("NFS_RESCUED", WARNING, one("runbook_share_rescued_files", 2, "nfs2"), host="nfs2"),
    Case("NFS_NOBODY_ACTIVE", CRITICAL, one("runbook_vip_held", 0)),
    Case("NFS_NOT_COPYING", CRITICAL, one("runbook_share_copying", 0), host="ftp"),
    Case("NFS_COPIES_WRONG", CRITICAL, one("runbook_share_copying", 1), host="nfs2"),
    Case("NFS_STANDBY_BEHIND", CRITICAL, one("runbook_share_lacking_seconds", 31), host="ftp"),
    Case("NFS_STANDBY_BEHIND", CRITICAL, one("runbook_share_fit", 0, "nfs2"), "fit", "nfs2"),
    Case("LB_DOWN", CRITICAL, one("runbook_proxy_answers", 0, "haproxy2"), host="haproxy2"),
    Case(
        "LB_NO_DATABASE",
        CRITICAL,
        one("runbook_proxy_server_up", 0, "", 'backend="primary"'),
        host="airflow",
    ),
    Case(
        "LB_WEBSERVER_DOWN",
        CRITICAL,
        one("runbook_proxy_server_up", 0, "", 'server="haproxy2"'),
        host="haproxy2",
    ),
    Case("LB_SENT_AWAY", WARNING, one("runbook_proxy_away", 1, "airflow"), host="airflow"),
    Case("LB_NO_SPARE", WARNING, one("runbook_keepalived_runs", 0, "airflow")),
    Case("AIRFLOW_NO_DATABASE", CRITICAL, one("runbook_airflow_leader", 0)),
    Case("AIRFLOW_NO_HEARTBEAT", CRITICAL, one(AGE, 31, "", "SchedulerJob", "r2"), "scheduler"),
    Case("AIRFLOW_NO_HEARTBEAT", CRITICAL, one(AGE, None, "", "TriggererJob", "r2"), "triggerer"),
    Case("AIRFLOW_NO_SCHEDULER", CRITICAL, one(AGE, 31, "", "SchedulerJob")),
    Case("AIRFLOW_NO_TRIGGERER", CRITICAL, one(AGE, None, "", "TriggererJob")),
    Case("AIRFLOW_NO_DAG_PROCESSOR", CRITICAL, one(AGE, 31, "", "DagProcessorJob")),
    Case(
        "AIRFLOW_DAG_PROCESSORS",
        WARNING,
        {f'{AGE}{{cluster="airflow-ha",host="sql1",kind="DagProcessorJob",server="nfs2"}}': 1},
    ),
    Case("AIRFLOW_DAG_BROKEN", CRITICAL, one("runbook_airflow_broken_dags", 1)),
    Case("AIRFLOW_TASKS_WAIT", CRITICAL, one("runbook_airflow_tasks_waiting", 1)),
    Case("AIRFLOW_DB_HELD_UP", WARNING, one("runbook_airflow_lock_wait_seconds", 61)),
    Case("MONITORING_SILENT", CRITICAL, one("up", 0, "mq1", 'job="node"'), host="mq1"),
    Case("MONITORING_STALE", CRITICAL, one("runbook_collected_seconds", 0, "mq1"), "age", "mq1"),
    Case("MONITORING_STALE", WARNING, one("runbook_reading_ok", 0, "mq1"), host="mq1"),
]


QUIET_FOR = 3900
QUIET = {"expr": "ALERTS", "eval_time": f"{QUIET_FOR}s", "exp_samples": []}
"""No alert fires, or is about to, after the longest time for which a rule waits."""


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    """The shipped hosts.yaml, with monitoring."""
    folder = tmp_path_factory.mktemp("monitored")
    text = (PROJECT / "hosts.yaml").read_text()
    file = folder / "hosts.yaml"
    assert "  enabled: false" in text
    file.write_text(text.replace("  enabled: false", "  enabled: true"))
    return CONTENTS.load(file)


@pytest.fixture(scope="module")
def rules(monitored) -> list[dict[str, Any]]:
    return [rule for group in groups(monitored) for rule in group["rules"]]


ONE = {"labels": "{}", "value": 1}


def firing(case: Case) -> str:
    """1 if the case's alert fires."""
    labels = {"severity": case.severity, "about": case.about, "host": case.host}
    said = "".join(f',{name}="{text}"' for name, text in labels.items() if text)
    return f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"{said}}}) > bool 0'


def needed(case: Case, rules: list[dict[str, Any]], cluster: Cluster) -> Series:
    """The metrics that these rules are about, as the case changes them."""
    metrics = set(re.findall("[a-z_0-9]+(?={)", " ".join(rule["expr"] for rule in rules)))
    series = changed(without(well(cluster), case.silent), case.changes)
    return {name: text for name, text in series.items() if name.partition("{")[0] in metrics}


def written(
    cases: list[dict[str, Any]], rules_file: Path, folder: Path, interval: str = "15s"
) -> str:
    """A file of test groups, in the folder."""
    file = folder / f"cases-{rules_file.name}"
    told = {"rule_files": [str(rules_file)], "evaluation_interval": interval, "tests": cases}
    file.write_text(yaml.safe_dump(told))
    return str(file)


def played(*cases: str) -> str:
    """What promtool says of these files."""
    done = subprocess.run([PROMTOOL, "test", "rules", *cases], capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def rules_file(monitored, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, text in files(monitored, Facts()).items():
        (folder / name).write_text(text)
    return folder / "rules.yml"


@pytest.fixture(scope="module")
def outcome(monitored, rules, tmp_path_factory) -> str:
    """What promtool says of all cases; each has its name in what is wrong with it.

    Each alert's cases are in a file of their own, with its rules only: that is much faster.
    """
    folder = tmp_path_factory.mktemp("cases")
    told = []
    for alert in {case.alert for case in CASES}:
        own = [rule for rule in rules if rule["alert"] == alert]
        rules_file = folder / f"{alert}.yml"
        rules_file.write_text(yaml.safe_dump({"groups": [{"name": alert, "rules": own}]}))
        wait = max(int(rule["for"].rstrip("s")) for rule in own) + 60
        cases = [
            {
                "interval": "15s",
                "input_series": as_input(needed(case, own, monitored), wait),
                "promql_expr_test": [
                    {
                        "expr": f"{firing(case)} # {case.name}.",
                        "eval_time": f"{wait}s",
                        "exp_samples": [ONE],
                    }
                ],
            }
            for case in CASES
            if case.alert == alert
        ]
        told.append(written(cases, rules_file, folder))
    said = played(*told)
    assert said.count("Unit Testing") == len(told), said
    return said


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_rule_fires(outcome, case):
    assert f"# {case.name}." not in outcome, outcome


def test_promtool_notices_a_rule_that_does_not_fire(rules_file, tmp_path):
    case = Case("LB_DOWN", CRITICAL)
    wrong = {"expr": f"{firing(case)} # {case.name}.", "eval_time": "1m", "exp_samples": [ONE]}
    told = [{"input_series": [], "promql_expr_test": [wrong]}]
    said = played(written(told, rules_file, tmp_path))
    assert f"# {case.name}." in said


def test_no_rule_fires_when_all_is_well(monitored, rules_file, tmp_path):
    case = {
        "name": "all is well",
        "interval": "15s",
        "input_series": as_input(well(monitored), QUIET_FOR),
        "promql_expr_test": [QUIET],
    }
    said = played(written([case], rules_file, tmp_path, "1m"))
    assert "SUCCESS" in said, said


def test_every_rule_has_a_case(rules):
    tried = {(case.alert, case.severity, case.about) for case in CASES}
    there = {
        (rule["alert"], rule["labels"]["severity"], rule["labels"].get("about", ""))
        for rule in rules
    }
    assert there == tried


def test_an_alert_reads_as_in_the_documentation(monitored, rules_file, tmp_path):
    series = changed(well(monitored), one("runbook_proxy_answers", 0, "haproxy2"))
    case = {
        "name": "as documented",
        "interval": "15s",
        "input_series": as_input(series, 120),
        "alert_rule_test": [
            {
                "eval_time": "2m",
                "alertname": "LB_DOWN",
                "exp_alerts": [
                    {
                        "exp_labels": {
                            "severity": "critical",
                            "cluster": "airflow-ha",
                            "host": "haproxy2",
                            "part": "haproxy",
                        },
                        "exp_annotations": {
                            "summary": "HAProxy on haproxy2 is down or hangs",
                            "impact": "the VIP moves to the other server; after that no server "
                            "can take over",
                            "fix": "fab -H haproxy2 haproxy",
                        },
                    }
                ],
            }
        ],
    }
    said = played(written([case], rules_file, tmp_path))
    assert "SUCCESS" in said, said
    page = (PROJECT / "docs/monitoring.md").read_text()
    for text in case["alert_rule_test"][0]["exp_alerts"][0]["exp_annotations"].values():
        assert text in page


@pytest.mark.parametrize("inventory", ["hosts.yaml", "examples/small.yaml", "examples/large.yaml"])
def test_prometheus_accepts_the_rules(inventory, tmp_path):
    cluster = CONTENTS.load(PROJECT / inventory, state=tmp_path)
    file = tmp_path / "rules.yml"
    file.write_text(files(cluster, Facts())["rules.yml"])
    done = subprocess.run([PROMTOOL, "check", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_cluster_raises_no_alert_of_this_one(monitored, rules_file, tmp_path):
    """One Prometheus may watch several clusters: every metric is chosen by the cluster's name."""
    series = well(monitored)
    others = {name.replace('cluster="airflow-ha"', 'cluster="other"'): "0x*" for name in series}
    case = {
        "name": "two clusters",
        "interval": "15s",
        "input_series": as_input({**series, **others}, QUIET_FOR),
        "promql_expr_test": [QUIET],
    }
    said = played(written([case], rules_file, tmp_path, "1m"))
    assert "SUCCESS" in said, said
