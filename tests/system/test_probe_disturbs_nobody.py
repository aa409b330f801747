"""A probe disturbs neither servers that start beside it nor other probes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

import portguard
from portguard.system.probe import probe
from tests.worlds.holders import fresh_port
from tests.worlds.netns import run_in_netns

if TYPE_CHECKING:
    from portguard.model import Protocol

TRIES = 5000
SEVERAL = 5
PROBERS = 16
PROBES_EACH = 1000
TOGETHER = 30.0  # seconds until every process must be there
LONGEST = 60.0  # seconds for the rest; what takes longer hangs
HOST = "127.0.0.1"

fork = multiprocessing.get_context("fork")


class Beside(NamedTuple):
    """How often a thing was tried, and happened, while another process went through how many probes."""

    tries: int = 0
    happened: int = 0
    probes: int = 0


def try_beside(
    prober: Callable[[int], object], attempt: Callable[[int], bool], is_enough: Callable[[Beside], bool]
) -> Beside:
    """Try a thing with a port until it is enough, while a process probes the port; runs in a private namespace."""
    port = fresh_port()
    probes = fork.RawValue("Q", 0)  # one writer
    stop = fork.Event()

    def probe_until_stopped() -> None:
        while not stop.is_set():
            prober(port)
            probes.value += 1

    process = fork.Process(target=probe_until_stopped)
    process.start()
    deadline = time.monotonic() + TOGETHER
    while not probes.value:
        assert time.monotonic() < deadline, "the prober never began"
        time.sleep(0.001)
    began = probes.value
    result = Beside()
    deadline = time.monotonic() + LONGEST
    while not is_enough(result):
        assert time.monotonic() < deadline, f"not enough: {result}"
        happened = attempt(port)
        result = Beside(result.tries + 1, result.happened + happened, probes.value - began)
    stop.set()
    process.join(LONGEST)
    assert process.exitcode == 0
    return result


def has_happened(so_far: Beside) -> bool:
    """Enough to know that it does happen."""
    return so_far.happened >= SEVERAL


def fails_to_start(port: int) -> bool:
    """Start and stop a server as node, Go and Python do; whether it could not."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
            server.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


def connects(port: int) -> bool:
    """Whether a client meets someone there."""
    with socket.socket() as client:
        # Another address than the probed one: a client that is given the probed port would meet itself.
        client.bind(("127.0.0.2", 0))
        return client.connect_ex((HOST, port)) == 0


def probe_as_shipped(port: int) -> str | None:
    """Ask as portguard does."""
    return probe("tcp", HOST, port)


def bind_without_options(port: int) -> None:
    """Ask as a careless probe would."""
    with socket.socket() as sock:
        try:
            sock.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def bind_and_listen(port: int) -> None:
    """Ask as a probe would that leaves nothing to chance."""
    fails_to_start(port)


@pytest.mark.needs("netns")
@pytest.mark.parametrize(("careless", "attempt"), [(bind_without_options, fails_to_start), (bind_and_listen, connects)])
def test_probe_is_not_noticed(careless: Callable[[int], object], attempt: Callable[[int], bool]) -> None:
    """While a process probes a port, no server fails to start on it and no client connects, 5,000 times and more.

    The same arrangement notices a probe without SO_REUSEADDR, and one that listens: it is tried for twice as long as
    that takes to be noticed several times, however busy the machine is.
    """
    control = run_in_netns(try_beside, careless, attempt, has_happened, timeout=3 * LONGEST)

    def is_thorough(so_far: Beside) -> bool:
        return so_far.tries >= max(TRIES, 2 * control.tries) and so_far.probes >= max(PROBES_EACH, 2 * control.probes)

    result = run_in_netns(try_beside, probe_as_shipped, attempt, is_thorough, timeout=3 * LONGEST)
    assert control.happened >= SEVERAL
    assert result.tries >= TRIES
    assert result.probes >= PROBES_EACH
    assert result.happened == 0, result


