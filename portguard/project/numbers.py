"""Which numbers are a checkout's own: assignments, looked up, foreseen or made. Linked worktrees get theirs unasked.

The preferred number is a hash of the checkout and the name, so that a lost store gives mostly the same ones again; it
is taken if no one has it assigned, leased or bound, else the next one.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import NoFreePortError, PortguardError, StateError
from portguard.leases import directory
from portguard.project.checkout import hash_of, is_own
from portguard.rules import candidates, ranges
from portguard.system import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set

    from portguard.leases.assignments import Assignment, Book
    from portguard.leases.table import Table
    from portguard.model import Checkout, Declaration, Note, Protocol
    from portguard.project.records import NumberPolicy


class Numbers(NamedTuple):
    """A checkout's own numbers by the names of declarations."""

    ports: dict[str, int]
    isolated: bool
    notes: tuple[Note, ...] = ()


def known(environ: Mapping[str, str]) -> tuple[Assignment, ...]:
    """Return all assignments of this host. Raises StateError if there is a store that cannot be read."""
    path = directory.path_of(environ)
    if not directory.is_there(path):  # most have none, and what it takes to read one costs
        return ()
    from portguard.leases import assignments

    return assignments.read(path, kernel.machine_key())


def find_numbers(
    items: Sequence[Declaration],
    checkout: Checkout,
    environ: Mapping[str, str],
    policy: NumberPolicy,
    *,
    taken: Set[int],
    explicit: Collection[str],
    preferred: Mapping[str, int],
) -> Numbers:
    """Return the checkout's own numbers for those of `items` that have a variable.

    `taken` are numbers not to be given, `explicit` the names of those that a variable moves, which need none;
    `preferred` are numbers to be tried first. Raises StateError and NoFreePortError if numbers are to be taken and
    cannot be; looking only costs a note.
    """
    # Declarations that share a variable share its number, which goes by the name of the first of them.
    groups: dict[str, list[Declaration]] = {}
    for item in items:
        if item.env is not None:
            groups.setdefault(item.env, []).append(item)
    firsts = [_together(group) for group in groups.values()]
    try:
        own = _own(known(environ), checkout)
    except StateError as error:
        if policy.mode == "take" and (checkout.linked or policy.isolated or policy.moved):
            raise
        from portguard.rules import notes as words  # only when there is something to note

        return Numbers({}, False, (words.own_numbers_unread(error.message),))
    isolated = bool(firsts) and (
        checkout.linked or policy.isolated or any(item.kind == "isolated" for item in own.values())
    )
    ports = {name: item.port for name, item in own.items()}
    moved = {
        first.name: policy.moved[item.name]
        for first in firsts
        for item in groups[first.env or ""]
        if item.name in policy.moved
    }
    wanted = [
        first
        for first in firsts
        if first.name in moved or (isolated and first.name not in ports and first.name not in explicit)
    ]
    notes: tuple[Note, ...] = ()
    if wanted and policy.mode != "look":
        chooser = _Chooser(checkout, environ, taken, {} if moved else preferred, "isolated" if isolated else "moved")
        if policy.mode == "take":
            ports |= chooser.take(wanted, moved)
        else:
            try:
                ports |= chooser.predict(wanted)
            except PortguardError as error:
                from portguard.rules import notes as words  # only when there is something to note

                notes = (words.no_number_yet(error.message),)
    return Numbers(
        {item.name: ports[first.name] for first in firsts if first.name in ports for item in groups[first.env or ""]},
        isolated,
        notes,
    )


def _together(group: Sequence[Declaration]) -> Declaration:
    """Return the first of them, with the protocols of all."""
    protocols = dict.fromkeys(protocol for item in group for protocol in item.protocols)
    return group[0]._replace(protocols=tuple(protocols))


def _own(found: Iterable[Assignment], checkout: Checkout) -> dict[str, Assignment]:
    return {item.name: item for item in found if is_own(item, checkout)}


