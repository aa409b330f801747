"""The table of leases: one fixed slot a port, changed only under a lock. Storage; it decides nothing about ports.

One file per boot and network namespace, because that is what a port number belongs to: after a reboot, or in another
namespace, there is nothing to remember. Slot 0, the port nobody can have, holds the header. A slot is 16 bytes inside
one page, written at once: a killed process leaves a whole slot or none. Times are milliseconds of a clock that only
runs forwards (CLOCK_BOOTTIME), so that setting the wall clock changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import sys
import time

from portguard._namedtuple import NamedTuple
from portguard.errors import LockTimeoutError, StateError
from portguard.leases.directory import open_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SLOT = struct.Struct("<QII")  # expires at, pid of the taker, protocol bits
_HEADER = struct.Struct("<8sII")  # magic, version, reserved
_MAGIC = b"PORTGRD\0"
_VERSION = 1
_UNWRITTEN = 0
_PORTS = 65536
_SIZE_LIMIT = _PORTS * _SLOT.size

MAX_TTL = 24 * 60 * 60  # seconds
_LOCK_DEADLINE = 5.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.01  # seconds


class Lease(NamedTuple):
    """A slot's content: `expires` in milliseconds of `now()`, `pid` of the process that took it."""

    expires: int
    pid: int
    protocols: int


def now() -> int:
    """Return milliseconds since boot, sleep included; outside Linux the wall clock, the one all processes share."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.time_ns() if boottime is None else time.clock_gettime_ns(boottime)) // 1_000_000


class Table:
    """An open table. Use it inside `locked()`; reading alone needs no lock."""

    def __init__(self, fd: int, clock: Callable[[], int]) -> None:
        self._fd = fd
        self.clock = clock

    def lease(self, port: int) -> Lease | None:
        """Return the unexpired lease on `port`, or None.

        An end further away than any lease lasts is damage, or another clock's; it counts as expired.
        """
        data = _read_at(self._fd, _SLOT.size, port * _SLOT.size)
        if len(data) < _SLOT.size:
            return None
        lease = Lease(*_SLOT.unpack(data))
        return lease if 0 < lease.expires - self.clock() <= MAX_TTL * 1000 else None

    def write(self, port: int, lease: Lease) -> None:
        """Put `lease` on `port`. Raises OSError when it cannot be stored."""
        data = _SLOT.pack(*lease)
        if _write_at(self._fd, data, port * _SLOT.size) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def release(self, port: int, lease: Lease) -> None:
        """Clear `port` if it still carries exactly this lease."""
        if self.lease(port) == lease:
            self.write(port, Lease(0, 0, 0))


@contextlib.contextmanager
def locked(path: str, key: str, *, clock: Callable[[], int] = now, deadline: float = _LOCK_DEADLINE) -> Iterator[Table]:
    """Open the table for `key` in the directory `path`, making both if need be, and hold its lock meanwhile.

    Raises StateError when the store cannot be used, LockTimeoutError when somebody else keeps the lock longer than
    `deadline` seconds.
    """
    directory = open_directory(path, create=True)
    name = f"leases-{key}.table"
    try:
        fd = _open_locked(path, directory, name, deadline)
        try:
            _check_header(path, directory, name, fd)
            yield Table(fd, clock)
        finally:
            # Explicitly: a forked child may have inherited the descriptor, and with it the lock.
            _unlock(fd)
            os.close(fd)
    except OSError as error:
        raise StateError(f"the lease table {os.path.join(path, name)} cannot be used: {error.strerror}") from error
    finally:
        if directory >= 0:
            os.close(directory)


@contextlib.contextmanager
def readable(path: str, key: str, *, clock: Callable[[], int] = now) -> Iterator[Table | None]:
    """Open the table for reading what is leased, without its lock; None where there is none that can be understood."""
    try:
        directory = open_directory(path, create=False)
    except StateError:
        yield None
        return
    try:
        fd = _open(path, directory, f"leases-{key}.table", os.O_RDONLY)
    except (OSError, StateError):
        fd = -1
    try:
        yield Table(fd, clock) if fd >= 0 and _version_of(fd) == _VERSION else None
    finally:
        for descriptor in (fd, directory):
            if descriptor >= 0:
                os.close(descriptor)


def _open(path: str, directory: int, name: str, flags: int) -> int:
    """Open a file of the store. Raises StateError when it is not a plain file of this user's own."""
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if directory < 0:
        return os.open(os.path.join(path, name), flags | getattr(os, "O_BINARY", 0), 0o600)
    fd = os.open(name, flags, 0o600, dir_fd=directory)
    status = os.fstat(fd)
    is_plain = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink <= 1
    if not is_plain or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(fd)
        raise StateError(f"{os.path.join(path, name)} is not a private file of this user", "move it away")
    return fd


