"""A real Prometheus and Alertmanager: a fault raises its alert, which says what the status says."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from support.controller import PROJECT, Answer, Controller

from lab.machine import Lab
from tools.exposure import LOW, rated

STATE = "whole"

WATCH = "card1"
"""The monitoring server; it has another role, too."""

SHARE_VIP = "192.168.83.220"

PATIENCE = 240
"""Seconds after which an alert has to be raised, or gone: it waits for a minute or two itself."""

UNITS = (
    "runbook-node-exporter.service",
    "runbook-readings.service",
    "runbook-prometheus.service",
    "runbook-alertmanager.service",
)


@dataclass
class Monitoring:
    """Who operates the monitored cluster, and what its Prometheus and Alertmanager know."""

    lab: Lab
    environment: dict[str, str]

    def fab(self, *arguments: str) -> Answer:
        return Controller(self.lab, self.environment)(*arguments)

    def status(self, *options: str) -> dict[str, Any]:
        """What inv cluster.status --json says."""
        done = self.lab.exec(
            ["inv", "cluster.status", "--json", *options],
            env=self.environment,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )
        return json.loads(done.stdout)

    def active(self) -> str:
        """The server that holds the VIP of the share."""
        held = self.on("ftp", f"ip -o -4 addr show to {SHARE_VIP}")
        return "ftp" if held else "nfs2"

    def on(self, host: str, command: str) -> str:
        done = self.lab.root_shell(host, command)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return str(done.stdout).strip()

    def asked(self, url: str) -> Any:
        return json.loads(self.on(WATCH, f"curl -sf -m 10 'http://127.0.0.1:{url}'"))

    def query(self, expression: str) -> list[dict[str, str]]:
        """The labels of what an expression finds now."""
        answer = self.asked(f"9090/api/v1/query?query={quote(expression)}")
        return [one["metric"] for one in answer["data"]["result"]]

    def alerts(self) -> list[dict[str, Any]]:
        """What Alertmanager has been told, and is not over; a lab has no time source, ever."""
        told = self.asked("9093/api/v2/alerts?inhibited=true&silenced=true")
        return [one for one in told if one["labels"]["alertname"] != "HOST_NO_TIME_SOURCE"]

    def alert(self, code: str) -> dict[str, Any] | None:
        found = [one for one in self.alerts() if one["labels"]["alertname"] == code]
        return found[0] if found else None


@pytest.fixture(scope="module")
def monitoring(lab, tmp_path_factory) -> Monitoring:
    """card1 is the monitoring server, and all servers show metrics."""
    override = tmp_path_factory.mktemp("monitoring") / "override.yaml"
    data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
    data["hosts"] = {WATCH: {"roles": ["target", "monitoring"]}}
    receiver = {"webhook_configs": [{"url": {"secret": "alert_hook"}}]}
    data["monitoring"] = {"receiver": receiver}
    override.write_text(yaml.safe_dump(data))
    hook = "http://127.0.0.1:9999/t0ken-of-the-hook"
    environment = {"RUNBOOK_OVERRIDE": str(override), "RUNBOOK_SECRET_ALERT_HOOK": hook}
    monitoring = Monitoring(lab, environment)
    answer = monitoring.fab("monitoring", "base.firewall")
    assert answer.code == 0, answer.text
    return monitoring


def until(test: Callable[[], Any], what: str, seconds: float = PATIENCE) -> float:
    """After how many seconds a test holds."""
    began = time.monotonic()
    while not test():
        assert time.monotonic() - began < seconds, what
        time.sleep(1)
    return time.monotonic() - began


@pytest.fixture
def quiet(monitoring):
    """Nothing is wrong, neither before nor after."""

    def wait() -> None:
        seen = monitoring.status("--wait", "300")
        assert seen["status"] == "OK", seen["problems"]
        until(lambda: not monitoring.alerts(), f"still alerts: {monitoring.alerts()}", 600)

    wait()
    yield
    wait()


# When all is well


def test_a_second_run_changes_nothing(monitoring):
    for _ in range(2):
        answer = monitoring.fab("monitoring")
        assert answer.code == 0, answer.text
        assert answer.steps("changed", "failed") == set()
    assert monitoring.fab("--plan", "monitoring").steps("differs") == set()


def test_the_check_and_the_status_are_content(monitoring):
    until(lambda: monitoring.fab("monitoring.check").code == 0, "the check stays unhappy")
    parts = {part["name"]: part for part in monitoring.status("--wait", "300")["parts"]}
    assert parts["monitoring"]["now"] == "13 of 13 servers show metrics"


def test_prometheus_reads_every_target(monitoring):
    until(lambda: len(monitoring.query("up == 1")) == 19, "a target stays silent", 90)
    over_tls = {one["host"] for one in monitoring.query('up{job="patroni"}')}
    assert over_tls == {"sql1", "sql2", "sql3"}
    found = json.loads(monitoring.on(WATCH, "cat /etc/runbook-monitoring/targets.json"))
    schemes = {one["labels"]["job"]: one["labels"]["__scheme__"] for one in found}
    assert schemes == {"node": "http", "patroni": "https", "rabbitmq": "http"}


def test_every_question_has_an_answer(monitoring):
    assert monitoring.query("runbook_reading_ok == 1")
    assert monitoring.query("runbook_reading_ok == 0") == []
    assert monitoring.query("node_textfile_scrape_error == 1") == []


@pytest.mark.parametrize(
    "metric",
    [
        "patroni_primary",
        "patroni_postgres_streaming",
        "patroni_sync_standby",
        "patroni_pending_restart",
        "patroni_is_paused",
        "rabbitmq_alarms_memory_used_watermark",
        "rabbitmq_alarms_free_disk_space_watermark",
        "rabbitmq_process_open_fds",
        "rabbitmq_process_max_fds",
        "node_time_seconds",
        "runbook_airflow_heartbeat_seconds",
        "runbook_backup_finished_seconds",
        "runbook_share_lacking_seconds",
        "runbook_proxy_server_up",
        "runbook_unit_runs",
        "runbook_etcd_healthy",
        "runbook_wal_archiving",
        "runbook_certificate_expires_seconds",
        "runbook_vip_held",
        "runbook_share_readable",
        "runbook_clock_synchronised",
    ],
)
def test_what_the_rules_are_about_is_there(monitoring, metric):
    """RabbitMQ 3.10 has no count of unreachable nodes: MQ_PARTED is not seen in a lab."""
    assert monitoring.query(metric)


@pytest.mark.long
def test_no_alert_fires_when_all_is_well(monitoring, quiet):
    assert monitoring.query('ALERTS{alertstate="firing"}') == []


# When something is wrong


DISK = "/srv/full"
FULL = (
    f"mkdir -p {DISK}; mount -t tmpfs -o size=8m tmpfs {DISK}; "
    f"head -c 8388608 /dev/zero >{DISK}/core 2>/dev/null || :"
)
THE_ACTIVE = "the server that holds the VIP of the share"
PATRONICTL = "patronictl -c /etc/patroni/patroni.yml"

FAULTS = [
    ("LB_DOWN", "haproxy2", "systemctl stop haproxy", "systemctl start haproxy"),
    (
        "AIRFLOW_UNIT_DOWN",
        "scheduler2",
        "systemctl stop airflow-scheduler",
        "systemctl start airflow-scheduler",
    ),
    ("PG_PAUSED", "sql1", f"{PATRONICTL} pause", f"{PATRONICTL} resume"),
    ("PG_ETCD_MEMBER_DOWN", "sql3", "systemctl stop etcd", "systemctl start etcd"),
    ("HOST_DISK_FULL", "mq1", FULL, f"rm {DISK}/core; umount {DISK}"),
    (
        "MONITORING_STALE",
        "mq1",
        "systemctl stop runbook-readings.timer",
        "systemctl start runbook-readings.timer",
    ),
    (
        "MONITORING_SILENT",
        "mq1",
        "systemctl stop runbook-node-exporter",
        "systemctl start runbook-node-exporter",
    ),
    (
        "MQ_NODE_DOWN",
        "mq1",
        "rabbitmqctl stop_app </dev/null; systemctl stop rabbitmq-server",
        "systemctl start rabbitmq-server",
    ),
    (
        "NFS_NOT_COPYING",
        THE_ACTIVE,
        "systemctl stop nfs-sync",
        "systemctl start nfs-sync",
    ),
    ("PG_REPLICA_DOWN", "sql3", "systemctl stop patroni", "systemctl start patroni"),
]
"""The alert, the server, what goes wrong there as root, and what ends it."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("code", "host", "strike", "heal"),
    [pytest.param(*fault, id=fault[0]) for fault in FAULTS],
)
def test_a_fault_raises_its_alert_which_says_what_the_status_says(
    monitoring, quiet, report, code, host, strike, heal
):
    host = monitoring.active() if host == THE_ACTIVE else host
    monitoring.on(host, strike)
    try:
        raised = until(lambda: monitoring.alert(code), f"{code} is not raised")
        alert = monitoring.alert(code)
        problems = {one["code"]: one for one in monitoring.status()["problems"]}
    finally:
        monitoring.on(host, heal)
    over = until(lambda: not monitoring.alert(code), f"{code} is not over", 600)
    report(f"{code}: raised after {raised:.0f} s, over after {over:.0f} s")
    assert alert
    assert alert["annotations"]["impact"] == problems[code]["impact"]
    assert command(alert["annotations"]["fix"]) in map(command, problems[code]["fix"])


