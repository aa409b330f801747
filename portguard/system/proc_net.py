"""Linux without netlink: the same rows from /proc/net (proc_net(5)). Slower, and blind to bound TCP sockets."""

from __future__ import annotations

import _socket
import struct

from portguard.errors import LookupFailedError
from portguard.model import Socket, TableRow
from portguard.rules.ranges import LAST_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from portguard.model import Protocol

_U32, _U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
_TCP_STATES = {
    "01": "established",
    "02": "syn-sent",
    "03": "syn-received",
    "04": "fin-wait-1",
    "05": "fin-wait-2",
    "06": "time-wait",
    "07": "bound",
    "08": "close-wait",
    "09": "last-ack",
    "0A": "listen",
    "0B": "closing",
    "0C": "syn-received",
}


def find_sockets(protocol: Protocol, port: int, *, proc: str = "/proc") -> list[Socket]:
    """Return the sockets of both families whose local port is `port`. Raises LookupFailedError without /proc/net.

    A missing IPv6 table means a kernel without IPv6, not a failure.
    """
    return [row for _, row in _read(protocol, proc) if row.port == port]


def find_all(protocol: Protocol, *, listeners_only: bool, proc: str = "/proc") -> list[TableRow]:
    """Return the sockets of both families on every port; `listeners_only`: those that listen or, UDP, have no peer.

    Raises LookupFailedError as `find` does.
    """
    wanted = "listen" if protocol == "tcp" else "bound"
    rows = (
        TableRow(row, *_peer(line))
        for line, row in _read(protocol, proc)
        if row.port and (row.state == wanted or not listeners_only)
    )
    return list(dict.fromkeys(rows))


def _read(protocol: Protocol, proc: str) -> Iterator[tuple[str, Socket]]:
    """Yield the lines of both families' tables with what they say."""
    for suffix in ("", "6"):
        path = f"{proc}/net/{protocol}{suffix}"
        try:
            with open(path, encoding="ascii", errors="replace") as table:
                next(table, None)
                for line in table:
                    row = parse(line, protocol)
                    if row is not None:
                        yield line, row
        except OSError as error:
            if suffix and isinstance(error, FileNotFoundError):
                continue
            raise LookupFailedError(f"{path}: {error.strerror}") from error


def _peer(line: str) -> tuple[str, int] | tuple[None, None]:
    """Return the other end of a line that `parse` could read; where that part alone is torn, none."""
    try:
        address, port = line.split()[2].split(":")
        number = _number(port, 16, LAST_PORT)
        return (_address(address), number) if number else (None, None)
    except (IndexError, ValueError, struct.error):
        return None, None


def parse(line: str, protocol: Protocol) -> Socket | None:
    """Return one line of the table as a record, or None if it is none (a torn or foreign line)."""
    fields = line.split()
    try:
        address, port = fields[1].split(":")
        number, uid, inode = _number(port, 16, LAST_PORT), _number(fields[7], 10, _U32), _number(fields[9], 10, _U64)
        return Socket(protocol, _address(address), number, _state(fields[3], protocol), None, uid, inode)
    except (IndexError, ValueError, struct.error):
        return None


def _state(code: str, protocol: Protocol) -> str:
    if protocol == "udp":
        return "established" if code == "01" else "bound"
    return _TCP_STATES.get(code, "unknown")


def _number(text: str, base: int, most: int) -> int:
    """Return a number of the table; ValueError for what the kernel would not write: signs, underscores, any larger."""
    number = int(text, base) if text.isascii() and text.isalnum() else -1
    if not 0 <= number <= most:
        raise ValueError(text)
    return number


def _address(text: str) -> str:
    """Decode an address: 32-bit words in the host's byte order, in hexadecimal."""
    count = len(text) // 8
    packed = struct.pack(f"={count}I", *struct.unpack(f">{count}I", bytes.fromhex(text)))
    return _socket.inet_ntop(_socket.AF_INET if count == 1 else _socket.AF_INET6, packed)
