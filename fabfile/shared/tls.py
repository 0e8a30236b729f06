"""TLS between the servers: the cluster's own CA, and the keys and certificates of services.

A service makes its key on its own server, where it stays. The controller signs a certificate for
it, under names and addresses that come from hosts.yaml only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Callable, Optional, Union

from runbook.declare import steps
from runbook.declare.answers import Unexpected
from runbook.declare.facts import Fact, Facts, On
from runbook.declare.step import Step, Steps
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host, Vip
from runbook.inventory.entry import between
from runbook.inventory.schema import Objection, Settings, Understood
from runbook.secrets.vault import Secret

from . import authority
from .authority import DAY, Authority, Subject

FOLDER = "/etc/pki/airflow-runbook"
TRUSTED = f"{FOLDER}/ca.crt"
"""The certificates of the CAs that the servers trust for what is the cluster's own."""


class Tls(Settings, frozen=True):
    """Encryption and mutual authentication between the servers."""

    enabled: bool = True
    """New services begin with TLS. What already runs is changed by `fab tls.switch` only."""
    days: Annotated[int, between(2, 825)] = 397
    """For how many days a certificate of a server is valid."""
    renew_before: Annotated[int, between(1, 400)] = 30
    """How many days before a certificate expires it is renewed by the next run, and reported."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Certificates that would be renewed by every run."""
        if self.renew_before >= self.days:
            sentence = f"is not shorter than the {self.days} days that a certificate is valid"
            yield Objection(sentence, ("tls", "renew_before"))


def _made() -> str:
    from secrets import token_hex

    return authority.new(f"airflow-runbook CA {token_hex(4)}", time.time())


CA = Secret(
    "tls_ca",
    "the cluster's CA: its private key and its certificates, which sign those of all services",
    make=_made,
)
NEXT_CA = Secret(
    "tls_ca_next", "the CA that comes next, during tls.rotate-ca", passing=True, make=_made
)
FORMER_CA = Secret(
    "tls_ca_former", "the CA that is given up, during tls.rotate-ca", passing=True, make=_made
)


def signer(cluster: Cluster, secret: Secret = CA) -> Authority:
    """The CA that signs; its key is masked wherever it might be shown."""
    return _read(cluster, secret, cluster.secret(secret))


def _read(cluster: Cluster, secret: Secret, text: str) -> Authority:
    cluster.vault.mask.add(text.partition(".")[0])
    return authority.authority_of(text, secret.name)


def trusted(cluster: Cluster) -> str:
    """The certificates that the servers trust: those of the CA, and of others while they change.

    Their order does not depend on which of them signs.
    """

    def certificates(text: str) -> str:
        also = [one for one in (NEXT_CA, FORMER_CA) if cluster.vault.knows(one)]
        found = {*_read(cluster, CA, text).trusted}
        for one in also:
            found.update(signer(cluster, one).trusted)
        return "".join(sorted(found))

    return cluster.vault.part(CA, certificates)


@dataclass(frozen=True)
class Held:
    """What a server holds for a service, and when it was asked (the controller's time).

    `key`: mode, owner and group of the private key. `certificate`, `trusts`: PEM, or empty.
    """

    request: str
    key: str
    certificate: str
    trusts: str
    at: float


_PEM = "-----BEGIN {0}-----\n(?:[A-Za-z0-9+/=]{{1,76}}\n){{1,100}}-----END {0}-----"
REQUEST = re.compile(_PEM.format("CERTIFICATE REQUEST"))
CERTIFICATE = re.compile(_PEM.format("CERTIFICATE"))


def parse(text: str, now: float) -> Held:
    """Parse the answer of a service's fact: the key's attributes, a request, certificates."""
    first, _, rest = text.partition("\n")
    own, _, anchors = rest.partition("\n# trusts\n")
    request = REQUEST.search(own)
    if not request or not re.fullmatch(r"[0-7]{3,4} [a-z_][a-z0-9_-]* [a-z_][a-z0-9_-]*", first):
        raise Unexpected(text, "a certificate request")
    authority.requested_key(f"{request[0]}\n")
    own, anchors = certificates_in(own), certificates_in(anchors)
    return Held(f"{request[0]}\n", first, own, anchors, now)


def certificates_in(text: str) -> str:
    """The certificates in a text, in PEM and nothing else; empty if there are none."""
    found = CERTIFICATE.findall(text)
    if len(found) > 10:
        raise Unexpected(text, "at most 10 certificates")
    return "".join(f"{one}\n" for one in found)


def nowhere_else(host: Host, cluster: Cluster) -> Iterable[str]:
    """No other names or addresses than the server's own."""
    return ()


def places(among: Iterable[Union[Host, Vip]]) -> Iterable[str]:
    """The names and addresses of servers and VIPs."""
    return [text for one in among for text in (one.name, one.address)]


@dataclass(frozen=True)
class Service:
    """A service that shows a certificate, on some servers.

    `group` may read its private key. `client`: it also uses the certificate as a client, towards
    servers that let in nobody without one. `also`: other names and addresses at which clients reach
    it, such as VIPs. `again`: the tasks that make key and certificate; `held` is what its servers
    have.
    """

    name: str
    on: On
    group: str
    again: str
    held: Fact[Held]
    client: bool = False
    also: Callable[[Host, Cluster], Iterable[str]] = nowhere_else

    @property
    def key(self) -> str:
        """The path of its private key."""
        return f"{FOLDER}/{self.name}.key"

    @property
    def certificate(self) -> str:
        """The path of its certificate, with the chain."""
        return f"{FOLDER}/{self.name}.crt"

    def subject(self, host: Host, cluster: Cluster) -> Subject:
        """The names and addresses at which its clients reach it on a server."""
        also = set(self.also(host, cluster))
        addresses = {one for one in also if re.fullmatch(r"[0-9.]+", one)}
        return Subject(
            f"{self.name} on {host.name}",
            frozenset({host.name, "localhost"} | also - addresses),
            frozenset({host.address, "127.0.0.1"} | addresses),
            self.client,
        )


