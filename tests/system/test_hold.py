"""The hold under a storm: what the kernel assigns by itself is never the held port, and servers start beside it."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import pickle
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from portguard.system import listeners
from tests.amount import examples
from tests.conftest import PORTGUARD
from tests.worlds import servers
from tests.worlds.netns import run_in_netns

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="ports can be held on Linux only"),
    pytest.mark.needs("netns", "ipv6"),
]

TIMEOUT = 30.0
FIRST, LAST = 40000, 40009
NARROW = {
    "net.ipv4.ip_local_port_range": f"{FIRST} {LAST}",
    # No TIME_WAIT: what a server's connections leave behind would keep its port as well, and prove nothing.
    "net.ipv4.tcp_max_tw_buckets": "0",
}
HELD = 40004
OUTSIDE = 50000  # of the range: where the storm's own server listens
DRAWS = 2_000
# By language: how often it is started again. Java takes longest to start.
RESTARTS = {"python": examples(44), "node": examples(44), "java": examples(12)}
ADDRESSES = ("127.0.0.1", "0.0.0.0", "::1", "::")


class Tally(NamedTuple):
    """What a storm was assigned: how often which port, how often none was left, in how many draws of what kind."""

    ports: Counter[int]
    refused: int
    kinds: Counter[str]

    @property
    def draws(self) -> int:
        """How many times the kernel was asked."""
        return sum(self.kinds.values())


# ---------------------------------------------------------------- the storm


TARGETS: dict[str, socket.socket] = {}  # what the storm connects to, by address


def _bind(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _bind_reusing(address: str) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _connect(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        sock.connect((address, OUTSIDE))
        TARGETS[address].accept()[0].close()
        # Closed without a word: no TIME_WAIT that would keep its port for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    except OSError:
        sock.close()
        raise
    return sock


KINDS: dict[str, Callable[[], socket.socket]] = {
    "bind 127.0.0.1": lambda: _bind("127.0.0.1"),
    "bind 0.0.0.0": lambda: _bind("0.0.0.0"),
    "bind ::": lambda: _bind("::"),
    "bind ::1": lambda: _bind("::1"),
    "bind 127.0.0.1, reusing": lambda: _bind_reusing("127.0.0.1"),
    "connect 127.0.0.1": lambda: _connect("127.0.0.1"),
    "connect ::1": lambda: _connect("::1"),
}
_NONE_LEFT = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)


@contextlib.contextmanager
def target() -> Iterator[None]:
    """Listen for the storm's connections, outside of the range."""
    with contextlib.ExitStack() as stack:
        for address in ("127.0.0.1", "::1"):
            sock = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
            sock.bind((address, OUTSIDE))
            sock.listen()
            sock.settimeout(TIMEOUT)
            TARGETS[address] = sock
        yield


def storm(is_over: Callable[[int], bool]) -> Tally:
    """Draw ports from the kernel, up to everything it has at a time, until `is_over(draws)`."""
    tally = Tally(Counter(), 0, Counter())
    refused = 0
    kept: list[socket.socket] = []
    wheel = random.Random(1)
    names = list(KINDS)
    while not is_over(tally.draws):
        kind = wheel.choice(names)
        tally.kinds[kind] += 1
        try:
            sock = KINDS[kind]()
        except OSError as error:
            if error.errno not in _NONE_LEFT:
                raise
            refused += 1
            # Everything that this kind can get was drawn; begin anew.
            listeners.close(kept)
            kept.clear()
            continue
        tally.ports[sock.getsockname()[1]] += 1
        kept.append(sock)
    listeners.close(kept)
    return tally._replace(refused=refused)


def _storm_of(draws: int) -> Tally:
    with target():
        return storm(lambda done: done >= draws)


