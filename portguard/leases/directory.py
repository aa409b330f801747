"""Where leases are kept: a directory that only this user can write to, or none.

Every file is opened through the checked directory's descriptor, so nothing can be swapped in between. There is no
fall-back to a predictable name in a shared place.
"""

from __future__ import annotations

import os
import stat

from portguard.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_HINT = "set PORTGUARD_STATE_DIR to a directory of your own"


def path_of(environ: Mapping[str, str]) -> str:
    """Return the directory's path: $PORTGUARD_STATE_DIR, else $XDG_STATE_HOME/portguard, else its default.

    A relative XDG_STATE_HOME is ignored, as its specification demands. Raises StateError without a home.
    """
    own = environ.get("PORTGUARD_STATE_DIR", "")
    if own:
        return os.path.abspath(own)
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return os.path.join(base, "portguard")
    local = environ.get("LOCALAPPDATA", "") if os.name == "nt" else ""
    if os.path.isabs(local):
        return os.path.join(local, "portguard")
    home = environ.get("HOME", "") or _home_of_user()
    if not os.path.isabs(home) or not os.path.isdir(home):
        raise StateError("no home directory to keep leases in", _HINT)
    return os.path.join(home, ".local", "state", "portguard")


def _home_of_user() -> str:
    """Return the home directory the system knows of, empty if it knows of none."""
    if os.name == "nt":
        return os.path.expanduser("~")
    import pwd  # POSIX only, and only without $HOME

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""


def assignments_name(host: str) -> str:
    """Return the name of the file that keeps the assignments of `host`."""
    return f"assignments-{host}.tsv"


def unusable(what: str, reason: str | None) -> StateError:
    """Return the error that says why this part of the store cannot be used, and what to do instead."""
    return StateError(f"{what} cannot be used: {reason}", _HINT)


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return  # someone else made it just now, or it is not a directory


def is_there(path: str) -> bool:
    """Whether there is anything at `path`, a place of the store. Raises StateError if that is unknown."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unusable(f"the lease store {path}", error.strerror) from error
    return True


def close(fd: int) -> None:
    """Let go of a descriptor that nothing was written through; -1 is none."""
    try:
        if fd >= 0:
            os.close(fd)
    except OSError:
        return  # nothing is lost


def open_directory(path: str, *, create: bool) -> int:
    """Return a descriptor of the directory, which is this user's own and which no one else may write to.

    One that is made here is closed to everyone else. An existing one may be read by others: the files in it may not.

    Raises StateError for any other kind, and when it cannot be made or opened. On Windows, where directories have no
    descriptors and profiles are private, it is only made, and -1 returned.
    """
    fd = -1
    try:
        if create:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.isdir(path):
                _make(path)
        if os.name == "nt":
            return -1
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        status = os.fstat(fd)
    except OSError as error:
        close(fd)
        reason = "it is a symbolic link" if os.path.islink(path) else error.strerror
        raise unusable(f"the lease directory {path}", reason) from error
    if status.st_uid != os.geteuid():
        close(fd)
        raise StateError(f"the lease directory {path} belongs to another user (uid {status.st_uid})", _HINT)
    if stat.S_IMODE(status.st_mode) & 0o022:
        close(fd)
        raise StateError(f"other users may write to the lease directory {path}", f"chmod 700 it, or {_HINT}")
    return fd
