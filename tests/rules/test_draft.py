"""Claims about portguard.rules.draft: every text is a valid config that says what it was given, each thing once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.config import find, parse
from portguard.model import Config, Declaration, Source, Suggestion
from portguard.rules.draft import Stack, draft, name_of
from portguard.rules.targets import is_name
from tests.amount import examples

WORDS = st.text(max_size=70) | st.text(st.sampled_from('aZ0-_."\\#\n\r\t\x00\x7f\u2028\ud800é]='), max_size=70)
PORTS = st.integers(1, 65_535) | st.integers(3000, 3005)
SOURCES = st.builds(Source, WORDS | st.none(), st.integers(1, 99) | st.none())
VARIABLES = st.sampled_from(
    ["PORT", "WEB_PORT", "GIT_PORT", "PYTHON_PORT", "LD_PORT", "api_PORT", "_PORT", "1_PORT", "É"]
)
SUGGESTIONS = st.builds(
    Suggestion,
    name=WORDS,
    port=PORTS,
    source=SOURCES,
    protocol=st.sampled_from(["tcp", "udp"]),
    host=st.none()
    | st.sampled_from(["*", "localhost", "127.0.0.1", "::1", "::ffff:1.2.3.4", "db", "a\nb", ""])
    | WORDS,
    env=st.none() | VARIABLES | WORDS,
    description=st.none() | WORDS | st.just("x" * 2000),
)
PUBLISHED = st.builds(
    lambda name, port, length, static, source, protocol, env, host: Declaration(
        f"{name}:80/{protocol}",
        port,
        static,
        source,
        (protocol,),
        (host,),
        env=env,
        service=name,
        last_port=None if not length else min(65_535, port + length),
        is_published=True,
    ),
    WORDS, PORTS, st.integers(0, 5), PORTS, SOURCES, st.sampled_from(["tcp", "udp"]), st.none() | VARIABLES,
    st.sampled_from(["*", "127.0.0.1", "::1"]),
)  # fmt: skip
STACKS = st.builds(
    Stack,
    st.lists(WORDS.filter(lambda name: name and "\0" not in name), min_size=1, max_size=3).map(tuple),
    st.lists(PUBLISHED, max_size=5).map(tuple),
    st.none() | WORDS,
)


def parsed(text: str) -> Config:
    """Return what the text says as a config; it must be one, and of a size that is read."""
    assert len(text.encode()) <= find.SIZE_LIMIT
    return parse.parse(find.ConfigText("/x/portguard.toml", text.encode(), ()), "portguard.toml")


def of(name: str, port: int, file: str, line: int, **more: Any) -> Suggestion:
    """Return a suggestion from a place."""
    return Suggestion(name, port, Source(file, line), **more)


def published(name: str, port: int, line: int, **more: Any) -> Declaration:
    """Return what a compose file publishes."""
    return Declaration(
        f"{name}:80/tcp", port, port, Source("compose.yaml", line), service=name, is_published=True
    )._replace(**more)


@pytest.mark.scaled
@settings(max_examples=examples(600), deadline=None)
@given(st.lists(SUGGESTIONS, max_size=12), st.none() | STACKS)
def test_every_text_is_a_valid_config(suggestions: list[Suggestion], stack: Stack | None) -> None:
    """Whatever names, places, addresses and words hold: the text is a config, with each port and variable once."""
    text = draft(suggestions, stack)
    found = parsed(text)

    ports = {(item.protocols[0], item.port) for item in found.declarations}
    variables = [item.env for item in found.declarations if item.env]
    has_surrogates = stack is not None and any(0xD800 <= ord(char) <= 0xDFFF for char in "".join(stack.files))
    is_read = stack is not None and stack.problem is None and not has_surrogates
    theirs = stack.ports if stack is not None and is_read else ()
    covered = {
        (item.protocols[0], port)
        for item in theirs
        for port in (item.declared_port, *range(item.port, (item.last_port or item.port) + 1))
    }
    moved = {item.env for item in theirs if item.env}
    assert len(ports) == len(found.declarations)
    assert len(set(variables)) == len(variables)
    assert moved.isdisjoint(variables)
    assert ports.isdisjoint(covered)
    assert {(item.protocol, item.port) for item in suggestions} <= ports | covered
    assert ports <= {(item.protocol, item.port) for item in suggestions}
    assert draft(suggestions, stack) == text
    assert found.compose_files == (stack.files if stack is not None and is_read else ())


@settings(max_examples=500)
@given(WORDS, PORTS)
def test_names(text: str, port: int) -> None:
    """Any text gives a valid name of up to 63 characters; a valid one without dots and underscores stays."""
    name = name_of(text, port)

    assert is_name(name)
    assert len(name) <= 63
    assert name_of(name, port) == name


def test_names_people_write() -> None:
    """A name stays recognisable."""
    names = {text: name_of(text, 80) for text in ("dev:web", "Web App", "MY_API", "", "3000", "--", "a.b", "ünï")}

    assert names == {
        "dev:web": "dev-web",
        "Web App": "web-app",
        "MY_API": "my-api",
        "": "port-80",
        "3000": "port-3000",
        "--": "port-80",
        "a.b": "a-b",
        "ünï": "n",
    }


def test_the_whole_text() -> None:
    """Compose ports are listed and not declared again; one port is one entry, which names all places."""
    stack = Stack(
        ("compose.yaml", "compose.override.yaml"),
        (
            published("web", 8090, 4, declared_port=8080, env="WEB_PORT"),
            published("api", 9000, 5, last_port=9003, hosts=("127.0.0.1",)),
            published("db", 5432, 9, hosts=("::1",)),
        ),
    )
    suggestions = [
        of("web", 8090, ".env", 1, env="WEB_PORT"),
        of("app", 3000, ".env", 2, env="PORT"),
        of("app", 4000, "Procfile", 3, env="PORT"),
        of("app", 3000, "Procfile", 1, env="OTHER_PORT", host="127.0.0.1", description='the "app"'),
        of("api", 9002, "package.json", 7),
        of("ui", 5173, "package.json", 8, env="WEB_PORT"),
        of("default", 8080, ".devcontainer.json", 5),
        of("dns", 5432, ".devcontainer.json", 6, protocol="udp", host="db"),
    ]

    assert (
        "".join(draft(suggestions, stack).partition("# The ports these")[1:])
        == """\
