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

STARTS = 5000
PROBERS = 16
PROBES_EACH = 1000
TOGETHER = 30.0  # seconds until every process must be there
LONGEST = 60.0  # seconds for the rest; what takes longer hangs
HOST = "127.0.0.1"

fork = multiprocessing.get_context("fork")


class Beside(NamedTuple):
    """What a server met that started again and again while another process probed its port."""

    failures: int
    probes: int


def start_server(port: int) -> bool:
    """Start and stop a server as node, Go and Python do; whether it could."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
            server.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def start_beside(prober: Callable[[int], object], is_enough: Callable[[Beside], bool]) -> Beside:
    """Start servers until it is enough, while a process probes; runs in a private namespace."""
    port = fresh_port()
    probes = fork.Value("Q", 0)
    stop = fork.Event()

    def probe_until_stopped() -> None:
        while not stop.is_set():
            prober(port)
            with probes.get_lock():
                probes.value += 1

    process = fork.Process(target=probe_until_stopped)
    process.start()
    deadline = time.monotonic() + TOGETHER
    while not probes.value:
        assert time.monotonic() < deadline, "the prober never began"
        time.sleep(0.001)
    began, failures, starts = probes.value, 0, 0
    deadline = time.monotonic() + LONGEST
    while starts < STARTS or not is_enough(Beside(failures, probes.value - began)):
        assert time.monotonic() < deadline, f"{failures} of {starts} starts failed beside {probes.value - began} probes"
        failures += not start_server(port)
        starts += 1
    result = Beside(failures, probes.value - began)
    stop.set()
    process.join(LONGEST)
    assert process.exitcode == 0
    return result


def bind_without_options(port: int) -> None:
    """Ask as a careless probe would."""
    with socket.socket() as sock:
        try:
            sock.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


@pytest.mark.needs("netns")
def test_servers_start_beside_a_prober() -> None:
    """Of 5,000 starts and more not one fails while another process probes the port 1,000 times and more."""

    def is_enough(so_far: Beside) -> bool:
        return so_far.probes >= PROBES_EACH

    result = run_in_netns(start_beside, lambda port: probe("tcp", HOST, port), is_enough, timeout=2 * LONGEST)
    assert result.probes >= PROBES_EACH
    assert result.failures == 0, result


@pytest.mark.needs("netns")
def test_careless_prober_would_be_noticed() -> None:
    """The same arrangement notices a probe without SO_REUSEADDR, which does make servers fail."""
    result = run_in_netns(start_beside, bind_without_options, lambda so_far: so_far.failures > 0, timeout=2 * LONGEST)
    assert result.failures > 0, result


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
