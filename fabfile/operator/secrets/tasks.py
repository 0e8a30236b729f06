"""`inv secrets.*`: generate, show, check, edit, encrypt. No server is contacted."""

from __future__ import annotations

import sys
from getpass import getpass
from os import environ
from pathlib import Path
from typing import Optional

from invoke import Collection, Context, task

from runbook.errors import FAILED, RunbookError, SettingsError, UsageError
from runbook.execute.session import in_sentences
from runbook.inventory.cluster import Cluster
from runbook.inventory.entry import perhaps
from runbook.output.prompt import confirmed
from runbook.secrets.passwords_file import sayable
from runbook.secrets.references import NAME
from runbook.secrets.sealed import SHORTEST_PASSPHRASE, KeyFile, Opener, Passphrase
from runbook.secrets.vault import KEY_VARIABLE, PASSPHRASE_VARIABLE, Secret

from ..session import configured
from . import editing, findings
from .needed import declared, first_run, needed


@task(help={"i-know": "generate new ones although this cluster was set up with others"})
@in_sentences
def generate(c: Context, i_know: bool = False) -> None:
    """Generate the passwords that are missing, and print their names."""
    cluster = configured()
    vault = cluster.vault
    if not vault.file.exists() and not first_run(cluster) and not i_know:
        raise SettingsError(
            f"{vault.file} is missing, but this cluster was set up with it. Restore it from your "
            "backup. New passwords would lock you out of the cluster (--i-know generates them)."
        )
    wanted = needed(cluster)
    for secret in wanted:
        if not secret.given:
            vault.get(secret)
    names = vault.keep()
    if names:
        print(f"generated and kept in {vault.file}: {', '.join(names)}")
        print("Back up that file where only you can read it.")
    missing = [secret for secret in wanted if secret.given and not vault.knows(secret)]
    for secret in missing:
        print(f"{secret.name} ({secret.about}) is yours to set: inv secrets.set {secret.name}")
    if not names and not missing:
        print(f"{vault.file} has all passwords.")


