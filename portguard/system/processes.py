"""What a process is: psutil's answers, each on its own, so that one refusal costs one field.

Never the arguments, never the environment: they carry secrets. psutil is imported here only when somebody holds a port.
"""

from __future__ import annotations

import os
import sys

import psutil

from portguard.model import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_COMM_LENGTH = 15  # bytes of a name that Linux keeps: TASK_COMM_LEN in include/linux/sched.h, without its NUL


def describe(pid: int, *, proc: str = "/proc") -> Process:
    """Return what may be known about `pid`; fields that are refused, and all of a process that has gone, are None."""
    try:
        process = psutil.Process(pid)
    except (psutil.Error, OSError, ValueError):
        return Process(pid)
    with process.oneshot():
        cwd = _ask(process.cwd) or None
        uids = _ask(process.uids) if hasattr(process, "uids") else None
        return Process(
            pid=pid,
            name=_ask(lambda: _name(process)),
            user=_ask(process.username),
            exe=_ask(process.exe) or None,
            cwd=cwd,
            started_at=_ask(process.create_time),
            parent_pid=_ask(process.ppid),
            uid=uids.real if uids else None,
            cwd_is_shared=cwd is not None and _is_same_directory(f"{proc}/{pid}/cwd", cwd),
        )


def _name(process: psutil.Process) -> str:
    """Return the name without what follows a space: on Linux psutil completes a cut name from argv[0].

    A program that sets its own title has all its arguments there.
    """
    name = process.name()
    if sys.platform != "linux":
        return name
    return name[:_COMM_LENGTH] + name[_COMM_LENGTH:].partition(" ")[0]


def _ask(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except (psutil.Error, OSError, ValueError, RuntimeError):
        return None


def _is_same_directory(link: str, cwd: str) -> bool:
    """Whether the path of the process's working directory means the same to us: in a container it does not."""
    if not os.path.lexists(link):  # no /proc outside Linux, and no mount namespaces either
        return os.path.isdir(cwd)
    try:
        return os.path.samestat(os.stat(link), os.stat(cwd))
    except OSError:
        return False
