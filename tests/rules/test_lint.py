"""Each finding of `lint`: what sets it off, word for word, and what just does not."""

from __future__ import annotations

from typing import Any

import pytest

from portguard.model import Declaration, Finding, Source, Suggestion
from portguard.rules import lint
from portguard.rules.lint import Facts

CONFIG = Source("portguard.toml", 2)
FILE = Source("compose.yaml", 7)


def declared(name: str = "thing", port: int = 8080, **more: Any) -> Declaration:
    """Return a declaration of the config, on the loopback address."""
    return Declaration(name, port, port, CONFIG, hosts=("127.0.0.1",))._replace(**more)


def published(service: str = "thing", port: int = 8080, target: int = 8080, **more: Any) -> Declaration:
    """Return a published port of a compose file, on the loopback address."""
    item = Declaration(f"{service}:{target}/tcp", port, port, FILE, hosts=("127.0.0.1",), service=service)
    return item._replace(is_published=True, **more)


def found(**facts: Any) -> list[tuple[str, str, str | None, str | None]]:
    """Return what there is to say: rule, message, hint and name."""
    return [(item.id, item.message, item.hint, item.name) for item in lint.findings(Facts(**facts))]


def test_nothing_to_say() -> None:
    """A config without any fault has no findings; nor has no config at all."""
    assert found() == []
    assert found(declared=(declared(),), published=(published("other", 9090),), services=("other",)) == []


def test_duplicates() -> None:
    """The later of two that claim a port is the finding, with the place of the earlier; each pair is said once."""
    one, two = declared("one"), declared("two", source=Source("portguard.toml", 5))
    said = "'two' and 'one' (portguard.toml:2) both claim 8080/tcp"

    assert found(declared=(one, two)) == [("duplicate", said, "give one of them another port", "two")]
    assert lint.findings(Facts(declared=(one, two)))[0].source == two.source
    assert found(declared=(one, two._replace(protocols=("udp",)))) == []
    assert found(declared=(one, two._replace(hosts=("127.0.0.2",)))) == []
    assert found(declared=(one, two._replace(port=9))) == [("duplicate", said, "give one of them another port", "two")]


def test_one_server_in_two_files() -> None:
    """A published port that a config claims, too, may be of the same server: the hint says how to say so."""
    assert found(declared=(declared("one"),), published=(published("db"),), services=("db",)) == [
        (
            "duplicate",
            "'db:8080/tcp' and 'one' (portguard.toml:2) both claim 8080/tcp",
            "if both are one server, set service = \"db\" in 'one'",
            "db:8080/tcp",
        )
    ]
    assert found(declared=(declared("one", service="db"),), published=(published("db"),), services=("db",)) == []


