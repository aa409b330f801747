"""`list`: everything that listens here, and on request every connection, each with who is behind it.

One dump of the socket tables, one walk through the processes for all of them, and each process described once.
"""

from __future__ import annotations

import os

from portguard._namedtuple import unchecked
from portguard.api.info import name_of
from portguard.errors import UsageError
from portguard.holders import find
from portguard.holders.containers import Engines
from portguard.model import PROTOCOLS, Connection, Listener, Listing, Note
from portguard.rules import services
from portguard.rules.addresses import is_v6
from portguard.rules.verdicts import cause_of
from portguard.system import git, kernel, services_file, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from portguard.model import Holder, Protocol, TableRow

_FAMILIES = (4, 6)


def list_ports(
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    families: Sequence[int] = _FAMILIES,
    connections: bool = False,
    mine: bool = False,
    brief: bool = False,
    processors: int = 1,
    environ: Mapping[str, str] | None = None,
    services_path: str | None = None,
) -> Listing:
    """List the TCP listeners and the bound UDP sockets without a peer; with `connections` all other sockets as well.

    `families` are those of the socket: a dual-stack one is of family 6. `mine`: only what a process of the current
    user holds. `brief` leaves out what a line does not show of a process, and the projects. With several
    `processors` as many processes share the work, for callers without threads. Owners that cannot be seen are unknown,
    and a note counts them. Raises UsageError for an unknown protocol or family, and LookupFailedError where no socket
    table can be read.
    """
    if not protocols or any(protocol not in PROTOCOLS for protocol in protocols):
        raise UsageError(f"unknown protocols {tuple(protocols)!r}", "use tcp, udp or both")
    if not families or any(family not in _FAMILIES for family in families):
        raise UsageError(f"unknown address families {tuple(families)!r}", "use 4, 6 or both")
    rows = [
        row
        for protocol in PROTOCOLS
        if protocol in protocols
        for row in sockets.find_all(protocol, listeners_only=not connections)
    ]
    if len(set(families)) == 1:
        rows = [row for row in rows if is_v6(row.socket.address) == (families[0] == 6)]
    rows.sort(key=_order)
    environ = os.environ if environ is None else environ
    engines = Engines(environ)
    holders = find.holders_of([row.socket for row in rows], brief=brief, processors=processors)
    found = list(zip(rows, holders, strict=True))
    if mine:
        uid, user = _caller()
        found = [(row, holder) for row, holder in found if _is_mine(holder, uid, user)]
    listening: list[Holder] = []
    others: list[tuple[TableRow, Holder]] = []
    for row, holder in found:
        if not connections or cause_of(holder.protocol, row.socket.state) == "listener":
            listening.append(engines.attributed(holder))
        else:
            others.append((row, holder))
    known = services_file.read(services_file.path_of(environ) if services_path is None else services_path)
    users: dict[int, str] = {}
    return Listing(
        tuple(_listeners(listening, known, users, brief=brief)),
        tuple([Connection(holder, row.remote_address, row.remote_port, _user(holder, users)) for row, holder in others])
        if connections
        else None,
        _notes([*listening, *(holder for _, holder in others)]),
    )


def _listeners(
    holders: Sequence[Holder], known: Mapping[tuple[int, str], str], users: dict[int, str], *, brief: bool
) -> Iterator[Listener]:
    checkouts: dict[str, str | None] = {}
    for holder in holders:
        port = holder.port
        user = None if holder.processes else _user(holder, users)
        project = None if brief else _project(holder, checkouts)
        values = (holder, services.range_of(port), name_of(port, holder.protocol, known), user, project)
        yield unchecked(Listener, values)


def _project(holder: Holder, checkouts: dict[str, str | None]) -> str | None:
    """Return the compose project, or the git checkout a process runs in. `checkouts` remembers those by directory."""
    if holder.container is not None and holder.container.compose is not None:
        return holder.container.compose.project
    for process in holder.processes:
        if not process.cwd or not process.cwd_is_shared:
            continue
        if process.cwd not in checkouts:
            worktree = git.worktree_of(process.cwd)
            checkouts[process.cwd] = None if worktree is None else worktree.root
        if checkouts[process.cwd] is not None:
            return checkouts[process.cwd]
    return None


def _order(row: TableRow) -> tuple[object, ...]:
    """By protocol, port and address, IPv4 before IPv6; then by what tells sockets of one endpoint apart."""
    (protocol, address, port, _, _, _, inode, pids), remote_address, remote_port = row
    remote = remote_address or ""
    return protocol, port, ":" in address, address, ":" in remote, remote, remote_port or 0, inode, pids or ()


def _caller() -> tuple[int | None, str | None]:
    """Return our uid, or where there are none our user's name."""
    if hasattr(os, "getuid"):
        return os.getuid(), None
    from portguard.system import processes  # Windows

    return None, processes.describe(os.getpid()).user


def _is_mine(holder: Holder, uid: int | None, user: str | None) -> bool:
    """Whether a process of our user holds it; where no process is known, whether the socket is our user's."""
    if uid is None:
        return user is not None and any(process.user == user for process in holder.processes)
    if holder.processes:
        return any(process.uid == uid for process in holder.processes)
    return holder.owner_status != "kernel" and holder.uid == uid


def _user(holder: Holder, users: dict[int, str]) -> str | None:
    """Return the name of the socket's user, where no process tells a better one. `users` remembers names by uid."""
    uid = holder.uid
    if holder.processes or uid is None or holder.owner_status == "kernel":
        return None
    if uid not in users:
        from portguard.system import processes  # not where all are known

        users[uid] = processes.user_name(uid)
    return users[uid]


def _notes(found: Sequence[Holder]) -> tuple[Note, ...]:
    statuses = [holder.owner_status for holder in found]
    hidden, failed = statuses.count("hidden"), statuses.count("lookup-failed")
    found_notes: list[Note] = []
    if hidden or failed:
        from portguard.rules import notes  # only when there is something to note

        if hidden:
            is_root = kernel.euid() in (None, 0)
            found_notes.append(notes.hidden_owners(hidden, len(found), is_root=is_root))
        if failed:
            found_notes.append(notes.owners_unknown())
    return tuple(found_notes)
