"""Checks of certificates, and of what still speaks in clear."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.inventory.cluster import Cluster, Host

from ..shared import authority, tls
from ..shared.authority import DAY
from ..shared.site import site
from ..shared.tls import Held, Service, Tls
from ..shared.transport import Speaks
from . import voices
from .common import HELD, PARTS, TRUSTS, held, section

EXPIRES = section.cause("TLS_EXPIRES", "when it has expired, its clients refuse the service")
EXPIRED = section.cause("TLS_EXPIRED", "clients refuse new connections to the service")
WRONG = section.cause("TLS_WRONG", "clients refuse the service, or will after its next change")
READABLE = section.cause("TLS_KEY_READABLE", "others can pass for this service")
CLEAR = section.cause("TLS_CLEAR", "whoever listens on the network reads and changes it")
AUTHORITY = section.cause("TLS_CA_EXPIRES", "all certificates expire together with it")

AUTHORITY_WARNS = 365
"""Days before the CA expires."""


@section.cluster_check(needs=[TRUSTS, *voices.NEEDS, *HELD])
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """Check the CA, every certificate and key, and who still speaks in clear."""
    for group in voices.GROUPS:
        yield from spoken(group, cluster, facts)
    for host in cluster.hosts.values():
        for service, own in held(host, facts).items():
            yield certificate(service, host, cluster, own)
            yield private(service, host, own)
    yield from without_certificate(cluster, facts)
    yield from of_the_site(cluster, max(_moments(facts), default=0.0))
    yield from authorities(cluster, facts)


def spoken(group: voices.Group, cluster: Cluster, facts: Facts) -> Findings:
    """Services speak TLS, if hosts.yaml asks for it."""
    speak = group.voices(facts)
    if not speak:
        return
    title, wanted = group.title, cluster[Tls].enabled
    late = [name for name, speaks in speak.items() if speaks < Speaks.TLS]
    some = [name for name, speaks in speak.items() if speaks > Speaks.CLEAR]
    if not late and wanted:
        yield Finding(title, Verdict(OK))
    elif not some and not wanted:
        yield Finding(title, Verdict(OK, f"not wanted: tls.enabled in {cluster.file.name}"))
    elif not late:
        sentence = f"although {cluster.file.name} has tls.enabled: false"
        yield Finding(title, Verdict(OK, sentence))
    else:
        sentence = f"in clear: {', '.join(late)}"
        to = "" if wanted else " --to clear"
        yield Finding(title, Verdict(WARN, sentence), f"fab tls.switch{to}", CLEAR)


def certificate(service: Service, host: Host, cluster: Cluster, own: Held) -> Finding:
    """A certificate is valid, of the cluster's CA, for this key and these names."""
    title = f"certificate of {service.name} on {host.name}"
    why = tls.objection(service, host, cluster, own) if cluster.vault.knows(tls.CA) else ""
    about = (host.name,)
    if not why:
        return Finding(title, Verdict(OK, f"valid for {left(own)}"), about=about)
    fix = f"fab -H {host.name} {service.again}"
    cause, level = WRONG, ERROR
    if own.certificate and "expire" in why:
        cause, level = (EXPIRED, ERROR) if "has expired" in why else (EXPIRES, WARN)
    return Finding(title, Verdict(level, why), fix, cause, about)


def left(own: Held) -> str:
    """How long a certificate is still valid, in words."""
    days = (authority.described(own.certificate).ends - own.at) / DAY
    return f"{days:.0f} days"


def private(service: Service, host: Host, own: Held) -> Finding:
    """Only root and the service can read its private key."""
    title = f"private key of {service.name} on {host.name}"
    right = f"640 root {service.group}"
    if own.key == right:
        return Finding(title, Verdict(OK), about=(host.name,))
    sentence = f"mode, owner and group are {own.key}, not {right}"
    fix = f"fab -H {host.name} {service.again}"
    return Finding(title, Verdict(ERROR, sentence), fix, READABLE, (host.name,))


def without_certificate(cluster: Cluster, facts: Facts) -> Findings:
    """Servers that speak TLS have keys."""
    for part in PARTS:
        for host in part.hosts(cluster):
            if not part.speaks(host, facts):
                continue
            for service in set(part.services) - set(held(host, facts)):
                title = f"certificate of {service.name} on {host.name}"
                fix = f"fab -H {host.name} {service.again}"
                yield Finding(title, Verdict(ERROR, "it has no key"), fix, WRONG, (host.name,))


def authorities(cluster: Cluster, facts: Facts) -> Findings:
    """The CA is that of secrets.yaml, and stays valid; every server trusts it."""
    known = {name: trusts for name, trusts in facts.known(TRUSTS).items() if trusts}
    if not known:
        return
    if not cluster.vault.knows(tls.CA):
        sentence = f"{cluster.vault.file} has no {tls.CA.name}, but the servers trust a CA"
        fix = "copy that file from the machine that set up the cluster"
        yield Finding("the cluster's CA", Verdict(ERROR, sentence), fix, WRONG)
        return
    yield valid(cluster, max(_moments(facts), default=0.0))
    wanted = tls.trusted(cluster)
    others = [name for name, trusts in known.items() if trusts != wanted]
    level, sentence = (ERROR, f"not on {', '.join(others)}") if others else (OK, "")
    yield Finding("the CA is trusted", Verdict(level, sentence), "fab tls", WRONG, tuple(others))


def of_the_site(cluster: Cluster, now: float) -> Findings:
    """A certificate of the site's own for the web UI does not expire soon."""
    own = site(cluster)
    if not own or not now:
        return
    title, fix = "certificate of the site's own for the web UI", "fab tls.use-web"
    days = (own.ends - now) / DAY
    if days <= 0:
        yield Finding(title, Verdict(ERROR, "it has expired"), fix, EXPIRED)
        return
    level = WARN if days < cluster[Tls].renew_before else OK
    yield Finding(title, Verdict(level, f"valid for {days:.0f} days"), fix, EXPIRES)


def _moments(facts: Facts) -> Sequence[float]:
    return [own.at for fact in HELD for own in facts.known(fact).values()]


def valid(cluster: Cluster, now: float) -> Finding:
    """The CA does not expire soon."""
    own = tls.signer(cluster)
    days = (own.ends - now) / DAY
    fix = "fab tls.rotate-ca"
    if days <= 0:
        return Finding("the cluster's CA", Verdict(ERROR, "it has expired"), fix, AUTHORITY)
    level = WARN if days < AUTHORITY_WARNS else OK
    return Finding("the cluster's CA", Verdict(level, f"valid for {days:.0f} days"), fix, AUTHORITY)
