"""Callers that use the library, each one long-lived process: in the end it has open what it had in the beginning."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import portguard
from portguard.errors import LockTimeoutError
from portguard.leases.table import now
from tests.soak.caller import POOL, SHORT, WAIT, Caller
from tests.soak.ledger import FOR_EVER, LOCKED, Call, Command, Numbers, Story

T = TypeVar("T")


class Reader(Caller):
    """One of them."""

    def things(self) -> Sequence[Callable[[], None]]:
        """Return what this caller does."""
        return (
            *(self.free, self.free, self.held, self.held_by_tasks),
            *(self.served, self.idle, self.own_numbers, self.listing),
        )

    def give_back(self) -> None:
        """Have nothing to release: what is leased for a time comes back by itself, what is held has ended."""

    def live(self) -> Story:
        """Do all once, so that everything is loaded; then compare what is open before and after all the rest."""
        for thing in self.things():
            thing()
        before = _open()
        story = super().live()
        after = _open()
        return story if before == after else story._replace(wrong=(*story.wrong, f"it had open {before}, has {after}"))

    def call(self, kind: str, ask: Callable[[], T]) -> T | None:
        """Call the library, and note how it went; None if the store's lock could not be had in time."""
        began = time.monotonic()
        answer: T | None = None
        try:
            answer, code = ask(), "returns"
        except LockTimeoutError:
            code = LOCKED
        self.calls.append(Call(f"library {kind}", code, time.monotonic() - began))
        return answer

    def _given(self, ports: Sequence[int], first: int, ttl: float) -> None:
        told = Command(os.getpid(), first, now(), 0, tuple(ports))
        self.commands.append(told)
        self.given(ports, told, ttl)

    def free(self) -> None:
        """Ask for ports for a short time."""
        count, ttl, first = self.random.randint(1, 3), self.random.choice(SHORT), now()
        within = self.random.choice((POOL, (49_152, 65_535)))
        ports = self.call("free", lambda: portguard.free_ports(count, ttl=ttl, within=within))
        if ports is not None:
            self.expect(len(ports) == count, f"{count} ports were asked for: {ports}")
            self._given(ports, first, ttl)

    def held(self) -> None:
        """Hold ports in a `with` block."""

        def ask() -> None:
            first = now()
            with portguard.hold(self.random.randint(1, 3)) as held:
                self._own(held.ports, first)

        self.call("hold", ask)

    def held_by_tasks(self) -> None:
        """Hold ports in two tasks at once."""

        async def ask() -> None:
            first = now()
            async with portguard.hold() as held:
                self._own(held.ports, first)

        async def both() -> None:
            await asyncio.gather(ask(), ask())

        self.call("hold, async", lambda: asyncio.run(both()))

    def _own(self, ports: Sequence[int], first: int) -> None:
        """Note held ports, which no one can bind without SO_REUSEADDR; from then on they may be anyone's."""
        self._given(ports, first, FOR_EVER)
        for port in ports:
            with socket.socket() as sock:
                self.expect(_fails_to_bind(sock, port), f"held port {port} could be bound")
        self._end(ports)

    def _end(self, ports: Sequence[int]) -> None:
        last = len(self.grants) - len(ports)
        self.grants[last:] = [grant._replace(until=now()) for grant in self.grants[last:]]

    def served(self) -> None:
        """Ask about a port where a server of this caller listens, and end that."""

        def ask() -> None:
            first = now()
            with portguard.hold(bound=False) as held:
                self._given(held.ports, first, FOR_EVER)
                with self.serving(held.port) as pid:
                    self._ask_about_served(held.port, pid)
                self._end(held.ports)

        self.call("hold, served", ask)

    def _ask_about_served(self, port: int, pid: int) -> None:
        checked = self.call("check", lambda: portguard.check(port))
        self.expect(checked is not None and checked.exit_code == 1, f"somebody listens on port {port}: {checked}")
        waited = self.call("wait", lambda: portguard.wait(f"127.0.0.1:{port}", timeout=WAIT))
        self.expect(waited is not None and waited.exit_code == 0, f"somebody listens on port {port}: {waited}")
        found = self.call("who", lambda: portguard.who(port).ports[0].holders) or ()
        pids = [process.pid for holder in found for process in holder.processes]
        self.expect(pids == [pid], f"{pid} has port {port}: {found}")
        killed = self.call("kill", lambda: portguard.kill(port))
        status = None if killed is None else killed.ports[0].status
        # On a machine that is late a process can take longer to end than is waited for.
        self.expect(status in ("freed", "still-held"), f"the server on port {port} is to be ended: {killed}")
        self.expect_ended(pid, port, is_freed=status == "freed")

    def idle(self) -> None:
        """Ask about a port of this caller if no one listens."""

        def ask() -> None:
            first = now()
            with portguard.hold(bound=False) as held:
                port = held.port
                self._given(held.ports, first, FOR_EVER)
                found = [
                    portguard.check(port).exit_code,
                    portguard.wait(port, free=True, timeout=WAIT).exit_code,
                    portguard.wait(port, timeout=0.1).exit_code,
                    portguard.who(port).exit_code,
                ]
                self.expect(found == [0, 0, 1, 1], f"nothing listens on port {port}: {found}")
                self._end(held.ports)

        self.call("hold, idle", ask)

    def own_numbers(self) -> None:
        """Ask for the numbers of this caller's own worktree."""
        first = now()
        told = self.call("env", lambda: portguard.env(cwd=str(self.place.own)))
        if told is not None:
            ports = tuple(port.port for port in told.ports)
            self.numbers.append(Numbers(str(self.place.own), ports, first, now()))

    def listing(self) -> None:
        """Ask what there is."""
        self.call("list", portguard.list_ports)
        self.call("leases", portguard.list_leases)
        self.call("info", lambda: portguard.info(self.random.randint(1, 65_535)))


def _fails_to_bind(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return True
    return False


def _open() -> dict[str, int]:
    """Return how many descriptors and threads this process has."""
    return {name: len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task")}
