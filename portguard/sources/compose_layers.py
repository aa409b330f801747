"""One document of a compose file to the services it describes: only what decides ports is read, and interpolated.

The keys are those of the compose specification; what compose refuses in them is refused, with file, line and column.
`extends`, `include` and the order of files are someone else's (compose.py).
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.errors import ConfigError
from portguard.rules.ranges import decimal
from portguard.sources import port_spec
from portguard.sources.compose_merge import Field, PortEntry, Service, unique
from portguard.sources.interpolation import TemplateError, substitute
from portguard.sources.yaml_nodes import describe, scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portguard.sources.compose_merge import Mode
    from portguard.sources.yaml_nodes import Document, Node

TOP_LEVEL = (
    "version", "name", "include", "services", "networks", "volumes", "secrets", "configs", "models", "jobs",
)  # fmt: skip
_NUMBER_DIGITS = 9
_PROBLEMS_LIMIT = 500  # who has more of them has no compose file
_LONG_FORM = ("target", "published", "host_ip", "protocol", "app_protocol", "mode", "name")
# What people write for the keys that are read here; compose refuses every unknown key of a service.
_MISSPELT = {
    "port": "ports", "profile": "profiles", "extend": "extends", "network-mode": "network_mode",
    "replicas": "deploy.replicas",
}  # fmt: skip
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


class Extends(NamedTuple):
    """The service that another one builds on: in `file`, or "" for the same one. `node` is where it says so."""

    service: str
    file: str
    node: Node


class Source(NamedTuple):
    """A document and how to read it: the file's absolute path, the project directory, the variables.

    `problems` collects sentences; what has a problem is left out. `spend` is told how many ports were made, and raises
    ConfigError when it is too many.
    """

    document: Document
    file: str
    directory: str
    values: Mapping[str, str]
    problems: list[str]
    spend: Callable[[int], None]

    def text(self, node: Node, what: str, missing: list[str] | None = None) -> str:
        """Return a string with its variables replaced; a number as written. Raises ConfigError for anything else."""
        value = None if node.kind != "scalar" else scalar(node)
        if value is None or isinstance(value, bool):
            raise self.document.error(node, f"{what} must be a string, not {describe(node)}")
        if not isinstance(value, str):
            return str(value)
        try:
            return substitute(value, self.values.get, missing)
        except TemplateError as error:
            raise self.document.error(node, f"{what}: {error}") from error

    def number(self, node: Node, what: str) -> int:
        """Return a number that is not negative, written as one or as a string. Raises ConfigError."""
        text = self.text(node, what)
        number = decimal(text, _NUMBER_DIGITS)
        if number is None:
            raise self.document.error(node, f"{what} must be a number, not {text[:40]!r}")
        return number


def mode_of(node: Node) -> Mode:
    """Return how a value meets an earlier one: by its tag."""
    return "reset" if node.tag == "!reset" else "override" if node.tag == "!override" else "merge"


def top_level(source: Source) -> dict[str, tuple[Node, Node]]:
    """Return the document's top-level keys. Raises ConfigError for keys that compose does not know."""
    root = source.document.root
    if root is None:
        return {}
    keys = source.document.mapping(root, "the top level")
    for name, (key, _) in keys.items():
        if name not in TOP_LEVEL and not name.startswith("x-"):
            import difflib  # only on the way to an error

            close = difflib.get_close_matches(name, TOP_LEVEL, n=1)
            if close:
                meant = f" — did you mean {close[0]}?"
            else:
                meant = "" if "services" in keys else " — services are listed below a top-level `services:`"
            source.problems.append(str(source.document.error(key, f"unknown key {name[:60]!r}{meant}")))
    return keys


def service_nodes(source: Source, keys: Mapping[str, tuple[Node, Node]]) -> dict[str, tuple[Node, Node]]:
    """Return the nodes of the services by name; those whose name is none are left out."""
    if "services" not in keys or mode_of(keys["services"][1]) == "reset":
        return {}
    nodes = source.document.mapping(keys["services"][1], "services")
    for name, (key, _) in nodes.items():
        if not name or not _NAME.issuperset(name) or len(name) > 250:
            rule = "use letters, digits and . _ -"
            what = f"{name[:60]!r} cannot be the name of a service: {rule}"
            source.problems.append(str(source.document.error(key, what)))
    return {name: pair for name, pair in nodes.items() if name and _NAME.issuperset(name)}


def service(source: Source, key: Node, node: Node) -> tuple[Service, Extends | None]:
    """Return what the document says of a service, and which one it extends. Problems inside are collected.

    Raises ConfigError if it is not a mapping.
    """
    name = key.value
    if mode_of(node) == "reset":
        return Service(name, source.file, key.line, {}, "reset"), None
    where = f"services.{name}"
    pairs = source.document.mapping(node, where)
    fields: dict[str, Field] = {}
    for wrong, right in _MISSPELT.items():
        if wrong in pairs:
            what = f"{where} has an unknown key {wrong!r} — did you mean {right}?"
            source.problems.append(str(source.document.error(pairs[wrong][0], what)))
    readers: tuple[tuple[str, Callable[[Source, Node, str], object]], ...] = (
        ("ports", _ports),
        ("profiles", _profiles),
        ("network_mode", Source.text),
        ("container_name", Source.text),
        ("scale", Source.number),
    )
    for field, read in readers:
        if field in pairs:
            fields.update(_field(source, where, field, pairs[field][1], read))
    if "deploy" in pairs:
        fields.update(_deploy(source, pairs["deploy"][1], f"{where}.deploy"))
    extends = _extends(source, pairs["extends"][1], where) if "extends" in pairs else None
    return Service(name, source.file, key.line, fields, mode_of(node)), extends


