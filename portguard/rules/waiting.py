"""What `wait` waits for: whom a client would reach; in sentences, what came, or what was found instead. Pure."""

from __future__ import annotations

from portguard.rules import explain
from portguard.rules.addresses import ANY_V6, is_v6, overlaps, target
from portguard.rules.verdicts import cause_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import Cause, Declaration, Holder, Protocol, Socket

_CAUSES_WORTH_NAMING: tuple[Cause, ...] = ("listener", "bound", "connection")


def serves(socket: Socket, address: str) -> bool:
    """Whether a socket listens (UDP: is bound, without a peer) where it takes what is sent to `address`.

    As far as a table can tell: not which addresses this host has, nor always the interface, nor about IPv6-only.
    """
    if cause_of(socket.protocol, socket.state) != "listener":
        return False
    bare, _, interface = address.partition("%")
    return overlaps(bare if interface.isdigit() else address, socket.address, second_v6only=bool(socket.v6only))


def instead(sockets: Sequence[Socket]) -> list[Socket]:
    """Return those sockets of a port that no one serves that explain it best; what lingers explains nothing."""
    for cause in _CAUSES_WORTH_NAMING:
        found = [socket for socket in sockets if cause_of(socket.protocol, socket.state) == cause]
        if found:
            return found
    return []


def reached(hosts: Sequence[str], port: int, protocol: Protocol, seconds: float, *, free: bool) -> str:
    """Return that a port is so, and after how long; 0 seconds: it was so at the first look."""
    state = "is free" if free else "listens" if protocol == "tcp" else "is bound"
    when = f"after {seconds:.{1 if seconds >= 1 else 2}f} s" if seconds else "already"
    return f"{target(hosts, port, protocol)} {state} {when}"


def nobody(
    declaration: Declaration,
    protocol: Protocol,
    timeout: float | None,
    holders: Sequence[Holder],
    why: str | None = None,
) -> str:
    """Return that no one served a port in time, and `why`, or else who sits on its number instead."""
    wanted = target(declaration.hosts, declaration.port, protocol)
    within = "" if timeout is None else f" within {timeout:g} s"
    text = f"nothing {'listened on' if protocol == 'tcp' else 'had bound'} {wanted}{within}"
    if why is not None:
        return f"{text}: {why}"
    if not holders:
        return text
    first = holders[0]
    text = f"{text}; {explain.occupied(first)}"
    if cause_of(protocol, first.state or "") == "listener":
        is_v6_alone = first.address == ANY_V6 and first.container is None and not any(map(is_v6, declaration.hosts))
        text += f"{' for IPv6 alone' if is_v6_alone else ''}, which {wanted.rpartition('/')[0]} does not reach"
    return text + (f"; and {len(holders) - 1} more" if len(holders) > 1 else "")


def not_free(declaration: Declaration, protocol: Protocol, timeout: float | None, why: str | None) -> str:
    """Return that a port did not become free in time, and why, as far as that is known."""
    wanted = target(declaration.hosts, declaration.port, protocol)
    state = "is not free" if timeout is None else f"was not free within {timeout:g} s"
    return f"{wanted} {state}" + (f": {why}" if why else "")


def hint(declaration: Declaration, holders: Sequence[Holder], other: Protocol | None) -> str:
    """Return the next step for a port that is not as it should be; `other` is the protocol that it is bound for."""
    if holders:
        return f"see who holds it: portguard who {declaration.port}"
    if other is not None:
        return f"it is bound for {other.upper()}: portguard wait {declaration.port}/{other}"
    return "see what listens here: portguard list"
