"""Connections to hosts: verified, shared by all tasks of a run."""
