"""Whether a process is still the one it was: a pid is given to others, a pid with its start time is not.

On Linux from /proc alone, because `free` asks; elsewhere psutil answers.
"""

from __future__ import annotations

import os
import sys


def start_of(pid: int, *, proc: str = "/proc", platform: str = sys.platform) -> int:
    """Return when `pid` started, as a number that only this process has together with its pid; 0 when it is gone.

    On Linux clock ticks since boot (proc_pid_stat(5), starttime), a zombie being gone; elsewhere milliseconds since
    the epoch.
    """
    if platform != "linux":
        import psutil  # not on Linux

        try:
            return int(psutil.Process(pid).create_time() * 1000)
        except (psutil.Error, OSError, ValueError):
            return 0
    try:
        fd = os.open(f"{proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        # The name in parentheses may contain anything, so what counts stands behind the last one.
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    except OSError:
        return 0
    finally:
        os.close(fd)
    if len(fields) < 20 or fields[0] in (b"Z", b"X", b"x") or not fields[19].isdigit():
        return 0
    return int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether the process that started then still runs; one whose start is not known (0) counts as dead."""
    return started != 0 and pid > 0 and start_of(pid) == started


def terminate(pid: int, started: int) -> bool:
    """Send SIGTERM to the very process that started then, and to no other; false when it is gone or not ours.

    Through a pidfd (pidfd_open(2)): the number cannot be given away between the question and the signal. Linux only.
    """
    import signal  # rarely needed

    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_alive(pid, started):
            return False
        signal.pidfd_send_signal(fd, signal.SIGTERM)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
