"""Tables as psutil gives them on other systems: plain rows in, one record a socket out. Documented, not measured."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from portguard.model import Socket
from portguard.system import psutil_sockets


class Address(NamedTuple):
    """An address as psutil has it."""

    ip: str
    port: int


class Connection(NamedTuple):
    """A row of psutil.net_connections(): the documented fields."""

    fd: int
    family: int
    type: int
    laddr: Address | tuple[()]
    raddr: Address | tuple[()]
    status: str
    pid: int | None


def _row(pid: int | None, ip: str, port: int, status: str, peer: Address | tuple[()] = ()) -> tuple[Any, int | None]:
    family = 30 if ":" in ip else 2  # AF_INET6 is 30 on macOS
    return Connection(5, family, 1, Address(ip, port), peer, status, pid), pid


# In the form that psutil documents, for macOS: a node server and its client, AirPlay, a forked server, no address.
MACOS = [
    _row(501, "::", 3000, "LISTEN"),
    _row(501, "::1", 3000, "ESTABLISHED", Address("::1", 51234)),
    _row(777, "::1", 51234, "ESTABLISHED", Address("::1", 3000)),
    _row(601, "0.0.0.0", 5000, "LISTEN"),
    _row(601, "::", 5000, "LISTEN"),
    _row(901, "127.0.0.1", 8000, "LISTEN"),
    _row(902, "127.0.0.1", 8000, "LISTEN"),
    _row(902, "127.0.0.1", 8000, "LISTEN"),
    _row(None, "127.0.0.1", 8000, "TIME_WAIT", Address("127.0.0.1", 51300)),
    _row(None, "127.0.0.1", 9000, "CLOSED"),
    (Connection(7, 2, 1, (), (), "NONE", 901), 901),
]


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (3000, {("::", "listen", (501,)), ("::1", "established", (501,))}),
        (5000, {("0.0.0.0", "listen", (601,)), ("::", "listen", (601,))}),
        (8000, {("127.0.0.1", "listen", (901, 902)), ("127.0.0.1", "time-wait", ())}),
        (51234, {("::1", "established", (777,))}),
        (9000, {("127.0.0.1", "unknown", ())}),
        (7000, set()),
    ],
)
def test_recorded_macos_table(port: int, expected: set[tuple[str, str, tuple[int, ...]]]) -> None:
    """Rows of one socket become one record with all its pids; other ports and sockets without address are left out."""
    found = psutil_sockets.merge(MACOS, "tcp", port)
    assert {(row.address, row.state, row.pids) for row in found} == expected
    assert len(found) == len(expected)
    assert all((row.port, row.v6only, row.uid, row.inode) == (port, None, None, 0) for row in found)


def test_recorded_udp_table() -> None:
    """A UDP socket with a peer is a connection, one without is bound; psutil gives both no status."""
    table = [
        _row(80, "0.0.0.0", 5353, "NONE"),
        _row(81, "0.0.0.0", 5353, "NONE"),
        _row(82, "10.0.0.2", 5353, "NONE", Address("10.0.0.1", 53)),
    ]
    assert psutil_sockets.merge(table, "udp", 5353) == [
        Socket("udp", "0.0.0.0", 5353, "bound", None, None, 0, (80, 81)),
        Socket("udp", "10.0.0.2", 5353, "established", None, None, 0, (82,)),
    ]
