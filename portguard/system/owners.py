"""Linux: which processes hold a socket. All of them: a forked server's socket has many owners, and one is an accident.

Reads the links of /proc/PID/fd (proc_pid_fd(5)); names nobody and asks psutil nothing.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set


class Owners(NamedTuple):
    """`pids` by socket inode, ascending; `has_unreadable` when some process hides itself or its descriptors."""

    pids: dict[int, tuple[int, ...]]
    has_unreadable: bool


def find(inodes: Set[int], *, proc: str = "/proc") -> Owners:
    """Return who holds these socket inodes. Raises LookupFailedError where /proc is missing or not ours to see."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    found: dict[int, list[int]] = {inode: [] for inode in wanted.values()}
    try:
        os.stat(f"{proc}/self/fd")
        pids = sorted(int(name) for name in os.listdir(proc) if name.isdigit())
    except OSError as error:
        raise LookupFailedError(f"{proc}: {error.strerror}") from error
    has_unreadable = 1 not in pids  # every /proc has a PID 1; hidepid leaves out what it hides (proc(5))
    for pid in pids if wanted else ():
        holds, is_readable = _inodes_of(f"{proc}/{pid}/fd", wanted)
        has_unreadable |= not is_readable
        for inode in holds:
            found[inode].append(pid)
    return Owners({inode: tuple(holders) for inode, holders in found.items()}, has_unreadable)


def _inodes_of(directory: str, wanted: dict[str, int]) -> tuple[set[int], bool]:
    holds: set[int] = set()
    try:
        names = os.listdir(directory)
    except PermissionError:
        return holds, False
    except OSError:
        return holds, True  # the process has gone
    is_readable = True
    for name in names:
        try:
            link = os.readlink(f"{directory}/{name}")
        except PermissionError:
            is_readable = False
        except OSError:
            continue
        else:
            if link in wanted:
                holds.add(wanted[link])
    return holds, is_readable