@contextlib.contextmanager
def storming() -> Iterator[Callable[[], Tally]]:
    """Let it storm in a process of its own; calling what is yielded ends it, and returns what it was assigned."""
    stop, stopping = os.pipe()
    told, telling = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            with target():
                # A moment's rest every hundred draws: the servers want to start on the same processors.
                tally = storm(lambda done: done % 100 == 0 and bool(select.select([stop], [], [], 0.001)[0]))
            with os.fdopen(telling, "wb") as file:
                pickle.dump(tuple(tally), file)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(telling)
    reaped = False

    def end() -> Tally:
        nonlocal reaped
        os.write(stopping, b".")
        with os.fdopen(told, "rb", closefd=False) as file:
            data = file.read()
        reaped = True
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the storm failed"
        return Tally(*pickle.loads(data))

    try:
        yield end
    finally:
        if not reaped:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for fd in (stop, stopping, told):
            os.close(fd)


def show(title: str, tally: Tally) -> None:
    """Print what a storm was assigned: the figures of the report."""
    each = ", ".join(f"{port}: {tally.ports[port]}" for port in range(FIRST, LAST + 1))
    sys.stdout.write(f"{title}: {tally.draws} draws, {tally.refused} times none was left; {each}\n")


def assert_stormy(tally: Tally) -> None:
    """Assert that it was a storm: every kind of draw, and every port but the held one assigned many times."""
    assert tally.draws >= DRAWS
    assert all(tally.kinds[kind] >= DRAWS / len(KINDS) / 2 for kind in KINDS), tally.kinds
    others = [tally.ports[port] for port in range(FIRST, LAST + 1) if port != HELD]
    assert min(others) >= DRAWS / 10 / 2, tally.ports
    assert tally.refused > 0, "it was never exhausted"


# ---------------------------------------------------------------- servers


def start(language: str, address: str) -> servers.Server:
    """Start a real server on the held port."""
    if language == "python":
        return servers.python_http(address, HELD)
    if language == "node":
        return servers.node_http(address, HELD)
    return servers.java_server(address, HELD)


