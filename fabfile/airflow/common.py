"""What the modules of this section share: hosts, names, paths, passwords."""

from __future__ import annotations

from runbook.declare.operations import CHECKS, Part
from runbook.declare.section import Section
from runbook.declare.step import Step, quote
from runbook.declare.steps import precondition
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.secrets.vault import Rule

from ..haproxy.common import HTTPS
from ..shared import roles
from ..shared.airflow import USER, hosts
from ..shared.site import WEB_TRUSTED, site
from ..shared.tls import TRUSTED
from ..shared.versions import Versions
from .settings import Airflow

SETTINGS = "/etc/airflow"
SCRIPTS = "/usr/libexec/airflow-runbook"
SQL = f"{SCRIPTS}/airflow-sql"
CLI = "/usr/local/bin/airflow"

CFG = f"{SETTINGS}/airflow.cfg"

WEBSERVER_HERE = (
    f"--cacert {TRUSTED} $(grep -qs '^web_server_ssl_cert = ' {CFG} && echo https || echo http)"
    "://127.0.0.1:8080"
)
"""Words for curl on a server with a webserver: what verifies it, and its URL."""

SCHEMA = {"2.9.0": "1949afb29106", "2.7.3": "405de8318b3a"}
"""Alembic's revision of the schema of each Airflow (airflow/utils/db.py)."""


def with_targets(cluster: Cluster) -> list[Host]:
    """The servers of Airflow, and the servers that DAGs reach by SSH."""
    own = hosts(cluster)
    return [host for host in cluster.hosts.values() if host in own or roles.TARGET in host.roles]


section = Section(
    "airflow",
    on=hosts,
    whole=with_targets,
    runbook="Airflow",
    about="Airflow on the servers that run a part of it.",
    roles=(
        roles.SCHEDULER,
        roles.TRIGGERER,
        roles.WEBSERVER,
        roles.FLOWER,
        roles.DAG_PROCESSOR,
        roles.WORKER,
        roles.TARGET,
    ),
    settings=Airflow,
    after=("postgres", "rabbitmq", "nfs", "haproxy", "python-build"),
    parts=(Part("airflow.smoke", (CHECKS,), planned=False),),
    restarts=("airflow-*.service",),
    accounts=(USER,),
)

FERNET_KEY = Rule(
    "[A-Za-z0-9_-]{43}=?",
    "a fernet key: 43 characters of A-Z, a-z, 0-9, - and _, optionally =",
)
"""32 bytes in base64; a missing padding is added."""

FERNET = section.secret(
    "airflow_fernet",
    "the key that encrypts Airflow's connections and variables",
    length=43,
    rule=FERNET_KEY,
)
FERNET_NEXT = section.secret(
    "airflow_fernet_next",
    "the next fernet key, until every server can read it",
    length=43,
    passing=True,
    rule=FERNET_KEY,
)
FERNET_OLD = section.secret(
    "airflow_fernet_old",
    "the previous fernet key, until nothing is encrypted with it",
    length=43,
    passing=True,
    rule=FERNET_KEY,
)
FERNET_RETIRED = section.secret(
    "airflow_fernet_retired",
    "a retired fernet key, which an older copy of the database needs",
    length=43,
    passing=True,
    rule=FERNET_KEY,
)
# Airflow expands environment variables in a value, and strips spaces at both ends.
SECRET_KEY = section.secret(
    "airflow_webserver",
    "the key that signs sessions and log requests",
    rule=Rule(r"(?! )[^$]+(?<! )", "text without $ and without spaces at either end"),
)
ADMIN = section.secret("airflow_admin", "the administrator of Airflow's web UI")
# A comma separates the logins of users.
FLOWER = section.secret(
    "airflow_flower",
    "the user admin of Flower",
    rule=Rule(r"(?! )[^$,]+(?<! )", "text without $ and commas, and without spaces at either end"),
)


def first_scheduler(cluster: Cluster) -> list[Host]:
    """The server on which work for all servers is done once: schema, users, connections."""
    return cluster.group(roles.SCHEDULER)[:1]


def row(query: str) -> str:
    """A test: the query finds something in Airflow's database."""
    return f"[[ $({SQL} {quote(query)}) ]]"


def same_version(cluster: Cluster) -> Step:
    """Refuse another version: all servers and the schema change together, with Airflow stopped."""
    version = cluster[Versions].airflow
    present = f"sed -n 's|^PATH=/opt/airflow/\\([0-9.]*\\)[-/].*|\\1|p' {SETTINGS}/airflow.env"
    found = f"found=$({present} 2>/dev/null || :)"
    return precondition(
        f"it is set up for Airflow {version}, or not at all",
        f"{found}; [[ ! $found || $found == {version} ]]",
        f"""{found}
echo "It is set up for Airflow $found, but hosts.yaml says {version}. Nothing was changed."
echo 'To change the version: fab airflow.install airflow.ship airflow.receive airflow.upgrade'""",
    )


def web_ui(cluster: Cluster) -> str:
    """Words for curl on servers of Airflow: what verifies the web UI on the VIP, and its URL."""
    options, own = f"--cacert {TRUSTED}", site(cluster)
    if own:
        named = f" --resolve {own.name}:{HTTPS}:{main_vip(cluster)}" if own.name else ""
        options = f"--cacert {WEB_TRUSTED}{named}"
    return f"{options} $(sed -n 's/^base_url = //p' {CFG})"


def database_answers(cluster: Cluster) -> Step:
    """Refuse while Airflow's database does not answer."""
    through_vip = cluster[Airflow].database == "vip"
    way = f" through {main_vip(cluster)} (fab haproxy.check)" if through_vip else ""
    return precondition(
        "the database answers",
        f"[[ ! -e {SQL} ]] || {SQL} 'select 1' >/dev/null",
        f"""if [[ -x $(sed -n '1s/^#!\\([^ ]*\\).*/\\1/p' {SQL}) ]]; then
  {SQL} 'select 1' 2>&1 || :
  echo 'Airflow cannot reach its database{way}. See fab postgres.check.'
else
  echo 'Airflow {cluster[Versions].airflow} is not installed here. To install it:'
  echo 'fab airflow.install airflow.ship airflow.receive'
fi""",
    )


def main_vip(cluster: Cluster) -> str:
    """The address of the VIP that HAProxy serves on."""
    found = [vip.address for vip in cluster.vips.values() if vip.role == "haproxy"]
    if not found:
        raise RunbookError(f"{cluster.file.name} has no VIP of role haproxy.")
    return found[0]
