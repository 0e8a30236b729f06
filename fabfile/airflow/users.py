"""The users of the web UI. By name only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import msgspec

from runbook.declare.answers import Line, of_json
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import quote
from runbook.declare.steps import command
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import no_such
from runbook.secrets.vault import Secret

from ..postgres.common import PSQL
from ..shared.roles import POSTGRES
from .common import CLI, database_answers, first_scheduler, row, section
from .database import account
from .object_settings import OWN_ROLES
from .settings import Airflow

PASSWORDS = section.secret("airflow_user_", "users of Airflow's web UI, by name", family=True)

NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")

QUESTION = """select json_build_object(
  'leader', not pg_is_in_recovery(),
  'users', (select json_agg(json_build_object(
      'name', u.username,
      'roles', (select string_agg(r.name, ', ' order by r.name) from ab_user_role m
                join ab_role r on r.id = m.role_id where m.user_id = u.id),
      'active', u.active,
      'login', to_char(u.last_login, 'YYYY-MM-DD HH24:MI')) order by u.username)
    from ab_user u))"""


@dataclass(frozen=True)
class User:
    """An account of the web UI."""

    name: str
    roles: str
    active: bool
    login: Optional[str]


class _Listed(msgspec.Struct):
    name: Line
    roles: Optional[Line]
    active: Optional[bool]
    login: Optional[Line]


class _Told(msgspec.Struct):
    """The answer to QUESTION."""

    leader: bool
    users: Optional[list[_Listed]]


def parse(text: str) -> Optional[tuple[User, ...]]:
    """Parse the answer of USERS; None from a server that does not lead."""
    told = of_json(text, _Told)
    found = (
        User(listed.name, listed.roles or "", bool(listed.active), listed.login)
        for listed in told.users or ()
    )
    return tuple(found) if told.leader else None


USERS = Fact(
    "the users of the web UI",
    on=POSTGRES,
    command=lambda cluster, host: f'{PSQL} -d airflow -c "{" ".join(QUESTION.split())}"',
    parse=parse,
    absent="fab airflow.database creates the first one",
)


def present(facts: Facts) -> dict[str, User]:
    """The users by name, according to the database's leader."""
    known = facts.known(USERS)
    told = next((users for users in known.values() if users is not None), None)
    if told is None:
        raise RunbookError(
            "The database has no leader, or no Airflow users yet. See fab postgres.check; "
            "fab airflow.database creates the first user."
        )
    return {user.name: user for user in told}


@section.table(needs=[USERS])
def users(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """Show the users of the web UI: roles, whether active, the last login."""
    return [
        {
            "user": user.name,
            "roles": user.roles,
            "active": "yes" if user.active else "no",
            "last login": user.login or "never",
        }
        for user in present(facts).values()
    ]


@section.procedure(
    needs=[USERS],
    on=first_scheduler,
    help={"name": "the login", "role": "Admin, Op, User, Viewer or Public"},
)
def user_add(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, name: str, role: str = "Viewer"
) -> Procedure:
    """Add a user of the web UI: fab airflow.user-add jane --role Op.

    To change the role of a user, run it again with another role.

    The password is generated and kept in secrets.yaml as airflow_user_NAME. Roles: Admin, Op, User,
    Viewer, Public.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name} is not a valid user name. Write a lower-case letter, then lower-case "
            "letters, digits, dots, - or _; at most 64 characters."
        )
    if role not in OWN_ROLES:
        raise no_such(f"{role} is not a role", role, OWN_ROLES)
    if name == cluster[Airflow].admin:
        raise UsageError(f"{name} is the administrator in {cluster.file.name} and stays Admin.")
    refuse_described(name, cluster)
    secret = password(name)
    if name in present(facts) and not cluster.vault.knows(secret):
        raise UsageError(
            f"{name} exists already, with a password of its own. To give it a new one: "
            f"fab airflow.user-remove {name}, then rerun this command."
        )
    yield stage(
        f"{name} is {role}, with the password {secret.name} of secrets.yaml",
        first_scheduler(cluster),
        database_answers(cluster),
        account(name, role, secret, cluster),
    )


def refuse_described(name: str, cluster: Cluster) -> None:
    """Refuse to change a user whom hosts.yaml describes: the next run would change it back."""
    if name in cluster[Airflow].objects.users:
        raise UsageError(
            f"{name} is described in airflow.objects.users of {cluster.file.name}. Change it "
            "there, then: fab airflow.objects"
        )


def password(name: str) -> Secret:
    """The secret that is a user's password."""
    return Secret(f"{PASSWORDS.name}{name}", f"the user {name} of Airflow's web UI")


@section.procedure(needs=[USERS], on=first_scheduler, help={"name": "the login"})
def user_remove(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, name: str) -> Procedure:
    """Remove a user of the web UI, and the password from secrets.yaml. Asks first.

    The user's open sessions end. The administrator in hosts.yaml cannot be removed.
    """
    known = present(facts)
    if name == cluster[Airflow].admin:
        raise UsageError(
            f"{name} is the administrator in {cluster.file.name} and cannot be removed."
        )
    refuse_described(name, cluster)
    if name not in known:
        raise no_such(f"There is no user {name}", name, known)
    yield Question(f"{name} ({known[name].roles or 'no role'}) can no longer use the web UI.")
    cluster.vault.forget(password(name))
    yield stage(
        f"remove {name}",
        first_scheduler(cluster),
        database_answers(cluster),
        command(
            f"there is no user {name}",
            f"{CLI} users delete --username {quote(name)}",
            unless=f"! {row(one_user(name))}",
        ),
    )


def one_user(name: str) -> str:
    """A query that finds the user."""
    literal = name.replace("'", "''")
    return f"select 1 from ab_user where username = '{literal}'"
