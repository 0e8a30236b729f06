"""The builder of the VIPs, as far as it needs no keepalived."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from fabfile import CONTENTS
from fabfile.shared import keepalived
from fabfile.shared.keepalived import Place, Service, parse
from runbook.declare.facts import Facts
from runbook.errors import MissingFact, RunbookError, SettingsError
from runbook.secrets.vault import Secret

NETWORK = keepalived.places("haproxy")
PASSWORD = Secret("vrrp_test", "a test", length=8, rule=keepalived.PASSWORD)
SERVICE = Service("haproxy", PASSWORD, check="up")
VIP = "192.168.83.210"
ADDRESSES = {"airflow": "192.168.83.129", "haproxy2": "192.168.83.154"}
MACS = {"airflow": "52:54:00:00:00:01", "haproxy2": "52:54:00:00:00:0e"}
STRANGER = "52:54:00:00:00:05"


def place(name: str, holds: bool = False, **answers: str) -> Place:
    """What a member says: `answers` are MACs by who is asked, `vip` or a member."""
    heard = {ADDRESSES.get(who, VIP): frozenset({mac}) for who, mac in answers.items()}
    return Place("eth0", 24, frozenset({MACS[name]}), frozenset({VIP} if holds else ()), heard)


def network(**places: Place) -> Facts:
    return Facts({NETWORK: places})


@pytest.fixture
def files(cluster, monkeypatch):
    """files("airflow", service) -> {path: text} of what is written there."""
    monkeypatch.setenv(PASSWORD.variable, "12345678")

    def written(name: str, service: Service = SERVICE, known: Facts | None = None) -> dict:
        facts = known or network(airflow=place("airflow"), haproxy2=place("haproxy2"))
        steps = keepalived.address(cluster.hosts[name], cluster, service, facts)
        return {step.title.partition("file ")[2]: step.text for step in steps if step.text}

    return written


def vip_file(written: dict) -> str:
    return written["/etc/keepalived/conf.d/airflow-vip.conf"]


def test_what_a_member_sees_is_read():
    text = (
        "2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\\  valid_lft forever\n"
        "00:00:00:00:00:00 52:54:00:00:00:01\n"
        "10.0.0.9 .\n"
        "10.0.0.8 held 52:54:00:00:00:05\n"
        "10.0.0.6 . 52:54:00:00:00:0e 52:54:00:00:00:0f\n"
    )
    assert parse(text) == Place(
        "eth0",
        24,
        frozenset({"00:00:00:00:00:00", "52:54:00:00:00:01"}),
        frozenset({"10.0.0.8"}),
        {
            "10.0.0.9": frozenset(),
            "10.0.0.8": frozenset({"52:54:00:00:00:05"}),
            "10.0.0.6": frozenset({"52:54:00:00:00:0e", "52:54:00:00:00:0f"}),
        },
    )


def test_each_member_names_the_others_and_itself(files):
    for name, other, priority in (("airflow", "haproxy2", 110), ("haproxy2", "airflow", 100)):
        lines = [line.strip() for line in vip_file(files(name)).splitlines()]
        assert f"unicast_src_ip {ADDRESSES[name]}" in lines
        peers = lines[
            lines.index("unicast_peer {") + 1 : lines.index("}", lines.index("unicast_peer {"))
        ]
        assert peers == [ADDRESSES[other]]
        assert f"priority {priority}" in lines
        assert f"{VIP}/24 dev eth0" in lines
        assert "virtual_router_id 210" in lines
        assert 'script "/usr/libexec/keepalived/up"' in lines
        assert "nopreempt" not in lines


def test_where_data_decide_nobody_is_preferred(files):
    service = replace(SERVICE, preempt=False, generation="/var/lib/x", notify="told")
    text = vip_file(files("airflow", service))
    assert "nopreempt" in text
    assert "priority 2" in text
    assert 'file "/var/lib/x"' in text
    assert 'notify_fault "/usr/libexec/keepalived/told fault"' in text


def test_who_is_sent_away_is_last_and_not_out(files):
    """A weight: without one a tracked file would put the server out of the choice altogether."""
    text = vip_file(files("airflow", replace(SERVICE, away="/run/away")))
    block = text[text.index("track_file airflow-vip-away {") : text.index("vrrp_instance")]
    assert 'file "/run/away"' in block
    assert "weight -200" in block


def test_the_password_is_shown_nowhere(cluster, monkeypatch):
    monkeypatch.setenv(PASSWORD.variable, "12345678")
    known = network(airflow=place("airflow"), haproxy2=place("haproxy2"))
    steps = keepalived.address(cluster.hosts["airflow"], cluster, SERVICE, known)
    [step] = [step for step in steps if "12345678" in step.text]
    assert "auth_pass " in step.diff
    assert "0600" in step.apply or "chmod 600" in step.apply


@pytest.mark.parametrize("bad", ["123456789", "with spa", "a#b", 'a"b', "a!b"])
def test_a_password_that_vrrp_would_cut_or_misread_is_refused(files, monkeypatch, bad):
    monkeypatch.setenv(PASSWORD.variable, bad)
    with pytest.raises(SettingsError, match="one to eight letters"):
        files("airflow")


def test_two_vips_of_one_group_are_refused_by_hosts_yaml(hosts_yaml):
    with pytest.raises(RunbookError, match="VRRP group 210 is also that of airflow-vip"):
        CONTENTS.load(
            hosts_yaml("address: 192.168.83.220", "address: 192.168.83.220, vrrp_id: 210")
        )


# Strangers and holders


def test_members_are_no_strangers(cluster):
    [vip] = keepalived.vips(cluster, "haproxy")
    known = network(
        airflow=place("airflow", holds=True, haproxy2=MACS["haproxy2"]),
        haproxy2=place("haproxy2", vip=MACS["airflow"], airflow=MACS["airflow"]),
    )
    assert keepalived.stranger(cluster, vip, known) == ""
    alone = network(haproxy2=place("haproxy2", vip=MACS["airflow"], airflow=MACS["airflow"]))
    assert keepalived.stranger(cluster, vip, alone) == ""


def test_a_stranger_is_one_even_if_a_member_cannot_be_asked(cluster, files):
    [vip] = keepalived.vips(cluster, "haproxy")
    known = network(haproxy2=place("haproxy2", vip=STRANGER, airflow=MACS["airflow"]))
    assert keepalived.stranger(cluster, vip, known) == STRANGER
    with pytest.raises(RunbookError, match=f"{VIP} .airflow-vip. is in use: {STRANGER}"):
        files("haproxy2", known=known)


def test_a_stranger_beside_a_member_that_holds_it(cluster):
    [vip] = keepalived.vips(cluster, "haproxy")
    known = network(
        airflow=place("airflow", holds=True, vip=STRANGER),
        haproxy2=place("haproxy2", vip=MACS["airflow"]),
    )
    assert keepalived.stranger(cluster, vip, known) == STRANGER


def test_without_its_own_network_a_member_is_not_set_up(files):
    with pytest.raises(MissingFact, match="haproxy2"):
        files("haproxy2", known=network(airflow=place("airflow")))


@pytest.mark.parametrize(
    ("holding", "level", "sentence"),
    [
        ({"airflow"}, "ok", "airflow"),
        (set(), "error", "no server holds it"),
        ({"airflow", "haproxy2"}, "error", "airflow and haproxy2 hold it"),
    ],
)
def test_an_address_is_on_exactly_one_member(cluster, holding, level, sentence):
    known = network(**{name: place(name, holds=name in holding) for name in ADDRESSES})
    [finding] = keepalived.one_holder(cluster, "haproxy", known)
    assert finding.verdict.level == level
    assert sentence in finding.verdict.sentence


@pytest.mark.parametrize(
    ("prints", "ends", "accepted"),
    [
        ("", 0, True),
        ("", 4, False),
        ("Unknown keyword 'virtual_routter_id'", 4, False),
        ("(nfs-vip) the virtual router id must be set", 0, False),
    ],
)
def test_a_file_that_keepalived_complains_of_is_refused(tmp_path, prints, ends, accepted):
    """Also by a keepalived with BFD, which forgets the complaint in its exit code."""
    program = tmp_path / "keepalived"
    program.write_text(f'#!/bin/bash\necho -n "{prints}" >&2\nexit {ends}\n')
    program.chmod(0o755)
    judged = subprocess.run(
        f"{keepalived.JUDGED_BY_KEEPALIVED} {tmp_path}/vip.conf",
        shell=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (judged.returncode == 0) is accepted
    assert judged.stdout.strip() == prints
