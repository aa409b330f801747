"""Makes a world's sockets in the namespace of the calling process, and says what came of each."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import socket
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tests.oracle.worlds import GIVEN, HOLDER, KINDS, NOBODYS, Sock, World
from tests.worlds.netns import write_sysctls
from tests.worlds.users import effective_user

if TYPE_CHECKING:
    from portguard.model import Cause, Protocol
    from tests.oracle.worlds import Kind

_SIOCSIFADDR = 0x8916
_PR_SET_NAME = 15
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
_IP_LOCAL_PORT_RANGE = 51
_DEADLINE = 5.0
_POLL = 0.001
_FIN_WAIT_2, _TIME_WAIT = "05", "06"  # include/net/tcp_states.h
# The other ends of connections; no one asks for these ports.
_FIRST_PEER = 20001
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class Fact(NamedTuple):
    """A socket that is there: its local end as the kernel names it, and what it is to a server."""

    kind: Kind
    protocol: Protocol
    cause: Cause
    host: str
    port: int
    v6only: bool


def _in_local_range(port: int) -> int:
    """Return the port itself, or in its stead one of the kernel's own range, outside of which it chooses none."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as setting:
        low, high = map(int, setting.read().split())
    return port if low <= port <= high else low + port % (high - low + 1)


def _is_v6(host: str) -> bool:
    return ":" in host


def _is_mapped(host: str) -> bool:
    return host.startswith("::ffff:")


def _v6only(sock: socket.socket) -> bool:
    return sock.family == socket.AF_INET6 and bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


def furnish(world: World) -> None:
    """Give lo its addresses, write the settings, take the holder's name."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, HOLDER.encode(), 0, 0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        address = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(GIVEN[0]))
        fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s16s8x", b"lo:1", address))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        address = socket.inet_pton(socket.AF_INET6, GIVEN[1])
        fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("=16sIi", address, 128, socket.if_nametoindex("lo")))
    write_sysctls(dict(world.sysctls))


class Builder:
    """The sockets of one world. All that is open is in `kept`; `facts` says what is where."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.kept: list[socket.socket] = []
        self._servers: dict[int, socket.socket] = {}
        self._deaf: dict[int, socket.socket] = {}
        self._next_peer = _FIRST_PEER

    def build(self, world: World) -> None:
        """Make what the kernel allows of the world's sockets."""
        for wanted in world.sockets:
            # What fails halfway leaves nothing behind.
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                self.facts.append(self._make(wanted, stack))
                stack.pop_all()

    def _make(self, wanted: Sock, stack: contextlib.ExitStack) -> Fact:
        if wanted.kind in ("listening", "bound", "udp-bound"):
            sock = self._bound(wanted, stack)
            if wanted.kind == "listening":
                sock.listen()
            return _fact(wanted, sock)
        if wanted.host in NOBODYS:
            raise OSError("nobody answers there")
        if wanted.kind in ("outgoing", "chosen", "syn-sent", "outgoing-time-wait", "udp-connected", "udp-chosen"):
            return self._connected(wanted, stack)
        return self._accepted(wanted, stack)

    def _keep(self, sock: socket.socket, stack: contextlib.ExitStack) -> socket.socket:
        stack.callback(sock.close)
        self.kept.append(sock)
        sock.settimeout(_DEADLINE)
        return sock

    def _open(self, wanted: Sock, stack: contextlib.ExitStack) -> socket.socket:
        protocol = KINDS[wanted.kind][0]
        family = socket.AF_INET6 if _is_v6(wanted.host) else socket.AF_INET
        with effective_user(wanted.uid):
            made = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        sock = self._keep(made, stack)
        for option, is_set in (
            (socket.SO_REUSEADDR, wanted.reuse_address),
            (socket.SO_REUSEPORT, wanted.reuse_port),
        ):
            if is_set:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if wanted.has_device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        if wanted.v6only is not None and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(wanted.v6only))
        return sock

    def _bound(self, wanted: Sock, stack: contextlib.ExitStack) -> socket.socket:
        sock = self._open(wanted, stack)
        sock.bind((wanted.host, wanted.port))
        return sock

    def _peer_port(self) -> int:
        self._next_peer += 1
        return self._next_peer

    def _server(self, family: int) -> socket.socket:
        """Return the listener that outgoing connections of this family go to."""
        if family not in self._servers:
            self._servers[family] = socket.create_server(
                (_LOOPBACK[family], self._peer_port()), family=socket.AF_INET6 if family == 6 else socket.AF_INET
            )
            self.kept.append(self._servers[family])
        return self._servers[family]

    def _deaf_server(self, family: int) -> socket.socket:
        """Return a listener whose queue is full: it answers no one."""
        if family not in self._deaf:
            kind = socket.AF_INET6 if family == 6 else socket.AF_INET
            server = socket.create_server((_LOOPBACK[family], self._peer_port()), family=kind, backlog=0)
            self.kept.append(server)
            for _ in range(2):
                client = socket.socket(kind)
                self.kept.append(client)
                client.setblocking(False)
                client.bind((_LOOPBACK[family], self._peer_port()))
                client.connect_ex(server.getsockname())
            self._deaf[family] = server
        return self._deaf[family]

    def _connected(self, wanted: Sock, stack: contextlib.ExitStack) -> Fact:
        """Make the client's end of a connection."""
        family = 6 if _is_v6(wanted.host) and not _is_mapped(wanted.host) else 4
        sock = self._open(wanted, stack)
        if wanted.kind in ("chosen", "udp-chosen"):
            sock.bind((wanted.host, wanted.port))
        else:
            number = _in_local_range(wanted.port)
            with contextlib.suppress(OSError):  # before Linux 6.3 the kernel chooses as it likes
                sock.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, struct.pack("=HH", number, number))
            if wanted.host not in ("0.0.0.0", "::", "::ffff:0.0.0.0"):
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((wanted.host, 0))
        server = self._deaf_server(family) if wanted.kind == "syn-sent" else self._server(family)
        host, port = server.getsockname()[:2]
        target = (f"::ffff:{host}" if _is_mapped(wanted.host) else host, port)
        if wanted.kind == "syn-sent":
            sock.setblocking(False)
            sock.connect_ex(target)
            return _fact(wanted, sock)
        sock.connect(target)
        if KINDS[wanted.kind][0] == "udp":
            return _fact(wanted, sock)
        other = self._keep(server.accept()[0], stack)
        fact = _fact(wanted, sock)
        if wanted.kind == "outgoing-time-wait":
            _die(sock, other)
        return fact

    def _accepted(self, wanted: Sock, stack: contextlib.ExitStack) -> Fact:
        """Make the server's end of a connection, of a server that is gone."""
        listener = self._bound(wanted, stack)
        listener.listen()
        family = 6 if _is_v6(wanted.host) and not _is_mapped(wanted.host) else 4
        target = wanted.host.removeprefix("::ffff:")
        target = _LOOPBACK[family] if target in ("0.0.0.0", "::") else target
        peer = self._keep(socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET), stack)
        peer.bind((_LOOPBACK[family], self._peer_port()))
        peer.connect((target, wanted.port))
        sock = self._keep(listener.accept()[0], stack)
        listener.close()
        fact = _fact(wanted, sock)
        if wanted.kind == "time-wait":
            _die(sock, peer)
        elif wanted.kind == "close-wait":
            peer.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        elif wanted.kind in ("half-closed", "fin-wait-2"):
            _say_goodbye(sock, peer, is_closed=wanted.kind == "fin-wait-2")
        return fact

    def close(self) -> None:
        """Close everything."""
        for sock in self.kept:
            sock.close()

    def descriptors(self) -> list[int]:
        """Return the numbers of all that is open."""
        return [sock.fileno() for sock in self.kept if sock.fileno() >= 0]


