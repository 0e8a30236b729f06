"""Who logs in to the web UI: accounts of a directory (LDAP), or single sign-on (OpenID Connect)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Optional

import msgspec

from runbook.inventory.entry import Entry, LocalPath, Text, Url, named
from runbook.inventory.schema import Objection
from runbook.yaml_source import KeyPath

from .object_settings import RoleName

LOGIN: KeyPath = ("airflow", "login")

LdapUrl = Annotated[
    str,
    named(
        "URL of a directory: `ldaps://ldap.example.com`, `ldap://…`",
        "ldaps?://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[1-9][0-9]{0,4})?",
    ),
]
Attribute = Annotated[str, named("attribute: `uid`, `memberOf`", "[A-Za-z][A-Za-z0-9-]{0,99}")]
Claim = Annotated[str, named("claim: `preferred_username`", "[A-Za-z][A-Za-z0-9_.:/-]{0,199}")]
Provider = Annotated[str, named("name (a-z, 0-9, `_`, `-`)", "[a-z][a-z0-9_-]{0,30}")]

PYTHON_LDAP, AUTHLIB = "python-ldap", "authlib"


class Ldap(Entry, frozen=True):
    """A directory, in which the web UI looks for whoever logs in."""

    url: LdapUrl
    """Its address. With `ldap://`, set `start_tls`, or passwords are sent in clear text."""
    search: Text
    """Where people are: `ou=people,dc=example,dc=com`."""
    bind: Optional[Text] = None
    """The account that may search: `cn=airflow,ou=services,dc=example,dc=com`; null: anybody."""
    password: Optional[Text] = None
    """Its password: `{secret: NAME}`."""
    uid: Attribute = "uid"
    """The attribute with the name for the login; in Active Directory `sAMAccountName`."""
    filter: Optional[Text] = None
    """Who of them may log in: `(memberOf=cn=airflow,ou=groups,dc=example,dc=com)`; null: all."""
    groups: Attribute = "memberOf"
    """The attribute with the groups, by which `roles` are given."""
    start_tls: bool = False
    """Whether TLS begins after the connection, on the port of `ldap://`."""
    ca: Optional[LocalPath] = None
    """A file beside this one with the CA that signed the directory's certificate (PEM); null: the
    CAs that the servers trust.
    """


class OpenId(Entry, frozen=True):
    """A provider of OpenID Connect: Keycloak, Entra ID, Okta, Google, GitLab, Authentik."""

    metadata: Url
    """Its description: `https://sso.example.com/realms/staff/.well-known/openid-configuration`."""
    client_id: Text
    client_secret: Text
    """The client's secret: `{secret: NAME}`."""
    name: Provider = "sso"
    """What the button says. The provider sends browsers back to `/oauth-authorized/NAME`."""
    scope: Text = "openid email profile"
    """What is asked for."""
    user: Claim = "preferred_username"
    """The claim with the login; for Google `email`."""
    groups: Claim = "groups"
    """The claim with the groups, by which `roles` are given."""


class Logins(Entry, frozen=True):
    """Who logs in to the web UI, besides the accounts in Airflow's database."""

    ldap: Optional[Ldap] = None
    """A directory."""
    openid: Optional[OpenId] = None
    """Or single sign-on."""
    roles: dict[Text, Annotated[list[RoleName], msgspec.Meta(min_length=1)]] = msgspec.field(
        default_factory=dict
    )
    """Roles of groups, at every login: `{"cn=admins,ou=groups,dc=example,dc=com": [Admin]}`."""
    new_users: Optional[RoleName] = None
    """A role for everybody who may log in; null: only the roles of their groups."""

    @property
    def used(self) -> bool:
        """Whether anybody besides the accounts in Airflow's database logs in."""
        return bool(self.ldap or self.openid)

    @property
    def needs(self) -> str:
        """The package that Airflow needs for it."""
        return PYTHON_LDAP if self.ldap else AUTHLIB

    def objections(self, packages: Optional[Sequence[str]]) -> Iterator[Objection]:
        """Both ways at once, a password that is not a reference or travels in clear, no package.

        `packages`: the names of airflow.packages; None if they are in a file.
        """
        if self.ldap and self.openid:
            yield Objection("is one too many: ldap or openid", (*LOGIN, "openid"))
        if not self.used:
            for key in ("roles", "new_users"):
                if getattr(self, key):
                    yield Objection("is for ldap or openid only", (*LOGIN, key))
            return
        if packages is not None and self.needs not in packages:
            also = " and to airflow.source_packages" if self.ldap else ""
            sentence = f"needs the package {self.needs}; add it to airflow.packages{also}"
            yield Objection(sentence, LOGIN)
        if not self.roles and not self.new_users:
            sentence = "nobody would have a role; set roles, or new_users"
            yield Objection(sentence, LOGIN)
        if self.ldap:
            yield from _of_ldap(self.ldap)
        if self.openid and not self.openid.metadata.startswith("https://"):
            sentence = "is not https://, so anybody between could log in as somebody else"
            yield Objection(sentence, (*LOGIN, "openid", "metadata"), grave=False)


def _of_ldap(ldap: Ldap) -> Iterator[Objection]:
    path: KeyPath = (*LOGIN, "ldap")
    if ldap.url.startswith("ldaps://") and ldap.start_tls:
        yield Objection("is for ldap:// only; ldaps:// begins with TLS", (*path, "start_tls"))
    if ldap.url.startswith("ldap://") and not ldap.start_tls:
        sentence = "passwords would be sent in clear text; set start_tls: true, or use ldaps://"
        yield Objection(sentence, (*path, "url"))
    if bool(ldap.bind) != bool(ldap.password):
        yield Objection("bind and password belong together", path)
    if ldap.filter and not (ldap.filter.startswith("(") and ldap.filter.endswith(")")):
        yield Objection("is not a filter; write it like (memberOf=…)", (*path, "filter"))
