"""Every command that a section runs on any host, in shellcheck's eyes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from support.all_steps import answered, steps_of

from fabfile import CONTENTS
from runbook.declare.facts import Facts
from runbook.declare.section import Section
from runbook.declare.step import Step
from runbook.declare.work import Stage, StepTask

ALLOWED = "SC2154,SC2046"
"""The library's variables are assigned where it is; `curl $(…)://` becomes several words."""


@pytest.fixture
def everything(cluster):
    """A cluster whose hosts have said all that a step may need."""
    return answered(cluster, selinux="enforcing")


def steps(section: Section, cluster, facts: Facts) -> Iterator[Step]:
    """The steps of a section's tasks and phases, on every host."""
    for task in section.work:
        if isinstance(task, StepTask):
            yield from steps_of(task, cluster, facts)
    for phase in (section.start_phase, section.stop_phase, section.free_phase):
        stages = phase.stages(list(cluster.hosts.values()), cluster, facts) if phase else ()
        for stage in stages:
            if isinstance(stage, Stage):
                for host in stage.hosts:
                    yield from stage.of(host)


AS_SHIPPED = [one for one in CONTENTS.sections if one.name != "monitoring"]
"""The sections that have steps for the hosts.yaml that is shipped."""


@pytest.mark.parametrize("section", AS_SHIPPED, ids=lambda section: section.name)
def test_shellcheck_finds_nothing(section, everything):
    judge(section, *everything)


def test_shellcheck_finds_nothing_with_monitoring(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("  enabled: false", "  enabled: true "))
    judge(CONTENTS.section("monitoring"), *answered(cluster))


@pytest.mark.parametrize("name", ["postgres", "haproxy", "airflow"])
def test_shellcheck_finds_nothing_with_a_pooler(name, hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("pooler: false", "pooler: true"))
    judge(CONTENTS.section(name), *answered(cluster))


def judge(section: Section, cluster, facts: Facts) -> None:
    """shellcheck finds nothing in what this section has any host run."""
    texts: dict[str, str] = {}
    for step in steps(section, cluster, facts):
        texts.setdefault(step.apply, step.title)
        texts.setdefault(step.test, step.title)
        texts.setdefault(step.diff, step.title)
    for host in cluster.hosts.values():
        before = section.requires.probes
        for probe in (
            *section.questions(host, cluster),
            *(before(host, cluster) if before else ()),
        ):
            texts.setdefault(probe.command, probe.title)
    functions = [
        f": # {title.splitlines()[0]}\nf{number}() {{\n{text}\n}}"
        for number, (text, title) in enumerate(texts.items())
        if text.strip()
    ]
    assert functions
    done = subprocess.run(
        ["shellcheck", "--shell=bash", "--severity=warning", f"--exclude={ALLOWED}", "-"],
        input="\n".join(functions),
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
