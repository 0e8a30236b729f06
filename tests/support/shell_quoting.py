"""How bash reads each character of a script: as syntax, or as part of a word."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MARK, END = "Zq9", "9qZ"
"""Stand before and after characters that bash must not understand as syntax."""

MARKED = re.compile(rf"{MARK}((?:(?!{MARK}|{END})[^\n])+?){END}")
SAFE = re.compile(r"[A-Za-z0-9_./:@%+=,-]")
EXPANDED = set('$`\\"')
"""What bash understands even within double quotes."""


@dataclass
class Reading:
    """A script, with the quoting of each character: bare, syntax, double, single or comment."""

    text: str
    kinds: list[str] = field(default_factory=list)

    def literal(self, begin: int, end: int) -> str:
        """The characters from here to there that are part of a word."""
        return "".join(self.text[i] for i in range(begin, end) if self.kinds[i] != "syntax")


def read(text: str) -> Reading:
    """Read a script as bash does; ValueError if a quote is not closed."""
    kinds = ["bare"] * len(text)
    stack = ["bare"]
    awaited: list[tuple[str, bool]] = []
    i = 0

    def mark(begin: int, end: int, kind: str) -> None:
        kinds[begin:end] = [kind] * (min(end, len(text)) - begin)

    while i < len(text):
        top, char = stack[-1], text[i]
        quoted = top == "double" or top == "brace in double"
        if quoted:
            kinds[i] = "double"
        if char == "\\" and i + 1 < len(text):
            if not quoted or text[i + 1] in '$`"\\\n':
                mark(i, i + 1, "syntax")
                mark(i + 1, i + 2, "single")
            else:
                mark(i, i + 2, "double")
            i += 2
        elif char == '"':
            kinds[i] = "syntax"
            stack.pop() if top == "double" else stack.append("double")
            i += 1
        elif char == "'" and not quoted:
            ansi = i > 0 and text[i - 1] == "$"
            end = i + 1
            while end < len(text) and text[end] != "'":
                end += 2 if ansi and text[end] == "\\" else 1
            if end >= len(text):
                raise ValueError(f"an open quote: {text[i : i + 60]!r}")
            mark(i, end + 1, "single")
            kinds[i] = kinds[end] = "syntax"
            i = end + 1
        elif text.startswith("${", i):
            stack.append("brace in double" if quoted else "brace")
            i += 2
        elif char == "}" and top.startswith("brace"):
            stack.pop()
            i += 1
        elif text.startswith("$(", i) or (char == "(" and not quoted):
            stack.append("paren")
            i += 2 if char == "$" else 1
        elif char == ")" and top == "paren":
            stack.pop()
            i += 1
        elif not quoted and re.compile(r"\bcase\b(?= )").match(text, i) and _begins(text, i):
            stack.append("case")
            i += 4
        elif top == "case" and re.compile(r"\besac\b").match(text, i):
            stack.pop()
            i += 4
        elif char == "#" and top in ("bare", "paren", "case") and _begins(text, i):
            end = text.find("\n", i)
            end = len(text) if end < 0 else end
            mark(i, end, "comment")
            i = end
        elif not quoted and text.startswith("<<<", i):
            i += 3
        elif not quoted and (found := re.compile(r"<<-?(['\"]?)(\w+)\1").match(text, i)):
            awaited.append((found[2], bool(found[1])))
            i = found.end()
        elif char == "\n" and awaited and not quoted:
            i += 1
            for word, is_quoted in awaited:
                end = re.compile(rf"^\t*{word}$", re.M).search(text, i)
                if not end:
                    raise ValueError(f"no end of {word}")
                mark(i, end.start(), "single" if is_quoted else "double")
                i = end.end()
            awaited = []
        else:
            i += 1
    if stack != ["bare"]:
        raise ValueError(f"open at the end: {stack}")
    return Reading(text, kinds)


def _begins(text: str, i: int) -> bool:
    """Whether a word begins here."""
    return i == 0 or text[i - 1] in " \t\n;&|()"


def understood(text: str) -> list[str]:
    """Marked characters that bash would not take as they are; also in scripts within a script."""
    if MARK not in text:
        return []
    reading = read(text)
    found = []
    for match in MARKED.finditer(text):
        begin, end = match.span(1)
        bad = [
            i
            for i in range(begin, end)
            if (reading.kinds[i] == "bare" and not SAFE.match(text[i]))
            or (reading.kinds[i] == "double" and text[i] in EXPANDED)
        ]
        if bad or not reading.literal(begin, end):
            line = text[text.rfind("\n", 0, begin) + 1 : end + 20].partition("\n")[0]
            found.append(line)
    for inner in re.finditer(r"(?<= -c )'((?:[^']|'\"'\"'|'\\'')*)'", text):
        found += understood(inner[1].replace("'\"'\"'", "'").replace("'\\''", "'"))
    return found
