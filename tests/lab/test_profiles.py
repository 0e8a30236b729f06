"""Section 1 on hosts that are as unkind as real sites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.controller import Answer, Controller
from support.inventories import some_hosts
from support.one_host import output
from support.states import bare_hosts

from lab.machine import Lab

HOSTS = ("sql1", "mq1", "airflow")
SITES = ("el9", "cis,zone,nics", pytest.param("cloud,selinux", marks=pytest.mark.long))
PORT = 2222


@pytest.fixture(scope="module", params=SITES)
def site(request, tmp_path_factory) -> Iterator[tuple[str, Lab, Controller]]:
    """The profiles, fresh hosts whose sshd listens at another port, and their fab."""
    file = some_hosts(
        tmp_path_factory.mktemp("site"), HOSTS, {}, postgres={}, connection={"port": PORT}
    )
    with bare_hosts("site", file, request.param.split(",")) as lab:
        yield request.param, lab, Controller(lab)


@pytest.fixture(scope="module")
def before(site) -> Answer:
    """The preflight of the fresh hosts."""
    _, _, fab = site
    assert fab("--accept-host-keys", "ssh.trust").code == 0
    return fab("base.preflight")


@pytest.fixture(scope="module")
def carried_out(site, before) -> tuple[str, Lab, Controller]:
    """Section 1 has been carried out."""
    _, _, fab = site
    answer = fab("--yes", "ssh.bootstrap", "base", "hostnames", "hosts", "ssh")
    assert answer.code == 0, answer.text
    return site


def test_the_preflight_of_the_fresh_hosts_has_no_errors(before):
    assert before.code == 0, before.text
    assert before.steps("error", "unknown", "unreachable") == set()


def test_the_preflight_after_section_one_has_no_errors(carried_out):
    _, _, fab = carried_out
    answer = fab("base.preflight")
    assert answer.code == 0, answer.text


def test_a_second_run_changes_nothing(carried_out):
    _, _, fab = carried_out
    answer = fab("base", "hostnames", "hosts", "ssh")
    assert answer.code == 0, answer.text
    assert not answer.steps("changed")


def test_the_checks_are_content(carried_out):
    _, _, fab = carried_out
    answer = fab("base.check", "hostnames.check", "hosts.check", "ssh.check")
    assert answer.code == 0, answer.text


def test_the_site_is_still_as_it_was(carried_out):
    """What a site has decided is not undone: only its hosts are made to work with it."""
    profiles, lab, _ = carried_out
    for name in profiles.split(","):
        for command, answer in UNKIND[name].items():
            assert answer in output(lab, "sql1", command), command


def test_passwords_are_switched_off_however_sshd_is_set_up(carried_out, tmp_path):
    """Also where drop-ins, which the site's sshd reads first, let them in."""
    _, lab, fab = carried_out
    data = yaml.safe_load(Path(lab.environment()["RUNBOOK_OVERRIDE"]).read_text())
    data["ssh"] = {"password_login": False}
    (tmp_path / "override.yaml").write_text(yaml.safe_dump(data))
    closed = fab.given(RUNBOOK_OVERRIDE=str(tmp_path / "override.yaml"))
    answer = closed("ssh")
    assert answer.code == 0, answer.text
    for host in HOSTS:
        settings = output(lab, host, "sshd -T").splitlines()
        assert {"passwordauthentication no", "permitrootlogin no"} <= set(settings)
    assert not closed("ssh").steps("changed")


UNKIND = {
    "el9": {
        "sed -n 's/^PLATFORM_ID=//p' /etc/os-release": "platform:el9",
        "dnf repolist": "BaseOS",
    },
    "cis": {
        "findmnt -no OPTIONS /tmp": "noexec",
        "sshd -T": "allowusers root",
        "runuser -l airflow -c umask || runuser -l rocky -c umask": "0077",
        "cat /etc/sudoers.d/hardening": "use_pty",
    },
    "cloud": {
        "sshd -T": "passwordauthentication no",
        "cat /etc/cloud/cloud.cfg": "manage_etc_hosts: true",
    },
    "selinux": {"getenforce": "Enforcing"},
    "zone": {"firewall-cmd --get-zone-of-interface=eth0": "site"},
    "nics": {"ip route show default": "dev eth1"},
}