@pytest.mark.parametrize(
    ("item", "ports", "services", "expected"),
    [
        (declared(service=None), (), (), None),
        (declared(service="db"), (published("db"),), None, None),
        (declared(service="db"), (published("db"),), ("db",), None),
        (
            declared(service="db"),
            (),
            ("web", "api"),
            ("'thing' names the service 'db', which no compose file has", "there are: api, web"),
        ),
        (
            declared(service="db"),
            (),
            (),
            ("'thing' names the service 'db', which no compose file has", "there are: none"),
        ),
        (
            declared(service="db"),
            (),
            ("db",),
            ("'thing' declares 8080; its service 'db' publishes nothing", "make them agree"),
        ),
        (
            declared(service="db"),
            (published("db", 9000), published("db", 9001), published("x", 9002)),
            ("db", "x"),
            (
                "'thing' declares 8080; its service 'db' publishes 9000 (compose.yaml:7), 9001 (compose.yaml:7)",
                "make them agree",
            ),
        ),
        (declared(service="db"), (published("db", 8070, last_port=8080),), ("db",), None),
        (declared(service="db"), (published("db", 8080, last_port=8090),), ("db",), None),
        (
            declared(service="db"),
            (published("db", 8070, last_port=8079),),
            ("db",),
            ("'thing' declares 8080; its service 'db' publishes 8070 (compose.yaml:7)", "make them agree"),
        ),
        (declared(service="db", env="DB"), (published("db", env="DB"),), ("db",), None),
        (declared(service="db", env="DB"), (published("db", env="X"), published("db", env="DB")), ("db",), None),
        (
            declared(service="db", env="DB"),
            (published("db"),),
            ("db",),
            (
                "DB moves 'thing', and not what compose.yaml:7 publishes",
                'publish "${DB:-8080}:..." there',
            ),
        ),
    ],
)
def test_drift_from_compose(item: Declaration, ports: Any, services: Any, expected: tuple[str, str] | None) -> None:
    """A config and a compose file agree about a service's port and its variable, or the difference is said."""
    said = [one for one in found(declared=(item,), published=ports, services=services) if one[0] == "drift-compose"]

    assert said == ([] if expected is None else [("drift-compose", *expected, "thing")])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8080", None),
        ("", None),
        ("9", ("drift-dotenv", "PORT moves 'thing' to 9; declared is 8080", "make them agree")),
        ("x" * 21, ("drift-dotenv", f"PORT moves 'thing' to {'x' * 20}; declared is 8080", "make them agree")),
        (
            "0",
            (
                "port-zero",
                "PORT moves 'thing' to port 0, which means any free port",
                "ask for one: portguard free",
            ),
        ),
    ],
)
def test_drift_from_dotenv(value: str, expected: tuple[str, str, str] | None) -> None:
    """A .env that moves a declared port is named with its line; one that says the same is not."""
    facts = Facts(declared=(declared(env="PORT"), declared("other", 9090)), dotenv={"PORT": ((value, ".env", 3),)})
    items = lint.findings(facts)

    assert [(item.id, item.message, item.hint) for item in items] == ([] if expected is None else [expected])
    assert all((item.source, item.name) == (Source(".env", 3), "thing") for item in items)


@pytest.mark.parametrize(
    ("port", "host", "is_said"),
    [
        (9000, None, True),
        (9000, "localhost", True),
        (9000, "127.0.0.1", True),
        (9000, "db", False),
        (8080, None, False),
        (8070, None, False),
        (7000, None, False),
        (7002, None, False),
        (7003, None, True),
        (6999, None, True),
    ],
)
def test_drift_from_devcontainer(port: int, host: str | None, is_said: bool) -> None:
    """A forwarded port that no one declares is said; what is declared, moved or published in a range is known."""
    items = lint.findings(
        Facts(
            declared=(declared(port=8070, declared_port=8080),),
            published=(published("x", 7000, last_port=7002),),
            forwarded=(Suggestion("p", port, Source("devcontainer.json", 4), host=host),),
        )
    )
    said = Finding(
        "drift-devcontainer",
        "warning",
        f"{port} is forwarded but not declared",
        "declare it, or stop forwarding it",
        Source("devcontainer.json", 4),
    )

    assert items == ([said] if is_said else [])


LINUX = "Linux (32768-60999)"
OTHERS = "macOS and Windows (49152-65535)"


@pytest.mark.parametrize(
    ("port", "systems"),
    [
        (32767, None),
        (32768, LINUX),
        (49151, LINUX),
        (49152, f"{LINUX} and {OTHERS}"),
        (60999, f"{LINUX} and {OTHERS}"),
        (61000, OTHERS),
        (65535, OTHERS),
    ],
)
def test_a_number_that_systems_assign_by_themselves_is_said(port: int, systems: str | None) -> None:
    """A number that systems assign by themselves is said, with those that do."""
    what = f"'thing' is on {port}, which {systems} assign to connections by default"
    expected = [("ephemeral", what, "use a number between 1024 and 32767", "thing")]

    assert found(declared=(declared(port=port),)) == ([] if systems is None else expected)


