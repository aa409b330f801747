"""/proc/PID/stat, read once and for all: who a process's parent is, its job, and when it started (proc_pid_stat(5)).

The name in parentheses is anyone's to choose and may contain anything, so the fields stand behind the last one.
"""

from __future__ import annotations

import os

from portguard.model import ProcessStat

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD, include/linux/sched.h
_FIELDS = 20  # up to the start time
_NEVER = 1 << 64  # clock ticks; the kernel counts them in 64 bits
_LIMIT = 4096  # bytes; a name has at most 64 of them
_ENDED = ("Z", "X", "x")


def read(pid: int | str, *, proc: str = "/proc") -> ProcessStat | None:
    """Return what the kernel says of `pid` ("self" for us), None if it is gone or closed to us."""
    try:
        return look(pid, proc=proc)
    except OSError:
        return None


def look(pid: int | str, *, proc: str = "/proc") -> ProcessStat | None:
    """Return what the kernel says of `pid`, None if it is gone. Raises OSError if that is unknown."""
    try:
        fd = os.open(f"{proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        head, _, tail = os.read(fd, _LIMIT).rpartition(b")")
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    state, *fields = tail.split(None, _FIELDS) or [b""]
    try:
        parent, group, session, terminal, _, flags = map(int, fields[:6])
        started = int(fields[_FIELDS - 2])
    except (ValueError, IndexError):
        return None
    if parent < 0 or not 0 <= started < _NEVER:
        return None
    name = os.fsdecode(head.partition(b"(")[2])
    is_ended = state.decode("ascii", "replace") in _ENDED
    return ProcessStat(name, parent, group, session, terminal, bool(flags & _KERNEL_THREAD), started, is_ended)


def read_all(*, proc: str = "/proc") -> dict[int, ProcessStat]:
    """Return all processes that can be seen, by pid; none if there is no /proc."""
    try:
        pids = [int(name) for name in os.listdir(proc) if name.isascii() and name.isdigit()]
    except OSError:
        return {}
    return {pid: found for pid in pids if (found := read(pid, proc=proc)) is not None}
