"""Variables, pools and connections: compared with what hosts.yaml says, and changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from airflow.models import Connection, Pool, Variable
from change import Kind


def canonical(value: Any) -> str:
    """A value as JSON, the same for all ways to write it."""
    return json.dumps(value, sort_keys=True)


class Variables(Kind):
    """Variables: a text as it is, anything else as JSON. Descriptions stay."""

    key = "variables"
    word = "variable"

    def rows(self) -> dict[str, Any]:
        return {row.key: row for row in self.session.query(Variable)}

    def differing(self, row: Any, wanted: Any) -> list[str]:
        found = row.get_val()
        if isinstance(wanted, str):
            return [] if found == wanted else [""]
        with suppress(ValueError, TypeError):
            return [] if canonical(json.loads(found)) == canonical(wanted) else [""]
        return [""]

    def add(self, name: str, wanted: Any) -> None:
        self.session.add(Variable(key=name, val=self.text(wanted)))

    def change(self, row: Any, name: str, wanted: Any) -> None:
        row.set_val(self.text(wanted))

    def text(self, wanted: Any) -> str:
        """A variable's text, as `airflow variables import` writes it."""
        return wanted if isinstance(wanted, str) else json.dumps(wanted, indent=2)


class Pools(Kind):
    """Pools; what is not said of one stays."""

    key = "pools"
    word = "pool"

    def rows(self) -> dict[str, Any]:
        return {row.pool: row for row in self.session.query(Pool)}

    def differing(self, row: Any, wanted: Any) -> list[str]:
        return [part for part, value in wanted.items() if (getattr(row, part) or 0) != (value or 0)]

    def add(self, name: str, wanted: Any) -> None:
        about = {"description": "", "include_deferred": False, **wanted}
        self.session.add(Pool(pool=name, **about))

    def change(self, row: Any, name: str, wanted: Any) -> None:
        for part, value in wanted.items():
            setattr(row, part, value)


class Connections(Kind):
    """Connections: exactly as described, by their parts or a URI.

    Airflow decrypts a password as it loads a connection, so each one is loaded by itself: one that
    no key decrypts is written again.
    """

    key = "connections"
    word = "connection"
    parts = ("conn_type", "host", "login", "password", "schema", "port", "extra", "description")

    def rows(self) -> dict[str, Any]:
        return {name: name for (name,) in self.session.query(Connection.conn_id)}

    def troubles(self) -> Iterator[str]:
        for name, wanted in self.wanted.items():
            made = self.made(name, wanted)
            if not made or not made.conn_type:
                yield f"connection {name}: this is not a URI such as postgresql://user:password@host"

    def made(self, name: str, wanted: Any) -> Any:
        """The connection as described, not in the database; None if its URI cannot be read."""
        if not isinstance(wanted, str):
            return Connection(name, **wanted)
        try:
            return Connection(name, uri=wanted)
        except Exception:  # whose text may have the URI
            return None

    def value(self, connection: Any, part: str) -> Any:
        """A part of a connection, decrypted; None if it is empty."""
        found = getattr(connection, part)
        if part == "extra" and found:
            with suppress(ValueError):
                return canonical(json.loads(found)) if json.loads(found) else None
        return found if found != "" else None

    def differing(self, row: Any, wanted: Any) -> list[str]:
        made = self.made(row, wanted)
        if not made:
            return []  # told as a trouble
        try:
            found = self.session.query(Connection).filter_by(conn_id=row).one()
            return [
                part for part in self.parts if self.value(found, part) != self.value(made, part)
            ]
        except Exception:  # another key, or no cipher text at all
            return ["cannot be decrypted"]

    def add(self, name: str, wanted: Any) -> None:
        self.session.add(self.made(name, wanted))

    def change(self, row: Any, name: str, wanted: Any) -> None:
        # Setting a part to nothing would leave an old password where it was.
        self.remove(row)
        self.add(name, wanted)

    def remove(self, row: Any) -> None:
        self.session.query(Connection).filter_by(conn_id=row).delete(synchronize_session=False)
