"""What a release is made from: a folder of this machine, or a commit of a git repository."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from fabfile.airflow import git, repository
from fabfile.airflow.folder import read
from fabfile.airflow.repository import Git, GitPath, GitRef, GitUrl, Repository
from fabfile.airflow.tree import FILE, LINK, PROGRAM, File, Tree, checked
from runbook.errors import SettingsError

SETTING = "airflow.dags in hosts.yaml"
TOKEN = "ghp_s3cr3tt0ken"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "project"
    (folder / "team").mkdir(parents=True)
    (folder / "team/etl.py").write_text("x = 1\n")
    (folder / ".airflowignore").write_text("^helpers\n")
    (folder / "logo.png").write_bytes(b"\x89PNG\xff")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("team/etl.py")
    return folder


def names(folder: Path, tmp_path: Path) -> list[str]:
    return sorted(read(folder, SETTING, tmp_path / "state").files)


# A folder


def test_all_files_of_a_folder_are_read_with_their_modes(folder, tmp_path):
    files = read(folder, SETTING, tmp_path / "state").files
    assert {name: file.mode for name, file in files.items()} == {
        ".airflowignore": FILE,
        "link": LINK,
        "logo.png": FILE,
        "run.sh": PROGRAM,
        "team/etl.py": FILE,
    }
    assert files["logo.png"].content == b"\x89PNG\xff"
    assert files["link"].content == b"team/etl.py"


def test_what_python_compiles_and_what_git_keeps_is_left_out(folder, tmp_path):
    before = names(folder, tmp_path)
    for name in ("team/__pycache__/etl.pyc", ".git/config", "team/.git/HEAD", "x.pyc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert names(folder, tmp_path) == before


def test_what_gitignore_names_is_left_out_in_a_folder_that_git_does_not_know(folder, tmp_path):
    before = names(folder, tmp_path)
    (folder / ".gitignore").write_text("*.log\n/venv/\n!kept.log\n")
    (folder / "team/.gitignore").write_text("secrets.yaml\n")
    for name in ("a.log", "team/b.log", "venv/bin/python", "team/secrets.yaml", "kept.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "team/.git").mkdir()
    assert names(folder, tmp_path) == sorted([*before, ".gitignore", "team/.gitignore", "kept.log"])


def test_the_gitignore_of_the_repository_holds_in_its_folders(folder, tmp_path):
    before = names(folder / "team", tmp_path)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("team/local_*\n")
    (folder / "team/local_settings.py").touch()
    assert names(folder / "team", tmp_path) == before


def test_without_git_a_gitignore_is_not_silently_forgotten(folder, tmp_path, monkeypatch):
    (folder / ".gitignore").write_text("*.log\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match=r"has a \.gitignore.* git is not installed"):
        names(folder, tmp_path)
    (folder / ".gitignore").unlink()
    assert names(folder, tmp_path), "git is not needed otherwise"


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere is not a folder\. Correct airflow\.dags in"):
        read(tmp_path / "nowhere", SETTING, tmp_path)


def test_a_pipe_is_no_file(folder, tmp_path):
    os.mkfifo(folder / "pipe")
    with pytest.raises(SettingsError, match="pipe is neither a file nor a link"):
        names(folder, tmp_path)


# What no release can have


@pytest.mark.parametrize(
    ("path", "target", "fine"),
    [
        ("l", "a", True),
        ("l", "team/a", True),
        ("d/l", "../a", True),
        ("d/l", "nowhere", True),
        ("l", "../a", False),
        ("d/l", "../../a", False),
        ("l", "/etc/passwd", False),
        ("d/l", "x/../../y", False),
        ("l", "team/..", False),
        ("l", "", False),
    ],
)
def test_a_link_may_lead_within_the_release_only(path, target, fine):
    tree = Tree({path: File(LINK, target.encode())}, "the folder")
    if fine:
        assert checked(tree) is tree
        return
    with pytest.raises(SettingsError, match=r"is a link to .*, out of the folder"):
        checked(tree)


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("a\nb", b"", "control character"),
        ("\udcff", b"", "not UTF-8"),
        (".releases/x", b"", "uses itself"),
        (".nfs-ha", b"", "uses itself"),
        ("big.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:x", "Git LFS"),
    ],
)
def test_what_would_not_work_on_the_servers_is_told_before(path, content, words):
    tree = Tree({path: File(FILE, content)}, "the folder")
    with pytest.raises(SettingsError, match=rf"^the folder: .*{words}"):
        checked(tree, (".releases", ".nfs-ha"))


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("d/up", "d/up/out"), "'?d/up/out'? is below a file or a link"),
        (("../x",), "is not a path within the folder"),
        (("a//b",), "is not a path within the folder"),
    ],
)
def test_what_only_a_program_of_ones_own_can_commit_is_refused(paths, words):
    """git checks no tree that it fetches: such names would lead out of the folder."""
    tree = Tree({path: File(LINK, b"..") for path in paths}, "the folder")
    with pytest.raises(SettingsError, match=words):
        checked(tree)


def test_a_release_that_is_too_large_names_the_largest_files(monkeypatch):
    monkeypatch.setattr("fabfile.airflow.tree.LARGEST", 1000)
    tree = Tree({"a.csv": File(FILE, os.urandom(2000)), "b": File(FILE, b"")}, "the folder")
    with pytest.raises(SettingsError, match=r"The largest files: a\.csv, b\."):
        _ = tree.packed


def test_a_line_is_added_to_a_file_or_makes_it():
    tree = Tree({"a": File(FILE, b"one")}, "x", "c")
    assert tree.with_line("a", "two").files["a"].content == b"one\ntwo\n"
    assert tree.with_line("b", "two").files["b"].content == b"two\n"


# git


@dataclass
class Remote:
    """A repository that somebody else has."""

    folder: Path

    def git(self, *words: str) -> str:
        identity = [
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@example.com",
            "-c",
            "commit.gpgsign=no",
        ]
        done = subprocess.run(
            ["git", "-C", str(self.folder), *identity, *words], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x", "--allow-empty")
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"file://{self.folder}"


@pytest.fixture
def remote(folder) -> Remote:
    remote = Remote(folder)
    remote.git("init", "-q", "-b", "main")
    remote.commit()
    return remote


def fetched(remote: Remote, tmp_path: Path, **wanted: str) -> Tree:
    return Repository(Git(**{"git": remote.url, **wanted}), SETTING, tmp_path / "state").tree()


def test_a_commit_has_the_files_that_were_committed(remote, tmp_path):
    (remote.folder / ".gitignore").write_text("*.csv\n")
    (remote.folder / "forced.csv").write_text("1\n")
    remote.git("add", "-f", "forced.csv")
    commit = remote.commit()
    (remote.folder / "not committed").touch()
    tree = fetched(remote, tmp_path)
    assert tree.commit == commit
    assert tree.name.startswith(f"{commit[:12]}-")
    assert {"forced.csv", ".airflowignore", "link", "logo.png"} <= tree.files.keys()
    assert "not committed" not in tree.files
    assert tree.files["run.sh"].mode == PROGRAM
    assert tree.files["logo.png"].content == b"\x89PNG\xff"
    assert tree.files["link"] == File(LINK, b"team/etl.py")


def test_a_folder_of_the_repository_is_chosen(remote, tmp_path):
    assert list(fetched(remote, tmp_path, path="team").files) == ["etl.py"]


@pytest.mark.parametrize("ref", ["main", "v1", "v2", "refs/heads/main", "commit", "side/branch"])
def test_a_ref_is_a_branch_a_tag_or_a_commit(remote, tmp_path, ref):
    commit = remote.git("rev-parse", "HEAD")
    remote.git("tag", "v1")
    remote.git("tag", "-a", "v2", "-m", "annotated")
    remote.git("branch", "side/branch")
    assert fetched(remote, tmp_path, ref=commit if ref == "commit" else ref).commit == commit


def test_a_new_commit_is_seen_and_an_old_one_can_be_named(remote, tmp_path):
    first = fetched(remote, tmp_path)
    (remote.folder / "team/etl.py").write_text("x = 2\n")
    remote.commit()
    assert fetched(remote, tmp_path).files["team/etl.py"].content == b"x = 2\n"
    assert fetched(remote, tmp_path, ref=first.commit).digest == first.digest


def test_a_commit_is_found_although_the_server_gives_only_branches(remote, tmp_path, monkeypatch):
    first = remote.git("rev-parse", "HEAD")
    remote.commit()
    asked = Repository._asked

    def strict(self: Repository, *words: str, **options: int) -> bytes:
        if "--depth=1" in words:
            raise SettingsError("not our ref")
        return asked(self, *words, **options)

    monkeypatch.setattr(Repository, "_asked", strict)
    assert fetched(remote, tmp_path, ref=first).commit == first
    with pytest.raises(SettingsError, match=r"has no commit 1{40}\. Correct ref of airflow\.dags"):
        fetched(remote, tmp_path, ref="1" * 40)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            {"ref": "mian"},
            r"has no branch or tag mian \(did you mean main\?\)\. Correct ref of airflow",
        ),
        (
            {"path": "nowhere"},
            r"has no folder nowhere\. Correct path of airflow\.dags in hosts\.yaml",
        ),
        ({"path": "run.sh"}, r"has no folder run\.sh"),
        ({"git": "file:///no/where"}, r"cannot be read: .*'/no/where' does not .* Correct airflow"),
        ({"ref": "both"}, r"a branch and a tag both\. Write refs/heads/both or refs/tags/both"),
    ],
)
def test_what_is_wrong_is_told_with_the_setting(remote, tmp_path, wanted, words):
    remote.git("tag", "both")
    remote.commit()
    remote.git("branch", "both")
    with pytest.raises(SettingsError, match=words):
        fetched(remote, tmp_path, **wanted)


def test_without_git_a_reference_is_refused(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="git is not installed on this machine"):
        fetched(remote, tmp_path)


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "git").write_text("#!/bin/sh\nsleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SettingsError, match=r"git did not end within 1 s"):
        git.run(["ls-remote"], "the server", patience=1)


def test_a_submodule_is_told(remote, tmp_path):
    commit = remote.git("rev-parse", "HEAD")
    remote.git("update-index", "--add", "--cacheinfo", f"160000,{commit},team/lib")
    remote.git("commit", "-q", "-m", "x")
    with pytest.raises(SettingsError, match="lib is a submodule"):
        fetched(remote, tmp_path, path="team")
    assert fetched(remote, tmp_path, ref=commit).files, "an older commit has none"


# What others have committed is not run, and what is secret is not shown


def test_no_filter_hook_or_attribute_of_the_repository_has_an_effect(remote, tmp_path, monkeypatch):
    """git archive and checkouts would run the filters that this machine's settings have."""
    ran = tmp_path / "ran"
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f'[filter "evil"]\n\tsmudge = "touch {ran}; cat"\n\tclean = cat\n'
        f"[core]\n\thooksPath = {tmp_path}/hooks\n\tfsmonitor = touch {ran}\n"
    )
    (tmp_path / "hooks").mkdir()
    for hook in ("post-checkout", "reference-transaction", "fsmonitor-watchman"):
        (tmp_path / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (tmp_path / "hooks" / hook).chmod(0o755)
    (remote.folder / ".gitattributes").write_text(
        "*.py filter=evil eol=crlf ident\n*.png export-ignore\n"
    )
    remote.commit()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    files = fetched(remote, tmp_path).files
    assert files["team/etl.py"].content == b"x = 1\n"
    assert "logo.png" in files
    assert not ran.exists()


def test_a_token_reaches_git_and_neither_a_command_line_nor_a_message(tmp_path, monkeypatch):
    told = tmp_path / "told"
    (tmp_path / "git").write_text(
        f"""#!/bin/sh
echo "$*" >>{told}
case "$*" in *init*) exec /usr/bin/git "$@" ;; esac
echo "$("$GIT_ASKPASS" 'Username for x: ') $("$GIT_ASKPASS" 'Password for x: ')" >>{told}.login
echo "fatal: Authentication failed for 'https://git:{TOKEN}@example.com/x'" >&2
exit 128
"""
    )
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    wanted = Git("https://example.com/x.git", user="bot", token=TOKEN)
    with pytest.raises(SettingsError) as refused:
        Repository(wanted, SETTING, tmp_path / "state").tree()
    assert "Authentication failed" in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert TOKEN not in told.read_text()
    assert Path(f"{told}.login").read_text() == f"bot {TOKEN}\n"


def test_the_mirror_is_the_owners_alone(remote, tmp_path):
    fetched(remote, tmp_path)
    assert stat.S_IMODE((tmp_path / "state/git").stat().st_mode) == 0o700
    assert not list((tmp_path / "state/git").glob("*/hooks/*"))


@pytest.mark.parametrize(
    ("kind", "fine", "wrong"),
    [
        (
            GitUrl,
            [
                *("https://example.com/team/dags.git", "ssh://git@example.com:2222/dags"),
                *("git@example.com:team/dags.git", "file:///srv/git/dags.git"),
            ],
            [
                *("ext::sh -c id", "--upload-pack=x", "https://u:p@example.com/x", "/srv/git"),
                *("https://example.com/$(id)", "ssh://-oProxyCommand=x/y", "-x@y:z", "git://h/x"),
                *("https://example.com/a b", "https://example.com/'x", "file://host/x"),
            ],
        ),
        (
            GitRef,
            ["main", "v1.2", "feature/x+y", "refs/heads/main", "a" * 40],
            ["-x", "a..b", "a b", "x.lock", "a/", "/a", "a^", "a~1", "@{u}", "a:b", "", "$(id)"],
        ),
        (
            GitPath,
            ["dags", "a/b-c/d.e", ".config"],
            ["/dags", "../x", "a/../b", "a/", "a//b", "", "$(id)", "a b", "a/."],
        ),
    ],
)
def test_only_what_git_cannot_take_for_something_else_is_accepted(kind, fine, wrong):
    for text in fine:
        assert msgspec.convert(text, kind) == text
    for text in wrong:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, kind)


def test_settings_of_this_machine_do_not_allow_other_protocols(remote, tmp_path, monkeypatch):
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f'[url "ext::touch {tmp_path}/ran "]\n\tinsteadOf = file:///srv\n'
        '[protocol "ext"]\n\tallow = always\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    with pytest.raises(SettingsError, match=r"transport 'ext' not allowed"):
        fetched(remote, tmp_path, git="file:///srv/x")
    assert not (tmp_path / "ran").exists()
    assert re.fullmatch("[0-9a-f]{16}\\.git", next((tmp_path / "state/git").iterdir()).name)
    assert repository.COMMIT.fullmatch("a" * 40)
