"""portguard's rules give the kernel's answer, cell by cell: holder's state, address and options, binder's the same."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import product
from typing import NamedTuple

import pytest

from portguard.rules.addresses import connection_overlaps, overlaps
from portguard.rules.binding import Options, excludes
from tests.worlds import holders
from tests.worlds.capabilities import NOBODY
from tests.worlds.holders import ADDRESSES, ALL_OPTIONS, Address, Held
from tests.worlds.netns import run_in_netns
from tests.worlds.users import effective_user

# A client's end, never bound to an IPv6 address, is not IPv6-only; one whose address was chosen is.
CHOSEN = (Address("127.0.0.2", v6only=False), Address("::1", v6only=True))
CLIENTS = (
    Address("127.0.0.1", v6only=False),
    Address("::1", v6only=False),
    Address("::ffff:127.0.0.1", v6only=False),
    *CHOSEN,
)
NewHolder = Callable[[], AbstractContextManager[Held]]
SHARING = tuple(options for options in ALL_OPTIONS if options.reuse_port)


class Result(NamedTuple):
    """How many cells had which answer ("kind: busy" and "kind: free"), and those where the rules said another."""

    cells: Counter[str]
    wrong: list[str]


def every_holder(options: Options) -> Iterator[tuple[str, NewHolder]]:
    """Yield each way to hold a port with these options, and its name."""
    for address in ADDRESSES:
        yield "listening", partial(holders.listening, address, options)
        yield "bound", partial(holders.bound, "tcp", address, options)
        yield "accepted, listener gone", partial(holders.abandoned, address, options, dead=False)
        yield "accepted, TIME_WAIT", partial(holders.abandoned, address, options, dead=True)
        yield "udp bound", partial(holders.bound, "udp", address, options)
    for dead in (False, True):
        name = "accepted, TIME_WAIT" if dead else "accepted, listener gone"
        yield name, partial(holders.abandoned, holders.DUAL, options, dead=dead, client_host="127.0.0.1")
        for address in CLIENTS:
            name = "outgoing, TIME_WAIT" if dead else "outgoing, established"
            yield name, partial(holders.outgoing, address, options, dead=dead)
    for address in CLIENTS:
        if address not in CHOSEN:
            yield "udp connected", partial(holders.connected_udp, address, options)


def kernel_refuses(held: Held, address: Address, options: Options, uid: int) -> bool:
    """Whether a real server with these options cannot start on the held port."""
    with effective_user(uid):
        sock = holders.open_socket(held.protocol, address, options)
    with sock:
        try:
            sock.bind((address.host, held.port))
            if held.protocol == "tcp":
                sock.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


def rules_refuse(held: Held, address: Address, options: Options, *, same_user: bool) -> bool:
    """Whether portguard's rules say so."""
    assert held.state is not None
    meet = overlaps(
        address.host, held.address.host, first_v6only=address.v6only, second_v6only=held.address.v6only
    ) or (held.is_connection and not held.address.v6only and connection_overlaps(address.host, held.address.host))
    return meet and excludes(held.protocol, held.state, held.options, options, same_user=same_user)


def compare(holder_options: Options, uid: int) -> Result:
    """Ask the kernel and the rules about every cell, binding as the user `uid`; runs in a private namespace.

    Each cell has a holder of its own: the kernel's memory of a port keeps the options of binds that have come and gone,
    and lets a later SO_REUSEPORT through on their account (inet_csk_update_fastreuse).
    """
    cells: Counter[str] = Counter()
    wrong = []
    for (name, new_holder), address, options in product(every_holder(holder_options), ADDRESSES, ALL_OPTIONS):
        with new_holder() as held:
            refuses = kernel_refuses(held, address, options, uid)
        cells[f"{name}: {'busy' if refuses else 'free'}"] += 1
        if refuses != rules_refuse(held, address, options, same_user=uid == os.geteuid()):
            wrong.append(
                f"{name}: {held} is{'' if refuses else ' not'} in the way of {address} with {holders.describe(options)}"
            )
    return Result(cells, wrong)


def compare_all(holder_options: tuple[Options, ...], uid: int) -> Result:
    """Compare every cell of holders with these options."""
    results = [run_in_netns(compare, options, uid) for options in holder_options]
    return Result(
        sum((result.cells for result in results), Counter()), [line for _, wrong in results for line in wrong]
    )


def assert_equal(result: Result, kinds: int) -> None:
    """Demand no wrong cell, and both answers from each kind of holder: a cell that cannot differ proves nothing."""
    assert not result.wrong, f"{len(result.wrong)} of {result.cells.total()}:\n" + "\n".join(result.wrong)
    assert len(result.cells) == 2 * kinds, result.cells


@pytest.mark.needs("netns", "ipv6")
def test_rules_equal_kernel() -> None:
    """In every cell the rules say "conflict" exactly when the kernel refuses bind or listen."""
    result = compare_all(ALL_OPTIONS, os.geteuid())
    assert_equal(result, kinds=8)
    assert result.cells.total() >= 5000


@pytest.mark.needs("netns", "ipv6", "users")
def test_rules_equal_kernel_for_another_user() -> None:
    """SO_REUSEPORT is not shared between users, except with a dead connection: the rules say where, exactly."""
    result = compare_all(SHARING, NOBODY)
    assert_equal(result, kinds=8)
    assert result.cells.total() >= 2500
