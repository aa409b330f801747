"""The holder: a process of its own that keeps sockets bound while a command, or some seconds, last.

It holds nothing but those sockets: no terminal, no standard streams, no working directory. Linux only: on macOS and
Windows a hold would block the very server it is for.
"""

from __future__ import annotations

import contextlib
import os
import sys

from portguard.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Sequence
    from typing import NoReturn

IS_POSSIBLE = sys.platform == "linux"
_NAME = b"portguard-hold"
_LONGEST_NAP = 30.0  # seconds; poll(2) sleeps by a clock that stops in suspend


def detach(sockets: Sequence[_socket.socket], *, pid: int | None = None, seconds: float | None = None) -> int:
    """Leave the sockets to a process of its own, which keeps them until `pid` ends or `seconds` have passed.

    It has no terminal, no standard streams and no working directory; SIGTERM ends it earlier. Returns its pid once it
    watches. Nothing of this process is its child. Raises OSError, StateError.
    """
    reader, writer = os.pipe()
    try:
        middle = os.fork()
        if middle == 0:
            _become_holder(sockets, writer, pid, seconds)  # pragma: no cover - see below
        os.close(writer)
        writer = -1
        os.waitpid(middle, 0)
        told = os.read(reader, 32)
    finally:
        for fd in (reader, writer):
            if fd >= 0:
                os.close(fd)
    if not told.isdigit():
        raise StateError(
            "the process that should hold the ports exited immediately",
            "try again, or use `run --no-hold`, or `free` without --hold",
        )
    return int(told)


# Measuring begins anew in a forked process, and does not see the function in which that happened. That what follows a
# fork runs is shown by what it does.


def _become_holder(sockets: Sequence[_socket.socket], writer: int, pid: int | None, seconds: float | None) -> NoReturn:
    try:
        os.setsid()
        if os.fork() == 0:  # pragma: no branch - see above
            _hold([sock.fileno() for sock in sockets], writer, pid, seconds)
        os._exit(0)
    finally:  # whatever happens, this process never returns into the command it was forked from
        os._exit(1)  # pragma: no cover - see above


def _hold(kept: Sequence[int], writer: int, pid: int | None, seconds: float | None) -> None:
    import select  # in the holder alone
    import signal
    import time

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir("/")
    watched = -1
    if pid is not None:
        watched = os.pidfd_open(pid)
    _close_others({*kept, writer, watched})
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb") as comm:
        comm.write(_NAME)  # what `ps` and `portguard who` show
    end = None if seconds is None else time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    os.write(writer, b"%d" % os.getpid())
    os.close(writer)
    poll = select.poll()
    if watched >= 0:
        poll.register(watched, select.POLLIN)
    while True:
        left = None if end is None else end - time.clock_gettime(time.CLOCK_BOOTTIME)
        if left is not None and left <= 0:
            return
        if poll.poll(None if left is None else min(left, _LONGEST_NAP) * 1000 + 1):
            return


def _close_others(kept: set[int]) -> None:
    first = 0
    for fd in sorted(fd for fd in kept if fd >= 0):
        if first < fd:  # os.closerange(0, 0) closes everything: CPython hands close_range(2) an end of -1
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