def _open_locked(path: str, directory: int, name: str, deadline: float) -> int:
    end = time.monotonic() + deadline
    while True:
        fd = _open(path, directory, name, os.O_RDWR | os.O_CREAT)
        try:
            _lock(fd, end, os.path.join(path, name))
            if _is_current(path, directory, name, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was moved away while we waited for it


def _is_current(path: str, directory: int, name: str, fd: int) -> bool:
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False) if directory >= 0 else os.stat(f"{path}/{name}")
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def _check_header(path: str, directory: int, name: str, fd: int) -> None:
    """Make sure of the table's format: write the header of a new one, set a damaged one aside and start afresh.

    Raises StateError for a version this portguard does not know: somebody newer uses it.
    """
    version = _version_of(fd)
    if version == _VERSION and os.fstat(fd).st_size <= _SIZE_LIMIT:
        return
    if version == _UNWRITTEN:
        _write_at(fd, _HEADER.pack(_MAGIC, _VERSION, 0), 0)
        _remove_dead_tables(directory, name)
        return
    if version not in (None, _VERSION):
        raise StateError(f"the lease table {os.path.join(path, name)} is of a newer portguard", "update portguard")
    # Under the lock: copied aside and emptied in place, so that everybody goes on using one and the same file.
    aside = _open(path, directory, _unused_name(path, directory, f"{name}.corrupt"), os.O_WRONLY | os.O_CREAT)
    try:
        os.write(aside, _read_at(fd, _SIZE_LIMIT, 0))
    finally:
        os.close(aside)
    os.ftruncate(fd, 0)
    _write_at(fd, _HEADER.pack(_MAGIC, _VERSION, 0), 0)


def _version_of(fd: int) -> int | None:
    """Return the version of the table's format, None if it is no table."""
    header = _read_at(fd, _HEADER.size, 0)
    if not header.strip(b"\0"):
        return _UNWRITTEN
    magic, version, _ = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
    return version if magic == _MAGIC and version != _UNWRITTEN else None


def _unused_name(path: str, directory: int, stem: str) -> str:
    names = set(os.listdir(directory if directory >= 0 else path))
    return next(f"{stem}-{number}" for number in range(1, len(names) + 2) if f"{stem}-{number}" not in names)


def _remove_dead_tables(directory: int, name: str) -> None:
    """Remove the tables of earlier boots. A day untouched: a shared home may hold the live table of another host."""
    if directory < 0:
        return
    boot = name.rpartition("-")[0]
    for other in os.listdir(directory):
        if other.startswith("leases-") and other.endswith(".table") and not other.startswith(boot):
            with contextlib.suppress(OSError):
                if time.time() - os.stat(other, dir_fd=directory).st_mtime > MAX_TTL:
                    os.unlink(other, dir_fd=directory)


if sys.platform == "win32":
    import msvcrt

    def _read_at(fd: int, size: int, offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)

    def _write_at(fd: int, data: bytes, offset: int) -> int:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)

    def _try_lock(fd: int) -> None:
        os.lseek(fd, _SIZE_LIMIT, os.SEEK_SET)  # beyond the data: Windows' locks are mandatory
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _unlock(fd: int) -> None:
        os.lseek(fd, _SIZE_LIMIT, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    _read_at, _write_at = os.pread, os.pwrite

    def _try_lock(fd: int) -> None:
        # flock, not lockf: record locks are lost when any descriptor of the file is closed.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _lock(fd: int, end: float, path: str) -> None:
    pause = _FIRST_PAUSE
    while True:
        try:
            return _try_lock(fd)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise
        if time.monotonic() >= end:
            pid = lock_holder(fd)
            who = "another process" if pid is None else f"process {pid}"
            raise LockTimeoutError(
                f"the lease table {path} is locked by {who}",
                "see what it does, and end it if it hangs" + ("" if pid is None else f": ps -fp {pid}"),
            )
        # A section takes microseconds; sleeping longer only when somebody is slow. The jitter parts the sleepers.
        time.sleep(pause * (os.urandom(1)[0] + 1) / 256)
        pause = min(pause * 2, _LONGEST_PAUSE)


def lock_holder(fd: int, locks: str = "/proc/locks") -> int | None:
    """Return the pid that holds the flock on the file behind `fd` (proc_locks(5)), None if it cannot be told."""
    inode = os.fstat(fd).st_ino
    try:
        with open(locks, encoding="ascii", errors="replace") as table:
            for line in table:
                fields = line.split()
                if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
                    return int(fields[4])
    except (OSError, ValueError):
        pass
    return None