def test_below_1024_is_said() -> None:
    """Below 1024 is said, with a number that needs no privileges."""
    assert found(declared=(declared(port=1023),)) == [
        ("well-known", "'thing' is on 1023, below 1024", "use for instance 9023", "thing")
    ]
    assert found(declared=(declared(port=1024),)) == []


@pytest.mark.parametrize(
    ("item", "is_said"),
    [
        (declared("web", 6000), True),
        (declared("my-web_app.2", 6000), True),
        (declared("thing", 6000), False),
        (declared("thing", 6000, service="Frontend"), True),
        (declared("web", 6001), False),
        (declared("web", 6000, protocols=("udp",)), False),
        (declared("web", 6000, protocols=("udp", "tcp")), True),
        (published("thing", 6000, 8080), True),
        (published("thing", 6000, 8081), False),
        (declared("thing:8080/tcp", 6000), False),
    ],
)
def test_browser_blocked(item: Declaration, is_said: bool) -> None:
    """Only what looks like a web server, by its name or the port in its container, is said not to open in browsers."""
    what = f"{item.name!r} is on 6000, which browsers refuse to open"
    expected = [("browser-blocked", what, "use another number, 8080 for instance", item.name)]

    assert found(declared=(item,)) == (expected if is_said else [])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (published(replicas=1), None),
        (published(replicas=2), "2 replicas of 'thing' cannot share 1 published port"),
        (published(replicas=3, last_port=8081), "3 replicas of 'thing' cannot share 2 published ports"),
        (published(replicas=3, last_port=8082), None),
    ],
)
def test_more_replicas_than_published_ports_is_an_error(item: Declaration, message: str | None) -> None:
    """More replicas than published ports is an error; as many is none."""
    hint = f"publish a range of {item.replicas}, or let a proxy publish it once"

    assert found(published=(item,)) == ([] if message is None else [("replicas", message, hint, item.name)])


@pytest.mark.parametrize(
    ("item", "hint"),
    [
        (declared("db", 8080, hosts=("*",)), 'set host = "127.0.0.1"'),
        (declared("db", 8080, hosts=("127.0.0.1", "0.0.0.0")), 'set host = "127.0.0.1"'),
        (declared("db", 8080, hosts=("::",)), 'set host = "127.0.0.1"'),
        (declared("db", 8080, hosts=("localhost",)), None),
        (declared("thing", 5432, hosts=("*",)), 'set host = "127.0.0.1"'),
        (declared("thing", 8080, hosts=("*",)), None),
        (declared("thing", 8080, hosts=("*",), service="my_redis"), 'set host = "127.0.0.1"'),
        (published("thing", 8080, 5432, hosts=("*",)), "publish 127.0.0.1:8080:5432"),
        (published("thing", 5432, 8080, hosts=("*",)), None),
        (published("thing", 5432, name="thing:x/tcp", hosts=("*",)), "publish 127.0.0.1:5432:5432"),
    ],
)
def test_databases(item: Declaration, hint: str | None) -> None:
    """A database, by its name or the port in its container, is to be on the loopback address."""
    expected = [("wildcard-database", f"{item.name!r} is on every address of the host", hint, item.name)]
    key = "published" if item.is_published else "declared"

    assert found(**{key: (item,)}) == ([] if hint is None else expected)


def test_what_both_files_say_is_said_once() -> None:
    """A published port that the config declares for its service has the config's findings, not its own besides."""
    assert [one[3] for one in found(declared=(declared("a", 80, service="b"),), published=(published("b", 80),))] == [
        "a"
    ]
    assert len(found(declared=(declared("a", 80),), published=(published("b", 81),))) == 2
    assert len(found(declared=(declared("a", 80, service="b"),), published=(published("b", 81),))) == 2


def test_empty_variables() -> None:
    """Where compose would publish any port, what was found is handed on."""
    assert found(empty=((FILE, "it is empty"),)) == [("empty-variable", "it is empty", None, None)]


