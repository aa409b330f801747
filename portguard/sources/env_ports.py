"""Ports that a `.env` file gives to variables: `PORT`, and whatever ends in `_PORT`.

A port beside a host that is somewhere else (`DB_PORT` with `DB_HOST=db.example.org`) is that machine's, and left out.
So is portguard's own block: those numbers are this checkout's, not the project's.
"""

from __future__ import annotations

import re

from portguard.model import Source, Suggestion
from portguard.rules import env_block
from portguard.rules.addresses import canonical
from portguard.rules.draft import name_of
from portguard.sources import dotenv
from portguard.sources.text import SourceError, port_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from portguard.sources.dotenv import Assignment

_VARIABLE = re.compile(r"(?:[A-Za-z0-9_]+_)?PORT")
_HERE = ("localhost", "0.0.0.0", "::", "::1")  # noqa: S104 - compared with, nothing is bound
_THIS_HOST = ("host.docker.internal", "host.containers.internal")  # as seen from a container


def read(path: str) -> tuple[Suggestion, ...] | None:
    """Return the ports of the `.env` at `path`, in the order of its lines; None if there is no regular file.

    Raises OSError if it cannot be read, SourceError when it is larger than the limit or malformed.
    """
    try:
        found = dotenv.read(path, prepare=env_block.blanked)
    except dotenv.DotenvError as error:
        raise SourceError(error.line, error.what) from error
    except ValueError as error:
        raise SourceError(None, str(error)) from error
    if found is None:
        return None
    suggestions = (_suggestion(path, name, found) for name in found if _VARIABLE.fullmatch(name))
    return tuple(sorted((item for item in suggestions if item is not None), key=lambda item: item.source.line or 0))


def _suggestion(path: str, name: str, found: Mapping[str, Assignment]) -> Suggestion | None:
    port = port_number(found[name].value)
    stem = name.removesuffix("PORT").removesuffix("_")
    address = found.get(f"{stem}_HOST" if stem else "HOST")
    host = None if address is None else _here(address.value)
    if port is None or (stem and address is not None and address.value and host is None):
        return None
    source = Source(path, found[name].line)
    return Suggestion(name_of(stem or "app", port), port, source, host=host if host != "*" else None, env=name)


def _here(text: str) -> str | None:
    """Return the address of this machine that is meant, "*" for any of it, None for another machine."""
    if text.lower() in _THIS_HOST:
        return "*"
    host = canonical(text.strip("[]").lower())
    return host if host is not None and (host in _HERE or host.startswith("127.")) else None
