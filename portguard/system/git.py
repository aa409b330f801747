"""Which checkout a directory lies in, of which repository, on which branch: from git's own files, without running git.

A linked worktree's `.git` is a file that names its directory, where `commondir` names the repository's common one
(gitrepository-layout(5)). Nothing in them is followed further than that, and no variable of git's is read.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError

_LIMIT = 4096  # bytes


class Worktree(NamedTuple):
    """`root` of the checkout, and the `common` directory of its repository (real path).

    `is_linked` for one that was added to another checkout, or to a bare repository; `branch` it is on, None if it is
    on none or that cannot be read.
    """

    root: str
    branch: str | None
    common: str = ""
    is_linked: bool = False


def worktree_of(directory: str, *, is_strict: bool = False) -> Worktree | None:
    """Return the checkout that `directory` (absolute) lies in, None if it lies in none that can be seen.

    If `is_strict`, raises LookupFailedError where git's files cannot be read: a linked one would pass for a main one.
    """
    while True:
        mark = os.path.join(directory, ".git")
        if _is_there(mark, is_strict=is_strict):
            return _worktree(directory, mark, is_strict=is_strict)
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def _worktree(root: str, mark: str, *, is_strict: bool) -> Worktree:
    own = mark
    is_file = os.path.isfile(mark)
    is_strict &= is_file  # a directory is a main one's
    if is_file:
        named = _read(mark, is_strict=is_strict).removeprefix("gitdir: ")
        own = os.path.join(root, named)
    common = _read(os.path.join(own, "commondir"), is_strict=is_strict)
    head = _read(os.path.join(own, "HEAD"), is_strict=False)
    branch = head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None
    return Worktree(root, branch, os.path.realpath(os.path.join(own, common)), bool(common))


def _is_there(path: str, *, is_strict: bool) -> bool:
    try:
        os.lstat(path)
    except PermissionError:
        return False  # of a directory further up
    except OSError as error:
        _excuse(path, error, is_strict=is_strict)
        return False
    return True


def _read(path: str, *, is_strict: bool) -> str:
    """Return what the file says, "" where there is none, or it says what no path and no branch can be."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            content = os.read(fd, _LIMIT)
        finally:
            os.close(fd)
    except OSError as error:
        _excuse(path, error, is_strict=is_strict)
        return ""
    return "" if b"\0" in content else os.fsdecode(content).strip()


def _excuse(path: str, error: OSError, *, is_strict: bool) -> None:
    """Raise LookupFailedError, if `is_strict`, unless the error says that no such file."""
    if is_strict and not isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
        raise LookupFailedError(
            f"could not determine the checkout: {path}: {error.strerror}", "make it readable"
        ) from error
