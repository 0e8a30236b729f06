"""How hosts.yaml describes Airflow's variables, pools, connections, roles and users."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Optional, Union

import msgspec

from runbook.inventory.entry import CHARACTER, Entry, Port, Text, named
from runbook.inventory.schema import Objection
from runbook.yaml_source import KeyPath

OBJECTS: KeyPath = ("airflow", "objects")

ObjectName = Annotated[
    str,
    named(
        "name (letters, digits, `_`, `.`, `:`, `/`, `-`; at most 200)",
        "[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}",
    ),
]
ConnectionType = Annotated[
    str, named("type of connection: `postgres`, `ssh`, `aws`", "[a-z][a-z0-9_.+-]{0,99}")
]
RoleName = Annotated[
    str,
    named(
        "role (letters, digits, `_`, `.`, `-`, spaces; at most 64)",
        "[A-Za-z0-9_](?:[A-Za-z0-9_. -]{0,62}[A-Za-z0-9_.-])?",
    ),
]
Resource = Annotated[
    str,
    named(
        "resource of Airflow: `DAGs`, `DAG:sales`, `Connections`",
        "[A-Za-z](?:[A-Za-z0-9_.:/ -]{0,248}[A-Za-z0-9_.:/-])?",
    ),
]
Action = Annotated[
    str,
    named(
        "`can_read`, `can_edit`, `can_create`, `can_delete`, `menu_access`",
        "can_[a-z_]{1,60}|menu_access",
    ),
]
Login = Annotated[
    str, named("login (a-z, 0-9, `.`, `_`, `-`; the first a letter)", "[a-z][a-z0-9._-]{0,63}")
]
Email = Annotated[str, named("e-mail address", r"[A-Za-z0-9._%+'-]{1,100}@[A-Za-z0-9.-]{1,200}")]
Slots = Annotated[int, msgspec.Meta(ge=-1, le=1_000_000, description="slots (-1: no limit)")]
Value = Annotated[Any, msgspec.Meta(description="text, number, `true`, `false`, list, mapping")]
"""Anything that JSON can represent; `objections` checks the details, because a type cannot contain
itself."""

Kind = Literal["variables", "pools", "connections", "roles", "users"]

OWN_ROLES = ("Admin", "Op", "User", "Viewer", "Public")
"""Airflow's own roles, from the one with all rights to the one with none."""

LONGEST = 65_536
"""Characters of a text in a variable or in `extra`."""

_CHARACTERS = rf"(?:{CHARACTER}|[\n\t])*"


class Pool(Entry, frozen=True):
    """A pool; parts that are not described stay as they are."""

    slots: Slots
    description: Optional[Text] = None
    include_deferred: Optional[bool] = None


class Connection(Entry, frozen=True):
    """A connection by its parts; those that are not described are empty."""

    conn_type: ConnectionType
    host: Optional[Text] = None
    login: Optional[Text] = None
    password: Optional[Text] = None
    schema: Optional[Text] = None
    port: Optional[Port] = None
    extra: Optional[dict[ObjectName, Any]] = None
    description: Optional[Text] = None


class User(Entry, frozen=True):
    """A user of the web UI; parts that are not described stay as they are."""

    roles: Annotated[list[RoleName], msgspec.Meta(min_length=1)]
    email: Optional[Email] = None
    first_name: Optional[Text] = None
    last_name: Optional[Text] = None


class Objects(Entry, frozen=True):
    """Objects in Airflow's database that this project keeps as they are described."""

    variables: dict[ObjectName, Value] = msgspec.field(default_factory=dict)
    """Variables: text, or other values, stored as JSON; secret ones as `{secret: NAME}`."""
    pools: dict[ObjectName, Union[Slots, Pool]] = msgspec.field(default_factory=dict)
    """Pools: slots, or `{slots: 8, description: …, include_deferred: true}`."""
    connections: dict[ObjectName, Union[Text, Connection]] = msgspec.field(default_factory=dict)
    """Connections: `{conn_type: postgres, host: …, login: …, password: {secret: NAME}, schema: …,
    port: …, extra: {…}, description: …}`, or a URI.
    """
    roles: dict[RoleName, dict[Resource, Annotated[list[Action], msgspec.Meta(min_length=1)]]] = (
        msgspec.field(default_factory=dict)
    )
    """Roles with their permissions: `analyst: {DAGs: [can_read], "DAG:sales": [can_edit]}`."""
    users: dict[Login, User] = msgspec.field(default_factory=dict)
    """Users of the web UI: `jane: {roles: [analyst], email: …, first_name: …, last_name: …}`; the
    password is airflow_user_jane in secrets.yaml.
    """
    remove_others: list[Kind] = msgspec.field(default_factory=list)
    """Kinds of which all objects that are not described are removed; of other kinds, they stay."""

    def objections(self, admin: str, own: Collection[str]) -> Iterator[Objection]:
        """Values that JSON cannot represent, names that others own, addresses that are used twice.

        `own`: connections that `fab airflow.connections` makes.
        """
        for name, value in self.variables.items():
            yield from _no_json(value, (*OBJECTS, "variables", name))
        for name, connection in self.connections.items():
            path: KeyPath = (*OBJECTS, "connections", name)
            if name in own:
                yield Objection("is made by fab airflow.connections; choose another name", path)
            if isinstance(connection, Connection):
                yield from _no_json(connection.extra or {}, (*path, "extra"))
        for name in self.roles:
            if name in OWN_ROLES:
                sentence = (
                    "is one of Airflow's own roles, which Airflow changes; choose another name"
                )
                yield Objection(sentence, (*OBJECTS, "roles", name))
        yield from self._users(admin)

    def _users(self, admin: str) -> Iterator[Objection]:
        seen: dict[str, str] = {}
        for name, user in self.users.items():
            path: KeyPath = (*OBJECTS, "users", name)
            if name == admin:
                sentence = "is the administrator (airflow.admin), whose role and password are fixed"
                yield Objection(sentence, path)
            other = seen.setdefault((user.email or f"{name}@localhost").lower(), name)
            if other != name:
                yield Objection(f"is also the address of {other}", (*path, "email"))

    @property
    def described(self) -> bool:
        """Whether there is anything to compare."""
        kinds = (self.variables, self.pools, self.connections, self.roles, self.users)
        return any(kinds) or bool(self.remove_others)


def _no_json(value: Any, path: KeyPath) -> Iterator[Objection]:
    """What a variable cannot be: empty, text with control characters, an infinite number."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _no_json(key, path)
            yield from _no_json(one, (*path, key)) if one is not None else ()
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _no_json(one, (*path, place)) if one is not None else ()
    elif value is None:
        yield Objection('is empty; write "" for an empty text', path)
    elif isinstance(value, str) and len(value) > LONGEST:
        yield Objection(f"has more than {LONGEST} characters", path)
    elif isinstance(value, str) and not re.fullmatch(_CHARACTERS, value):
        yield Objection("has control characters other than new lines and tabs", path)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Objection("is a number that JSON cannot represent", path)
