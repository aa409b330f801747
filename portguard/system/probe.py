"""The bind probe: would a server get this endpoint now? It decides; everything else explains.

Never listens (a listening probe disturbs servers and swallows their clients) and keeps no socket open. `_socket` is
the C module behind `socket`, whose enums cost half the interpreter's start; nothing of that wrapper is needed here.

Sources: socket(7), ip(7), ipv6(7); for Windows "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE" (Microsoft). macOS and
Windows follow the documentation and have not been proven on the real thing.
"""

from __future__ import annotations

import _socket
import errno
import os
import sys
import time

from portguard.errors import ProbeError
from portguard.rules import binding
from portguard.rules.addresses import ANY_V4, ANY_V6, expand, is_mapped, is_v6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portguard.model import Outcome, Protocol

    SocketFactory = Callable[[int, int], _socket.socket]

# ~SO_REUSEADDR, winsock2.h; the constant exists in Python on Windows alone.
_SO_EXCLUSIVEADDRUSE = ~4
# "Windows Sockets Error Codes"; Python names them WSAE* there, and 10013 like the C library's EACCES, which it is not.
_WINSOCK_NAMES = {10013: "WSAEACCES", 10047: "EAFNOSUPPORT", 10048: "EADDRINUSE", 10049: "EADDRNOTAVAIL"}
# Measured with 16 processes probing one free UDP port in a loop on two busy cores. A prober can be preempted while it
# is bound, so what ends false conflicts is the time that all tries span: about 100 ms.
_TRIES = 10
_STEP = 0.003  # seconds by which the pauses grow


def probe(
    protocol: Protocol,
    address: str,
    port: int,
    *,
    platform: str = sys.platform,
    new_socket: SocketFactory = _socket.socket,
    between: Callable[[], None] | None = None,
) -> str | None:
    """Try the bind that a usual server would make; return None on success, else the errno's name.

    The names are those of `errno` on every system, with "WSAEACCES" for Windows' 10013, an excluded range there.
    A busy answer is asked again a few times where two probes could see each other: UDP, and outside Linux.
    """
    shareable = platform == "linux" and protocol == "tcp"
    error = None
    for attempt in range(1 if shareable else _TRIES):
        if attempt:
            pause(attempt) if between is None else between()
        error = _bind_once(protocol, address, port, platform=platform, new_socket=new_socket)
        if error != "EADDRINUSE":
            break
    return error


def probe_addresses(address: str, platform: str = sys.platform) -> tuple[str, ...]:
    """Return the addresses to bind for a declared one.

    On macOS a wildcard and a specific address can be bound side by side, and the specific one gets the traffic, so the
    loopback address is asked as well.
    """
    if platform == "darwin" and address in (ANY_V4, ANY_V6):
        return (address, "127.0.0.1" if address == ANY_V4 else "::1")
    return (address,)


def probe_all(
    protocol: Protocol, wanted: Sequence[str], port: int, *, between: Callable[[], None] | None = None
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Return the outcome by address, and the errno's name of those that did not bind; `between` as `probe` takes it."""
    outcomes: dict[str, Outcome] = {}
    errors: dict[str, str] = {}
    for address in wanted:
        for probed in probe_addresses(address):
            error = probe(protocol, probed, port, between=between)
            outcomes[address] = binding.outcome_of(error)
            if error is not None:
                errors[address] = error
                break
    return outcomes, errors


def probe_hosts(
    hosts: Sequence[str], protocol: Protocol, port: int, *, between: Callable[[], None] | None = None
) -> tuple[Outcome, dict[str, Outcome], dict[str, str]]:
    """Return the one outcome that counts for declared hosts, then what `probe_all` returns for their addresses."""
    from portguard.rules import verdicts  # not for `free`, which declares no hosts

    outcomes, errors = probe_all(protocol, expand(hosts), port, between=between)
    return verdicts.combine(hosts, outcomes), outcomes, errors


def pause(attempt: int = 3) -> None:
    """Wait a random moment, so that probes that met do not meet again; longer with each attempt, 5 to 9 ms at 3."""
    time.sleep(attempt * _STEP * (256 + os.urandom(1)[0]) / 512)


def _bind_once(protocol: Protocol, address: str, port: int, *, platform: str, new_socket: SocketFactory) -> str | None:
    v6 = is_v6(address)
    kind = _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM
    try:
        sock = new_socket(_socket.AF_INET6 if v6 else _socket.AF_INET, kind)
    except OSError as error:
        return _name_of(error, platform)
    try:
        if platform == "win32":
            sock.setsockopt(_socket.SOL_SOCKET, _SO_EXCLUSIVEADDRUSE, 1)
        elif platform == "linux" and binding.SERVER_OPTIONS[protocol].reuse_address:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if v6:
            # Explicit: the default is a sysctl. A mapped address cannot be bound by an IPv6-only socket (RFC 3493 5.3).
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0 if is_mapped(address) else 1)
        sock.bind(socket_address(address, port))
    except OSError as error:
        return _name_of(error, platform)
    finally:
        sock.close()
    return None


def socket_address(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return what `bind` wants for an address literal; a scope (`fe80::1%eth0`) is resolved, unknown ones to 0."""
    if not is_v6(address):
        return address, port
    bare, _, scope = address.partition("%")
    try:
        index = int(scope) if scope.isdigit() else _socket.if_nametoindex(scope) if scope else 0
    except OSError:
        index = 0
    return bare, port, 0, index


def _name_of(error: OSError, platform: str) -> str:
    if platform == "win32":
        name = _WINSOCK_NAMES.get(getattr(error, "winerror", None) or error.errno or 0)
        if name is not None:
            return name
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def strict_probe(protocol: Protocol, port: int, *, platform: str = sys.platform) -> str | None:
    """Bind a socket without any option to `port` on every address of this host, both families; return as `probe` does.

    Stricter than `probe`: for ports to hand out, where a false "busy" costs nothing. On Linux one dual-stack bind of
    `::` covers IPv4 too; where there is no IPv6, IPv4 decides.
    """
    if platform != "linux":
        missing = (None, "EAFNOSUPPORT", "EADDRNOTAVAIL")
        errors = (
            _bind_once(protocol, address, port, platform=platform, new_socket=_socket.socket)
            for wildcard in (ANY_V4, ANY_V6)
            for address in probe_addresses(wildcard, platform)
        )
        return next((error for error in errors if error not in missing), None)
    error = _bind_plainly(protocol, _socket.AF_INET6, (ANY_V6, port))
    if error in ("EAFNOSUPPORT", "EADDRNOTAVAIL"):
        return _bind_plainly(protocol, _socket.AF_INET, (ANY_V4, port))
    return error


def why_unbindable(protocol: Protocol, port: int) -> str | None:
    """Return why `port` cannot be bound on every address, or None. Raises ProbeError if no port can be probed."""
    error = strict_probe(protocol, port)
    if error in (None, "EADDRINUSE"):
        return error and "busy"
    if error in ("EACCES", "EPERM", "WSAEACCES"):
        return "not permitted"
    raise ProbeError(f"no port can be probed here: {error}", "see whether a limit is exhausted: ulimit -n")


def _bind_plainly(protocol: Protocol, family: int, where: tuple[str, int]) -> str | None:
    try:
        sock = _socket.socket(family, _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM)
    except OSError as error:
        return _name_of(error, "linux")
    try:
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        sock.bind(where)
    except OSError as error:
        return _name_of(error, "linux")
    finally:
        sock.close()
    return None