def _fact(wanted: Sock, sock: socket.socket) -> Fact:
    host, port = sock.getsockname()[:2]
    return Fact(wanted.kind, *KINDS[wanted.kind], host, port, _v6only(sock))


def _die(first: socket.socket, second: socket.socket) -> None:
    """Close both ends, so that the first comes to TIME_WAIT."""
    ports = first.getsockname()[1], second.getsockname()[1]
    first.close()
    assert second.recv(1) == b""
    second.close()
    _wait_for(_TIME_WAIT, *ports)


def _say_goodbye(sock: socket.socket, peer: socket.socket, *, is_closed: bool) -> None:
    """Close one end, or only its sending half, so that it comes to FIN_WAIT2; the peer does not answer with its own."""
    ports = sock.getsockname()[1], peer.getsockname()[1]
    if is_closed:
        sock.close()
    else:
        sock.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # the acknowledgement may be 40 ms late
    _wait_for(_FIN_WAIT_2, *ports)


def _wait_for(state: str, port: int, peer_port: int) -> None:
    deadline = time.monotonic() + _DEADLINE
    while (state, port, peer_port) not in _connections():
        if time.monotonic() > deadline:
            raise AssertionError(f"port {port} never came to state {state}")
        time.sleep(_POLL)


def _connections() -> Iterator[tuple[str, int, int]]:
    """Yield the state and the two ports of every TCP socket here (proc_net(5))."""
    for table in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{table}", encoding="ascii") as rows:
            next(rows)
            for row in rows:
                _, local, remote, state, *_ = row.split()
                yield state, int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)
