"""Who else was given a port that nothing listens on: another checkout, a command, or a hold.

What `free` handed out for a while is no one's rival: anyone who asks may be the one it was handed to.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import StateError
from portguard.leases import directory, quick_look
from portguard.system import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from portguard.leases.assignments import Assignment
    from portguard.leases.table import Lease
    from portguard.model import Checkout, Declaration, Note, Process, Protocol, Rival


class Known(NamedTuple):
    """What is handed out of the numbers that were asked about: living processes' leases, and checkouts' own numbers.

    `notes` say what there is and could not be read.
    """

    leases: Mapping[int, Lease]
    assignments: Mapping[int, Assignment]
    notes: tuple[Note, ...] = ()


_NOTHING = Known({}, {})


def look(ports: Collection[int], environ: Mapping[str, str]) -> Known:
    """Return what is known of `ports`, in one look; nothing if there is no store."""
    found = _handed_out(ports, environ)
    if not found.leases:
        return found
    from portguard.system import alive

    return found._replace(
        leases={port: lease for port, lease in found.leases.items() if alive.seems_alive(lease.pid, lease.started)}
    )


def is_handed_out(port: int, environ: Mapping[str, str]) -> bool:
    """Whether someone was given `port`, for a while, for the life of a process, or as a checkout's own number."""
    found = _handed_out((port,), environ)
    return bool(found.leases or found.assignments)


def _handed_out(ports: Collection[int], environ: Mapping[str, str]) -> Known:
    try:
        path = directory.path_of(environ)
    except StateError:
        return _NOTHING
    known = _NOTHING
    try:
        if directory.is_there(path):  # most have none
            known = known._replace(leases=_leased(path, ports))
            known = known._replace(assignments=_assigned(path, ports))
    except StateError as error:
        from portguard.rules import notes  # only when there is something to note

        return known._replace(notes=(notes.rivals_unread(error.message),))
    return known


def _leased(path: str, ports: Collection[int]) -> dict[int, Lease]:
    key = kernel.host_key()
    if not quick_look.may_have(path, key, ports):
        return {}
    from portguard.leases import table  # rarely is one of them leased
    from portguard.system import alive

    with table.readable(path, key, is_alive=alive.seems_alive, is_required=True) as found:
        leases = {port: found.lease(port) for port in ports} if found is not None else {}
    return {port: lease for port, lease in leases.items() if lease}


def _assigned(path: str, ports: Collection[int]) -> dict[int, Assignment]:
    host = kernel.machine_key()
    if not directory.is_there(os.path.join(path, directory.assignments_name(host))):
        return {}
    from portguard.leases import assignments  # most have none

    return {item.port: item for item in assignments.read(path, host) if item.port in ports}


def find_rival(item: Declaration, protocol: Protocol, known: Known, here: Callable[[], Checkout]) -> Rival | None:
    """Return who else has the number of `item`, None if no one has; `here` is asked only when someone might."""
    lease, assignment = known.leases.get(item.port), known.assignments.get(item.port)
    if lease is not None and (rival := of_lease(lease, item, protocol, here())) is not None:
        return rival
    if assignment is None or item.is_ad_hoc:
        return None
    from portguard.model import Rival
    from portguard.project.checkout import is_own

    is_theirs = not is_own(assignment, here()) and os.path.isdir(assignment.root)
    return Rival("assignment", assignment.root, None) if is_theirs else None


def of_lease(lease: Lease, item: Declaration, protocol: Protocol, here: Checkout) -> Rival | None:
    """Return whom a living process's lease on the number of `item` makes a rival, or None."""
    from portguard.leases.table import PROTOCOL_BITS
    from portguard.model import Rival
    from portguard.project.checkout import is_in
    from portguard.rules.verdicts import hosts_overlap

    if lease.kind == "free" or not lease.protocols & PROTOCOL_BITS[protocol]:
        return None
    hosts = tuple(lease.hosts.split(",")) if lease.hosts else ("*",)
    if is_in(lease.directory, here.root) or not hosts_overlap(item.hosts, hosts):
        return None
    return Rival(lease.kind, lease.directory, lease.pid)


def runs_here(lease: Lease | None, processes: Iterable[Process], here: Callable[[], Checkout]) -> bool:
    """Whether all of `processes` descend from the command that `portguard run` started here, and leased this for."""
    if lease is None or lease.kind != "run":
        return False
    from portguard.project.checkout import is_in

    is_here = is_in(lease.directory, here().root)
    return is_here and all(_descends(process.pid, lease.pid) for process in processes)


def _descends(pid: int, ancestor: int) -> bool:
    from portguard.system import origin

    return pid == ancestor or any(number == ancestor for number, _ in origin.ancestry(pid))
