"""The lease table: who has which port for now, changed only under a lock. Stores; decides nothing about ports.

One file per boot and network namespace, because that is what a port number belongs to: after a reboot, or in another
namespace, there is nothing to remember. A header page; then the end of every port's lease, eight bytes each, dense
enough to be searched at once; then a record for every port of who took it. The end is written last and cleared first,
eight bytes inside one page: a killed process leaves a whole lease or none. Times are milliseconds of a clock that only
runs forwards (CLOCK_BOOTTIME), so that setting the wall clock changes nothing.
"""

from __future__ import annotations

import os
import struct
import time

from portguard._contexts import contextmanager, suppress
from portguard._namedtuple import NamedTuple
from portguard.errors import StateError
from portguard.leases.directory import close, is_there, open_directory, unusable
from portguard.leases.files import (
    LOCK_DEADLINE,
    close_locked,
    open_locked,
    open_private,
    read_whole,
    set_aside,
    write_whole,
)
from portguard.leases.quick_look import END_SIZE, ENDS_AT, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_HEADER = struct.Struct("<8sII")  # magic, version, reserved
_MAGIC = b"PORTGRD\0"
_VERSION = 2
_UNWRITTEN = 0
_PORTS = 65536
_END = struct.Struct("<Q")
_PAGE = 4096  # bytes
_RECORD = struct.Struct("<QQIHH")  # taken at, start of the process, its pid, protocol bits, kind
_RECORD_SIZE = 512  # the rest: what for, NUL, on which addresses, NUL, where it was taken, NUL; cut where it is longer
_WORD_SIZE = 48
_RECORDS_AT = ENDS_AT + _PORTS * END_SIZE
_SIZE_LIMIT = _RECORDS_AT + _PORTS * _RECORD_SIZE
_ASIDE_LIMIT = 1 << 20  # bytes of a damaged table that are kept

MAX_TTL = 24 * 60 * 60  # seconds
FOR_LIFE = (1 << 63) - 1  # an end that comes with the end of the process
KINDS = ("free", "hold", "run")
PROTOCOL_BITS = {"tcp": 1, "udp": 2}


class Lease(NamedTuple):
    """Who has a port: `expires` in milliseconds of `now()`, or FOR_LIFE: as long as its process.

    `pid` and `started` (what `is_alive` compares) name the process, `since` is when it was taken, `kind` by what:
    `free`, a hold, or `run`. `name` is what for, `hosts` the declared ones with commas ("": all), `directory` where.
    """

    expires: int
    pid: int
    protocols: int
    started: int = 0
    since: int = 0
    kind: str = "free"
    name: str = ""
    hosts: str = ""
    directory: str = ""


