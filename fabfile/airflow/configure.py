"""One configuration for all servers, and the commands to inspect Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from urllib.parse import quote as url_quote

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Handler, Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..haproxy.common import WEB, WRITE
from ..postgres.common import AIRFLOW as DATABASE_PASSWORD
from ..postgres.pools import pooled
from ..rabbitmq.common import AIRFLOW as BROKER_PASSWORD
from ..rabbitmq.common import AMQP, AMQPS, ANY_NODE, VHOST
from ..shared import tls
from ..shared.airflow import AIRFLOW_HOME, DAGS, LOGS, PLUGINS, USER
from ..shared.roles import POSTGRES, RABBITMQ
from ..shared.site import WEB_TRUSTED, site
from ..shared.transport import Speaks
from ..shared.versions import Versions
from .common import (
    CLI,
    FERNET,
    FERNET_NEXT,
    FERNET_OLD,
    FLOWER,
    SCRIPTS,
    SECRET_KEY,
    SETTINGS,
    SQL,
    main_vip,
    same_version,
    section,
)
from .installation import folder, linked, of, python
from .login import FILE, logins
from .settings import Airflow
from .transport import AIRFLOW_TLS, NEEDS, Ways, ways

CHANGED = Handler("airflow", "Airflow has to restart on this server: fab systemd.restart")

SECRETS = "(fernet_key|secret_key|sql_alchemy_conn|broker_url|result_backend|flower_basic_auth) = "
"""Lines of airflow.cfg whose values are hidden in diffs."""


@section.task(needs=NEEDS)
def configure(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Write airflow.cfg, the same everywhere, and install the command `airflow`.

    A change takes effect when the services restart: fab systemd.restart restarts them in order. A
    server with another version of Airflow is not changed: fab airflow.upgrade changes all servers.
    """
    yield same_version(cluster)
    yield from settings(cluster, ways(host, cluster, facts), of(host, cluster, facts))


def settings(cluster: Cluster, how: Ways, name: str, former: str = "") -> Steps:
    """The configuration of the version in hosts.yaml, whatever is there now.

    `name`: the installation to use; `former`: the one that is in use until then.
    """
    if any(astuple(how)):
        yield from tls.trust(cluster)
    own = site(cluster)
    if own and how.web:
        yield steps.file(WEB_TRUSTED, own.root)
    yield steps.directory(SETTINGS, "0750", group=USER)
    yield steps.directory(f"{SETTINGS}/python")
    yield from linked(name, former)
    context = {
        "settings": cluster[Airflow],
        "dags": DAGS,
        "plugins": PLUGINS,
        "logs": LOGS,
        "home": AIRFLOW_HOME,
        "etc": SETTINGS,
        "venv": folder(name),
        "python": python(name),
        "database": escaped(database(cluster, how)),
        "broker": escaped(broker(cluster, how)),
        "fernet": fernet(cluster),
        "secret_key": escaped(cluster.secret(SECRET_KEY)),
        "flower": escaped(f"admin:{cluster.secret(FLOWER)}"),
        "base_url": door(cluster, how.web == Speaks.TLS),
        "web": AIRFLOW_TLS if how.web == Speaks.TLS else None,
        "verified_broker": ANY_NODE if how.broker else "",
        "ca": tls.TRUSTED,
        "quorum": cluster[Versions].quorum_queues,
        "overrides": sorted(overrides(cluster)),
        "login": FILE if cluster[Airflow].login.used else "",
    }
    yield from logins(cluster, python(name), CHANGED)
    secret = {"mode": "0640", "group": USER}
    hidden = "|".join(
        variable(str(part), str(key))
        for part, key in cluster.secret_settings("airflow", "settings")
    )
    for name, hide in (("airflow.cfg", SECRETS), ("airflow.env", f"({hidden})=" * bool(hidden))):
        options = {**secret, "hide": hide}
        file = steps.template(f"{SETTINGS}/{name}", f"airflow/{name}.j2", context, **options)
        yield file.then(CHANGED)
    yield past_the_pooler(cluster, how)
    module = f"{SETTINGS}/python/airflow_celery.py"
    yield steps.template(module, "airflow/airflow_celery.py.j2", context).then(CHANGED)
    yield from one_release_at_a_time()
    yield steps.directory(SCRIPTS)
    for path in (CLI, f"{SCRIPTS}/as-airflow"):
        yield steps.template(path, f"airflow/{path.rpartition('/')[2]}", {}, mode="0755")
    for path in (SQL, f"{SCRIPTS}/airflow-account"):
        source = f"airflow/{path.rpartition('/')[2]}.j2"
        yield steps.template(path, source, context, mode="0755")


