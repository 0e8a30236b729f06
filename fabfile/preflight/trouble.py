"""What a preflight finds, as findings: a short way to write many of them."""

from __future__ import annotations

from runbook.declare.probes import ERROR, OK, WARN, Finding, Level, Verdict


def of(host: str, level: Level, title: str, sentence: str, fix: str) -> Finding:
    """Something is wrong on a host."""
    return Finding(title, Verdict(level, sentence), fix, about=(host,), host=host)


def stops(host: str, title: str, sentence: str, fix: str) -> Finding:
    """It would stop the work."""
    return of(host, ERROR, title, sentence, fix)


def spoils(host: str, title: str, sentence: str, fix: str) -> Finding:
    """The work would succeed, and something would not work as expected later."""
    return of(host, WARN, title, sentence, fix)


def fine(host: str, title: str) -> Finding:
    """All is as it should be."""
    return of(host, OK, title, "", "")
