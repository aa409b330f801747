"""What `wait` waits for, and what it says: tables of sockets and sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from portguard.model import Container, Declaration, Holder, Process, Socket, Source
from portguard.rules import waiting

WEB = Declaration("8080", 8080, 8080, Source(None, None), hosts=("127.0.0.1",))
HELD = Holder("tcp", "0.0.0.0", 8080, "listen", "known", (Process(77, "node"),))


def row(address: str, state: str = "listen", *, protocol: Any = "tcp", v6only: bool | None = None) -> Socket:
    """Return a row of a socket table."""
    return Socket(protocol, address, 8080, state, v6only, 0, 7)


@pytest.mark.parametrize(
    ("socket", "address", "expected"),
    [
        (row("127.0.0.1"), "127.0.0.1", True),
        (row("0.0.0.0"), "127.0.0.1", True),
        (row("127.0.0.2"), "127.0.0.1", False),
        (row("127.0.0.1", "bound"), "127.0.0.1", False),
        (row("127.0.0.1", "established"), "127.0.0.1", False),
        (row("127.0.0.1", "bound", protocol="udp"), "127.0.0.1", True),
        (row("127.0.0.1", "established", protocol="udp"), "127.0.0.1", False),
        (row("::", v6only=False), "127.0.0.1", True),
        (row("::", v6only=None), "127.0.0.1", True),
        (row("::", v6only=True), "127.0.0.1", False),
        (row("::", v6only=True), "::1", True),
        (row("fe80::1"), "fe80::1%eth0", True),
        (row("fe80::1%eth0"), "fe80::1%eth0", True),
        (row("fe80::1%eth1"), "fe80::1%eth0", False),
        (row("fe80::1%eth1"), "fe80::1%2", True),  # whose number that is the table does not tell
        (row("fe80::2%eth1"), "fe80::1%2", False),
    ],
)
def test_only_what_listens_udp(socket: Socket, address: str, expected: bool) -> None:
    """Only what listens (UDP: is bound, without a peer) where it takes what is sent to the address serves it."""
    assert waiting.serves(socket, address) is expected


def test_instead() -> None:
    """Listeners explain an unserved port best, then bound sockets, then connections; TIME_WAIT explains nothing."""
    listener, bound, connection, lingering = (
        row("::1", state) for state in ("listen", "bound", "established", "time-wait")
    )

    assert waiting.instead([lingering, connection, bound, listener, listener]) == [listener, listener]
    assert waiting.instead([lingering, connection, bound]) == [bound]
    assert waiting.instead([lingering, connection]) == [connection]
    assert waiting.instead([lingering]) == []


@pytest.mark.parametrize(
    ("protocol", "seconds", "free", "expected"),
    [
        ("tcp", 0.0, False, "127.0.0.1:8080/tcp listens already"),
        ("udp", 0.0, False, "127.0.0.1:8080/udp is bound already"),
        ("udp", 0.0, True, "127.0.0.1:8080/udp is free already"),
        ("tcp", 0.123, True, "127.0.0.1:8080/tcp is free after 0.12 s"),
        ("tcp", 1.0, False, "127.0.0.1:8080/tcp listens after 1.0 s"),
        ("tcp", 12.34, False, "127.0.0.1:8080/tcp listens after 12.3 s"),
    ],
)
def test_reached(protocol: Any, seconds: float, free: bool, expected: str) -> None:
    """What became so, and how long it took; to the hundredth only below a second."""
    assert waiting.reached(("127.0.0.1",), 8080, protocol, seconds, free=free) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: waiting.nobody(WEB, "tcp", None, ()), "nothing listened on 127.0.0.1:8080/tcp"),
        (lambda: waiting.nobody(WEB, "udp", 5.0, ()), "nothing had bound 127.0.0.1:8080/udp within 5 s"),
        (
            lambda: waiting.nobody(WEB, "tcp", 0.5, [HELD], "so"),
            "nothing listened on 127.0.0.1:8080/tcp within 0.5 s: so",
        ),
        (
            lambda: waiting.nobody(WEB, "tcp", None, [HELD._replace(address="::1")]),
            (
                "nothing listened on 127.0.0.1:8080/tcp; node (pid 77) listens on [::1]:8080/tcp, "
                "which 127.0.0.1:8080 does not reach"
            ),
        ),
        (
            lambda: waiting.nobody(WEB, "tcp", None, [HELD._replace(address="::"), HELD]),
            (
                "nothing listened on 127.0.0.1:8080/tcp; node (pid 77) listens on [::]:8080/tcp for IPv6 alone, "
                "which 127.0.0.1:8080 does not reach; and 1 more"
            ),
        ),
        (
            lambda: waiting.nobody(
                WEB._replace(hosts=("127.0.0.1", "fe80::1")), "tcp", None, [HELD._replace(address="::")]
            ),
            (
                "nothing listened on 127.0.0.1,fe80::1:8080/tcp; node (pid 77) listens on [::]:8080/tcp, "
                "which 127.0.0.1,fe80::1:8080 does not reach"
            ),
        ),
        (
            lambda: waiting.nobody(
                WEB, "tcp", None, [HELD._replace(address="::", container=Container("docker", "a" * 64, "db"))]
            ),
            (
                "nothing listened on 127.0.0.1:8080/tcp; container db publishes [::]:8080/tcp, "
                "which 127.0.0.1:8080 does not reach"
            ),
        ),
        (
            lambda: waiting.nobody(WEB, "tcp", None, [HELD._replace(state="bound")]),
            "nothing listened on 127.0.0.1:8080/tcp; node (pid 77) has bound 0.0.0.0:8080/tcp and does not listen",
        ),
        (
            lambda: waiting.nobody(WEB, "udp", None, [HELD._replace(state=None, protocol="udp")]),
            (
                "nothing had bound 127.0.0.1:8080/udp; "
                "a connection from node (pid 77) uses 0.0.0.0:8080/udp as its local port"
            ),
        ),
        (lambda: waiting.not_free(WEB, "tcp", None, None), "127.0.0.1:8080/tcp is not free"),
        (lambda: waiting.not_free(WEB, "udp", 5.0, ""), "127.0.0.1:8080/udp was not free within 5 s"),
        (lambda: waiting.not_free(WEB, "tcp", 0.25, "why"), "127.0.0.1:8080/tcp was not free within 0.25 s: why"),
        (lambda: waiting.hint(WEB, [HELD], "udp"), "see who holds it: portguard who 8080"),
        (lambda: waiting.hint(WEB, [], "udp"), "it is bound for UDP: portguard wait 8080/udp"),
        (lambda: waiting.hint(WEB, [], None), "see what listens here: portguard list"),
    ],
)
def test_sentences(found: Callable[[], str], expected: str) -> None:
    """What did not come about is said with the time that was given, who was there instead, and the next step."""
    assert found() == expected
