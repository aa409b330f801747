"""Whether a process is still the one it was: a pid is given to others, a pid with its start time is not.

On Linux from /proc alone, because `free` asks; elsewhere psutil answers.
"""

from __future__ import annotations

import sys

from portguard.system import proc_stat


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
    found = proc_stat.read(pid, proc=proc)
    return 0 if found is None or found.is_ended else found.started


def is_alive(pid: int, started: int) -> bool:
    """Whether the process that started then still runs; one whose start is not known (0) counts as dead."""
    return started != 0 and pid > 0 and start_of(pid) == started
