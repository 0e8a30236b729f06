"""What a lab's hosts have of a real site: where sshd listens, who may log in, and profiles.

A profile makes fresh hosts as unkind as some real ones. Its folder in `profiles` has any of `tree/`
(files laid over the root of a host), `prepare` (a script that is called with the folder of that
root) and `override.yaml` (merged over lab/override.yaml).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.command import run
from lab.errors import LabError

FOLDER = Path(__file__).resolve().parent / "profiles"
PROFILES = ("el9", "cloud", "cis", "selinux", "zone", "nics")
"""All profiles, in the order in which a host gets them."""
SECOND_NETWORK = "nics"
ROOT = "root"


@dataclass(frozen=True)
class Site:
    """What fresh hosts of a lab are like."""

    account: str = ROOT
    """The account of the first contact; with sudo, unless it is root."""
    profiles: tuple[str, ...] = ()

    def prepare(self, root: Path, port: int, password_hash: str, key: str) -> None:
        """Turn a fresh host's root filesystem into one of this site."""
        if port != 22:
            _listen(root, port)
        if self.account != ROOT:
            _add_account(root, self.account, password_hash)
        for name in self.profiles:
            _apply(FOLDER / name, root, {"ACCOUNT": self.account, "PORT": str(port), "KEY": key})


def require_profiles(names: Iterable[str]) -> tuple[str, ...]:
    """The profiles of these names in their order; refuses one that does not exist."""
    wanted = set(names)
    unknown = sorted(wanted - set(PROFILES))
    if unknown:
        raise LabError(f"there is no profile {unknown[0]}; available: {', '.join(PROFILES)}", 2)
    return tuple(name for name in PROFILES if name in wanted)


def overrides(profiles: Iterable[str]) -> list[Path]:
    """What profiles say differently in hosts.yaml, the later ones over the earlier ones."""
    files = (FOLDER / name / "override.yaml" for name in profiles)
    return [file for file in files if file.exists()]


def _apply(profile: Path, root: Path, values: dict[str, str]) -> None:
    tree, prepare = profile / "tree", profile / "prepare"
    if tree.exists():
        shutil.copytree(tree, root, dirs_exist_ok=True, symlinks=True)
    if prepare.exists():
        run(prepare, root, env=values)


def _listen(root: Path, port: int) -> None:
    """sshd listens at another port, which the firewall lets in."""
    config = root / "etc/ssh/sshd_config"
    config.write_text(f"Port {port}\n{config.read_text()}")
    run("chroot", root, "firewall-offline-cmd", f"--add-port={port}/tcp")


def _add_account(root: Path, name: str, password_hash: str) -> None:
    """An administrator's account, as an installer makes it: sudo asks for its password."""
    run("chroot", root, "useradd", "--create-home", "--groups=wheel", name)
    run("chroot", root, "chpasswd", "--encrypted", feed=f"{name}:{password_hash}\n")
