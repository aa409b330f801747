"""Which checkout a directory lies in, and on which branch: read from git's own files, without running git.

A linked worktree's `.git` is a file that names its directory (gitrepository-layout(5)). Nothing in them is followed
further than that.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple

_LIMIT = 4096  # bytes


class Worktree(NamedTuple):
    """`root` of the checkout; `branch` it is on, None when it is on none or that cannot be read."""

    root: str
    branch: str | None


def worktree_of(directory: str) -> Worktree | None:
    """Return the checkout that `directory` (absolute) lies in, None when it lies in none that can be seen."""
    while True:
        mark = os.path.join(directory, ".git")
        if os.path.lexists(mark):
            return Worktree(directory, _branch(mark))
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def _branch(mark: str) -> str | None:
    if os.path.isfile(mark):
        named = _read(mark).removeprefix("gitdir: ")
        mark = os.path.join(os.path.dirname(mark), named)
    head = _read(os.path.join(mark, "HEAD"))
    return head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return ""
    try:
        return os.fsdecode(os.read(fd, _LIMIT)).strip()
    except OSError:
        return ""
    finally:
        os.close(fd)
