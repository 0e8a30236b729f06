"""Short constructors for the findings of a preflight."""

from __future__ import annotations

from runbook.declare.probes import ERROR, OK, WARN, Finding, Level, Verdict


def of(host: str, level: Level, title: str, sentence: str, fix: str) -> Finding:
    """A finding on a host."""
    return Finding(title, Verdict(level, sentence), fix, about=(host,), host=host)


def stops(host: str, title: str, sentence: str, fix: str) -> Finding:
    """An error: it would stop the work."""
    return of(host, ERROR, title, sentence, fix)


def impairs(host: str, title: str, sentence: str, fix: str) -> Finding:
    """A warning: the work would succeed, but something would not work as expected later."""
    return of(host, WARN, title, sentence, fix)


def fine(host: str, title: str) -> Finding:
    """OK: a check without a problem."""
    return of(host, OK, title, "", "")
