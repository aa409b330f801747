"""The machines portguard is tried on: processes, listeners and connections in a private network.

Every world has one process more than it says: the late one, the oldest of all, which opens its listener last. Inode
numbers and process ids both grow with time, so its owner is the hardest to find.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import isolation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FIRST_PORT = 10_000  # below what the kernel assigns by itself, and what `portguard free` gives
_LATE_PORT = 30_000
FREE_PORTS = range(3_000, 10_000)  # no one listens there in any world
_SPARE = 20  # descriptors a process has beside those it is told to open


class Plan(NamedTuple):
    """So many alike processes, each with so many descriptors (at least), listeners, and connections to itself."""

    name: str
    text: str
    processes: int
    descriptors: int
    listeners: int = 1
    connections: int = 0


class World(NamedTuple):
    """A plan come to life: who (process id) listens on which port, how long it took (s), how much memory (MiB)."""

    plan: Plan
    owners: tuple[tuple[int, int], ...]
    late: tuple[int, int]
    seconds: float
    memory: float


PLANS = (
    Plan("idle", "nothing added but one process with a listener", 1, 8),
    Plan("A", "200 processes with 50 descriptors each, a listener among them", 200, 50),
    Plan("B", "one process with 19,900 listeners", 1, 0, listeners=19_900),
    Plan("C", "50,000 connections, both ends here, in 20 processes", 20, 0, connections=2_500),
    Plan("D", "2,000 processes with 20 descriptors each, a listener among them", 2_000, 20),
)


@contextlib.contextmanager
def inhabited(plan: Plan) -> Iterator[World]:
    """Start the processes of a plan in this network namespace, and end them. Raises FailedInChildError, OSError."""
    pids: list[int] = []
    before, started = _available_memory(), time.monotonic()
    report, ready = os.pipe()
    wait, go = os.pipe()
    gc.collect()
    gc.freeze()  # what is not touched any more is shared with all that are forked
    try:
        pids.append(_fork(plan._replace(listeners=1, connections=0), [_LATE_PORT], ready, wait))
        owners = []
        for index in range(plan.processes):
            ports = [_FIRST_PORT + index * plan.listeners + offset for offset in range(plan.listeners)]
            pids.append(_fork(plan, ports, ready, None))
            owners += [(port, pids[-1]) for port in ports]
        os.close(ready)
        with os.fdopen(report, encoding="utf-8") as lines:
            _await(lines, plan.processes)
            os.write(go, b".")
            _await(lines, 1)
        seconds, memory = time.monotonic() - started, max(0.0, before - _available_memory())
        yield World(plan, tuple(owners), (_LATE_PORT, pids[0]), seconds, memory)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        os.close(wait)
        os.close(go)


def _await(lines: Iterator[str], count: int) -> None:
    """Read one line from each of so many processes: empty when it stands."""
    for _ in range(count):
        line = next(lines, "a process was killed")
        if line.strip():
            raise isolation.FailedInChildError(line.strip())


def _fork(plan: Plan, ports: Sequence[int], ready: int, wait: int | None) -> int:
    """Fork one process of a plan, which listens on `ports` (once `wait` can be read), tells `ready`, and stays."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        gc.disable()
        isolation.end_with(parent)
        _inhabit(plan, ports, ready, wait)
    except Exception as error:  # noqa: BLE001 - told to the parent
        os.write(ready, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(1)


def _inhabit(plan: Plan, ports: Sequence[int], ready: int, wait: int | None) -> None:
    isolation.keep_only(*(item for item in (ready, wait) if item is not None))
    os.chdir("/")  # in no checkout
    for descriptor in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    isolation.keep_only(*(item for item in (ready, wait) if item is not None))
    needed = max(plan.descriptors, plan.listeners + 2 * plan.connections) + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and soft < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
        except (OSError, ValueError):
            raise OSError(f"needs {needed:,} open files in a process, {hard:,} are allowed (ulimit -n)") from None
    if wait is not None:
        os.read(wait, 1)
        os.close(wait)
    kept = [socket.create_server(("0.0.0.0", port), backlog=64) for port in ports]  # noqa: S104 - a private network
    for _ in range(plan.connections):
        kept.append(socket.create_connection(("127.0.0.1", ports[0])))
        kept.append(kept[0].accept()[0])
    for _ in range(plan.descriptors - len(kept) - 3):  # 3: the standard ones
        os.open(os.devnull, os.O_RDWR)
    os.write(ready, b"\n")
    os.close(ready)
    while True:
        signal.pause()


def _available_memory() -> float:
    """Return what the system could still give, in MiB."""
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) / 1_024 for line in lines if line.startswith("MemAvailable:"))
