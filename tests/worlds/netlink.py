"""A stand-in for the kernel's end of a netlink socket, which says what it is told to; and how its messages look."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def kernel(answers: list[bytes]) -> Iterator[Callable[[], socket.socket]]:
    """Stand in for netlink: a socket whose other end answers with these datagrams, then with nothing."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for answer in answers:
            theirs.send(answer)
        theirs.shutdown(socket.SHUT_WR)
        ours.settimeout(5)
        yield lambda: ours


def message(kind: int, payload: bytes, length: int | None = None) -> bytes:
    """Return a message (netlink(7), struct nlmsghdr); `length` is what it says of itself."""
    size = 16 + len(payload) if length is None else length
    return struct.pack("=IHHII", size, kind, 0, 1, 0) + payload + b"\0" * (-len(payload) % 4)
