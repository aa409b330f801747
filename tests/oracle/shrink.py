"""Makes a failing world small: leaves out what is not needed for it to fail, one thing after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tests.oracle.worlds import Case, Item, Sock, World

T = TypeVar("T")


def shrink(world: World, is_failing: Callable[[World], bool], seconds: float = 60) -> World:
    """Return the smallest world found within that time that still fails; `is_failing` is asked anew for each."""
    end = time.monotonic() + seconds
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in smaller(world):
            if time.monotonic() > end:
                return world
            if is_failing(candidate):
                world, is_smaller = candidate, True
                break
    return world


def smaller(world: World) -> Iterator[World]:
    """Yield worlds with less in them: halves first, then single parts, then simpler parts."""
    for cases in _without(world.cases):
        if cases:
            yield world._replace(cases=cases)
    for sockets in _without(world.sockets):
        yield world._replace(sockets=sockets)
    for sysctls in _without(world.sysctls):
        yield world._replace(sysctls=sysctls)
    if world.sight != "whole":
        yield world._replace(sight="whole")
    if not world.has_v6:
        yield world._replace(has_v6=True)
    for index, sock in enumerate(world.sockets):
        for simpler in _simpler_socks(sock):
            yield world._replace(sockets=(*world.sockets[:index], simpler, *world.sockets[index + 1 :]))
    for index, case in enumerate(world.cases):
        for less in _simpler_cases(case):
            yield world._replace(cases=(*world.cases[:index], less, *world.cases[index + 1 :]))


def _without(parts: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """Yield the parts without a run of them, long runs first."""
    size = len(parts)
    while size:
        for start in range(0, len(parts), size):
            yield parts[:start] + parts[start + size :]
        size //= 2


def _simpler_socks(sock: Sock) -> Iterator[Sock]:
    plain: dict[str, Any] = Sock._field_defaults
    for field, value in plain.items():
        if getattr(sock, field) != value:
            yield sock._replace(**{field: value})


def _simpler_cases(case: Case) -> Iterator[Case]:
    for items in _without(case.items):
        if items:
            yield case._replace(items=items)
    if case.uid:
        yield case._replace(uid=0)
    for index, item in enumerate(case.items):
        for simpler in _simpler_items(item):
            yield case._replace(items=(*case.items[:index], simpler, *case.items[index + 1 :]))


def _simpler_items(item: Item) -> Iterator[Item]:
    if item.is_owned or item.is_argument:
        yield item._replace(is_owned=False, is_argument=False)
    for protocol in item.protocols:
        if len(item.protocols) > 1:
            yield item._replace(protocols=(protocol,))
    for host in item.hosts:
        if len(item.hosts) > 1:
            yield item._replace(hosts=(host,))
