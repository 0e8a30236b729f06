"""A person's way through the web UI in a headless Chromium; run where the lab's VIP can be reached.

browser.py URL RUN [USER]: the user's password, by default that of the administrator, comes on
standard input. Without a RUN (""), only where the login leads is looked at. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--window-size=1400,900",
    # The cluster's CA is not among those of the browser.
    "--ignore-certificate-errors",
)


def log_in(browser: Chrome, url: str, user: str, password: str) -> None:
    browser.get(f"{url}/login/")
    form = browser.find_element(By.ID, "username")
    form.send_keys(user)
    browser.find_element(By.ID, "password").send_keys(password)
    browser.find_element(By.CSS_SELECTOR, "input[type=submit]").click()
    WebDriverWait(browser, 60).until(staleness_of(form))


def seen(browser: Chrome) -> dict[str, object]:
    text = browser.find_element(By.TAG_NAME, "body").text
    return {"url": browser.current_url, "text": text}


def look(browser: Chrome, url: str, run: str) -> dict[str, object]:
    wait = WebDriverWait(browser, 60)
    wait.until(lambda page: "/home" in page.current_url)
    listed = [link.text for link in browser.find_elements(By.CSS_SELECTOR, "a[href*='/dags/']")]
    browser.get(f"{url}/dags/smoke/grid?dag_run_id={run}&task_id=target&tab=logs")
    wait.until(lambda page: "REACHED card1" in page.find_element(By.TAG_NAME, "body").text)
    return {
        "title": browser.title,
        "dags": sorted({name for name in listed if name}),
        "log": "REACHED card1" in browser.find_element(By.TAG_NAME, "body").text,
    }


def main() -> None:
    url, run, *others = sys.argv[1:]
    user = others[0] if others else "admin"
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            log_in(browser, url, user, sys.stdin.read().strip())
            print(json.dumps(look(browser, url, run) if run else seen(browser)))
        finally:
            browser.quit()


main()
