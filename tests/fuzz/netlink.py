"""The kernel's answers through netlink: datagrams, each after two bytes that tell its length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from portguard.errors import LookupFailedError
from portguard.model import Socket, TableRow
from portguard.system import sock_diag
from tests.fuzz.oracles import assert_address, assert_port, assert_unique
from tests.worlds.netlink import kernel

_MOST = 32  # datagrams; a socket keeps that many small ones at least


def fuzz(data: bytes) -> None:
    """Answer every question with these datagrams; what comes of it is sockets, or a failed look-up."""
    answers = list(_datagrams(data))[:_MOST]
    protocols: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")
    for protocol in protocols:
        try:
            with kernel(answers) as connect:
                rows = sock_diag.find_all(protocol, listeners_only=False, connect=connect)
        except LookupFailedError:
            continue
        assert_unique(rows)
        for row in rows:
            _judge(row, protocol)
        for port in sorted({row.socket.port for row in rows})[:2]:
            with kernel(answers) as connect:
                found = sock_diag.find_sockets(protocol, port, connect=connect)
            assert {row.socket for row in rows if row.socket.port == port} <= set(found)
            # Of one socket that was told about twice, the whole table has the first: here also one with another port.
            assert {row.inode for row in found} <= {row.socket.inode for row in rows}


def _datagrams(data: bytes) -> Iterator[bytes]:
    while data:
        size = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + size]
        data = data[2 + size :]


def _judge(row: TableRow, protocol: str) -> None:
    socket: Socket = row.socket
    assert socket.protocol == protocol
    assert_port(socket.port)
    assert_address(socket.address)
    assert socket.v6only is None or ":" in socket.address
    assert socket.state in {*sock_diag._TCP_STATES.values(), "unknown"}
    assert socket.pids is None
    assert socket.uid is not None
    assert 0 <= socket.uid < 1 << 32
    assert 0 <= socket.inode < 1 << 32
    assert (row.remote_address is None) == (row.remote_port is None)
    if row.remote_address is not None and row.remote_port is not None:
        assert_address(row.remote_address)
        assert_port(row.remote_port)
