"""Carrying out tasks: on which hosts, in which order, and with which results."""
