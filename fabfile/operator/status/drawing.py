"""The cluster as the runbook draws it: hosts in tiers, VIPs between them, arrows, who leads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ... import keepalived
from ...engine.cluster import Cluster, Host, Vip
from ...haproxy.chapter import NETWORK as PROXY_NETWORK
from ...nfs.chapter import NETWORK as SHARE_NETWORK
from ...nfs.state import SERVER
from ...postgres.members import MEMBER, Member
from ...rabbitmq.nodes import STATE
from .picture import Picture, Server

TIERS = (
    ("entry, schedulers, web", ("haproxy", "scheduler", "webserver", "flower", "triggerer")),
    ("workers and files", ("worker", "nfs", "dag-processor")),
    ("message queue and targets", ("rabbitmq", "target")),
    ("database", ("postgres",)),
)
"""Top to bottom; a host is in the first tier that has one of its roles."""

NETWORKS = {"haproxy": PROXY_NETWORK, "nfs": SHARE_NETWORK}
WIDTH, HEIGHT, GAP, EACH_ROW = 208, 84, 22, 5
MARGIN, BETWEEN = 20, 64


@dataclass(frozen=True)
class Box:
    """A host's or a VIP's place."""

    name: str
    about: str
    state: str
    x: int
    y: int
    width: int = WIDTH
    height: int = HEIGHT
    roles: str = ""
    badges: tuple[str, ...] = ()

    @property
    def middle(self) -> int:
        """Where arrows begin and end."""
        return self.x + self.width // 2


@dataclass(frozen=True)
class Arrow:
    """From one box to another; `kind` is holds, may-hold, writes, copies or tasks."""

    kind: str
    path: str
    about: str


@dataclass
class Drawing:
    """All that the template draws."""

    width: int = 0
    height: int = 0
    tiers: list[tuple[str, int]] = field(default_factory=list)
    hosts: dict[str, Box] = field(default_factory=dict)
    vips: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)


def drawing(picture: Picture) -> Drawing:
    """Places and arrows for everything that the picture has."""
    cluster = picture.cluster
    drawn = Drawing()
    servers = {server.host.name: server for server in picture.servers}
    badges = standing(picture)
    tiers = {
        title: [server for server in servers.values() if tier_of(server.host) == title]
        for title, _ in TIERS
    }
    widest = min(EACH_ROW, max(len(row) for row in tiers.values()))
    y = MARGIN + 20
    for title, roles in TIERS:
        everybody = tiers[title]
        if not everybody:
            continue
        drawn.tiers.append((title, y - 8))
        for start in range(0, len(everybody), EACH_ROW):
            row = everybody[start : start + EACH_ROW]
            left = MARGIN + (widest - len(row)) * (WIDTH + GAP) // 2
            for column, server in enumerate(row):
                name = server.host.name
                x = left + column * (WIDTH + GAP)
                drawn.hosts[name] = _host(server, x, y, tuple(badges.get(name, ())))
            y += HEIGHT + GAP
        y += BETWEEN - GAP
        for vip in cluster.vips.values():
            if vip.role in roles:
                drawn.vips.append(_vip(picture, vip, drawn, y))
        y += BETWEEN if any(vip.role in roles for vip in cluster.vips.values()) else 0
    drawn.width = 2 * MARGIN + max((box.x + box.width for box in drawn.hosts.values()), default=0)
    drawn.height = y
    drawn.arrows = list(_arrows(picture, drawn))
    return drawn


def tier_of(host: Host) -> str:
    """The tier that a host is drawn in."""
    return next((title for title, roles in TIERS if set(roles) & set(host.roles)), TIERS[1][0])


def standing(picture: Picture) -> dict[str, list[str]]:
    """Who leads, follows, is active, holds an address."""
    cluster, facts = picture.cluster, picture.survey.facts
    said: dict[str, list[str]] = {name: [] for name in cluster.hosts}
    for vip in cluster.vips.values():
        for name in holding(picture, vip):
            said[name].append(vip.name)
    known: dict[str, Member] = facts.known(MEMBER)
    for name, member in known.items():
        said[name].append("leader" if member.primary else member.role.replace("_", " "))
    for name, server in facts.known(SERVER).items():
        if server.copying != "active":
            said[name].append("standby" if server.fit else "not up to date")
    states = list(facts.known(STATE).values())
    for queue in states[0].quorum_queues if states else ():
        leader = str(queue.get("leader", "")).partition("@")[2]
        if leader in said:
            said[leader].append(f"leads {queue['name']}")
    return said


def holding(picture: Picture, vip: Vip) -> list[str]:
    """The members that hold an address, as far as that is known."""
    network = NETWORKS.get(vip.role)
    if not network:
        return []
    facts, cluster = picture.survey.facts, picture.cluster
    found = [host.name for host in keepalived.holders(cluster, vip, facts, network)]
    unseen = keepalived.heard_holding(cluster, vip, facts, network)
    return found or [name for name in [unseen] if name]


def _host(server: Server, x: int, y: int, badges: tuple[str, ...]) -> Box:
    host = server.host
    about = f"VM{host.vm}  {host.address}"
    roles = ", ".join(host.roles)
    return Box(host.name, about, server.state, x, y, roles=roles, badges=badges)


def _vip(picture: Picture, vip: Vip, drawn: Drawing, y: int) -> Box:
    """An address, below its members."""
    members = [drawn.hosts[name] for name in vip.members if name in drawn.hosts]
    middle = sum(box.middle for box in members) // len(members)
    state = "up" if len(holding(picture, vip)) == 1 else "down"
    return Box(vip.name, vip.address, state, middle - WIDTH // 2, y - 40, WIDTH, 40)


def _arrows(picture: Picture, drawn: Drawing) -> Iterator[Arrow]:
    cluster, facts = picture.cluster, picture.survey.facts
    for box in drawn.vips:
        vip = cluster.vips[box.name]
        held = holding(picture, vip)
        for name in vip.members:
            kind = "holds" if name in held else "may-hold"
            about = f"{vip.name} is on {name}" if name in held else f"{name} may hold {vip.name}"
            yield Arrow(kind, _down(drawn.hosts[name], box), about)
    known: dict[str, Member] = facts.known(MEMBER)
    leader = next((name for name, member in known.items() if member.primary), "")
    entry = next((box for box in drawn.vips if cluster.vips[box.name].role == "haproxy"), None)
    if leader and entry:
        yield Arrow("writes", _down(entry, drawn.hosts[leader]), f"writes go to {leader}")
    for name, member in known.items():
        if leader and not member.primary and member.healthy:
            yield Arrow("copies", _beside(drawn, leader, name), f"{name} follows {leader}")
    yield from _files(picture, drawn)
    yield from _tasks(cluster, drawn)


def _files(picture: Picture, drawn: Drawing) -> Iterator[Arrow]:
    servers = picture.survey.facts.known(SERVER)
    active = [name for name, server in servers.items() if server.copying == "active"]
    for source in active:
        for name in servers:
            if name not in active:
                yield Arrow("copies", _beside(drawn, source, name), f"{source} copies to {name}")


def _tasks(cluster: Cluster, drawn: Drawing) -> Iterator[Arrow]:
    """Tasks come from the queue to workers, and reach targets from there."""
    nodes, workers = cluster.group("rabbitmq"), cluster.group("worker")
    for worker in workers:
        if nodes:
            middle = drawn.hosts[nodes[len(nodes) // 2].name]
            about = f"{worker.name} takes tasks from the queue"
            yield Arrow("tasks", _up(middle, drawn.hosts[worker.name]), about)
        for target in cluster.group("target"):
            about = f"tasks of {worker.name} reach {target.name}"
            yield Arrow("tasks", _down(drawn.hosts[worker.name], drawn.hosts[target.name]), about)


def _down(start: Box, end: Box) -> str:
    return _curve(start.middle, start.y + start.height, end.middle, end.y)


def _up(start: Box, end: Box) -> str:
    return _curve(start.middle, start.y, end.middle, end.y + end.height)


def _curve(x: int, y: int, to_x: int, to_y: int) -> str:
    bend = (y + to_y) // 2
    return f"M {x} {y} C {x} {bend}, {to_x} {bend}, {to_x} {to_y}"


def _beside(drawn: Drawing, start: str, end: str) -> str:
    """An arc below a row, from one host to another."""
    one, other = drawn.hosts[start], drawn.hosts[end]
    low = max(one.y, other.y) + HEIGHT + 30
    x, y, to_x, to_y = one.middle, one.y + HEIGHT, other.middle, other.y + HEIGHT
    return f"M {x} {y} C {x} {low}, {to_x} {low}, {to_x} {to_y}"
