"""What callers of a soak saw, and what of that cannot be. Records and decisions alone; touches nothing."""

from __future__ import annotations

import itertools
import signal
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from portguard.leases.table import FOR_LIFE, Lease

FOR_EVER = float("inf")
LOCKED = "3 (locked)"  # the one exit code that load alone explains: the store's lock was not had in time


class Call(NamedTuple):
    """One command, or one call of the library: how it ended (`code`), after how long, and what was sent to cut it."""

    kind: str
    code: str
    seconds: float
    sent: int = 0


class Grant(NamedTuple):
    """A port that was given at some time from `first` to `last`, to no one else before `until` (milliseconds)."""

    port: int
    first: float
    last: float
    until: float


class Command(NamedTuple):
    """A process that may have leased something: from when to when it ran, its exit code, the ports it told."""

    pid: int
    first: float
    last: float
    code: int
    told: tuple[int, ...] = ()


class Run(NamedTuple):
    """A `run` in a checkout that others use as well."""

    checkout: str
    first: float
    last: float
    is_refused: bool


class Numbers(NamedTuple):
    """The ports that a checkout was told between `first` and `last` to have for good."""

    checkout: str
    ports: tuple[int, ...]
    first: float
    last: float


class Story(NamedTuple):
    """All that one caller has to tell."""

    calls: tuple[Call, ...] = ()
    grants: tuple[Grant, ...] = ()
    commands: tuple[Command, ...] = ()
    runs: tuple[Run, ...] = ()
    numbers: tuple[Numbers, ...] = ()
    wrong: tuple[str, ...] = ()


class Result(NamedTuple):
    """What a soak came to. `wrong` is empty when everything held."""

    calls: tuple[Call, ...]
    grants: tuple[Grant, ...]
    duplicates: tuple[tuple[Grant, Grant], ...]
    left_to_time: int
    wrong: tuple[str, ...]
    seconds: float
    callers: int

    def __str__(self) -> str:
        """Return the figures."""
        cut = Counter(signal.Signals(call.sent).name for call in self.calls if call.sent)
        ports = Counter(grant.port for grant in self.grants)
        again = sum(count > 1 for count in ports.values())
        locked = sum(call.code == LOCKED for call in self.calls)
        lines = [
            f"{self.callers} callers, {len(self.calls)} calls in {self.seconds:.0f} s",
            f"  cut off: {', '.join(f'{count} {name}' for name, count in sorted(cut.items())) or 'none'}",
            f"  ports handed out: {len(self.grants)}, {len(ports)} different, {again} more than once",
            f"  ports given to two at the same time: {len(self.duplicates)}",
            f"  leases of commands that were killed, left to their time: {self.left_to_time}",
            f"  calls that did not get the store's lock in time: {locked}",
            f"  wrong: {len(self.wrong)}",
            f"  {'kind':16} {'calls':>6} {'p50':>6} {'p95':>6} {'max':>6}  exit codes",
        ]
        by_kind: defaultdict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            by_kind[call.kind].append(call)
        return "\n".join([*lines, *(_row(kind, calls) for kind, calls in sorted(by_kind.items()))])


def _row(kind: str, calls: Sequence[Call]) -> str:
    codes = Counter(call.code for call in calls)
    told = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
    times = sorted(call.seconds for call in calls if not call.sent) or [0.0]
    late = times[min(len(times) - 1, int(len(times) * 0.95))]
    return f"  {kind:16} {len(calls):6} {statistics.median(times):6.2f} {late:6.2f} {times[-1]:6.2f}  {told}"


def duplicates(grants: Iterable[Grant]) -> list[tuple[Grant, Grant]]:
    """Return those that belonged to two at the same time, whichever of the two was given first."""
    by_port: defaultdict[int, list[Grant]] = defaultdict(list)
    for grant in grants:
        by_port[grant.port].append(grant)
    pairs = itertools.chain.from_iterable(itertools.combinations(found, 2) for found in by_port.values())
    return [(one, other) for one, other in pairs if one.last < other.until and other.last < one.until]


def needless_refusals(runs: Sequence[Run]) -> list[Run]:
    """Return the commands that were not run although no one ran another one in that checkout in the meantime."""
    return [
        run
        for run in runs
        if run.is_refused
        and not any(
            other is not run and other.checkout == run.checkout and other.first <= run.last and run.first <= other.last
            for other in runs
        )
    ]


def contradictions(numbers: Iterable[Numbers]) -> list[str]:
    """Return the checkouts that were told different numbers."""
    found: defaultdict[str, set[tuple[int, ...]]] = defaultdict(set)
    for item in numbers:
        found[item.checkout].add(item.ports)
    return [f"{checkout} was told {sorted(ports)}" for checkout, ports in found.items() if len(ports) > 1]


def assigned(numbers: Iterable[Numbers]) -> list[Grant]:
    """Return the numbers of checkouts as what was given to each of them once, for good."""
    firsts: dict[str, Numbers] = {}
    for item in sorted(numbers, key=lambda item: item.last):
        firsts.setdefault(item.checkout, item)
    return [Grant(port, item.first, item.last, FOR_EVER) for item in firsts.values() for port in item.ports]


def unexplained(leases: Mapping[int, Lease], commands: Sequence[Command]) -> tuple[list[str], int]:
    """Return what is wrong with leases that are left when every caller has ended, and how many only wait for their end.

    Left may be what was told, for its time; and what a command took that was killed before it could tell.
    """
    wrong, waiting = [], 0
    for port, lease in leases.items():
        # The lease of a hold is in the name of its holder, a process that no caller knows.
        takers = [
            command
            for command in commands
            if (command.pid == lease.pid or lease.kind == "hold") and command.first <= lease.since <= command.last
        ]
        is_told = any(port in taker.told for taker in takers)
        is_killed = any(taker.code == -signal.SIGKILL for taker in takers)
        if lease.expires == FOR_LIFE or not (is_told or is_killed):
            wrong.append(f"port {port} is still leased, and nobody was told: {lease}, taken by {takers}")
        elif not is_told:
            waiting += 1
    return wrong, waiting
