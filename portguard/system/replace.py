"""Replacing a file of the checkout: as a whole or not at all, and only one that is plainly ours to replace.

What a hostile checkout can plant there, a link, a FIFO, another user's file, is refused before anything is written.
The file is opened once and judged by its descriptor; the new one is made beside it and renamed over it. Two writers
that rename in the same instant are not told apart: the last one wins, wholly.
"""

from __future__ import annotations

import contextlib
import os
import stat

from portguard._namedtuple import NamedTuple
from portguard.errors import OutputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIZE_LIMIT = 1024 * 1024  # bytes

# O_NONBLOCK: opening a FIFO would wait for a writer. Windows has none of the first three.
_SAFE = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class _File(NamedTuple):
    """A file as the user named it (`path`), and `name` as it is reached through the open `directory`.

    Where directories have no descriptors (Windows), that is None and `name` a whole path.
    """

    path: str
    directory: int | None
    name: str


def replace(path: str, inside: str, change: Callable[[bytes], bytes]) -> bool:
    """Replace the file's content by what `change` makes of it (b"" for a missing file); return whether it differs.

    The file must lie in the directory `inside`, and not in a repository's own. Mode, and where permitted owner and
    group, stay. Raises UsageError for a file that is not replaced here; OutputError when it could not be read or
    written, or was changed in the meantime: then it is as it was. What `change` raises is passed on.
    """
    directory, parent, name = _enter(path, inside)
    file = _File(path, directory, name if directory is not None else os.path.join(parent, name))
    try:
        content, status = _read(file)
        changed = change(content)
        if changed == content:
            return False
        try:
            _write(file, changed, status)
        except OSError as error:
            hint = "nothing was changed; run it again when the file can be written"
            raise OutputError(f"{path} could not be written: {error.strerror}", hint) from error
    finally:
        if directory is not None:
            os.close(directory)
    return True


def _enter(path: str, inside: str) -> tuple[int | None, str, str]:
    """Return a descriptor of the file's directory (None on Windows), its real path, and the file's name in it."""
    given, name = os.path.split(path)
    parent, root = os.path.realpath(given or os.curdir), os.path.realpath(inside)
    if name in ("", os.curdir, os.pardir):
        raise UsageError(f"{path} names a directory", "name a file")
    below = os.path.normcase(os.path.join(parent, "")), os.path.normcase(os.path.join(root, ""))
    if not below[0].startswith(below[1]):
        raise UsageError(f"{path} is outside of {inside}: {parent} is not in it", "name a file of this checkout")
    parts = below[0][len(below[1]) :].split(os.sep)
    if ".git" in (part.casefold() for part in (*parts, name)):
        raise UsageError(f"{path} is git's own", "name a file of the checkout itself")
    if os.name == "nt":
        return None, parent, name
    try:
        return os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC), parent, name
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{path} cannot be created: no directory {parent}", "create it first") from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be reached: {error.strerror}", "look at the permissions of its directory"
        ) from error


def _read(file: _File) -> tuple[bytes, os.stat_result | None]:
    """Return the file's content and status; nothing and None if there is none."""
    try:
        fd = _open(file, os.O_RDONLY)
    except FileNotFoundError:
        return b"", None
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):  # the status tells more: links and sockets cannot be opened
            _refuse(file.path, _status(file))
        raise OutputError(f"{file.path} cannot be read: {error.strerror}", "look at its permissions") from error
    try:
        status = os.fstat(fd)
        _refuse(file.path, status)
        with open(fd, "rb", closefd=False) as stream:
            content = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise OutputError(f"{file.path} cannot be read: {error.strerror}", "run it again when it can be") from error
    finally:
        os.close(fd)
    if len(content) > SIZE_LIMIT:
        raise UsageError(f"{file.path} is larger than {SIZE_LIMIT // 1024} KiB", "name another file")
    return content, status


def _open(file: _File, flags: int) -> int:
    if not hasattr(os, "O_NOFOLLOW") and os.path.islink(file.name):
        raise OSError(None, "it is a symbolic link")
    return os.open(file.name, flags | _SAFE, dir_fd=file.directory)


def _status(file: _File) -> os.stat_result:
    return os.stat(file.name, dir_fd=file.directory, follow_symlinks=False)


def _refuse(path: str, status: os.stat_result) -> None:
    """Raise UsageError for what is not one plain file of this user's."""
    if stat.S_ISLNK(status.st_mode):
        raise UsageError(f"{path} is a symbolic link, and links are not followed", "name the file it points to")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is not a regular file", "name another file")
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    if user not in (0, status.st_uid):
        raise UsageError(f"{path} belongs to another user (uid {status.st_uid})", "name a file of your own")
    if status.st_nlink > 1:
        raise UsageError(
            f"{path} has {status.st_nlink} hard links, and replacing it would change only this one",
            "make it a file of its own: copy it, and rename the copy over it",
        )


def _write(file: _File, content: bytes, status: os.stat_result | None) -> None:
    """Put a new file in the place of the one with that status. Raises OSError, OutputError if that is gone."""
    _require_unchanged(file, status)
    if status is not None:
        os.close(_open(file, os.O_WRONLY))  # a write-protected file is not replaced either
    # It begins with the file's name, so that what ignores `.env*` ignores it, should a kill leave it behind.
    new = f"{file.name}.portguard-{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
    fd = os.open(new, flags, 0o666 if status is None else 0o600, dir_fd=file.directory)
    try:
        with open(fd, "wb") as stream:
            stream.write(content)
            stream.flush()
            if status is not None:
                _make_alike(fd, status)
            os.fsync(fd)
        _require_unchanged(file, status)
        os.replace(new, file.name, src_dir_fd=file.directory, dst_dir_fd=file.directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new, dir_fd=file.directory)
        raise
    if file.directory is not None:
        with contextlib.suppress(OSError):  # it is replaced; not every file system can make sure of a directory
            os.fsync(file.directory)


def _make_alike(fd: int, status: os.stat_result) -> None:
    """Give the file the owner and group of `status` if that is permitted, and the mode."""
    mode = stat.S_IMODE(status.st_mode)
    if hasattr(os, "fchown"):
        try:
            os.fchown(fd, status.st_uid, status.st_gid)
        except OSError:
            # Another group than before: it gets no more than everyone.
            mode &= 0o707 | (mode & 0o007) << 3
    if hasattr(os, "fchmod"):
        os.fchmod(fd, mode)


def _require_unchanged(file: _File, status: os.stat_result | None) -> None:
    """Raise OutputError unless the file is still the one with that status (None: still missing)."""
    try:
        there = _identity(_status(file))
    except FileNotFoundError:
        there = None
    if there != (None if status is None else _identity(status)):
        raise OutputError(f"{file.path} was changed while it was being written", "run it again")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what any change changes."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
