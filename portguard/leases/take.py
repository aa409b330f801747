"""Taking leases: some candidates, one locked section, all or nothing. Whether a port is free is asked by the caller."""

from __future__ import annotations

import contextlib
import os

from portguard._namedtuple import NamedTuple
from portguard.errors import PortguardError
from portguard.leases.table import Lease, locked, readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from portguard.leases.table import Table


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
    ttl: int,
    protocols: int,
) -> Taken:
    """Lease the first `count` of `candidates` that are unleased and that `refuse` has nothing against; all or none.

    `refuse` returns a reason or None; it runs under the lock, so it must be quick. `ttl` is in seconds. Raises
    StateError or LockTimeoutError; then nothing was leased.
    """
    with locked(path, key) as table:
        lease = Lease(table.clock() + ttl * 1000, os.getpid(), protocols)
        taken = choose(table, count, candidates, refuse)
        if len(taken.ports) == count:
            written = []
            try:
                for port in taken.ports:
                    table.write(port, lease)
                    written.append(port)
            except OSError:
                with contextlib.suppress(OSError):
                    for port in written:
                        table.release(port, lease)
                raise
        return taken._replace(lease=lease)


def choose(table: Table | None, count: int, candidates: Iterable[int], refuse: Callable[[int], str | None]) -> Taken:
    """Pick without leasing; ports that `table` (None: no table) has leased are passed over."""
    ports: list[int] = []
    refused: dict[str, int] = {}
    for port in candidates:
        if len(ports) == count:
            break
        reason = "leased" if table is not None and table.lease(port) is not None else refuse(port)
        if reason is None:
            ports.append(port)
        else:
            refused[reason] = refused.get(reason, 0) + 1
    return Taken(tuple(ports), None, refused)


def choose_unleased(
    path: str | None, key: str, count: int, candidates: Iterable[int], refuse: Callable[[int], str | None]
) -> Taken:
    """Pick without leasing, past the ports leased in the store at `path`, as far as that can be read."""
    if path is None:
        return choose(None, count, candidates, refuse)
    with readable(path, key) as table:
        return choose(table, count, candidates, refuse)


def release(path: str, key: str, taken: Taken) -> None:
    """Give leases back that nobody was told of. Never raises: they expire by themselves otherwise."""
    if taken.lease is None:
        return
    with contextlib.suppress(PortguardError, OSError), locked(path, key) as table:
        for port in taken.ports:
            table.release(port, taken.lease)
