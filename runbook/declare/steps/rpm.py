"""Steps for packages and their repositories."""

from __future__ import annotations

from collections.abc import Mapping

from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps.files import file


def packages(*names: str) -> Step:
    """RPM packages, or what other packages provide under these names, are installed."""
    words = " ".join(quote(name) for name in names)
    return Step(
        f"installed: {' '.join(names)}",
        test=f"packages_installed {words}",
        apply=f"dnf install -y {words}",
        diff=f"packages_missing {words}",
        packages=names,
        installs=names,
        timeout=900,
    )


def packages_at(versions: Mapping[str, str]) -> Step:
    """RPM packages are installed, each at exactly this version."""
    pinned = tuple(f"{name}-{version}" for name, version in versions.items())
    words = " ".join(pinned)
    tests = (
        f"[[ $(rpm -q --qf '%{{VERSION}}' {name}) == {quote(version)} ]]"
        for name, version in versions.items()
    )
    return Step(
        f"installed: {words}",
        test=" && ".join(tests),
        apply=f"dnf install -y {words}",
        installs=pinned,
        timeout=900,
    )


def version_locked(versions: Mapping[str, str]) -> Steps:
    """`dnf upgrade` leaves these packages at their versions."""
    yield packages("python3-dnf-plugin-versionlock")
    words = " ".join(f"{name}-{version}" for name, version in versions.items())
    locks = "/etc/dnf/plugins/versionlock.list"
    tests = (
        f"[[ $current == *{name}-*([0-9]):{quote(version)}-* ]]"
        for name, version in versions.items()
    )
    yield Step(
        f"held by dnf: {words}",
        test=f"shopt -s extglob && text_of {locks} && {' && '.join(tests)}",
        apply=f"dnf versionlock add {words}",
    )


def updated() -> Step:
    """Every installed package is at its newest version. May restart services; see `base.update`."""
    return Step(
        "all packages are up to date",
        test="dnf -q --refresh check-update",
        apply="dnf upgrade -y --refresh",
        diff="dnf -q check-update || :",
        timeout=3600,
    )


def signed(*keys: str, metadata: bool = True) -> dict[str, str]:
    """A repository's settings: its packages, and its `metadata`, are signed with these keys.

    Without keys, as for a private mirror, nothing is verified.
    """
    if not keys:
        return {"gpgcheck": "0"}
    check = {"gpgcheck": "1", "repo_gpgcheck": "1"} if metadata else {"gpgcheck": "1"}
    return {**check, "gpgkey": " ".join(keys)}


def repository(name: str, sections: Mapping[str, Mapping[str, str]]) -> Step:
    """dnf's repository file of this name has exactly these sections.

    A repository that does not answer is skipped; otherwise no package of any other repository
    could be installed or updated (dnf.conf(5), "skip_if_unavailable"). A file with the `password`
    of a repository is readable by root alone.
    """
    lines = []
    for section, settings in sections.items():
        given = {**settings, "skip_if_unavailable": "1"}
        lines += [f"[{section}]", *(f"{key}={value}" for key, value in given.items()), ""]
    path, text = f"/etc/yum.repos.d/{name}.repo", "\n".join(lines[:-1])
    if any("password" in settings for settings in sections.values()):
        return file(path, text, mode="0600", hide="^password=")
    return file(path, text)


def release_variable() -> Step:
    """dnf has the host's major release in $elmajor, because $releasever may be pinned."""
    path = "/etc/dnf/vars/elmajor"
    found = r"""major=$(sed -n 's/^PLATFORM_ID="platform:el\([0-9]*\)"$/\1/p' /etc/os-release)"""
    return Step(
        "dnf knows the major release as $elmajor",
        test=f'{found} && [[ $major && $(cat {path} 2>/dev/null) == "$major" ]]',
        apply=f"""{found}
[[ $major ]] || {{ echo '/etc/os-release names no platform:elN in PLATFORM_ID'; exit 1; }}
echo "$major" >{path}""",
    )


def module_disabled(name: str) -> Step:
    """The module's packages no longer hide those of other repositories (RHEL 8 and 9, AppStream).

    If no repository has the module, nothing is disabled; dnf would fail.
    """
    return Step(
        f"dnf module {name} is disabled",
        test=f"text_of /etc/dnf/modules.d/{name}.module; [[ $current == *state=disabled* || "
        f"$(dnf -q module list {name} 2>&1) == *'No matching Modules'* ]]",
        apply=f"dnf module disable -y {name}",
        timeout=600,
    )
