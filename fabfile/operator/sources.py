"""`inv sources.check`: whether the URLs of `sources` answer, here and on the servers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from invoke import Collection, Context, Exit, task

from runbook.declare.facts import hosts_on
from runbook.declare.requirements import Kind, Source
from runbook.declare.templates import script
from runbook.errors import FAILED, UNREACHABLE, RunbookError, SettingsError
from runbook.execute.session import in_sentences
from runbook.execute.survey import plain, put
from runbook.inventory.cluster import Cluster, Host
from runbook.results import CHECK
from runbook.script import compile_script

from ..preflight.enter import entered
from ..shared.sources import Login, Sources
from .session import session

if TYPE_CHECKING:
    from runbook.execute.run import Run

LIMIT = 90
"""Timeout for one server, in seconds; each URL is tried at most twice, for 20 seconds."""


@dataclass(frozen=True)
class Answer:
    """The result for a URL: its HTTP code, or 0 and the reason."""

    url: str
    code: int
    why: str = ""

    @property
    def fine(self) -> bool:
        """Whether the URL is available."""
        return 200 <= self.code < 400

    @property
    def said(self) -> str:
        """The result in a few words."""
        return "answers" if self.fine else self.why or f"HTTP {self.code}"


Answers = dict[Source, list[Answer]]


@task(help={"json": "one JSON document instead of text"})
@in_sentences
def check(c: Context, json: bool = False) -> None:
    """Check whether every URL of `sources` answers, here and on the servers.

    Each server requests the URLs that it will use; for a repository, its repomd.xml. The table
    shows the line of hosts.yaml that sets each URL. Exit code 1 if a server cannot reach a URL that
    it needs, else 3 if a server was unreachable.
    """
    from runbook.execute.run import Options

    with session(Options(), json) as run:
        wanted = needed(run)
        answers, silent = from_hosts(run, wanted)
        by_url = told(answers) or unasked(run.cluster, wanted)
        here = from_here((url for _, url in by_url), run.cluster[Sources])
        lacking = missing(answers)
        rows = list(table(run.cluster, by_url, here, lacking))
        run.report.table("sources", rows)
        for name, why in silent.items():
            run.report.say(f"  [{name}] was not checked: {why}")
        run.report.say(
            f"  {len(rows) - len(lacking)} of {len(rows)} URLs answer where they are needed"
        )
        code = FAILED if lacking else UNREACHABLE if silent else 0
        if json:
            run.report.recap([], code)
    if code:
        raise Exit(code=code)


def needed(run: Run) -> dict[str, list[Source]]:
    """The sources that each host downloads from, as sections declare them."""
    found: dict[str, list[Source]] = {}
    for section in run.contents.sections:
        for fetch in section.requires.fetches:
            for host in hosts_on(fetch.on, run.cluster):
                own = found.setdefault(host.name, [])
                own += [fetch.source] if fetch.source not in own else []
    return found


def pairs(cluster: Cluster, sources: Iterable[Source]) -> list[tuple[Source, str]]:
    """Each source with each of its URLs."""
    return [(source, url) for source in sources for url in source.urls(cluster)]


def from_hosts(
    run: Run, wanted: Mapping[str, Sequence[Source]]
) -> tuple[dict[str, Answers], dict[str, str]]:
    """The answers of the servers, and the errors of those that could not be asked."""
    silent: dict[str, str] = {}

    def ask(host: Host) -> Answers:
        asked = pairs(run.cluster, wanted[host.name])
        lines = "\n".join(f"{source.kind} {url}" for source, url in asked)
        logins = run.cluster[Sources].netrc(*(url for _, url in asked))
        command = script("preflight/sources.sh", asked=lines, netrc=logins)
        asking = compile_script([], plain([command]), CHECK, at_once=LIMIT)
        try:
            [answer] = entered(run, host, lambda: put(run, host, asking))
        except SettingsError:
            raise
        except RunbookError as error:
            silent[host.name] = str(error)
            return {}
        return read(answer.text, asked)

    hosts = [run.cluster.hosts[name] for name in wanted]
    said = dict(zip(wanted, run.parallel(hosts, ask)))
    return {name: answers for name, answers in said.items() if answers}, silent


def read(text: str, asked: Sequence[tuple[Source, str]]) -> Answers:
    """Parse the answer of a server: lines of number, code, URL, reason."""
    lines = re.findall(r"^([0-9]+) ([0-9]{3}) (\S+) ?(.*)$", text, re.MULTILINE)
    said = {int(number): Answer(url, int(code), why.strip()) for number, code, url, why in lines}
    found: Answers = {source: [] for source, _ in asked}
    for number, (source, url) in enumerate(asked):
        found[source].append(said.get(number, Answer(url, 0, "the server did not try it")))
    return found


ByUrl = dict[tuple[Source, str], dict[str, Answer]]
"""The answer of each server, by source and URL."""


def told(answers: Mapping[str, Answers]) -> ByUrl:
    """Group the answers of all servers by URL."""
    found: ByUrl = {}
    for name, own in answers.items():
        for source, every in own.items():
            for one in every:
                found.setdefault((source, one.url), {})[name] = one
    return found


def unasked(cluster: Cluster, wanted: Mapping[str, Sequence[Source]]) -> ByUrl:
    """The URLs without answers, for when no server could be asked."""
    sources = dict.fromkeys(source for own in wanted.values() for source in own)
    return {(source, filled(source, url)): {} for source, url in pairs(cluster, sources)}


def missing(answers: Mapping[str, Answers]) -> set[tuple[Source, str]]:
    """The URLs that a server needs and cannot reach: no mirror answers."""
    return {
        (source, one.url)
        for own in answers.values()
        for source, every in own.items()
        for one in every
        if not one.fine and (source.every or not any(other.fine for other in every))
    }


def from_here(urls: Iterable[str], logins: Sources) -> dict[str, Answer]:
    """Request the URLs from this machine."""
    once = list(dict.fromkeys(urls))
    with ThreadPoolExecutor(16) as pool:
        return dict(zip(once, pool.map(lambda url: asked_here(url, logins.login(url)), once)))


def filled(source: Source, url: str) -> str:
    """A URL as a server of the newest release would request it, without a login."""
    url = re.sub("//[^/@]*@", "//", url)
    url = url.replace("$elmajor", "9").replace("$basearch", "x86_64").rstrip("/")
    endings = {Kind.REPOSITORY: "/repodata/repomd.xml", Kind.INDEX: "/apache-airflow/"}
    return url + endings.get(source.kind, "")


def asked_here(url: str, login: Optional[Login] = None) -> Answer:
    """Request a URL from this machine: with HEAD, or with GET if that fails."""
    answer = request(url, "HEAD", login)
    return answer if answer.fine else request(url, "GET", login)


def request(url: str, method: str, login: Optional[Login] = None) -> Answer:
    """Send one request from this machine; a redirect to another server gets no login."""
    from base64 import b64encode
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    try:
        asking = Request(url, method=method)
        if login:
            pair = b64encode(f"{login.user}:{login.password}".encode()).decode()
            asking.add_unredirected_header("Authorization", f"Basic {pair}")
        with urlopen(asking, timeout=20) as answer:
            return Answer(url, answer.status)
    except HTTPError as error:
        return Answer(url, error.code)
    except (URLError, OSError, ValueError) as error:
        return Answer(url, 0, str(getattr(error, "reason", error)))


def table(
    cluster: Cluster,
    by_url: ByUrl,
    here: Mapping[str, Answer],
    lacking: set[tuple[Source, str]],
) -> Iterator[dict[str, Any]]:
    """A row for each URL; those that servers need and cannot reach come first."""
    for source, url in sorted(by_url, key=lambda key: key not in lacking):
        by_host = by_url[source, url]
        yield {
            "level": "error" if (source, url) in lacking else level(by_host, here.get(url)),
            "url": url,
            "from servers": spoken(by_host),
            "from here": here[url].said if url in here else "",
            "setting": where(cluster, source.setting),
        }


def level(by_host: Mapping[str, Answer], here: Optional[Answer]) -> str:
    """`ok`, or `warning`: a spare mirror does not answer, or the URL does not answer here."""
    everybody = all(one.fine for one in by_host.values())
    return "ok" if everybody and (not here or here.fine) else "warning"


def spoken(by_host: Mapping[str, Answer]) -> str:
    """The answers of the servers, those with the same answer together."""
    groups: dict[str, list[str]] = {}
    for name, one in by_host.items():
        groups.setdefault(one.said, []).append(name)
    if len(groups) == 1 and len(by_host) > 1:
        return f"{next(iter(groups))} ({len(by_host)} servers)"
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in groups.items())


def where(cluster: Cluster, setting: str) -> str:
    """The file and line of a setting, or that it is the default."""
    from runbook.yaml_source import Source as Yaml

    override = os.environ.get("RUNBOOK_OVERRIDE")
    path = setting.split(".")
    for file in filter(None, [Path(override) if override else None, cluster.file]):
        found = Yaml(file)
        if found.has(*path):
            return found.where(*path)
    return f"{setting} (default)"


sources = Collection("sources", check)
