"""Bound sockets to keep or to hand over: the hold, which does not listen, and listeners for the program that will.

On Linux a bound socket with SO_REUSEADDR that does not listen lets servers that set the option too bind and listen
beside it, again and again, while the kernel assigns the port to no one and no bind without the option succeeds
(socket(7), ip(7)). Servers without it, and those with SO_REUSEPORT alone, cannot start beside a hold. UDP is never
held: two such sockets would share what arrives.
"""

from __future__ import annotations

import _socket
import errno

from portguard.rules.addresses import ANY_V4, ANY_V6, is_mapped, is_v6
from portguard.system.probe import socket_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from portguard.model import Protocol

_BACKLOG = 4096  # the kernel cuts it down to net.core.somaxconn
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def bind(
    protocol: Protocol, port: int, addresses: Iterable[str] = (ANY_V4, ANY_V6), *, is_listening: bool = False
) -> list[_socket.socket]:
    """Return a socket bound to `port` on each of `addresses`, on both wildcards a single dual-stack one.

    TCP sockets have SO_REUSEADDR, and listen if asked to. A family this system does not have is left out, unless none
    is left. Raises OSError; then nothing stays bound.
    """
    wanted = list(dict.fromkeys(addresses))
    is_dual = ANY_V4 in wanted and ANY_V6 in wanted
    if is_dual:
        wanted.remove(ANY_V4)
    found: list[_socket.socket] = []
    missing: OSError | None = None
    try:
        for address in wanted:
            try:
                found.append(_bound(protocol, address, port, is_dual=is_dual and address == ANY_V6))
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    raise
                missing = error
                if is_dual and address == ANY_V6:
                    found.append(_bound(protocol, ANY_V4, port, is_dual=False))
        if not found and missing is not None:
            raise missing
        for sock in found:
            if is_listening and protocol == "tcp":
                sock.listen(_BACKLOG)
    except OSError:
        close(found)
        raise
    return found


def close(sockets: Iterable[_socket.socket]) -> None:
    """Let go of what the sockets hold."""
    for sock in sockets:
        sock.close()


def _bound(protocol: Protocol, address: str, port: int, *, is_dual: bool) -> _socket.socket:
    v6 = is_v6(address)
    kind = _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM
    sock = _socket.socket(_socket.AF_INET6 if v6 else _socket.AF_INET, kind)
    try:
        if protocol == "tcp":
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if v6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(not is_dual and not is_mapped(address)))
        sock.bind(socket_address(address, port))
    except OSError:
        sock.close()
        raise
    return sock
