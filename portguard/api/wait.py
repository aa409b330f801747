"""`wait`: watch ports until something listens on them, or until they are free. Asks the kernel; connects to nothing.

Looks are cheap, and pauses grow with what a look costs: the processor is left alone.
"""

from __future__ import annotations

import os
import sys
import time

from portguard import errors
from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError, UsageError
from portguard.model import Failure, WaitPort, WaitReport
from portguard.rules import addresses, explain, targets, verdicts, waiting
from portguard.system import sockets
from portguard.system.probe import probe_all, probe_hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    from portguard.model import Holder, Outcome, Protocol, Socket

    Answer = Literal["yes", "no", "never"]

DEFAULT_TIMEOUT = 60.0  # seconds
_PAUSE = 0.025  # seconds
_LONGEST_PAUSE = 2.0
_SHARE = 80  # a pause is at least so many times as long as the processor was used for the look before it: 1.2 %
_HOLDERS_SHOWN = 64  # on one port
_NOT_HERE = ("not-local", "no-family")
_EXIT_CODES = {"probe": errors.FAILED}  # every other failure is a NO


def wait(
    *ports: str | int,
    free: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    owners: bool = False,
    environ: Mapping[str, str] | None = None,
) -> WaitReport:
    """Block until someone serves every one of these ports: 8080 (TCP), "53/udp", "127.0.0.1:5432", "localhost:3000".

    TCP: a socket listens that a client of that address reaches; "3000" is any address, "localhost" either loopback. One
    that is bound and no more, or a connection's own end, does not count. UDP: a socket is bound, without a peer. The
    socket table decides; where none can be read at all, a busy bind probe does. No one is connected to.

    `free`: until a server would get each of them, which the bind probe decides, as in `check`; where this user may not
    bind, the table does. An address that this host does not have can never be free for a server: that ends it at once.

    All must be so in one and the same look. `timeout` is in seconds; 0 waits without end. The last look is at the
    deadline. Exit code 0: all are so; 1: not in time, and each port that is not so has its `failure`; 3: the same, but
    it is unknown. The holders of ports that are served are looked up only with `owners`, because that takes
    longer than a look; those that are in the way always.

    Raises UsageError for what is not a port or no timeout, LookupFailedError where neither table nor probe can tell.
    """
    if not ports:
        raise UsageError("no port given", "name one, for instance: portguard wait 8080")
    if not 0 <= timeout < float("inf"):
        raise UsageError(f"invalid timeout: {timeout:g}", "use 0 or more; 0 means no limit")
    asked = [_Question(str(port)) for port in ports]
    since = until([question.is_free if free else question.is_served for question in asked], timeout)
    is_in_vain = free and any(question.outcome in _NOT_HERE for question in asked)
    settings = _Settings(
        None if is_in_vain else timeout, os.environ if environ is None else environ, free=free, owners=owners
    )
    found = tuple(_report(question, seconds, settings) for question, seconds in zip(asked, since, strict=True))
    return WaitReport(found, verdicts.worst(_exit_code(port) for port in found))


def _exit_code(port: WaitPort) -> int:
    return errors.OK if port.failure is None else _EXIT_CODES.get(port.failure.code, errors.NO)


def until(
    looks: Sequence[Callable[[], Answer]],
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    spent: Callable[[], float] = time.thread_time,
) -> list[float | None]:
    """Look until every look says yes in one and the same round; return after how many seconds each did, None if not.

    A look that said yes is asked again when all others do, so that ports are not touched more often than needed. The
    round at the deadline (timeout 0: there is none), or with a "never", is the last and asks all. A yes in the first
    round takes 0 seconds. `spent` is the processor's time; one round that took more of it than the others changes no
    pause: the first one loads what the others need.
    """
    began = clock()
    since: list[float | None] = [None] * len(looks)
    is_first = True
    before, previous = spent(), 0.0
    while True:
        is_last = bool(timeout) and clock() - began >= timeout
        settled = [number for number, seconds in enumerate(since) if seconds is not None]
        for number, look in enumerate(looks):
            if number not in settled:
                answer = look()
                is_last |= answer == "never"
                since[number] = None if answer != "yes" else 0.0 if is_first else clock() - began
        if is_last or None not in since:
            for number in settled:
                if looks[number]() != "yes":
                    since[number] = None
        if is_last or None not in since:
            return since
        is_first = False
        now = spent()
        rest = min(max(_PAUSE, _SHARE * min(now - before, previous)), _LONGEST_PAUSE)
        before, previous = now, now - before
        pause(min(rest, max(began + timeout - clock(), 0)) if timeout else rest)


