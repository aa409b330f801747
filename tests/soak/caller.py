"""A caller of a soak: a process that does one thing after the other with portguard until its time is up, and tells.

What a caller does with ports of its own has one right outcome, which it checks on the spot. What several callers saw is
compared by `ledger`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from portguard.leases.table import Lease, now, readable
from portguard.system import kernel
from tests.soak.ledger import Call, Command, Grant, Numbers, Run, Story
from tests.worlds.netns import descendants
from tests.worlds.processes import fork

SHORT = (1, 2, 3)  # seconds
LONG = 3_600  # seconds; longer than any soak
WAIT = 30.0  # seconds for what is so already
POOL = (61_000, 61_511)  # half of all ports come from it, so that numbers come back
_KEPT = 6  # ports that one caller keeps for long
_STEP = 0.05  # seconds


class Place(NamedTuple):
    """Where a caller works: checkouts of its own and of everyone, a directory; until when (`time.monotonic`).

    It is the one with the number `turn` of `turns` of its kind.
    """

    own: Path
    shared: tuple[Path, ...]
    scratch: Path
    end: float
    turn: int
    turns: int


class Caller(ABC):
    """What all callers have in common: what they own, and what they tell."""

    def __init__(self, number: int, place: Place) -> None:
        self.number = number
        self.place = place
        self.random = random.Random()
        self.kept: dict[int, int] = {}  # ports leased for long, and which of the grants each is
        self.calls: list[Call] = []
        self.grants: list[Grant] = []
        self.commands: list[Command] = []
        self.runs: list[Run] = []
        self.numbers: list[Numbers] = []
        self.wrong: list[str] = []

    @abstractmethod
    def things(self) -> Sequence[Callable[[], None]]:
        """Return what this caller does, as often as it is to be drawn."""

    @abstractmethod
    def give_back(self) -> None:
        """Give back what is kept."""

    def live(self) -> Story:
        """Do first what falls to this caller, so that all is done by someone, then anything until the time is up."""
        things = self.things()
        try:
            for thing in things[self.place.turn :: self.place.turns]:
                thing()
            while time.monotonic() < self.place.end:
                self.random.choice(things)()
            self.give_back()
        except Exception:  # noqa: BLE001 - whatever a caller meets is part of its story
            self.fault(traceback.format_exc())
        below = descendants(os.getpid())
        self.expect(not below, f"processes are left below the caller: {below}")
        return Story(
            *(tuple(self.calls), tuple(self.grants), tuple(self.commands)),
            *(tuple(self.runs), tuple(self.numbers), tuple(self.wrong)),
        )

    def fault(self, what: str) -> None:
        """Note what cannot be."""
        self.wrong.append(f"caller {self.number}: {what}")

    def expect(self, is_so: bool, otherwise: str) -> None:
        """Note that something is not as it has to be."""
        if not is_so:
            self.fault(otherwise)

    def given(self, ports: Sequence[int], command: Command, ttl: float) -> None:
        """Note that ports were given to this caller for so long; the table has to agree."""
        for port in ports:
            lease = leased(port)
            if lease is None:
                # It was short, and this process slow.
                until = command.first + ttl * 1000
                self.expect(now() >= until, f"port {port} is not leased: {command}")
                self.grants.append(Grant(port, command.first, command.last, until))
                continue
            is_own = lease.pid == command.pid or lease.kind == "hold"
            self.expect(is_own, f"port {port} is another's: {lease}, {command}")
            self.grants.append(Grant(port, lease.since, lease.since, lease.expires))
            if ttl == LONG:
                self.kept[port] = len(self.grants) - 1

    def let_go(self, ports: Sequence[int]) -> None:
        """Note that ports that are kept, and must still be this caller's, may be anyone's from now on."""
        for port in ports:
            index = self.kept.pop(port)
            lease = leased(port)
            is_own = lease is not None and lease.since == self.grants[index].last
            self.expect(is_own, f"port {port} is another's before its time: {lease}, {self.grants[index]}")
            self.grants[index] = self.grants[index]._replace(until=now())

    def is_mine(self, port: int) -> bool:
        """Whether the lease on the port is one that was given to this caller."""
        lease = leased(port)
        return lease is not None and any(grant.port == port and grant.last == lease.since for grant in self.grants)

    def has_enough(self) -> bool:
        """Whether it keeps as many ports as it should."""
        return len(self.kept) >= _KEPT

    @contextlib.contextmanager
    def serving(self, port: int) -> Iterator[int]:
        """Listen on a port of this caller's, in a process of its own; yield its pid."""
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            sock.listen()
            pid = fork(signal.pause)
        try:
            yield pid
        finally:
            with contextlib.suppress(ChildProcessError):  # it was ended, as it should be
                if not os.waitpid(pid, os.WNOHANG)[0]:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)

    def expect_ended(self, pid: int, port: int, *, is_freed: bool) -> None:
        """Note when the server on the port does not end by SIGTERM, or still runs although the port is free."""
        end = time.monotonic() + (0 if is_freed else WAIT)
        while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(_STEP)
        is_so = ended[0] == pid and os.WIFSIGNALED(ended[1]) and os.WTERMSIG(ended[1]) == signal.SIGTERM
        if not is_so:
            state = "" if ended[0] else Path(f"/proc/{pid}/status").read_text()
            self.fault(f"process {pid} on port {port} has not ended by SIGTERM, {is_freed=}: {ended} {state}")


def leased(port: int) -> Lease | None:
    """Return the unexpired lease on a port."""
    with readable(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()) as table:
        return None if table is None else table.lease(port)
