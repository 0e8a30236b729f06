"""`inv`: what concerns the cluster as a whole, and the lab that rehearses it."""

from __future__ import annotations

from invoke import Collection

from fabfile.operator.cluster import cluster
from fabfile.operator.drill.ground import found_by
from fabfile.operator.drill.tasks import drill
from fabfile.operator.inventory import inventory
from fabfile.operator.runbook import runbook
from fabfile.operator.secrets import secrets
from fabfile.operator.sources import sources
from lab.plugs import here
from lab.tasks import lab

found_by(here)

ns = Collection(cluster, drill, inventory, runbook, secrets, sources, lab)
