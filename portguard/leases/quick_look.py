"""A quick look at the lease table: does it mention these ports at all? Usually not, and nothing else is loaded.

Where the ends of leases stand in the file; `table` gives them their meaning, and believes or disbelieves the file.
"""

from __future__ import annotations

import os

from portguard.leases.directory import close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ENDS_AT = 4096
END_SIZE = 8


def name_of(key: str) -> str:
    """Return the name of the file that keeps the leases of `key`, a boot and a network namespace."""
    return f"leases-{key}.table"


def may_have(path: str, key: str, ports: Iterable[int]) -> bool:
    """Whether the table for `key` in the directory `path` says anything about one of `ports`.

    False is certain: no file, or no end of a lease there. What cannot be read may have it.
    """
    if not hasattr(os, "pread"):
        return True
    try:
        fd = os.open(os.path.join(path, name_of(key)), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return any(os.pread(fd, END_SIZE, ENDS_AT + port * END_SIZE).strip(b"\0") for port in ports)
    except OSError:
        return True
    finally:
        close(fd)