class _Chooser:
    """Chooses numbers for one checkout; `kind` is what is written down about why."""

    def __init__(
        self, checkout: Checkout, environ: Mapping[str, str], taken: Set[int], preferred: Mapping[str, int], kind: str
    ) -> None:
        ephemeral = kernel.ephemeral_range()
        pool = candidates.pool_of(ranges.DYNAMIC, ephemeral or ranges.LINUX_EPHEMERAL)
        self._pool = pool if ephemeral else candidates.Pool((), pool.uneven, pool.even + pool.safe)
        self._checkout = checkout
        self._path = directory.path_of(environ)
        self._taken = taken
        self._preferred = preferred
        self._kind = kind
        self._reserved = kernel.reserved_ports()

    def predict(self, items: Sequence[Declaration]) -> dict[str, int]:
        """Return what `take` would give now. Raises NoFreePortError, StateError."""
        from portguard.leases import assignments, table  # not for those that have their numbers

        found = assignments.read(self._path, kernel.machine_key())
        with table.readable(self._path, kernel.host_key(), is_alive=_may_live()) as leases:
            return {item.name: item.port for item in self._choose(items, found, leases)}

    def take(self, items: Sequence[Declaration], moved: Mapping[str, int]) -> dict[str, int]:
        """Assign numbers to `items`, and return them; anyone who was first has done so already.

        Those in `moved` get another number, if they still have the one that is given there. Raises NoFreePortError,
        StateError; then nothing is changed.
        """
        from portguard.leases import assignments, table, take  # noqa: F401 - before the lock: whoever waits for it waits for this as well
        from portguard.system import probe  # noqa: F401 - likewise

        # Both locks: of all checkouts of this host, and of what `free` hands out in this network namespace.
        with (
            assignments.locked(self._path, kernel.machine_key()) as book,
            table.locked(self._path, kernel.host_key(), is_alive=_may_live()) as leases,
        ):
            own = _own(book.all, self._checkout)
            missing = [item for item in items if item.name not in own or own[item.name].port == moved.get(item.name)]
            chosen = self._choose_or_reclaim(missing, book, leases)
            names = {item.name for item in chosen}
            kept = [item for item in book.all if not (item.name in names and is_own(item, self._checkout))]
            if chosen:
                book.save([*kept, *chosen])
            return {item.name: item.port for item in (*own.values(), *chosen)}

    def _choose_or_reclaim(self, items: Sequence[Declaration], book: Book, leases: Table) -> list[Assignment]:
        try:
            return self._choose(items, book.all, leases)
        except NoFreePortError:
            # Only now: a checkout that is gone may be on a disk that comes back.
            there = [item for item in book.all if os.path.isdir(item.root)]
            if len(there) == len(book.all):
                raise
            chosen = self._choose(items, there, leases)
            book.all = tuple(there)
            return chosen

    def _choose(
        self, items: Sequence[Declaration], found: Iterable[Assignment], leases: Table | None
    ) -> list[Assignment]:
        from portguard.leases import assignments, take

        assigned = {item.port for item in found}
        chosen: list[Assignment] = []
        for item in items:
            taken = take.choose(leases, 1, self._order(item.name), self._refusal(item.protocols, assigned))
            if not taken.ports:
                reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(taken.refused.items()))
                first, last = ranges.DYNAMIC
                raise NoFreePortError(
                    f"no port in {first}-{last} is left for {item.name!r}: {reasons}",
                    "see what is handed out: portguard leases; release deleted checkouts: portguard leases prune",
                )
            assigned.add(taken.ports[0])
            chosen.append(assignments.new(taken.ports[0], self._kind, item.name, self._checkout))
        return chosen

    def _order(self, name: str) -> Iterator[int]:
        first, last = ranges.DYNAMIC
        if first <= self._preferred.get(name, 0) <= last:
            yield self._preferred[name]
        yield from candidates.candidates(self._pool, hash_of(self._checkout, name))

    def _refusal(self, protocols: Sequence[Protocol], assigned: Set[int]) -> Callable[[int], str | None]:
        from portguard.system.probe import why_unbindable  # not for those that have their numbers

        def refuse(port: int) -> str | None:
            reason = candidates.exclusion(port, declared=self._taken, reserved=self._reserved, assigned=assigned)
            return reason or next((why for protocol in protocols if (why := why_unbindable(protocol, port))), None)

        return refuse


def _may_live() -> Callable[[int, int], bool]:
    from portguard.system.alive import may_live

    return may_live
