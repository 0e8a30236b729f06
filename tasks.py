"""`inv`: what concerns the cluster as a whole, and the lab that rehearses it."""

from __future__ import annotations

from invoke import Collection

from fabfile.operator.cluster import cluster
from fabfile.operator.drill.tasks import collection as drills
from fabfile.operator.inventory import inventory
from fabfile.operator.runbook import runbook
from fabfile.operator.secrets import secrets
from fabfile.operator.sources import sources
from lab.plugs import here
from lab.tasks import lab

ns = Collection(cluster, drills(here), inventory, runbook, secrets, sources, lab)
