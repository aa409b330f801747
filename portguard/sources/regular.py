"""Read a small text file that anyone may have put there: a regular file, and no more of it than is sane."""

from __future__ import annotations

import os
import stat

SIZE_LIMIT = 1024 * 1024  # bytes


def read(path: str) -> str | None:
    """Return the text of the regular file at `path`, None if there is none; a byte order mark is skipped.

    Raises OSError if it cannot be read, ValueError when it is larger than the limit.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            data = file.read(SIZE_LIMIT + 1)
    finally:
        os.close(fd)
    if len(data) > SIZE_LIMIT:
        raise ValueError(f"larger than {SIZE_LIMIT // 1024} KiB")
    return data.decode("utf-8-sig", "replace")
