"""Describe processes: each fact separately, so that one refusal costs one field.

Never the arguments, never the environment: they carry secrets. Linux is read here, from /proc (proc(5)): psutil costs
twice the interpreter's start, and reads the machine's whole /proc/stat anew for each process. What is told is just what
psutil tells, which answers everywhere else; a test holds the two together.
"""

from __future__ import annotations

import os
import sys

from portguard.model import Process
from portguard.system import proc_stat, sight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

_COMM_LENGTH = 15  # bytes of a name that Linux keeps: TASK_COMM_LEN in include/linux/sched.h, without its NUL
_STATUS_SIZE = 1024  # bytes of /proc/PID/status up to the users, with room to spare
_DELETED = " (deleted)"
_NO_DATE = 253_402_300_800  # seconds since the epoch: the year 10,000
# What Node.js calls its first thread since 22.14 and 23.6 (nodejs/node#56416), and so the kernel the process.
_THREAD_NAME = "MainThread"


def describe(pid: int, *, proc: str = "/proc", platform: str = sys.platform) -> Process:
    """Return what may be known about `pid`; fields that are refused, and all of a process that has gone, are None."""
    return describe_all((pid,), proc=proc, platform=platform)[pid]


def describe_all(
    pids: Iterable[int], *, brief: bool = False, proc: str = "/proc", platform: str = sys.platform
) -> dict[int, Process]:
    """Return `describe` of each by its pid; what they share (the boot time, names of users) is looked up once.

    `brief` leaves out all but their names and users, where it takes three times as long to know the rest.
    """
    if platform != "linux":
        return {pid: _by_psutil(pid) for pid in pids}
    host = _Host(proc)
    describe_one = _by_status if brief else _by_proc
    return {pid: describe_one(pid, host) for pid in pids}


def uids_of(pid: int, *, proc: str = "/proc", platform: str = sys.platform) -> tuple[int, ...] | None:
    """Return the process's real, effective and saved user, None if that is unknown."""
    if platform == "linux":
        uids = _uids(f"{proc}/{pid}/status")
        return None if uids is None or sight.unknown_uid(proc) in uids else uids
    import psutil  # not on Linux

    try:
        return tuple(psutil.Process(pid).uids())
    except (psutil.Error, OSError, ValueError, AttributeError):  # Windows has none
        return None


# ---------------------------------------------------------------- Linux


class _Host:
    """What the processes of one question share: the boot time (seconds since the epoch), and users' names by uid."""

    def __init__(self, proc: str) -> None:
        self.proc = proc
        self.ticks = os.sysconf("SC_CLK_TCK")
        self.nobodys = sight.unknown_uid(proc)
        self._booted: list[float | None] = []
        self._users: dict[int, str] = {}

    def booted(self) -> float | None:
        if not self._booted:
            # It stands behind the interrupts, which can be many.
            found = _read(f"{self.proc}/stat").partition(b"\nbtime ")[2].split(None, 1)
            is_time = bool(found) and found[0].isdigit() and len(found[0]) <= len(str(_NO_DATE))
            self._booted.append(float(found[0]) if is_time else None)
        return self._booted[0]

    def time_of(self, ticks: int) -> float | None:
        """Return what time it was then, None if the boot time is not known, and for what no calendar has."""
        booted = self.booted()
        time = None if booted is None else ticks / self.ticks + booted
        return time if time is not None and time < _NO_DATE else None

    def user(self, uid: int) -> str:
        if uid not in self._users:
            self._users[uid] = user_name(uid)
        return self._users[uid]


def user_name(uid: int) -> str:
    """Return the user's name, where the system has none for the number, the number."""
    import pwd  # POSIX alone

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def _by_status(pid: int, host: _Host) -> Process:
    """Return name and user, from the one file that has both (proc_pid_status(5))."""
    here = f"{host.proc}/{pid}"
    head, _, rest = _read(f"{here}/status", _STATUS_SIZE).partition(b"\nUid:\t")
    name, uid = head.partition(b"\n")[0].removeprefix(b"Name:\t"), rest.partition(b"\t")[0]
    if not uid.isdigit():
        return Process(pid)
    if b"\\" in name:  # the kernel escapes the newline, and with it the backslash itself
        name = b"\\".join(part.replace(b"\\n", b"\n") for part in name.split(b"\\\\"))
    whole, number = _whole_name(os.fsdecode(name), here), int(uid)
    if number == host.nobodys:
        return Process(pid, whole)
    return Process(pid, whole, host.user(number), None, None, None, None, number, False)


