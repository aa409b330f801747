"""What is promised, as data, and whether it was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks import contenders as c
from benchmarks import measure

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from benchmarks.measure import Results, Spread

NOISE = 0.05  # how far `pass` may be from itself
ENOUGH_ROUNDS = 21  # fewer may agree by chance


class Target(NamedTuple):
    """Wall time of a contender over that of a reference, at most `limit`; `goal` is what is hoped for beyond.

    Without a reference: the number of ports that were given twice.
    """

    number: int
    worlds: tuple[str, ...]
    contender: str
    reference: str | None
    limit: float
    goal: float | None = None


class Outcome(NamedTuple):
    """A target in one world: what was measured (None: it was not), and whether that will do.

    `cpu` is the same ratio of CPU times: no target, but what is left to compare on a busy machine.
    """

    target: Target
    world: str
    figure: Spread | None
    cpu: Spread | None
    verdict: str


_IDLE, _D = ("idle",), ("D",)

TARGETS = (
    Target(1, c.EVERYWHERE, c.CHECK_FREE, c.BARE, 2.0, goal=1.3),
    Target(1, c.EVERYWHERE, c.CHECK_FREE_CONFIG, c.BARE, 2.0, goal=1.3),
    Target(1, c.EVERYWHERE, c.CHECK_100, c.BARE, 2.3),
    *(
        Target(2, (world,), contender, c.BARE, limit)
        for contender in (c.CHECK_HELD, c.CHECK_HELD_CONFIG)
        for world, limit in (("idle", 4.5), ("B", 5.5), ("C", 4.5))
    ),
    *(
        Target(2, _D, contender, reference, limit)
        for contender in (c.CHECK_HELD, c.CHECK_HELD_CONFIG)
        for reference, limit in ((c.SS, 0.45), (c.LSOF_PORT, 0.25))
    ),
    Target(2, _D, c.SEARCH, c.LSOF_PORT, 0.08),
    Target(3, _D, c.WHO, c.SS, 0.45),
    Target(3, _D, c.WHO, c.LSOF_PORT_ANY, 0.25),
    Target(3, _D, c.WHO_LATE, c.SS, 1.2),
    Target(4, ("B", "C"), c.LIST, c.SS, 0.9),
    Target(4, _D, c.LIST, c.SS, 1.3),
    Target(4, ("A",), c.LIST, c.SS, 1.6),
    Target(5, _IDLE, c.FREE, c.BARE, 1.8),
    Target(5, _IDLE, c.FREE, c.EPHEMERAL_PORT_RESERVE, 1.0),
    Target(5, _IDLE, c.FREE, c.PORTPICKER, 1.0),
    Target(5, _IDLE, c.FREE_TOGETHER, None, 0),
    Target(5, _IDLE, c.FREE_TOGETHER, c.BARE_TOGETHER, 1.5),
    Target(6, _IDLE, c.IMPORT, c.BARE, 1.15),
    Target(6, _IDLE, c.LINT, c.BARE, 2.2),
)


def references(names: Collection[str]) -> set[str]:
    """Return what the contenders of these names are compared with."""
    return {target.reference for target in TARGETS if target.reference is not None and target.contender in names}


def is_conclusive(results: Results) -> bool:
    """Whether `pass` against itself says that this machine was quiet enough in this world."""
    null = measure.ratio(results, c.BARE_AGAIN, c.BARE)
    return null is not None and abs(null.median - 1) <= NOISE


def judge(results: Sequence[Results]) -> list[Outcome]:
    """Return the outcome of every target of what was measured, by world."""
    return [
        Outcome(target, one.world.plan.name, figure, cpu, _verdict(target, figure, is_sure=is_conclusive(one)))
        for target in TARGETS
        for one in results
        if one.world.plan.name in target.worlds and target.contender in (*one.runs, *one.failures)
        for figure, cpu in (_figures(target, one),)
    ]


def _figures(target: Target, results: Results) -> tuple[Spread | None, Spread | None]:
    if target.reference is not None:
        compared = (results, target.contender, target.reference)
        return measure.ratio(*compared), measure.ratio(*compared, of="cpu")
    twice = results.duplicates.get(target.contender)
    return (None if twice is None else measure.spread([twice])), None


def _verdict(target: Target, figure: Spread | None, *, is_sure: bool) -> str:
    if figure is None:
        return "not measured"
    if target.reference is not None and not is_sure:
        return "not conclusive"
    if figure.median > target.limit:
        return "**missed**"
    return "met" if target.goal is None or figure.median <= target.goal else "met, short of the goal"
