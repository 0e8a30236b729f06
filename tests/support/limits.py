"""When a pause means that something did not go on by itself; the figures are printed, no test."""

HANDED_OVER = 15
"""Seconds that handing over never takes: it is less than Patroni needs to miss a leader."""

BY_ITSELF = 60
"""Seconds after which nobody took over from a server that is gone."""