@task(name="set", positional=["name"], help={"name": "its key in secrets.yaml"})
@in_sentences
def set_(c: Context, name: str) -> None:
    """Set one password, which is asked for, or read from standard input.

    For what only you can know: {secret: NAME} in hosts.yaml refers to it.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name} is not a secret's name (a-z, 0-9, _; the first a letter).")
    vault = configured().vault
    value = sayable(_given(name), name)
    if not value:
        raise RunbookError("The value is empty. Nothing was changed.")
    known = [secret for secret in declared() if secret.name == name]
    words = known[0].broken_by(value) if known else ""
    if words:
        raise SettingsError(f"{name} must be {words}. Nothing was changed.")
    vault.put(Secret(name, "", given=True), value)
    vault.keep()
    print(f"{name} is set in {vault.file}.")


def _given(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    try:
        value = getpass(f"{name}: ")
        again = getpass("Once more: ")
    except EOFError:
        raise SettingsError("The value was not given; nothing was changed.") from None
    if value != again:
        raise SettingsError("The two values differ. Nothing was changed.")
    return value


@task(positional=["name"], help={"name": "its key in secrets.yaml", "yes": "do not ask first"})
@in_sentences
def show(c: Context, name: str, yes: bool = False) -> None:
    """Show one password on this screen. Asks first."""
    cluster = configured()
    value = _value(cluster, name)
    if not yes and not confirmed(f"{name} will be readable on this screen. Go on?"):
        raise RunbookError("Nothing was shown.")
    print(value)


def _value(cluster: Cluster, name: str) -> str:
    wanted = {secret.name: secret for secret in needed(cluster)}
    if name in wanted and environ.get(wanted[name].variable):
        return cluster.vault.get(wanted[name])
    kept = cluster.vault.everything()
    if name in kept:
        return kept[name]
    if name in wanted:
        if wanted[name].given:
            raise SettingsError(f"{name} has no value yet: inv secrets.set {name}")
        raise SettingsError(f"{name} has not been generated yet: inv secrets.generate")
    known = sorted({*kept, *wanted})
    raise UsageError(f"There is no password {name}{perhaps(name, known)}. See inv secrets.list")


@task(name="list")
@in_sentences
def list_(c: Context) -> None:
    """List all passwords, what each is for, and where it comes from."""
    from tabulate import tabulate

    cluster = configured()
    kept = cluster.vault.everything()
    rows = []
    for secret in needed(cluster):
        missing = "yours to set" if secret.given else "not generated yet"
        where = cluster.vault.file.name if secret.name in kept else missing
        origin = secret.variable if environ.get(secret.variable) else where
        rows.append((secret.name, secret.about, origin))
    listed = {row[0] for row in rows}
    rows += [
        (name, findings.meaning(name), cluster.vault.file.name)
        for name in kept
        if name not in listed
    ]
    print(tabulate(rows, headers=["name", "for", "from"]))


@task
@in_sentences
def check(c: Context) -> None:
    """Check passwords and their file: weak, used twice, readable by others, in git."""
    cluster = configured()
    found = list(findings.all_of(cluster))
    for finding in found:
        print(f"{finding.about}: {finding.sentence}\n    {finding.fix}")
    if found:
        print(f"{len(found)} to fix.")
        sys.exit(FAILED)
    how = f"encrypted with a {cluster.vault.sealed_by.about}" if cluster.vault.sealed_by else "0600"
    print(f"{cluster.vault.file.name} is fine: {len(cluster.vault.everything())} passwords, {how}.")


@task
@in_sentences
def edit(c: Context) -> None:
    """Change passwords with $EDITOR; what you save is validated first.

    The editor gets a temporary file, in memory if there is /dev/shm, which is removed afterwards.
    """
    vault = configured().vault
    before = vault.text()
    after = editing.edited(before, vault.file)
    changes = editing.changes(before, after, vault.file)
    if not changes:
        raise RunbookError(f"Nothing was changed; {vault.file} stays as it is.")
    vault.replace(after, before)
    print("\n".join(changes))
    print("To change it on the servers, run the section that uses it, e.g. fab postgres.")


@task(help={"key": f"a key file, created if it does not exist (default: ${KEY_VARIABLE})"})
@in_sentences
def encrypt(c: Context, key: Optional[str] = None) -> None:
    """Encrypt secrets.yaml with a passphrase or a key file, or change these.

    The passphrase is in RUNBOOK_SECRETS_PASSPHRASE, or is asked for. `fab` and `inv` read it there,
    too.
    """
    vault = configured().vault
    vault.text_of_any_format()  # opened before anything is made
    opener = _new_opener(key or environ.get(KEY_VARIABLE), again=bool(vault.sealed_by))
    if isinstance(opener, KeyFile) and not opener.file.exists():
        opener.make()
        print(f"Created {opener.file}. Back it up: only it can decrypt {vault.file.name}.")
    vault.seal(opener)
    print(f"{vault.file} is encrypted with a {opener.about}.")
    if isinstance(opener, KeyFile):
        print(f"fab and inv need: export {KEY_VARIABLE}={opener.file}")
        if opener.file.resolve().parent == vault.file.resolve().parent:
            print("Both files are in the same folder. Move the key elsewhere.")


def _new_opener(key: Optional[str], again: bool) -> Opener:
    if key:
        return KeyFile(Path(key).expanduser())
    given = "" if again else environ.get(PASSPHRASE_VARIABLE, "")
    passphrase = given or _typed_twice()
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise SettingsError(f"A passphrase must have at least {SHORTEST_PASSPHRASE} characters.")
    return Passphrase(passphrase)


def _typed_twice() -> str:
    if not sys.stdin.isatty():
        raise SettingsError(
            "A new passphrase is needed, but stdin is not a terminal. "
            f"Decrypt first, then set {PASSPHRASE_VARIABLE}; or use --key."
        )
    try:
        passphrase = getpass("New passphrase: ")
        again = getpass("Once more: ")
    except EOFError:
        raise SettingsError("The passphrase was not given; nothing was changed.") from None
    if passphrase != again:
        raise SettingsError("The two passphrases differ. Nothing was changed.")
    return passphrase


@task
@in_sentences
def decrypt(c: Context) -> None:
    """Decrypt secrets.yaml to plain text, which only its owner can read."""
    vault = configured().vault
    vault.text()
    if not vault.sealed_by:
        raise UsageError(f"{vault.file} is not encrypted.")
    vault.seal(None)
    print(f"{vault.file} is plain text, readable only by its owner.")


secrets = Collection("secrets", generate, set_, list_, show, check, edit, encrypt, decrypt)
