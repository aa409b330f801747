"""Who has it: from a busy endpoint to the sockets, processes and words behind it.

Every look-up here may fail; failing lowers what is known and nothing else.
"""

from __future__ import annotations

import os
import sys

from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError
from portguard.model import Holder
from portguard.rules.verdicts import occupants
from portguard.system import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import Cause, OwnerStatus, Process, Protocol, Socket
    from portguard.system.owners import Owners

_LIMIT = 64  # connections on one endpoint; a server's thousands of dying ones say the same thing over and over


class Found(NamedTuple):
    """The answer: `is_table_read` is False when no socket table could be read."""

    cause: Cause
    holders: tuple[Holder, ...]
    is_table_read: bool


def find(protocol: Protocol, addresses: Sequence[str], port: int) -> Found:
    """Return who occupies `port` on one of `addresses`, and why; one holder of unknown state where nobody can tell."""
    try:
        cause, rows = occupants(addresses, sockets.find(protocol, port, listeners_only=True))
        if cause != "listener":
            cause, rows = occupants(addresses, sockets.find(protocol, port))
    except LookupFailedError:
        return Found("none", (_nobody(protocol, addresses[0], port, "lookup-failed"),), is_table_read=False)
    if not rows:
        return Found("none", (_nobody(protocol, addresses[0], port, "none-found"),), is_table_read=True)
    return Found(cause, with_owners(rows, None if cause == "listener" else _LIMIT), is_table_read=True)


def _nobody(protocol: Protocol, address: str, port: int, status: OwnerStatus) -> Holder:
    return Holder(protocol, address, port, None, status, (), processes_complete=status == "none-found")


def with_owners(rows: Sequence[Socket], limit: int | None) -> tuple[Holder, ...]:
    """Return the sockets, equal ones once and at most `limit` of them, with the processes behind each."""
    distinct = {(row.address, row.state, row.inode, row.pids): row for row in rows}
    chosen = sorted(distinct.values(), key=lambda row: (":" in row.address, row.address, row.inode))[:limit]
    owners: Owners | None = None
    if any(row.pids is None for row in chosen):
        from portguard.system import owners as search  # only when a port is busy

        try:
            owners = search.find({row.inode for row in chosen})
        except LookupFailedError:
            owners = None
    known: dict[int, Process] = {}
    return tuple(holder_of(row, owners, known) for row in chosen)


def holder_of(row: Socket, owners: Owners | None, known: dict[int, Process]) -> Holder:
    """Return a socket with its processes. `known` remembers those that were described; `owners` None: not to be had."""
    pids = row.pids if row.pids is not None else owners.pids.get(row.inode, ()) if owners else ()
    if pids:
        from portguard.system import processes  # psutil: twice the interpreter's start

        known.update({pid: processes.describe(pid) for pid in pids if pid not in known})
    status = "known" if pids else _why_unknown(row, owners)
    # psutil names one process a socket. For an ordinary user the processes of others are closed, and any of them may
    # share the socket; what a security module closes even to root is an exception that would make every answer unsure.
    is_complete = row.pids is None and owners is not None and status != "hidden"
    is_complete = is_complete and not (owners is not None and owners.has_unreadable and not is_root())
    people = tuple(known[pid] for pid in pids)
    return Holder(row.protocol, row.address, row.port, row.state, status, people, is_complete, uid=row.uid)


def _why_unknown(row: Socket, owners: Owners | None) -> OwnerStatus:
    is_other_user = not is_root() and row.uid != os.geteuid()
    if row.pids is not None:
        return "hidden" if is_other_user or sys.platform == "win32" else "none-found"
    if row.inode == 0:
        return "kernel"  # TIME_WAIT and half-closed connections belong to no process any more
    if owners is None:
        return "lookup-failed"
    return "hidden" if is_other_user or owners.has_unreadable else "none-found"


def is_root() -> bool:
    """Whether nothing is hidden from this user for want of rights; Windows does not tell."""
    return not hasattr(os, "geteuid") or os.geteuid() == 0
