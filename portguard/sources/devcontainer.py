"""Ports of a `devcontainer.json`: `forwardPorts`, `portsAttributes` and `appPort` (containers.dev, json_reference).

A forwarded port keeps its number on this machine where that is free. "db:5432" is the port of another compose service,
forwarded all the same. Ranges and patterns in `portsAttributes` name no port that someone needs.
"""

from __future__ import annotations

import os

from portguard.model import Source, Suggestion
from portguard.rules.addresses import canonical
from portguard.rules.draft import name_of
from portguard.sources import jsonc, port_spec, text
from portguard.sources.text import SourceError, port_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from portguard.model import Protocol
    from portguard.sources.jsonc import Document

FILE_NAME = "devcontainer.json"
_FOLDER = ".devcontainer"
_FOLDERS_LIMIT = 100
_ENTRIES_LIMIT = 1000


def find_files(directory: str) -> tuple[str, ...]:
    """Return the paths of the dev container configurations of a project's directory, in a fixed order."""
    folder = os.path.join(directory, _FOLDER)
    try:
        names = sorted(os.listdir(folder))[:_FOLDERS_LIMIT]
    except OSError:
        names = []
    paths = [
        os.path.join(folder, FILE_NAME),
        os.path.join(directory, f"{_FOLDER}.json"),
        *(os.path.join(folder, name, FILE_NAME) for name in names),
    ]
    return tuple(path for path in paths if os.path.isfile(path))


def read(path: str) -> tuple[Suggestion, ...] | None:
    """Return the ports of the configuration at `path`, in the order of its lines; None if it is not a regular file.

    `host` is the compose service where a port is forwarded from one. Raises OSError if it cannot be read,
    SourceError when it is larger than the limit or malformed.
    """
    content = text.read(path)
    if content is None:
        return None
    document = jsonc.parse(content)
    if not isinstance(document.value, dict):
        raise SourceError(1, f"{FILE_NAME} is a JSON object")
    found: dict[tuple[str, int], Suggestion] = {}
    labels, hidden = _attributes(document)
    for item in (*_forwarded(path, document), *_published(path, document), *_attributed(path, document, hidden)):
        found.setdefault((item.protocol, item.port), _labelled(item, labels.get(item.port)))
    return tuple(sorted(found.values(), key=lambda item: item.source.line or 0))


def _entries(document: Document, key: str, kind: type) -> Any:
    value = document.value.get(key, kind())
    if not isinstance(value, kind):
        shape = "an array" if kind is list else "an object"
        raise SourceError(document.lines.get((key,)), f'"{key}" is {shape}')
    return value


def _forwarded(path: str, document: Document) -> Iterator[Suggestion]:
    for index, entry in enumerate(_entries(document, "forwardPorts", list)[:_ENTRIES_LIMIT]):
        service, port = _endpoint(entry)
        if port is not None:
            source = Source(path, document.lines.get(("forwardPorts", index)))
            description = None if service is None else f"service {service}, forwarded by the dev container"
            name = name_of(service or "", port)
            yield Suggestion(name, port, source, host=service, description=description)


def _published(path: str, document: Document) -> list[Suggestion]:
    value = document.value.get("appPort", [])
    found: list[Suggestion] = []
    for index, entry in enumerate(value if isinstance(value, list) else [value]):
        if len(found) >= _ENTRIES_LIMIT or index >= _ENTRIES_LIMIT:  # one range has up to 65535
            break
        source = Source(path, document.lines.get(("appPort", index)) or document.lines.get(("appPort",)))
        port = port_number(entry) if isinstance(entry, int) else None
        if port is not None:  # devcontainers/cli, singleContainer.ts: -p 127.0.0.1:N:N
            found.append(Suggestion(name_of("", port), port, source, host="127.0.0.1"))
        if isinstance(entry, str):
            found += _specified(entry, source)
    return found


def _specified(entry: str, source: Source) -> list[Suggestion]:
    """Return what `docker run -p` would publish."""
    found = []
    try:
        mappings = port_spec.parse(entry)
    except port_spec.PortError:
        return []
    for mapping in mappings:
        bounds = port_spec.bounds(mapping.published)
        if bounds is not None and bounds[0] == bounds[1] and mapping.protocol in ("tcp", "udp"):
            protocol: Protocol = "udp" if mapping.protocol == "udp" else "tcp"
            found.append(Suggestion(name_of("", bounds[0]), bounds[0], source, protocol, mapping.host_ip or None))
    return found


def _attributes(document: Document) -> tuple[dict[int, str], set[int]]:
    """Return the labels of ports, and the ports that are not to be forwarded."""
    labels: dict[int, str] = {}
    hidden: set[int] = set()
    for key, value in [*_entries(document, "portsAttributes", dict).items()][:_ENTRIES_LIMIT]:
        port = _endpoint(key)[1]
        if port is None or not isinstance(value, dict):
            continue
        if isinstance(value.get("label"), str) and value["label"].strip():
            labels[port] = value["label"].strip()
        if value.get("onAutoForward") == "ignore":
            hidden.add(port)
    return labels, hidden


def _attributed(path: str, document: Document, hidden: set[int]) -> Iterator[Suggestion]:
    for key in [*_entries(document, "portsAttributes", dict)][:_ENTRIES_LIMIT]:
        service, port = _endpoint(key)
        if port is not None and port not in hidden:
            source = Source(path, document.lines.get(("portsAttributes", key)))
            yield Suggestion(name_of(service or "", port), port, source, host=service)


def _endpoint(entry: object) -> tuple[str | None, int | None]:
    """Return the compose service (None for the container itself) and the port of `3000`, "3000" or "db:5432"."""
    host, _, number = entry.rpartition(":") if isinstance(entry, str) else ("", "", entry)
    port = port_number(number)
    if not host or canonical(host.strip("[]").lower()) is not None:
        return None, port
    is_word = host.replace("-", "").replace("_", "").replace(".", "").isalnum()  # and no pattern
    return host, port if is_word else None


def _labelled(item: Suggestion, label: str | None) -> Suggestion:
    if label is None:
        return item
    name = item.name if item.host and canonical(item.host) is None else name_of(label, item.port)
    return item._replace(name=name, description=label)
