"""The JSON Schema of portguard.toml: what it says is what the validator does, and every example obeys both.

What a schema cannot say is listed in BEYOND_A_SCHEMA, held to be true by a test, and left out of the made-up configs.
"""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, FormatChecker

import portguard
from portguard.cli import schema as command
from portguard.config.find import ConfigText
from portguard.config.parse import DECLARATION_LIMIT, KEYS, parse
from portguard.errors import ConfigError
from portguard.model import Declaration, Source
from portguard.rules.addresses import canonical, expand, overlaps
from tests.amount import examples

ROOT = Path(__file__).parents[2]
FILE = Path(portguard.__file__).parent / "config" / "portguard.schema.json"
SCHEMA: dict[str, Any] = json.loads(FILE.read_text())
DECLARATION = SCHEMA["definitions"]["declaration"]
CONFIGS = max(1_000, examples(5_000))  # fewer do not have every mistake

# To most editors a format is a remark (section 7.2 of draft-07's validation allows that): no verdict may depend on it.
VALIDATORS = (Draft7Validator(SCHEMA), Draft7Validator(SCHEMA, format_checker=FormatChecker()))

# What our validator refuses and draft-07 has no words for, each with the reason.
BEYOND_A_SCHEMA = {
    "draft-06 made 80.0 an integer (6.1.1 of validation); TOML keeps integers and floats apart": "ports.web = 80.0",
    "that two addresses overlap is arithmetic: a wildcard covers its family": (
        'ports.web = {port = 80, host = ["127.0.0.1", "0.0.0.0"]}'
    ),
    "the same address may be written in many ways": 'ports.web = {port = 80, host = ["::1", "0:0::1"]}',
}


def accepts(text: str) -> bool:
    """Return whether our validator takes the text."""
    try:
        parse(ConfigText("/p/portguard.toml", text.encode(), ()), "portguard.toml")
    except ConfigError:
        return False
    return True


def complaints(text: str) -> tuple[str, ...]:
    """Return what our validator says about the text, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse(ConfigText("/p/portguard.toml", text.encode(), ()), "portguard.toml")
    return tuple(message.removeprefix("portguard.toml:") for message in caught.value.messages)


def schema_accepts(text: str) -> bool:
    """Return whether the schema takes the text, with and without its formats."""
    document = tomli.loads(text)
    verdicts = {validator.is_valid(document) for validator in VALIDATORS}
    assert len(verdicts) == 1, f"only the format decides on: {text}"
    return verdicts.pop()


def subschemas(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Return all that describes a value, with its place; not the conditions (`if`, `not`), which describe none."""
    yield where, schema
    for keyword in ("properties", "patternProperties", "definitions"):
        for name, inner in schema.get(keyword, {}).items():
            yield from subschemas(inner, f"{where}/{keyword}/{name}")
    for keyword in ("items", "propertyNames"):
        if keyword in schema:
            yield from subschemas(schema[keyword], f"{where}/{keyword}")
    for index, inner in enumerate(schema.get("anyOf", [])):
        yield from subschemas(inner, f"{where}/anyOf/{index}")


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the subschema, with the whole's definitions for its references."""
    return {**schema, "definitions": SCHEMA["definitions"]}


# --- what the schema is


def test_it_is_draft_07() -> None:
    """The schema is a valid one of the draft that editors know, and has no `$id`.

    taplo refuses a relative `$id` ("relative URL without a base"), and an absolute one would name a place of ours.
    """
    Draft7Validator.check_schema(SCHEMA)

    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "$id" not in SCHEMA


def test_every_key_is_described() -> None:
    """Every key that the validator knows is a property, no other is, and everything that describes a value says so."""
    assert set(DECLARATION["properties"]) == set(KEYS)
    assert set(SCHEMA["properties"]) == {"ports", "compose", "lint"}
    for where, schema in subschemas(SCHEMA):
        assert "$ref" in schema or schema["description"].endswith("."), where


