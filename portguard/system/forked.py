"""Run a piece of work in a child process and return its result: to use more cores, or because it may be fatal.

The child asks, answers and is gone; it prints nothing, and nothing it did is seen here. Where there can be none, the
caller goes without. Not for programs with threads that hold locks the work needs.
"""

from __future__ import annotations

import os

from portguard._contexts import suppress
from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVarTuple

    Values = TypeVarTuple("Values")

_WHOLE = b"."  # ends what a child wrote that came to its end
_PART = 1 << 16  # bytes


class Child(NamedTuple):
    """A process at work, and the end of the pipe it answers through."""

    pid: int
    reader: int


def start(work: Callable[[*Values], bytes], *values: *Values) -> Child | None:
    """Start a child that answers with what `work` makes of `values`; None if there can be none."""
    try:
        reader, writer = os.pipe()
    except OSError:
        return None
    try:
        pid = _fork()
        if pid == 0:
            _answer(work, values, writer)
    except OSError:
        os.close(reader)
        return None
    finally:
        os.close(writer)
    return Child(pid, reader)


def _fork() -> int:
    import sys

    if "threading" not in sys.modules:
        return os.fork()
    import warnings

    with warnings.catch_warnings():
        # Since 3.12 forking beside threads is warned of; this child takes no lock, and is gone at once.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _answer(work: Callable[[*Values], bytes], values: tuple[*Values], writer: int) -> NoReturn:
    try:
        rest = work(*values) + _WHOLE
        while rest:
            rest = rest[os.write(writer, rest) :]
    finally:  # whatever happens, this process never returns into the caller's
        os._exit(0)


def result(child: Child) -> bytes | None:
    """Wait for a child's end and return its answer, None if it ended before it had given all of it."""
    parts = []
    try:
        while part := os.read(child.reader, _PART):
            parts.append(part)
    except OSError:
        parts.clear()
    finally:
        os.close(child.reader)
        with suppress(ChildProcessError):  # anyone who ignores SIGCHLD has none to wait for
            os.waitpid(child.pid, 0)
    told = b"".join(parts)
    return told[: -len(_WHOLE)] if told.endswith(_WHOLE) else None
