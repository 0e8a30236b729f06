"""What a lab of virtual machines decides before one starts."""

from __future__ import annotations

import pytest

from lab.host import Host
from lab.network import Network
from lab.packages import PACKAGES
from lab.site import Site
from lab.vm.image import VmImage
from lab.vm.machine import Machine, processor
from lab.vm.nfs_utils import NFS_UTILS, STAND_INS


@pytest.mark.parametrize(
    ("cpuinfo", "kvm", "used"),
    [
        ("flags : fpu vmx sse2", True, "kvm"),
        ("flags : fpu svm sse2", True, "kvm"),
        ("flags : fpu vmx sse2", False, "tcg"),
        ("flags : fpu sse2 hypervisor", True, "tcg"),
    ],
)
def test_the_processor_is_used_if_it_helps_and_the_kernel_lets_one(cpuinfo, kvm, used):
    assert processor(cpuinfo, kvm)[:2] == ["-accel", used]


def test_a_machine_has_one_card_which_is_on_the_bridge_of_its_lab(tmp_path):
    network = Network("lab-123456", "192.168.83.1", 24)
    host = Host("ftp", 2, "192.168.83.132", tmp_path, network, 22, Site())
    command = Machine(host, VmImage(tmp_path)).command()
    cards = [command[at + 1] for at, word in enumerate(command) if word == "-netdev"]
    assert cards == ["tap,id=cable,ifname=vm2,script=no,downscript=no"]
    assert "-nodefaults" in command  # else qemu brings a card of its own, with a way out
    words = next(word for word in command if "lab_address" in word).split()
    assert "lab_address=192.168.83.132/24" in words
    assert "lab_gateway=192.168.83.1" in words


def test_nfs_utils_for_a_kernel_is_what_the_stand_ins_replace():
    stand_in = PACKAGES["nfs-utils"]
    assert set(stand_in.requires) == STAND_INS
    assert set(NFS_UTILS.debs) == set(stand_in.debs)
    assert NFS_UTILS.users == stand_in.users
