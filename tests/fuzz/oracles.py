"""What must hold of every answer, whichever harness asks. Raises AssertionError; knows no format."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import socket
import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from portguard.errors import PortguardError
from portguard.render import text

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_MEMORY = "/dev/shm"  # tmpfs: a harness writes files by the thousand


def memory() -> str | None:
    """Return where temporary files are best kept: in memory, unless TMPDIR says otherwise or there is no such place."""
    return _MEMORY if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK) else None


@functools.cache
def scratch() -> Path:
    """Return a directory of this process, which goes when the process ends."""
    path = tempfile.mkdtemp(prefix="portguard-fuzz-", dir=memory())
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def emptied(name: str) -> Path:
    """Return an empty directory of that name in `scratch`."""
    path = scratch() / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


def assert_printable(shown: str) -> None:
    """Demand that every line can be printed on a terminal and moves nothing there."""
    bad = {char for char in shown if unicodedata.category(char) in _UNPRINTABLE} - {"\n"}
    assert not bad, (bad, shown[:500])


def assert_told(error: PortguardError, exit_code: int, start: tuple[str, ...] = ("",)) -> None:
    """Demand an error of that exit code, whose sentences begin with one of `start` and can be shown."""
    assert error.exit_code == exit_code, repr(error)
    assert error.messages, repr(error)
    assert all(message.startswith(start) and message.strip() for message in error.messages), error.messages
    shown = text.error(error.messages, error.hint)
    assert_printable(shown)
    assert shown.count("\n") == len(error.messages) + bool(error.hint), shown
    json.dumps(error.messages)


def assert_port(port: int) -> None:
    """Demand a number that a socket can have."""
    assert type(port) is int, port
    assert 0 < port < 65536, port


def assert_line(line: int, text: str | bytes) -> None:
    """Demand a line, counted from 1, that the text has."""
    lines = text.count("\n") if isinstance(text, str) else text.count(b"\n")
    assert 1 <= line <= lines + 1, line


def assert_address(address: str) -> None:
    """Demand an address as the kernel prints it, with or without an interface."""
    address, percent, interface = address.partition("%")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert socket.inet_ntop(family, socket.inet_pton(family, address)) == address
    assert bool(percent) == bool(interface)


def assert_unique(items: Iterable[object]) -> None:
    """Demand that nothing is there twice."""
    listed = list(items)
    assert len(set(listed)) == len(listed), listed