def _by_proc(pid: int, host: _Host) -> Process:
    here = f"{host.proc}/{pid}"
    stat = proc_stat.read(pid, proc=host.proc)
    if stat is None:
        return Process(pid)
    uids = _uids(f"{here}/status")
    uid = uids[0] if uids and uids[0] != host.nobodys else None
    cwd = None if stat.is_ended else _link(f"{here}/cwd")
    return Process(
        pid=pid,
        name=_whole_name(stat.name, here),
        user=None if uid is None else host.user(uid),
        exe=None if stat.is_ended else _link(f"{here}/exe") or _named_program(here),
        cwd=cwd,
        started_at=host.time_of(stat.started),
        parent_pid=stat.parent,
        uid=uid,
        cwd_is_shared=cwd is not None and _is_same_directory(f"{here}/cwd", cwd),
    )


def _uids(path: str) -> tuple[int, ...] | None:
    """Return the real, effective and saved uid that a /proc/PID/status tells (proc_pid_status(5))."""
    line = _read(path, _STATUS_SIZE).partition(b"\nUid:")[2].partition(b"\n")[0]
    try:
        real, effective, saved = map(int, line.split()[:3])
    except ValueError:
        return None
    return real, effective, saved


def _link(path: str) -> str | None:
    """Return where a link leads, None if it is unknown; without the mark of a file that was removed."""
    try:
        target = os.readlink(path)
    except OSError:
        return None
    if target.endswith(_DELETED) and not os.path.exists(target):
        target = target.removesuffix(_DELETED)
    return target or None


def _whole_name(name: str, here: str) -> str:
    """Return a name that may be cut as it stands in argv[0], without what follows a space; so one that is a thread's.

    A program that sets its own title has all its arguments there.
    """
    if name == _THREAD_NAME:
        return os.path.basename(_first_argument(here)) or name
    if len(name) < _COMM_LENGTH:
        return name
    whole = os.path.basename(_first_argument(here))
    if whole.startswith(name):
        name = whole
    return name[:_COMM_LENGTH] + name[_COMM_LENGTH:].partition(" ")[0]


def _named_program(here: str) -> str | None:
    """Return the program that argv[0] names with its path, where the kernel does not tell which one it is."""
    path = _first_argument(here)
    return path if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK) else None


def _first_argument(here: str) -> str:
    """Return argv[0]; of a title that was written over the arguments, the first word (psutil's rule)."""
    arguments = os.fsdecode(_read(f"{here}/cmdline"))
    first, _, rest = arguments.partition("\0")
    return first if rest and arguments.endswith("\0") else arguments.rstrip("\0").partition(" ")[0]


def _read(path: str, size: int | None = None) -> bytes:
    """Return the whole file, or its first `size` bytes; b"" if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    parts = []
    try:
        if size is not None:
            return os.read(fd, size)
        while part := os.read(fd, 1 << 16):
            parts.append(part)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return b"".join(parts)


def _is_same_directory(link: str, cwd: str) -> bool:
    """Whether the path of the process's working directory means the same to us: in a container it does not."""
    try:
        return os.path.samestat(os.stat(link), os.stat(cwd))
    except OSError:
        return False


# ---------------------------------------------------------------- everywhere else


def _by_psutil(pid: int) -> Process:
    import psutil  # not on Linux

    def ask(question: Callable[[], T]) -> T | None:
        try:
            return question()
        except (psutil.Error, OSError, ValueError, RuntimeError):
            return None

    try:
        process = psutil.Process(pid)
    except (psutil.Error, OSError, ValueError):
        return Process(pid)
    with process.oneshot():
        cwd = ask(process.cwd) or None
        uids = ask(process.uids) if hasattr(process, "uids") else None
        return Process(
            pid=pid,
            name=ask(process.name),
            user=ask(process.username),
            exe=ask(process.exe) or None,
            cwd=cwd,
            started_at=ask(process.create_time),
            parent_pid=ask(process.ppid),
            uid=uids.real if uids else None,
            cwd_is_shared=cwd is not None and os.path.isdir(cwd),  # no mount namespaces outside Linux
        )
