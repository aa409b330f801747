"""Calls that the kernel refuses when it is told to: `strace --inject`, for one call, on chosen paths, from a moment on.

The program runs as ever, and sees what it would see: an errno, or a result that says less than it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_MARK = "(INJECTED)"


class Injection(NamedTuple):
    """What `calls` ("openat", "/^rename": strace(1), -e trace) give instead of what they would, from the `when`-th on.

    `result` is an errno's name, or a number that is returned without anything being done. `paths` limits it to calls
    that name one of these, as it is passed, or have a descriptor of one.
    """

    calls: str
    result: str
    paths: tuple[str | Path, ...] = ()
    when: str = "1+"


def under(injection: Injection, log: Path) -> list[str]:
    """Return what is put before a command so that it runs with these results; `log` is where they are written down."""
    result = f"error={injection.result}" if injection.result.isalnum() and injection.result[0] == "E" else None
    given = result or f"retval={injection.result}"
    limits = [word for path in injection.paths for word in ("-P", str(path))]
    return [
        "strace", "--follow-forks", "--seccomp-bpf", "-qq", "-o", str(log), *limits,
        "-e", f"trace={injection.calls}", "-e", f"inject={injection.calls}:{given}:when={injection.when}",
    ]  # fmt: skip


def count(logs: Iterable[Path]) -> int:
    """Return how many calls were given another result than their own."""
    return sum(log.read_text(errors="replace").count(_MARK) for log in logs if log.exists())
