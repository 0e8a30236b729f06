"""`inv cluster.status` on the whole cluster: quiet when all is well, and to the point when not."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from support.controller import PROJECT
from support.faults_and_status import FAULTS, Fault, Operator

STATE = "whole"

PATIENCE = 300


@pytest.fixture(scope="module")
def operator(lab) -> Operator:
    """Everything is deployed, and well."""
    return Operator(lab)


@pytest.fixture
def well_again(operator):
    def wait() -> None:
        seen = operator.status(f"--wait {PATIENCE}")
        assert seen.code == 0, seen.text

    return wait


def test_when_all_is_well_it_says_so_on_one_screen(operator):
    seen = operator.status()
    assert seen.code == 0
    assert seen.text.startswith("airflow-ha is OK ")
    assert len(seen.text.splitlines()) <= 24
    assert max(len(line) for line in seen.text.splitlines()) <= 110


def test_json_says_the_same(operator):
    seen = operator.status("--json")
    assert seen.code == seen.data["exit"] == 0
    assert seen.data["status"] == "OK"
    assert seen.data["problems"] == []
    assert {host["state"] for host in seen.data["hosts"].values()} == {"up"}
    names = [part["name"] for part in seen.data["parts"]]
    assert names == ["hosts", "tls", "postgres", "rabbitmq", "nfs", "haproxy", "airflow", "systemd"]


def test_it_changes_nothing_and_shows_no_password(operator, lab):
    secrets = Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    journal = secrets.with_name("journal.jsonl")
    before = journal.stat().st_size
    seen = operator.status("--json")
    passwords = [line.partition(": ")[2] for line in secrets.read_text().splitlines()]
    assert not any(password in seen.text for password in passwords if password)
    assert journal.stat().st_size == before


def test_a_thorough_look_asks_what_takes_long(operator):
    seen = operator.status("--thorough --json")
    titles = {finding["title"] for finding in seen.data["findings"]}
    assert "the installation is the same everywhere" in titles
    assert "its worker answers through the queue" in titles


def test_ctrl_c_ends_a_watch_without_a_word(operator, lab):
    watch = subprocess.Popen(
        lab.inside(["env", "--default-signal=INT", "inv", "cluster.status", "--watch"]),
        env=lab.environment(),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in watch.stdout:
        if line.startswith("systemd"):
            break
    time.sleep(1)
    watch.send_signal(signal.SIGINT)
    rest, _ = watch.communicate(timeout=30)
    assert watch.returncode == 0
    assert "Traceback" not in rest


@pytest.fixture(scope="module")
def page(operator, tmp_path_factory) -> Path:
    """The report of a cluster that is well."""
    file = tmp_path_factory.mktemp("page") / "status.html"
    done = operator.type(f"inv cluster.report --html {file}")
    assert done.returncode == 0, done.stdout
    assert done.stdout == f"airflow-ha is OK: {file}\n"
    return file


OUTSIDE = """
return [...document.querySelectorAll('svg g')].flatMap(group => {
  const frame = group.querySelector('rect').getBBox();
  return [...group.querySelectorAll('text')].filter(text => {
    const box = text.getBBox();
    return box.x < frame.x || box.x + box.width > frame.x + frame.width;
  }).map(text => group.id + ': ' + text.textContent);
});
"""


def test_the_page_is_fit_to_be_read_in_a_browser(page, tmp_path):
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    for flag in (*flags, "--window-size=1300,1600", f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    browser = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        browser.get(page.as_uri())
        assert browser.title == "airflow-ha is OK"
        assert browser.find_element(By.ID, "word").text == "OK"
        assert browser.get_log("browser") == []
        drawn = browser.find_elements(By.CSS_SELECTOR, "svg g.host.up")
        assert len(drawn) == 13
        assert all(host.is_displayed() for host in drawn)
        assert len(browser.find_elements(By.CSS_SELECTOR, "svg g.vip.up")) == 2
        assert len(browser.find_elements(By.CSS_SELECTOR, "#hosts tbody tr")) == 13
        assert browser.execute_script(OUTSIDE) == []
        wide = "return document.documentElement.scrollWidth > window.innerWidth"
        assert not browser.execute_script(wide)
    finally:
        browser.quit()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("status --wait soon", "--wait 'soon' is not a number of seconds; for example: --wait 300"),
        ("status --watch --wait 5", "--watch and --wait cannot be used together."),
        ("report --html /none/status.html", "/none is not a folder; create it: mkdir -p /none"),
        ("report --html /proc/status.html", "/proc/status.html cannot be written: "),
    ],
)
def test_a_wrong_command_ends_in_a_sentence(operator, command, sentence):
    done = operator.type(f"inv cluster.{command}")
    assert done.returncode == 2
    assert sentence in done.stdout


def judge(operator: Operator, fault: Fault) -> None:
    """Mended first, so that a wrong word leaves no fault to the next test."""
    fault.strike(operator)
    seen = operator.wait_for(fault.code)
    fault.mend(operator, seen)
    after = operator.status(f"--wait {PATIENCE}")
    problem = seen.problem(fault.code)
    assert fault.impact in problem["impact"]
    assert problem["fix"]
    assert seen.code == seen.data["exit"] == fault.exits, json.dumps(seen.data["problems"])
    assert after.code == 0, after.text


def params(long: bool) -> list[object]:
    return [pytest.param(one, id=one.name) for one in FAULTS if one.long is long]


@pytest.mark.parametrize("fault", params(long=False))
def test_it_names_the_fault_what_it_costs_and_what_mends_it(operator, fault):
    judge(operator, fault)


@pytest.mark.long
@pytest.mark.parametrize("fault", params(long=True))
def test_it_also_names(operator, fault):
    judge(operator, fault)


@pytest.mark.long
def test_half_of_the_hosts_dead_cost_one_timeout_and_not_six(operator, healed, report):
    dead = ("scheduler2", "haproxy2", "nfs2", "card1", "mq3", "sql3")
    before = operator.status("--json").data["seconds"]
    for host in dead:
        healed(host, "power-loss")
    seen = operator.status("--json")
    report(f"all up {before} s, six dead {seen.data['seconds']} s")
    down = {host for host, told in seen.data["hosts"].items() if told["state"] == "down"}
    assert down == set(dead)
    assert seen.code == 2
    assert seen.data["seconds"] < 10 + 2 * before + 10
