"""The clients that measure what drills cost, by their names; the section airflow has them."""

from __future__ import annotations

ROWS = "rows"
"""Rows, written to the database as Airflow reaches it."""
MESSAGES = "messages"
"""Messages, published to a queue of their own and confirmed."""
LINES = "lines"
"""Lines of a file on the share."""
PAGES = "pages"
"""Pages of the web UI, fetched at the main VIP."""
TASKS = "tasks"
"""Tasks of a DAG that runs every few seconds."""

CLIENTS = (ROWS, MESSAGES, LINES, PAGES)
"""Those that want something several times a second."""

DRILL_QUEUE = "airflow-drill"
"""The queue of the messages."""