def command(fix: str) -> str:
    """What mends it, on whichever server of its role that is."""
    return re.sub(r"^fab -H \S+ -- ", "", fix)


@pytest.mark.long
def test_a_server_that_loses_its_power_explains_its_other_alerts(monitoring, quiet, healed, report):
    healed("mq2", "power-loss")
    raised = until(lambda: monitoring.alert("HOST_DOWN"), "HOST_DOWN is not raised")
    alert = monitoring.alert("HOST_DOWN")
    assert alert
    assert alert["labels"]["host"] == "mq2"
    assert alert["annotations"]["impact"] == "2 of 3 queue nodes left"
    until(lambda: monitoring.alert("MQ_NODE_DOWN"), "MQ_NODE_DOWN is not raised")
    until(
        lambda: (monitoring.alert("MQ_NODE_DOWN") or {"status": {}})["status"].get("inhibitedBy"),
        "MQ_NODE_DOWN is told as well",
    )
    monitoring.lab.heal("mq2")
    over = until(lambda: not monitoring.alert("HOST_DOWN"), "HOST_DOWN is not over", 600)
    report(f"power loss: HOST_DOWN raised after {raised:.0f} s, over after {over:.0f} s")


@pytest.mark.long
def test_the_receiver_is_told(monitoring, quiet):
    program = (
        "import http.server as s\n"
        "class H(s.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        '        body = self.rfile.read(int(self.headers["Content-Length"]))\n'
        '        open("/run/told", "ab").write(self.path.encode() + b" " + body + b"\\n")\n'
        "        self.send_response(200)\n"
        "        self.end_headers()\n"
        's.HTTPServer(("127.0.0.1", 9999), H).serve_forever()\n'
    )
    monitoring.on(WATCH, f"cat >/run/hook.py <<'EOF'\n{program}EOF")
    monitoring.on(WATCH, "systemd-run --unit hook python3 /run/hook.py")
    monitoring.on("haproxy2", "systemctl stop haproxy")
    try:
        until(
            lambda: "LB_DOWN" in monitoring.on(WATCH, "cat /run/told 2>/dev/null || :"),
            "the receiver hears nothing",
        )
    finally:
        monitoring.on("haproxy2", "systemctl start haproxy")
    assert monitoring.on(WATCH, "head -c 18 /run/told") == "/t0ken-of-the-hook"
    monitoring.on(WATCH, "systemctl stop hook")