# The ports these files publish are declared there, and are not repeated here:
#   web  8090/tcp (8080 without .env), moved by WEB_PORT: compose.yaml:4, .env:1, .devcontainer.json:5
#   api  127.0.0.1:9000-9003/tcp: compose.yaml:5, package.json:7
#   db  [::1]:5432/tcp: compose.yaml:9
[compose]
files = ["compose.yaml", "compose.override.yaml"]

# .env:2, Procfile:1
[ports.app]
port = 3000
host = "127.0.0.1"
env = "PORT"
description = "the \\"app\\""

# Procfile:3
[ports.app-2]
port = 4000

# package.json:8
[ports.ui]
port = 5173

# .devcontainer.json:6
[ports.dns]
port = 5432
protocol = "udp"
"""
    )


def test_the_head() -> None:
    """The first comment says what the file is, how it is used and how editors learn its schema."""
    head = draft([of("a", 1, "b", 1)]).split("\n\n")[0]

    assert all(line.startswith("#") for line in head.splitlines())
    assert not head.startswith("#:schema")
    for words in (
        "`portguard init`",
        "portguard check",
        "portguard schema > portguard.schema.json",
        "#:schema ./portguard",
    ):
        assert words in head


def test_nothing_found() -> None:
    """Without anything the text is an empty config with an example, whose lines are a config once they count."""
    text = draft([])
    example, _, end = text.partition("An example:\n")[2].partition("\n[ports]\n")
    uncommented = "[ports]\n" + "\n".join(line.removeprefix("#").strip() for line in example.splitlines())

    assert end == ""
    assert parsed(text) == Config((), ())
    assert [(item.name, item.port) for item in parsed(uncommented).declarations] == [
        ("web", 8080),
        ("db", 5432),
    ]


def test_compose_files_that_cannot_be_read() -> None:
    """They are named in a comment with the reason, so that the config can be used in the meantime."""
    text = draft([], Stack(("compose.yaml",), (), "compose.yaml:3: bad\nthing"))

    assert parsed(text) == Config((), ())
    assert 'could not be read: compose.yaml:3: bad?thing\n# [compose]\n# files = ["compose.yaml"]\n' in text


def test_compose_files_without_ports() -> None:
    """They are named all the same: what they come to publish is checked then."""
    assert parsed(draft([], Stack(("compose.yaml",)))) == Config((), ("compose.yaml",))


def test_more_than_anybody_reads() -> None:
    """Thousands of ports and files are cut to what a config may hold, and the text says so."""
    many = [of(f"n{number}", number, "p" * 300, number, description="d" * 300) for number in range(1, 3000)]
    short = [of("a", number, "f", 1) for number in range(1, 3000)]
    stack = Stack(("compose.yaml",), tuple(published("w" * 60, 10_000 + number, number) for number in range(3000)))

    for suggestions in (many, short):
        text = draft(suggestions, stack)
        count = len(parsed(text).declarations)
        assert 50 < count <= 512
        assert f"# {2999 - count} more ports were found" in text
        assert f"#   and {3000 - text.count('#   w')} more\n" in text
    text = draft([], Stack(tuple(f"{number}.yaml" for number in range(3000)), (published("w", 1, 1),)))
    assert parsed(text) == Config((), ())


def test_the_most_that_sources_give_is_quick() -> None:
    """Tens of thousands of wide ranges and of suggestions with one name are put together in seconds."""
    stack = Stack(("compose.yaml",), tuple(published("w", 1, 1, last_port=60_000) for _ in range(70_000)))
    suggestions = [of("a", number, "f", 1) for number in range(1, 65_536)]
    began = time.process_time()

    text = draft(suggestions, stack)

    many = draft([of("a", 1, "f", number) for number in range(50_000)])

    assert time.process_time() - began < 30  # minutes, if each were compared with each
    assert "f:4 and 49995 more places\n" in many
    assert {item.port for item in parsed(text).declarations} <= {*range(60_001, 65_536)}


def test_equal_names_of_full_length() -> None:
    """A number that makes a name unique does not make it too long."""
    found = parsed(draft([of("a" * 70, number, "f", 1) for number in range(1, 13)]))

    long = ["a" * 60 + f"-{number}" for number in (10, 11, 12)]
    assert [item.name for item in found.declarations] == [
        "a" * 63,
        *("a" * 61 + f"-{number}" for number in range(2, 10)),
        *long,
    ]


# ---------------------------------------------------------------- word for word


def from_compose(service: str, port: int, **more: Any) -> Declaration:
    """Return a port that a compose file publishes."""
    item = Declaration(f"{service}:80/tcp", port, port, Source("compose.yaml", 3), service=service, is_published=True)
    return item._replace(**more)


def body(text: str) -> str:
    """Return what follows the head, which is the same for all."""
    head, _, rest = text.partition('first line here: "#:schema ./portguard.schema.json" without the quotes.\n')
    assert head.startswith("# The ports this project needs, as `portguard init` found them.")
    return rest


EXAMPLE = """\
#
# web = 8080
#
# [ports.db]
# port = 5432
# host = "127.0.0.1"          # "*", the default, is every address
# env = "DB_PORT"             # the variable that moves it
# description = "what it is for"
"""


def test_a_whole_one() -> None:
    """What compose files publish is listed, and the rest declared, with every place that speaks of it."""
    found = [
        Suggestion("Web_UI", 3000, Source(".env", 2), env="WEB_PORT"),
        Suggestion("other", 3000, Source("Procfile", 1), host="127.0.0.1", env="X", description='a "page"'),
        Suggestion("web", 3001, Source("package.json", None), protocol="udp", host="*", env="WEB_PORT"),
        Suggestion("web ui", 3002, Source(None, None), host="nonsense", env="PATH", description="\\\t\u00e9"),
        Suggestion("db", 5432, Source(".env", 9)),
        Suggestion("db", 5433, Source(".env", 10), env="DB_PORT"),
    ]
    stack = Stack(
        ("compose.yaml", 'a"b.yaml'),
        (
            from_compose("db", 5432, env="DB_PORT"),
            from_compose("api", 9000, last_port=9002, hosts=("::1",), protocols=("udp",)),
            from_compose("x", 81, declared_port=80, hosts=("*", "127.0.0.1"), last_port=81)._replace(service=None),
        ),
    )
    assert (
        body(draft(found, stack))
        == """
