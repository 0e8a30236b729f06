from __future__ import annotations

import pytest
import yaml

from lab import CHECKOUT
from lab.errors import LabError
from lab.image import Image
from lab.shelf import TARBALL, TARBALL_SHA256, locks, pins, project_of, shares, write_index

LOCK = """\
# made by hand
one==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
two-b==2.0 --hash=sha256:cc
"""


def test_the_locks_for_the_hosts_python_are_taken_and_the_tools_come_last(tmp_path):
    for name in ("2.9.0-py3.9.lock", "2.9.0-py3.11.lock", "2.7.3-py3.11.lock", "build-tools.lock"):
        (tmp_path / name).touch()
    names = [path.name for path in locks(tmp_path)]
    locks_of_airflow = ["2.7.3-py3.11.lock", "2.9.0-py3.11.lock"]
    assert names == [*locks_of_airflow, "more-py3.11.lock", "build-tools.lock"]
    with pytest.raises(LabError, match="there is no"):
        locks(tmp_path / "nowhere")


def test_the_shipped_locks_pin_what_they_name_with_hashes():
    *packages, tools = locks()
    assert len(pins(packages)) > 200
    assert {pin.partition("==")[0] for pin in pins([tools])} >= {"uv", "setuptools", "wheel"}
    for pin in pins([*packages, tools]):
        assert "==" in pin.splitlines()[0]
        assert "--hash=sha256:" in pin
        assert ";" not in pin  # pip would judge by the Python that downloads


def test_two_versions_of_a_project_are_downloaded_apart(tmp_path):
    newer = LOCK.replace("one==1.0", "one==1.1")
    for name, text in (("a", LOCK), ("b", newer)):
        (tmp_path / name).write_text(text)
    both = pins([tmp_path / "a", tmp_path / "b"])
    assert [pin.split()[0] for pin in both] == ["one==1.0", "one==1.1", "two-b==2.0"]
    dealt = shares(both, 2)
    assert [share.count("one==") for share in dealt] == [1, 1]
    assert sorted("".join(dealt).splitlines()) == sorted("\n".join(both).splitlines())


@pytest.mark.parametrize(
    ("file", "project"),
    [
        ("Flask_AppBuilder-4.4.1-py3-none-any.whl", "flask-appbuilder"),
        ("python-nvd3-0.15.0.tar.gz", "python-nvd3"),
        ("zope.interface-6.0.zip", "zope-interface"),
    ],
)
def test_projects_are_named_as_an_index_does(file, project):
    assert project_of(file) == project


def test_an_index_has_a_page_a_project(tmp_path):
    for folder, name in (("a", "One_Two-1-py3-none-any.whl"), ("b", "one-two-2+local.tar.gz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(name)
    index = tmp_path / "simple"
    write_index([path for folder in "ab" for path in (tmp_path / folder).iterdir()], index)
    assert '<a href="one-two/">one-two</a>' in (index / "index.html").read_text()
    page = (index / "one-two/index.html").read_text()
    assert '<a href="One_Two-1-py3-none-any.whl#sha256=' in page
    assert '<a href="one-two-2%2Blocal.tar.gz#sha256=' in page
    assert page.count("<a ") == 2
    assert (index / "one-two/one-two-2+local.tar.gz").exists()


def test_the_labs_settings_name_what_is_served():
    settings = yaml.safe_load((CHECKOUT / "lab/override.yaml").read_text())
    python = settings["sources"]["python"]
    assert python == {"url": f"http://labmirror/sources/{TARBALL}", "sha256": TARBALL_SHA256}
    assert settings["sources"]["pypi"] == {"index": "http://labmirror/simple/"}
    assert settings["versions"]["python"] in TARBALL


def test_a_lab_from_before_the_shelf_has_no_complete_image(tmp_path):
    names = {"base": "base-1", "rocky": "image-1", "repository": "repo-1"}
    for name in names.values():
        (tmp_path / name).mkdir()
    before = Image.named(tmp_path, names)
    assert before.base == tmp_path / "base-1"
    assert not before.complete()
    (tmp_path / "shelf-1").mkdir()
    now = Image.named(tmp_path, {**names, "shelf": "shelf-1"})
    assert now.complete()
    assert Image.named(tmp_path, now.names()) == now