class _Question:
    """One port that is waited for, and what the last look at it saw."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.declaration = targets.parse_port(text)
        self.protocol = self.declaration.protocols[0]
        self.port = self.declaration.port
        self.wanted = addresses.expand(self.declaration.hosts)
        self.rows: list[Socket] = []
        self.outcome: Outcome | None = None

    def is_served(self) -> Answer:
        """Look whether a client would reach someone. Raises LookupFailedError if nothing can tell."""
        try:
            rows = sockets.find_sockets(self.protocol, self.port, listeners_only=True)
        except LookupFailedError as error:
            return self._is_busy(error)
        self.rows = self.serving(rows)
        return "yes" if self.rows else "no"

    def serving(self, rows: Sequence[Socket]) -> list[Socket]:
        """Return the sockets that serve the port at an address of this host."""
        near = [(row, address) for row in rows for address in self.wanted if waiting.serves(row, address)]
        here = {address for address in {address for _, address in near} if self._is_taken(address)}
        return list(dict.fromkeys(row for row, address in near if address in here))

    def _is_taken(self, address: str) -> bool:
        """Whether the bind agrees with a table that shows a listener there.

        It knows whether this host has the address and, where the table does not tell IPv6-only sockets from dual-stack
        ones, whether IPv4 is taken. Outside Linux, a specific address can be bound beside a wildcard.
        """
        outcome = probe_all(self.protocol, (address,), self.port, between=_at_once)[0][address]
        return outcome not in _NOT_HERE and (outcome != "free" or sys.platform != "linux")

    def _is_busy(self, reason: LookupFailedError) -> Answer:
        self.outcome, outcomes = self.probe()
        if "busy" in outcomes.values():
            return "yes"
        if self.outcome == "no-permission":
            raise reason
        return "no"

    def is_free(self) -> Answer:
        """Look whether a server would get the port. Raises LookupFailedError if nothing can tell."""
        self.outcome, _ = self.probe()
        if self.outcome in _NOT_HERE:
            return "never"
        if self.outcome == "no-permission":
            return "no" if self.occupants() else "yes"
        return "yes" if self.outcome == "free" else "no"

    def occupants(self) -> list[Socket]:
        """Return who listens there or is bound; the whole table costs far more than the listeners, so it comes second.

        Raises LookupFailedError if no table can be read.
        """
        for listeners_only in (True, False):
            rows = sockets.find_sockets(self.protocol, self.port, listeners_only=listeners_only)
            cause, found = verdicts.occupants(self.wanted, rows)
            if cause in ("listener", "bound"):
                return found
        return []

    def probe(self) -> tuple[Outcome, dict[str, Outcome]]:
        """Return the outcome of a bind, also by address. No pause between its tries: the next look comes anyway."""
        return probe_hosts(self.declaration.hosts, self.protocol, self.port, between=_at_once)[:2]


def _at_once() -> None:
    """Do not pause."""


class _Settings(NamedTuple):
    """How the wait was meant, for what is said of it in the end; `timeout` is None if it did not last so long."""

    timeout: float | None
    environ: Mapping[str, str]
    free: bool
    owners: bool


def _report(question: _Question, seconds: float | None, settings: _Settings) -> WaitPort:
    """Return the entry of one port; only from here on processes and containers are looked up."""
    failure = None
    holders: tuple[Holder, ...] = ()
    if seconds is None:
        holders, failure = _in_the_way(question, settings) if settings.free else _instead(question, settings)
    elif settings.owners and not settings.free:
        holders = _attributed(question.rows, settings)
    return WaitPort(
        question.text,
        question.port,
        question.protocol,
        question.declaration.hosts,
        reached=seconds is not None,
        seconds=seconds,
        holders=holders,
        failure=failure,
    )


def _attributed(rows: Sequence[Socket], settings: _Settings) -> tuple[Holder, ...]:
    if not rows:
        return ()
    from portguard.holders import find  # only for those there are
    from portguard.holders.containers import Engines

    return Engines(settings.environ).attribute(find.with_owners(rows, _HOLDERS_SHOWN))


def _instead(question: _Question, settings: _Settings) -> tuple[tuple[Holder, ...], Failure]:
    """Return who sits on a number that no one served at the address asked for, and the sentence about it."""
    declaration, protocol = question.declaration, question.protocol
    other: Protocol = "udp" if protocol == "tcp" else "tcp"
    try:
        rows = sockets.find_sockets(protocol, question.port)
        others = sockets.find_sockets(other, question.port, listeners_only=True)
    except LookupFailedError:
        rows, others = [], []
    serving = question.serving(rows)  # someone may have come since the last look
    holders = _attributed(waiting.instead([row for row in rows if row not in serving]), settings)
    if question.probe()[0] in _NOT_HERE:
        text, hint = _not_here(question)
        return holders, Failure("timeout", waiting.nobody(declaration, protocol, settings.timeout, (), text), hint)
    is_other = any(waiting.serves(row, address) for row in others for address in question.wanted)
    hint = waiting.hint(declaration, holders, other if is_other else None)
    code = "probe" if question.outcome == "failed" else "timeout"
    return holders, Failure(code, waiting.nobody(declaration, protocol, settings.timeout, holders), hint)


def _in_the_way(question: _Question, settings: _Settings) -> tuple[tuple[Holder, ...], Failure]:
    """Return who still has a port, with the words and the next step of `check`."""
    from portguard.api.check import check_project  # only for what is not free
    from portguard.project.records import Project, cwd_or_root  # only for what is not free

    declaration, protocol = question.declaration, question.protocol
    if question.outcome in _NOT_HERE:
        text, hint = _not_here(question)
        return (), Failure("address-not-local", text, hint)
    (answer,) = check_project(Project(cwd_or_root(None)), [declaration], settings.environ, strict=False).ports
    why: str | None = answer.message
    holders, hint = answer.holders, answer.hint
    if answer.verdict == "free" or answer.cause in ("lease", "permission"):
        # It has become free since the last look, or `check` means something else: that it is not for this user.
        try:
            holders = _attributed(question.occupants(), settings)
        except LookupFailedError:
            holders = ()
        why = explain.occupied(holders[0]) if holders else None
        hint = waiting.hint(declaration, holders, None)
    code = "probe" if answer.verdict == "unknown" else "timeout"
    return holders, Failure(code, waiting.not_free(declaration, protocol, settings.timeout, why), hint)


def _not_here(question: _Question) -> tuple[str, str | None]:
    """Return that this host has no such address, and the next step, as `check` says it."""
    declaration, protocol = question.declaration, question.protocol
    finding = explain.Finding(verdicts.Decision("unavailable", "address-not-local"))
    hint = explain.hint(declaration, protocol, finding, platform=sys.platform, euid=None)
    return explain.message(declaration, protocol, finding), hint
