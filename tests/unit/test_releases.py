"""Releases of a folder arrive, run all at once, run again and go, in a folder of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROJECT

from fabfile.airflow.tree import FILE, LINK, PROGRAM, File, Tree

HOST_PROGRAM = PROJECT / "files/airflow/releases"


@dataclass
class Share:
    """A folder with releases."""

    folder: Path
    options: tuple[str, ...] = ()

    def ask(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-ISB", str(HOST_PROGRAM), str(self.folder)]
        return subprocess.run(
            [*command, *self.options, *words], input=given, capture_output=True, text=True
        )

    def do(self, *words: str, given: str = "") -> str:
        done = self.ask(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *words: str, given: str = "") -> str:
        done = self.ask(*words, given=given)
        assert done.returncode == 1
        return done.stderr

    def release(self, tree: Tree) -> str:
        self.do("stage", tree.name, given=tree.packed)
        self.do("switch", tree.name)
        return tree.name

    @property
    def releases(self) -> Path:
        return self.folder / ".releases"

    @property
    def running(self) -> str:
        return str((self.releases / "current").readlink())

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def listed(self) -> dict[str, str]:
        lines = self.do("list").splitlines()[:-1]
        return {line.split()[0]: " ".join(line.split()[1:3]) for line in lines}


@pytest.fixture
def share(tmp_path) -> Share:
    (tmp_path / "share").mkdir()
    return Share(tmp_path / "share")


def tree(**texts: str) -> Tree:
    files = {name.replace("__", "/"): File(FILE, text.encode()) for name, text in texts.items()}
    return Tree({f"{name}.py": file for name, file in files.items()}, "x")


ONE, TWO = tree(a="1\n", team__b="1\n"), tree(a="2\n", c="2\n")


def test_any_file_arrives_with_its_mode(share):
    files = {
        "bin/tool": File(PROGRAM, b"#!/bin/sh\n"),
        "zip.zip": File(FILE, bytes(range(256))),
        "bin/link": File(LINK, b"tool"),
        ".airflowignore": File(FILE, b"^x\n"),
        "with space/ü.sql": File(FILE, b"select 1"),
        "dangling": File(LINK, b"nowhere"),
    }
    share.release(Tree(files, "x", "c" * 40))
    assert os.access(share.folder / "bin/link", os.X_OK)
    assert (share.folder / "zip.zip").read_bytes() == bytes(range(256))
    assert (share.folder / "with space/ü.sql").read_text() == "select 1"
    assert not os.access(share.folder / "with space/ü.sql", os.X_OK)
    assert (share.releases / share.running / "dangling").is_symlink()
    assert share.running.startswith("cccccccccccc-")


def test_what_has_arrived_is_not_seen_before_it_runs(share):
    share.release(ONE)
    share.do("stage", TWO.name, given=TWO.packed)
    assert share.text("a.py") == "1\n"
    assert share.running == ONE.name
    assert share.refusal("runs", TWO.name).startswith(ONE.name)
    share.do("switch", TWO.name)
    share.do("runs", TWO.name)
    assert sorted(path.name for path in share.folder.glob("[!.]*")) == ["a.py", "c.py"]


def test_the_second_time_changes_nothing(share):
    share.release(ONE)

    def state() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in share.folder.rglob("*")}

    before = state()
    share.release(ONE)
    assert state() == before


def test_the_digest_is_the_same_on_both_sides(share):
    """Otherwise nothing that arrives would be accepted."""
    name = share.release(ONE)
    assert share.do("has", name).strip() == str(share.releases / name)
    assert len({tree(a="1").name, tree(a="2").name, tree(b="1").name}) == 3
    assert tree(a="1").packed == tree(a="1").packed


def test_what_arrives_damaged_is_not_kept(share):
    wrong = share.refusal("stage", ONE.name, given=TWO.packed)
    assert "is not the release" in wrong
    assert "is not there" in share.refusal("has", ONE.name)
    share.do("stage", ONE.name, given=ONE.packed)
    assert sorted(path.name for path in share.releases.iterdir()) == [ONE.name]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x"])
def test_an_archive_leads_nowhere_else(share, path):
    evil = Tree({path: File(FILE, b"x")}, "x")
    assert "is not a path within" in share.refusal("stage", evil.name, given=evil.packed)


def test_a_reader_never_sees_some_files_of_one_release_and_some_of_another(share):
    """Whoever opens the folder of the release that runs has all its files, and only those."""
    versions = {}
    for number in (1, 2):
        one = tree(**{f"part{part}": f"{number}\n" for part in range(40)})
        versions[number] = share.release(one)
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            folder = os.open(share.releases / "current", os.O_RDONLY)
            found = set()
            for name in os.listdir(folder):  # noqa: PTH208
                handle = os.open(name, os.O_RDONLY, dir_fd=folder)
                found.add(os.read(handle, 10))
                os.close(handle)
            os.close(folder)
            seen.add(frozenset(found))

    reader = threading.Thread(target=read)
    reader.start()
    for number in (1, 2) * 4:
        share.do("switch", versions[number])
    stop.set()
    reader.join()
    assert seen == {frozenset({b"1\n"}), frozenset({b"2\n"})}


def test_a_file_below_a_link_of_the_same_release_is_refused(share):
    """Such a commit cannot be made with git, but by a program of one's own."""
    files = {"d/up": File(LINK, b".."), "d/up/out": File(LINK, b"../.."), "d/x": File(FILE, b"")}
    evil = Tree(files, "x")
    assert "d/up/out is below a link." in share.refusal("stage", evil.name, given=evil.packed)


