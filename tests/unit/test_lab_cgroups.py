from __future__ import annotations

from pathlib import Path

from lab.cgroups import Group, mounted

HYBRID = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
"""


def test_groups_are_found_alone_and_beside_v1():
    assert mounted("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == {Path("/sys/fs/cgroup"): "cgroup2"}
    assert mounted(HYBRID) == {
        Path("/sys/fs/cgroup/systemd"): "cgroup",
        Path("/sys/fs/cgroup/unified"): "cgroup2",
    }


def test_a_group_knows_the_processes_below_it(tmp_path):
    for name, pids in (("a", "1\n2\n"), ("a/b", "3\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").write_text(pids)
    assert sorted(Group(tmp_path).pids()) == [1, 2, 3]
    assert Group(tmp_path / "none").pids() == []
    assert not Group(tmp_path / "none").frozen()
