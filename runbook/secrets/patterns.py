"""What looks like a secret, wherever it comes from: for the journal, plans and support bundles.

Known secrets are masked by their value (mask.py). Here are those that nobody told us: in a log, in
a file of another program, in a command that somebody typed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from runbook.secrets.mask import MASK


class Form(NamedTuple):
    """A kind of secret. `hints`: every match contains one of these words, in small letters."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str

    def masked(self, text: str, low: str) -> str:
        """`text` without secrets of this kind, in as many lines; `low` is it in small letters."""
        if any(hint in low for hint in self.hints):
            return self.pattern.sub(self._replaced, text)
        return text

    def _replaced(self, match: re.Match[str]) -> str:
        text = match.expand(self.replacement)
        lines = match[0].count("\n") - text.count("\n")
        return text.replace(MASK, MASK + "\n" * lines, 1)


def _after(hints: str, pattern: str, flags: int = re.I) -> Form:
    """The first group is kept, and the second one if there is one; what is between is masked."""
    compiled = re.compile(pattern, flags)
    end = r"\g<2>" if compiled.groups > 1 else ""
    return Form(tuple(hints.split()), compiled, rf"\g<1>{MASK}{end}")


def _whole(hints: str, pattern: str) -> Form:
    """The pattern matches a secret and nothing else."""
    return Form(tuple(hints.split()), re.compile(pattern), MASK)


KEY = (
    r"(?:pass(?:word|wd|phrase|code)|(?<![a-z])pass(?![a-z])|(?<![a-z])pwd?(?![a-z])|secret"
    r"|token(?!iz)|cookie(?:[ _]hash)?|credentials?|fernet|basic[_-]?auth|authtok"
    r"|(?<![a-z])(?:dsn|psk|[mt]?otp|mfa)(?![a-z])|(?:bind|root)pw|_auth(?![a-z])"
    r"|(?:api|access|secret|private|account|encryption|signing|master|shared|session)[_.-]?key"
    r"|key-data|[_-]key(?=[\"']?\s*[:=])|(?<![a-z])session(?:_?id)?(?==))"
)
"""A word that names a secret, within a key such as `SMTP_PASSWORD` or `fernet_key`."""

KEY_HINTS = "pass pw secret token cookie credential fernet auth dsn psk otp mfa key session"

REST = r"(?:[\w-]|\.(?!ya?ml|json|py|txt|conf|toml|md|service|log)(?=\w)){0,60}"
"""What may follow it in the key."""

HARMLESS = (
    r"(?:true|false|yes|no|on|off|none|null|nil|md5|scram-sha-256|required|optional|disabled"
    r"|enabled|x|[*!]+|\d{1,3}|@[a-z0-9_]+@|\{\{.*?\}\}|\(secret\)|\{\s*secret: \w+\s*\}"
    r"|~?/(?:etc|var|opt|usr|home|root|run|srv|app1|tmp|proc)\b[\w./@-]*"
    rf"|{MASK}\S*)(?=[\s\"',;)}}\]]|\Z)"
)
"""Values that are no secrets: switches, methods, paths, placeholders."""

UNLESS_HARMLESS = rf"(?!\\*[\"']?{HARMLESS})"
QUOTED = r"(?:\\*\"(?:[^\"\\]|\\.)*(?:\"|\Z)|'(?:[^'\\]|\\.|'')*(?:'|\Z))"
WORD = r"(?:'[^']*'|\"[^\"]*\"|\S+)"
BASE64_LINE = r"[ \t]*[A-Za-z0-9+/=]{20,}\\?\r?"

SEVERAL_LINES = (
    _after(
        "private",
        r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)[\s\S]*?"
        r"(-----END [A-Z0-9 ]*PRIVATE KEY|\Z)",
        0,
    ),
    # The end of a key whose beginning was cut off.
    _after(
        "private",
        rf"(^)(?:{BASE64_LINE}\n)+([ \t]*-----END [A-Z0-9 ]*PRIVATE KEY)",
        re.M,
    ),
    _after(
        "password identified",
        r"(\b(?:password|identified(?:\s+with\s+\S+)?\s+(?:by|as)(?:\s+password)?)"
        r"(?:\s*\(\s*|\s+)(?:E|N|U&)?)(?:'(?:[^'\\]|''|\\.)*(?:'|\Z)|\"[^\"\n]*\"|\$\w*\$[^$]*\$)",
    ),
    _after("login", r"(\blogin\s+\S+\s+(?:account\s+\S+\s+)?password\s+)\S+"),
    # A block of YAML: the lines below that are indented further.
    Form(
        ("|\n", ">\n", "|-", "|+", ">-", ">+"),
        re.compile(
            rf"^(([ \t]*)(?:- )?[\"']?[\w.-]{{0,60}}?{KEY}{REST}[\"']?:[ \t]*[|>][-+0-9]*[ \t]*\n)"
            r"(?:(?:\2[ \t]+\S[^\n]*|[ \t]*)(?:\n|\Z))+",
            re.I | re.M,
        ),
        rf"\g<1>\g<2>  {MASK}",
    ),
    # {name: SMTP_PASSWORD, value: …}, as containers are given their environment.
    _after(
        "value",
        rf"(\bname[\"']?\s*[:=]\s*[\"']?[\w.-]{{0,60}}?{KEY}[\w.-]{{0,60}}[\"']?\s*,?\s*"
        rf"[\"']?value[\"']?\s*[:=]\s*)(?:{QUOTED}|[^\s/>]+)",
    ),
)
"""Secrets that may span lines."""

