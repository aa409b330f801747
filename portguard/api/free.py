"""`free`: ports no one has, handed to no one else. Picks by `rules.candidates`, asks the probe, keeps by `leases`.

Guarantees, in one host and network namespace:
  two callers that share a state directory never hold an unexpired lease on the same port, whatever is killed;
  at return, the port could be bound on every local address for the protocols asked for;
  on Linux, a port outside ip_local_port_range is not assigned by the kernel while that setting stays.
Not promised: that no one binds the number explicitly; anything about other namespaces, or of a port without a lease.
"""

from __future__ import annotations

import os
import sys
import time

from portguard._namedtuple import NamedTuple
from portguard.errors import (
    ConfigError,
    LockTimeoutError,
    LookupFailedError,
    NoFreePortError,
    ProbeError,
    StateError,
    UsageError,
)
from portguard.leases import directory, take
from portguard.leases.table import MAX_TTL, PROTOCOL_BITS, Lease
from portguard.model import PROTOCOLS, FreePort, FreeReport, Note
from portguard.project.records import has_declarations, working_directory
from portguard.rules import candidates, ranges
from portguard.system import alive, kernel, probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set

    from portguard.leases.take import Taken
    from portguard.model import Protocol
    from portguard.rules.candidates import Pool
    from portguard.rules.ranges import Range

DEFAULT_TTL = 60  # seconds
MAX_COUNT = ranges.LAST_PORT
_HOLD_TRIES = 5


class _Order(NamedTuple):
    """What is asked for: how many, for which protocols, within which range, for how long, leased, held."""

    number: int
    protocols: Sequence[Protocol]
    within: Range
    ttl: int | None
    is_leased: bool
    is_held: bool
    kind: str