def test_nothing_unknown_is_let_in() -> None:
    """Every object refuses what it does not name."""
    objects = [(where, schema) for where, schema in subschemas(SCHEMA) if "object" in str(schema.get("type"))]

    assert len(objects) == 6
    for where, schema in objects:
        assert schema["additionalProperties"] is False, where


def test_examples_and_defaults_are_valid() -> None:
    """Every example and default obeys the schema it stands in; everything that holds a value but a flag has one."""
    shown = 0
    for where, schema in subschemas(SCHEMA):
        for value in [*schema.get("examples", []), *([schema["default"]] if "default" in schema else [])]:
            assert Draft7Validator(resolved(schema)).is_valid(value), (where, value)
            shown += 1
    assert shown >= len(KEYS)
    assert all("examples" in schema for schema in DECLARATION["properties"].values())


def test_defaults_are_the_validator_s() -> None:
    """A key that is left out means what the schema gives as its default."""
    default = {key: schema["default"] for key, schema in DECLARATION["properties"].items() if "default" in schema}
    written = "".join(f"{key} = {toml(value)}\n" for key, value in default.items())

    assert set(default) == {"host", "protocol", "owner", "optional", "hold"}
    assert _one(f"[ports.x]\nport = 80\n{written}") == _one("[ports.x]\nport = 80\n")
    assert _one("[ports.x]\nport = 80\n") == Declaration("x", 80, 80, Source("/p/portguard.toml", 1))


def _one(text: str) -> Declaration:
    return parse(ConfigText("/p/portguard.toml", text.encode(), ()), "portguard.toml").declarations[0]


# --- what obeys it


