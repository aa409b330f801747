"""The pytest plugin: ports and sockets as fixtures. It holds and lets go; which port it is, `api` decides.

Every run of pytest on the machine loads this module, wanted or not: nothing but pytest is imported before a fixture is
used. `pytest -p no:portguard` leaves it out.
"""

from __future__ import annotations

import os

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from portguard.api.hold import Held
    from portguard.model import Protocol


@pytest.fixture
def free_port() -> Iterator[int]:
    """Port number that is this test's own until it ends: leased, and not bound, so that any server may start on it.

    No other test, worker, run of pytest or `portguard free` of this user gets the same port during the test. It is
    free for TCP and UDP on every address, and outside the kernel's ephemeral range if possible.
    """
    port, give_back = _take(("tcp", "udp"))
    yield port
    give_back()


@pytest.fixture(scope="session")
def free_port_factory() -> Iterator[Callable[..., int]]:
    """Return a new port like `free_port` at every call, for fixtures of any scope; all are kept until the session ends.

    `free_port_factory(protocols=("tcp",))` asks for a port that is free for TCP alone; the default is TCP and UDP.
    """
    taken: list[Callable[[], None]] = []

    def take(*, protocols: Sequence[Protocol] = ("tcp", "udp")) -> int:
        port, give_back = _take(protocols)
        taken.append(give_back)
        return port

    yield take
    while taken:
        taken.pop()()


@pytest.fixture
def bound_socket() -> Iterator[socket.socket]:
    """TCP socket that listens on 127.0.0.1, for servers that take one: no one can come in between. Closed afterwards.

    `bound_socket.getsockname()[1]` is its port. asyncio: `start_server(handle, sock=bound_socket)`; uvicorn:
    `Server(config).serve(sockets=[bound_socket])`.
    """
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def _take(protocols: Sequence[Protocol]) -> tuple[int, Callable[[], None]]:
    """Return a port leased for the life of this process, and what gives it back."""
    from portguard.api.hold import hold  # at the first use

    held: Held = hold(1, protocols=protocols, bound=False)
    held.__enter__()
    owner = os.getpid()

    def give_back() -> None:
        # A test's forked child that ends by an exception comes through here too; the port is still its parent's.
        if os.getpid() == owner:
            held.__exit__(None, None, None)

    return held.port, give_back
