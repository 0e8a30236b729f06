"""`inv secrets.*`: make up, show, judge, edit, encrypt. No server is asked."""

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
from runbook.secrets.sealed import SHORTEST_PASSPHRASE, KeyFile, Opener, Passphrase
from runbook.secrets.vault import KEY_VARIABLE, PASSPHRASE_VARIABLE

from ..session import configured
from . import editing, findings
from .needed import first_run, needed


@task(help={"i-know": "make up new ones although this cluster was set up with others"})
@in_sentences
def generate(c: Context, i_know: bool = False) -> None:
    """Make up the passwords that are missing, and say their names."""
    cluster = configured()
    vault = cluster.vault
    if not vault.file.exists() and not first_run(cluster) and not i_know:
        raise SettingsError(
            f"{vault.file} is gone, and this cluster was set up with it: bring it back from your "
            "backup. New passwords would lock you out of what there is (--i-know makes them)."
        )
    for secret in needed(cluster):
        vault.get(secret)
    names = vault.keep()
    if names:
        print(f"generated and kept in {vault.file}: {', '.join(names)}")
        print("Back that file up, where only you can read it.")
    else:
        print(f"{vault.file} lacks nothing.")


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
    declared = {secret.name: secret for secret in needed(cluster)}
    if name in declared and environ.get(declared[name].variable):
        return cluster.vault.get(declared[name])
    kept = cluster.vault.everything()
    if name in kept:
        return kept[name]
    if name in declared:
        raise SettingsError(f"{name} has not been generated yet: inv secrets.generate")
    known = sorted({*kept, *declared})
    raise UsageError(f"There is no password {name}{perhaps(name, known)}; `inv secrets.list`.")


@task(name="list")
@in_sentences
def list_(c: Context) -> None:
    """Show which passwords there are, what each is for, and where it comes from."""
    from tabulate import tabulate

    cluster = configured()
    kept = cluster.vault.everything()
    rows = []
    for secret in needed(cluster):
        where = cluster.vault.file.name if secret.name in kept else "not generated yet"
        origin = secret.variable if environ.get(secret.variable) else where
        rows.append((secret.name, secret.about, origin))
    declared = {row[0] for row in rows}
    rows += [
        (name, findings.meaning(name), cluster.vault.file.name)
        for name in kept
        if name not in declared
    ]
    print(tabulate(rows, headers=["name", "for", "from"]))


@task
@in_sentences
def check(c: Context) -> None:
    """Judge the passwords and their file: weak, shared, open to others, in git."""
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
    """Change passwords with $EDITOR; what you save is judged before it counts.

    The text lies in a file of its own, in memory where there is /dev/shm, and goes afterwards.
    """
    vault = configured().vault
    before = vault.text()
    after = editing.edited(before, vault.file)
    changes = editing.changes(before, after, vault.file)
    if not changes:
        raise RunbookError(f"Nothing was changed; {vault.file} stays as it is.")
    vault.replace(after, before)
    print("\n".join(changes))
    print("The servers hear of it with the section that uses it, e.g. fab postgres.")


@task(help={"key": f"a key file, made if it is not there (default: ${KEY_VARIABLE})"})
@in_sentences
def encrypt(c: Context, key: Optional[str] = None) -> None:
    """Encrypt secrets.yaml with a passphrase, or with a key file; or change which.

    The passphrase is RUNBOOK_SECRETS_PASSPHRASE, or asked for. `fab` and `inv` find it there, too.
    """
    vault = configured().vault
    vault.text_of_any_format()  # opened before anything is made
    opener = _new_opener(key or environ.get(KEY_VARIABLE), again=bool(vault.sealed_by))
    if isinstance(opener, KeyFile) and not opener.file.exists():
        opener.make()
        print(f"made {opener.file}; without it nobody opens {vault.file.name} again: back it up.")
    vault.seal(opener)
    print(f"{vault.file} is encrypted with a {opener.about}.")
    if isinstance(opener, KeyFile):
        print(f"fab and inv need: export {KEY_VARIABLE}={opener.file}")
        if opener.file.resolve().parent == vault.file.resolve().parent:
            print("They lie in one folder: whoever takes one takes both. Move the key elsewhere.")


def _new_opener(key: Optional[str], again: bool) -> Opener:
    if key:
        return KeyFile(Path(key).expanduser())
    given = "" if again else environ.get(PASSPHRASE_VARIABLE, "")
    passphrase = given or _typed_twice()
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise SettingsError(f"A passphrase has at least {SHORTEST_PASSPHRASE} characters.")
    return Passphrase(passphrase)


def _typed_twice() -> str:
    if not sys.stdin.isatty():
        raise SettingsError(
            "There is no terminal to ask for the new passphrase on. "
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
    """Write secrets.yaml as plain text again, for its owner only."""
    vault = configured().vault
    vault.text()
    if not vault.sealed_by:
        raise UsageError(f"{vault.file} is not encrypted.")
    vault.seal(None)
    print(f"{vault.file} is plain text, readable by its owner.")


secrets = Collection("secrets", generate, list_, show, check, edit, encrypt, decrypt)
