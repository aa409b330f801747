"""Which sockets sit on a port, or on any: netlink, else /proc/net, else psutil. One answer, anyone who gives it."""

from __future__ import annotations

import sys

from portguard.errors import LookupFailedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import TypeVar

    from portguard.model import Protocol, Socket, TableRow

    T = TypeVar("T")


def find_sockets(
    protocol: Protocol,
    port: int,
    *,
    listeners_only: bool = False,
    proc: str = "/proc",
    platform: str = sys.platform,
) -> list[Socket]:
    """Return the sockets whose local port is `port`, of both families, in no particular order.

    `listeners_only` allows leaving out TCP sockets that do not listen, where that is cheaper. Raises LookupFailedError
    with all reasons when no table can be read.
    """
    if platform == "linux":
        from portguard.system import proc_net, sock_diag  # not needed where every port is free

        return _first(
            lambda: sock_diag.find_sockets(protocol, port, listeners_only=listeners_only),
            lambda: proc_net.find_sockets(protocol, port, proc=proc),
            lambda: _psutil().find_sockets(protocol, port),
        )
    return _first(lambda: _psutil().find_sockets(protocol, port))


def find_all(
    protocol: Protocol,
    *,
    listeners_only: bool,
    proc: str = "/proc",
    platform: str = sys.platform,
) -> list[TableRow]:
    """Return the sockets on every port, of both families, in no particular order.

    `listeners_only`: only those that listen or, UDP, have no peer. Raises LookupFailedError as `find` does.
    """
    if platform == "linux":
        from portguard.system import proc_net, sock_diag  # Linux has them alone

        return _first(
            lambda: sock_diag.find_all(protocol, listeners_only=listeners_only),
            lambda: proc_net.find_all(protocol, listeners_only=listeners_only, proc=proc),
            lambda: _psutil().find_all(protocol, listeners_only=listeners_only),
        )
    return _first(lambda: _psutil().find_all(protocol, listeners_only=listeners_only))


def _psutil() -> ModuleType:
    from portguard.system import psutil_sockets  # psutil costs twice the interpreter's start

    return psutil_sockets


def _first(*sources: Callable[[], T]) -> T:
    """Return what the first source says that says anything."""
    reasons = []
    for source in sources:
        try:
            return source()
        except LookupFailedError as error:
            reasons.append(error.message)
    raise LookupFailedError("; ".join(reasons), "run it outside the sandbox or container, where /proc can be read")
