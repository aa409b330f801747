"""Who holds a port: from a busy endpoint to its sockets, their processes, and the words for them.

Every look-up here may fail; failing lowers what is known and nothing else.
"""

from __future__ import annotations

import os
import sys

from portguard._namedtuple import NamedTuple, unchecked
from portguard.errors import LookupFailedError
from portguard.model import Holder
from portguard.rules.addresses import overlaps
from portguard.rules.verdicts import occupants
from portguard.system import sight, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import Cause, OwnerStatus, Process, Protocol, Socket
    from portguard.system.descriptors import Owners

_LIMIT = 64  # connections on one endpoint; a server's thousands of dying ones say the same thing over and over


class Found(NamedTuple):
    """The answer: `is_table_read` is False if no socket table could be read."""

    cause: Cause
    holders: tuple[Holder, ...]
    is_table_read: bool


def find_holders(protocol: Protocol, addresses: Sequence[str], port: int) -> Found:
    """Return who occupies `port` on one of `addresses`, and why; one holder of unknown state if no one can tell.

    The search for the processes stops when further ones are unlikely.
    """
    try:
        cause, rows = occupants(addresses, sockets.find_sockets(protocol, port, listeners_only=True))
        if cause != "listener":
            cause, rows = occupants(addresses, sockets.find_sockets(protocol, port))
    except LookupFailedError:
        return Found("none", (_nobody(protocol, addresses[0], port, "lookup-failed"),), is_table_read=False)
    if not rows:
        return Found("none", (_nobody(protocol, addresses[0], port, "none-found"),), is_table_read=True)
    found = with_owners(rows, None if cause == "listener" else _LIMIT, all_holders=False)
    return Found(cause, found, is_table_read=True)


def _nobody(protocol: Protocol, address: str, port: int, status: OwnerStatus) -> Holder:
    return Holder(protocol, address, port, None, status, (), processes_complete=status == "none-found")


def distinct(rows: Sequence[Socket]) -> list[Socket]:
    """Return the sockets, equal ones once, IPv4 before IPv6."""
    found = {(row.address, row.state, row.inode, row.pids): row for row in rows}
    return sorted(found.values(), key=lambda row: (":" in row.address, row.address, row.inode))


def is_meant(row: Socket, wanted: Sequence[str]) -> bool:
    """Whether a socket that listens, or is bound, occupies one of these addresses."""
    return any(overlaps(address, row.address, second_v6only=bool(row.v6only)) for address in wanted)


def with_owners(rows: Sequence[Socket], limit: int | None, *, all_holders: bool = True) -> tuple[Holder, ...]:
    """Return the sockets, equal ones once and at most `limit` of them, with the processes behind each.

    Without `all_holders`, the search stops when further processes are unlikely: `owners.find_owners`.
    """
    return holders_of(distinct(rows)[:limit], all_holders=all_holders)


def holders_of(
    rows: Sequence[Socket], *, all_holders: bool = True, brief: bool = False, processors: int = 1
) -> tuple[Holder, ...]:
    """Return a holder for each row: one search for all of them, and each process described once.

    `brief` leaves out all but the processes' names and users, unless several share a socket. `processors` as
    `owners.find_all_owners` takes them.
    """
    owners: Owners | None = None
    if any(row.pids is None for row in rows):
        from portguard.system.owners import find_all_owners, find_owners  # only when a port is busy

        inodes = {row.inode for row in rows}
        try:
            owners = find_all_owners(inodes, processors=processors) if all_holders else find_owners(inodes)
        except LookupFailedError:
            owners = None
    by_inode = owners.pids if owners is not None else {}
    pids = [by_inode.get(row.inode, ()) if row.pids is None else row.pids for row in rows]
    # Most sockets of a process have the same ones behind them.
    by_pids: dict[tuple[int, ...], tuple[Process, ...]] = dict.fromkeys(pids, ())
    if any(by_pids):
        from portguard.system import processes  # as above

        known = processes.describe_all({pid for some in by_pids for pid in some}, brief=brief)
        if brief:
            # Who comes first of several is decided by their ages, which a brief description leaves out.
            known |= processes.describe_all({pid for some in by_pids if len(some) > 1 for pid in some})
        by_pids = {some: tuple([known[pid] for pid in some]) for some in by_pids}
    # psutil names one process a socket. For an ordinary user the processes of others are closed, and any of them may
    # share the socket; what a security module closes even to root is an exception that would make every answer unsure.
    is_whole = owners is not None and owners.is_complete and (not owners.has_unreadable or sight.sees_all())
    nobodys = sight.unknown_uid()
    found = []
    for row, some in zip(rows, pids, strict=True):
        protocol, address, port, state, _, uid, _, named = row
        status = "known" if some else _why_unknown(row, owners)
        is_complete = is_whole and named is None and status != "hidden"
        whose = None if uid == nobodys else uid
        values = (protocol, address, port, state, status, by_pids[some], is_complete, None, None, whose, False)
        found.append(unchecked(Holder, values))
    return tuple(found)


def _why_unknown(row: Socket, owners: Owners | None) -> OwnerStatus:
    if row.pids is not None:
        is_other_user = not sight.sees_all() and row.uid != os.geteuid()
        return "hidden" if is_other_user or sys.platform == "win32" else "none-found"
    if row.inode == 0:
        return "kernel"  # TIME_WAIT and half-closed connections belong to no process any more
    if owners is None:
        return "lookup-failed"
    return "hidden" if owners.has_unreadable else "none-found"
