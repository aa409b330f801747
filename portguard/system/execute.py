"""Become another program in the same process: signals, job control and the exit code are the program's own."""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIRST_PASSED = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


def execute(command: Sequence[str], environ: Mapping[str, str], passed: Sequence[int] = ()) -> int:  # noqa: RET503 - exec does not return
    """Become `command`, looked up on the PATH of `environ`; `passed` descriptors are its 3, 4, ... Raises OSError.

    Returns only on Windows, which cannot do that: the exit code of a child.
    """
    if not command[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if os.name == "nt":
        import subprocess  # there is no exec that waits

        return subprocess.call(list(command), env=dict(environ))  # noqa: S603 - what the user asked for
    import signal  # for this alone

    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and what is ignored stays so across exec
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    _place(passed)
    os.execvpe(command[0], list(command), _uncoerced(environ))  # noqa: S606 - no shell is what is wanted


def _place(passed: Sequence[int]) -> None:
    """Put descriptors where the program looks for them, in that order."""
    if not passed:
        return
    import fcntl  # POSIX only

    # First out of the way of each other.
    above = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_PASSED + len(passed)) for fd in passed]
    for number, fd in enumerate(above):
        os.dup2(fd, _FIRST_PASSED + number, inheritable=True)


def _uncoerced(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without what Python has set for itself in the C locale (PEP 538)."""
    found = dict(environ)
    if found.get("LC_CTYPE") not in ("C.UTF-8", "C.utf8", "UTF-8"):
        return found
    try:
        with open("/proc/self/environ", "rb") as file:  # as it was when this process began
            pairs = [os.fsdecode(pair).partition("=") for pair in file.read().split(b"\0")]
    except OSError:
        return found
    before = {name: value for name, _, value in pairs}
    del found["LC_CTYPE"]
    return found | ({"LC_CTYPE": before["LC_CTYPE"]} if "LC_CTYPE" in before else {})
