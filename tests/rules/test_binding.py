"""What two sockets' options decide, as the kernel was measured to do it, and what a failed bind means."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from portguard.rules import binding
from portguard.rules.binding import Options, excludes

STATES = [("tcp", "listen"), ("tcp", "bound"), ("tcp", "established"), ("tcp", "time-wait"), ("udp", "bound")]
NOTHING, ADDRESS, PORT = Options(), Options(reuse_address=True), Options(reuse_port=True)
BOTH = Options(reuse_address=True, reuse_port=True)


@pytest.mark.parametrize(("protocol", "state"), STATES)
def test_sharing_needs_the_same_option_on_both_sides(protocol: Any, state: str) -> None:
    """Sharing needs the same option on both sides: the address's, but for a listener; the port's, of one user."""
    every = (NOTHING, ADDRESS, PORT, BOTH)
    for holder, binder, same_user in itertools.product(every, every, (True, False)):
        shares_port = holder in (PORT, BOTH) and binder in (PORT, BOTH) and (same_user or state == "time-wait")
        shares_address = holder in (ADDRESS, BOTH) and binder in (ADDRESS, BOTH) and state != "listen"

        found = excludes(protocol, state, holder, binder, same_user=same_user)

        assert found is (not (shares_port or shares_address)), (holder, binder, same_user)


def test_one_user_is_usual() -> None:
    """Whose the sockets are need not be said where they are one user's."""
    assert not excludes("tcp", "listen", PORT, PORT)


def test_a_listening_udp_socket_is_none() -> None:
    """Only TCP knows listeners: for UDP no state keeps others out that share the address."""
    assert not excludes("udp", "listen", ADDRESS, ADDRESS)


def test_what_servers_set() -> None:
    """Servers set SO_REUSEADDR for TCP, and nothing for UDP, where it would share the port."""
    assert {"tcp": Options(reuse_address=True, reuse_port=False), "udp": NOTHING} == binding.SERVER_OPTIONS
    assert Options() == (False, False)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "free"),
        ("EADDRINUSE", "busy"),
        ("EACCES", "no-permission"),
        ("EPERM", "no-permission"),
        ("WSAEACCES", "excluded"),
        ("EADDRNOTAVAIL", "not-local"),
        ("EAFNOSUPPORT", "no-family"),
        ("EPROTONOSUPPORT", "no-family"),
        ("ENODEV", "not-local"),
        ("EINVAL", "not-local"),
        ("EMFILE", "failed"),
        ("", "failed"),
    ],
)
def test_each_error_of_a_bind_has_its_meaning(error: str | None, outcome: str) -> None:
    """Each error of a bind has its meaning; one that no one foresaw has none."""
    assert binding.outcome_of(error) == outcome
