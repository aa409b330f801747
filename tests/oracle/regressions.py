"""Worlds in which the oracle found something once: they are judged again in every run."""

from __future__ import annotations

from typing import NamedTuple

from tests.oracle.worlds import Case, Item, Sock, World


class Regression(NamedTuple):
    """A minimal world, as the oracle prints it. `fault` tells what portguard still gets wrong there."""

    name: str
    world: World
    fault: str | None = None


REGRESSIONS: tuple[Regression, ...] = (
    Regression(
        "link-local without an interface",
        World(sockets=(), cases=(Case(items=(Item(hosts=("fe80::1",), port=8080),)),)),
    ),
    # The judge's mistake, not portguard's: a socket that is bound to one IPv6 address is IPv6-only, and known to be.
    Regression(
        "IPv6-only by its address, in a table that does not tell",
        World(
            sockets=(
                Sock(kind="half-closed", host="::1", port=40000),
                Sock(kind="time-wait", host="0.0.0.0", port=40000),
                Sock(kind="listening", host="2001:db8::7", port=40000),
            ),
            cases=(Case(items=(Item(hosts=("0.0.0.0",), port=40000),)),),
            sysctls=(("net.ipv6.ip_nonlocal_bind", "1"),),
            sight="no-netlink",
        ),
    ),
)
