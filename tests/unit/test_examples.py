"""The inventories of other sizes that are shipped: judged, and no section minds their size."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile import CONTENTS
from fabfile.nfs import check as nfs_check
from fabfile.nfs import common as nfs
from fabfile.nfs import sync
from fabfile.nfs.state import SERVER, Server
from fabfile.shared import keepalived
from fabfile.shared.keepalived import Place
from runbook.declare.facts import Facts, hosts_on
from runbook.declare.work import StepTask
from runbook.errors import RunbookError
from runbook.secrets.vault import Vault

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
VIP = "192.168.83.21"


@pytest.fixture
def small():
    return CONTENTS.load(EXAMPLES / "small.yaml")


def test_five_servers_and_what_one_of_a_kind_means(small):
    assert len(small.hosts) == 5
    assert [warning.partition(":")[0] for warning in small.warnings] == [
        "database is the only host with the role postgres",
        "broker is the only host with the role rabbitmq",
    ]


def test_twenty_five_servers_without_a_warning():
    large = CONTENTS.load(EXAMPLES / "large.yaml")
    assert len(large.hosts) == 25
    assert len(large.group("worker")) == 12
    assert large.warnings == []


@pytest.mark.parametrize("example", ["small", "large"])
def test_every_task_has_steps_for_its_hosts(example):
    cluster = CONTENTS.load(EXAMPLES / f"{example}.yaml")
    assert isinstance(cluster.vault, Vault)
    for section in CONTENTS.sections:
        for task in [work for work in section.work if isinstance(work, StepTask)]:
            on = hosts_on(task.on, cluster)
            for host in task.taken_by(on, cluster):
                assert "exactly" not in refusal(task, host, cluster, on)


def refusal(task: StepTask, host, cluster, on) -> str:
    """Why there are no steps: at most that nobody could be asked here."""
    try:
        list(task.steps(host, cluster, Facts(), on))
    except RunbookError as error:
        return str(error)
    return ""


def alone(small, exports=frozenset({"/a 1(ro)"})) -> Facts:
    place = Place("eth0", 24, frozenset({"52:54:00:00:00:02"}), frozenset({VIP}), {})
    server = Server(1, True, True, "inactive", exports, None, 0, ())
    return Facts({nfs.NETWORK: {"files": place}, SERVER: {"files": server}})


def test_the_only_server_of_the_share_copies_nothing(small):
    host = small.hosts["files"]
    titles = [step.title for step in sync.sync(host, small, Facts())]
    assert "file /etc/nfs-ha/settings" in titles
    assert not [title for title in titles if "lsyncd" in title or "nfs-sync" in title]
    assert list(sync.sync_keys(host, small)) == []


def test_the_only_server_of_the_share_is_no_error(small):
    found = {one.title: one.verdict for one in nfs_check.check_cluster(small, alone(small))}
    assert {verdict.level for verdict in found.values()} == {"ok", "warn"}
    assert found["redundancy"].sentence == "none: files is the only server"


def test_an_address_with_one_member_has_no_peers(small):
    host = small.hosts["files"]
    known = Facts({nfs.NETWORK: alone(small).known(nfs.NETWORK)})
    steps = keepalived.address(host, small, nfs.SERVICE, known)
    [vip] = [step for step in steps if step.title.endswith("nfs-vip.conf")]
    assert "unicast" not in vip.text
    assert f"{VIP}/24" in vip.text
