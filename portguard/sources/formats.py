"""The formats that suggest ports, a row each: `init` reads them all, `lint` those that can drift. Opens nothing.

A new format is a module here with a function `read`, and its row. Compose files are not among them: they declare.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from portguard.model import Suggestion

    Reader = Callable[[str], "tuple[Suggestion, ...] | None"]


class Format(NamedTuple):
    """`module` reads it: its `read(path)` raises SourceError and OSError, and returns None for a file without any.

    `names` are files, of which the first that exists counts, unless the module has `find_files(directory)`; then any
    of them says that there may be some. `takes_base`: `read` also takes the number that `.env` gives to PORT. `drifts`:
    a number that differs from the declared one is a mistake, which `lint` reports.
    """

    module: str
    names: tuple[str, ...]
    takes_base: bool = False
    drifts: bool = False


FORMATS = (
    Format("env_ports", (".env",)),
    Format("procfile", ("Procfile.dev", "Procfile"), takes_base=True),
    Format("package_json", ("package.json",)),
    Format("devcontainer", (".devcontainer", ".devcontainer.json"), drifts=True),
)


def find_files(wanted: Format, directory: str) -> tuple[str, ...]:
    """Return the paths of the files of a format in a directory; loads its module only if there may be some."""
    present = [path for name in wanted.names if os.path.lexists(path := os.path.join(directory, name))]
    if not present:
        return ()
    module = _module(wanted)
    if hasattr(module, "find_files"):
        found: tuple[str, ...] = module.find_files(directory)
        return found
    return tuple(path for path in present if os.path.isfile(path))[:1]


def reader(wanted: Format, base: int | None = None) -> Reader:
    """Return the function that reads a file of a format."""
    read = _module(wanted).read
    return (lambda path: read(path, base)) if wanted.takes_base else read


def _module(wanted: Format) -> Any:
    return __import__(f"portguard.sources.{wanted.module}", fromlist=["read"])
