"""What two sockets' options decide when their addresses overlap, and what a failed bind means. Pure.

Source: socket(7), tcp(7); inet_csk_bind_conflict in net/ipv4/inet_connection_sock.c; measured cell by cell.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.model import Outcome, Protocol


class Options(NamedTuple):
    """SO_REUSEADDR and SO_REUSEPORT of a socket."""

    reuse_address: bool = False
    reuse_port: bool = False


# What a server of that protocol usually sets, and so what the probe sets: node, Go, Java, Python's http.server and
# asyncio set SO_REUSEADDR on TCP. For UDP it would share the port instead of reporting it.
SERVER_OPTIONS: dict[Protocol, Options] = {"tcp": Options(reuse_address=True), "udp": Options()}


def excludes(protocol: Protocol, state: str, holder: Options, binder: Options, *, same_user: bool = True) -> bool:
    """Whether a holder in `state` makes the bind of an overlapping address fail.

    `same_user`: both effective uids are equal, which SO_REUSEPORT demands; a socket in TIME_WAIT has lost its user.
    """
    if holder.reuse_port and binder.reuse_port and (same_user or state == "time-wait"):
        return False
    shares_address = holder.reuse_address and binder.reuse_address
    return not shares_address or (protocol == "tcp" and state == "listen")


# errno names to what they say about the endpoint. WSAEACCES (10013) is Windows' own: an excluded range, or an exclusive
# owner; the other Winsock errors go by the names of errno.
_OUTCOMES: dict[str, Outcome] = {
    "EADDRINUSE": "busy",
    "EACCES": "no-permission",
    "EPERM": "no-permission",
    "WSAEACCES": "excluded",
    "EADDRNOTAVAIL": "not-local",
    "EAFNOSUPPORT": "no-family",
    "EPROTONOSUPPORT": "no-family",
    "ENODEV": "not-local",
    "EINVAL": "not-local",  # a link-local address without its interface (ipv6(7)); nothing else is wrong with our binds
}


def outcome_of(error: str | None) -> Outcome:
    """Return what the bind's errno name tells about the endpoint; None is success, anything unforeseen "failed"."""
    return "free" if error is None else _OUTCOMES.get(error, "failed")
