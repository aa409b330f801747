"""Worlds in which the oracle found something once: they are judged again in every run."""

from __future__ import annotations

from typing import NamedTuple

from tests.oracle.worlds import Case, Item, World


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
)
