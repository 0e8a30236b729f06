"""webserver_config.py: how people log in to the web UI, if hosts.yaml describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from runbook.declare import steps
from runbook.declare.probes import OK, WARN, Answer, Probes, Verdict, probe
from runbook.declare.step import Handler, Step, Steps
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, local_path

from ..shared.airflow import USER
from .common import SETTINGS, section
from .login_settings import Ldap, OpenId
from .settings import Airflow

FILE = f"{SETTINGS}/webserver_config.py"
CA = f"{SETTINGS}/ldap-ca.pem"

HIDDEN = '(AUTH_LDAP_BIND_PASSWORD = |"client_secret": )'
"""Where the file has secrets, which are hidden in diffs."""

LDAP, OAUTH = 2, 4
"""Kinds of login of Flask-AppBuilder (flask_appbuilder.const)."""


def logins(cluster: Cluster, python: str, changed: Handler) -> Steps:
    """Airflow knows who may log in; `python` is that of its installation."""
    own = cluster[Airflow].login
    if not own.used:
        return
    yield has_its_package(own.needs, python)
    if own.ldap and own.ldap.ca:
        yield steps.file(CA, certificate(own.ldap.ca, cluster)).then(changed)
    claims = {"user": own.openid.user, "groups": own.openid.groups} if own.openid else {}
    context = {
        "settings": [(name, literal(value)) for name, value in described(cluster)],
        "own": literal([cluster[Airflow].admin]),
        "claims": literal(claims),
    }
    secret: dict[str, Any] = {"mode": "0640", "group": USER, "hide": HIDDEN}
    yield steps.template(FILE, "airflow/webserver_config.py.j2", context, **secret).then(changed)


def has_its_package(package: str, python: str) -> Step:
    """Refuse while Airflow cannot import what it needs for these logins."""
    module = "ldap" if package == "python-ldap" else package
    return steps.precondition(
        f"Airflow has the package {package}",
        f"{python} -I -c 'import {module}'",
        f"{python} -I -c 'import {module}' 2>&1 | tail -1\n"
        f"echo 'Nobody could log in. Add {package} to airflow.packages, then:'\n"
        "echo 'fab airflow.lock airflow.install airflow.ship airflow.receive airflow.switch'",
    )


def certificate(path: str, cluster: Cluster) -> str:
    """The CA of the directory, from a file on this machine."""
    file = local_path(path, cluster.file.parent)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise RunbookError(f"airflow.login.ldap.ca: {file} cannot be read: {error}") from error
    if "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY" in text:
        raise RunbookError(f"airflow.login.ldap.ca: {file} is not a certificate in PEM format.")
    return text


def described(cluster: Cluster) -> Iterator[tuple[str, Any]]:
    """The settings of Flask-AppBuilder, by their names."""
    own = cluster[Airflow].login
    yield "AUTH_TYPE", LDAP if own.ldap else OAUTH
    yield "AUTH_USER_REGISTRATION", True
    yield "AUTH_USER_REGISTRATION_ROLE", own.new_users or "Public"
    yield "AUTH_ROLES_MAPPING", own.roles
    # Without groups, roles that somebody gives in the web UI stay.
    yield "AUTH_ROLES_SYNC_AT_LOGIN", bool(own.roles)
    if own.ldap:
        yield from of_ldap(own.ldap)
    if own.openid:
        yield "OAUTH_PROVIDERS", [provider(own.openid)]


def of_ldap(ldap: Ldap) -> Iterator[tuple[str, Any]]:
    """How the directory is reached and read. Its certificate is verified in any case."""
    yield "AUTH_LDAP_SERVER", ldap.url
    yield "AUTH_LDAP_USE_TLS", ldap.start_tls
    yield "AUTH_LDAP_TLS_DEMAND", True
    if ldap.ca:
        yield "AUTH_LDAP_TLS_CACERTFILE", CA
    yield "AUTH_LDAP_SEARCH", ldap.search
    yield "AUTH_LDAP_SEARCH_FILTER", ldap.filter or ""
    yield "AUTH_LDAP_UID_FIELD", ldap.uid
    yield "AUTH_LDAP_GROUP_FIELD", ldap.groups
    if ldap.bind:
        yield "AUTH_LDAP_BIND_USER", ldap.bind
        yield "AUTH_LDAP_BIND_PASSWORD", ldap.password or ""


def provider(openid: OpenId) -> dict[str, Any]:
    """The provider, which describes itself at its address."""
    return {
        "name": openid.name,
        "icon": "fa-sign-in",
        "token_key": "access_token",
        "remote_app": {
            "server_metadata_url": openid.metadata,
            "client_id": openid.client_id,
            "client_kwargs": {"scope": openid.scope},
            "client_secret": openid.client_secret,
        },
    }


NOT_REACHED = section.cause("AIRFLOW_LOGIN", "nobody but the administrator can log in")

PORTS = {"ldap": 389, "ldaps": 636, "http": 80, "https": 443}


def reachable(cluster: Cluster) -> Probes:
    """Whether a webserver reaches the directory or the provider."""
    own = cluster[Airflow].login
    url = own.ldap.url if own.ldap else own.openid.metadata if own.openid else ""
    if not url:
        return
    place = urlsplit(url)
    port = place.port or PORTS[place.scheme]
    yield probe(
        f"{place.hostname} answers on port {port}",
        steps.answers(str(place.hostname), port),
        reached,
        fix="see airflow.login, the name's address, and firewalls in between",
        cause=NOT_REACHED,
    )


def reached(answer: Answer) -> Verdict:
    """It answers; if not, the administrator can log in all the same."""
    return Verdict(OK) if answer.code == 0 else Verdict(WARN, "it does not answer within 3 seconds")


def literal(value: Any) -> str:
    """A value as Python reads it, on one line: what follows a secret's key is hidden in diffs.

    Texts are written as in JSON, in which form secrets are known to what is printed.
    """
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        pairs = (f"{literal(key)}: {literal(one)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)
