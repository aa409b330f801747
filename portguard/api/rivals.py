"""Who else has a number, although nobody listens on it: another checkout's own number, a command's, a hold's.

What `free` handed out for a while is nobody's rival: whoever asks may be the one it was handed to.
"""

from __future__ import annotations

import os

from portguard.api import numbers
from portguard.errors import StateError
from portguard.leases import directory
from portguard.model import Rival
from portguard.rules.verdicts import hosts_overlap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portguard.leases.table import Lease
    from portguard.model import Checkout, Declaration, Process, Protocol

_PROTOCOL_BITS = {"tcp": 1, "udp": 2}


def find(item: Declaration, protocol: Protocol, here: Checkout, environ: Mapping[str, str]) -> Rival | None:
    """Return who else has the number of `item`, None when nobody has or it cannot be told."""
    lease = _lease(item.port, environ)
    if lease is not None and lease.protocols & _PROTOCOL_BITS[protocol] and not _is_here(lease, here):
        hosts = tuple(lease.hosts.split(",")) if lease.hosts else ("*",)
        if lease.kind != "free" and hosts_overlap(item.hosts, hosts):
            return Rival(lease.kind, lease.directory, lease.pid)
    if item.is_ad_hoc:
        return None
    try:
        known = numbers.known(environ)
    except StateError:
        return None
    for other in known:
        if other.port == item.port and not numbers.is_own(other, here) and os.path.isdir(other.root):
            return Rival("assignment", other.root, None)
    return None


def runs_here(port: int, processes: Iterable[Process], here: Checkout, environ: Mapping[str, str]) -> bool:
    """Whether all of `processes` descend from a command that `portguard run` started in this checkout for `port`."""
    lease = _lease(port, environ)
    return (
        lease is not None
        and lease.kind == "run"
        and _is_here(lease, here)
        and all(_descends(process.pid, lease.pid) for process in processes)
    )


def _lease(port: int, environ: Mapping[str, str]) -> Lease | None:
    try:
        path = directory.path_of(environ)
    except StateError:
        return None
    if not os.path.lexists(path):  # most have none, and what it takes to read one costs
        return None
    from portguard.leases import table
    from portguard.system import alive, kernel

    with table.readable(path, kernel.host_key(), is_alive=alive.is_alive) as leases:
        lease = leases.lease(port) if leases is not None else None
    return lease if lease is not None and alive.is_alive(lease.pid, lease.started) else None


def _is_here(lease: Lease, here: Checkout) -> bool:
    return numbers.is_in(lease.directory, here.root)


def _descends(pid: int, ancestor: int) -> bool:
    from portguard.system import origin

    return pid == ancestor or any(number == ancestor for number, _ in origin.ancestry(pid))