def free(
    count: int = 1,
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    within: Range = ranges.DYNAMIC,
    ttl: int = DEFAULT_TTL,
    lease: bool = True,
    cwd: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> FreeReport:
    """Hand out `count` different free ports, all or none; leased for `ttl` seconds unless `lease` is false.

    `within` is an inclusive range. Ports that the config found from `cwd` upwards declares are left out. Where the
    lease store cannot be used the ports are unleased, and a note says why. Raises UsageError, NoFreePortError, and
    LockTimeoutError when another process keeps the store locked.
    """
    return hand_out(count, protocols=protocols, within=within, ttl=ttl, lease=lease, cwd=cwd, environ=environ)


def hand_out(
    count: int,
    *,
    protocols: Sequence[Protocol],
    within: Range,
    ttl: int | None,
    lease: bool,
    cwd: str | None,
    environ: Mapping[str, str] | None,
    hold: bool = False,
    kind: str = "free",
    undo: list[Callable[[], object]] | None = None,
) -> FreeReport:
    """Do as `free`, for callers that may fail to pass the answer on: calling all of `undo` takes everything back.

    A `ttl` of None leases for the life of this process. `hold` leaves the ports to a process that keeps them bound for
    `ttl` seconds; TCP on Linux only. `kind` is what the lease is written down as.
    """
    environ = os.environ if environ is None else environ
    undo = [] if undo is None else undo
    order = _Order(count, protocols, within, ttl, lease, hold, "hold" if hold else kind)
    _check_arguments(order)
    ephemeral = kernel.ephemeral_range()
    pool = candidates.pool_of(within, ephemeral or ranges.LINUX_EPHEMERAL)
    if ephemeral is None:
        pool = candidates.Pool((), pool.uneven, pool.even + pool.safe)  # unknown is not safe
    cwd, declared, notes = _declared(cwd, environ)
    unread: list[str] = []  # not notes yet: under the lock nothing may be loaded, descriptors may be used up
    refuse = _refusal(protocols, declared, environ, unread)
    for attempt in range(_HOLD_TRIES):
        taken, problem = _take(order, pool, refuse, environ=environ, cwd=cwd, undo=undo)
        if len(taken.ports) < count:
            raise _exhausted(count, within, taken)
        if not hold or _is_held_now(taken, order, environ, undo, is_last=attempt == _HOLD_TRIES - 1):
            break
    is_unsafe = sys.platform == "linux" and not all(candidates.is_safe(pool, port) for port in taken.ports)
    if problem is not None or unread or is_unsafe:
        from portguard.rules import notes as words  # only when there is something to note

        if problem is not None:
            notes.append(words.unleased(problem.message))
        elif unread:  # else it is the same store
            notes.append(words.assigned_unread(unread[0]))
        if is_unsafe:
            notes.append(words.may_be_ephemeral(ephemeral))
    is_leased = taken.lease is not None and problem is None
    expires_at = time.time() + ttl if ttl is not None and (is_leased or hold) else None
    ports = tuple(FreePort(port, tuple(protocols), leased=is_leased, expires_at=expires_at) for port in taken.ports)
    return FreeReport(ports, tuple(notes))


def free_port(
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    within: Range = ranges.DYNAMIC,
    ttl: int = DEFAULT_TTL,
    lease: bool = True,
) -> int:
    """Return one free port, leased for `ttl` seconds. Raises what `free` raises; warns when it could not be leased."""
    return free_ports(1, protocols=protocols, within=within, ttl=ttl, lease=lease)[0]


def free_ports(
    count: int,
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    within: Range = ranges.DYNAMIC,
    ttl: int = DEFAULT_TTL,
    lease: bool = True,
) -> list[int]:
    """Return `count` different free ports, taken in one step, leased for `ttl` seconds.

    Raises what `free` raises; warns (UserWarning) when they could not be leased.
    """
    report = free(count, protocols=protocols, within=within, ttl=ttl, lease=lease)
    warn_of_unleased(report.notes, stacklevel=3)
    return [port.port for port in report.ports]


def warn_of_unleased(notes: Sequence[Note], stacklevel: int) -> None:
    """Issue a UserWarning where ports could not be leased, for callers who get bare numbers."""
    for note in notes:
        if note.id == "unleased":
            import warnings  # rarely needed

            warnings.warn(note.message, stacklevel=stacklevel)


def _check_arguments(order: _Order) -> None:
    first, last = order.within
    if not 1 <= first <= last <= ranges.LAST_PORT:
        raise UsageError(f"invalid port range {first}-{last}", f"a range is FIRST-LAST within 1-{ranges.LAST_PORT}")
    if not 1 <= order.number <= MAX_COUNT:
        raise UsageError(f"invalid count: {order.number}", f"ask for 1 to {MAX_COUNT}")
    if order.ttl is not None and not 1 <= order.ttl <= MAX_TTL:
        what = "hold" if order.is_held else "lease"
        raise UsageError(f"invalid {what} time: {order.ttl} seconds", f"use 1 to {MAX_TTL} seconds (a day)")
    if order.is_held and sys.platform != "linux":
        raise UsageError("ports can be held on Linux only", "omit --hold: the lease stays")
    if order.is_held and "tcp" not in order.protocols:
        raise UsageError("UDP ports cannot be held", "omit --hold: the lease stays")
    protocols = order.protocols
    if not protocols or any(protocol not in PROTOCOLS for protocol in protocols):
        raise UsageError(f"unknown protocols {tuple(protocols)!r}", "use tcp, udp or both")


def _declared(cwd: str | None, environ: Mapping[str, str]) -> tuple[str, set[int], list[Note]]:
    """Return where we are, and the ports the project here declares.

    A config that cannot be used costs a note, not the answer.
    """
    here = ""
    try:
        here = working_directory(cwd)
        if not has_declarations(here, environ):
            return here, set(), []
        from portguard.project import load  # the checker's half of the package

        found = load.load(here, None, environ, is_required=False)
    except ConfigError as error:
        from portguard.rules import notes as words  # only when there is something to note

        return here, set(), [words.declared_unread(error.messages[0])]
    except (UsageError, LookupFailedError) as error:
        from portguard.rules import notes as words  # only when there is something to note

        return here, set(), [words.declared_unread(error.message)]
    spans = [range(item.port, (item.last_port or item.port) + 1) for item in found.declarations]
    return here, {number for span in spans for number in span} | {item.declared_port for item in found.declarations}, []


class _Assigned(NamedTuple):
    """The numbers that checkouts have, and the file that says so, as it was when it was read; None if there is none.

    `problem` is why they are unknown.
    """

    numbers: Set[int]
    file: tuple[int, int] | None
    problem: StateError | None = None


def _assigned(environ: Mapping[str, str], known: _Assigned | None = None) -> _Assigned:
    """Return what checkouts have, `known` if that is still so."""
    file = None
    try:
        path, host = directory.path_of(environ), kernel.machine_key()
        where = os.path.join(path, directory.assignments_name(host))
        try:
            status = os.stat(where, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return _Assigned(frozenset(), None)
        except OSError as error:
            raise directory.unusable(f"the assignments {where}", error.strerror) from error
        file = (status.st_ino, status.st_mtime_ns)  # it is replaced, never written to
        if known is not None and known.file == file:
            return known
        from portguard.leases import assignments  # most have none

        return _Assigned({item.port for item in assignments.read(path, host)}, file)
    except StateError as error:
        return _Assigned(frozenset(), file, error)


def _refusal(
    protocols: Sequence[Protocol], declared: Set[int], environ: Mapping[str, str], unread: list[str]
) -> Callable[[int], str | None]:
    """Return a function that says why a port must not be handed out; it runs under the table's lock.

    What could not be read is appended to `unread`.
    """
    reserved = kernel.reserved_ports()
    before = _assigned(environ)  # reading takes longer than all that is done under the lock
    now: _Assigned | None = None

    def refuse(port: int) -> str | None:
        nonlocal now
        if now is None:  # not before the lock is held: with it, no one assigns
            now = _assigned(environ, before)
            if now.problem is not None:
                unread.append(now.problem.message)
        reason = candidates.exclusion(port, declared=declared, reserved=reserved, assigned=now.numbers)
        return reason or next((why for protocol in protocols if (why := probe.why_unbindable(protocol, port))), None)

    return refuse


def _take(
    order: _Order,
    pool: Pool,
    refuse: Callable[[int], str | None],
    *,
    environ: Mapping[str, str],
    cwd: str,
    undo: list[Callable[[], object]],
) -> tuple[Taken, StateError | None]:
    """Return the ports, and why they are not leased although they should be, or None."""
    place: str | None = None
    key = ""
    problem: StateError | None = None
    try:
        key = kernel.host_key()
        place = directory.path_of(environ)
        if order.is_leased:
            return _take_leased(order, pool, refuse, place, key, cwd=cwd, undo=undo)
    except LockTimeoutError:
        raise
    except StateError as error:
        problem = error
        for step in undo:  # it may have been written down, and not be sure to stay
            step()
        undo.clear()
    taken = take.choose_unleased(place, key, order.number, _wheel(pool), refuse, is_alive=alive.may_live)
    return taken, problem if order.is_leased else None


def _take_leased(
    order: _Order,
    pool: Pool,
    refuse: Callable[[int], str | None],
    place: str,
    key: str,
    *,
    cwd: str,
    undo: list[Callable[[], object]],
) -> tuple[Taken, StateError | None]:
    """Do as `_take`, with a lease. Raises StateError if the store is unusable; `undo` then takes it all back."""
    bits = sum(PROTOCOL_BITS[protocol] for protocol in set(order.protocols))
    started = alive.own_start() if order.ttl is None else alive.start_of(os.getpid())
    taken = take.take(
        place,
        key,
        order.number,
        _wheel(pool),
        refuse,
        ttl=order.ttl,
        protocols=bits,
        taker=Lease(0, os.getpid(), 0, started, kind=order.kind, directory=cwd),
        is_alive=alive.may_live,
        keep=lambda taken: undo.append(lambda: take.release(place, key, taken)),
    )
    if len(taken.ports) != order.number:
        taken = taken._replace(lease=None)
    # Among those who see as little it is a lease; anyone who sees more looks into another table.
    is_blind = not kernel.is_whole(key)
    blind = StateError("could not determine the boot and the network namespace without /proc") if is_blind else None
    return taken, blind


def _wheel(pool: Pool) -> Iterator[int]:
    """Return the candidates of a pool, from a random one on."""
    return candidates.candidates(pool, int.from_bytes(os.urandom(4), "little"))


def _is_held_now(
    taken: Taken, order: _Order, environ: Mapping[str, str], undo: list[Callable[[], object]], *, is_last: bool
) -> bool:
    """Pass the ports to a holder, which has the leases from then on; False if one was lost in the meantime."""
    from portguard.leases import hold  # only for --hold
    from portguard.system import listeners

    sockets: list[_socket.socket] = []
    try:
        for port in taken.ports:
            sockets += listeners.bind("tcp", port)
        import signal  # only for --hold

        from portguard.system import signals

        # An interrupt waits until the holder is written down.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pid = hold.detach(sockets, seconds=order.ttl)
            started = alive.start_of(pid)
            undo.append(lambda: signals.terminate(pid, started))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except OSError as error:
        for step in undo:
            step()
        undo.clear()
        if is_last:
            raise ProbeError(f"could not hold the ports: {error.strerror}", "omit --hold") from error
        return False
    finally:
        listeners.close(sockets)
    if taken.lease is not None:
        new = taken.lease._replace(pid=pid, started=started)
        moved = taken._replace(lease=new)
        place, key = directory.path_of(environ), kernel.host_key()
        undo.append(lambda: take.release(place, key, moved))
        take.pass_on(place, key, taken, new)
    return True


def _exhausted(count: int, within: Range, taken: Taken) -> NoFreePortError:
    first, last = within
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(taken.refused.items())) or "none left"
    wanted = "no free port" if count == 1 else f"only {len(taken.ports)} of {count} ports are free"
    return NoFreePortError(f"{wanted} in {first}-{last}: {reasons}", "widen it: --range A-B, or wait for leases to end")
