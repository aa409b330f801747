"""Linux: who sits on a port, or on any, asked of the kernel through netlink. One room, one protocol: sock_diag(7).

The kernel filters by source port, so one port costs the same among 50,000 connections. Knows nothing of processes.
Layouts: linux/netlink.h, linux/inet_diag.h.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from portguard._namedtuple import unchecked
from portguard.errors import LookupFailedError
from portguard.model import Socket, TableRow
from portguard.system import sight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from portguard.model import Protocol

    T = TypeVar("T")

_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x001 | 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_INET_DIAG_SKV6ONLY = 11

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_LENGTH_AND_TYPE = struct.Struct("=IH")
_REQUEST = struct.Struct("=BBBxI")  # inet_diag_req_v2 up to its sockid: family, protocol, extensions, states
_SOCKID = struct.Struct("!HH16s16s")  # source port, destination port, source, destination
_SOCKID_SIZE = 48
# inet_diag_msg: family, state, source port, destination port (as on the wire), source, destination, interface, uid,
# inode.
_MESSAGE = struct.Struct("=BB2xHH16s16sI20xII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_SIZE = 1 << 16
_LINK_LOCAL = ("fe8", "fe9", "fea", "feb", "ff02:", "ff12:")  # RFC 4291 sections 2.5.6 and 2.7
_DEADLINE = 5.0  # seconds; netlink answers from memory, so this is only ever a hang
_MAX_ERRNO = 4095  # include/linux/err.h

# include/net/tcp_states.h; 13 (bound, inactive) can be asked for since Linux 6.8.
_TCP_STATES = {
    1: "established",
    2: "syn-sent",
    3: "syn-received",
    4: "fin-wait-1",
    5: "fin-wait-2",
    6: "time-wait",
    7: "bound",
    8: "close-wait",
    9: "last-ack",
    10: "listen",
    11: "closing",
    12: "syn-received",
    13: "bound",
}
_LISTEN = 1 << 10
_EVERYTHING_ELSE = 0x3FFF & ~_LISTEN
_UNCONNECTED = 1 << 7  # TCP_CLOSE, the state of a UDP socket without a peer
_PROTOCOLS = {"tcp": _socket.IPPROTO_TCP, "udp": _socket.IPPROTO_UDP}


def _connect() -> _socket.socket:
    if not sight.may_ask_netlink():
        raise OSError(errno.EPERM, "the seccomp filter would kill this process for it")
    sock = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, sight.NETLINK_SOCK_DIAG)
    try:
        sock.settimeout(_DEADLINE)
        sock.bind((0, 0))
    except OSError:
        sock.close()
        raise
    return sock


def find_sockets(
    protocol: Protocol,
    port: int,
    *,
    listeners_only: bool = False,
    connect: Callable[[], _socket.socket] = _connect,
) -> list[Socket]:
    """Return the sockets of both families whose local port is `port`.

    `listeners_only` leaves out all TCP sockets that do not listen; walking those costs 22 ms among 50,000 connections.
    Raises LookupFailedError if netlink is missing, forbidden, or speaks nonsense.
    """
    states = (_LISTEN if listeners_only else _LISTEN | _EVERYTHING_ELSE) if protocol == "tcp" else 0xFFFFFFFF
    return [row for row in _ask(protocol, port, states, connect, parse) if row.port == port]


def find_all(
    protocol: Protocol,
    *,
    listeners_only: bool,
    connect: Callable[[], _socket.socket] = _connect,
) -> list[TableRow]:
    """Return the sockets of both families on every port; `listeners_only`: those that listen or, UDP, have no peer.

    Raises LookupFailedError as `find` does.
    """
    if protocol == "tcp":
        states = _LISTEN if listeners_only else _LISTEN | _EVERYTHING_ELSE
    else:
        states = _UNCONNECTED if listeners_only else 0xFFFFFFFF
    # A table that changes while it is read can give a socket twice; those without an inode are known by all they say.
    seen: set[int | TableRow] = set()
    found = []
    for row in _ask(protocol, 0, states, connect, _row):
        socket = row.socket
        key = socket.inode or row
        if socket.port and key not in seen:
            seen.add(key)
            found.append(row)
    return found


def _ask(
    protocol: Protocol,
    port: int,
    states: int,
    connect: Callable[[], _socket.socket],
    read: Callable[[bytes, Protocol], T],
) -> list[T]:
    """Return what `read` makes of the inet_diag_msg of every socket, of both families; port 0 stands for all."""
    try:
        sock = connect()
        try:
            found: list[T] = []
            for family in (_socket.AF_INET, _socket.AF_INET6):
                found += [read(payload, protocol) for payload in _dump(sock, family, protocol, port, states)]
            return found
        finally:
            sock.close()
    except (OSError, struct.error, ValueError) as error:
        raise LookupFailedError(f"netlink sock_diag: {error}") from error


def _dump(sock: _socket.socket, family: int, protocol: Protocol, port: int, states: int) -> list[bytes]:
    """Return the inet_diag_msg of every socket of that family. Raises OSError, struct.error, ValueError."""
    payloads: list[bytes] = []
    body = _REQUEST.pack(family, _PROTOCOLS[protocol], 0, states)
    body += _SOCKID.pack(port, 0, b"", b"").ljust(_SOCKID_SIZE, b"\0")
    sock.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0) + body)
    while True:
        for kind, payload in messages(sock.recv(_RECEIVE_SIZE)):
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                # The end carries an errno too: a kernel without this protocol's diag module ends at once with ENOENT.
                code = -struct.unpack_from("=i", payload)[0]
                if code == 0 and kind == _NLMSG_DONE:
                    return payloads
                raise OSError(code, os.strerror(code) if 0 <= code <= _MAX_ERRNO else f"error {code}")
            payloads.append(payload)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a datagram into (type, payload) pairs. Raises ValueError if lengths do not add up."""
    offset, end = 0, len(data)
    if not data:
        raise ValueError("empty answer")
    while offset < end:
        length, kind = _LENGTH_AND_TYPE.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > end:
            raise ValueError("cut off answer")
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def parse(payload: bytes, protocol: Protocol) -> Socket:
    """Return one inet_diag_msg as a record. Raises struct.error or ValueError when it is none."""
    return _row(payload, protocol).socket


