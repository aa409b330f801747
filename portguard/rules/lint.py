"""`lint`: what is wrong or doubtful about declarations, told from the files alone. Pure, and the same on every machine.

Every finding has a stable id with a severity, a sentence and a why in `RULES`; the reference is made from that table.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.errors import NO, OK
from portguard.model import Finding, Source
from portguard.rules import ranges, verdicts
from portguard.rules.addresses import ANY_V4, ANY_V6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from portguard.model import Declaration, Severity, Suggestion


class Rule(NamedTuple):
    """A kind of finding: how bad it is, what it says in a few words, and why that matters."""

    severity: Severity
    short: str
    why: str


RULES: dict[str, Rule] = {
    "schema": Rule(
        "error",
        "a file is invalid",
        "A config or compose file with a mistake declares nothing, so nothing would be checked. This cannot be turned "
        "off.",
    ),
    "duplicate": Rule(
        "error",
        "two declarations use one port",
        "Only one of them can be bound; which one depends on what starts first. Say `service` in the config where both "
        "mean the same server.",
    ),
    "drift-compose": Rule(
        "error",
        "the config and a compose file disagree",
        "The config says that a service has one port and the compose file another, or a variable moves only one of the "
        "two. Then the checked port is not the one that is started.",
    ),
    "drift-dotenv": Rule(
        "warning",
        "a .env file moves a declared port",
        "Readers of the config see another number than the one in use. Declare what the team uses; leave "
        "personal numbers to files that are not committed.",
    ),
    "drift-devcontainer": Rule(
        "warning",
        "devcontainer.json forwards an undeclared port",
        "The editor forwards it, so something is expected there; undeclared, it is never checked.",
    ),
    "port-zero": Rule(
        "error",
        "port 0 is declared",
        "0 means any free port to the system: there is nothing to check. `portguard free` gives a real number.",
    ),
    "well-known": Rule(
        "warning",
        "a port below 1024",
        "Most systems ask for privileges to bind it, and rootless engines cannot publish it (RFC 6335, system ports).",
    ),
    "ephemeral": Rule(
        "warning",
        "a port that a system assigns by itself",
        "An outgoing connection may already use it as its local port when the server starts. The default ranges are "
        "32768-60999 on Linux and 49152-65535 on macOS and Windows.",
    ),
    "browser-blocked": Rule(
        "warning",
        "a web server on a port that browsers refuse",
        "Chromium, Firefox and Safari open no page there (WHATWG Fetch, bad port): it looks like a broken server.",
    ),
    "replicas": Rule(
        "error",
        "several replicas of one published port",
        "The engine can publish a port once; the second replica does not start. Publish a range, or none.",
    ),
    "wildcard-database": Rule(
        "warning",
        "a database on every address",
        "Anyone who can reach this host can reach it, and Docker publishes past host firewalls such as ufw. "
        "Development needs only 127.0.0.1.",
    ),
    "empty-variable": Rule(
        "warning",
        "a published port that is empty without its variable",
        "Compose then publishes any free port, silently. Give it a default: ${WEB_PORT:-8080}.",
    ),
}

# Numbers of databases, caches and queues as their projects give them; of a published port it is the container's own.
# fmt: off
_DATABASES = frozenset((
    1433, 1521, 2379, 3306, 5432, 5433, 5984, 6379, 6380, 7474, 7687, 8086, 8123, 8529, 9042, 9092, 9200, 11211,
    26257, 27017, 28015, 33060,
))
_DATABASE_WORDS = frozenset((
    "db", "database", "postgres", "postgresql", "pg", "mysql", "mariadb", "redis", "valkey", "mongo", "mongodb",
    "elasticsearch", "opensearch", "memcached", "cassandra", "clickhouse", "influxdb", "etcd", "kafka", "mssql",
    "oracle", "couchdb", "neo4j", "cockroach",
))
_WEB_WORDS = frozenset((
    "web", "http", "https", "www", "app", "ui", "frontend", "site", "admin", "dashboard", "console", "docs", "preview",
))
_WEB_TARGETS = frozenset((80, 443, 3000, 4200, 5173, 8000, 8080, 8443))
# fmt: on


class Facts(NamedTuple):
    """What the files say. `declared` is the config's, `published` the compose files'; `services` their services.

    `services` is None if no compose file is read. `dotenv` maps variables to (value, file, line)s, `forwarded` is
    what devcontainer.json forwards, `empty` where a variable without a default decides a published port.
    """

    declared: tuple[Declaration, ...] = ()
    published: tuple[Declaration, ...] = ()
    services: tuple[str, ...] | None = None
    dotenv: Mapping[str, tuple[tuple[str, str, int], ...]] = {}
    forwarded: tuple[Suggestion, ...] = ()
    empty: tuple[tuple[Source, str], ...] = ()


def findings(facts: Facts) -> list[Finding]:
    """Return everything there is to say, in the order of files and lines."""
    found = [
        *_duplicates(facts),
        *_drift_compose(facts),
        *_drift_dotenv(facts),
        *_drift_devcontainer(facts),
        *_numbers(facts),
        *_replicas(facts),
        *_databases(facts),
        *(finding("empty-variable", source, message, None) for source, message in facts.empty),
    ]
    return sorted(dict.fromkeys(found), key=_place)


def finding(rule: str, source: Source, message: str, hint: str | None, name: str | None = None) -> Finding:
    """Return a finding of that rule."""
    return Finding(rule, RULES[rule].severity, message, hint, source, name=name)


def _place(item: Finding) -> tuple[str, int, str, str]:
    return item.source.file or "", item.source.line or 0, item.id, item.message


def without(found: Iterable[Finding], ignored: Mapping[str, str]) -> list[Finding]:
    """Return the findings that are not turned off; `schema` cannot be."""
    return [item for item in found if item.id == "schema" or item.id not in ignored]


def _everything(facts: Facts) -> tuple[Declaration, ...]:
    """Return all declarations, one for what a config says of a service and its compose file once more."""
    known = {(item.service, item.declared_port) for item in facts.declared if item.service is not None}
    return (*facts.declared, *(item for item in facts.published if (item.service, item.port) not in known))


def _duplicates(facts: Facts) -> Iterator[Finding]:
    items = [item._replace(port=item.declared_port) for item in _everything(facts)]
    order = {(item.name, item.source): index for index, item in enumerate(items)}
    for (name, protocol), duplicates in verdicts.duplicates(items).items():
        for item in items:
            if item.name != name or protocol not in item.protocols:
                continue
            earlier = [
                duplicate
                for duplicate in duplicates
                if order[duplicate.name, duplicate.source] < order[item.name, item.source]
            ]
            for duplicate in earlier:
                mixed = item.is_published != duplicate.is_published
                hint = (
                    f'if both are one server, set service = "{item.service}" in {duplicate.name!r}' if mixed else None
                )
                yield finding(
                    "duplicate",
                    item.source,
                    f"{item.name!r} and {duplicate.name!r} ({_at(duplicate.source)}) both claim {item.port}/{protocol}",
                    hint or "give one of them another port",
                    item.name,
                )


def _drift_compose(facts: Facts) -> Iterator[Finding]:
    if facts.services is None:
        return
    for item in facts.declared:
        if item.service is None:
            continue
        if item.service not in facts.services:
            known = ", ".join(sorted(facts.services)) or "none"
            what = f"{item.name!r} names the service {item.service!r}, which no compose file has"
            yield finding("drift-compose", item.source, what, f"there are: {known}", item.name)
            continue
        theirs = [port for port in facts.published if port.service == item.service]
        same = [port for port in theirs if port.port <= item.declared_port <= (port.last_port or port.port)]
        if not same:
            listed = ", ".join(f"{port.port} ({_at(port.source)})" for port in theirs) or "nothing"
            what = f"{item.name!r} declares {item.declared_port}; its service {item.service!r} publishes {listed}"
            yield finding("drift-compose", item.source, what, "make them agree", item.name)
        elif item.env is not None and all(port.env != item.env for port in same):
            what = f"{item.env} moves {item.name!r}, and not what {_at(same[0].source)} publishes"
            hint = f'publish "${{{item.env}:-{item.declared_port}}}:..." there'
            yield finding("drift-compose", item.source, what, hint, item.name)


def _drift_dotenv(facts: Facts) -> Iterator[Finding]:
    for item in facts.declared:
        for value, file, line in facts.dotenv.get(item.env or "", ()):
            if value == "0":
                what = f"{item.env} moves {item.name!r} to port 0, which means any free port"
                yield finding("port-zero", Source(file, line), what, "ask for one: portguard free", item.name)
            elif value and value != str(item.declared_port):
                what = f"{item.env} moves {item.name!r} to {value[:20]}; declared is {item.declared_port}"
                yield finding("drift-dotenv", Source(file, line), what, "make them agree", item.name)


def _drift_devcontainer(facts: Facts) -> Iterator[Finding]:
    known = {
        port
        for item in (*facts.declared, *facts.published)
        for port in (item.declared_port, *range(item.port, (item.last_port or item.port) + 1))
    }
    for port in facts.forwarded:
        if port.port not in known and port.host in (None, "localhost", "127.0.0.1"):
            what = f"{port.port} is forwarded but not declared"
            yield finding("drift-devcontainer", port.source, what, "declare it, or stop forwarding it")


def _numbers(facts: Facts) -> Iterator[Finding]:
    for item in _everything(facts):
        port = item.declared_port
        if port <= ranges.WELL_KNOWN[1]:
            what = f"{item.name!r} is on {port}, below 1024"
            yield finding("well-known", item.source, what, f"use for instance {port + 8000}", item.name)
        systems = []
        if ranges.contains((ranges.LINUX_EPHEMERAL,), port):
            systems.append(f"Linux ({ranges.LINUX_EPHEMERAL[0]}-{ranges.LINUX_EPHEMERAL[1]})")
        if ranges.contains((ranges.DYNAMIC,), port):
            systems.append(f"macOS and Windows ({ranges.DYNAMIC[0]}-{ranges.DYNAMIC[1]})")
        if systems:
            what = f"{item.name!r} is on {port}, which {' and '.join(systems)} assign to connections by default"
            yield finding("ephemeral", item.source, what, "use a number between 1024 and 32767", item.name)
        if "tcp" in item.protocols and port in ranges.BROWSER_BLOCKED and _is_web(item):
            what = f"{item.name!r} is on {port}, which browsers refuse to open"
            yield finding("browser-blocked", item.source, what, "use another number, 8080 for instance", item.name)


def _replicas(facts: Facts) -> Iterator[Finding]:
    for item in facts.published:
        span = (item.last_port or item.port) - item.port + 1
        if item.replicas > span:
            what = f"{item.replicas} replicas of {item.service!r} cannot share {span} published port" + "s" * (span > 1)
            hint = f"publish a range of {item.replicas}, or let a proxy publish it once"
            yield finding("replicas", item.source, what, hint, item.name)


def _databases(facts: Facts) -> Iterator[Finding]:
    for item in _everything(facts):
        is_open = any(host in ("*", ANY_V4, ANY_V6) for host in item.hosts)
        if is_open and _is_database(item):
            what = f"{item.name!r} is on every address of the host"
            number = item.declared_port
            hint = f"publish 127.0.0.1:{number}:{_target(item)}" if item.is_published else 'set host = "127.0.0.1"'
            yield finding("wildcard-database", item.source, what, hint, item.name)


def _words(item: Declaration) -> set[str]:
    text = f"{item.name.partition(':')[0]} {item.service or ''}".lower()
    return {word for word in text.replace("-", " ").replace("_", " ").replace(".", " ").split() if word}


def _target(item: Declaration) -> int:
    """Return the port a server listens on: for a published one that inside its container."""
    number = item.name.rpartition(":")[2].partition("/")[0] if item.is_published else ""
    return int(number) if number.isdigit() else item.declared_port


def _is_web(item: Declaration) -> bool:
    return bool(_words(item) & _WEB_WORDS) or (item.is_published and _target(item) in _WEB_TARGETS)


def _is_database(item: Declaration) -> bool:
    return _target(item) in _DATABASES or bool(_words(item) & _DATABASE_WORDS)


def _at(source: Source) -> str:
    return f"{source.file}:{source.line}" if source.line else source.file or "?"


def worst(found: Sequence[Finding], *, strict: bool) -> int:
    """Return the exit code: NO if there is an error, or under `strict` any finding."""
    return NO if any(strict or item.severity == "error" for item in found) else OK
