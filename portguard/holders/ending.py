"""End the processes that `kill` decided on: in order, and only those.

Decides nothing about who may be ended. Each process is looked at once more right before its signal.
"""

from __future__ import annotations

import time

from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError
from portguard.rules.guard import roots
from portguard.system import owners, signals, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portguard.model import Socket
    from portguard.system.signals import Handle

GRACE = 5.0  # seconds between SIGTERM and giving up
_KILL_GRACE = 2.0  # seconds; what a killed process needs to be taken apart
_FOLLOW = 0.5  # seconds in which the children of one that has ended may end by themselves
_STEP = 0.05  # seconds


class Member(NamedTuple):
    """A process to end: `parent` is its parent's pid, `socket` what it must still hold, None for the rest of a tree."""

    handle: Handle
    parent: int
    socket: Socket | None


def is_held(pid: int, socket: Socket) -> bool:
    """Whether the process that has the pid now holds this socket."""
    if socket.pids is None:
        return owners.is_held(pid, socket.inode)
    try:
        rows = sockets.find_sockets(socket.protocol, socket.port)
    except LookupFailedError:
        return False
    return any(row.address == socket.address and pid in (row.pids or ()) for row in rows)


def end(members: Sequence[Member], is_done: Callable[[], bool], *, force: bool, grace: float = GRACE) -> list[str]:
    """End the processes with SIGTERM, and those that are left after `grace` seconds with SIGKILL if `force`.

    Parents first, so that they can end their children in order; children that are left over follow. Stops early when
    `is_done` says that nothing more is needed. Returns what went wrong, a sentence each.
    """
    failures: list[str] = []
    asked: set[int] = set()
    last = time.monotonic() + grace
    while (running := _running(members)) and not is_done():
        left = last - time.monotonic()
        if left <= 0:
            break
        parents = {member.handle.pid: member.parent for member in running}
        first = [member for member in running if member.handle.pid in roots(tuple(parents), parents)]
        for member in first:
            if member.handle.pid not in asked:
                asked.add(member.handle.pid)
                failures += _send(member, signals.TERMINATE)
        if _wait(first, is_done, left):
            _wait(running, is_done, min(_FOLLOW, max(0.0, last - time.monotonic())))
    if force and not is_done():
        left_over = _running(members)
        for member in left_over:
            failures += _send(member, signals.KILL)
        _wait(left_over, is_done, _KILL_GRACE)
    return failures


def _running(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if signals.is_running(member.handle)]


def _send(member: Member, number: int) -> list[str]:
    if member.socket is not None and not is_held(member.handle.pid, member.socket):
        return []  # it has release it: nothing to free there any more
    try:
        signals.send(member.handle, number)
    except OSError as error:
        return [f"process {member.handle.pid} cannot be signalled: {error.strerror}"]
    return []


def _wait(members: Sequence[Member], is_done: Callable[[], bool], seconds: float) -> bool:
    """Wait until all of them have ended, or nothing more is needed; whether that is so."""
    end = time.monotonic() + seconds
    handles = [member.handle for member in members]
    while not is_done():
        left = end - time.monotonic()
        if left <= 0:
            return False
        if signals.wait(handles, min(_STEP, left)):
            return True
    return True
