"""`free`: ports nobody has, handed to nobody else. Picks by `rules.candidates`, asks the probe, keeps by `leases`.

Guarantees, in one host and network namespace:
  two callers that share a state directory never hold an unexpired lease on the same port, whatever is killed;
  at return, the port could be bound on every local address for the protocols asked for;
  on Linux, a port outside ip_local_port_range is not assigned by the kernel while that setting stays.
Not promised: that nobody binds the number explicitly; anything about other namespaces, or of a port without a lease.
"""

from __future__ import annotations

import os
import sys
import time

from portguard._namedtuple import NamedTuple
from portguard.errors import ConfigError, LockTimeoutError, NoFreePortError, ProbeError, StateError, UsageError
from portguard.leases import directory, take
from portguard.leases.table import MAX_TTL
from portguard.model import FreePort, FreeReport, Note
from portguard.rules import candidates, ranges
from portguard.rules.targets import PROTOCOLS
from portguard.system import kernel, probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from portguard.leases.take import Taken
    from portguard.model import Protocol
    from portguard.rules.ranges import Range

DEFAULT_TTL = 60  # seconds
MAX_COUNT = ranges.LAST_PORT
_PROTOCOL_BITS = {"tcp": 1, "udp": 2}


class Handout(NamedTuple):
    """A report, and how to take back what it says should nobody ever read it."""

    report: FreeReport
    take_back: Callable[[], None]


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
    return hand_out(count, protocols=protocols, within=within, ttl=ttl, lease=lease, cwd=cwd, environ=environ).report


def hand_out(
    count: int,
    *,
    protocols: Sequence[Protocol],
    within: Range,
    ttl: int,
    lease: bool,
    cwd: str | None,
    environ: Mapping[str, str] | None,
) -> Handout:
    """Do as `free`, for callers that may fail to pass the answer on."""
    environ = os.environ if environ is None else environ
    _check_arguments(count, protocols, within, ttl)
    ephemeral = kernel.ephemeral_range()
    pool = candidates.pool_of(within, ephemeral or ranges.LINUX_EPHEMERAL)
    if ephemeral is None:
        pool = candidates.Pool((), pool.uneven, pool.even + pool.safe)  # unknown is not safe
    declared, notes = _declared(cwd, environ)
    reserved = kernel.reserved_ports()

    def refuse(port: int) -> str | None:
        reason = candidates.exclusion(port, declared=declared, reserved=reserved)
        return reason or next((why for protocol in protocols if (why := _why_unbindable(protocol, port))), None)

    start = int.from_bytes(os.urandom(4), "little")

    def order() -> Iterator[int]:
        return candidates.candidates(pool, start)

    key = kernel.host_key()
    taken, place, problem = _take(key, count, order, refuse, ttl=ttl, protocols=protocols, environ=environ, lease=lease)
    if problem is not None:
        notes.append(Note("unleased", f"not leased, another caller may be given the same port: {problem.message}"))
    if len(taken.ports) < count:
        raise _exhausted(count, within, taken)
    if sys.platform == "linux" and not all(candidates.is_safe(pool, port) for port in taken.ports):
        notes.append(_unsafe_note(ephemeral))
    expires_at = time.time() + ttl if taken.lease is not None else None
    ports = tuple(
        FreePort(port, tuple(protocols), leased=taken.lease is not None, expires_at=expires_at) for port in taken.ports
    )
    return Handout(FreeReport(ports, tuple(notes)), lambda: take.release(place or "", key, taken))


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
    for note in report.notes:
        if note.id == "unleased":
            import warnings  # rarely needed

            warnings.warn(note.message, stacklevel=2)
    return [port.port for port in report.ports]


def _check_arguments(count: int, protocols: Sequence[Protocol], within: Range, ttl: int) -> None:
    first, last = within
    if not 1 <= first <= last <= ranges.LAST_PORT:
        raise UsageError(f"{first}-{last} is no range of ports", f"a range is FIRST-LAST within 1-{ranges.LAST_PORT}")
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(f"{count} ports cannot be asked for", f"ask for 1 to {MAX_COUNT}")
    if not 1 <= ttl <= MAX_TTL:
        raise UsageError(f"a lease of {ttl} seconds cannot be had", f"it lasts 1 to {MAX_TTL} seconds (a day)")
    if not protocols or any(protocol not in PROTOCOLS for protocol in protocols):
        raise UsageError(f"unknown protocols {tuple(protocols)!r}", "use tcp, udp or both")


def _declared(cwd: str | None, environ: Mapping[str, str]) -> tuple[set[int], list[Note]]:
    """Return the ports the project here declares; a config that cannot be used costs a note, not the answer."""
    from portguard.api import project  # keeps the checker's half of the package out of `import`

    try:
        found = project.load(project.working_directory(cwd), None, environ, is_required=False)
    except ConfigError as error:
        first = error.messages[0]
        return set(), [Note("config", f"the declared ports could not be left out: {first}")]
    except UsageError as error:
        return set(), [Note("config", f"the declared ports could not be left out: {error.message}")]
    spans = [range(item.port, (item.last_port or item.port) + 1) for item in found.declarations]
    return {number for span in spans for number in span} | {item.declared_port for item in found.declarations}, []


def _take(
    key: str,
    count: int,
    order: Callable[[], Iterator[int]],
    refuse: Callable[[int], str | None],
    *,
    ttl: int,
    protocols: Sequence[Protocol],
    environ: Mapping[str, str],
    lease: bool,
) -> tuple[Taken, str | None, StateError | None]:
    place: str | None = None
    problem: StateError | None = None
    try:
        place = directory.path_of(environ)
        if lease:
            bits = sum(_PROTOCOL_BITS[protocol] for protocol in set(protocols))
            return take.take(place, key, count, order(), refuse, ttl=ttl, protocols=bits), place, None
    except LockTimeoutError:
        raise
    except StateError as error:
        problem = error
    return take.choose_unleased(place, key, count, order(), refuse), place, problem if lease else None


def _why_unbindable(protocol: Protocol, port: int) -> str | None:
    error = probe.strict_probe(protocol, port)
    if error in (None, "EADDRINUSE"):
        return error and "busy"
    if error in ("EACCES", "EPERM", "WSAEACCES"):
        return "not permitted"
    raise ProbeError(f"no port can be probed here: {error}", "see whether a limit is exhausted: ulimit -n")


def _exhausted(count: int, within: Range, taken: Taken) -> NoFreePortError:
    first, last = within
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(taken.refused.items())) or "none left"
    wanted = "no free port" if count == 1 else f"only {len(taken.ports)} of {count} ports are free"
    return NoFreePortError(f"{wanted} in {first}-{last}: {reasons}", "widen it: --range A-B, or wait for leases to end")


def _unsafe_note(ephemeral: Range | None) -> Note:
    if ephemeral is None:
        return Note(
            "ephemeral", "the kernel's ephemeral range cannot be read: an outgoing connection may take the port"
        )
    first, last = ephemeral
    return Note(
        "ephemeral",
        f"no port was left outside this kernel's ephemeral range {first}-{last}: "
        "an outgoing connection may take it before you do",
    )
