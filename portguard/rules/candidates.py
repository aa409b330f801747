"""Which ports `free` may hand out, and in which order. Pure: settings and start come in as arguments.

The order comes from measurement: a port inside the kernel's ephemeral range is taken by strangers at 7 % a second under
load, one outside never; callers that scan from the bottom meet each other, callers with random starts do not. Linux
gives connect() the parity of the range's low end, so inside it the other parity is safer (commit 07f4c90062f8).
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules.ranges import BROWSER_BLOCKED, contains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

    from portguard.rules.ranges import Range


class Pool(NamedTuple):
    """The ports of a requested range in groups of falling safety; no port is in two of them."""

    safe: tuple[range, ...]
    uneven: tuple[range, ...]
    even: tuple[range, ...]


def pool_of(requested: Range, ephemeral: Range) -> Pool:
    """Split the inclusive `requested` range by what the kernel may assign by itself (`ephemeral`, inclusive)."""
    first, last = requested
    low, high = ephemeral
    below = range(first, min(last, low - 1) + 1)
    above = range(max(first, high + 1), last + 1)
    inside_first, inside_last = max(first, low), min(last, high)
    other_parity = inside_first + ((inside_first - low + 1) % 2)
    same_parity = inside_first + ((inside_first - low) % 2)
    return Pool(
        tuple(part for part in (above, below) if part),
        tuple(part for part in (range(other_parity, inside_last + 1, 2),) if part),
        tuple(part for part in (range(same_parity, inside_last + 1, 2),) if part),
    )


def is_safe(pool: Pool, port: int) -> bool:
    """Whether the kernel will not assign `port` by itself."""
    return any(port in part for part in pool.safe)


def candidates(pool: Pool, start: int) -> Iterator[int]:
    """Yield every port of the pool once, safest group first; `start` (any integer) turns each group's wheel."""
    for group in pool:
        size = sum(map(len, group))
        position = start % size if size else 0
        behind: list[range] = []
        for part in group:
            # Whole slices: where most ports are leased, thousands are passed over at every call.
            yield from part[position:]
            behind.append(part[:position])
            position = max(0, position - len(part))
        for part in behind:
            yield from part


def exclusion(
    port: int, *, declared: Set[int], reserved: Sequence[Range], assigned: Set[int] = frozenset()
) -> str | None:
    """Return why `port` is not to be handed out whether free or not, or None."""
    if port in declared:
        return "declared"
    if port in assigned:
        return "assigned"
    if port in BROWSER_BLOCKED:
        return "browser-blocked"
    if contains(reserved, port):
        return "reserved"
    return None


def alternatives(port: int, span: int = 100) -> Iterator[int]:
    """Yield numbers people would pick instead of `port`: the next ones; for a well-known one 8000 above it."""
    start = port + 1 if port >= 1024 else port + 8000
    yield from range(start, min(start + span, 65536))
