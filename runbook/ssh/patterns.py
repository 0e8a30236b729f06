"""Name patterns of known_hosts and certificates, matched as in ssh."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable


def matches(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern in which `*` and `?` are wildcards."""
    name, pattern = name.lower(), pattern.lower()
    if "*" not in pattern and "?" not in pattern:
        return name == pattern
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, name) is not None


def listed(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches one of the patterns, and none of those that begin with `!`."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if matches(name, pattern[1:]):
                return False
        elif pattern.startswith("|1|"):
            found = found or hashed(name, pattern)
        else:
            found = found or matches(name, pattern)
    return found


def hashed(name: str, entry: str) -> bool:
    """Whether an entry `|1|salt|hash` (HashKnownHosts) is the hash of a name."""
    try:
        salt, digest = (base64.b64decode(part) for part in entry[3:].split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