def one_release_at_a_time() -> Steps:
    """What makes Airflow's processes read one release of the DAGs, as a plugin for policies."""
    folder = f"{SETTINGS}/python"
    module = steps.template(f"{folder}/airflow_releases.py", "airflow/airflow_releases.py", {})
    yield module.then(CHANGED)
    about = f"{folder}/airflow_releases-1.dist-info"
    yield steps.directory(about)
    for name in ("METADATA", "entry_points.txt"):
        yield steps.template(f"{about}/{name}", f"airflow/releases-plugin/{name}", {}).then(CHANGED)


def past_the_pooler(cluster: Cluster, how: Ways) -> Step:
    """How `airflow db` reaches PostgreSQL itself, if Airflow's other connections are pooled."""
    path = f"{SETTINGS}/direct.env"
    if not pooled(cluster):
        return steps.command(f"{path} is not there", f"rm -f {path}", unless=f"[[ ! -e {path} ]]")
    return steps.template(
        path,
        "airflow/direct.env.j2",
        {"direct": database(cluster, how, direct=True)},
        mode="0640",
        group=USER,
        hide="SQL_ALCHEMY_CONN=",
    )


def database(cluster: Cluster, how: Ways, direct: bool = False) -> str:
    """How SQLAlchemy reaches the leader: through HAProxy, or by asking every server.

    A connection to a server that has lost power is given up after 25 seconds.
    """
    login = f"airflow:{url_quote(cluster.secret(DATABASE_PASSWORD), safe='')}"
    patience = "connect_timeout=3&keepalives_idle=10&keepalives_interval=5&keepalives_count=3"
    if cluster[Airflow].database == "vip" and not direct:
        place = f"{main_vip(cluster)}:{WRITE}/airflow?"
    else:
        servers = "".join(f"host={host.address}:5432&" for host in cluster.group(POSTGRES))
        place = f"/airflow?{servers}target_session_attrs=read-write&"
    verified = f"&sslmode=verify-full&sslrootcert={tls.TRUSTED}" if how.database else ""
    return f"postgresql+psycopg2://{login}@{place}{patience}{verified}"


def broker(cluster: Cluster, how: Ways) -> str:
    """All nodes of the message queue; Celery uses the next one if one fails."""
    login = f"airflow:{url_quote(cluster.secret(BROKER_PASSWORD), safe='')}"
    nodes = cluster.group(RABBITMQ)
    scheme, port = ("amqps", AMQPS) if how.broker else ("amqp", AMQP)
    return ";".join(f"{scheme}://{login}@{host.name}:{port}/{VHOST}" for host in nodes)


def door(cluster: Cluster, over_tls: bool) -> str:
    """The address of the web UI: the VIP, or the name in a certificate of the site's own."""
    vip = main_vip(cluster)
    if not over_tls:
        return f"http://{vip}:{WEB}"
    own = site(cluster)
    return f"https://{own.name if own and own.name else vip}"


def fernet(cluster: Cluster) -> str:
    """The key (32 bytes in padded base64) and, during a rotation, the other key.

    The first one encrypts, and both decrypt.
    """
    others = [other for other in (FERNET_NEXT, FERNET_OLD) if cluster.vault.knows(other)]
    keys = [cluster.secret(one) for one in (FERNET, *others)]
    return ",".join(key if key.endswith("=") else f"{key}=" for key in keys)


def escaped(value: str) -> str:
    """A value for airflow.cfg, in which a single % begins a placeholder."""
    return value.replace("%", "%%")


def overrides(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """airflow.settings of hosts.yaml as environment variables, which override airflow.cfg."""
    for part, entries in cluster[Airflow].settings.items():
        for key, value in entries.items():
            yield variable(part, key), str(value)


def variable(part: str, key: str) -> str:
    """The environment variable of a setting."""
    return f"AIRFLOW__{part.upper()}__{key.upper()}"
