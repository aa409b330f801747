"""Ports of a `Procfile`: numbers its commands name, and the PORT that foreman and its like give each process.

They set PORT to a base (from `.env`, by default 5000) plus 100 for every process type before it in the file, whether
that uses PORT or not (ddollar/foreman, lib/foreman/engine.rb: `port_for`, `base_port`). Nothing is executed.
"""

from __future__ import annotations

import re

from portguard.model import Source, Suggestion
from portguard.rules.draft import name_of
from portguard.rules.ranges import LAST_PORT
from portguard.sources import text

DEFAULT_BASE = 5000
_STEP = 100
_LINES_LIMIT = 1000
# As foreman reads it: every other line is passed over.
_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")
_USE = re.compile(r"\$(?:PORT(?![A-Za-z0-9_])|\{PORT(?![A-Za-z0-9_]))")


def read(path: str, base: int | None = None) -> tuple[Suggestion, ...] | None:
    """Return the ports of the Procfile at `path`, in the order of its lines; None if there is no regular file.

    `base` is the PORT that the `.env` beside it gives, None if it gives none. Raises OSError if it cannot be read,
    SourceError when it is larger than the limit.
    """
    content = text.read(path)
    if content is None:
        return None
    lines = enumerate(content.split("\n"), 1)
    matches = [(number, match) for number, line in lines if (match := _LINE.fullmatch(line.rstrip())) is not None]
    found = []
    for index, (number, match) in enumerate(matches[:_LINES_LIMIT]):
        source = Source(path, number)
        found += _process(source, match[1], match[2], index * _STEP, base)
    return tuple(found)


def _process(source: Source, process: str, command: str, offset: int, base: int | None) -> list[Suggestion]:
    """Return what one process type needs: the numbers it names, or else the one it is given."""
    named = text.command_ports(command)
    description = f"process {process}"
    found = [
        Suggestion(
            name_of(process, item.port), item.port, source, host=item.host, env=item.env, description=description
        )
        for item in named
        if item.port is not None and item.env != "PORT"
    ]
    port = (base or DEFAULT_BASE) + offset
    if found or port > LAST_PORT or not _USE.search(command):
        return found
    if base is None:
        description += ", on the port that foreman gives it by default"
    host = next((item.host for item in named if item.env == "PORT"), None)
    # The variable moves the base, which is the port of the first process alone.
    env = None if offset else "PORT"
    return [Suggestion(name_of(process, port), port, source, host=host, env=env, description=description)]
