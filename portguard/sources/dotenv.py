"""Port numbers out of a `.env` file. Only plain values: what would need expanding is refused, never guessed.

The grammar is the common part of compose-go's and python-dotenv's: `KEY=VALUE`, `export`, quotes, comments.
"""

from __future__ import annotations

import os
import stat

from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE_LIMIT = 1024 * 1024  # bytes


class Assignment(NamedTuple):
    """A line's `value` and its `line` number, counted from 1."""

    value: str
    line: int


def assignments(text: str) -> dict[str, Assignment]:
    """Return the variables a `.env` sets; the last assignment of a name wins. Lines that are none are passed over."""
    found: dict[str, Assignment] = {}
    for number, name, value in _lines(text):
        found[name] = Assignment(_unquote(value.strip()), number)
    return found


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        name = name.removeprefix("export ").strip()
        if equals and name and not name.startswith("#"):
            yield number, name, value


def _unquote(value: str) -> str:
    for quote in ('"', "'"):
        if value.startswith(quote):
            end = value.find(quote, 1)
            return value[1:end] if end > 0 else value
    if value.startswith("#"):
        return ""
    for index in range(1, len(value)):
        if value[index] == "#" and value[index - 1] in " \t":  # "8080#x" has no comment
            return value[:index].rstrip()
    return value


def read(path: str) -> dict[str, Assignment] | None:
    """Return the assignments of the file at `path`; None when there is no regular file (a folder may be called .env).

    Raises OSError when it cannot be read, ValueError when it is larger than the limit.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            data = file.read(SIZE_LIMIT + 1)
    finally:
        os.close(fd)
    if len(data) > SIZE_LIMIT:
        raise ValueError(f"larger than {SIZE_LIMIT // 1024} KiB")
    return assignments(data.decode("utf-8-sig", "replace"))
