"""Variables, pools, connections, roles and users of Airflow, as hosts.yaml describes them.

    python objects compare    prints a line for each object that differs, and names those that stay
    python objects apply      changes them, and prints the same lines

Runs as Airflow, with its settings. Standard input has the description, in JSON; no value of it is
ever printed, and nothing at all if nothing differs. What cannot be is refused by both, before
anything is changed (exit code 1).
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from typing import Any

os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"
warnings.simplefilter("ignore")
# Airflow prints on standard output, too.
TOLD = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def main(mode: str, wanted: dict[str, Any]) -> None:
    """Compare, or change what differs, in one transaction."""
    from airflow.utils.session import create_session
    from change import Kind, Refused
    from for_dags import Connections, Pools, Variables
    from for_people import Roles, Users, complete_own_roles

    if mode == "apply" and (wanted["roles"] or wanted["users"]):
        complete_own_roles()
    with create_session() as session:
        kinds: list[Kind] = [
            kind(session, wanted) for kind in (Variables, Pools, Connections, Roles, Users)
        ]
        troubles = [sentence for kind in kinds for sentence in kind.troubles()]
        if troubles:
            raise Refused("\n".join(troubles))
        changes = [change for kind in kinds for change in kind.changes()]
        staying = [line for kind in kinds for line in kind.staying()] if changes else []
        for change in sorted(changes, key=lambda one: one.turn) if mode == "apply" else ():
            change.make()
            session.flush()
            session.expire_all()  # who has which role is read again
    for line in [change.line for change in changes] + staying:
        print(line, file=TOLD)
    TOLD.flush()


def why(error: Exception) -> str:
    """What went wrong, without the values that an error of SQL would show."""
    from change import Refused
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, Refused):
        return f"{error}\nNothing was changed."
    if isinstance(error, SQLAlchemyError):
        first = str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]
        return f"The database refused it: {first}. Nothing was changed."
    frames = "".join(traceback.format_tb(error.__traceback__)[-3:])
    return f"{frames}Airflow failed: {type(error).__name__}. Nothing was changed."


if __name__ == "__main__":
    if sys.argv[1:] not in (["compare"], ["apply"]):
        sys.exit(__doc__)
    try:
        main(sys.argv[1], json.load(sys.stdin))
    except Exception as error:
        print(why(error), file=TOLD, flush=True)
        sys.exit(1)
