"""Five servers, one of each kind: from nothing to a DAG that runs, and what one does with them."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from support.controller import PROJECT
from support.states import bare_hosts
from support.whole import Whole

pytestmark = pytest.mark.long
HOSTS = {"airflow", "files", "worker", "broker", "database"}


@pytest.fixture(scope="module")
def small():
    """Five bare servers."""
    with bare_hosts("small", PROJECT / "examples/small.yaml") as lab:
        yield Whole(lab)


@pytest.fixture(scope="module")
def stopped_half_way(small) -> str:
    """A deployment that met something in its way on one server."""
    small.on("airflow", "mkdir -p /etc/haproxy/haproxy.cfg/in-the-way")
    code, said = small("cluster.deploy", "--yes", "--accept-host-keys")
    assert code == 1, said
    return said


@pytest.fixture(scope="module")
def deployed(small, stopped_half_way) -> str:
    """The same command again, once that is out of the way."""
    small.on("airflow", "rm -r /etc/haproxy/haproxy.cfg")
    code, said = small("cluster.deploy", "--yes", "--accept-host-keys")
    assert code == 0, said
    return said


def test_an_interrupted_deployment_ends_in_one_sentence(small):
    deploying = subprocess.Popen(
        small.lab.inside(
            ["env", "--default-signal=INT", "inv", "cluster.deploy", "--yes", "--accept-host-keys"]
        ),
        env=small.lab.environment(),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in deploying.stdout:
        if "base.packages" in line:
            break
    deploying.send_signal(signal.SIGINT)
    said, _ = deploying.communicate(timeout=60)
    assert deploying.returncode == 130
    assert "rerunning is safe" in said
    assert "Traceback" not in said


def test_the_first_section_that_fails_is_the_last(stopped_half_way):
    assert "airflow failed in haproxy.configure" in stopped_half_way
    assert "After the fix, continue with: inv cluster.deploy" in stopped_half_way
    assert "airflow.install" not in stopped_half_way


def test_what_runs_beside_it_comes_to_its_end(stopped_half_way):
    for name in ("postgres", "rabbitmq", "nfs"):
        assert f"\n{name}: done after" in stopped_half_way


def test_the_next_call_goes_on_there_until_a_dag_has_run(deployed):
    done = next(line for line in deployed.splitlines() if line.startswith("done already"))
    assert "postgres" in done
    assert "haproxy" not in done
    assert "REACHED worker" in deployed


def test_lines_of_sections_at_work_begin_with_their_names(stopped_half_way):
    assert "postgres     | postgres.etcd on database" in stopped_half_way


def test_a_second_deployment_changes_nothing(small, deployed):
    assert small.changed("cluster.deploy", "--yes") == (0, set())


def test_a_rolling_reboot_goes_on_where_it_was_stopped(small, deployed):
    boots = {host: small.on(host, "cat /proc/sys/kernel/random/boot_id") for host in HOSTS}
    older = {host: boot for host, boot in boots.items() if host not in {"worker", "files"}}
    (small.state / "reboot.json").write_text(json.dumps({"boots": {**older, "worker": "earlier"}}))
    code, said = small("cluster.reboot", "--yes")
    assert code == 0, said
    assert "rebooted already: worker" in said
    assert "without a second server: the database (database)" in said
    now = {host: small.on(host, "cat /proc/sys/kernel/random/boot_id") for host in HOSTS}
    assert {host for host in HOSTS if now[host] != boots[host]} == HOSTS - {"worker"}
    assert not (small.state / "reboot.json").exists()


def test_nobody_reboots_without_a_reason(small, deployed):
    code, said = small("cluster.reboot", "--only-pending", "--yes")
    assert code == 0, said
    assert "No server has to reboot." in said


def test_nobody_reboots_while_something_is_wrong(small, deployed):
    small.on("broker", "systemctl stop rabbitmq-server")
    try:
        code, said = small("cluster.reboot", "--yes")
        assert code == 1
        assert "Not started, because the cluster is not healthy: rabbitmq: " in said
    finally:
        small.on("broker", "systemctl start rabbitmq-server")