def now() -> int:
    """Return milliseconds since boot, sleep included; outside Linux the wall clock, the one all processes share."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.time_ns() if boottime is None else time.clock_gettime_ns(boottime)) // 1_000_000


def nobody_is_known_dead(_pid: int, _started: int) -> bool:
    """Whether a process lives, for those who cannot tell."""
    return True


class Table:
    """An open table, whose `name` messages have. Use it inside `locked()`; reading alone needs no lock.

    `is_alive(pid, started)` tells whether the process that took a lease for its life still lives. What reads raises
    StateError where that fails.
    """

    def __init__(self, fd: int, name: str, clock: Callable[[], int], is_alive: Callable[[int, int], bool]) -> None:
        self._fd = fd
        self._name = name
        self.clock = clock
        self._is_alive = is_alive

    def unleased(self, ports: Sequence[int]) -> Iterator[int]:
        """Yield those of `ports` that have no unexpired lease, in their order.

        Where most are leased, thousands are passed over at every call: a record is read only where the end does not
        tell, and no one has been content with an earlier port.
        """
        if not ports:
            return
        first, size = min(ports), (max(ports) - min(ports) + 1) * END_SIZE
        ends = memoryview(self._read(size, ENDS_AT + first * END_SIZE).ljust(size, b"\0")).cast("Q")
        now = self.clock()
        latest = now + MAX_TTL * 1000
        for port in [port for port in ports if not now < ends[port - first] <= latest]:
            if not ends[port - first] or self.lease(port) is None:
                yield port

    def lease(self, port: int) -> Lease | None:
        """Return the unexpired lease on `port`, or None.

        An end further away than any lease lasts is damage, or another clock's; it counts as expired.
        """
        data = self._read(END_SIZE, ENDS_AT + port * END_SIZE)
        expires = _END.unpack(data)[0] if len(data) == END_SIZE else 0
        if expires != FOR_LIFE and not 0 < expires - self.clock() <= MAX_TTL * 1000:
            return None
        lease = self._record(port, expires)
        return lease if expires != FOR_LIFE or self._is_alive(lease.pid, lease.started) else None

    def leases(self) -> dict[int, Lease]:
        """Return all unexpired leases by port."""
        data = self._read(_PORTS * END_SIZE, ENDS_AT)
        return {port: lease for port in _with_end(data) if (lease := self.lease(port)) is not None}

    def _record(self, port: int, expires: int) -> Lease:
        data = self._read(_RECORD_SIZE, _RECORDS_AT + port * _RECORD_SIZE).ljust(_RECORD_SIZE, b"\0")
        since, started, pid, protocols, kind = _RECORD.unpack_from(data)
        name, hosts, directory = map(os.fsdecode, (*data[_RECORD.size :].split(b"\0", 3), b"", b"")[:3])
        known = KINDS[kind] if kind < len(KINDS) else KINDS[0]
        return Lease(expires, pid, protocols, started, since, known, name, hosts, directory)

    def write(self, port: int, lease: Lease) -> None:
        """Put `lease` on `port`. Raises OSError if it cannot be stored."""
        data = _RECORD.pack(lease.since, lease.started, lease.pid, lease.protocols, KINDS.index(lease.kind))
        # Hosts that are cut would say less than they mean; none says all.
        hosts = os.fsencode(lease.hosts) if len(lease.hosts) < _WORD_SIZE else b""
        data += os.fsencode(lease.name)[:_WORD_SIZE] + b"\0" + hosts + b"\0" + os.fsencode(lease.directory)
        write_whole(self._fd, data[: _RECORD_SIZE - 1].ljust(_RECORD_SIZE, b"\0"), _RECORDS_AT + port * _RECORD_SIZE)
        write_whole(self._fd, _END.pack(lease.expires), ENDS_AT + port * END_SIZE)

    def clear(self, port: int) -> None:
        """End the lease on `port`, whosever it is. Raises OSError."""
        write_whole(self._fd, _END.pack(0), ENDS_AT + port * END_SIZE)

    def _read(self, size: int, offset: int) -> bytes:
        try:
            return read_whole(self._fd, size, offset)
        except OSError as error:
            raise unusable(self._name, error.strerror) from error

    def release(self, port: int, lease: Lease) -> None:
        """Clear `port` if it still carries exactly this lease."""
        if self.carries(port, lease):
            self.clear(port)

    def carries(self, port: int, lease: Lease) -> bool:
        """Whether `port` still carries exactly this lease; texts may be cut, and do not count."""
        there = self.lease(port)
        return there is not None and identity(there) == identity(lease)


def identity(lease: Lease) -> tuple[int, int, int, int, int, str]:
    """Return what tells a lease from every other one of its port: all but its texts, which the table may cut."""
    return lease.expires, lease.pid, lease.protocols, lease.started, lease.since, lease.kind


def _with_end(data: bytes) -> Iterator[int]:
    """Yield the ports whose end is set; pages without any are passed over at once. 0 is no port, whatever is there."""
    for start in range(0, len(data), _PAGE):
        page = data[start : start + _PAGE]
        if page.strip(b"\0"):
            ends = memoryview(page[: len(page) // END_SIZE * END_SIZE]).cast("Q")
            yield from (port for port, end in enumerate(ends, start // END_SIZE) if end and port)


@contextmanager
def locked(
    path: str,
    key: str,
    *,
    clock: Callable[[], int] = now,
    is_alive: Callable[[int, int], bool] = nobody_is_known_dead,
    deadline: float = LOCK_DEADLINE,
) -> Iterator[Table]:
    """Open the table for `key` in the directory `path`, making both if need be, and hold its lock in the meantime.

    Raises StateError if the store cannot be used, LockTimeoutError when someone else keeps the lock longer than
    `deadline` seconds.
    """
    directory = open_directory(path, create=True)
    name = name_of(key)
    try:
        fd = open_locked(path, directory, name, deadline)
        try:
            _check_header(path, directory, name, fd)
            yield Table(fd, _shown(path, name), clock, is_alive)
        finally:
            close_locked(fd)
    except OSError as error:
        raise unusable(_shown(path, name), error.strerror) from error
    finally:
        close(directory)


@contextmanager
def readable(
    path: str,
    key: str,
    *,
    clock: Callable[[], int] = now,
    is_alive: Callable[[int, int], bool] = nobody_is_known_dead,
    is_required: bool = False,
) -> Iterator[Table | None]:
    """Open the table for reading what is leased, without its lock; None if there is none that can be understood.

    Raises StateError, if `is_required`, for one that is there and cannot be used.
    """
    fd = -1
    try:
        fd = _open_readable(path, name_of(key))
    except StateError:
        if is_required and is_there(path):
            raise
    try:
        yield Table(fd, _shown(path, name_of(key)), clock, is_alive) if fd >= 0 else None
    finally:
        close(fd)


def _open_readable(path: str, name: str) -> int:
    """Return a descriptor of the table, -1 where there is none yet. Raises StateError if it cannot be used."""
    directory = open_directory(path, create=False)
    fd = -1
    try:
        fd = open_private(path, directory, name, os.O_RDONLY)
        version = _version_of(fd)
        if version is not None and version > _VERSION:
            raise StateError(f"{_shown(path, name)} was written by a newer portguard", "update portguard")
        if version == _VERSION:
            fd, found = -1, fd
            return found
    except FileNotFoundError:
        pass
    except OSError as error:
        raise unusable(_shown(path, name), error.strerror) from error
    finally:
        close(fd)
        close(directory)
    return -1


def _check_header(path: str, directory: int, name: str, fd: int) -> None:
    """Make sure of the table's format: write the header of a new one, set a damaged one aside and start afresh.

    Raises StateError for a version this portguard does not know: someone newer uses it.
    """
    version = _version_of(fd)
    if version == _VERSION and os.fstat(fd).st_size <= _SIZE_LIMIT:
        return
    if version is not None and version > _VERSION:
        raise StateError(f"{_shown(path, name)} was written by a newer portguard", "update portguard")
    if version == _UNWRITTEN:
        _remove_dead_tables(directory, name)
    else:
        # Under the lock: copied aside and emptied in place, so that everyone goes on using one and the same file.
        set_aside(path, directory, name, read_whole(fd, _ASIDE_LIMIT, 0))
    os.ftruncate(fd, 0)
    write_whole(fd, _HEADER.pack(_MAGIC, _VERSION, 0), 0)


def _shown(path: str, name: str) -> str:
    return f"the lease table {os.path.join(path, name)}"


def _version_of(fd: int) -> int | None:
    """Return the version of the table's format, None if it is not a table."""
    header = read_whole(fd, _HEADER.size, 0)
    if not header.strip(b"\0"):
        return _UNWRITTEN
    magic, version, _ = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
    return version if magic == _MAGIC and version != _UNWRITTEN else None


def _remove_dead_tables(directory: int, name: str) -> None:
    """Remove the tables of earlier boots. A day untouched: a shared home may hold the live table of another host."""
    if directory < 0:
        return
    boot = name.rpartition("-")[0]
    others: list[str] = []
    with suppress(OSError):  # who cannot clear up can still lease
        others = os.listdir(directory)
    for other in others:
        if other.startswith("leases-") and other.endswith(".table") and not other.startswith(boot):
            with suppress(OSError):
                if time.time() - os.stat(other, dir_fd=directory).st_mtime > MAX_TTL:
                    os.unlink(other, dir_fd=directory)