def test_findings_come_by_file_line_rule_and_words_each_once() -> None:
    """Findings come by file, line, rule and words, each once; those of no file first."""
    empty = [(Source(*place), text) for place, text in (
        (("b", 1), "x"), (("a", 2), "x"), (("a", 1), "y"), (("a", 1), "x"), ((None, None), "z"), (("a", 1), "x"),
    )]  # fmt: skip
    items = lint.findings(Facts(empty=tuple(empty)))

    assert [(item.source, item.message) for item in items] == [
        (Source(None, None), "z"),
        (Source("a", 1), "x"),
        (Source("a", 1), "y"),
        (Source("a", 2), "x"),
        (Source("b", 1), "x"),
    ]
    both = lint.findings(Facts(declared=(declared("db", 80, hosts=("*",)),)))
    assert [item.id for item in both] == ["well-known", "wildcard-database"]


def test_another_declaration_is_named_by_file_and_line() -> None:
    """Another declaration is named by file and line, as far as they are known."""
    later = declared("two", source=Source("z", 9))

    def place(source: Source) -> str:
        (said,) = lint.findings(Facts(declared=(declared("one", source=source), later)))
        return said.message.partition("(")[2].partition(")")[0]

    assert place(Source("a", 2)) == "a:2"
    assert place(Source("a", None)) == "a"
    assert place(Source(None, None)) == "?"


def test_what_is_turned_off() -> None:
    """A finding is turned off by its id, all others stay, and a file that cannot be used always is one."""
    items = [lint.finding(rule, FILE, "m", None) for rule in ("schema", "duplicate", "replicas")]

    assert lint.without(items, {}) == items
    assert lint.without(items, {"duplicate": "so", "schema": "so"}) == [items[0], items[2]]


def test_errors_fail_warnings_only_under_strict() -> None:
    """Errors fail, warnings only under --strict, nothing never."""
    error, warning = (lint.finding(rule, FILE, "m", "h", "n") for rule in ("replicas", "ephemeral"))

    assert error == Finding("replicas", "error", "m", "h", FILE, name="n")
    assert [lint.worst(items, strict=False) for items in ([], [warning], [warning, error])] == [0, 0, 1]
    assert [lint.worst(items, strict=True) for items in ([], [warning], [error])] == [0, 1, 1]
    errors = {rule for rule, one in lint.RULES.items() if one.severity == "error"}
    assert {one.severity for one in lint.RULES.values()} == {"error", "warning"}
    assert errors == {"schema", "duplicate", "drift-compose", "port-zero", "replicas"}


# What each list is to hold. Numbers are those of the projects' own documentation.
DATABASE_PORTS = """
1433 1521 2379 3306 5432 5433 5984 6379 6380 7474 7687 8086 8123 8529 9042 9092 9200 11211
26257 27017 28015 33060
"""
DATABASE_NAMES = """
cassandra clickhouse cockroach couchdb database db elasticsearch etcd influxdb kafka mariadb
memcached mongo mongodb mssql mysql neo4j opensearch oracle pg postgres postgresql redis valkey
"""
WEB_NAMES = "admin app console dashboard docs frontend http https preview site ui web www"
WEB_PORTS = "80 443 3000 4200 5173 8000 8080 8443"


def test_each_database_is_known_by_its_name() -> None:
    """Each database is known by its name, and by the number that it listens on in its container."""
    rule = ["wildcard-database"]
    for port in map(int, DATABASE_PORTS.split()):
        assert [one[0] for one in found(published=(published("thing", 8080, port, hosts=("*",)),))] == rule, port
    for name in DATABASE_NAMES.split():
        assert [one[0] for one in found(declared=(declared(name, 8080, hosts=("*",)),))] == rule, name


def test_every_web_server() -> None:
    """Each web server is known by its name, and by the number that it listens on in its container."""
    for port in map(int, WEB_PORTS.split()):
        assert [one[0] for one in found(published=(published("thing", 6000, port),))] == ["browser-blocked"], port
    for name in WEB_NAMES.split():
        assert [one[0] for one in found(declared=(declared(name, 6000),))] == ["browser-blocked"], name
