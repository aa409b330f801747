"""Linux: in which order to read the processes' descriptors, so that a socket's holder comes early.

Process ids and socket inodes are both given out in ascending order, so what a process holds tells about when it and
its neighbours opened sockets. It is an order and no more: what is found is proven by the link itself, and in the worst
case everything is read.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right, insort

from portguard.system.descriptors import inode_of, numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from portguard.system.descriptors import Tables

_LARGE = 96  # descriptors of a process, from which on they are not all read at first
_LOW = 48  # numbers below which a server's listeners usually are
_WINDOW = 8  # numbers that may be no sockets, among those of a large table
_BATCH = 1024  # numbers that a processor takes at a time: LAST_INO_BATCH in fs/inode.c
_NEAR = 32  # hints
_TURN = 6  # every so many steps the oldest process is read: those live long, and open sockets late


class Guide:
    """A search that remembers what it has seen from one socket to the next."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._order = tables.age_order()
        self._todo = list(range(len(self._order)))  # places in the order
        self._seen: list[tuple[int, int]] = []  # (inode, place), ascending
        self._large: list[int] = []
        self._steps = 0
        self._processors = os.cpu_count() or 1

    def look_for(self, inode: int) -> None:
        """Read tables until one has the socket, or all are read."""
        found = self._tables.found
        for pid in self._large:
            self._bisect(pid, inode)
        while self._todo and not found[inode]:
            place = self._todo.pop(self._next(inode))
            self._visit(place, inode)
        while self._large and not found[inode]:
            self._tables.read(self._large.pop(0))

    def _next(self, inode: int) -> int:
        """Return which of the places to visit next: between those with the nearest inodes, then around them."""
        self._steps += 1
        if self._steps % _TURN == 0:
            return 0
        low, high = self._bounds(inode)
        first, end = bisect_right(self._todo, low), bisect_left(self._todo, high)
        if first < end:
            # Never twice at the same part of what is left: many processes have no socket, and lie side by side.
            return first + int((end - first) * _spread(self._steps // 2 + 1))
        if first == 0:
            return end
        is_before_nearer = end == len(self._todo) or low - self._todo[first - 1] <= self._todo[end] - high
        return first - 1 if is_before_nearer else end

    def _bounds(self, inode: int) -> tuple[int, int]:
        """Return two places; the holder is probably between them.

        A processor takes numbers by batches and uses each up in its time, so order is strict only within a batch. By
        turns the nearest inodes are believed, and those that lie further than the batches that are in use at a time.
        """
        batch = inode // _BATCH
        slack = self._processors if self._steps % 2 else 0
        below = above = bisect_left(self._seen, (inode, 0))
        if not below or self._seen[below - 1][0] // _BATCH != batch:
            below = bisect_left(self._seen, ((batch - slack) * _BATCH, 0))
        if above == len(self._seen) or self._seen[above][0] // _BATCH != batch:
            above = bisect_left(self._seen, ((batch + 1 + slack) * _BATCH, 0))
        low = self._seen[below - 1][1] if below else -1
        high = self._seen[above][1] if above < len(self._seen) else len(self._order)
        if low < high:
            return low, high
        # One of the two is an old process with a new socket, or a new one with an old socket: either, by turns.
        if self._steps // 2 % 2:
            later = self._seen[above : above + _NEAR]
            return low, next((place for _, place in later if place > low), len(self._order))
        earlier = self._seen[max(below - _NEAR, 0) : below]
        return next((place for _, place in reversed(earlier) if place < high), -1), high

    def _visit(self, place: int, inode: int) -> None:
        pid = self._order[place]
        if self._tables.size_of(pid) <= _LARGE:
            self._learn(place, self._tables.read(pid))
            return
        self._large.append(pid)
        self._learn(place, self._tables.ask_for(numbered(range(_LOW)), (pid,)))
        self._bisect(pid, inode)

    def _learn(self, place: int, links: Iterable[bytes]) -> None:
        sockets = [inode for inode in map(inode_of, links) if inode]
        if sockets:
            insort(self._seen, (min(sockets), place))

    def _bisect(self, pid: int, inode: int) -> None:
        """Look in a large table where a socket, unless found, is if they were opened one after another."""
        low, high = _LOW, self._tables.size_of(pid)
        while low < high and not self._tables.found[inode]:
            middle = number = (low + high) // 2
            found = 0
            while not found and number < min(middle + _WINDOW, high):
                found = sum(map(inode_of, self._tables.ask_for(numbered((number,)), (pid,))))
                number += 1
            if found and found < inode:
                low = number
            else:
                high = middle


def _spread(step: int) -> float:
    """Return the step-th of a row of fractions that fills the space between 0 and 1 evenly: 1/2, 1/4, 3/4, 1/8..."""
    fraction, part = 0.0, 0.5
    while step:
        fraction += part * (step & 1)
        step >>= 1
        part /= 2
    return fraction
