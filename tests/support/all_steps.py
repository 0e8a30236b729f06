"""The steps of every task on every host, as a whole cluster that is well would be given them."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs
from support.public_keys import ed25519
from support.status_of import well

from fabfile import CONTENTS
from fabfile.airflow.connections import WORKER_KEY
from fabfile.airflow.install import SHIPPED as AIRFLOW_SHIPPED
from fabfile.airflow.install import VENV
from fabfile.nfs.sync import KEYS
from fabfile.postgres.backup import CERTIFICATE
from fabfile.python_build import COPY
from fabfile.python_build import SHIPPED as PYTHON_SHIPPED
from fabfile.shared.copies import Copy
from fabfile.ssh import HOST_KEYS, KEY
from runbook.declare.facts import Facts, hosts_on
from runbook.declare.step import Step
from runbook.declare.work import StepTask
from runbook.inventory.cluster import Cluster
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Vault


def answered(cluster: Cluster, selinux: str = "disabled") -> tuple[Cluster, Facts]:
    """A cluster with all its passwords, whose hosts have said all that a step may need.

    The passwords are in a file of its own: others may want to see that `cluster` has none.
    """
    vault = Vault(cluster.state / "answered" / "secrets.yaml", Mask())
    keyed = structs.replace(
        cluster, public_key=f"{ed25519('controller')} controller", selinux=selinux, vault=vault
    )
    for section in CONTENTS.sections:
        for secret in section.secrets:
            if not (secret.passing and secret.make):
                keyed.secret(secret)
    keyed.vault.keep()
    names = list(keyed.hosts)
    known = well(keyed)
    known[KEY] = known[WORKER_KEY] = {name: f"{ed25519(name)} x" for name in names}
    known[HOST_KEYS] = {name: [ed25519(f"host {name}")] for name in names}
    known[KEYS] = {name: [ed25519(f"nfs {name}"), *known[HOST_KEYS][name]] for name in names}
    known[VENV] = known[COPY] = dict.fromkeys(names, Copy())
    known[AIRFLOW_SHIPPED] = known[PYTHON_SHIPPED] = dict.fromkeys(names, Copy())
    known[CERTIFICATE] = dict.fromkeys(names, "PEM")
    return keyed, Facts(known)


def steps_of(task: StepTask, cluster: Cluster, facts: Facts) -> Iterator[Step]:
    """The steps of a task, on every host that takes them."""
    on = hosts_on(task.on, cluster)
    for host in task.taken_by(on, cluster):
        yield from task.steps(host, cluster, facts, on)
