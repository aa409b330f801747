"""The store's files: opened through the checked directory's descriptor, private, plain, and locked with a deadline.

Nothing here knows what is in them.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

from portguard._contexts import suppress
from portguard.errors import LockTimeoutError, StateError

LOCK_DEADLINE = 5.0  # seconds that one process may keep it
_LONGEST_WAIT = 30.0  # seconds in which it goes from one process to the next, and never to this one
_LOOKS = 16  # at whose it is, in the time that one may keep it
# Soon the same for everyone who waits: longer pauses for those who wait longer would starve them.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.005  # seconds
_LOCK_OFFSET = 1 << 40  # beyond all data: Windows' locks are mandatory


def open_private(path: str, directory: int, name: str, flags: int) -> int:
    """Open a file of the store. Raises StateError if it is not a plain file of this user's own, OSError."""
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if directory < 0:
        return os.open(os.path.join(path, name), flags | getattr(os, "O_BINARY", 0), 0o600)
    try:
        fd = os.open(name, flags, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, f"{name} is a symbolic link") from error
        raise
    status = os.fstat(fd)
    is_plain = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink <= 1
    if not is_plain or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(fd)
        raise StateError(f"{os.path.join(path, name)} is not a private file of this user", "move it away")
    return fd


def open_locked(path: str, directory: int, name: str, deadline: float) -> int:
    """Open a file, made if need be, and lock it. Raises LockTimeoutError if one process keeps it for `deadline` s."""
    end = time.monotonic() + deadline
    while True:
        fd = open_private(path, directory, name, os.O_RDWR | os.O_CREAT)
        try:
            _lock(fd, end, os.path.join(path, name))
            if _is_current(path, directory, name, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was moved away while we waited for it


def close_locked(fd: int) -> None:
    """Unlock and close; explicitly, because a forked child may have inherited the descriptor, and with it the lock.

    Raises OSError if what was written is not sure to be stored.
    """
    try:
        with suppress(OSError):  # closing unlocks as well
            _unlock(fd)
    finally:
        os.close(fd)


def read_whole(fd: int, size: int, offset: int) -> bytes:
    """Return `size` bytes from `offset`, fewer only where the file ends. Raises OSError."""
    data = read_at(fd, size, offset)
    is_again = False
    while len(data) < size:
        more = read_at(fd, size - len(data), offset + len(data))
        if not more:
            if os.fstat(fd).st_size <= offset + len(data):
                break
            if is_again:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        is_again = not more  # someone may just have made it longer
        data += more
    return data


def write_whole(fd: int, data: bytes, offset: int) -> None:
    """Write at `offset`. Raises OSError if not all of it is taken."""
    if write_at(fd, data, offset) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_current(path: str, directory: int, name: str, fd: int) -> bool:
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False) if directory >= 0 else os.stat(f"{path}/{name}")
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def set_aside(path: str, directory: int, name: str, content: bytes) -> None:
    """Keep a copy of what cannot be used, as `name`.corrupt-1 and so on. Raises OSError; then there is no copy."""
    names = set(os.listdir(directory if directory >= 0 else path))
    stem = f"{name}.corrupt"
    unused = next(f"{stem}-{number}" for number in range(1, len(names) + 2) if f"{stem}-{number}" not in names)
    aside = open_private(path, directory, unused, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            write_whole(aside, content, 0)
        finally:
            os.close(aside)
    except OSError:
        with suppress(OSError):
            remove(path, directory, unused)
        raise


def remove(path: str, directory: int, name: str) -> None:
    """Remove a file of the store. Raises OSError."""
    if directory >= 0:
        os.unlink(name, dir_fd=directory)
    else:
        os.unlink(os.path.join(path, name))


if sys.platform == "win32":
    import msvcrt

    def read_at(fd: int, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)

    def write_at(fd: int, data: bytes, offset: int) -> int:
        """Write at `offset`, and return how many bytes were taken."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)

    _BUSY = (errno.EACCES, errno.EDEADLK)

    def _try_lock(fd: int) -> None:
        os.lseek(fd, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _unlock(fd: int) -> None:
        os.lseek(fd, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    read_at, write_at = os.pread, os.pwrite
    _BUSY = (errno.EWOULDBLOCK,)  # EACCES is a security module's word, and no waiting helps

    def _try_lock(fd: int) -> None:
        # flock, not lockf: record locks are lost when any descriptor of the file is closed.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _lock(fd: int, end: float, path: str) -> None:
    """Wait for the lock until `end`, and on while it goes from hand to hand: then no one hangs, there are just many."""
    now = time.monotonic()
    pause, patience, last = _FIRST_PAUSE, end - now, now + max(_LONGEST_WAIT, end - now)
    look = now + patience / _LOOKS
    holder: int | None = None
    while True:
        try:
            return _try_lock(fd)
        except OSError as error:
            if error.errno not in _BUSY:
                raise
        now = time.monotonic()
        if now >= look:
            look = now + patience / _LOOKS
            before, holder = holder, lock_holder(fd)
            if before not in (None, holder):
                end = min(now + patience, last)
            if now >= end:
                who = "another process" if holder is None else f"process {holder}"
                raise LockTimeoutError(
                    f"the lease table {path} is locked by {who}",
                    "see what it does, and stop it if it hangs" + ("" if holder is None else f": ps -fp {holder}"),
                )
        # A section takes microseconds; sleeping longer only when someone is slow. The jitter parts the sleepers.
        time.sleep(pause * (os.urandom(1)[0] + 1) / 256)
        pause = min(pause * 2, _LONGEST_PAUSE)


def lock_holder(fd: int, locks: str = "/proc/locks") -> int | None:
    """Return the pid that holds the flock on the file behind `fd` (proc_locks(5)), None if it is unknown."""
    inode = os.fstat(fd).st_ino
    with suppress(OSError, ValueError), open(locks, encoding="ascii", errors="replace") as table:
        for line in table:
            fields = line.split()
            if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
                return int(fields[4])
    return None
