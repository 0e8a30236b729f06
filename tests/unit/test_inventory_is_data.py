"""Nothing that hosts.yaml accepts becomes a command, a unit's line or a key of YAML.

Each text of the schema gets all special characters that its kind accepts, between marks, in one
inventory; every command and file of every host is made from it, and read as bash would read it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import yaml
from conftest import PROJECT
from support.all_steps import answered, steps_of
from support.shell_quoting import END, MARK, MARKED, read, understood

from fabfile import CONTENTS
from fabfile.postgres.patroni import context, shared
from fabfile.shared.sources import Mirrors
from runbook.declare.step import quote
from runbook.declare.templates import render
from runbook.declare.work import StepTask
from runbook.errors import InventoryError
from runbook.inventory.cluster import Connection, Host, Vip
from runbook.inventory.document import document_of
from runbook.inventory.entry import RepositoryUrl

SPECIAL = [
    *"""/$`"'\\;&|<>()[]{}*?!#~%^=:,+@ \t\n\r\x00\x1b\x7f""",
    *("\x85", "\u2028", "\u202e", "$(", "${", "{{", "}}", "{%", ": ", " #", "--", "&&", "\nEOF\n"),
]
"""What shells, YAML, systemd, Jinja or a terminal may understand as something else than text."""

FRAMES = ("{}", "https://h.example/{}", "/{}", "{}@bastion", "Sun {}", "{}.service", "Area/{}")
"""Around the special characters: what a kind of text needs besides them."""

LOOSE = {
    "airflow.dags",
    "airflow.objects.connections.x",
    "airflow.objects.users.x.roles.0",
    "airflow.plugins",
    "airflow.settings.core.x",
    "base.ignored_units.0",
    "connection.gateway",
    "connection.key",
    "connection.known_hosts.0",
    "hosts.sql1.gateway",
    "postgres.backup.differential",
    "postgres.backup.full",
    "postgres.parameters.x",
    "rabbitmq.definitions.schedule",
    "rabbitmq.settings.x",
    "sources.epel.key",
    "sources.epel.packages",
    "sources.pgdg.common",
    "sources.pgdg.extras",
    "sources.pgdg.key",
    "sources.pgdg.postgresql",
    "sources.pypi.index",
    "sources.pypi.wheelhouse",
    "sources.python.url",
    "sources.rabbitmq.erlang",
    "sources.rabbitmq.keys.0",
    "sources.rabbitmq.server",
}
"""Settings that accept characters which a shell would understand; all others are mere words."""

Place = tuple[Union[str, int], ...]


def text_places(hint: Any, path: Place) -> Iterator[tuple[Place, Any]]:
    """Every text below a kind of value, with its own kind."""
    if get_origin(hint) is Annotated and get_args(hint)[0] is not str:
        hint = get_args(hint)[0]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union:
        texts = [one for one in arguments if _is_text(one)]
        for one in texts or arguments:
            yield from text_places(one, path)
    elif origin is list:
        yield from text_places(arguments[0], (*path, 0))
    elif origin is dict:
        name = "core" if get_origin(arguments[1]) is dict else "x"
        yield from text_places(arguments[1], (*path, name))
    elif isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        for name, kind in get_type_hints(hint, include_extras=True).items():
            yield from text_places(kind, (*path, name))
    elif _is_text(hint):
        yield path, hint


def _is_text(hint: Any) -> bool:
    return hint is str or (get_origin(hint) is Annotated and get_args(hint)[0] is str)


def everywhere() -> Iterator[tuple[Place, Any]]:
    schema = CONTENTS.schema
    for key, kind in schema.settings.items():
        yield from text_places(kind, (key,))
    yield from text_places(Connection, ("connection",))
    yield from text_places(Host, ("hosts", "sql1"))
    yield from text_places(Vip, ("vips", "airflow-vip"))
    for path, kind in text_places(document_of(schema), ()):
        if len(path) == 1:
            yield path, kind


BASE = yaml.safe_load((PROJECT / "hosts.yaml").read_text(encoding="utf-8"))
NOT_FREE = {("hosts", "sql1", "name"), ("vips", "airflow-vip", "name")}


def changed(values: dict[Place, str]) -> str:
    """hosts.yaml with these values."""
    data = yaml.safe_load(yaml.safe_dump(BASE))
    for path, value in values.items():
        place = data
        for key, following in zip(path, path[1:]):
            if isinstance(place, dict):
                default: Any = [] if following == 0 else {}
                if not place.get(key):
                    place[key] = default
                place = place[key]
        if isinstance(place, list):
            place[:1] = [value]
        else:
            place[path[-1]] = value
    return yaml.safe_dump(data, allow_unicode=True, width=10_000)


def loaded(folder, values: dict[Place, str]):
    file = folder / "hosts.yaml"
    file.write_text(changed(values), encoding="utf-8")
    return CONTENTS.load(file)


def marked(text: str) -> str:
    return f"{MARK}{text}{END}"


def fits(value: str, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def accepted(folder, path: Place, kind: Any) -> str:
    """A value with all special characters that this setting takes; empty if it takes none."""
    kind = RepositoryUrl if kind == get_args(Mirrors)[0] else kind  # validated by `objections`
    tail = "-Python-3.9.16.tgz" if path[-1] == "url" else ""
    best = ""
    for frame in FRAMES:
        # A comma separates gateways, each of which would need the rest of the frame.
        special = [one for one in SPECIAL if one != "," or "@" not in frame]
        taken = [one for one in special if fits(frame.format(marked(one)) + tail, kind)]
        # A local path may not have longer names.
        parts = [marked(one) for one in taken]
        text = "/".join("".join(parts[i : i + 20]) for i in range(0, len(parts), 20))
        value = frame.format(text if "/" in taken else "".join(parts)) + tail
        if taken and len(value) > len(best) and fits(value, kind):
            best = value
    if not best:
        return ""
    try:
        loaded(folder, {path: best})
    except InventoryError:
        return ""
    return best


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> dict[Place, str]:
    """Every setting that takes special characters, with all of them."""
    folder = tmp_path_factory.mktemp("hostile")
    found = {
        path: accepted(folder, path, kind) for path, kind in everywhere() if path not in NOT_FREE
    }
    return {path: value for path, value in found.items() if value}


@pytest.fixture(scope="module")
def everything(hostile, tmp_path_factory):
    """A cluster with all of these, except for its DAGs and plugins, and what its hosts answered."""
    folders = (("airflow", "dags"), ("airflow", "plugins"))
    values = {path: value for path, value in hostile.items() if path not in folders}
    cluster = loaded(tmp_path_factory.mktemp("cluster"), values)
    return answered(cluster, selinux="enforcing")


def all_steps(cluster, facts):
    for section in CONTENTS.sections:
        for task in section.work:
            if isinstance(task, StepTask):
                for step in steps_of(task, cluster, facts):
                    yield f"{task.name}: {step.title}", step


def commands(cluster, facts) -> Iterator[tuple[str, str]]:
    """Every bash text that any host may get."""
    for title, step in all_steps(cluster, facts):
        for text in (step.test, step.apply, step.diff, step.render, step.masked):
            yield title, text
        for handler in (*step.notify, *step.clears):
            yield title, handler.apply
    for section in CONTENTS.sections:
        for host in cluster.hosts.values():
            before = section.requires.probes
            for probe in section.questions(host, cluster):
                yield probe.title, probe.command
            for probe in before(host, cluster) if before else ():
                yield probe.title, probe.command
        for task in section.work:
            for fact in getattr(task, "needs", ()):
                for host in cluster.hosts.values():
                    yield fact.name, fact.command(cluster, host)


def test_only_these_settings_take_more_than_words(hostile):
    special = {
        ".".join(map(str, path)): value
        for path, value in hostile.items()
        if set("".join(MARKED.findall(value))) - set(":,+@=.-_/")
    }
    assert set(special) == LOOSE


def test_no_setting_takes_a_control_character_or_a_new_line(hostile):
    for path, value in hostile.items():
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", value), path


def test_no_character_of_a_setting_is_shell(everything):
    texts = {text: title for title, text in commands(*everything)}
    assert sum(MARK in text for text in texts) > 20
    found = {title: lines for text, title in texts.items() if (lines := understood(text))}
    assert found == {}


def test_no_setting_begins_a_line_of_a_file(everything, tmp_path_factory):
    """Whatever is in a setting, a file has the same lines, of the same keys."""
    plain = answered(loaded(tmp_path_factory.mktemp("plain"), {}), selinux="enforcing")
    files = [
        {
            (title, step.paths): step.text.count("\n")
            for title, step in all_steps(*known)
            if step.paths and step.text
        }
        for known in (plain, everything)
    ]
    added = {key for key, lines in files[1].items() if lines != files[0].get(key, lines)}
    # Parameters are new lines of their own: one each.
    own = {"airflow.env", "rabbitmq.conf", "patroni.yml"}
    assert {paths[0].rpartition("/")[2] for _, paths in added} == own
    for key in added:
        assert files[1][key] == files[0][key] + 1


def test_yaml_has_the_settings_as_values(everything, hostile):
    cluster, _ = everything
    value = hostile[("postgres", "parameters", "x")]
    assert yaml.safe_load(shared(cluster))["postgresql"]["parameters"]["x"] == value
    told = yaml.safe_load(
        render("postgres/patroni.yml.j2", context(cluster.hosts["sql1"], cluster))
    )
    assert told["bootstrap"]["dcs"]["postgresql"]["parameters"]["x"] == value
    assert told["name"] == "sql1"


def test_words_that_yaml_understands_stay_names(tmp_path):
    """A host may be called no, on or 0x1f, and the cluster true."""
    text = (PROJECT / "hosts.yaml").read_text(encoding="utf-8")
    text = re.sub(r"\bsql1\b", '"no"', text).replace("cluster: airflow-ha", 'cluster: "true"')
    (tmp_path / "hosts.yaml").write_text(text, encoding="utf-8")
    cluster = CONTENTS.load(tmp_path / "hosts.yaml")
    for section in CONTENTS.sections:
        for secret in section.secrets:
            if not (secret.passing and secret.make):
                cluster.secret(secret)
    told = yaml.safe_load(render("postgres/patroni.yml.j2", context(cluster.hosts["no"], cluster)))
    assert (told["scope"], told["name"]) == ("true", "no")


# The reader of scripts itself


@pytest.mark.parametrize(
    "value",
    ["$(touch f)", "`touch f`", "a b", "a;touch f", "a&touch f", "it's", '"', "\\", "~", "*"],
)
@pytest.mark.parametrize(
    ("script", "safe"),
    [
        ("echo {quoted}", True),
        ("x=1 bash -c {quoted_command}", True),
        ("cat <<'EOF'\n{raw}\nEOF\n", True),
        ("# {raw}\necho", True),
        ("echo {raw}", False),
        ("case x in a) echo {raw};; esac", False),
    ],
)
def test_the_reader_agrees_with_bash(script, safe, value):
    word = marked(value)
    inner = f"echo {shlex.quote(word)}"
    text = script.format(raw=word, quoted=quote(word), quoted_command=quote(inner))
    try:
        assert (not understood(text)) is safe
    except ValueError:
        assert not safe


@pytest.mark.parametrize("value", ["$(x)", "`x`", '"; x; "', "\\"])
def test_double_quotes_are_not_enough(value):
    text = f'echo "{marked(value)}"'
    try:
        assert understood(text)
    except ValueError:
        return
    assert not understood('echo "' + marked("; x &") + '"')


def test_the_reader_can_read_what_bash_can(everything):
    for title, text in commands(*everything):
        assert read(text), title
