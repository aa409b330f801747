"""Becoming another program: same process, so that signals, job control and the exit code are the program's own."""

from __future__ import annotations

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
    os.execvpe(command[0], list(command), dict(environ))  # noqa: S606 - no shell is what is wanted


def _place(passed: Sequence[int]) -> None:
    """Put descriptors where the program looks for them, in that order."""
    if not passed:
        return
    import fcntl  # POSIX only

    # First out of the way of each other.
    above = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_PASSED + len(passed)) for fd in passed]
    for number, fd in enumerate(above):
        os.dup2(fd, _FIRST_PASSED + number, inheritable=True)