# The ports these files publish are declared there, and are not repeated here:
#   db  5432/tcp, moved by DB_PORT: compose.yaml:3, .env:9
#   api  [::1]:9000-9002/udp: compose.yaml:3
#   x:80/tcp  127.0.0.1:81/tcp (80 without .env): compose.yaml:3
[compose]
files = ["compose.yaml", "a\\"b.yaml"]

# .env:2, Procfile:1
[ports.web-ui]
port = 3000
host = "127.0.0.1"
env = "WEB_PORT"
description = "a \\"page\\""

# package.json
[ports.web]
port = 3001
protocol = "udp"

# ?
[ports.web-ui-2]
port = 3002
description = "\\\\?\u00e9"

# .env:10
[ports.db]
port = 5433
"""
    )


def test_nothing_was_found() -> None:
    """Without anything to declare there is an example, and how it goes on; files that cannot be read are named."""
    nothing = f"\n# No file here declares a port. An example:\n{EXAMPLE}\n[ports]\n"
    assert body(draft([])) == nothing
    assert body(draft([], Stack(("a.yaml",), (from_compose("x", 80),)))) == (
        "\n# The ports these files publish are declared there, and are not repeated here:\n"
        '#   x  80/tcp: compose.yaml:3\n[compose]\nfiles = ["a.yaml"]\n'
        f"\n# Declare ports that no compose file publishes like this:\n{EXAMPLE}"
    )
    assert body(draft([], Stack(("a.yaml",)))) == (
        "\n# They publish no port whose number is known before they start.\n[compose]\n"
        'files = ["a.yaml"]\n'
        f"\n# Declare ports that no compose file publishes like this:\n{EXAMPLE}"
    )
    problem = Stack(("a.yaml",), (from_compose("x", 80),), "line 1\nis torn")
    assert body(draft([], problem)) == (
        '\n# Compose files that could not be read: line 1?is torn\n# [compose]\n# files = ["a.yaml"]\n' + nothing
    )
    assert "[ports.x]\nport = 80\n" in draft([Suggestion("x", 80, Source("a", 1))], problem)
    assert body(draft([], Stack(("\udcff.yaml",)))) == (
        "\n# Compose files that could not be read: a config cannot hold their names\n# [compose]\n# files = [...]\n"
        + nothing
    )


def test_a_comment_is_not_endless() -> None:
    """Of a text 500 characters stand in a comment."""
    text = body(draft([], Stack(("a.yaml",), problem="p" * 501)))

    assert text.startswith(f"\n# Compose files that could not be read: {'p' * 500}\n# [compose]")


def test_escapes() -> None:
    """What is not printable is written as TOML does, in eight digits, in names of files; in comments it is a mark."""
    text = draft([], Stack(("a\n\u2028\x7f.yaml",), (from_compose("s\n", 80),)))

    assert 'files = ["a\\U0000000a\\U00002028\\U0000007f.yaml"]' in text
    assert "#   s?  80/tcp: compose.yaml:3" in text


def test_what_no_one_reads_is_counted() -> None:
    """What no one reads is counted: places, published ports, entries; texts are cut, names that are taken numbered."""
    places = [Suggestion("a", 80, Source("f" * 300, line)) for line in range(1, 8)]
    text = body(draft(places))
    assert text.startswith("\n# " + ", ".join("f" * 198 + f":{line}" for line in range(1, 6)) + " and 2 more places\n")
    many = Stack(("a.yaml",), tuple(from_compose("s" * 40, 1000 + number) for number in range(400)))
    listed = draft([], many)
    shown = listed.count("compose.yaml:3")
    assert f"\n#   and {400 - shown} more\n[compose]" in listed
    assert 100 < shown < 400
    entries = draft([Suggestion("a", 1000 + number, Source("f", 1)) for number in range(450)])
    assert entries.count("[ports.") == 400
    assert entries.endswith("# 50 more ports were found, too many to list.\n")
    assert "[ports.a-400]" in entries
    long = draft([Suggestion("a", 1, Source("f", 1), description="d" * 101)])
    assert f'description = "{"d" * 100}"\n' in long


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web", "web"),
        ("Web UI", "web-ui"),
        ("--a__b--", "a-b"),
        ("\u00e9", "port-7"),
        ("80", "port-80"),
        ("9" * 80, "port-" + "9" * 58),
        ("a" * 80, "a" * 63),
        ("a" * 62 + "-b", "a" * 62),
        ("-" * 500 + "a", "port-7"),
        ("-" * 499 + "a", "a"),
    ],
)
def test_names_that_are_made(text: str, name: str) -> None:
    """A name is made of what there is: lower case, dashes for the rest, at most 63 long, never digits alone."""
    assert name_of(text, 7) == name
