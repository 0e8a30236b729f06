"""Where packages come from, for the release that a host runs."""

from __future__ import annotations

import subprocess

import pytest

from fabfile import CONTENTS
from fabfile.base import epel, supported
from fabfile.operator import sources
from fabfile.postgres import install as postgres
from fabfile.preflight import packages
from fabfile.rabbitmq import install as rabbitmq
from fabfile.shared.sources import ERLANG, PGDG_COMMON, PYPI, RABBITMQ_KEYS, Sources
from runbook.declare import steps
from runbook.declare.facts import Facts, hosts_on

PGDG = "https://download.postgresql.org/pub/repos/yum"


def repositories(cluster, task) -> dict[str, dict[str, str]]:
    """The sections of the .repo files that a task writes, with their settings."""
    found: dict[str, dict[str, str]] = {}
    for step in task:
        for line in step.text.splitlines() if step.title.endswith(".repo") else ():
            if line.startswith("["):
                found[line.strip("[]")] = {}
            elif line:
                key, _, value = line.partition("=")
                found[list(found)[-1]][key] = value
    return found


def all_of_them(cluster) -> dict[str, dict[str, str]]:
    [sql1, mq1] = cluster.hosts["sql1"], cluster.hosts["mq1"]
    return {
        **repositories(cluster, postgres.repo(sql1, cluster, Facts())),
        **repositories(cluster, rabbitmq.repo(mq1, cluster)),
    }


def filled_in(text: str, release: str) -> str:
    """What dnf makes of it on a host of that release."""
    return text.replace("$elmajor", release).replace("$basearch", "x86_64")


@pytest.mark.parametrize("release", ["8", "9"])
def test_each_release_has_its_own_packages(cluster, release):
    addresses = {
        name: filled_in(one["baseurl"], release).split()
        for name, one in all_of_them(cluster).items()
    }
    assert addresses == {
        "epel": [f"https://dl.fedoraproject.org/pub/epel/{release}/Everything/x86_64"],
        "pgdg-common": [f"{PGDG}/common/redhat/rhel-{release}-x86_64"],
        "pgdg15": [f"{PGDG}/15/redhat/rhel-{release}-x86_64"],
        "pgdg-extras": [f"{PGDG}/extras/redhat/rhel-{release}-x86_64"],
        "rabbitmq-erlang": [
            f"https://yum{number}.rabbitmq.com/erlang/el/{release}/x86_64" for number in (1, 2)
        ],
        "rabbitmq-server": [
            f"https://yum{number}.rabbitmq.com/rabbitmq/el/{release}/noarch" for number in (1, 2)
        ],
    }


def test_a_repository_that_is_gone_keeps_no_other_package_away(cluster):
    assert {one["skip_if_unavailable"] for one in all_of_them(cluster).values()} == {"1"}


def test_everything_is_signed(cluster):
    for one in all_of_them(cluster).values():
        assert one["gpgcheck"] == "1"
        assert one["gpgkey"].startswith("https://")


def test_the_major_version_of_postgresql_decides_its_repository(cluster):
    assert cluster[Sources].pgdg.of_major("16") == f"{PGDG}/16/redhat/rhel-$elmajor-$basearch"


def test_dnf_knows_the_release_before_it_reads_a_repository(cluster):
    first, *_ = epel(cluster)
    assert first == steps.release_variable()
    first, *_ = rabbitmq.repo(cluster.hosts["mq1"], cluster)
    assert first == steps.release_variable()


# Another release than 8 and 9


@pytest.mark.parametrize(("platform", "code"), [("el8", 0), ("el9", 0), ("el10", 1), ("f41", 1)])
def test_enterprise_linux_8_and_9_are_supported(tmp_path, platform, code):
    file = tmp_path / "os-release"
    file.write_text(f'PRETTY_NAME="Some Linux"\nPLATFORM_ID="platform:{platform}"\n')
    step = supported()
    assert step.guard
    test = step.test.replace("/etc/os-release", str(file))
    assert subprocess.run(["bash", "-c", test]).returncode == code
    said = step.apply.replace("/etc/os-release", str(file))
    text = subprocess.run(["bash", "-c", said], capture_output=True, text=True).stdout
    assert text.startswith("Some Linux is not supported: this project sets up Enterprise Linux 8")


