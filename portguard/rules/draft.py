"""The text of a `portguard.toml` that says what a repository's files say already, and where. Pure.

What compose files publish is named as `[compose] files`, and listed in comments only. What several files say of one
port becomes one entry; the first of them decides. The same input gives the same text, and every text is a valid config.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from portguard._namedtuple import NamedTuple
from portguard.rules.addresses import canonical
from portguard.rules.targets import changes_programs, is_name, is_variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from portguard.model import Declaration, Source, Suggestion

_NAME_LIMIT = 63
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_DESCRIPTION_LIMIT = 100  # characters
_PLACES_SHOWN = 5
_PLACE_LIMIT = 200  # characters
# A config has up to 64 KiB and 512 declarations; no one reads as much as this.
_FILES_BUDGET = _LIST_BUDGET = 12 * 1024  # bytes
_ENTRIES_BUDGET = 32 * 1024  # bytes
_ENTRIES_LIMIT = 400

# As the config takes them: up to 64 of A-Z 0-9 _, but not one that changes how programs run.

_HEAD = """\
# The ports this project needs, as `portguard init` found them. It is yours: change what is wrong, add what is missing.
#
#   portguard check     check that each of them can be bound, and if not, show who holds it
#
# Editors complete and check this file once they know its schema: portguard schema > portguard.schema.json, and as the
# first line here: "#:schema ./portguard.schema.json" without the quotes.
"""
_EXAMPLE = """\
#
# web = 8080
#
# [ports.db]
# port = 5432
# host = "127.0.0.1"          # "*", the default, is every address
# env = "DB_PORT"             # the variable that moves it
# description = "what it is for"
"""


class Stack(NamedTuple):
    """The compose files, as the config will name them, and what they publish (places as they should be shown).

    Of a port, `port` is the number in force and `declared_port` the one without a `.env`. `problem` says why the files
    could not be read; they are then named in a comment only.
    """

    files: tuple[str, ...]
    ports: tuple[Declaration, ...] = ()
    problem: str | None = None


class _Entry(NamedTuple):
    """A declaration to be: the first suggestion, completed by later ones, and all places that speak of it."""

    suggestion: Suggestion
    places: list[str]


def name_of(text: str, port: int) -> str:
    """Return the valid name of a declaration that is most like `text`; one made of the number if there is nothing."""
    kept = "".join(char if char in _NAME_CHARACTERS else "-" for char in text[:500].lower().replace("_", "-"))
    name = "-".join(part for part in kept.split("-") if part)[:_NAME_LIMIT].rstrip("-")
    return name if is_name(name) else f"port-{name or port}"[:_NAME_LIMIT]


def draft(suggestions: Sequence[Suggestion], stack: Stack | None = None) -> str:
    """Return the text of the config, whose entries come in the order of the suggestions."""
    stack = None if stack is None else _writable(stack)
    published = stack.ports if stack is not None and stack.problem is None else ()
    elsewhere, entries = _merged(suggestions, published)
    parts = [_HEAD]
    if stack is not None:
        parts.append(_compose(stack, elsewhere))
    if entries:
        parts.extend(_declared(entries, {item.env for item in published if item.env}))
    elif stack is None or stack.problem is not None:
        parts.append(f"# No file here declares a port. An example:\n{_EXAMPLE}\n[ports]\n")
    else:
        parts.append(f"# Declare ports that no compose file publishes like this:\n{_EXAMPLE}")
    return "\n".join(parts)


# --- what belongs together ------------------------------------------------------------------------------------------


def _merged(
    suggestions: Sequence[Suggestion], published: Sequence[Declaration]
) -> tuple[dict[int, list[str]], list[_Entry]]:
    """Return where else published ports are spoken of, by their index, and the entries for all other ports."""
    elsewhere: dict[int, list[str]] = {}
    owners = _owners(suggestions, published)
    entries: dict[tuple[str, int], _Entry] = {}
    for suggestion in suggestions:
        place = _place(suggestion.source)
        key = (suggestion.protocol, suggestion.port)
        owner = owners.get(key)
        if owner is not None:
            elsewhere.setdefault(owner, []).append(place)
        elif key in entries:
            entries[key].places.append(place)
            entries[key] = entries[key]._replace(suggestion=_completed(entries[key].suggestion, suggestion))
        else:
            entries[key] = _Entry(suggestion, [place])
    return elsewhere, list(entries.values())


def _owners(suggestions: Iterable[Suggestion], published: Sequence[Declaration]) -> dict[tuple[str, int], int]:
    """Return the index of the first published port that takes each suggested one, with or without a `.env`."""
    wanted: dict[str, list[int]] = {}
    for protocol, port in sorted({(item.protocol, item.port) for item in suggestions}):
        wanted.setdefault(protocol, []).append(port)
    owners: dict[tuple[str, int], int] = {}
    for index, item in enumerate(published):
        kind: str = item.protocols[0]
        ports = wanted.get(kind, [])
        for first, last in ((item.port, item.last_port or item.port), (item.declared_port, item.declared_port)):
            start, end = bisect_left(ports, first), bisect_right(ports, last)
            owners.update({(kind, port): index for port in ports[start:end]})
            del ports[start:end]  # a range can be published thousands of times
    return owners


def _completed(known: Suggestion, other: Suggestion) -> Suggestion:
    """Return the suggestion with what it did not tell."""
    return known._replace(
        host=known.host or other.host,
        env=known.env or other.env,
        description=known.description or other.description,
    )


# --- the parts of the text ------------------------------------------------------------------------------------------


def _writable(stack: Stack) -> Stack:
    """Return the stack, with a problem if a config cannot hold its files' names."""
    if stack.problem is None and _files(stack) is None:
        return stack._replace(problem="a config cannot hold their names")
    return stack