def _row(payload: bytes, protocol: Protocol) -> TableRow:
    family, state, port, peer_port, source, peer, interface, uid, inode = _MESSAGE.unpack_from(payload)
    if family == _socket.AF_INET6:
        v6only, address = _v6only(payload), _socket.inet_ntop(family, source)
        if interface and address.startswith(_LINK_LOCAL):
            address = _scoped(address, interface)
    else:
        v6only, address = None, _socket.inet_ntop(family, source[:4])
    name = _TCP_STATES.get(state, "unknown") if protocol == "tcp" else "established" if state == 1 else "bound"
    socket = unchecked(Socket, (protocol, address, _socket.ntohs(port), name, v6only, uid, inode, None))
    if not peer_port:
        return unchecked(TableRow, (socket, None, None))
    remote = _socket.inet_ntop(family, peer if family == _socket.AF_INET6 else peer[:4])
    return unchecked(TableRow, (socket, remote, _socket.ntohs(peer_port)))


def _scoped(address: str, interface: int) -> str:
    """Return the address with its interface, without which it is none (RFC 4007 section 11)."""
    try:
        return f"{address}%{_socket.if_indextoname(interface)}"
    except OSError:
        return address


def _v6only(payload: bytes) -> bool | None:
    offset = _MESSAGE.size
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < _ATTRIBUTE.size:
            break
        if kind == _INET_DIAG_SKV6ONLY and offset + _ATTRIBUTE.size < len(payload):
            return payload[offset + _ATTRIBUTE.size] != 0
        offset += (length + 3) & ~3
    return None
