"""The cluster as the runbook draws it: hosts in tiers, VIPs between them, arrows, who leads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from runbook.declare.operations import Arrow
from runbook.inventory.cluster import Vip
from runbook.inventory.schema import Tier

from .picture import Picture, Server

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
class Curve:
    """An arrow as it is drawn; `kind` is holds, may-hold, writes, copies or tasks."""

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
    arrows: list[Curve] = field(default_factory=list)


def drawing(picture: Picture) -> Drawing:
    """Places and arrows for everything that the picture has."""
    cluster = picture.cluster
    drawn = Drawing()
    badges = standing(picture)
    rows = tiers(picture)
    widest = min(EACH_ROW, max(len(servers) for servers in rows.values()))
    y = MARGIN + 20
    for tier, servers in rows.items():
        drawn.tiers.append((tier.title, y - 8))
        for start in range(0, len(servers), EACH_ROW):
            row = servers[start : start + EACH_ROW]
            left = MARGIN + (widest - len(row)) * (WIDTH + GAP) // 2
            for column, server in enumerate(row):
                name = server.host.name
                x = left + column * (WIDTH + GAP)
                drawn.hosts[name] = _host(server, x, y, tuple(badges[name]))
            y += HEIGHT + GAP
        y += BETWEEN - GAP
        vips = [vip for vip in cluster.vips.values() if cluster.role(vip.role).tier == tier]
        drawn.vips += [_vip(picture, vip, drawn, y) for vip in vips]
        y += BETWEEN if vips else 0
    drawn.width = 2 * MARGIN + max((box.x + box.width for box in drawn.hosts.values()), default=0)
    drawn.height = y
    drawn.arrows = list(_curves(picture, drawn))
    return drawn


def tiers(picture: Picture) -> dict[Tier, list[Server]]:
    """The rows, top to bottom; a host is in the topmost one of its roles."""
    found: dict[Tier, list[Server]] = {}
    for server in picture.servers:
        roles = picture.cluster.roles_of(server.host)
        found.setdefault(min(role.tier for role in roles), []).append(server)
    return dict(sorted(found.items()))


def standing(picture: Picture) -> dict[str, list[str]]:
    """What the sections say about each host: whether it leads, follows, is active, holds a VIP."""
    said: dict[str, list[str]] = {name: [] for name in picture.cluster.hosts}
    for marks in picture.marks:
        for name, badges in marks.badges.items():
            said.get(name, []).extend(badges)
    return said


def _host(server: Server, x: int, y: int, badges: tuple[str, ...]) -> Box:
    host = server.host
    about = f"VM{host.vm}  {host.address}"
    roles = ", ".join(host.roles)
    return Box(host.name, about, server.state, x, y, roles=roles, badges=badges)


def _vip(picture: Picture, vip: Vip, drawn: Drawing, y: int) -> Box:
    """An address, below its members."""
    members = [drawn.hosts[name] for name in vip.members if name in drawn.hosts]
    middle = sum(box.middle for box in members) // len(members)
    held = [arrow for arrow in _all(picture) if arrow.kind == "holds" and arrow.end == vip.name]
    state = "up" if len(held) == 1 else "down"
    return Box(vip.name, vip.address, state, middle - WIDTH // 2, y - 40, WIDTH, 40)


def _all(picture: Picture) -> list[Arrow]:
    return [arrow for marks in picture.marks for arrow in marks.arrows]


def _curves(picture: Picture, drawn: Drawing) -> Iterator[Curve]:
    """Arrows between boxes that are there: down, up, or below a row."""
    boxes = {**drawn.hosts, **{box.name: box for box in drawn.vips}}
    for arrow in _all(picture):
        if arrow.start not in boxes or arrow.end not in boxes:
            continue
        start, end = boxes[arrow.start], boxes[arrow.end]
        if arrow.kind == "copies":
            path = _below(start, end)
        else:
            path = _down(start, end) if start.y < end.y else _up(start, end)
        yield Curve(arrow.kind, path, arrow.about)


def _down(start: Box, end: Box) -> str:
    return _curve(start.middle, start.y + start.height, end.middle, end.y)


def _up(start: Box, end: Box) -> str:
    return _curve(start.middle, start.y, end.middle, end.y + end.height)


def _curve(x: int, y: int, to_x: int, to_y: int) -> str:
    bend = (y + to_y) // 2
    return f"M {x} {y} C {x} {bend}, {to_x} {bend}, {to_x} {to_y}"


def _below(one: Box, other: Box) -> str:
    """An arc below a row, from one host to another."""
    low = max(one.y, other.y) + HEIGHT + 30
    x, y, to_x, to_y = one.middle, one.y + HEIGHT, other.middle, other.y + HEIGHT
    return f"M {x} {y} C {x} {low}, {to_x} {low}, {to_x} {to_y}"