def _field(
    source: Source, where: str, name: str, node: Node, read: Callable[[Source, Node, str], object]
) -> dict[str, Field]:
    """Return the field under its name; nothing if it has a problem."""
    if mode_of(node) == "reset":
        return {name: Field(None, "reset")}
    try:
        return {name: Field(read(source, node, f"{where}.{name}"), mode_of(node))}
    except ConfigError as error:
        source.problems.extend(error.messages)
        return {}


def _deploy(source: Source, node: Node, what: str) -> dict[str, Field]:
    """Return `deploy.replicas`; an overridden `deploy` without it removes an earlier one."""
    fields = {} if mode_of(node) == "merge" else {"replicas": Field(None, "reset")}
    if mode_of(node) == "reset":
        return fields
    try:
        pairs = source.document.mapping(node, what)
    except ConfigError as error:
        source.problems.extend(error.messages)
        return fields
    if "replicas" in pairs:
        value = pairs["replicas"][1]
        fields.update(_field(source, what, "replicas", value, Source.number))
    return fields


def _extends(source: Source, node: Node, where: str) -> Extends | None:
    if mode_of(node) == "reset":
        return None
    what = f"{where}.extends"
    try:
        if node.kind == "scalar":
            return Extends(source.text(node, what), "", node)
        pairs = source.document.mapping(node, what)
        if "service" not in pairs:
            raise source.document.error(node, f"{what} names no service")
        file = source.text(pairs["file"][1], f"{what}.file") if "file" in pairs else ""
        return Extends(source.text(pairs["service"][1], f"{what}.service"), file, node)
    except ConfigError as error:
        source.problems.extend(error.messages)
        return None


def _profiles(source: Source, node: Node, what: str) -> tuple[str, ...]:
    return tuple(source.text(item, what) for item in source.document.sequence(node, what))


def _ports(source: Source, node: Node, what: str) -> tuple[PortEntry, ...]:
    entries: list[PortEntry] = []
    for item in source.document.sequence(node, what):
        if mode_of(item) == "reset":
            continue
        missing: list[str] = []
        source.spend(0)
        try:
            mappings = _port(source, item, what, missing)
        except ConfigError as error:
            source.problems.extend(error.messages)
            if len(source.problems) > _PROBLEMS_LIMIT:
                break
            continue
        source.spend(len(mappings))
        names = tuple(missing)
        env = _variable(item) if len(mappings) == 1 else None
        entries.extend([PortEntry(mapping, source.file, item.line, names, env) for mapping in mappings])
    return unique(tuple(entries))


def _variable(node: Node) -> str | None:
    """Return the variable that alone decides the published port of this entry."""
    if node.kind == "mapping":
        published = (value.value for key, value in node.pairs if key.value == "published")
        return port_spec.variable(next(published, ""), is_short=False)
    return port_spec.variable(node.value, is_short=True)


def _port(source: Source, node: Node, what: str, missing: list[str]) -> tuple[port_spec.PortMapping, ...]:
    try:
        if node.kind == "mapping":
            return (_long_port(source, node, what, missing),)
        value = None if node.kind != "scalar" else scalar(node)
        if isinstance(value, int) and not isinstance(value, bool):
            return (port_spec.long_form(value, "", "", ""),)
        if not isinstance(value, str):
            raise source.document.error(
                node, f"{what}: a port is a string, a number or a mapping, not {describe(node)}"
            )
        text = source.text(node, what, missing) if "$" in value else value
        try:
            return port_spec.parse(text)
        except port_spec.PortError as error:
            if text == value:
                raise
            empty = f", where {', '.join(missing)} is empty" if missing else ""
            raise port_spec.PortError(f"{error} ({value[:80]!r} became {text[:80]!r}{empty})") from error
    except port_spec.PortError as error:
        raise source.document.error(node, f"{what}: {error}") from error


def _long_port(source: Source, node: Node, what: str, missing: list[str]) -> port_spec.PortMapping:
    pairs = source.document.mapping(node, what)
    for name, (key, _) in pairs.items():
        if name not in _LONG_FORM and not name.startswith("x-"):
            raise source.document.error(key, f"{what}: unknown key {name[:60]!r} (known: {', '.join(_LONG_FORM)})")
    if "target" not in pairs:
        raise source.document.error(node, f"{what}: a target port is missing")
    target = source.number(pairs["target"][1], f"{what}: target")
    published = ""
    if "published" in pairs:
        published = source.text(pairs["published"][1], f"{what}: published", missing)
    rest = {name: source.text(pairs[name][1], f"{what}: {name}") for name in ("host_ip", "protocol") if name in pairs}
    return port_spec.long_form(target, published, rest.get("host_ip", ""), rest.get("protocol", ""))