def service(
    name: str,
    on: On,
    group: str,
    again: str,
    client: bool = False,
    also: Callable[[Host, Cluster], Iterable[str]] = nowhere_else,
) -> Service:
    """Declare a service that shows a certificate; see `Service`."""
    fact = Fact(
        f"the certificate of {name}",
        on=on,
        command=lambda cluster, host: (
            f"cd {FOLDER} && stat -c '%a %U %G' {name}.key &&\n"
            "  printf '[req]\\ndistinguished_name = req\\n' |\n"
            f"  openssl req -new -sha256 -config /dev/stdin -key {name}.key -subj '/CN={name}' "
            "|| exit 1\n"
            f"cat {name}.crt\necho; echo '# trusts'\ncat ca.crt || :"
        ),
        # A timed fact would be exact, at the price of another round trip; here a day is enough.
        parse=lambda text: parse(text, time.time()),
        absent=f"it has no key yet; fab {again} makes it",
    )
    return Service(name, on, group, again, fact, client, also)


def keys(service: Service) -> Steps:
    """The folder, and a private key in it that only root and the service can read."""
    yield steps.packages("openssl")
    yield steps.directory(FOLDER)
    yield steps.command(
        f"{service.name} has a private key",
        script("shared/tls-key.sh", path=service.key, group=service.group),
        unless=f"[[ $(stat -c '%a %U %G %F' {service.key} 2>/dev/null) == "
        f"'640 root {service.group} regular file' ]]",
    )


def trust(cluster: Cluster) -> Steps:
    """The server knows the CAs of the cluster."""
    yield steps.directory(FOLDER)
    yield trust_file(cluster)


def trust_file(cluster: Cluster) -> Step:
    """The file with the certificates of the CAs that the cluster trusts."""
    return steps.file(TRUSTED, trusted(cluster))


def certified(
    service: Service, host: Host, cluster: Cluster, facts: Facts, anew: bool = False
) -> Steps:
    """The service has a certificate of the cluster's CA, which the server knows."""
    step = certificate(service, host, cluster, facts, anew)
    yield from trust(cluster)
    yield step


def certificate(
    service: Service, host: Host, cluster: Cluster, facts: Facts, anew: bool = False
) -> Step:
    """The file with the certificate of a service.

    It is signed anew if it is about to expire, if names, key or CA have changed, or if asked for.
    """
    held = facts.of(service.held, host)
    refuse_another_authority(cluster, host.name, held.trusts)
    if anew or objection(service, host, cluster, held):
        return steps.file(service.certificate, _signed(service, host, cluster, held))
    return steps.file(service.certificate, held.certificate)


def _signed(service: Service, host: Host, cluster: Cluster, held: Held) -> str:
    key = authority.requested_key(held.request)
    subject = service.subject(host, cluster)
    return signer(cluster).sign(key, subject, cluster[Tls].days, held.at)


def objection(service: Service, host: Host, cluster: Cluster, held: Held) -> str:
    """Why a certificate has to be signed anew, in words; empty if it is as it should be."""
    if not held.certificate:
        return "there is none"
    try:
        found = authority.described(held.certificate)
    except ValueError:
        return "it is not one of this cluster's"
    if found.public_key != authority.spki(authority.requested_key(held.request)):
        return "it is not for the key that the server has"
    if not signer(cluster).issued(held.certificate):
        return f"it was signed by {found.issuer}, which is not the CA of {cluster.vault.file.name}"
    left = (found.ends - held.at) / DAY
    if left <= 0:
        return "it has expired"
    if found.subject != service.subject(host, cluster):
        return "its names are not those of hosts.yaml"
    if left < cluster[Tls].renew_before and not _ends_with_authority(found.ends, cluster):
        return f"it expires in {left:.0f} days"
    return ""


def _ends_with_authority(ends: float, cluster: Cluster) -> bool:
    """Whether another certificate would not be valid any longer, because its CA is not."""
    return ends >= signer(cluster).ends - 1


def refuse_another_authority(cluster: Cluster, where: str, trusts: str) -> None:
    """Refuse to make a new CA where servers trust one already: their services would fail."""
    if trusts and not cluster.vault.knows(CA):
        names = ", ".join(authority.names_of(trusts))
        raise RunbookError(
            f"{where} trusts {names}, but {cluster.vault.file} has no {CA.name}. Copy that file "
            "here from the machine that set up the cluster."
        )


def for_clients(service: Optional[Service] = None) -> str:
    """Options of curl that verify a server of the cluster, and show a service's certificate."""
    own = f" --cert {service.certificate} --key {service.key}" if service else ""
    return f"--cacert {TRUSTED}{own}"


def all_on(services: Iterable[Service], host: Host, cluster: Cluster) -> Sequence[Service]:
    """The services among these that have a certificate on a host."""
    from runbook.declare.facts import hosts_on

    return [one for one in services if host in hosts_on(one.on, cluster)]
