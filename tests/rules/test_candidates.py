"""Claims about portguard.rules.candidates: which ports come, in which order; every one of them, and once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.rules.candidates import Pool, alternatives, candidates, exclusion, is_safe, pool_of
from portguard.rules.ranges import BROWSER_BLOCKED, DYNAMIC, LINUX_EPHEMERAL, contains
from tests.amount import examples

PORTS = st.integers(1, 65_535)


def ranges(longest: int = 65_535) -> st.SearchStrategy[tuple[int, int]]:
    """Return inclusive ranges of at most so many ports."""
    return st.tuples(PORTS, st.integers(0, longest - 1)).map(lambda pair: (pair[0], min(sum(pair), 65_535)))


# Small ones, and ephemeral ranges around them: so that most examples overlap in some way.
SMALL = ranges(longest=40)
NEIGHBOURS = st.tuples(SMALL, st.integers(-50, 50), st.integers(0, 90)).map(
    lambda drawn: (drawn[0], (max(1, drawn[0][0] + drawn[1]), max(1, drawn[0][0] + drawn[1]) + drawn[2]))
)


def every(parts: tuple[range, ...]) -> list[int]:
    """Return all ports of a group, in its order."""
    return list(itertools.chain(*parts))


@pytest.mark.scaled
@settings(max_examples=examples(600), deadline=None, database=None)
@given(ranges(), ranges())
def test_the_groups_partition_the_range_whatever_is_ephemeral(
    requested: tuple[int, int], ephemeral: tuple[int, int]
) -> None:
    """Each port of any range is in exactly one group, whatever the kernel assigns by itself; no other port is."""
    pool = pool_of(requested, ephemeral)
    everything = [port for group in pool for port in every(group)]
    assert sorted(everything) == list(range(requested[0], requested[1] + 1))


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None, database=None)
@given(NEIGHBOURS)
def test_each_port_is_in_the_group_its_risk_belongs_to(drawn: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Safe is outside the ephemeral range; inside it the parity that connect() does not draw from comes before it."""
    requested, (low, high) = drawn
    pool = pool_of(requested, (low, high))
    for port in range(requested[0], requested[1] + 1):
        is_inside = low <= port <= high
        group = 0 if not is_inside else 1 if port % 2 != low % 2 else 2
        assert [port in every(parts) for parts in pool] == [number == group for number in range(3)]
        assert is_safe(pool, port) == (not is_inside)


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None, database=None)
@given(NEIGHBOURS, st.integers(-(2**40), 2**40))
def test_every_port_comes_once_and_safer_ones_first(drawn: tuple[tuple[int, int], tuple[int, int]], start: int) -> None:
    """From any start: all of the range, none twice, the safe group before the uneven before the even one."""
    pool = pool_of(*drawn)
    found = list(candidates(pool, start))
    groups = [every(parts) for parts in pool]
    assert sorted(found) == list(range(drawn[0][0], drawn[0][1] + 1))
    assert [sorted(part) for part in _split(found, groups)] == [sorted(group) for group in groups]


def _split(found: list[int], groups: list[list[int]]) -> list[list[int]]:
    rest = iter(found)
    return [list(itertools.islice(rest, len(group))) for group in groups]


@pytest.mark.scaled
@settings(max_examples=examples(600), deadline=None, database=None)
@given(NEIGHBOURS, st.integers(-(2**40), 2**40))
def test_each_group_is_a_wheel_that_start_turns(drawn: tuple[tuple[int, int], tuple[int, int]], start: int) -> None:
    """Within a group, the order is that of start 0, begun `start` places further on."""
    pool = pool_of(*drawn)
    groups = [every(parts) for parts in pool]
    turned = [group[start % len(group) :] + group[: start % len(group)] if group else [] for group in groups]
    assert _split(list(candidates(pool, start)), groups) == turned


