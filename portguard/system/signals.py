"""Signal exactly the process that was chosen, and wait for its end.

A pid is given to others as soon as its process is gone. On Linux a pidfd (pidfd_open(2)) stands for one process for
ever; elsewhere the start time is compared right before each signal, which leaves a gap no larger than that call.
Nothing here decides who may be ended.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time

from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError
from portguard.system import alive, proc_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TERMINATE = int(signal.SIGTERM)
KILL = int(getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows has neither: both end the process at once

# Kernels before 5.3 have no pidfds, and sandboxes forbid them (seccomp(2)).
_NO_PIDFD = (errno.ENOSYS, errno.EPERM)
_GONE = (errno.ESRCH, errno.EINVAL, errno.ENOENT)
_STEP = 0.02  # seconds, where ends have to be looked for


class Handle(NamedTuple):
    """One process: `pid`, when it started (as `alive.start_of` tells), and its pidfd, None if there are none."""

    pid: int
    started: int
    fd: int | None


def take(pid: int) -> Handle | None:
    """Return a handle of the process that has the pid now; None if there is none, or it has ended.

    PID 1 and what kill(2) would take for groups are no one's. Raises LookupFailedError if no handle can be made for
    want of resources: then nothing may be signalled.
    """
    if pid <= 1:
        return None
    fd = None
    if hasattr(os, "pidfd_open"):
        try:
            fd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno in _GONE:
                return None
            if error.errno not in _NO_PIDFD:
                raise _unwatchable(pid, error) from error
    try:
        stat = proc_stat.look(pid) if fd is not None else None
    except OSError as error:
        close((Handle(pid, 0, fd),))
        raise _unwatchable(pid, error) from error
    # A process whose first thread has ended looks like a zombie, and its other threads go on.
    handle = Handle(pid, alive.start_of(pid) if stat is None else alive.token_of(stat), fd)
    if handle.started == 0 or not is_running(handle):
        close((handle,))
        return None
    return handle


def _unwatchable(pid: int, error: OSError) -> LookupFailedError:
    what = f"process {pid} cannot be watched: {error.strerror}"
    return LookupFailedError(what, "see which limit is exhausted: ulimit -a")


def is_running(handle: Handle) -> bool:
    """Whether the process has not ended yet; a zombie has."""
    if handle.fd is None:
        return alive.is_alive(handle.pid, handle.started)
    return not _poll((handle.fd,), 0)


def send(handle: Handle, number: int) -> bool:
    """Send a signal; false when the process is gone. Raises OSError if that is not permitted."""
    try:
        if handle.fd is not None:
            signal.pidfd_send_signal(handle.fd, number)
        elif alive.is_alive(handle.pid, handle.started):
            os.kill(handle.pid, number)
        else:
            return False
    except ProcessLookupError:
        return False
    return True


def terminate(pid: int, started: int) -> bool:
    """Send SIGTERM to the very process that started then, and to no other; false when it is gone or not ours."""
    try:
        handle = take(pid)
    except LookupFailedError:
        return False
    if handle is None:
        return False
    try:
        return handle.started == started and send(handle, TERMINATE)
    except OSError:
        return False
    finally:
        close((handle,))


def wait(handles: Sequence[Handle], seconds: float) -> bool:
    """Wait until all have ended, at most so long; whether they have."""
    end = time.monotonic() + seconds
    running = [handle for handle in handles if is_running(handle)]
    while running:
        left = end - time.monotonic()
        if left <= 0:
            return False
        fds = [handle.fd for handle in running if handle.fd is not None]
        if len(fds) == len(running):
            _poll(fds, left)
        else:
            time.sleep(min(_STEP, left))
        running = [handle for handle in running if is_running(handle)]
    return True


def _poll(fds: Sequence[int], seconds: float) -> bool:
    """Wait until one of the processes behind these pidfds has ended, at most so long; whether one has."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def close(handles: Iterable[Handle]) -> None:
    """Let go of the handles."""
    for handle in handles:
        if handle.fd is not None:
            os.close(handle.fd)
