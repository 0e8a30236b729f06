"""The runbook's table of contents: its sections, in its order."""

from __future__ import annotations

from invoke import Collection

from . import base, hostnames, hosts, ssh

SECTIONS = (base.section, hostnames.section, hosts.section, ssh.section)

ns = Collection()
for section in SECTIONS:
    ns.add_collection(section.collection())
