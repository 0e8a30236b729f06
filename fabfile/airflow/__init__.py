"""The runbook's Airflow: installation, configuration, schema, connections, DAGs."""

from __future__ import annotations

from . import (
    check,
    configure,
    connections,
    dags,
    database,
    drill_loads,
    drill_tasks,
    drills,
    install,
    lock,
    objects,
    operate,
    plugins,
    preflight,
    rotate,
    status,
    switch,
    upgrade,
    user,
    users,
    web,
)
from .common import section

section.order(
    user.user,
    install.directories,
    lock.lock,
    install.wheelhouse,
    install.install,
    install.ship,
    install.receive,
    web.web_keys,
    web.web_certificates,
    configure.configure,
    database.database,
    connections.keys,
    connections.targets,
    connections.connections,
    objects.objects,
    plugins.plugins,
    dags.dags,
    switch.prune,
    dags.dags_rollback,
    plugins.plugins_rollback,
    operate.smoke,
    switch.switch,
    switch.rollback,
    switch.installations,
    rotate.secrets_rotate,
    upgrade.upgrade,
    users.users,
    users.user_add,
    users.user_remove,
)

__all__ = ["check", "drill_loads", "drill_tasks", "drills", "preflight", "section", "status"]
