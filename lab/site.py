"""Properties of real sites for the hosts of a lab: SSH port, account of first contact, profiles.

A profile makes fresh hosts as inconvenient as those of some real sites. Its folder in `profiles`
may contain `tree/` (files copied over the root of a host), `prepare` (a script that gets the path
of that root) and `override.yaml` (merged over lab/override.yaml).
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
"""All profiles, in the order in which they are applied."""
SECOND_NETWORK = "nics"
ROOT = "root"


@dataclass(frozen=True)
class Site:
    """The site whose properties fresh hosts of a lab get."""

    account: str = ROOT
    """The account of first contact; it has sudo, unless it is root."""
    profiles: tuple[str, ...] = ()

    def prepare(self, root: Path, port: int, password_hash: str, key: str) -> None:
        """Prepare the root filesystem of a fresh host for this site."""
        if port != 22:
            _listen(root, port)
        if self.account != ROOT:
            _add_account(root, self.account, password_hash)
        for name in self.profiles:
            _apply(FOLDER / name, root, {"ACCOUNT": self.account, "PORT": str(port), "KEY": key})


def require_profiles(names: Iterable[str]) -> tuple[str, ...]:
    """The profiles with these names, in order; LabError for a name that does not exist."""
    wanted = set(names)
    unknown = sorted(wanted - set(PROFILES))
    if unknown:
        raise LabError(f"there is no profile {unknown[0]}; available: {', '.join(PROFILES)}", 2)
    return tuple(name for name in PROFILES if name in wanted)


def overrides(profiles: Iterable[str]) -> list[Path]:
    """The override files of profiles; later ones override earlier ones."""
    files = (FOLDER / name / "override.yaml" for name in profiles)
    return [file for file in files if file.exists()]


def _apply(profile: Path, root: Path, values: dict[str, str]) -> None:
    tree, prepare = profile / "tree", profile / "prepare"
    if tree.exists():
        shutil.copytree(tree, root, dirs_exist_ok=True, symlinks=True)
    if prepare.exists():
        run(prepare, root, env=values)


def _listen(root: Path, port: int) -> None:
    """Make sshd listen on another port, and open that in the firewall."""
    config = root / "etc/ssh/sshd_config"
    config.write_text(f"Port {port}\n{config.read_text()}")
    run("chroot", root, "firewall-offline-cmd", f"--add-port={port}/tcp")


def _add_account(root: Path, name: str, password_hash: str) -> None:
    """Create an administrator's account as an installer does: sudo asks for its password."""
    run("chroot", root, "useradd", "--create-home", "--groups=wheel", name)
    run("chroot", root, "chpasswd", "--encrypted", feed=f"{name}:{password_hash}\n")
