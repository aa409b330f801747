"""Whether a process is still the same: a pid can be reused, a pid with its start time cannot.

On Linux from /proc alone, because `free` asks; elsewhere psutil answers. A container's processes have numbers of their
own: what is not of this PID namespace (pid_namespaces(7)) can neither be called alive nor dead here.
"""

from __future__ import annotations

import os
import sys

from portguard.errors import StateError
from portguard.system import proc_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.model import ProcessStat

_NAMESPACE_SHIFT = 32  # what tells the namespace stands above the start time; ticks repeat after 497 days
_TICKS = (1 << _NAMESPACE_SHIFT) - 1


def start_of(pid: int, *, proc: str = "/proc", platform: str = sys.platform) -> int:
    """Return when `pid` started, as a number that only this process has together with its pid; 0 if it is gone.

    On Linux clock ticks since boot (proc_pid_stat(5), starttime), below the number of its PID namespace; a zombie is
    gone. Elsewhere milliseconds since the epoch. 0 as well where processes have other numbers in /proc than for us.
    """
    if platform != "linux":
        import psutil  # not on Linux

        try:
            return int(psutil.Process(pid).create_time() * 1000)
        except (psutil.Error, OSError, ValueError):
            return 0
    try:
        return _ticks_of(pid, proc)
    except OSError:
        return 0


def _ticks_of(pid: int, proc: str) -> int:
    """Return what `start_of` does on Linux. Raises OSError if the process may be there, and cannot be looked at."""
    is_self = pid == os.getpid()
    if not is_self and _is_foreign(proc):
        return 0
    found = proc_stat.look("self" if is_self else pid, proc=proc)
    return 0 if found is None or found.is_ended else token_of(found, proc=proc)


def token_of(stat: ProcessStat, *, proc: str = "/proc") -> int:
    """Return `start_of` for what the kernel just said of a process, ended or not."""
    return _namespace(proc) << _NAMESPACE_SHIFT | stat.started & _TICKS


def own_start() -> int:
    """Return when this process started, by which others will know that it lives. Raises StateError."""
    started = start_of(os.getpid())
    if started == 0:
        raise StateError(
            "cannot tell whether this process is alive: its start time cannot be read", "see /proc/self/stat"
        )
    return started


def is_alive(pid: int, started: int) -> bool:
    """Whether the process that started then provably still runs; one whose start is not known (0) counts as dead."""
    return started != 0 and pid > 0 and start_of(pid) == started


def seems_alive(pid: int, started: int) -> bool:
    """Do as `is_alive`; but a process that is in sight, and could not be looked at just now, is not taken for dead."""
    if sys.platform != "linux" or started == 0 or pid <= 0:
        return is_alive(pid, started)
    try:
        return _ticks_of(pid, "/proc") == started
    except OSError:
        return True


def may_live(pid: int, started: int) -> bool:
    """Whether the process that started then may still run: it seems to, or is out of sight. Dead if not known (0)."""
    if started == 0 or pid <= 0:
        return False
    return seems_alive(pid, started) or _is_out_of_sight(started)


def _is_out_of_sight(started: int) -> bool:
    """Whether a process with that start cannot be looked for here, because its numbers are not those of this /proc."""
    if sys.platform != "linux":
        return False
    theirs = started >> _NAMESPACE_SHIFT
    return theirs != 0 and (theirs != _namespace("/proc") or _is_foreign("/proc"))


def _is_foreign(proc: str) -> bool:
    from portguard.system import sight  # not for ourselves, of whom `free` asks

    return sight.is_foreign(proc)


def _namespace(proc: str) -> int:
    """Return the number of our PID namespace, 0 if it is unknown."""
    try:
        link = os.readlink(f"{proc}/self/ns/pid")
    except OSError:
        return 0
    number = link.removeprefix("pid:[").removesuffix("]")
    return int(number) if number.isdigit() else 0
