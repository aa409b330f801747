"""What a real server meets, and which sockets are in its way. Shares no rule with portguard."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import socket
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from tests.oracle.build import Fact
from tests.worlds.netns import run_in_netns

if TYPE_CHECKING:
    from portguard.model import Cause, Protocol

    # Two host lists whose servers exclude each other.
    Rivals = frozenset[tuple[Protocol, tuple[str, ...], tuple[str, ...]]]

ALIASES = {"*": ("0.0.0.0", "::"), "localhost": ("127.0.0.1", "::1")}
MISSING = ("EADDRNOTAVAIL", "EAFNOSUPPORT", "EINVAL")
# What else says that this host has no such address: a link-local one without its interface.
NO_ADDRESS = (*MISSING, "EINVAL")
# The most lasting first: of several sockets in the way, that is the one to name.
LASTING: tuple[Cause, ...] = ("listener", "bound", "connection", "time-wait")
_RIVALS_PORT = 20000
_BOTH = {"net.ipv4.ip_nonlocal_bind": "1", "net.ipv6.ip_nonlocal_bind": "1"}


class Trial(NamedTuple):
    """How a server fared: whether it started, and if not, the errno's name by address that stopped it."""

    is_started: bool
    errors: dict[str, str]


def expand(hosts: Iterable[str]) -> dict[str, bool]:
    """Return the addresses that a server for `hosts` binds, and whether the system may lack each of them."""
    found: dict[str, bool] = {}
    for host in hosts:
        for address in ALIASES.get(host, (host,)):
            found[address] = host in ALIASES
    return found


def _start(stack: contextlib.ExitStack, protocol: Protocol, address: str, port: int) -> None:
    is_v6 = ":" in address
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = stack.enter_context(socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, kind))
    if protocol == "tcp":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_v6:
        is_mapped = address.startswith("::ffff:")
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not is_mapped))
    sock.bind((address, port))
    if protocol == "tcp":
        sock.listen()


def try_server(protocol: Protocol, hosts: Iterable[str], port: int) -> Trial:
    """Start a server on all its addresses at once, then close it; where that fails, ask for each address alone."""
    addresses = expand(hosts)
    with contextlib.ExitStack() as stack:
        error = start(stack, protocol, addresses, port)
    if error is None:
        return Trial(True, {})
    errors = {}
    for address in addresses:
        with contextlib.ExitStack() as stack:
            error = start(stack, protocol, {address: False}, port)
        if error is not None:
            errors[address] = error
    if any(error not in MISSING for error in errors.values()) or len(errors) < len(addresses):
        errors = {at: error for at, error in errors.items() if error not in MISSING or not addresses[at]}
    return Trial(False, errors)


def start(stack: contextlib.ExitStack, protocol: Protocol, addresses: dict[str, bool], port: int) -> str | None:
    """Start a server that `stack` closes; return the errno's name that stops it, None if nothing does.

    A family that the system lacks is left out where it may be, unless none is left.
    """
    missing: str | None = None
    is_on = False
    for address, may_lack in addresses.items():
        try:
            _start(stack, protocol, address, port)
            is_on = True
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, str(error))
            if name not in MISSING or not may_lack:
                return name
            missing = name
    return None if is_on else missing


# ---------------------------------------------------------------- two declarations


@functools.cache
def rivals(declared: frozenset[tuple[str, ...]]) -> Rivals:
    """Return which two servers for these host lists exclude each other on a system that has every address."""
    return run_in_netns(_measure_rivals, sorted(declared), sysctls=_BOTH)


def _measure_rivals(declared: Collection[tuple[str, ...]]) -> Rivals:
    found = set()
    protocols: tuple[Protocol, ...] = ("tcp", "udp")
    for protocol, first, second in itertools.product(protocols, declared, declared):
        with contextlib.ExitStack() as stack:
            error = start(stack, protocol, expand(first), _RIVALS_PORT)
            if error == "EINVAL":
                continue  # a link-local address without its interface, which starts nowhere
            assert error is None, f"{first} cannot start: {error}"
            if start(stack, protocol, expand(second), _RIVALS_PORT) is not None:
                found.add((protocol, first, second))
    return frozenset(found)


# ---------------------------------------------------------------- who is in the way


def _places(host: str, *, v6only: bool) -> dict[int, str]:
    """Return the address by family (4, 6) that a socket has; "" is all of them."""
    bare = host.removeprefix("::ffff:")
    if ":" not in bare:
        return {4: "" if bare == "0.0.0.0" else bare}
    if bare != "::":
        return {6: bare}
    return {6: ""} if v6only else {4: "", 6: ""}


def is_in_the_way(fact: Fact, protocol: Protocol, address: str, port: int) -> bool:
    """Whether a socket has what a server for this address wants, whatever the options of both would allow."""
    if (fact.protocol, fact.port) != (protocol, port):
        return False
    theirs, ours = _places(fact.host, v6only=fact.v6only), _places(address, v6only=True)
    if any("" in (theirs[family], ours[family]) or theirs[family] == ours[family] for family in theirs.keys() & ours):
        return True
    # An IPv6 socket that is not IPv6-only has an IPv4 address to the kernel too, which only the wildcard meets.
    return not fact.v6only and 6 in theirs and address == "0.0.0.0"


def causes_of(facts: Iterable[Fact]) -> Cause:
    """Return the one cause that is named for these sockets."""
    found = {fact.cause for fact in facts}
    return next((cause for cause in LASTING if cause in found), "none")
