"""What hosts answer is input: a parser turns it into values of stated kinds, or refuses it."""

from __future__ import annotations

import threading
from typing import Annotated, Any, TypeVar

import msgspec

from runbook.inventory.entry import between, named
from runbook.inventory.shape import in_words

T = TypeVar("T")

LARGEST = 1 << 20
"""Characters that an answer may have, unless its fact allows more."""

SHOWN = 60
"""Characters of an answer that a sentence quotes."""

_PRINTABLE = "[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]"

Count = Annotated[int, between(0, 2**63 - 1)]
Number = Annotated[float, between(-1e15, 1e15)]
HexId = Annotated[str, named("hexadecimal id (at most 16 digits)", "[0-9a-f]{1,16}")]
Digest = Annotated[str, named("SHA-256", "[0-9a-f]{64}")]
Name = Annotated[
    str, named("name (letters, digits, `.`, `_`, `-`)", "[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
]
Word = Annotated[str, named("word of printable ASCII characters", "[!-~]{1,500}")]
Line = Annotated[str, named("line of printable characters", f"{_PRINTABLE}{{0,4096}}")]
Path = Annotated[str, named("absolute path", f"/{_PRINTABLE}{{0,4095}}")]
Origin = Annotated[str, named("address of a client", "[0-9A-Fa-f:.]{0,45}")]
MacAddress = Annotated[str, named("MAC address", "[0-9a-f]{2}(?::[0-9a-f]{2}){5,19}")]
Interface = Annotated[str, named("network interface", "[A-Za-z0-9._-]{1,15}")]
Release = Annotated[str, named("version", "[0-9][A-Za-z0-9._+~-]{0,63}")]
Fingerprint = Annotated[str, named("fingerprint (hexadecimal)", "[0-9a-f]{32,64}")]
Time = Annotated[int, between(0, 2**33)]
UnitState = Annotated[str, named("state of a unit", "[a-z-]{1,30}")]
HttpCode = Annotated[str, named("HTTP status code", "[0-9]{3}")]
ExitCode = Annotated[int, between(0, 255)]
YesNo = Annotated[str, named("`yes`, `no`", "yes|no")]
BootId = Annotated[str, named("boot id", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")]


class Unexpected(ValueError):
    """An answer, or a part of it, that is not of the kind that was asked for."""

    def __init__(self, said: str, wanted: str) -> None:
        super().__init__(f"{quoted(said)} is not {wanted}")
        self.said, self.wanted = quoted(said), wanted


def quoted(said: str) -> str:
    """The beginning of an answer, on one line."""
    begin = " ".join(said[: 2 * SHOWN].split())
    return repr(begin if len(begin) <= SHOWN else f"{begin[:SHOWN]}…")


def one(text: str, kind: type[T]) -> T:
    """The value of this kind that a word or line is; numbers are decimal."""
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        wanted = in_words(kind)  # type: ignore[arg-type]
        raise Unexpected(text, f"as expected: {wanted}") from None


def of_json(text: str, kind: type[T]) -> T:
    """The value of this kind that a JSON document is; keys that the kind lacks are ignored."""
    try:
        return decoder(kind).decode(text.encode(errors="replace"))
    except msgspec.ValidationError as error:
        _, found, place = str(error).rpartition(" - at ")
        raise Unexpected(text, f"as expected at {place}" if found else "as expected") from None
    except (msgspec.DecodeError, RecursionError):
        raise Unexpected(text, "JSON") from None


_ONE_BY_ONE = threading.Lock()
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of a kind, which is made once.

    Hosts answer at the same time, and msgspec 0.22 crashes if two threads are the first to use a
    struct: it shows the one what the other has not completed.
    """
    with _ONE_BY_ONE:
        if kind not in _DECODERS:
            _DECODERS[kind] = msgspec.json.Decoder(kind)
        return _DECODERS[kind]


def lines_of(text: str, least: int, most: int = 0) -> list[str]:
    """The lines of an answer that has at least, and at most, so many."""
    lines = text.splitlines()
    if len(lines) < least or (most and len(lines) > most):
        count = f"{least}" if least == most else f"at least {least}"
        raise Unexpected(text, f"as expected: {count} lines")
    return lines


def unexpected(error: Exception, text: str) -> Unexpected:
    """Why a parser does not accept an answer."""
    return error if isinstance(error, Unexpected) else Unexpected(text, "as expected")


SHAPELESS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a parser may raise for an answer that is not as expected."""


def plain(value: Any) -> Any:
    """A struct, or a collection of structs, as mappings without what the answer did not say."""
    return msgspec.to_builtins(value)
