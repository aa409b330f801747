"""Which sockets sit on a port: netlink, else /proc/net, else psutil. One question, one answer, whoever gives it."""

from __future__ import annotations

import sys

from portguard.errors import LookupFailedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.model import Protocol, Socket


def find(
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
    reasons = []
    if platform == "linux":
        from portguard.system import proc_net, sock_diag  # not needed where every port is free

        try:
            return sock_diag.find(protocol, port, listeners_only=listeners_only)
        except LookupFailedError as error:
            reasons.append(error.message)
        try:
            return proc_net.find(protocol, port, proc=proc)
        except LookupFailedError as error:
            reasons.append(error.message)
    from portguard.system import psutil_sockets  # psutil costs twice the interpreter's start

    try:
        return psutil_sockets.find(protocol, port)
    except LookupFailedError as error:
        reasons.append(error.message)
    raise LookupFailedError("; ".join(reasons))