def test_what_is_shown_to_people_is_valid() -> None:
    """The example file and every `toml` block of the README obey the schema and the validator."""
    blocks = re.findall(r"^```toml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    example = (ROOT / "examples" / "portguard.toml").read_text()

    assert len(blocks) >= 2
    assert example.startswith("#:schema ../portguard/config/portguard.schema.json\n")
    assert (ROOT / "examples" / example.split()[1]).resolve() == (ROOT / FILE.relative_to(FILE.parents[2])).resolve()
    for text in (example, *blocks):
        assert (accepts(text), schema_accepts(text)) == (True, True), text


@pytest.mark.parametrize("reason", BEYOND_A_SCHEMA)
def test_what_a_schema_cannot_say(reason: str) -> None:
    """The exceptions to the agreement are really ones: the validator refuses, the schema has no words for it."""
    text = BEYOND_A_SCHEMA[reason]

    assert (accepts(text), schema_accepts(text)) == (False, True)


# --- made-up configs

GONE = object()
Keys = tuple[Any, ...]  # keys, or strategies of keys


def toml(value: Any) -> str:
    """Return the value as TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = (char if char >= " " and char not in '"\\\x7f' else f"\\u{ord(char):04x}" for char in value)
        return f'"{"".join(plain)}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else repr(value)


def fitting(hosts: list[str]) -> list[str]:
    """Return the hosts without those that overlap an earlier one; see BEYOND_A_SCHEMA."""
    kept: list[str] = []
    for host in hosts:
        meant = [expand([canonical(item) or ""]) for item in (host, *kept)]
        if not any(overlaps(one, other) for one in meant[0] for known in meant[1:] for other in known):
            kept.append(host)
    return kept


def words(first: str, rest: str, longest: int) -> st.SearchStrategy[str]:
    """Return names of these characters, often short, sometimes the longest."""
    tails = st.text(rest, max_size=8) | st.text(rest, min_size=longest - 1, max_size=longest - 1)
    return st.builds(str.__add__, st.sampled_from(first), tails)


LOWER, UPPER, DIGITS = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
FRACTIONS = st.floats().filter(lambda number: not number.is_integer())
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 9),
    FRACTIONS,
    TEXTS,
    st.sampled_from(
        [datetime.date(2020, 1, 1), datetime.time(7, 30), datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)]
    ),
)
ANYTHING = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=2),
    st.dictionaries(TEXTS, SCALARS, max_size=2),
    st.sampled_from([[[]], {"port": 80}, {"a": {"b": []}}]),
)


def anything_but(*kinds: type) -> st.SearchStrategy[Any]:
    """Return values of other types; a boolean is no integer here, as in TOML."""
    return ANYTHING.filter(lambda value: type(value) not in kinds)


PORTS = st.integers(1, 65535) | st.sampled_from([1, 80, 65535])
NAMES = words(LOWER, LOWER + DIGITS + "._-", 63) | st.sampled_from(["0a", "1.2", "8-", "7_7", "a" * 63])
NO_NAMES = st.sampled_from(["Web", "8080", "my web", "a" * 64, "", "a\n", ".a", "-", "ä", "٣a", "1\n"])
RESERVED = [
    "PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV", "ZDOTDIR", "PROMPT_COMMAND", "NODE_OPTIONS", "NODE_PATH",
    "PERL5LIB", "PERL5OPT", "RUBYLIB", "RUBYOPT", "BUNDLE_GEMFILE", "CLASSPATH", "MAKEFILES", "MAKEFLAGS",
    "OPENSSL_CONF", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "DOCKER_HOST", "COMPOSE_FILE", "KUBECONFIG",
]  # fmt: skip

PREFIXES = ("LD_", "DYLD_", "PYTHON", "GIT_", "GITHUB_")
PREFIXED = st.builds(str.__add__, st.sampled_from(PREFIXES), st.text(UPPER, max_size=5))
VARIABLES = words(UPPER, UPPER + DIGITS + "_", 64).filter(
    lambda name: name not in RESERVED and not name.startswith(PREFIXES)
)
SERVICES = words(LOWER + UPPER + DIGITS, LOWER + UPPER + DIGITS + "._-", 63)
V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
GOOD_HOSTS = ["*", "localhost", "0.0.0.0", "::", "::1", "FE80::1%eth0", "::ffff:127.0.0.1", "1:2:3:4:5:6:7::"]
BAD_HOSTS = [
    "",
    "db.local",
    "Localhost",
    "[::1]",
    "LOCALHOST",
    "**",
    "*\n",
    "::1\n",
    "127.0.0.1\n",
    "١.1.1.1",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:1.2.3.4",
    "1::2:3:4:5:6:7:8",
    ":1:2:3:4:5:6:7",
    "::12345",
    "1::2::3",
    "::1.2.3",
    "::256.1.1.1",
    "::1%a%b",
    "::1%a/b",
    "fe80::1\n%a",
    "1:2:3:4:5:6:7:",
    "::g",
]
HOSTS = st.one_of(
    st.sampled_from(GOOD_HOSTS),
    V4.map(str),
    V6.map(str),
    V6.map(lambda address: address.exploded.upper()),
    st.builds("::ffff:{}".format, V4),
    st.builds("{}%{}".format, V6, st.text(LOWER + DIGITS + ".:-", min_size=1, max_size=5)),
)
NO_HOSTS = st.one_of(
    st.sampled_from(BAD_HOSTS),
    V4.map(lambda address: f"{address}.1"),
    V4.map(lambda address: f"0{address}"),
    V4.map(lambda address: f"{address}/32"),
    V6.map(lambda address: f"{address.exploded}:1"),
    V6.map(lambda address: f"{address}%"),
    V6.map(lambda address: f"{address.exploded[:-5]}"),
    V6.map(lambda address: f"{address}::{address}"),
)
NEARLY_HOSTS = st.text("0123456789abcF:.%*", max_size=12) | st.builds(
    lambda host, place, char: host[: place % (len(host) + 1)] + char + host[place % (len(host) + 1) + 1 :],
    HOSTS,
    st.integers(0, 40),
    st.sampled_from(["", ":", "::", ".", "0", "g", "%", "/", "\n", " "]),
)
PROTOCOLS = st.sampled_from(["tcp", "udp", ["tcp"], ["udp"], ["tcp", "udp"], ["udp", "tcp"]])
DECLARATIONS = PORTS | st.fixed_dictionaries(
    {"port": PORTS},
    optional={
        "host": st.just(["*"]) | HOSTS | st.lists(HOSTS, min_size=1, max_size=3).map(fitting),
        "protocol": PROTOCOLS,
        "env": VARIABLES,
        "service": SERVICES,
        "owner": st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=63), max_size=2),
        "optional": st.booleans(),
        "hold": st.booleans(),
        "description": TEXTS | st.sampled_from(["", "x" * 1000]),
    },
)
PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
COMPOSE = st.fixed_dictionaries({"files": st.lists(PATHS, min_size=1, max_size=2)})
FINDINGS = words(LOWER, LOWER + DIGITS + "-", 20)
LINT = st.fixed_dictionaries({}, optional={"ignore": st.dictionaries(FINDINGS, TEXTS.filter(bool), max_size=2)})
BODIES = st.dictionaries(NAMES, DECLARATIONS, max_size=2)
CORRECT = st.one_of(
    st.fixed_dictionaries({"ports": BODIES}, optional={"compose": COMPOSE, "lint": LINT}),
    st.fixed_dictionaries({"compose": COMPOSE}, optional={"lint": LINT}),
)

# By name: where the mistake is made, and what then stands there. A port called "it" is always there to be spoilt.
IT = ("ports", "it")
MISTAKES: dict[str, tuple[Keys, st.SearchStrategy[Any]]] = {
    "unknown key of the root": ((st.sampled_from(["port", "Ports", "settings", "", "compose\n"]),), ANYTHING),
    "nothing is declared": ((), st.fixed_dictionaries({}, optional={"lint": LINT})),
    "ports is no table": (("ports",), anything_but(dict)),
    "name": (("ports", NO_NAMES), PORTS),
    "name with a line feed": (("ports", NAMES.map("{}\n".format)), PORTS),
    "neither number nor table": (IT, anything_but(int, dict)),
    "short number": (IT, st.integers(max_value=0) | st.integers(min_value=65536, max_value=2**70)),
    "no number": ((*IT, "port"), st.just(GONE)),
    "number": ((*IT, "port"), st.integers(-9, 0) | st.integers(65536, 2**70) | st.just("80")),
    "type of number": ((*IT, "port"), anything_but(int)),
    "unknown key of a port": ((*IT, st.sampled_from(["prot", "hosts", "Port", "", "port\n", "lint"])), ANYTHING),
    "host": ((*IT, "host"), NO_HOSTS),
    "type of host": ((*IT, "host"), anything_but(str, list) | st.just([])),
    "listed host": ((*IT, "host"), st.builds(lambda good, bad: [good, bad], V4.map(str), NO_HOSTS | anything_but(str))),
    "host listed twice": ((*IT, "host"), HOSTS.map(lambda host: [host, host])),
    "everywhere is not alone": ((*IT, "host"), HOSTS.flatmap(lambda host: st.permutations(["*", host]))),
    "protocol": ((*IT, "protocol"), st.sampled_from(["", "TCP", "sctp", "tcp\n", "tcp,udp"])),
    "type of protocol": ((*IT, "protocol"), anything_but(list, str)),
    "listed protocol": ((*IT, "protocol"), st.sampled_from([[], ["tcp", "tcp"], ["tcp", "x"], [["tcp"]], [1]])),
    "env": ((*IT, "env"), st.sampled_from(["", "db", "9A", "_A", "A" * 65, "A\n", "A-B", "$A"])),
    "type of env": ((*IT, "env"), anything_but(str)),
    "env of the shell": ((*IT, "env"), st.sampled_from(RESERVED) | PREFIXED),
    "service": ((*IT, "service"), st.sampled_from(["", "a b", "a" * 64, ".a", "-a", "a\n", "ä"])),
    "type of service": ((*IT, "service"), anything_but(str)),
    "owner": ((*IT, "owner"), st.sampled_from(["postgres", [""], ["x" * 64], ["a", 1], [["a"]]])),
    "type of owner": ((*IT, "owner"), anything_but(list)),
    "optional": ((*IT, "optional"), anything_but(bool)),
    "hold": ((*IT, "hold"), anything_but(bool)),
    "description": ((*IT, "description"), st.sampled_from(["x" * 1001, "ä" * 1001])),
    "type of description": ((*IT, "description"), anything_but(str)),
    "compose is no table": (("compose",), anything_but(dict)),
    "compose without files": (("compose",), st.just({})),
    "unknown key of compose": (("compose", st.sampled_from(["file", "", "files\n"])), ANYTHING),
    "files": (("compose", "files"), st.sampled_from([[], [""], ["a", "\0"], ["a\n\0"], ["a", 1]])),
    "type of files": (("compose", "files"), anything_but(list)),
    "lint is no table": (("lint",), anything_but(dict)),
    "unknown key of lint": (("lint", st.sampled_from(["ignored", "", "ignore\n"])), ANYTHING),
    "ignore is no table": (("lint", "ignore"), anything_but(dict)),
    "finding": (("lint", "ignore", st.sampled_from(["", "A", "9", "-a", "a_b", "a\n", "a b", "ä"])), st.just("why")),
    "reason": (("lint", "ignore", FINDINGS), st.just("")),
    "type of reason": (("lint", "ignore", FINDINGS), anything_but(str)),
}  # fmt: skip
PLACES: list[Keys] = [(key,) for key in ("ports", "compose", "lint")] + [
    IT,
    *((*IT, key) for key in KEYS),
    ("compose", "files"),
    ("lint", "ignore"),
    ("ports", TEXTS),
    ("lint", "ignore", TEXTS),
]


def _put(document: dict[str, Any], path: Keys, value: Any) -> dict[str, Any]:
    if not path:
        return dict(value)
    table = document
    for key in path[:-1]:
        table = table.setdefault(key, {})
    table.pop(path[-1], None)
    if value is not GONE:
        table[path[-1]] = value
    return document


@st.composite
def _configs(draw: st.DrawFn, kind: str) -> str:
    """Return a config of a kind: "correct", the name of a mistake, or "odd" (may be either)."""
    document = json.loads(json.dumps(draw(CORRECT)))
    if kind == "correct":
        return toml_document(document)
    path, values = ((draw(st.sampled_from(PLACES)), ANYTHING)) if kind == "odd" else MISTAKES[kind]
    if kind == "odd" and draw(st.booleans()):
        path, values = (*IT, "host"), NEARLY_HOSTS
    document.setdefault("ports", {})["it"] = {"port": 80}
    keys = tuple(draw(key) if isinstance(key, st.SearchStrategy) else key for key in path)
    return toml_document(_put(document, keys, draw(values)))


def toml_document(document: dict[str, Any]) -> str:
    """Return the document as TOML, one line a key of the root."""
    return "".join(f"{toml(key)} = {toml(value)}\n" for key, value in document.items())


@pytest.mark.scaled
def test_schema_and_validator_agree() -> None:
    """The JSON Schema and our validator agree on 5,000 generated configs: correct ones, and ones with one mistake.

    Both accept every correct one and refuse every mistake; on odd values at odd places they say the same. That holds
    whether or not a validator looks at formats.
    """
    accepted: Counter[bool] = Counter()
    shares = {"correct": CONFIGS // 3, "odd": CONFIGS // 3} | dict.fromkeys(MISTAKES, CONFIGS // 3 // len(MISTAKES) + 1)

    for kind, share in shares.items():

        @settings(
            max_examples=share, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(st.just(kind), _configs(kind))
        def agree(kind: str, text: str) -> None:
            ours, theirs = accepts(text), schema_accepts(text)
            accepted[ours] += 1
            assert ours == theirs, f"{kind}: validator {ours}, schema {theirs}: {text}"
            assert kind == "odd" or ours == (kind == "correct"), f"{kind}: {text}"

        agree()

    # Kinds with few values (a missing key, say) end before their share is used up.
    assert accepted.total() >= CONFIGS * 0.9
    assert min(accepted.values()) > CONFIGS // 5


@pytest.mark.parametrize("host", [*GOOD_HOSTS, *BAD_HOSTS])
def test_hosts_of_every_kind(host: str) -> None:
    """Both take each notation of an address that has traps in it, or neither does."""
    text = toml_document({"ports": {"it": {"port": 80, "host": host}}})

    assert (accepts(text), schema_accepts(text)) == (host in GOOD_HOSTS, host in GOOD_HOSTS)


@pytest.mark.parametrize("surplus", [0, 1])
def test_the_limit_of_declarations(surplus: int) -> None:
    """Both take as many declarations as the limit says, and not one more."""
    text = "[ports]\n" + "".join(f"p{number} = {number}\n" for number in range(1, DECLARATION_LIMIT + 1 + surplus))

    assert (accepts(text), schema_accepts(text)) == (not surplus, not surplus)


# --- [lint.ignore]


def test_ignored_findings_are_kept() -> None:
    """`[lint.ignore]` arrives as ids and reasons; unknown ids are lint's to judge; without it none are ignored."""
    text = '[ports]\n[lint.ignore]\nbrowser-blocked = "nobody browses it"\nnonsense = "x"\n'

    assert parse(ConfigText("/p/x", text.encode(), ()), "x").ignored == {
        "browser-blocked": "nobody browses it",
        "nonsense": "x",
    }
    assert parse(ConfigText("/p/x", b"[ports]\n[lint]\n", ()), "x").ignored == {}
    assert parse(ConfigText("/p/x", b"[ports]\n", ()), "x").ignored == {}
    assert parse(ConfigText("/p/x", b'lint.ignore.a="b"\ncompose.files=["c"]\n', ()), "x").ignored == {"a": "b"}


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("[lint]\n", ["1:1: unknown table [ports]"]),
        ("lint = 3\n[ports]\n", ['1:8: "lint" must be a table with "ignore", not an integer']),
        ("[lint.ignores]\n[ports]\n", ['1:7: unknown key "ignores" in "lint" — did you mean "ignore"?']),
        ("[lnt.ignore]\n[ports]\n", ['1:2: unknown key "lnt" — did you mean "lint"?']),
        (
            '[lint]\nignore = ["a"]\n[ports]\n',
            ['2:10: "ignore" must be a table of findings and reasons, not an array'],
        ),
        ("[lint.ignore]\na = true\n[ports]\n", ["2:5: the reason is a string, not a boolean"]),
        ('[lint.ignore]\na = ""\n[ports]\n', ['2:5: "a" is ignored without a reason: say why']),
        ('[lint.ignore]\nA_B = "x"\n[ports]\n', ['2:1: "A_B" cannot be a finding: an id is of a-z 0-9 -']),
    ],
)
def test_mistakes_in_lint(text: str, sentences: list[str]) -> None:
    """Each mistake in `[lint]` has its place and its sentence."""
    assert complaints(text) == tuple(sentences)


# --- portguard schema


def test_the_command_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """`portguard schema` prints the shipped file, character by character, in ASCII, whatever the terminal takes."""
    assert command.run(as_json=False) == 0

    printed = capsys.readouterr()
    assert printed.out == FILE.read_text()
    assert printed.out.isascii()
    assert printed.err == ""


def test_the_command_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the schema is in the usual envelope."""
    assert command.run(as_json=True) == 0

    document = json.loads(capsys.readouterr().out)
    assert (document["command"], document["ok"], document["exit_code"], document["errors"]) == ("schema", True, 0, [])
    assert document["data"] == {"schema": SCHEMA, "notes": []}
