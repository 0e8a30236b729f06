"""Where packages come from, for the release that a host runs."""

from __future__ import annotations

import pytest

from fabfile.base import epel
from fabfile.postgres import install as postgres
from fabfile.rabbitmq import install as rabbitmq
from fabfile.shared.sources import Sources
from runbook.declare import steps
from runbook.declare.facts import Facts

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