@pytest.mark.scaled
@settings(max_examples=examples(600), deadline=None, database=None)
@given(NEIGHBOURS)
def test_every_port_of_the_safest_group_can_be_the_first(drawn: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """As many starts as there are ports give as many first candidates: none is favoured."""
    pool = pool_of(*drawn)
    safest = next(every(parts) for parts in pool if parts)
    assert sorted(next(candidates(pool, start)) for start in range(len(safest))) == sorted(safest)


def test_the_default_pool_of_linux_begins_outside_the_ephemeral_range() -> None:
    """With the kernel's default setting, 61000-65535 comes before everything else, from any start."""
    pool = pool_of(DYNAMIC, LINUX_EPHEMERAL)
    for start in (0, 1, 4_535, 4_536, -1, 2**32 - 1):
        found = list(candidates(pool, start))
        assert sorted(found[:4_536]) == list(range(61_000, 65_536))
        assert sorted(found) == list(range(49_152, 65_536))
        assert {port % 2 for port in found[4_536 : 4_536 + 5_924]} == {1}


def test_an_empty_pool_yields_nothing() -> None:
    """No groups, no candidates, and no endless search."""
    assert list(candidates(Pool((), (), ()), 7)) == []


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None, database=None)
@given(SMALL, st.sets(PORTS), st.lists(SMALL, max_size=5), st.integers(-(2**40), 2**40))
def test_what_is_left_after_the_exclusions_comes_exactly_once(
    requested: tuple[int, int], declared: set[int], reserved: list[tuple[int, int]], start: int
) -> None:
    """Declared, reserved and browser-blocked ports are named so; every other port of the range still comes once."""
    declared |= {requested[0] + 1}
    reserved = [*reserved, (requested[1], requested[1])]
    out = declared | set(BROWSER_BLOCKED) | {port for first, last in reserved for port in range(first, last + 1)}
    order = candidates(pool_of(requested, LINUX_EPHEMERAL), start)
    kept = [port for port in order if exclusion(port, declared=declared, reserved=reserved) is None]
    assert sorted(kept) == [port for port in range(requested[0], requested[1] + 1) if port not in out]


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None, database=None)
@given(PORTS | st.sampled_from(sorted(BROWSER_BLOCKED)), st.booleans(), st.booleans())
def test_the_reason_is_the_one_that_people_can_change_first(port: int, is_declared: bool, is_reserved: bool) -> None:
    """Declared before browser-blocked before reserved; the reason names what is true of the port."""
    reserved = [(port, port)] if is_reserved else []
    reason = exclusion(port, declared={port} if is_declared else set(), reserved=reserved)
    names = [
        name
        for name, holds in (
            ("declared", is_declared),
            ("browser-blocked", port in BROWSER_BLOCKED),
            ("reserved", contains(reserved, port)),
        )
        if holds
    ]
    assert reason == (names[0] if names else None)


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None, database=None)
@given(PORTS, st.integers(0, 200))
def test_alternatives_are_other_numbers_that_need_no_privileges(port: int, span: int) -> None:
    """Upwards, each once, never the port itself, never beyond the last port, never well-known."""
    found = list(alternatives(port, span))
    assert found == sorted(set(found))
    assert len(found) <= span
    assert all(max(port, 1_023) < other <= 65_535 for other in found)
    first = port + 1 if port >= 1_024 else port + 8_000
    assert found[:1] == [first][: min(span, 65_536 - first)]


def test_every_reason_in_its_order() -> None:
    """What is declared comes before what is a checkout's own, that before what browsers refuse, and reserved last."""
    nothing: set[int] = set()
    reserved = [(20, 25)]

    assert exclusion(22, declared={22}, reserved=reserved, assigned={22}) == "declared"
    assert exclusion(22, declared=nothing, reserved=reserved, assigned={22}) == "assigned"
    assert exclusion(22, declared=nothing, reserved=reserved) == "browser-blocked"
    assert exclusion(24, declared=nothing, reserved=reserved) == "reserved"
    assert exclusion(26, declared=nothing, reserved=reserved) is None


def test_pools_in_numbers() -> None:
    """Outside the ephemeral range first, above before below; inside it the parity that connect() does not take."""
    assert pool_of((1, 10), (3, 8)) == Pool((range(9, 11), range(1, 3)), (range(4, 9, 2),), (range(3, 9, 2),))
    assert pool_of((4, 7), (3, 8)) == Pool((), (range(4, 8, 2),), (range(5, 8, 2),))
    assert pool_of((5, 7), (3, 8)) == Pool((), (range(6, 8, 2),), (range(5, 8, 2),))
    assert pool_of((3, 3), (3, 3)) == Pool((), (), (range(3, 4, 2),))
    assert pool_of((1, 2), (3, 8)) == Pool((range(1, 3),), (), ())
    assert pool_of((9, 9), (3, 8)) == Pool((range(9, 10),), (), ())
    assert list(candidates(pool_of((1, 10), (3, 8)), 0)) == [9, 10, 1, 2, 4, 6, 8, 3, 5, 7]
    assert list(candidates(pool_of((1, 10), (3, 8)), 3)) == [2, 9, 10, 1, 4, 6, 8, 3, 5, 7]
    assert is_safe(pool_of((1, 10), (3, 8)), 9)
    assert not is_safe(pool_of((1, 10), (3, 8)), 8)


def test_alternatives_in_numbers() -> None:
    """The next hundred numbers; for a well-known one those from 8000 above it; none beyond the last port."""
    assert list(alternatives(1024)) == list(range(1025, 1125))
    assert list(alternatives(80, 2)) == [8080, 8081]
    assert list(alternatives(1023, 1)) == [9023]
    assert list(alternatives(65533)) == [65534, 65535]
    assert list(alternatives(65535)) == []