BY_FORM = (
    _after(
        "$", r"(\$(?:1|2[abxy]?|5|6|7|g?y|apr1|sha1|argon2(?:id|i|d)|scrypt|pbkdf2)\$)[^\s:\"';<]+"
    ),
    _after("scram-sha", r"(SCRAM-SHA-(?:1|256|512)\$)[^\s\"']+"),
    _after("pbkdf2: scrypt:", r"\b((?:pbkdf2|scrypt):[\w:]+\$)[^\s\"']+"),
    _after("{s {c {p", r"(\{(?:SSHA|SHA|SMD5|CRYPT|PBKDF2)[\w-]*\})[^\s\"']+"),
    _after("md5", r"\b(md5)[0-9a-f]{32}\b", 0),
    _whole("gh github_ glpat-", r"\bgh[oprsu]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"),
    _whole("xox xapp-", r"\bxox[a-z]-[\w-]{8,}|\bxapp-[\w-]{8,}"),
    _whole("aiza ya29. gocspx-", r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}"),
    _whole("akia asia", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    _whole(
        "k_live k_test sk- sg.",
        r"\b[sr]k_(?:live|test)_\w{16,}|\bsk-[\w-]{20,}|\bSG\.[\w-]{16,}\.[\w-]{16,}",
    ),
    _whole("npm_ pypi- hvs.", r"\bnpm_[A-Za-z0-9]{30,}|\bpypi-[\w-]{40,}|\bhvs\.[\w-]{20,}"),
    _whole("eyj", r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*){0,3}"),
    _whole("age-secret", r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    # A fernet key, and what is encrypted with one.
    _whole("=", r"(?<![\w/+=-])[\w-]{43}=(?![\w=])"),
    _whole("gaaaaa", r"\bgAAAAA[\w-]{40,}=*"),
    _after("hooks.slack", r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[\w/-]+"),
    _after("webhooks", r"(discord(?:app)?\.com/api/webhooks/)[\w/-]+"),
    _after("webhookb2", r"(webhook\.office\.com/webhookb2/)[^\s\"'<>]+"),
    _after("telegram", r"(api\.telegram\.org/bot)[\w:-]+"),
    _after("sig=", r"([?&;]sig=)[^&\s\"'<>]+"),
    _after("basic bearer", r"(?<=[\s\"'=])((?:Basic|Bearer)\s+)(?=\S*[0-9=])[\w+/=.~-]{8,}"),
)
"""Secrets that are recognised by how they are made."""

URLS = (
    # In these the password may contain a slash.
    _after(
        "://",
        r"(\b(?:amqps?|postgres(?:ql)?|mysql|mariadb|rediss?|mongodb|ldaps?|smtps?)(?:\+\w+)*"
        r"://[^/\s:@\"']*:)[^\s\"'<>]+(@)",
    ),
    _after("://", r"(://[^/\s:@\"']*:)[^\s\"'<>/]+(@)"),
    _after("://", r"(://)[^/\s:@\"']{16,}(@)"),
    _after("@tcp(", r"((?<![\w.-])[\w.-]+:)[^\s@/:\"']+(@tcp\()"),
)

STATEMENTS = (
    _after(
        "auth requirepass insecure bindpw",
        r"(\b(?:auth_pass|stats auth|requirepass|masterauth|insecure-password|bindpw)\s+)\S+",
    ),
    _after("password", r"(\buser\s+\S+\s+password\s+)\S+"),
    # .pgpass
    _after(
        ":",
        r"((?<![^\s\"'])(?:[\w.*-]+|\[[0-9a-f:]+\]):(?:\d{3,5}|\*):[^:\s]+:[^:\s]+:)[^\s:]\S*",
    ),
)

OPTIONS = (
    _after(
        "-u --user --proxy-user",
        r"((?<!\S)(?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:\"'=]+:)(?!\d+\b)[^\"'\s]+(?:"
        r"(?<=:)|[^\"']*(?=[\"'](?:\s|\Z)))?",
    ),
    _after("mysql mariadb", r"(\b(?:mysql|mariadb)\w*\b[^\n|;&]*?\s-p)(?=\S)[\"']?[^\s\"']+", 0),
    _after("sshpass", rf"(\bsshpass\s+-p ?){WORD}"),
    _after("redis-cli", rf"(\bredis-cli\b[^\n|;&]*?\s-a ?){WORD}"),
    _after("htpasswd", rf"(\bhtpasswd\s+-\w*b\w*\s+(?:\S+\s+)?\S+\s+){WORD}"),
    _after(
        "rabbitmqctl",
        r"(\brabbitmqctl\b[^\n|;&]*?\b(?:add_user|change_password|authenticate_user)\s+\S+\s+)"
        rf"{WORD}",
    ),
    _after(
        "useradd usermod login users",
        r"(\b(?:useradd|usermod|docker login|podman login|airflow users \w+)\b[^\n|;&]*?\s-p )"
        rf"{WORD}",
    ),
    _after("-setcookie", rf"(\s-setcookie\s+){WORD}"),
    _after(
        KEY_HINTS,
        rf"((?<!\S)--?[\w-]{{0,40}}?{KEY}[\w-]{{0,40}} )(?!-){UNLESS_HARMLESS}{WORD}",
    ),
    _after(
        "chpasswd --stdin sudo cryptsetup",
        r"(\b(?:echo|printf)\s+)[^|]+?(\s*\|\s*(?:sudo\s+)?"
        r"(?:chpasswd|passwd\s+(?:\S+\s+)*--stdin|sudo\s+-S|cryptsetup))",
    ),
    _after("<<<", rf"(\b(?:chpasswd|passwd\s+--stdin\s+\S+)\b[^|]*?<<<\s*){WORD}"),
)
"""Secrets on command lines."""


def _valued(separator: str, value: str) -> Form:
    return _after(KEY_HINTS, rf"({KEY}{REST}\\*[\"']?\]?{separator}){UNLESS_HARMLESS}{value}")


KEYS_AND_VALUES = (
    _after(KEY_HINTS, rf"(<[\w:.-]{{0,60}}?{KEY}[\w:.-]{{0,60}}(?:\s[^<>]*)?>)(?=[^<\s])[^<]+"),
    _after(KEY_HINTS, rf"({KEY}{REST}[\"']?\s*,\s*<<)\"[^\"]*\""),
    # The headers of HTTP, whose value is the rest of the line.
    _after("authorization", r"(\bauthorization: *Digest +).+"),
    _after(
        "cookie authorization",
        r"(\b(?:set-cookie2?|cookie|(?:proxy-|x-)?authorization)\\*[\"']?\s*[:=]\s*)"
        rf"{UNLESS_HARMLESS}(?:{QUOTED}|[^\"'\\]+)",
    ),
    # KEY=value on a line of its own, whose value may contain spaces.
    _after(
        KEY_HINTS,
        rf"((?:^|(?<=[:\]-] ))\s*(?:export\s+|Environment=)?[\w.-]{{0,80}}?{KEY}{REST}=)"
        rf"{UNLESS_HARMLESS}(?![\"']).+",
    ),
    _valued(r"\s*(?::=|=>|=|:)\s*", QUOTED),
    _valued(r"(?:\s+(?::=|=>|=|:)\s*|:\s+)", r"[^\s\"'\[{].*"),
    _valued(r"(?:=|:(?!//))", r"[^\s\"'\[{][^\s\"']*"),
    _after('"auth"', rf"(\"auth\"\s*:\s*){QUOTED}"),
)
"""Secrets that are the value of a key: in JSON, YAML, XML, ini files and environments."""

IN_A_LINE = (*BY_FORM, *URLS, *STATEMENTS, *OPTIONS, *KEYS_AND_VALUES)

_HINTS = tuple({form.hints for form in IN_A_LINE})

TYPED = (
    _after("-p", rf"((?<!\S)-p)(?=[^\s-]){WORD}", 0),
    _after("@", r"((?<![\w/.-])[\w.-]+:)[^\s@/:\"']+(@[\w.-]+)"),
)
"""What could be a password on a command line, and often is not: `-pX`, `user:password@host`."""


PREFIX = re.compile(
    r"(?:\d{4}-\d\d-\d\dT[\d:.+-]+|[A-Z][a-z]{2} [ \d]\d [\d:]{8}) [\w.-]+ [^\s:\[]+(?:\[\d+\])?: "
)
"""What the journal puts before each line of a program: time, host, program."""


def without_passwords(text: str) -> str:
    """`text` without what looks like a secret, in as many lines; the text around it is kept."""
    lines = text.split("\n")
    prefixes = [match[0] if match else "" for match in map(PREFIX.match, lines)]
    text = "\n".join(line[len(prefix) :] for line, prefix in zip(lines, prefixes))
    low = text.lower()
    for form in SEVERAL_LINES:
        text = form.masked(text, low)
    return "\n".join(
        prefix + _masked_line(line) for line, prefix in zip(text.split("\n"), prefixes)
    )


def _masked_line(line: str) -> str:
    low = line.lower()
    near = {hints for hints in _HINTS if any(hint in low for hint in hints)} if line else set()
    for form in IN_A_LINE if near else ():
        if form.hints in near:
            line = form.masked(line, low)
    return line


def typed_without_passwords(command: str) -> str:
    """A command that a person typed, without what could be a password."""
    low = command.lower()
    for form in TYPED:
        command = form.masked(command, low)
    return without_passwords(command)
