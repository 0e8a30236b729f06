"""How a server is: what it says, and when that is worth a word."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace

import pytest
from conftest import PROJECT

from fabfile.shared import vitals
from fabfile.shared.forecast import RECORD, Growth
from fabfile.shared.vitals import TIME, VITALS, Clock, Disk, Vitals
from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, WARN

TEXT = """load 0.52 0.40 0.31 1/311 4242
cpus 2
memory 4028440 3012345
uptime 86412.11 170000.00
disk 42% 5% /
disk 12% - /boot/efi
disk 3% 97% /var
clock  Normal
failed chronyd.service
reboot kernel 4.18.0-553 is installed, 4.18.0-477 runs
"""

WELL = Vitals(0.4, 2, 4000, 3000, 86412, (Disk("/", 42),), True, (), "")


def judged(cluster, clocks=(), **changed):
    everybody = {"sql1": WELL, "sql2": WELL, "sql3": replace(WELL, **changed)}
    times = {f"sql{n}": Clock(ahead, 0.05) for n, ahead in enumerate(clocks, 1)}
    found = vitals.findings_of(cluster, Facts({VITALS: everybody, TIME: times}))
    return [one for one in found if one.verdict.level != OK]


def test_what_a_server_says_is_understood():
    told = vitals.parse(TEXT)
    assert (told.load, told.cpus, told.uptime) == (0.40, 2, 86412)
    assert (told.memory, told.left) == (3934, 75)
    assert told.fullest == Disk("/var", 97), "a disk without inodes is full, too"
    assert told.synchronised
    assert told.failed == ("chronyd.service",)
    assert told.reboot.startswith("kernel 4.18.0-553")


def test_the_questions_are_bash_that_answers():
    done = subprocess.run(["bash", "-uc", vitals.QUESTIONS], capture_output=True, text=True)
    told = vitals.parse(done.stdout)
    assert told.memory > told.available > 0
    assert any(disk.path == "/" for disk in told.disks)


def test_nothing_is_said_of_a_server_that_is_well(cluster):
    assert judged(cluster, clocks=(0.0, 0.1, -0.1)) == []


@pytest.mark.parametrize(
    ("changed", "code", "level"),
    [
        ({"disks": (Disk("/", 42), Disk("/var", 86))}, "HOST_DISK_FULL", WARN),
        ({"disks": (Disk("/var", 96),)}, "HOST_DISK_FULL", ERROR),
        ({"available": 200}, "HOST_MEMORY_SHORT", WARN),
        ({"available": 40}, "HOST_MEMORY_SHORT", ERROR),
        ({"reboot": "kernel 2 is installed, 1 runs"}, "HOST_REBOOT_DUE", WARN),
        ({"failed": ("sshd.service",)}, "HOST_UNIT_FAILED", WARN),
    ],
)
def test_what_is_wrong_has_a_code_a_host_and_a_way_out(cluster, changed, code, level):
    [one] = judged(cluster, **changed)
    assert (one.cause.code, one.verdict.level, one.about) == (code, level, ("sql3",))
    assert "sql3" in one.verdict.sentence
    assert "sql3" in one.fix or one.fix.startswith("inv cluster.")
    assert one.cause.impact


def test_a_unit_that_may_fail_is_not_told(cluster):
    """kdump cannot reserve memory on a server with 1 GB, and fails at each boot."""
    failed = ("kdump.service", "user@0.service", "sshd.service")
    facts = Facts({VITALS: {"sql3": replace(WELL, failed=failed)}})
    findings = vitals.findings_of(cluster, facts, ignored=["kdump.service", "user@*.service"])
    [one] = [one for one in findings if one.verdict.level == WARN]
    assert one.verdict.sentence == "sql3: sshd.service"
    everything = vitals.findings_of(cluster, facts, ignored=["*.service"])
    assert {one.verdict.level for one in everything} == {OK}


def test_a_clock_that_is_off_is_told_from_the_others_and_not_from_ours(cluster):
    [one] = judged(cluster, clocks=(-300.0, -300.1, -294.92))
    assert one.cause.code == "HOST_CLOCK_OFF"
    assert one.verdict.sentence == "sql3 is 5.0 s away from the others"


def test_a_slow_answer_is_no_wrong_clock(cluster):
    facts = Facts({TIME: {"sql1": Clock(0, 0.1), "sql2": Clock(0, 0.1), "sql3": Clock(3, 2.5)}})
    assert all(far <= 1 for far in vitals.apart(facts).values())


def test_how_far_clocks_may_be_apart_grows_with_slow_answers():
    slow = Facts({TIME: {"sql1": Clock(0, 0.1), "sql2": Clock(0, 0.1), "sql3": Clock(0.2, 0.5)}})
    assert vitals.widest(slow) == pytest.approx(1.2)
    assert vitals.widest(Facts({})) == 0.0


def test_slow_answers_are_no_witness_against_a_quick_one():
    slow = {f"worker{n}": Clock(1.3, 1.4) for n in range(5)}
    quick = {f"sql{n}": Clock(0.0, 0.1) for n in range(1, 7)}
    off = {**quick, "sql6": Clock(5.0, 0.1)}
    assert set(vitals.apart(Facts({TIME: {**slow, **quick}})).values()) == {0.0}
    told = {one: far for one, far in vitals.apart(Facts({TIME: {**slow, **off}})).items() if far}
    assert told == {"sql6": pytest.approx(4.8)}


def test_a_server_that_says_nothing_of_its_disks_is_no_server_with_full_ones():
    told = vitals.parse("load 0 0 0 x 1\ncpus 1\nmemory 1024 1024\nuptime 5.0 4.0\n")
    assert told.fullest.used == 0
    assert not told.synchronised


# When a disk will be full


def grown(days: float, before: int, now: int, size: int = 10_000_000) -> Growth:
    return Growth("/var", days, before, now, size)


@pytest.mark.parametrize(
    ("growth", "left"),
    [
        (grown(10, 1_000_000, 2_000_000), 80),
        (grown(10, 2_000_000, 1_000_000), None),
        (grown(10, 1_000_000, 1_000_000), None),
        (grown(2, 1_000_000, 9_000_000), None),
    ],
)
def test_a_forecast_needs_some_days_and_a_disk_that_fills(growth, left):
    assert growth.left == left


def test_a_disk_that_is_full_within_a_month_is_told(cluster):
    slow, quick = grown(20, 0, 2_000_000), grown(20, 1_000_000, 7_000_000)
    assert judged(cluster, growths=(slow,)) == []
    [finding] = judged(cluster, growths=(slow, quick))
    assert (finding.verdict.level, finding.cause.code) == (WARN, "HOST_DISK_FILLS")
    assert finding.verdict.sentence == (
        "sql3: /var is full in about 10 days, if it goes on growing by 293 MB a day, "
        "as in the last 20"
    )


def test_a_status_says_which_disk_is_full_first(cluster):
    known = {"sql1": replace(WELL, growths=(grown(20, 0, 2_000_000),)), "sql2": WELL}
    line = vitals.in_short(cluster, Facts({VITALS: known, TIME: {}}))
    assert ", first full in about 80 days (sql1 /var), " in line
    far = {"sql1": replace(WELL, growths=(grown(20, 0, 20_000),))}
    assert "first full" not in vitals.in_short(cluster, Facts({VITALS: far, TIME: {}}))


def test_the_record_of_a_server_becomes_a_forecast(tmp_path):
    record = tmp_path / "disks"
    now = int(time.time())
    lines = [
        f"{now - 40 * 86400} 1 1000 /a disk",
        f"{now - 20 * 86400} 100 1000 /a disk",
        f"{now - 10 * 86400} 500 1000 /",
        f"{now} 300 1000 /a disk",
    ]
    record.write_text("\n".join(lines) + "\n")
    asked = vitals.QUESTIONS.replace(RECORD, str(record))
    done = subprocess.run(["bash", "-uc", asked], capture_output=True, text=True)
    found = {one.path: one for one in vitals.parse(done.stdout).growths}
    assert found["/a disk"] == Growth("/a disk", 20, 100, 300, 1000)
    assert found["/a disk"].left == 70
    assert found["/"].left is None


def test_the_record_is_kept_for_sixty_days(tmp_path):
    record = tmp_path / "disks"
    now = int(time.time())
    record.write_text(f"{now - 61 * 86400} 1 2 /\n{now - 59 * 86400} 1 2 /\n")
    for _ in range(2):
        subprocess.run(["bash", str(PROJECT / "files/base/disk-record"), record], check=True)
    lines = [line.split() for line in record.read_text().splitlines() if line.endswith(" /")]
    assert len(lines) == 3
    assert all(int(used) <= int(size) for _, used, size, _ in lines)
