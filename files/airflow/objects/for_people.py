"""Roles and users of the web UI: compared with what hosts.yaml says, and changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.models.dagrun import DagRunNote
from airflow.models.taskinstance import TaskInstanceNote
from airflow.utils.session import create_session
from change import FIRST, Kind

try:
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.providers.fab.auth_manager.models import Action, Permission, Resource, Role, User
except ImportError:  # Airflow 2.7
    from airflow.auth.managers.fab.models import Action, Permission, Resource, Role, User
    from airflow.utils.cli_app_builder import get_application_builder

OWN = frozenset({"Admin", "Op", "User", "Viewer", "Public"})
"""Airflow's own roles, which it makes when a webserver starts for the first time."""

IMPLIED = ("can_read", "Website")
"""The permission that a webserver gives to every role when it starts."""

DAG = "DAG:"
"""What the name of a resource begins with that is one DAG; there may be none of that name yet."""


def has_own_roles(session: Any) -> bool:
    """Whether Airflow has made its own roles, and with them all resources."""
    return {name for (name,) in session.query(Role.name)} >= OWN


def complete_own_roles() -> None:
    """Make Airflow's own roles and all resources, as `airflow sync-perm` does, unless they are."""
    with create_session() as session:
        complete = has_own_roles(session)
    if not complete:
        with get_application_builder() as builder:
            builder.add_permissions(update_perms=True)
            builder.sm.sync_roles()


class Roles(Kind):
    """Roles: the permissions that are described, and no others."""

    key = "roles"
    word = "role"

    def rows(self) -> dict[str, Any]:
        return {row.name: row for row in self.session.query(Role)}

    def troubles(self) -> Iterator[str]:
        if not has_own_roles(self.session):
            return  # nor its resources
        actions = {name for (name,) in self.session.query(Action.name)}
        resources = {name for (name,) in self.session.query(Resource.name)}
        for name, wanted in self.wanted.items():
            for resource, named in wanted.items():
                if resource not in resources and not resource.startswith(DAG):
                    yield f"role {name}: Airflow has no resource {resource}"
                for action in named:
                    if action not in actions:
                        yield f"role {name}: Airflow has no action {action}"

    def permissions(self, wanted: Any) -> set[tuple[str, str]]:
        """The permissions that are described."""
        return {(action, resource) for resource, named in wanted.items() for action in named}

    def removed(self, row: Any) -> str:
        """Who loses it."""
        names = sorted(user.username for user in row.user)
        return f" (of {', '.join(names)})" if names else ""

    def differing(self, row: Any, wanted: Any) -> list[str]:
        found = {(one.action.name, one.resource.name) for one in row.permissions} - {IMPLIED}
        described = self.permissions(wanted) - {IMPLIED}
        more = [f"+ {action} on {resource}" for action, resource in sorted(described - found)]
        less = [f"- {action} on {resource}" for action, resource in sorted(found - described)]
        return more + less

    def add(self, name: str, wanted: Any) -> None:
        row = Role(name=name)
        self.session.add(row)
        self.change(row, name, wanted)

    def change(self, row: Any, name: str, wanted: Any) -> None:
        implied = [
            one for one in row.permissions if (one.action.name, one.resource.name) == IMPLIED
        ]
        described = sorted(self.permissions(wanted) - {IMPLIED})
        row.permissions = implied + [self.permission(*one) for one in described]

    def permission(self, action: str, resource: str) -> Any:
        """The permission for an action on a resource, which is made if it does not exist."""
        parts = (self.named(Action, action), self.named(Resource, resource))
        self.session.flush()
        ids = {"action_id": parts[0].id, "resource_id": parts[1].id}
        found = self.session.query(Permission).filter_by(**ids).first()
        if not found:
            found = Permission(action=parts[0], resource=parts[1])
            self.session.add(found)
        return found

    def named(self, model: Any, name: str) -> Any:
        """The action or resource of this name, which is made if it does not exist."""
        found = self.session.query(model).filter_by(name=name).first()
        if not found:
            found = model(name=name)
            self.session.add(found)
        return found


class Users(Kind):
    """Users: active, with the roles and the password that are described; the rest stays.

    Others are removed before any is added, which may have the e-mail address of one of them.
    """

    key = "users"
    word = "user"
    removal = FIRST

    def __init__(self, session: Any, wanted: dict[str, Any]) -> None:
        super().__init__(session, wanted)
        self.described_roles = frozenset(wanted["roles"])
        self.other_roles_go = "roles" in wanted["remove_others"]

    def rows(self) -> dict[str, Any]:
        return {row.username: row for row in self.session.query(User)}

    def troubles(self) -> Iterator[str]:
        rows, available = self.remaining(), self.available()
        for name, wanted in self.wanted.items():
            for role in wanted["roles"]:
                if role not in available:
                    yield f"user {name}: there is no role {role}"
            for other, row in rows.items():
                if other == name:
                    continue
                if other.lower() == name:
                    yield f"user {name}: there is a user {other} already"
                if row.email.lower() == self.about(name, wanted)["email"].lower():
                    yield f"user {name}: {other} has that e-mail address"

    def remaining(self) -> dict[str, Any]:
        """The users that are not going to be removed."""
        gone = self.others() if self.removes_others else ()
        return {name: row for name, row in self.rows().items() if name not in gone}

    def roles(self) -> dict[str, Any]:
        """All roles, by name."""
        return {row.name: row for row in self.session.query(Role)}

    def available(self) -> frozenset[str]:
        """The roles that a user may have when all is as described."""
        others = frozenset() if self.other_roles_go else frozenset(self.roles())
        return self.described_roles | OWN | others

    def about(self, name: str, wanted: Any) -> dict[str, str]:
        """Names and e-mail address, which a user must have, also if nothing is said of them."""
        usual = {"first_name": name, "last_name": name, "email": f"{name}@localhost"}
        return {part: wanted.get(part, value) for part, value in usual.items()}

    def differing(self, row: Any, wanted: Any) -> list[str]:
        parts = ("first_name", "last_name", "email")
        found = [part for part in parts if part in wanted and wanted[part] != getattr(row, part)]
        if {role.name for role in row.roles} != set(wanted["roles"]):
            found.append("roles")
        if not row.active:
            found.append("not active")
        if not opens(row.password, wanted["password"]):
            found.append("password")
        return found

    def add(self, name: str, wanted: Any) -> None:
        row = User(username=name, **self.about(name, wanted))
        self.session.add(row)
        self.change(row, name, wanted)

    def change(self, row: Any, name: str, wanted: Any) -> None:
        from werkzeug.security import generate_password_hash

        for part in ("first_name", "last_name", "email"):
            if part in wanted:
                setattr(row, part, wanted[part])
        by_name = self.roles()
        row.roles = [by_name[role] for role in wanted["roles"]]
        row.active = True
        if not opens(row.password, wanted["password"]):
            row.password = generate_password_hash(wanted["password"])

    def remove(self, row: Any) -> None:
        """Remove a user; notes on runs and tasks stay, without the author."""
        for note in (DagRunNote, TaskInstanceNote):
            notes = self.session.query(note).filter_by(user_id=row.id)
            notes.update({"user_id": None}, synchronize_session=False)
        super().remove(row)


def opens(known: str | None, password: str) -> bool:
    """Whether the password opens an account with this hash."""
    from werkzeug.security import check_password_hash

    try:
        return bool(known) and check_password_hash(known, password)
    except ValueError:  # a hash of another kind
        return False