# Who may read what


def test_only_the_monitoring_server_reads_metrics(monitoring):
    address = monitoring.lab.host("sql1").address
    ask = f"curl -s -m 3 -o /dev/null -w '%{{http_code}}' http://{address}:9960/metrics || :"
    assert monitoring.on(WATCH, ask) == "200"
    assert monitoring.on("worker1", ask) == "000"


def test_both_consoles_are_on_their_own_server_only(monitoring):
    listening = monitoring.on(WATCH, "ss -Hltn | awk '{print $4}'").split()
    assert {"127.0.0.1:9090", "127.0.0.1:9093"} <= set(listening)
    assert not {one for one in listening if one.endswith((":9090", ":9093", ":9094"))} - {
        "127.0.0.1:9090",
        "127.0.0.1:9093",
    }


def test_no_other_user_reads_the_receivers(monitoring):
    done = monitoring.lab.root_shell(
        WATCH, "runuser -u nobody -- cat /etc/runbook-monitoring/alertmanager.yml"
    )
    assert done.returncode != 0
    assert "t0ken" not in monitoring.on(WATCH, "cat /etc/systemd/system/runbook-*.service")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_may_do_little(monitoring, unit):
    told = monitoring.on(WATCH, f"systemd-analyze security --no-pager {unit} | grep Overall")
    assert rated(told)[unit] <= LOW


def test_files_for_another_prometheus_are_the_same(monitoring, tmp_path):
    answer = monitoring.fab("monitoring.targets", str(tmp_path / "files"))
    assert answer.code == 0, answer.text
    for name in ("targets.json", "rules.yml"):
        there = monitoring.on(WATCH, f"cat /etc/runbook-monitoring/{name}")
        assert (tmp_path / "files" / name).read_text().strip() == there
