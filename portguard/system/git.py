"""Which checkout a directory lies in, of which repository, on which branch: from git's own files, without running git.

A linked worktree's `.git` is a file that names its directory, where `commondir` names the repository's common one
(gitrepository-layout(5)). Nothing in them is followed further than that, and no variable of git's is read.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple

_LIMIT = 4096  # bytes


class Worktree(NamedTuple):
    """`root` of the checkout, and the `common` directory of its repository (real path).

    `is_linked` for one that was added to another checkout, or to a bare repository; `branch` it is on, None when it is
    on none or that cannot be read.
    """

    root: str
    branch: str | None
    common: str = ""
    is_linked: bool = False


def worktree_of(directory: str) -> Worktree | None:
    """Return the checkout that `directory` (absolute) lies in, None when it lies in none that can be seen."""
    while True:
        mark = os.path.join(directory, ".git")
        if os.path.lexists(mark):
            return _worktree(directory, mark)
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def _worktree(root: str, mark: str) -> Worktree:
    own = mark
    if os.path.isfile(mark):
        named = _read(mark).removeprefix("gitdir: ")
        own = os.path.join(root, named)
    common = _read(os.path.join(own, "commondir"))
    head = _read(os.path.join(own, "HEAD"))
    branch = head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None
    return Worktree(root, branch, os.path.realpath(os.path.join(own, common)), bool(common))


def _read(path: str) -> str:
    """Return what the file says, "" where it cannot be read, or says what no path and no branch can be."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return ""
    try:
        content = os.read(fd, _LIMIT)
    except OSError:
        return ""
    finally:
        os.close(fd)
    return "" if b"\0" in content else os.fsdecode(content).strip()
