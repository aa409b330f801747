"""Assignments: the numbers that belong to a checkout until they are released, the same in every shell and boot.

One text file per host, a line for each number, replaced as a whole under a lock of its own; reading needs no lock.
Fields are separated by tabs; in them backslash, tab and line ends are escaped. A line that cannot be understood costs
that line: the file is kept aside, the others stay.
"""

from __future__ import annotations

import os
import time

from portguard._contexts import contextmanager, suppress
from portguard._namedtuple import NamedTuple
from portguard.errors import StateError
from portguard.leases.directory import assignments_name, close, is_there, open_directory, unusable
from portguard.leases.files import close_locked, open_locked, open_private, read_whole, remove, set_aside
from portguard.rules.ranges import LAST_PORT, decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from portguard.model import Checkout

_HEADER = "portguard-assignments"
_VERSION = 1
_SIZE_LIMIT = 16 << 20  # bytes; 65,535 lines of long paths are less
_NUMBER_DIGITS = 12
_FIELDS = 7
_LOCK_DEADLINE = 10.0  # seconds; a hundred checkouts may ask for their first numbers at once
KINDS = ("isolated", "moved")


class Assignment(NamedTuple):
    """The number `port` belongs to declaration `name` of the config in `directory` (absolute) of one checkout.

    The checkout is its `root` and its repository's `common` directory ("" without git). `kind` tells why it has a
    number of its own: the checkout is isolated, or this port was moved. `since` is in seconds since the epoch.
    """

    port: int
    since: int
    kind: str
    name: str
    directory: str
    root: str
    common: str


def read(path: str, host: str) -> tuple[Assignment, ...]:
    """Return all assignments in the store at `path`; none if there is no store.

    Raises StateError if there is one that cannot be used.
    """
    if not is_there(path):
        return ()
    directory = open_directory(path, create=False)
    try:
        return _parse(path, host, _content(path, directory, assignments_name(host)))[0]
    finally:
        close(directory)


@contextmanager
def locked(path: str, host: str, *, deadline: float = _LOCK_DEADLINE) -> Iterator[Book]:
    """Lock the assignments in the store at `path`, which is made if need be, for changing them.

    Raises StateError if they cannot be used, LockTimeoutError when someone else keeps the lock.
    """
    directory = open_directory(path, create=True)
    where = os.path.join(path, assignments_name(host))
    try:
        fd = open_locked(path, directory, f"assignments-{host}.lock", deadline)
        try:
            content = _content(path, directory, assignments_name(host))
            found, is_damaged = _parse(path, host, content)
            yield Book(path, directory, assignments_name(host), found, content if is_damaged else None)
        finally:
            close_locked(fd)
    except OSError as error:
        raise unusable(f"the assignments {where}", error.strerror) from error
    finally:
        close(directory)


class Book:
    """The assignments while they are locked: `all` of them, and `save`, which replaces them at once or not at all."""

    def __init__(
        self, path: str, directory: int, name: str, found: tuple[Assignment, ...], damaged: bytes | None
    ) -> None:
        self.all = found
        self._damaged = damaged
        self._path = path
        self._directory = directory
        self._name = name

    def save(self, assignments: Iterable[Assignment]) -> None:
        """Store exactly these. Raises StateError; then what was stored before still is."""
        kept = tuple(sorted(assignments))
        try:
            self._save(kept)
        except OSError as error:
            raise unusable(f"the assignments {os.path.join(self._path, self._name)}", error.strerror) from error
        self.all = kept

    def _save(self, kept: tuple[Assignment, ...]) -> None:
        if self._damaged is not None:
            set_aside(self._path, self._directory, self._name, self._damaged)
            self._damaged = None
        lines = [f"{_HEADER} {_VERSION}", *("\t".join(map(_escape, item)) for item in kept), ""]
        temporary = f"{self._name}.new"  # one name: anyone who is killed leaves at most one, and the lock is held
        with suppress(FileNotFoundError):
            remove(self._path, self._directory, temporary)
        fd = open_private(self._path, self._directory, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with open(fd, "wb") as file:
                file.write(os.fsencode("\n".join(lines)))
                file.flush()
                os.fsync(fd)
            self._rename(temporary)
        except OSError:
            with suppress(OSError):
                remove(self._path, self._directory, temporary)
            raise

    def _rename(self, temporary: str) -> None:
        if self._directory >= 0:
            os.replace(temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        else:
            os.replace(os.path.join(self._path, temporary), os.path.join(self._path, self._name))


def new(port: int, kind: str, name: str, checkout: Checkout) -> Assignment:
    """Return an assignment made now."""
    return Assignment(port, int(time.time()), kind, name, checkout.directory, checkout.root, checkout.common)


def _content(path: str, directory: int, name: str) -> bytes:
    fd = -1
    try:
        fd = open_private(path, directory, name, os.O_RDONLY)
        return read_whole(fd, min(os.fstat(fd).st_size, _SIZE_LIMIT), 0)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise unusable(f"the assignments {os.path.join(path, name)}", error.strerror) from error
    finally:
        close(fd)


def _parse(path: str, host: str, content: bytes) -> tuple[tuple[Assignment, ...], bool]:
    """Return the assignments of the lines that can be understood, and whether some cannot.

    Raises StateError for a version this portguard does not know.
    """
    if not content:
        return (), False
    first, *lines = os.fsdecode(content).split("\n")
    word, _, version = first.partition(" ")
    if word == _HEADER and version.isascii() and version.isdigit() and (len(version) > 9 or int(version) > _VERSION):
        where = os.path.join(path, assignments_name(host))
        raise StateError(f"the assignments {where} were written by a newer portguard", "update portguard")
    found: dict[int, Assignment] = {}
    keys: set[tuple[str, ...]] = set()
    is_damaged = first != f"{_HEADER} {_VERSION}"
    for line in lines:
        item = _assignment(line)
        if item is None:
            is_damaged |= bool(line)
        elif item.port in found or (item.name, *item[4:]) in keys:
            is_damaged = True
        else:
            found[item.port] = item
            keys.add((item.name, *item[4:]))
    return tuple(found.values()), is_damaged


def _assignment(line: str) -> Assignment | None:
    fields = line.split("\t")
    if len(fields) != _FIELDS or "\0" in line:
        return None
    kind, *texts = fields[2:]
    port, since = decimal(fields[0], _NUMBER_DIGITS), decimal(fields[1], _NUMBER_DIGITS)
    if port is None or since is None or not 0 < port <= LAST_PORT or kind not in KINDS or not all(texts[:3]):
        return None
    name, directory, root, common = (_unescape(text) if "\\" in text else text for text in texts)
    return Assignment(port, since, kind, name, directory, root, common)


def _escape(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r")


def _unescape(text: str) -> str:
    parts = text.split("\\\\")  # an escaped backslash begins no other escape
    return "\\".join(part.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") for part in parts)
