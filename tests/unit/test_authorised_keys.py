"""authorized_keys: what a run has put there is taken back, what people have put there stays."""

from __future__ import annotations

import pytest
from support.here import OURS, Here
from support.public_keys import ed25519

from runbook.declare import steps
from runbook.declare.steps import Authorised
from runbook.results import PLAN

LABEL = "Airflow HA cluster: VM1"
NEW = Authorised(ed25519("new"), "rocky@airflow", 'from="10.0.0.1",restrict')
PERSON = f"{ed25519('person')} jane@laptop"
FORMER = steps.unmarked("", ["rocky@airflow", "rocky@sql1"])


@pytest.fixture
def here(tmp_path) -> Here:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return Here(tmp_path)


def wanted(here: Here, *keys: Authorised, **options: object) -> list[steps.Step]:
    owner = OURS["owner"]
    return list(steps.authorised_keys(owner, str(here.folder), LABEL, keys, **options))


def lines(here: Here) -> list[str]:
    return (here.folder / ".ssh/authorized_keys").read_text().splitlines()


def write(here: Here, *text: str) -> None:
    (here.folder / ".ssh/authorized_keys").write_text("".join(f"{line}\n" for line in text))


def block(*text: str) -> list[str]:
    return [f"# BEGIN {LABEL}", *text, f"# END {LABEL}"]


def test_a_key_is_added_once_below_those_of_people(here):
    write(here, "# mine", PERSON)
    assert here.statuses(*wanted(here, NEW))[-1] == "changed"
    assert lines(here) == ["# mine", PERSON, *block(NEW.line)]
    assert set(here.statuses(*wanted(here, NEW))) == {"ok"}


def test_a_key_that_was_rotated_is_gone(here):
    old = Authorised(ed25519("old"), "rocky@airflow")
    here.run(*wanted(here, old))
    here.run(*wanted(here, NEW))
    assert lines(here) == block(NEW.line)


def test_a_plan_says_which_key_goes(here):
    here.run(*wanted(here, Authorised(ed25519("old"), "rocky@airflow")))
    reader = here.run(*wanted(here, NEW), mode=PLAN)
    assert f"-{ed25519('old')} rocky@airflow" in reader.results[-1].output


def test_without_any_key_the_block_goes_and_comes_not(here):
    write(here, PERSON, *block(NEW.line))
    here.run(*wanted(here))
    assert lines(here) == [PERSON]
    assert set(here.statuses(*wanted(here))) == {"ok"}


def test_lines_of_earlier_versions_go_and_those_that_look_alike_stay(here):
    alike = [
        f"{ed25519('a')} rocky@laptop",
        f"{ed25519('b')} rocky@airflow at home",
        f'from="10.9.9.9" {ed25519("c")} rocky@airflow',
        f"# {ed25519('d')} rocky@airflow",
        "ecdsa-sha2-nistp256 AAAA rocky@airflow",
        ed25519("e"),
    ]
    former = [f"{ed25519('f')} rocky@airflow", f"{ed25519('g')} rocky@sql1"]
    write(here, former[0], *alike, former[1])
    here.run(*wanted(here, NEW, former=FORMER))
    assert lines(here) == [*alike, *block(NEW.line)]


def test_another_line_for_the_same_key_would_open_more_and_goes(here):
    write(here, f"{NEW.key} whoever", PERSON)
    here.run(*wanted(here, NEW))
    assert lines(here) == [PERSON, *block(NEW.line)]


def test_the_key_in_use_stays_whatever_its_comment_is(here):
    controller = f"{ed25519('controller')} rocky@airflow"
    write(here, controller)
    here.run(*wanted(here, NEW, former=FORMER, never=controller))
    assert lines(here) == [controller, *block(NEW.line)]


def test_a_key_of_a_host_that_cannot_be_asked_stays_in_the_block_only(here):
    one, two, gone = (
        Authorised(ed25519(name), f"airflow@{name}", "restrict") for name in ("w1", "w2", "w3")
    )
    here.run(*wanted(here, one, two, gone))
    here.run(*wanted(here, one, kept=[two.of]))
    assert lines(here) == block(one.line, two.line)
    here.run(*wanted(here, one, two))
    assert lines(here) == block(one.line, two.line)


def test_a_block_without_an_end_takes_nothing_with_it(here):
    write(here, f"# BEGIN {LABEL}", PERSON)
    here.run(*wanted(here, NEW))
    assert lines(here) == [PERSON, *block(NEW.line)]