def answers(address: str, source: int) -> bool:
    """Whether the server answers, asked from a port outside of the storm's range."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    connection = http.client.HTTPConnection(host, HELD, timeout=TIMEOUT, source_address=(host, source))
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().strip() == b"portguard test server"
    finally:
        connection.close()


def restart(counts: dict[str, int]) -> Counter[str]:
    """Start, ask and stop servers, these many of each language, in turn on every address; return what went wrong."""
    wrong: Counter[str] = Counter()
    source = OUTSIDE + 1
    for language, count in counts.items():
        for number in range(count):
            address = ADDRESSES[number % len(ADDRESSES)]
            with start(language, address) as server:
                if not server.started:
                    wrong[f"{language} {address}: {server.error}"] += 1
                elif not answers(address, source):
                    wrong[f"{language} {address}: no answer"] += 1
            source += 1
    return wrong


# ---------------------------------------------------------------- tests


def test_the_storm_takes_what_nobody_holds() -> None:
    """Without a hold the kernel assigns the port to the storm, by every kind of draw: the storm is one."""

    def draw() -> dict[str, int]:
        found = {}
        for kind, make in KINDS.items():
            taken = 0
            with target():
                for _ in range(50):
                    kept = []
                    with contextlib.suppress(OSError):
                        while True:
                            kept.append(make())
                    taken += any(sock.getsockname()[1] == HELD for sock in kept)
                    for sock in kept:
                        sock.close()
            found[kind] = taken
        return found

    tally = run_in_netns(_storm_of, DRAWS, sysctls=NARROW)
    by_kind = run_in_netns(draw, sysctls=NARROW)

    show("unheld", tally)
    assert_stormy(tally)
    assert tally.ports[HELD] >= DRAWS / 10 / 2
    assert all(taken > 0 for taken in by_kind.values()), by_kind


def test_never_assigned() -> None:
    """With a hold, none of 2,000 draws is the held port; when the hold ends, the storm takes it again."""

    def world() -> tuple[Tally, Tally]:
        held = listeners.bind("tcp", HELD)
        assert len(held) == 1
        during = _storm_of(DRAWS)
        listeners.close(held)
        return during, _storm_of(DRAWS)

    during, after = run_in_netns(world, sysctls=NARROW)

    show("held", during)
    show("after", after)
    assert_stormy(during)
    assert during.ports[HELD] == 0
    assert after.ports[HELD] > 0


def test_never_assigned_when_all_else_is_taken() -> None:
    """With every other port of the range taken, no one is assigned the held one: there is none."""

    def world(is_held: bool) -> dict[str, bool]:
        held = listeners.bind("tcp", HELD) if is_held else []
        others = []
        for port in range(FIRST, LAST + 1):
            if port != HELD:
                sock = socket.socket(socket.AF_INET6)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                sock.bind(("::", port))
                others.append(sock)
        found = {}
        with target():
            for kind, make in KINDS.items():
                try:
                    with make() as sock:
                        found[kind] = sock.getsockname()[1] == HELD
                except OSError as error:
                    if error.errno not in _NONE_LEFT:
                        raise
                    found[kind] = False
        listeners.close(held)
        for sock in others:
            sock.close()
        return found

    assert run_in_netns(world, True, sysctls=NARROW) == dict.fromkeys(KINDS, False)
    assert run_in_netns(world, False, sysctls=NARROW) == dict.fromkeys(KINDS, True)


@pytest.mark.scaled
@pytest.mark.needs("node", "java")
def test_servers_restart() -> None:
    """Python, node and Java servers start beside the hold on every address, 100 times in the storm, and answer."""
    servers.prepare_java()

    def world() -> tuple[Counter[str], Tally, float]:
        held = listeners.bind("tcp", HELD)
        with storming() as end:
            before = time.monotonic()
            wrong = restart(RESTARTS)
            lasted = time.monotonic() - before
            tally = end()
        listeners.close(held)
        return wrong, tally, lasted

    wrong, tally, lasted = run_in_netns(world, sysctls=NARROW, timeout=110)

    each = ", ".join(f"{language} {count}" for language, count in RESTARTS.items())
    sys.stdout.write(f"{sum(RESTARTS.values())} restarts in {lasted:.1f} s ({each}), {wrong.total()} failed\n")
    show("meanwhile", tally)
    assert wrong == Counter()
    assert_stormy(tally)
    assert tally.ports[HELD] == 0


def test_restarts_without_a_hold() -> None:
    """Without a hold the storm gets the port of a server that is started again: nothing else keeps it."""

    def world() -> Tally:
        with storming() as end:
            restart({"python": 8})
            return end()

    tally = run_in_netns(world, sysctls=NARROW)

    show("unheld, restarts", tally)
    assert_stormy(tally)
    assert tally.ports[HELD] > 0


@contextlib.contextmanager
def running(cwd: Path) -> Iterator[None]:
    """Let a command run under `portguard run`."""
    command = [*PORTGUARD, "run", "--", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], TIMEOUT)[0], "it does not start"
        assert process.stdout.readline() == b"ready\n"
        yield
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


@pytest.mark.needs("node")
def test_the_same_for_portguard_run(tmp_path: Path) -> None:
    """The same for `portguard run`: held while the command runs, anyone's after it; servers restart beside it."""
    (tmp_path / "portguard.toml").write_text(f"[ports]\nweb = {HELD}\n")

    def world() -> tuple[Tally, Tally, Counter[str], Tally]:
        with running(tmp_path):
            during = _storm_of(DRAWS)
        # The holder hears of the end a moment later.
        deadline = time.monotonic() + TIMEOUT
        after = _storm_of(DRAWS)
        while not after.ports[HELD] and time.monotonic() < deadline:
            after = _storm_of(DRAWS)
        with running(tmp_path), storming() as end:
            wrong = restart({"python": 8, "node": 8})
            meanwhile = end()
        return during, after, wrong, meanwhile

    during, after, wrong, meanwhile = run_in_netns(world, sysctls=NARROW)

    show("portguard run", during)
    show("after", after)
    show("with 16 restarts", meanwhile)
    assert_stormy(during)
    assert_stormy(meanwhile)
    assert (during.ports[HELD], meanwhile.ports[HELD]) == (0, 0)
    assert after.ports[HELD] > 0
    assert wrong == Counter()
