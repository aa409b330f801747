"""`hold`: ports that belong to this process for the length of a `with` block."""

from __future__ import annotations

import sys

from portguard.api import free
from portguard.errors import ConflictError
from portguard.model import PROTOCOLS
from portguard.rules.ranges import DYNAMIC
from portguard.system import listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from portguard.model import Protocol
    from portguard.rules.ranges import Range

_TRIES = 5


class Held:
    """Ports that no one else is given inside the `with` block, plain or `async`.

    `ports` are their numbers, `port` is the first. `is_held` tells that they are bound as well: on Linux, for TCP.
    """

    def __init__(self, count: int, protocols: Sequence[Protocol], within: Range, *, is_bound: bool) -> None:
        self._count = count
        self._protocols = protocols
        self._within = within
        self._is_bound = is_bound and sys.platform == "linux" and "tcp" in protocols
        self._undo: list[Callable[[], object]] = []
        self._sockets: list[_socket.socket] = []
        self.ports: tuple[int, ...] = ()
        self.is_held = False

    @property
    def port(self) -> int:
        """The number, or the first of several. Raises ConflictError outside of the `with` block."""
        if not self.ports:
            raise ConflictError(
                ("the ports are held inside of the `with` block only",), "with portguard.hold() as held:"
            )
        return self.ports[0]

    def __enter__(self) -> Held:
        """Take the ports. Raises what `free` raises; warns when they cannot be leased."""
        try:
            self._take()
        except BaseException:
            self._release()
            raise
        return self

    def _take(self) -> None:
        for attempt in range(_TRIES):
            report = free.hand_out(
                self._count,
                protocols=self._protocols,
                within=self._within,
                ttl=None,
                lease=True,
                cwd=None,
                environ=None,
                kind="hold" if self._is_bound else "free",
                undo=self._undo,
            )
            ports = tuple(port.port for port in report.ports)
            try:
                if self._is_bound:
                    for port in ports:
                        self._sockets += listeners.bind("tcp", port)
            except OSError:
                self._release()  # someone was faster
                if attempt == _TRIES - 1:
                    raise
                continue
            break
        free.warn_of_unleased(report.notes, stacklevel=4)
        self.ports, self.is_held = ports, bool(self._sockets)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the ports back."""
        self._release()

    async def __aenter__(self) -> Held:
        """Take the ports without holding up the event loop."""
        import asyncio  # anyone who gets here has it

        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the ports back."""
        import asyncio  # as above

        await asyncio.to_thread(self._release)

    def _release(self) -> None:
        listeners.close(self._sockets)
        self._sockets = []
        self.ports, self.is_held = (), False
        while self._undo:
            self._undo.pop()()


def hold(
    count: int = 1, *, protocols: Sequence[Protocol] = PROTOCOLS, within: Range = DYNAMIC, bound: bool = True
) -> Held:
    """Return a context manager that has `count` free ports of its own while it is entered.

    They are leased for the life of this process, and on Linux bound for TCP without listening, so that the kernel gives
    them to no one: servers that set SO_REUSEADDR start beside that. For those that do not, say `bound=False`.
    """
    return Held(count, protocols, within, is_bound=bound)
