"""Steps for files and directories; files are replaced atomically."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runbook.declare.step import (
    Step,
    Steps,
    here,
    labelled,
    parent,
    path_test,
    quote,
    replacement,
    worker,
)
from runbook.declare.templates import render as rendered
from runbook.secrets.mask import MASK

BLOCK = Path(__file__).with_name("block.awk").read_text(encoding="utf-8")


def file(
    path: str,
    text: str,
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
    validate: str = "",
    secret: bool = False,
    hide: str = "",
) -> Step:
    """A whole file, replaced atomically. `validate` is a command that gets the new file's path.

    `secret` keeps the content out of plans, reports and shown commands. `hide` is an extended
    regular expression: what follows it on a line is a secret, and left out of the diff.
    """
    body = text if text.endswith("\n") else f"{text}\n"
    target = quote(path)

    def commands(content: str) -> str:
        def fill(by: str) -> str:
            write = f'{by}tee "$temp" >/dev/null' if by else 'cat >"$temp"'
            return f"{write} {here(content)}"

        return replacement(path, fill, mode, owner, group, validate)

    return Step(
        f"file {path}",
        test=f"{path_test(path, 'regular file', mode, owner, group)} && holds_text {target}",
        apply=commands(body),
        masked=commands(f"{MASK}\n") if secret else "",
        text=body,
        diff=f"echo {quote(f'{path} differs (secret)')}"
        if secret
        else f"text_diff {target} {quote(hide)}",
        paths=(path,),
    )


def template(path: str, source: str, context: Mapping[str, Any], **options: Any) -> Step:
    """A whole file, rendered from `files/SOURCE`; `options` are those of `file`."""
    return file(path, rendered(source, context), **options)


def edited(
    path: str,
    title: str,
    render: str,
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
    validate: str = "",
) -> Step:
    """A file that is managed only in part. `render` is a filter from present to wanted text."""
    target = quote(path)

    def fill(by: str) -> str:
        write = f'| {by}tee "$temp" >/dev/null' if by else '>"$temp"'
        return f"{{ {by}cat {target} 2>/dev/null || true; }} | {render} {write}"

    return Step(
        title,
        test=f"{path_test(path, 'regular file', mode, owner, group)} && holds_rendered {target}",
        apply=replacement(path, fill, mode, owner, group, validate),
        render=render,
        diff=f"rendered_diff {target}",
        paths=(path,),
    )


def line(
    path: str, text: str, mode: str = "0644", owner: str = "root", group: str = "root"
) -> Step:
    """A file holds this line, whatever else it holds."""
    render = f"""line={quote(text)} awk '{{ print }} $0 == ENVIRON["line"] {{ found = 1 }}
  END {{ if (!found) print ENVIRON["line"] }}'"""
    return edited(path, f"{path} has the line: {_short(text)}", render, mode, owner, group)


def setting(path: str, key: str, value: str) -> Step:
    """A `KEY=value` file has this value for the key, once."""
    render = f"""key={quote(key)} value={quote(value)} awk '
  BEGIN {{ wanted = ENVIRON["key"] "=" ENVIRON["value"] }}
  index($0, ENVIRON["key"] "=") == 1 {{ if (!found++) print wanted; next }}
  {{ print }}
  END {{ if (!found) print wanted }}'"""
    return edited(path, f"{path} says {key}={value}", render)


def block(
    path: str,
    label: str,
    lines: Iterable[str],
    owns: Sequence[str] = (),
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
) -> Step:
    """Lines between two markers in a file that is otherwise left alone.

    Words that the block `owns` are removed from all other lines, so that nothing contradicts it.
    """
    begin, end = f"# BEGIN {label}", f"# END {label}"
    body = "\n".join([begin, *lines, end])
    render = f"""begin={quote(begin)} end={quote(end)} owns={quote(" ".join(owns))} \\
block={quote(body)} awk '{BLOCK}'"""
    return edited(
        path,
        f"{path} has the block {label!r}",
        render,
        mode,
        owner,
        group,
    )


def directory(path: str, mode: str = "0755", owner: str = "root", group: str = "root") -> Step:
    """A directory with this owner and mode; nothing in it is touched."""
    who, by = worker(parent(path), owner, missing_ok=True)
    target = quote(path)
    made = f"{by}install -d -m {mode} -o {owner} -g {group} {target}"
    return Step(
        f"directory {path}",
        test=path_test(path, "directory", mode, owner, group),
        apply=f"(set -euo pipefail\n{who}\n{made}\n{labelled(target, by)})",
        paths=(path,),
    )


def sudoers(name: str, rule: str) -> Step:
    """A file in /etc/sudoers.d, which visudo checks before it takes effect."""
    return file(f"/etc/sudoers.d/{name}", rule, mode="0440", validate="visudo -cqf")


def authorised_key(user_name: str, key: str, home: str) -> Steps:
    """This public key opens the user's account."""
    yield directory(f"{home}/.ssh", "0700", user_name, user_name)
    yield line(f"{home}/.ssh/authorized_keys", key, "0600", user_name, user_name)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:28]}…{text[-28:]}"
