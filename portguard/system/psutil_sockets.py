"""macOS, Windows, and Linux as the last resort: the socket table as psutil gives it."""

from __future__ import annotations

import psutil

from portguard.errors import LookupFailedError
from portguard.model import Socket, TableRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from portguard.model import Protocol

_STATES = {
    psutil.CONN_LISTEN: "listen",
    psutil.CONN_ESTABLISHED: "established",
    psutil.CONN_SYN_SENT: "syn-sent",
    psutil.CONN_SYN_RECV: "syn-received",
    psutil.CONN_FIN_WAIT1: "fin-wait-1",
    psutil.CONN_FIN_WAIT2: "fin-wait-2",
    psutil.CONN_TIME_WAIT: "time-wait",
    psutil.CONN_CLOSE: "bound",
    psutil.CONN_CLOSE_WAIT: "close-wait",
    psutil.CONN_LAST_ACK: "last-ack",
    psutil.CONN_CLOSING: "closing",
}


def find_sockets(protocol: Protocol, port: int) -> list[Socket]:
    """Return the sockets whose local port is `port`, each with the one pid psutil names for it, if any.

    macOS refuses the whole table to all but root (psutil.net_connections); then the processes are asked one by one, as
    far as they answer. Raises LookupFailedError if neither works.
    """
    return merge(_read(protocol), protocol, port)


def find_all(protocol: Protocol, *, listeners_only: bool) -> list[TableRow]:
    """Return the sockets on every port; `listeners_only`: those that listen or, UDP, have no peer. As `find` else."""
    return merge_all(_read(protocol), protocol, listeners_only=listeners_only)


def _read(protocol: Protocol) -> list[tuple[Any, int | None]]:
    try:
        return [(row, row.pid) for row in psutil.net_connections(kind=protocol)]
    except psutil.AccessDenied:
        return list(_by_process(protocol))
    except (psutil.Error, OSError, ValueError, RuntimeError) as error:
        raise LookupFailedError(f"psutil: {error}") from error


def _by_process(protocol: Protocol) -> Iterable[tuple[Any, int | None]]:
    for process in psutil.process_iter():
        try:
            for row in process.net_connections(kind=protocol):
                yield row, process.pid
        except (psutil.Error, OSError, ValueError, RuntimeError):
            continue


def merge(rows: Iterable[tuple[Any, int | None]], protocol: Protocol, port: int) -> list[Socket]:
    """Return one record per address and state on `port`, with all pids named for it.

    `rows` are (psutil connection, pid or None) pairs; psutil names the IPv6 wildcard "::" whether dual-stack or not.
    """
    found: dict[tuple[str, str], set[int]] = {}
    for row, pid in rows:
        if not row.laddr or row.laddr.port != port:
            continue
        pids = found.setdefault((row.laddr.ip, _state(row, protocol)), set())
        if pid:
            pids.add(pid)
    return [
        Socket(protocol, address, port, state, None, None, 0, tuple(sorted(pids)))
        for (address, state), pids in found.items()
    ]


def merge_all(rows: Iterable[tuple[Any, int | None]], protocol: Protocol, *, listeners_only: bool) -> list[TableRow]:
    """Return one record per local end, state and other end, with all pids named for it. `rows` as for `merge`."""
    wanted = "listen" if protocol == "tcp" else "bound"
    found: dict[tuple[Socket, str | None, int | None], set[int]] = {}
    for row, pid in rows:
        state = _state(row, protocol)
        if not row.laddr or not row.laddr.port or (listeners_only and state != wanted):
            continue
        peer = (row.raddr.ip, row.raddr.port) if row.raddr else (None, None)
        local = Socket(protocol, row.laddr.ip, row.laddr.port, state, None, None, 0)
        pids = found.setdefault((local, *peer), set())
        if pid:
            pids.add(pid)
    return [
        TableRow(local._replace(pids=tuple(sorted(pids))), address, port)
        for (local, address, port), pids in found.items()
    ]


def _state(row: Any, protocol: Protocol) -> str:
    if protocol == "udp":
        return "established" if row.raddr else "bound"
    return _STATES.get(row.status, "unknown")