def probe_together(protocol: Protocol, ask: Callable[[Protocol, str, int], str | None]) -> Counter[str | None]:
    """Let many processes ask for one free port at once, and count the answers; runs in a private namespace."""
    port = fresh_port()
    barrier = fork.Barrier(PROBERS)
    answers = fork.SimpleQueue()

    def many() -> None:
        barrier.wait(TOGETHER)
        answers.put(Counter(ask(protocol, HOST, port) for _ in range(PROBES_EACH)))

    processes = [fork.Process(target=many) for _ in range(PROBERS)]
    for process in processes:
        process.start()
    total: Counter[str | None] = sum((answers.get() for _ in processes), Counter())
    for process in processes:
        process.join(LONGEST)
    assert [process.exitcode for process in processes] == [0] * PROBERS
    return total


@pytest.mark.needs("netns")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_probers_do_not_meet(protocol: Protocol) -> None:
    """16 processes that probe one free port 1,000 times each, at once, are told 16,000 times that it is free."""
    answers = run_in_netns(probe_together, protocol, probe, timeout=2 * LONGEST)
    assert answers == {None: PROBERS * PROBES_EACH}


def bind_plain_udp(protocol: Protocol, host: str, port: int) -> str | None:
    """Ask once, as a probe without a second try would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((host, port))
        except OSError as error:
            return os.strerror(error.errno or 0)
    return None


@pytest.mark.needs("netns")
def test_single_tries_would_meet() -> None:
    """The same arrangement notices UDP probes that ask only once: they do take each other for holders."""
    answers: Counter[str | None] = Counter()
    deadline = time.monotonic() + LONGEST
    while len(answers) < 2 and time.monotonic() < deadline:  # a busy machine may keep them apart
        answers += run_in_netns(probe_together, "udp", bind_plain_udp, timeout=2 * LONGEST)
    assert set(answers) == {None, os.strerror(errno.EADDRINUSE)}


def ask_for_everything(port: int) -> None:
    """Ask of a port all that can be asked without ending anyone."""
    for protocol in ("tcp", "udp"):
        portguard.check(f"127.0.0.1:{port}/{protocol}", f"{port}/{protocol}")
        portguard.wait(f"127.0.0.1:{port}/{protocol}", timeout=0.05)
        portguard.wait(f"127.0.0.1:{port}/{protocol}", timeout=0.05, free=True)
    portguard.who(port)
    portguard.list_ports()


def hear() -> list[str]:
    """Serve a port in every way, let it be asked for, and return who was heard; runs in a private namespace."""
    port = fresh_port()
    with ExitStack() as stack:
        servers = []
        for family, host in ((socket.AF_INET, HOST), (socket.AF_INET6, "::1")):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                server = stack.enter_context(socket.socket(family, kind))
                server.bind((host, port))
                server.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    server.listen()
                servers.append(server)
        ask_for_everything(port)
        return [str(server) for server in servers if select.select([server], [], [], 0)[0]]


@pytest.mark.needs("netns", "ipv6")
def test_servers_hear_nothing() -> None:
    """Whatever is asked of a port, no server of it gets a connection or a datagram."""
    assert run_in_netns(hear) == []


def leave() -> tuple[int, list[str]]:
    """Ask for a free port twice; return how many descriptors the second time left, and which binds fail then."""
    port = fresh_port()
    ask_for_everything(port)
    before = len(os.listdir("/proc/self/fd"))
    ask_for_everything(port)
    return len(os.listdir("/proc/self/fd")) - before, [
        kind.name
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        if bind_plainly(socket.AF_INET, kind, port) or bind_plainly(socket.AF_INET6, kind, port)
    ]


def bind_plainly(family: int, kind: int, port: int) -> bool:
    """Whether a bind that shares nothing fails."""
    with socket.socket(family, kind) as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return True
    return False


@pytest.mark.needs("netns", "ipv6")
def test_nothing_stays_bound() -> None:
    """After any question there is no descriptor more than before, and the port can be bound without any option."""
    assert run_in_netns(leave) == (0, [])
