"""Take leases: some candidates, one locked section, all or nothing. The caller says whether a port is free."""

from __future__ import annotations

import os
from itertools import islice, tee

from portguard._contexts import suppress
from portguard._namedtuple import NamedTuple
from portguard.errors import PortguardError, StateError
from portguard.leases.table import FOR_LIFE, Lease, locked, nobody_is_known_dead, readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from portguard.leases.table import Table


_FIRST_BLOCK, _NEXT_BLOCKS = 64, 1024  # ports looked up at once


class Taken(NamedTuple):
    """`ports` that were taken; fewer than asked for means exhaustion. `refused` counts the others by reason."""

    ports: tuple[int, ...]
    lease: Lease | None
    refused: dict[str, int]


def take(
    path: str,
    key: str,
    count: int,
    candidates: Iterable[int],
    refuse: Callable[[int], str | None],
    *,
    ttl: int | None,
    protocols: int,
    taker: Lease | None = None,
    is_alive: Callable[[int, int], bool] = nobody_is_known_dead,
    keep: Callable[[Taken], None] = lambda _: None,
) -> Taken:
    """Lease the first `count` of `candidates` that are unleased and that `refuse` has nothing against; all or none.

    `refuse` returns a reason or None; it runs under the lock, so it must be quick. `ttl` is in seconds, None for the
    life of the process that `taker` (by default this one) names. `keep` is told what is about to be leased, before it
    is, for callers that may be interrupted. Raises StateError or LockTimeoutError; then nothing was leased.
    """
    with locked(path, key, is_alive=is_alive) as table:
        now = table.clock()
        expires = FOR_LIFE if ttl is None else now + ttl * 1000
        lease = (taker or Lease(0, os.getpid(), 0))._replace(expires=expires, protocols=protocols, since=now)
        taken = choose(table, count, candidates, refuse)._replace(lease=lease)
        if len(taken.ports) == count:
            keep(taken)
            write_all(table, taken.ports, lease)
        return taken


def write_all(table: Table, ports: Iterable[int], lease: Lease) -> None:
    """Put `lease` on all these ports, or on none. Raises OSError, StateError."""
    written = []
    try:
        for port in ports:
            written.append(port)
            table.write(port, lease)
    except BaseException:
        with suppress(OSError, PortguardError):
            for port in written:
                table.release(port, lease)
        raise


def choose(table: Table | None, count: int, candidates: Iterable[int], refuse: Callable[[int], str | None]) -> Taken:
    """Pick without leasing; ports that `table` (None: no table) has leased are passed over."""
    ports: list[int] = []
    refused: dict[str, int] = {}
    rest = iter(candidates)
    size = _FIRST_BLOCK
    while len(ports) < count and (block := list(islice(rest, size))):
        size = _NEXT_BLOCKS
        seen = 0
        for port in block if table is None else table.unleased(block):
            seen += 1
            reason = refuse(port)
            if reason is not None:
                refused[reason] = refused.get(reason, 0) + 1
                continue
            ports.append(port)
            if len(ports) == count:
                break
        else:
            if seen < len(block):
                refused["leased"] = refused.get("leased", 0) + len(block) - seen
    return Taken(tuple(ports), None, refused)


def choose_unleased(
    path: str | None,
    key: str,
    count: int,
    candidates: Iterable[int],
    refuse: Callable[[int], str | None],
    *,
    is_alive: Callable[[int, int], bool] = nobody_is_known_dead,
) -> Taken:
    """Pick without leasing, past the ports leased in the store at `path`, as far as that can be read."""
    if path is None:
        return choose(None, count, candidates, refuse)
    first, again = tee(candidates)
    with suppress(StateError), readable(path, key, is_alive=is_alive) as table:
        return choose(table, count, first, refuse)
    return choose(None, count, again, refuse)


def release(path: str, key: str, taken: Taken) -> None:
    """Give leases back that no one was told about. Never raises: they expire by themselves otherwise."""
    if taken.lease is None:
        return
    with suppress(PortguardError, OSError), locked(path, key) as table:
        for port in taken.ports:
            table.release(port, taken.lease)


def pass_on(path: str, key: str, taken: Taken, lease: Lease) -> None:
    """Put `lease` in the place of what was taken. Raises StateError, LockTimeoutError."""
    with locked(path, key) as table:
        for port in taken.ports:
            if taken.lease is not None and table.carries(port, taken.lease):
                table.write(port, lease)
