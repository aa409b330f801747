"""Find the config, and decide whether to trust it. Opens files; does not parse them.

The walk goes upwards and has a ceiling: the checkout's root, else the home directory, else it does not go up at all. A
file that another user could have planted on that way is refused (CVE-2022-24765 is what happens otherwise).
"""

from __future__ import annotations

import errno
import os
import stat

from portguard._namedtuple import NamedTuple
from portguard.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_NAME = "portguard.toml"
PYPROJECT = "pyproject.toml"
SIZE_LIMIT = 64 * 1024  # bytes
_LONGEST_LOOK = 4 * 1024 * 1024  # bytes; how far a pyproject.toml is searched for our table
# Every other refusal says that the file is not for us.
_PASSING = (errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
_UNREADABLE = "make it readable, or name another one: --config FILE"
_CHECKOUT_MARKS = (".git", ".hg")  # .git is a file in a linked worktree


class ConfigText(NamedTuple):
    """A config that was found and read: its absolute path, its bytes, and the keys that lead to portguard's table."""

    path: str
    data: bytes
    prefix: tuple[str, ...]


def checkout_root(directory: str) -> str | None:
    """Return the nearest directory from `directory` upwards that is a repository's root, or None."""
    while True:
        if any(os.path.lexists(os.path.join(directory, mark)) for mark in _CHECKOUT_MARKS):
            return directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def home_of(environ: Mapping[str, str]) -> str | None:
    """Return the user's home directory as an absolute path, or None."""
    home = environ.get("HOME") or environ.get("USERPROFILE") or ""
    return os.path.normpath(home) if os.path.isabs(home) else None


def directories(start: str, root: str | None, home: str | None) -> list[str]:
    """Return the directories to look in, `start` first, up to the ceiling."""
    for ceiling in (root, home):
        if ceiling is not None and (start == ceiling or start.startswith(ceiling.rstrip(os.sep) + os.sep)):
            found = [start]
            while found[-1] != ceiling:
                found.append(os.path.dirname(found[-1]))
            return found
    return [start]


def find_config(cwd: str, environ: Mapping[str, str]) -> ConfigText | None:
    """Return the nearest config from `cwd` (absolute) upwards, or None.

    A pyproject.toml counts only when it speaks of portguard. Raises ConfigError for one that may not be believed or
    cannot be read.
    """
    root = checkout_root(cwd)
    for directory in directories(cwd, root, home_of(environ)):
        for name in (FILE_NAME, PYPROJECT):
            path = os.path.join(directory, name)
            text = _read(path, optional=name == PYPROJECT)
            if text is None or (name == PYPROJECT and b"portguard" not in text):
                continue
            reason = distrust(path, cwd=cwd, root=root)
            if reason is not None:
                import shlex  # only on the way to an error

                command = f"portguard check --config {shlex.quote(path)}"
                raise ConfigError((f"{path}: refused: {reason}",), f"if you trust it, name it: {command}")
            if name == FILE_NAME:
                return ConfigText(path, text, ())
            if _has_table(text):
                return ConfigText(path, text, ("tool", "portguard"))
    return None


def read(path: str) -> ConfigText:
    """Return the config at `path`, which the user named, so it is believed. Raises ConfigError."""
    text = _read(path, optional=False)
    if text is None:
        raise ConfigError((f"{path}: no such file",), "check its spelling, or omit --config to search for one")
    is_pyproject = os.path.basename(path) == PYPROJECT
    return ConfigText(path, text, ("tool", "portguard") if is_pyproject else ())


def _has_table(data: bytes) -> bool:
    """Whether a pyproject.toml has `[tool.portguard]`; one broken before that place counts, so that it is seen."""
    from portguard.config.locate import locate  # only where a pyproject.toml speaks of portguard

    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return ("tool", "portguard") in locate(text) or "\n[tool.portguard" in text


def distrust(path: str, *, cwd: str, root: str | None) -> str | None:
    """Return why `path`, found by walking, may have been planted by another user; None if it may be believed.

    Files beside the caller are believed, unless everyone may write there. Windows has no such owner to compare.
    """
    if not hasattr(os, "geteuid"):
        return None
    directory = os.path.dirname(path)
    try:
        is_open_to_all = bool(os.stat(directory).st_mode & stat.S_IWOTH)
        owners = {os.lstat(path).st_uid, os.stat(path).st_uid}
        trusted = {os.geteuid(), 0}
        if root is not None:
            trusted.add(os.stat(root).st_uid)
    except OSError as error:
        return str(error.strerror)
    if directory == cwd and not is_open_to_all:
        return None
    strangers = sorted(owners - trusted)
    if not strangers:
        return None
    where = "in a directory that anyone can write to" if is_open_to_all else "above the working directory"
    return f"it lies {where} and belongs to another user (uid {strangers[0]})"


def is_passing(error: OSError) -> bool:
    """Whether the file is there and for us, and could be read at another time."""
    return error.errno in _PASSING


def _read(path: str, *, optional: bool) -> bytes | None:
    """Return the bytes of a regular file; None if there is none (or, if `optional`, none for this user)."""
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if optional and not is_passing(error):
            return None
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",), _UNREADABLE) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            if optional:
                return None
            raise ConfigError((f"{path}: is not a regular file",))
        with open(fd, "rb", closefd=False) as file:
            data = file.read(_LONGEST_LOOK if optional else SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",), _UNREADABLE) from error
    finally:
        os.close(fd)
    if len(data) > SIZE_LIMIT:
        if optional and b"\n[tool.portguard" not in data:
            return None
        raise ConfigError((f"{path}: is larger than {SIZE_LIMIT // 1024} KiB",), "a list of ports does not need more")
    return data