def _files(stack: Stack) -> str | None:
    """Return the line that names the files; None if no TOML can, or it would be endless."""
    names = [_string(name) for name in stack.files]
    line = f"files = [{', '.join(name for name in names if name is not None)}]\n"
    return None if None in names or len(line.encode()) > _FILES_BUDGET else line


def _compose(stack: Stack, elsewhere: Mapping[int, Sequence[str]]) -> str:
    files = _files(stack) or "files = [...]\n"
    if stack.problem is not None:
        return f"# Compose files that could not be read: {_comment(stack.problem)}\n# [compose]\n# {files}"
    lines = [_listed(item, elsewhere.get(index, ())) for index, item in enumerate(stack.ports)]
    if not lines:
        return f"# They publish no port whose number is known before they start.\n[compose]\n{files}"
    shown = _within(lines, _LIST_BUDGET)
    if len(shown) < len(lines):
        shown.append(f"#   and {len(lines) - len(shown)} more\n")
    listed = "".join(shown)
    return f"# The ports these files publish are declared there, and are not repeated here:\n{listed}[compose]\n{files}"


def _listed(item: Declaration, places: Sequence[str]) -> str:
    span = str(item.port) if item.last_port in (None, item.port) else f"{item.port}-{item.last_port}"
    host = next((host for host in item.hosts if host != "*"), "")
    bracketed = f"[{host}]" if ":" in host else host
    what = f"{bracketed}{':' if host else ''}{span}/{item.protocols[0]}"
    if item.declared_port != item.port:
        what += f" ({item.declared_port} without .env)"
    variable = f", moved by {_comment(item.env)}" if item.env else ""
    return f"#   {_comment(item.service or item.name)}  {what}{variable}: {_places((_place(item.source), *places))}\n"


def _declared(entries: Sequence[_Entry], variables: set[str]) -> Iterator[str]:
    """Yield the text of each entry; names and variables are given once."""
    names: set[str] = set()
    texts = []
    for entry in entries[:_ENTRIES_LIMIT]:
        name = _unused(name_of(entry.suggestion.name, entry.suggestion.port), names)
        names.add(name)
        env = entry.suggestion.env
        if env is not None and (env in variables or not is_variable(env) or changes_programs(env)):
            env = None
        if env is not None:
            variables.add(env)
        texts.append(_entry(name, entry, env))
    shown = _within(texts, _ENTRIES_BUDGET)
    yield from shown
    if len(shown) < len(entries):
        yield f"# {len(entries) - len(shown)} more ports were found, too many to list.\n"


def _entry(name: str, entry: _Entry, env: str | None) -> str:
    item = entry.suggestion
    lines = [f"# {_places(entry.places)}", f"[ports.{name}]", f"port = {item.port}"]
    host = None if item.host is None else canonical(item.host)
    if host is not None and host != "*":
        lines.append(f'host = "{host}"')
    if item.protocol != "tcp":
        lines.append(f'protocol = "{item.protocol}"')
    if env is not None:
        lines.append(f'env = "{env}"')
    if item.description:
        lines.append(f"description = {_string(_comment(item.description)[:_DESCRIPTION_LIMIT])}")
    return "\n".join(lines) + "\n"


def _unused(name: str, names: set[str]) -> str:
    number = 2
    result = name
    while result in names:
        suffix = f"-{number}"
        result = name[: _NAME_LIMIT - len(suffix)] + suffix
        number += 1
    return result


def _within(texts: Sequence[str], budget: int) -> list[str]:
    """Return as many of the first texts as have room."""
    kept = []
    for text in texts:
        budget -= len(text.encode())
        if budget < 0:
            break
        kept.append(text)
    return kept


# --- pieces ---------------------------------------------------------------------------------------------------------


def _place(source: Source) -> str:
    file = _comment(source.file or "?")
    return file if not source.line else f"{file}:{source.line}"


def _places(places: Sequence[str]) -> str:
    unique = list(dict.fromkeys(places))
    more = len(unique) - _PLACES_SHOWN
    shown = ", ".join(place[-_PLACE_LIMIT:] for place in unique[:_PLACES_SHOWN])
    return shown if more <= 0 else f"{shown} and {more} more places"


def _comment(text: str) -> str:
    """Return the text as a comment may hold it: printable, in one line, not endless."""
    return "".join(char if char.isprintable() else "?" for char in text[:500])


def _string(text: str) -> str | None:
    """Return the text as a TOML basic string; None if there is none: bytes that are no characters (PEP 383)."""
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        return None
    pieces = []
    for char in text:
        if char in '"\\':
            pieces.append(f"\\{char}")
        else:
            pieces.append(char if char.isprintable() else f"\\U{ord(char):08x}")
    return f'"{"".join(pieces)}"'
