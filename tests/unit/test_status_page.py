"""The page: one file, nothing from elsewhere, nothing that was not escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec
import pytest
from support.status_of import picture, silent, well

from fabfile.operator.status import page
from fabfile.operator.status.document import document
from fabfile.operator.status.drawing import drawing
from fabfile.operator.status.reachability import NOTHING, Reachability
from fabfile.operator.status.tasks import writable
from fabfile.postgres.members import MEMBER
from runbook.declare.probes import ERROR, Verdict
from runbook.errors import SettingsError, UsageError
from runbook.secrets.mask import Mask
from runbook.secrets.private_file import write_private

HOSTILE = "<script>alert('x')</script> & \"quoted\""


class Seen(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.said.append(data.strip())

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for _, attributes in self.tags
            if name in (attributes.get("class") or "").split()
        ]


def drawn(seen) -> Seen:
    return Seen(page.page(document(seen), drawing(seen)))


def test_the_page_needs_nothing_from_elsewhere(cluster):
    seen = drawn(picture(cluster))
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in seen.tags}
    for _, attributes in seen.tags:
        assert not {"src", "href"} & set(attributes)


def test_every_host_and_address_is_drawn_once(cluster):
    seen = drawn(picture(cluster))
    ids = [attributes.get("id") for _, attributes in seen.tags]
    for name in cluster.hosts:
        assert ids.count(f"host-{name}") == 1
    for name in cluster.vips:
        assert ids.count(f"vip-{name}") == 1


def test_who_leads_and_where_the_addresses_are_is_drawn(cluster):
    plan = drawing(picture(cluster))
    assert plan.hosts["sql1"].badges == ("leader",)
    assert plan.hosts["airflow"].badges == ("airflow-vip",)
    said = {arrow.about for arrow in plan.arrows}
    assert "writes go to sql1" in said
    assert {"airflow-vip is on airflow", "haproxy2 may hold airflow-vip"} <= said
    assert {"sql2 follows sql1", "sql3 follows sql1", "ftp copies to nfs2"} <= said
    assert {"worker1 takes tasks from the queue", "tasks of worker1 reach card1"} <= said


def test_arrows_go_to_an_address_from_its_own_members(cluster):
    turned = msgspec.structs.replace(cluster, vips=dict(reversed(cluster.vips.items())))
    plan = drawing(picture(turned))
    ends = {arrow.about: arrow.path.split()[-2] for arrow in plan.arrows if "hold" in arrow.kind}
    for box in plan.vips:
        for name in cluster.vips[box.name].members:
            said = {f"{box.name} is on {name}", f"{name} may hold {box.name}"}
            assert [end for about, end in ends.items() if about in said] == [str(box.middle)]


def test_boxes_do_not_overlap_and_stay_on_the_page(cluster):
    plan = drawing(picture(cluster))
    boxes = [*plan.hosts.values(), *plan.vips]
    for one in boxes:
        assert 0 <= one.x <= plan.width - one.width
        assert 0 <= one.y <= plan.height - one.height
        for other in boxes:
            apart = (
                one.x + one.width <= other.x
                or other.x + other.width <= one.x
                or one.y + one.height <= other.y
                or other.y + other.height <= one.y
            )
            assert one is other or apart, f"{one.name} and {other.name}"


def test_a_host_that_is_down_is_told_in_words_too(cluster):
    gone = {"sql1": Reachability(NOTHING, ("sql2",))}
    seen = drawn(picture(cluster, lost=silent("sql1"), seen=gone))
    [down] = seen.of_class("down")
    assert down["id"] == "host-sql1"
    assert "down" in seen.said
    assert any("HOST_DOWN" in said for said in seen.said)


def test_what_hosts_say_is_escaped(cluster):
    answers = {("mq1", "AMQP listens"): Verdict(ERROR, HOSTILE)}
    text = page.page(
        document(picture(cluster, answers=answers)), drawing(picture(cluster, answers=answers))
    )
    assert "<script>alert" not in text
    assert any(HOSTILE in said for said in Seen(text).said)


def test_a_secret_is_masked_whatever_characters_it_has(cluster):
    mask = Mask()
    mask.add("a<b>&'c")
    answers = {("mq1", "AMQP listens"): Verdict(ERROR, "login a<b>&'c failed")}
    seen = picture(cluster, answers=answers)
    text = page.page(mask.all(document(seen)), drawing(seen))
    assert "login •••••• failed" in text


def test_a_cluster_without_answers_is_drawn_as_well(cluster):
    values = well(cluster)
    values[MEMBER] = {}
    assert drawn(picture(cluster, values)).of_class("host")
    assert len(drawn(picture(cluster, lost=silent(*cluster.hosts))).of_class("unreachable")) == 13


def test_the_file_is_there_whole_or_not_at_all(tmp_path):
    file = tmp_path / "status.html"
    file.write_text("before")
    write_private(file, b"after", mode=0o644)
    assert file.read_text() == "after"
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(UsageError, match="is not a folder; create it: mkdir -p"):
        writable(tmp_path / "none" / "status.html")
    with pytest.raises(UsageError, match="is a folder; name a file"):
        writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"status.html cannot be written: "):
        write_private(tmp_path / "file" / "status.html", b"text")