def test_a_module_that_no_repository_has_needs_no_disabling():
    """Where dnf knows no such module, it refuses to disable it."""
    shown = "dnf() { echo 'Error: No matching Modules to list'; return 1; }"
    unseen = "text_of() { current=''; return 1; }"
    test = steps.module_disabled("postgresql").test
    assert subprocess.run(["bash", "-c", f"{shown}\n{unseen}\n{test}"]).returncode == 0
    shown = "dnf() { echo 'postgresql 10 [d] client, server [d]'; }"
    assert subprocess.run(["bash", "-c", f"{shown}\n{unseen}\n{test}"]).returncode == 1


# inv sources.check


def declared(cluster) -> dict[str, set[str]]:
    """Host: the URLs that its sections say they download from."""
    found: dict[str, set[str]] = {}
    for section in CONTENTS.sections:
        for fetch in section.requires.fetches:
            for host in hosts_on(fetch.on, cluster):
                found.setdefault(host.name, set()).update(fetch.source.urls(cluster))
    return found


def test_every_url_of_a_repository_is_asked_for_on_the_servers_that_use_it(cluster):
    for host in cluster.hosts.values():
        once = dict.fromkeys(packages.known_steps(CONTENTS, cluster, host))
        used = repositories(cluster, once).values()
        urls = {url for one in used for key in ("baseurl", "gpgkey") for url in one[key].split()}
        assert urls <= declared(cluster).get(host.name, set()), host.name


def test_python_and_its_packages_come_to_the_server_that_builds(cluster):
    assert declared(cluster)["airflow"] == {
        "https://www.python.org/ftp/python/3.9.16/Python-3.9.16.tgz",
        "https://pypi.org/simple",
    }


def test_a_wheelhouse_needs_no_index(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("sources: {}", "sources: {pypi: {wheelhouse: wheels}}"))
    assert PYPI.urls(cluster) == []


FINE, GONE = (sources.Answer("https://a", 200), sources.Answer("https://b", 0, "no route"))


def test_one_of_several_mirrors_is_enough_and_each_key_is_needed():
    assert sources.missing({"mq1": {ERLANG: [FINE, GONE]}}) == set()
    assert sources.missing({"mq1": {ERLANG: [GONE]}}) == {(ERLANG, "https://b")}
    keys = {"mq1": {RABBITMQ_KEYS: [FINE, GONE]}}
    assert sources.missing(keys) == {(RABBITMQ_KEYS, "https://b")}


def test_what_servers_lack_comes_first_with_the_line_that_names_it(hosts_yaml):
    mirror = "sources: {pgdg: {common: https://b}}"
    cluster = CONTENTS.load(hosts_yaml("sources: {}", mirror))
    answers = {"sql1": {ERLANG: [FINE], PGDG_COMMON: [GONE]}, "sql2": {PGDG_COMMON: [GONE]}}
    by_url = sources.told(answers)
    here = {"https://a": FINE, "https://b": FINE}
    first, second = sources.table(cluster, by_url, here, sources.missing(answers))
    assert (first["level"], first["url"]) == ("error", "https://b")
    assert first["from servers"] == "no route (2 servers)"
    assert first["setting"].startswith("hosts.yaml:")
    assert first["setting"].endswith(": sources.pgdg.common")
    assert (second["level"], second["setting"]) == ("ok", "sources.rabbitmq.erlang (default)")


def test_what_only_this_machine_does_not_reach_is_a_warning():
    assert sources.level({"sql1": FINE}, GONE) == "warning"
    assert sources.level({"sql1": FINE}, FINE) == "ok"


def test_if_no_server_can_be_asked_this_machine_asks_for_a_release(cluster):
    urls = [url for _, url in sources.unasked(cluster, {"mq1": [ERLANG, PYPI]})]
    assert urls == [
        "https://yum1.rabbitmq.com/erlang/el/9/x86_64/repodata/repomd.xml",
        "https://yum2.rabbitmq.com/erlang/el/9/x86_64/repodata/repomd.xml",
        "https://pypi.org/simple/apache-airflow/",
    ]


def test_the_answer_of_a_server_is_read_by_its_numbers():
    asked = [(ERLANG, "x"), (ERLANG, "y"), (PYPI, "z")]
    text = "2 404 https://z \n0 200 https://x \n1 000 https://y curl: (7) Failed to connect \n"
    found = sources.read(text, asked)
    assert [one.url for one in found[ERLANG]] == ["https://x", "https://y"]
    assert found[ERLANG][1].said == "curl: (7) Failed to connect"
    assert found[PYPI][0].said == "HTTP 404"


def test_a_login_in_a_url_is_not_shown_when_no_server_could_be_asked():
    url = "https://me:hunter2@mirror.example.com/epel/$elmajor"
    assert sources.filled(ERLANG, url) == "https://mirror.example.com/epel/9/repodata/repomd.xml"