# Back, and away


def test_back_is_to_what_ran_before_and_then_to_what_ran_before_that(share):
    names = [share.release(one) for one in (tree(a="1"), tree(a="2"), tree(a="3"))]
    for expected in (names[1], names[0]):
        [before] = [name for name, what in share.listed().items() if what == "before intact"]
        assert before == expected
        share.do("back", before)
        assert share.running == expected
    assert "before intact" not in share.listed().values()


def test_the_releases_that_ran_last_are_kept(share):
    trees = [tree(a=str(number)) for number in range(5)]
    for age, one in enumerate(reversed(trees)):
        share.do("stage", one.name, given=one.packed)
        os.utime(share.releases / one.name, (10**9 - age, 10**9 - age))
    for one in trees[3:]:
        share.do("switch", one.name)
    (share.releases / f"{trees[0].name}.imported-2.9.0").touch()
    told = share.do("old", "3").splitlines()
    assert told == [f"removed: release {one.name}" for one in (trees[1], trees[0])]
    share.do("prune", "3")
    assert set(share.listed()) == {one.name for one in trees[2:]}
    assert not list(share.releases.glob("*.imported-*"))
    assert share.do("old", "3") == ""


def test_neither_what_runs_nor_what_ran_before_goes(share):
    names = [share.release(one) for one in (tree(a="1"), tree(a="2"), tree(a="3"))]
    share.do("prune", "1")
    assert set(share.listed()) == set(names[1:])


# What others put there


def test_files_of_others_stay(share):
    (share.folder / "by_hand.py").write_text("mine")
    share.release(ONE)
    share.release(TWO)
    assert share.text("by_hand.py") == "mine"


def test_a_command_that_is_told_has_names_in_quotes(share):
    name = "x; touch y.py"
    (share.folder / name).write_text("mine")
    evil = Tree({name: File(FILE, b"")}, "x")
    share.do("stage", evil.name, given=evil.packed)
    assert f"mv -nT '{share.folder}/{name}' " in share.refusal("switch", evil.name)


def test_a_name_that_others_have_used_is_refused_and_nothing_changes(share):
    share.release(ONE)
    (share.folder / "c.py").write_text("mine")
    share.do("stage", TWO.name, given=TWO.packed)
    assert f"refused: {share.folder}/c.py was put there by others" in share.do("diff", TWO.name)
    refusal = share.refusal("switch", TWO.name)
    assert f" -- mv -nT {share.folder}/c.py {share.folder}/c.py.by-hand\n" in refusal
    assert refusal.count("runuser -u ") == 1, "root itself moves nothing there"
    assert share.running == ONE.name
    assert share.text("c.py") == "mine"


def test_a_release_that_others_have_changed_is_kept_and_replaced_by_the_same_beside_it(share):
    share.release(ONE)
    (share.folder / "team/mine.py").write_text("mine")
    assert share.refusal("runs", ONE.name)
    assert share.listed() == {ONE.name: "current changed"}
    share.release(ONE)
    assert share.running == f"{ONE.name}.2"
    assert not (share.folder / "team/mine.py").exists()
    for number in range(3):
        share.release(tree(a=f"later {number}"))
    share.do("prune", "1")
    assert (share.releases / ONE.name / "team/mine.py").read_text() == "mine"


def test_what_python_compiles_changes_no_release(share):
    share.release(ONE)
    (share.folder / "team/__pycache__").mkdir()
    (share.folder / "team/__pycache__/b.pyc").touch()
    share.do("runs", ONE.name)


def test_links_that_somebody_removed_are_made_again(share):
    share.release(ONE)
    (share.folder / "a.py").unlink()
    assert share.refusal("runs", ONE.name)
    share.do("switch", ONE.name)
    assert share.text("a.py") == "1\n"


# What was copied file by file, before there were releases


def copied(share: Share, **files: str) -> None:
    for name, text in files.items():
        path = share.folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    names = [f"{name.replace('__', '/')}.py\n" for name in files]
    (share.folder / ".shipped").write_text("".join(names))


