"""Sockets that hold a port in every state a bind can meet, made by the calling process in its own namespace."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from portguard.rules.addresses import is_mapped, is_v6
from portguard.rules.binding import Options

if TYPE_CHECKING:
    from portguard.model import Protocol

ALL_OPTIONS = tuple(Options(address, port) for address in (False, True) for port in (False, True))

_DEADLINE = 5.0
_POLL = 0.001
_TIME_WAIT = "06"


class Address(NamedTuple):
    """Where a socket is bound, and whether it is IPV6_V6ONLY."""

    host: str
    v6only: bool

    def __str__(self) -> str:
        return f":: {'v6only' if self.v6only else 'dual'}" if self.host == "::" else self.host


DUAL = Address("::", v6only=False)
# The kernel makes a socket bound to one IPv6 address IPv6-only by itself; a mapped one cannot be.
ADDRESSES = (
    Address("0.0.0.0", v6only=False),
    Address("127.0.0.1", v6only=False),
    Address("127.0.0.2", v6only=False),
    DUAL,
    Address("::", v6only=True),
    Address("::1", v6only=True),
    Address("::ffff:127.0.0.1", v6only=False),
)


class Held(NamedTuple):
    """A port that is held: by whom, in the words of `portguard.model.Socket`. `state` is None if no one has it."""

    protocol: Protocol
    state: str | None
    address: Address
    port: int
    options: Options

    @property
    def is_connection(self) -> bool:
        """Whether the local address is that of a connection, not one that someone bound to serve on."""
        return self.state in ("established", "time-wait")

    def __str__(self) -> str:
        return f"{self.protocol} {self.state or 'nothing'} at {self.address} with {describe(self.options)}"


def describe(options: Options) -> str:
    """Name the options that are set."""
    names = [name for name, is_set in (("RA", options.reuse_address), ("RP", options.reuse_port)) if is_set]
    return "+".join(names) or "none"


def open_socket(protocol: Protocol, address: Address, options: Options) -> socket.socket:
    """Return an unbound socket with these options."""
    family = socket.AF_INET6 if is_v6(address.host) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    try:
        for option, is_set in ((socket.SO_REUSEADDR, options.reuse_address), (socket.SO_REUSEPORT, options.reuse_port)):
            if is_set:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if address.host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.v6only))
        elif is_mapped(address.host):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        sock.close()
        raise
    return sock


_used: set[int] = set()


def fresh_port() -> int:
    """Return a port that nothing in this namespace has, not even a dead connection, and that was never returned."""
    while True:
        with open_socket("tcp", DUAL, Options()) as tcp, open_socket("udp", DUAL, Options()) as udp:
            tcp.bind(("::", 0))
            port = int(tcp.getsockname()[1])
            with contextlib.suppress(OSError):
                udp.bind(("::", port))
                if port not in _used:
                    _used.add(port)
                    return port


def is_in_time_wait(port: int) -> bool:
    """Whether a TCP socket of this namespace whose local port this is is in TIME_WAIT."""
    for table in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{table}", encoding="ascii") as rows:
            next(rows)
            for row in rows:
                _, local, _, state, *_ = row.split()
                if state == _TIME_WAIT and int(local.rpartition(":")[2], 16) == port:
                    return True
    return False


def _wait_for_time_wait(port: int) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not is_in_time_wait(port):
        if time.monotonic() > deadline:
            raise TimeoutError(f"port {port} never came to TIME_WAIT")
        time.sleep(_POLL)


@contextlib.contextmanager
def bound(protocol: Protocol, address: Address, options: Options) -> Iterator[Held]:
    """Hold a port with a socket that is bound and no more."""
    with open_socket(protocol, address, options) as sock:
        port = fresh_port()
        sock.bind((address.host, port))
        yield Held(protocol, "bound", address, port, options)


@contextlib.contextmanager
def listening(address: Address, options: Options) -> Iterator[Held]:
    """Hold a port with a TCP listener."""
    with open_socket("tcp", address, options) as sock:
        port = fresh_port()
        sock.bind((address.host, port))
        sock.listen()
        yield Held("tcp", "listen", address, port, options)


def _reachable(address: Address) -> str:
    """Return where a client connects to meet a server on this address, in the server's family."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)


@contextlib.contextmanager
def abandoned(address: Address, options: Options, *, dead: bool, client_host: str | None = None) -> Iterator[Held]:
    """Hold a port with a connection that a listener accepted before it closed.

    With `dead`, the server has closed the connection first, so it is in TIME_WAIT. The connection, not the listener,
    says which address is held; whether it is IPv6-only comes from the listener.
    """
    host = client_host or _reachable(address)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(open_socket("tcp", address, options))
        port = fresh_port()
        server.bind((address.host, port))
        server.listen()
        client = stack.enter_context(socket.socket(socket.AF_INET6 if is_v6(host) else socket.AF_INET))
        client.connect((host, port))
        connection = stack.enter_context(server.accept()[0])
        local = str(connection.getsockname()[0])
        server.close()
        if dead:
            connection.close()
            assert client.recv(1) == b""
            client.close()
            _wait_for_time_wait(port)
        yield Held("tcp", "time-wait" if dead else "established", Address(local, address.v6only), port, options)
        assert not dead or is_in_time_wait(port), "TIME_WAIT ended before its time"


@contextlib.contextmanager
def outgoing(local: Address, options: Options, *, dead: bool) -> Iterator[Held]:
    """Hold a port as the client's end of a connection, whose number the kernel chose.

    Unless `local` is the address that the kernel picks for such a destination, the client chooses the address and
    leaves the port to connect(). With `dead`, the client has closed first, so it is in TIME_WAIT.
    """
    peer = "::1" if is_v6(local.host) and not is_mapped(local.host) else "127.0.0.1"
    destination = f"::ffff:{peer}" if is_mapped(local.host) else peer
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET6 if is_v6(peer) else socket.AF_INET))
        server.bind((peer, fresh_port()))
        server.listen()
        while True:
            client = stack.enter_context(open_socket("tcp", Address(local.host, v6only=False), options))
            if local.v6only or local.host not in (peer, destination):
                client.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
                client.bind((local.host, 0))
            client.connect((destination, server.getsockname()[1]))
            connection = stack.enter_context(server.accept()[0])
            port = int(client.getsockname()[1])
            if port not in _used:  # connect() may share the number of a dead connection to elsewhere
                _used.add(port)
                break
        assert client.getsockname()[0] == local.host
        if dead:
            client.close()
            assert connection.recv(1) == b""
            connection.close()
            _wait_for_time_wait(port)
        yield Held("tcp", "time-wait" if dead else "established", local, port, options)
        assert not dead or is_in_time_wait(port), "TIME_WAIT ended before its time"


@contextlib.contextmanager
def nobody() -> Iterator[Held]:
    """Hold nothing: a port that is free."""
    yield Held("tcp", None, DUAL, fresh_port(), Options())


@contextlib.contextmanager
def connected_udp(local: Address, options: Options) -> Iterator[Held]:
    """Hold a port as a UDP client's end, whose number the kernel chose when it connected."""
    with open_socket("udp", Address(local.host, v6only=False), options) as client:
        client.connect((local.host, fresh_port()))
        port = int(client.getsockname()[1])
        assert client.getsockname()[0] == local.host
        yield Held("udp", "established", local, port, options)
