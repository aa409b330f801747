"""A probe disturbs neither servers that start beside it nor other probes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest

from portguard.system.probe import probe
from tests.worlds.holders import fresh_port
from tests.worlds.netns import run_in_netns

if TYPE_CHECKING:
    from portguard.model import Protocol

TRIES = 5000
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


def is_thorough(so_far: Beside) -> bool:
    """Enough to rely on that it never happens."""
    return so_far.tries >= TRIES and so_far.probes >= PROBES_EACH


def has_happened(so_far: Beside) -> bool:
    """Enough to know that it can happen."""
    return so_far.happened > 0


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
    """Whether a client meets somebody there."""
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
@pytest.mark.parametrize("attempt", [fails_to_start, connects])
def test_probe_is_not_noticed(attempt: Callable[[int], bool]) -> None:
    """While a process probes a port, no server fails to start on it and no client connects, 5,000 times and more."""
    result = run_in_netns(try_beside, probe_as_shipped, attempt, is_thorough, timeout=3 * LONGEST)
    assert result.tries >= TRIES
    assert result.probes >= PROBES_EACH
    assert result.happened == 0, result


@pytest.mark.needs("netns")
@pytest.mark.parametrize(("prober", "attempt"), [(bind_without_options, fails_to_start), (bind_and_listen, connects)])
def test_careless_probe_would_be_noticed(prober: Callable[[int], None], attempt: Callable[[int], bool]) -> None:
    """The same arrangement notices a probe without SO_REUSEADDR, and one that listens."""
    result = run_in_netns(try_beside, prober, attempt, has_happened, timeout=3 * LONGEST)
    assert result.happened > 0


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
    answers = run_in_netns(probe_together, "udp", bind_plain_udp, timeout=2 * LONGEST)
    assert set(answers) == {None, os.strerror(errno.EADDRINUSE)}