def test_files_that_were_copied_become_the_first_release(share):
    copied(share, a="old\n", team__b="old\n", gone="old\n")
    (share.folder / "by_hand.py").write_text("mine")
    share.release(ONE)
    assert share.text("a.py") == "1\n"
    assert not (share.folder / "gone.py").exists()
    assert not (share.folder / ".shipped").exists()
    [before] = [name for name, what in share.listed().items() if what == "before intact"]
    share.do("back", before)
    assert (share.text("gone.py"), share.text("team/b.py")) == ("old\n", "old\n")
    assert share.text("by_hand.py") == "mine"
    left = [path.name for path in share.releases.iterdir() if path.name.startswith(".")]
    share.do("stage", TWO.name, given=TWO.packed)
    assert not [name for name in left if (share.releases / name).exists()]


def test_a_plan_compares_with_what_was_copied(share):
    copied(share, a="old\n", team__b="1\n", gone="old\n")
    told = share.do("diff", ONE.name, "-", given=ONE.packed).splitlines()
    assert told[:2] == ["changed: a.py", "removed: gone.py"]
    assert "-old" in told
    (share.folder / "team/mine.py").write_text("mine")
    told = share.do("diff", ONE.name, "-", given=ONE.packed).splitlines()
    assert told[0] == f"refused: {share.folder}/team/mine.py was put there by others"


def test_a_file_of_others_among_them_stops_it(share):
    copied(share, team__b="old\n")
    (share.folder / "team/mine.py").write_text("mine")
    share.do("stage", ONE.name, given=ONE.packed)
    assert "team/mine.py was put there by others" in share.refusal("switch", ONE.name)
    assert share.text("team/mine.py") == "mine"
    assert share.text("team/b.py") == "old\n"


def test_the_list_on_the_share_cannot_name_a_file_elsewhere(share, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/precious").write_text("precious")
    (share.folder / "link").symlink_to(tmp_path / "outside")
    listed = f"../outside/precious\n{tmp_path}/outside/precious\nlink/precious\n"
    (share.folder / ".shipped").write_text(listed)
    share.release(ONE)
    assert (tmp_path / "outside/precious").read_text() == "precious"
    assert set(share.listed()) == {ONE.name}


def test_a_link_in_place_of_the_releases_is_not_followed(share, tmp_path):
    """Whoever may write in the folder could make one."""
    (tmp_path / "elsewhere").mkdir()
    share.releases.symlink_to(tmp_path / "elsewhere")
    for words in (("stage", ONE.name), ("list",), ("prune", "1")):
        assert "is a link, which others have made" in share.refusal(*words, given=ONE.packed)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_cannot_be_written_is_told_in_a_sentence(share):
    share.releases.write_text("")
    said = share.refusal("stage", ONE.name, given=ONE.packed)
    assert said == f"{share.releases}: File exists. Nothing more was changed.\n"


# What a plan shows


def test_a_plan_shows_what_is_added_changed_and_removed(share):
    share.release(tree(a="1\n", team__b="1\n", same="same\n"))
    new = {**tree(a="2\n", c="3\n", same="same\n").files, "blob": File(PROGRAM, b"\0" * 9)}
    wanted = Tree(new, "x")
    told = share.do("diff", wanted.name, "-", given=wanted.packed).splitlines()
    assert told[:4] == ["changed: a.py", "added: blob", "added: c.py", "removed: team/b.py"]
    assert {"-1", "+2", "+3", "blob: 0 bytes become 9"} <= set(told)
    assert not any("same" in line for line in told)
    assert not (share.releases / wanted.name).exists(), "a plan changes nothing"
    assert share.do("diff", wanted.name) == "", "it has not arrived"
    share.do("stage", wanted.name, given=wanted.packed)
    assert share.do("diff", wanted.name, "-", given=wanted.packed) == ""
    assert share.do("diff", wanted.name).splitlines() == told, "shown once, by the second step"


def test_a_plan_shows_a_changed_mode_and_not_too_many_lines(share):
    share.release(tree(a="1\n"))
    many = "".join(f"{number}\n" for number in range(2000))
    wanted = Tree({"a.py": File(PROGRAM, b"1\n"), "b.py": File(FILE, many.encode())}, "x")
    told = share.do("diff", wanted.name, "-", given=wanted.packed).splitlines()
    assert "changed: a.py, mode 100644 becomes 100755" in told
    assert len(told) < 310
    assert told[-1] == "… 1703 more lines"


# Plugins: nothing but the releases


def test_a_plain_folder_has_no_links_into_a_release(share):
    share.options = ("--plain",)
    share.release(ONE)
    share.release(TWO)
    share.do("runs", TWO.name)
    assert [path.name for path in share.folder.iterdir()] == [".releases"]
