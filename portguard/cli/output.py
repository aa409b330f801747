"""Write the answer to standard output and messages to standard error; decide whether to colour."""

from __future__ import annotations

import errno
import os
import sys

from portguard.errors import OutputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

FORMATS = ("text", "json", "github", "sarif")


def answer(text: str) -> None:
    """Write to standard output, all of it, now. Raises OutputError if it takes no more."""
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        _write(sys.stdout, text)
    except KeyboardInterrupt:
        _discard_rest(sys.stdout)
        raise
    except OSError as error:
        _discard_rest(sys.stdout)
        is_reader_gone = error.errno == errno.EPIPE
        reason = "the reader closed it" if is_reader_gone else error.strerror
        raise OutputError(f"could not write the answer: {reason}") from error


def _discard_rest(stream: TextIO) -> None:
    """Make what is left in the buffer go nowhere: the interpreter writes it at its end, and may wait or fail there."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except OSError:
        return  # a root directory without /dev, or nothing can be opened any more


def message(text: str) -> None:
    """Write to standard error, as far as that is possible."""
    if sys.stderr is None or not text:
        return
    try:
        _write(sys.stderr, text)
    except OSError:
        _discard_rest(sys.stderr)


def _write(stream: TextIO, text: str) -> None:
    """Write all of it, now. Raises OSError."""
    encoding = stream.encoding or "utf-8"
    try:
        data = text.encode(encoding, stream.errors or "strict")
    except UnicodeEncodeError:
        data = text.encode(encoding, "backslashreplace")
    stream.flush()
    try:
        fd = stream.fileno() if os.name == "posix" else -1
    except (OSError, ValueError):
        fd = -1  # what stands in for it in memory
    if fd < 0:
        stream.write(data.decode(encoding, stream.errors or "strict"))
        stream.flush()
        return
    # Not by the stream: unbuffered (PYTHONUNBUFFERED) it loses what is not taken at once, without a word.
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # someone has made the pipe so
            import select  # rarely needed

            select.select((), (fd,), ())


def wants_colour() -> bool:
    """Whether standard output is a terminal that shows colour and its user did not object (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return sys.stdout is not None and sys.stdout.isatty()
    except ValueError:
        return False


def width() -> int:
    """Return the terminal's width where it is known and not narrower than the default."""
    from portguard.render.listing import WIDTH  # only for tables

    try:
        return max(WIDTH, os.get_terminal_size(1).columns)
    except OSError:
        return WIDTH


def checked_format(name: str, known: Sequence[str] = FORMATS) -> str:
    """Return the name of an output format. Raises UsageError, with what there is, for one that is not `known`."""
    if name not in known:
        raise UsageError(f"unknown format {name!r}", f"use one of: {', '.join(known)}")
    return name


def working_directory() -> str:
    """Return the working directory, "" when it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def repository() -> str:
    """Return what annotations' paths are relative to: the checkout's root, without one the working directory."""
    from portguard.api import here  # only for annotations

    directory = working_directory()
    return here.checkout_root(directory) if directory else ""
