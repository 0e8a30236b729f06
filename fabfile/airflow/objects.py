"""Airflow's variables, pools, connections, roles and users, as hosts.yaml describes them.

One process of Airflow's own compares all of them, and another one changes what differs, because
each start takes seconds, and only Airflow can decrypt what it has stored.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from runbook.declare import steps
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from .common import SCRIPTS, database_answers, first_scheduler, section
from .connections import reached
from .object_settings import OWN_ROLES, Objects
from .settings import SMOKE, Airflow
from .users import password

PROGRAM = f"{SCRIPTS}/objects"
PARTS = ("__main__.py", "change.py", "for_dags.py", "for_people.py")

RUN = f"{SCRIPTS}/as-airflow python3 {PROGRAM}"
"""What runs the program: with the Python of the installation that the settings name."""

UNKNOWN = "They cannot be compared yet: the program that does it, or Airflow, is not set up here."


@section.task(on=first_scheduler)
def objects(host: Host, cluster: Cluster) -> Steps:
    """Keep variables, pools, connections, roles and users as they are described.

    They are described in airflow.objects of hosts.yaml, or in a file that it names.
    Others stay, unless airflow.objects.remove_others has their kind. With --plan, shows which ones
    would be added, changed or removed, and which parts of them differ, but no values.
    """
    yield database_answers(cluster)
    yield steps.directory(SCRIPTS)
    yield steps.directory(PROGRAM)
    for part in PARTS:
        yield steps.template(f"{PROGRAM}/{part}", f"airflow/objects/{part}", {})
    wanted = cluster[Airflow].objects
    if wanted.described:  # the program is there in any case: the first plan with objects needs it
        yield described(wanted, cluster)


def described(wanted: Objects, cluster: Cluster) -> Step:
    """All of them are as described. They are compared once, and the plan shows the result."""
    return steps.with_stdin(
        f"Airflow has what airflow.objects describes: {counted(wanted)}",
        f"{RUN} apply",
        json.dumps(description(wanted, cluster), indent=1),
        unless=f"""if [[ $carried_out || ! ${{objects+asked}} ]]; then
  objects=$(printf '%s' "$text" | {RUN} compare 2>/dev/null) || objects=${{objects:-{UNKNOWN}}}
fi
[[ ! $objects ]]""",
        diff="printf '%s\\n' \"$objects\"",
    )


def counted(wanted: Objects) -> str:
    """How many of each kind: `2 variables, 1 pool, no others of these`."""
    kinds = ("variables", "pools", "connections", "roles", "users")
    numbers = {kind: len(getattr(wanted, kind)) for kind in kinds}
    said = [
        f"{number} {kind[: len(kind) - (number == 1)]}"
        for kind, number in numbers.items()
        if number
    ]
    others = [f"no other {kind}" for kind in kinds if kind in wanted.remove_others]
    return ", ".join([*said, *others])


def description(wanted: Objects, cluster: Cluster) -> dict[str, Any]:
    """What the program gets: the objects by kind, and those that it never removes."""
    return {
        "variables": wanted.variables,
        "pools": {name: of_pool(pool) for name, pool in wanted.pools.items()},
        "connections": {name: parts(one) for name, one in wanted.connections.items()},
        "roles": wanted.roles,
        "users": {
            name: {**parts(user), "password": cluster.secret(password(name))}
            for name, user in wanted.users.items()
        },
        "remove_others": wanted.remove_others,
        "kept": {
            "variables": [],
            "pools": ["default_pool"],
            "connections": [*(host.name for host in reached(cluster)), SMOKE],
            "roles": OWN_ROLES,
            "users": [cluster[Airflow].admin],
        },
    }


def of_pool(pool: Any) -> dict[str, Any]:
    """A pool's parts; a number alone is that of its slots."""
    return {"slots": pool} if isinstance(pool, int) else parts(pool)


def parts(entry: Any) -> Any:
    """The parts of an object that are described; a text is a URI."""
    if isinstance(entry, str):
        return entry
    described: dict[str, Any] = msgspec.to_builtins(entry)
    return {name: value for name, value in described.items() if value is not None}
