"""Public keys that servers answer with: one line, one key, or a refusal that names the server."""

from __future__ import annotations

import pytest
from support.public_keys import ed25519

from fabfile.airflow import connections
from fabfile.nfs import sync
from fabfile.ssh import HOST_KEYS, KEY, common, vm1_key
from runbook.declare.facts import Facts
from runbook.declare.public_keys import public_key, public_keys
from runbook.errors import RunbookError

KEY_TEXT = ed25519("worker1")
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDf"


@pytest.mark.parametrize("text", [KEY_TEXT, f"{KEY_TEXT} a@b\n", f"{KEY_TEXT} with a comment"])
def test_a_key_is_its_type_and_its_base64(text):
    assert public_key(text, "there") == KEY_TEXT


def test_rsa_is_a_key():
    assert public_key(RSA, "there") == RSA


REFUSED = {
    "a second line": f"{KEY_TEXT}\n{ed25519('other')}",
    "a second line after a carriage return": f"{KEY_TEXT}\r{ed25519('other')}",
    "options": f'command="id" {KEY_TEXT}',
    "a marker": f"@cert-authority * {KEY_TEXT}",
    "another type": KEY_TEXT.replace("ssh-ed25519", "ssh-rsa"),
    "an unknown type": KEY_TEXT.replace("ssh-ed25519", "ssh-dss"),
    "no base64": "ssh-ed25519 $(id)",
    "a word in the key": KEY_TEXT.replace("AAAA", "AA AA"),
    "a type only": "ssh-ed25519",
    "an escape sequence": f"{KEY_TEXT} \x1b]0;x\x07",
    "another file": "root:$6$abc:19000:0:99999:7:::",
    "nothing": "",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_one_key_is_refused_and_not_repeated(what):
    with pytest.raises(RunbookError) as refused:
        public_key(REFUSED[what], "id.pub on worker1")
    assert str(refused.value).startswith("id.pub on worker1 ")
    assert "$6$" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_one_bad_key_among_several_is_refused():
    with pytest.raises(RunbookError, match="hosts"):
        public_keys([KEY_TEXT, "no key"], "hosts")


def test_every_key_of_a_server_is_validated(cluster):
    forged = f"{KEY_TEXT}\n{KEY_TEXT}"
    airflow, worker = cluster.hosts["airflow"], cluster.hosts["worker1"]
    ftp, nfs2, card1 = (cluster.hosts[name] for name in ("ftp", "nfs2", "card1"))
    with pytest.raises(RunbookError, match="on airflow has 2 lines"):
        vm1_key(worker, cluster, Facts({KEY: {"airflow": forged}}))
    with pytest.raises(RunbookError, match="on worker1 has 2 lines"):
        connections.worker_key(worker, Facts({connections.WORKER_KEY: {"worker1": forged}}))
    with pytest.raises(RunbookError, match="on worker1 "):
        common.host_keys(worker, Facts({HOST_KEYS: {"worker1": ["* no"]}}))
    with pytest.raises(RunbookError, match="on card1 "):
        connections.connection(card1, cluster, Facts({HOST_KEYS: {"card1": ["no"]}}))
    with pytest.raises(RunbookError, match=r"key\.pub on nfs2 "):
        list(sync.copying(nfs2, cluster, Facts({sync.KEYS: {"nfs2": ["no", KEY_TEXT]}})))
    with pytest.raises(RunbookError, match="on nfs2 "):
        sync.known(nfs2, Facts({sync.KEYS: {"nfs2": [KEY_TEXT, "no"]}}))
    assert airflow != ftp


# What the keys may do


def test_vm1_s_key_may_do_what_the_runbook_asks_and_no_more(cluster):
    facts = Facts({KEY: {"airflow": f"{KEY_TEXT} x"}})
    [worker] = vm1_key(cluster.hosts["worker1"], cluster, facts)
    program = "/usr/libexec/airflow-runbook/receive"
    assert worker.line == (
        f'from="192.168.83.129",restrict,command="{program} python airflow" {KEY_TEXT} '
        "rocky@airflow"
    )
    [sql1] = vm1_key(cluster.hosts["sql1"], cluster, facts)
    assert sql1.options == f'from="192.168.83.129",restrict,command="{program}"'
    assert vm1_key(cluster.hosts["airflow"], cluster, facts) == []


def test_a_worker_s_key_is_accepted_from_its_address_only(cluster):
    facts = Facts({connections.WORKER_KEY: {"worker1": KEY_TEXT}})
    key = connections.worker_key(cluster.hosts["worker1"], facts)
    address = cluster.hosts["worker1"].address
    assert key.line == f'restrict,from="{address}" {KEY_TEXT} airflow@worker1'
