"""What a world is: sockets, settings and questions as plain data, the same for the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from portguard.model import Cause, Protocol

Kind = Literal[
    "listening",
    "bound",
    "outgoing",
    "chosen",
    "syn-sent",
    "accepted",
    "close-wait",
    "half-closed",
    "fin-wait-2",
    "time-wait",
    "outgoing-time-wait",
    "udp-bound",
    "udp-connected",
    "udp-chosen",
]
Sight = Literal["whole", "no-netlink", "nothing"]

# What each kind of socket is to a server that wants its place.
KINDS: dict[Kind, tuple[Protocol, Cause]] = {
    "listening": ("tcp", "listener"),
    "bound": ("tcp", "bound"),
    "outgoing": ("tcp", "connection"),  # the kernel chose the port
    "chosen": ("tcp", "connection"),  # the client did
    "syn-sent": ("tcp", "connection"),
    "accepted": ("tcp", "connection"),  # its listener is gone, as in all that follow
    "close-wait": ("tcp", "connection"),
    "half-closed": ("tcp", "connection"),
    "fin-wait-2": ("tcp", "connection"),  # no one's any more
    "time-wait": ("tcp", "time-wait"),
    "outgoing-time-wait": ("tcp", "time-wait"),
    "udp-bound": ("udp", "listener"),
    "udp-connected": ("udp", "connection"),
    "udp-chosen": ("udp", "connection"),
}
SIGHTS: tuple[Sight, ...] = ("whole", "no-netlink", "nothing")

# Documentation addresses (RFC 5737, RFC 3849): lo has the first two, no one the others.
GIVEN = ("192.0.2.1", "2001:db8::1")
NOBODYS = ("198.51.100.7", "2001:db8::7")
# The process that holds all sockets of a world is called so.
HOLDER = "oracle-holder"


class Sock(NamedTuple):
    """A socket to make; one that the kernel refuses is left out. `v6only` None leaves it to the system.

    `has_device`: bound to lo. `uid` is whose socket it is.
    """

    kind: Kind
    host: str
    port: int
    v6only: bool | None = None
    reuse_address: bool = False
    reuse_port: bool = False
    has_device: bool = False
    uid: int = 0


class Item(NamedTuple):
    """A declaration. `is_owned`: its `owner` is the holder's name; `is_argument`: asked as on the command line."""

    hosts: tuple[str, ...]
    port: int
    protocols: tuple[Protocol, ...] = ("tcp",)
    is_owned: bool = False
    is_argument: bool = False


class Case(NamedTuple):
    """A project that declares these, and the user who checks it and would start its servers."""

    items: tuple[Item, ...]
    uid: int = 0


class World(NamedTuple):
    """Sockets and settings, and what is asked there.

    `sight` is how much of the socket table the askers see; `has_v6` False forbids them IPv6 sockets.
    """

    sockets: tuple[Sock, ...]
    cases: tuple[Case, ...]
    sysctls: tuple[tuple[str, str], ...] = ()
    sight: Sight = "whole"
    has_v6: bool = True


def code(value: object) -> str:
    """Return the expression that makes this value, without what are defaults anyway."""
    if not isinstance(value, tuple):
        return repr(value)
    fields: tuple[str, ...] | None = getattr(value, "_fields", None)
    if fields is None:
        return f"({', '.join(map(code, value))}{',' if len(value) == 1 else ''})"
    defaults: dict[str, object] = getattr(type(value), "_field_defaults", {})
    parts = [
        f"{name}={code(part)}"
        for name, part in zip(fields, value, strict=True)
        if name not in defaults or defaults[name] != part
    ]
    return f"{type(value).__name__}({', '.join(parts)})"
