"""`portguard wait`: never early, never missed, on the right address and protocol; and what it says of it."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

import portguard as library
from portguard.api import wait as api
from portguard.errors import UsageError
from portguard.rules.binding import Options
from tests.cli.test_exit_codes import HOLDER_KEYS
from tests.conftest import PORTGUARD, Run
from tests.worlds import holders, netns, users
from tests.worlds.capabilities import NOBODY
from tests.worlds.holders import DUAL, Address
from tests.worlds.processes import eventually
from tests.worlds.servers import plain_server

Answer = Callable[..., dict[str, Any]]
Kind = Literal["tcp", "tcp6", "udp"]

SERVERS = 500
LANES = 25  # servers at a time
COMMANDS = 20
LONG = 30.0  # seconds; what takes longer is missed
SHORT = 0.06  # seconds: three looks
SPREAD = 0.2  # seconds within which a server starts or ends
REUSE = Options(reuse_address=True)
KINDS: dict[Kind, tuple[Literal["tcp", "udp"], Address, str]] = {
    "tcp": ("tcp", Address("127.0.0.1", v6only=False), "127.0.0.1:{}"),
    "tcp6": ("tcp", Address("::1", v6only=True), "[::1]:{}"),
    "udp": ("udp", Address("127.0.0.1", v6only=False), "127.0.0.1:{}/udp"),
}


# --- the moment -----------------------------------------------------------------------------------


class Moment(NamedTuple):
    """When a wait returned, and when the thing it waited for began and was done, in ns of the same clock."""

    reached: bool
    began: int
    done: int
    returned: int

    @property
    def is_early(self) -> bool:
        """Whether the wait returned before what it waited for can have been."""
        return self.returned < self.began

    @property
    def reaction(self) -> float:
        """Milliseconds; below 0 if the wait saw it before the server knew itself."""
        return (self.returned - self.done) / 1e6


def serve(pipe: Connection) -> None:
    """Start and end servers as told: (kind, port, seconds until it listens, seconds from the order to end)."""
    while True:
        order = pipe.recv()
        if order is None:
            return
        kind, port, pause = order
        protocol, address, _ = KINDS[kind]
        with holders.open_socket(protocol, address, REUSE if protocol == "tcp" else Options()) as server:
            time.sleep(pause / 2)
            if protocol == "tcp":
                server.bind((address.host, port))  # for half of the time it is bound and does not listen
            time.sleep(pause / 2)
            began = time.monotonic_ns()
            if protocol == "tcp":
                server.listen()
            else:
                server.bind((address.host, port))
            pipe.send((began, time.monotonic_ns()))
            time.sleep(pipe.recv())
            began = time.monotonic_ns()
            server.close()
            pipe.send((began, time.monotonic_ns()))


def serve_all(pipes: list[Connection]) -> None:
    """Serve every lane in a thread of its own, in this process."""
    threads = [threading.Thread(target=serve, args=(pipe,)) for pipe in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


Wait = Callable[[str, bool], bool]


def wait_in_library(target: str, is_free: bool) -> bool:
    """Wait with the library; whether it was reached."""
    report = library.wait(target, free=is_free, timeout=LONG)
    return report.exit_code == 0 and report.ports[0].reached


def wait_with_command(target: str, is_free: bool) -> bool:
    """Wait with the installed command; whether it says that it was reached."""
    command = [*PORTGUARD, "wait", target, "--timeout", str(LONG), *(["--free"] if is_free else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.startswith(target.removesuffix("/udp"))


def in_lane(pipe: Connection, ports: list[int], wait: Wait, spread: float) -> list[tuple[Moment, Moment]]:
    """Have one server after the other started and ended; return how each was waited for, and for its end."""
    chance = random.Random(ports[0])
    found = []
    for port in ports:
        kind: Kind = chance.choice(list(KINDS))
        target = KINDS[kind][2].format(port)
        moments = []
        for order, is_free in (((kind, port, chance.uniform(0, spread)), False), (chance.uniform(0, spread), True)):
            pipe.send(order)
            reached = wait(target, is_free)
            returned = time.monotonic_ns()
            began, done = pipe.recv()
            moments.append(Moment(reached, began, done, returned))
        found.append((moments[0], moments[1]))
    pipe.send(None)
    return found


def wait_for_many(count: int, lanes: int, wait: Wait, spread: float) -> list[tuple[Moment, Moment]]:
    """Wait for so many servers of another process to start, and to end; runs in a private namespace."""
    ports = [holders.fresh_port() for _ in range(count)]
    fork = get_context("fork")
    ends = [fork.Pipe() for _ in range(lanes)]
    server = fork.Process(target=serve_all, args=([theirs for _, theirs in ends],))
    server.start()
    with ThreadPoolExecutor(lanes) as pool:
        work = [pool.submit(in_lane, ours, ports[n::lanes], wait, spread) for n, (ours, _) in enumerate(ends)]
        found = [moment for lane in work for moment in lane.result()]
    server.join(LONG)
    assert server.exitcode == 0
    return found


def told(moments: list[Moment], what: str) -> str:
    """Return one line of figures."""
    reactions = [moment.reaction for moment in moments]
    return f"{len(moments)} {what}: reaction median {statistics.median(reactions):.1f} ms, max {max(reactions):.1f} ms"


@pytest.mark.needs("netns", "ipv6")
def test_every_server_is_seen_and_none_too_early() -> None:
    """500 servers start at random moments and end again: no wait misses one, none returns before it is so."""
    found = netns.run_in_netns(wait_for_many, SERVERS, LANES, wait_in_library, SPREAD)

    starts, ends = [start for start, _ in found], [end for _, end in found]
    print(told(starts, "starts"), told(ends, "ends"), sep="\n")  # noqa: T201 - the figures
    for moments in (starts, ends):
        assert len(moments) == SERVERS
        assert [moment for moment in moments if not moment.reached] == []
        assert [moment for moment in moments if moment.is_early] == []


@pytest.mark.slow
@pytest.mark.needs("netns", "ipv6")
def test_the_command_is_neither_early_nor_late() -> None:
    """The same for 20 servers and the installed command."""
    found = netns.run_in_netns(wait_for_many, COMMANDS, 4, wait_with_command, 1.0)

    moments = [moment for pair in found for moment in pair]
    print(told(moments, "starts and ends, with the command"))  # noqa: T201 - the figures
    assert len(moments) == 2 * COMMANDS
    assert [moment for moment in moments if moment.is_early or not moment.reached] == []


def return_at_once(target: str, is_free: bool) -> bool:
    """Do not wait."""
    return True


@pytest.mark.needs("netns", "ipv6")
def test_what_does_not_wait_is_seen_to_be_early() -> None:
    """The control: the clocks find out a wait that returns at once."""
    found = netns.run_in_netns(wait_for_many, 20, 2, return_at_once, 0.05)

    assert all(start.is_early for start, _ in found)


# --- address and protocol -------------------------------------------------------------------------

V4, V4_OTHER, V4_ALL = (Address(host, v6only=False) for host in ("127.0.0.1", "127.0.0.2", "0.0.0.0"))
V6, V6_ALL, MAPPED = Address("::1", v6only=True), Address("::", v6only=True), Address("::ffff:127.0.0.1", v6only=False)
World = Callable[[], AbstractContextManager[holders.Held]]


def listening(address: Address) -> World:
    """Return a world in which a TCP server listens there."""
    return lambda: holders.listening(address, REUSE)


def bound(protocol: Literal["tcp", "udp"], address: Address, options: Options = REUSE) -> World:
    """Return a world in which a socket is bound there, and does not listen."""
    return lambda: holders.bound(protocol, address, options)


def both(protocol: Literal["tcp", "udp"], address: Address) -> World:
    """Return a world in which portguard's kind of hold has the port, and a server beside it."""

    @contextmanager
    def world() -> Iterator[holders.Held]:
        with holders.bound(protocol, DUAL, REUSE) as held, holders.open_socket(protocol, address, REUSE) as server:
            server.bind((address.host, held.port))
            server.listen()
            yield held

    return world


# What is there, what is waited for, and whether that is it.
ROWS: list[tuple[str, World, str, bool]] = [
    ("nobody", holders.nobody, "{}", False),
    ("127.0.0.1", listening(V4), "{}", True),
    ("127.0.0.1", listening(V4), "{}/tcp", True),
    ("127.0.0.1", listening(V4), "{}/udp", False),
    ("127.0.0.1", listening(V4), "127.0.0.1:{}", True),
    ("127.0.0.1", listening(V4), "127.0.0.2:{}", False),
    ("127.0.0.1", listening(V4), "[::1]:{}", False),
    ("127.0.0.1", listening(V4), "localhost:{}", True),
    ("127.0.0.1", listening(V4), "0.0.0.0:{}", True),
    ("127.0.0.1", listening(V4), "[::]:{}", False),
    ("127.0.0.2", listening(V4_OTHER), "localhost:{}", False),
    ("127.0.0.2", listening(V4_OTHER), "*:{}", True),
    ("0.0.0.0", listening(V4_ALL), "127.0.0.1:{}", True),
    ("0.0.0.0", listening(V4_ALL), "[::1]:{}", False),
    ("0.0.0.0", listening(V4_ALL), "localhost:{}", True),
    ("0.0.0.0", listening(V4_ALL), "192.0.2.1:{}", False),
    ("::1", listening(V6), "{}", True),
    ("::1", listening(V6), "127.0.0.1:{}", False),
    ("::1", listening(V6), "[::1]:{}", True),
    ("::1", listening(V6), "localhost:{}", True),
    (":: dual", listening(DUAL), "127.0.0.1:{}", True),
    (":: dual", listening(DUAL), "[::1]:{}", True),
    (":: dual", listening(DUAL), "0.0.0.0:{}", True),
    (":: v6only", listening(V6_ALL), "127.0.0.1:{}", False),
    (":: v6only", listening(V6_ALL), "[::1]:{}", True),
    (":: v6only", listening(V6_ALL), "localhost:{}", True),
    (":: v6only", listening(V6_ALL), "{}", True),
    (":: v6only", listening(V6_ALL), "[2001:db8::1]:{}", False),
    ("mapped", listening(MAPPED), "127.0.0.1:{}", True),
    ("mapped", listening(MAPPED), "[::1]:{}", False),
    ("tcp bound", bound("tcp", V4), "{}", False),
    ("tcp bound", bound("tcp", DUAL), "localhost:{}", False),
    ("tcp bound and a server", both("tcp", V4), "127.0.0.1:{}", True),
    ("tcp bound and a server", both("tcp", V4), "[::1]:{}", False),
    ("client", lambda: holders.outgoing(V4, Options(), dead=False), "{}", False),
    ("client", lambda: holders.outgoing(V4, Options(), dead=False), "127.0.0.1:{}", False),
    ("dead client", lambda: holders.outgoing(V4, Options(), dead=True), "{}", False),
    ("accepted", lambda: holders.abandoned(V4, REUSE, dead=False), "127.0.0.1:{}", False),
    ("udp", bound("udp", V4, Options()), "{}/udp", True),
    ("udp", bound("udp", V4, Options()), "{}", False),
    ("udp", bound("udp", V4, Options()), "[::1]:{}/udp", False),
    ("udp 0.0.0.0", bound("udp", V4_ALL, Options()), "127.0.0.1:{}/udp", True),
    ("udp :: dual", bound("udp", DUAL, Options()), "127.0.0.1:{}/udp", True),
    ("udp :: v6only", bound("udp", V6_ALL, Options()), "127.0.0.1:{}/udp", False),
    ("udp client", lambda: holders.connected_udp(V4, Options()), "{}/udp", False),
]


def reaches(world: World, target: str, is_sandboxed: bool) -> bool:
    """Whether a wait for the target is reached in the world; sandboxed: netlink is refused."""
    if is_sandboxed:
        users.deny_netlink()
    with world() as held:
        return library.wait(target.format(held.port), timeout=SHORT).exit_code == 0


@pytest.mark.needs("netns", "ipv6")
@pytest.mark.parametrize("is_sandboxed", [False, True], ids=["", "without netlink"])
@pytest.mark.parametrize(("name", "world", "target", "expected"), ROWS, ids=lambda part: part or "")
def test_address_and_protocol(name: str, world: World, target: str, expected: bool, is_sandboxed: bool) -> None:
    """Someone counts when a client of that address and protocol would reach them; /proc/net gives the same answers."""
    if is_sandboxed and not users.can_deny_netlink:
        pytest.skip("cannot refuse netlink on this machine")
    assert netns.run_in_netns(reaches, world, target, is_sandboxed) is expected


def free_or_not() -> dict[str, bool]:
    """Wait for what is held in different ways to be free; runs in a private namespace."""
    found = {}
    with holders.listening(V6, REUSE) as held:
        for target in (f"[::1]:{held.port}", f"127.0.0.1:{held.port}", str(held.port), f"[::1]:{held.port}/udp"):
            name = target.replace(str(held.port), "PORT")
            found[name] = library.wait(target, free=True, timeout=SHORT).exit_code == 0
    with holders.bound("tcp", V4, Options()) as held:
        found["bound"] = library.wait(held.port, free=True, timeout=SHORT).exit_code == 0
    with holders.bound("tcp", DUAL, REUSE) as held:
        found["a hold that servers start beside"] = library.wait(held.port, free=True, timeout=SHORT).exit_code == 0
    with holders.outgoing(V4, Options(), dead=False) as held:
        found["client"] = library.wait(held.port, free=True, timeout=SHORT).exit_code == 0
    with holders.bound("udp", V4, Options()) as held:
        found["udp"] = library.wait(f"{held.port}/udp", free=True, timeout=SHORT).exit_code == 0
    return found


@pytest.mark.needs("netns", "ipv6")
def test_free_is_what_a_server_would_get() -> None:
    """What a server's bind would meet decides, as in `check`."""
    assert netns.run_in_netns(free_or_not) == {
        "[::1]:PORT": False,
        "127.0.0.1:PORT": True,
        "PORT": False,
        "[::1]:PORT/udp": True,
        "bound": False,
        "a hold that servers start beside": True,
        "client": False,
        "udp": False,
    }


# --- the loop -------------------------------------------------------------------------------------


class Script:
    """Looks whose answers are a function of the time, on a clock that only pauses and costs move."""

    def __init__(self, *answers: Callable[[float], api.Answer], cost: float = 0.0) -> None:
        self.now = self.used = 0.0
        self.looks: list[tuple[float, int]] = []
        self._cost = cost
        self._answers = answers

    def look(self, number: int) -> api.Answer:
        """Answer as the script says."""
        self.looks.append((self.now, number))
        self.used += self._cost
        self.now += self._cost
        return self._answers[number](self.now)

    def pause(self, seconds: float) -> None:
        """Let the time pass."""
        assert seconds >= 0
        self.now += seconds

    def run(self, timeout: float) -> list[float | None]:
        """Wait."""
        looks = [functools.partial(self.look, number) for number in range(len(self._answers))]
        return api.until(looks, timeout, clock=lambda: self.now, pause=self.pause, spent=lambda: self.used)


def never(now: float) -> api.Answer:
    """Say no at all times."""
    return "no"


def between(first: float, last: float) -> Callable[[float], api.Answer]:
    """Return a look that says yes from the first moment until before the last."""
    return lambda now: "yes" if first <= now < last else "no"


def test_looks_are_counted() -> None:
    """At most 40 looks a second, and one more; the last one is at the deadline, neither before nor after it."""
    script = Script(never)
    assert script.run(10.01) == [None]
    assert 200 <= len(script.looks) <= 402
    assert script.looks[-1][0] == pytest.approx(10.01)
    assert script.looks[-2][0] < 10.01


@pytest.mark.parametrize("cost", [0.0005, 0.001, 0.02])
def test_looks_that_cost_more_are_rarer(cost: float) -> None:
    """However dear a look is, they use at most 1.5 % of the time; only looks of over 25 ms would use more."""
    script = Script(never, cost=cost)
    script.run(60)
    assert script.used <= 0.015 * script.now + 3 * cost
    assert max(b[0] - a[0] for a, b in pairwise(script.looks)) <= 2.0 + cost


def test_one_dear_look_delays_nothing() -> None:
    """The first look loads what the others need; the pause after it is as short as any."""
    script = Script(never)

    def dear_at_first(now: float) -> api.Answer:
        script.used += 1.0 if len(script.looks) == 1 else 0.0
        return "no"

    script._answers = (dear_at_first,)
    script.run(1)
    assert max(b[0] - a[0] for a, b in pairwise(script.looks)) <= 0.025 + 1e-9


def test_what_comes_at_the_deadline_is_seen() -> None:
    """The last look is at the deadline itself: what came since the one before it counts."""
    assert Script(between(0.99, 9)).run(0.999) == [pytest.approx(0.999)]
    assert Script(between(1.001, 9)).run(0.999) == [None]


def test_all_in_one_and_the_same_look() -> None:
    """A server that has gone when the others come does not count; when it is back it does, from then on."""
    gone = Script(between(0.5, 1), between(1.5, 9))
    assert gone.run(3) == [None, pytest.approx(1.5, abs=0.03)]
    back = Script(lambda now: "yes" if 0.5 <= now < 1 or now >= 2 else "no", between(1.5, 9))
    assert back.run(3) == [pytest.approx(2, abs=0.03), pytest.approx(1.5, abs=0.03)]
    assert [number for _, number in back.looks[-2:]] == [0, 1]


def test_what_has_come_is_not_looked_at_again_before_the_others_have() -> None:
    """Ports that are so already are left alone until the answer depends on them again."""
    script = Script(between(0.1, 99), between(5, 99))
    assert script.run(60) == [pytest.approx(0.1, abs=0.03), pytest.approx(5, abs=0.03)]
    assert [at for at, number in script.looks if number == 0 and 0.2 < at < 4.9] == []


def test_at_once_and_never() -> None:
    """What is so at the first look took 0 seconds; what can never be ends the wait at once; 0 is no deadline."""
    assert Script(between(0, 9)).run(60) == [0.0]
    hopeless = Script(never, lambda now: "never", between(0, 9))
    assert hopeless.run(60) == [None, None, 0.0]
    assert hopeless.now == 0
    assert Script(between(4_000, 9_999)).run(0) == [pytest.approx(4_000, abs=0.03)]


@pytest.mark.needs("netns")
def test_the_command_does_not_look_busily() -> None:
    """A wait of 2 s gives the processor away of its own accord, and at most 40 times a second beside its start."""
    counts = netns.run_in_netns(switches_of_waits)

    assert 5 < counts["2"] - counts["0.001"] <= 2 * 40 + 40, counts


def switches_of_waits() -> dict[str, int]:
    """Return how often commands that wait in vain, for so many seconds, gave the processor away."""
    found = {}
    for timeout in ("0.001", "2"):
        child = subprocess.Popen([*PORTGUARD, "wait", str(holders.fresh_port()), "--timeout", timeout], stderr=-3)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 1
        found[timeout] = usage.ru_nvcsw
    return found


# --- what it says ---------------------------------------------------------------------------------


def test_success_is_a_line_a_port(portguard: Run, busy: int) -> None:
    """Standard output has the answer, standard error nothing; --free says free."""
    served = portguard("wait", f"127.0.0.1:{busy}", f"localhost:{busy}")
    free = portguard("wait", "--free", f"127.0.0.1:{busy}/udp")

    lines = [f"127.0.0.1:{busy}/tcp listens already", f"localhost:{busy}/tcp listens already"]
    assert (served.returncode, served.stdout.splitlines(), served.stderr) == (0, lines, "")
    assert (free.returncode, free.stdout, free.stderr) == (0, f"127.0.0.1:{busy}/udp is free already\n", "")


def test_how_long_it_took(portguard: Run, answer: Answer, tmp_path: Path, idle: int) -> None:
    """The line and the document tell after how many seconds it was so; a later moment is not called already."""
    target = f"127.0.0.1:{idle}"

    def serve_later() -> socket.socket:
        eventually(lambda: any(is_waiting(pid, "wait", target) for pid in netns.descendants(os.getpid())), "no wait")
        return socket.create_server(("127.0.0.1", idle))

    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(serve_later)
        done = portguard("wait", target, "--timeout", LONG)
        later.result().close()
        later = pool.submit(serve_later)
        document = answer("wait", target)
        later.result().close()

    assert done.returncode == 0
    assert done.stdout.startswith(f"{target}/tcp listens after ")
    assert 0 < float(done.stdout.split()[-2]) < LONG
    assert 0 < document["data"]["ports"][0]["seconds"] < LONG


def is_waiting(pid: int, *words: str) -> bool:
    """Whether a process is the command with these words, asleep, and has been so several times: between its looks."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return False
    is_asleep = status["State"].strip().startswith("S") and int(status["voluntary_ctxt_switches"]) >= 5
    return is_asleep and all(word in arguments for word in words)


@pytest.mark.needs("netns", "ipv6")
@pytest.mark.parametrize(
    ("world", "target", "message", "hint"),
    [
        (holders.nobody, "127.0.0.1:{}", "nothing listened on 127.0.0.1:{}/tcp within 0.06 s", "portguard list"),
        (holders.nobody, "{}/udp", "nothing had bound *:{}/udp within 0.06 s", "portguard list"),
        (
            listening(V6),
            "127.0.0.1:{}",
            "nothing listened on 127.0.0.1:{}/tcp within 0.06 s; WHO listens on [::1]:{}/tcp, which 127.0.0.1:{} does",
            "portguard who {}",
        ),
        (
            listening(V6_ALL),
            "127.0.0.1:{}",
            "nothing listened on 127.0.0.1:{}/tcp within 0.06 s; WHO listens on [::]:{}/tcp for IPv6 alone, which",
            "portguard who {}",
        ),
        (
            listening(V4_ALL),
            "192.0.2.1:{}",
            "nothing listened on 192.0.2.1:{}/tcp within 0.06 s: this host has no address 192.0.2.1",
            "ip address",
        ),
        (
            bound("tcp", V4),
            "{}",
            "nothing listened on *:{}/tcp within 0.06 s; WHO has bound 127.0.0.1:{}/tcp and does not listen",
            "portguard who {}",
        ),
        (
            lambda: holders.outgoing(V4, Options(), dead=False),
            "{}",
            "nothing listened on *:{}/tcp within 0.06 s; a connection from WHO uses 127.0.0.1:{}/tcp as its local port",
            "portguard who {}",
        ),
        (listening(V4), "{}/udp", "nothing had bound *:{}/udp within 0.06 s", "portguard wait {}/tcp"),
        (
            listening(V4),
            "{} --free",
            "*:{}/tcp was not free within 0.06 s: WHO listens on 127.0.0.1:{}/tcp",
            "kill PID",
        ),
        (
            bound("udp", V4_ALL, Options()),
            "127.0.0.1:{}/udp --free",
            "127.0.0.1:{}/udp was not free within 0.06 s: WHO has bound 0.0.0.0:{}/udp",
            "kill PID",
        ),
        (holders.nobody, "192.0.2.1:{} --free", "this host has no address 192.0.2.1", "ip address"),
    ],
)
def test_what_was_there_instead(world: World, target: str, message: str, hint: str) -> None:
    """In vain, it exits 1 and says on standard error what was there instead, and what to type next."""

    def ask() -> tuple[subprocess.CompletedProcess[str], int]:
        with world() as held:
            command = [*PORTGUARD, "wait", "--timeout", str(SHORT), *target.format(held.port).split()]
            return subprocess.run(command, capture_output=True, text=True, check=False), held.port

    done, port = netns.run_in_netns(ask)
    said, _, step = done.stderr.partition("\n  next: ")

    assert (done.returncode, done.stdout) == (1, "")
    for part in message.replace("{}", str(port)).split("WHO"):
        assert part in said
    assert ("WHO" in message) is (" (pid " in said)
    pid = said.partition("(pid ")[2].partition(",")[0]
    assert hint.replace("{}", str(port)).replace("PID", pid) in step


def test_document(answer: Answer, busy: int, idle: int) -> None:
    """One document, also in vain: the documented keys, the holders of what is served and of what is in the way."""
    served = answer("wait", f"localhost:{busy}")
    mixed = answer("wait", f"127.0.0.1:{busy}", f"127.0.0.1:{idle}/tcp", "--timeout", SHORT)
    busy_still = answer("wait", f"127.0.0.1:{busy}", "--free", "--timeout", SHORT)

    keys = {"target", "port", "protocol", "hosts", "reached", "seconds", "holders", "failure"}
    for document in (served, mixed, busy_still):
        assert all(set(port) == keys for port in document["data"]["ports"])
        assert all(set(holder) == HOLDER_KEYS for port in document["data"]["ports"] for holder in port["holders"])
    (port,) = served["data"]["ports"]
    assert (port["target"], port["port"], port["protocol"]) == (f"localhost:{busy}", busy, "tcp")
    assert (port["hosts"], port["reached"], port["seconds"]) == (["localhost"], True, 0.0)
    assert port["holders"][0]["processes"][0]["pid"] == os.getpid()
    assert (served["exit_code"], served["errors"]) == (0, [])
    assert [port["reached"] for port in mixed["data"]["ports"]] == [True, False]
    assert mixed["data"]["ports"][1]["seconds"] is None
    (error,) = mixed["errors"]
    assert (mixed["exit_code"], error["code"]) == (1, "timeout")
    assert error["message"] == f"nothing listened on 127.0.0.1:{idle}/tcp within {SHORT} s"
    assert "portguard list" in error["hint"]
    assert busy_still["data"]["ports"][0]["holders"][0]["processes"][0]["pid"] == os.getpid()
    assert f"kill {os.getpid()}" in busy_still["errors"][0]["hint"]


def test_several_ports_a_line_for_each_that_is_missing(portguard: Run, busy: int) -> None:
    """In vain, each port that is not so has its line and its next step; those that are have none."""
    done = portguard("wait", busy, f"127.0.0.2:{busy}", f"127.0.0.3:{busy}", "--timeout", SHORT)

    lines = [line for line in done.stderr.splitlines() if line.startswith("portguard: ")]
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.split()[4] for line in lines] == [f"127.0.0.2:{busy}/tcp", f"127.0.0.3:{busy}/tcp"]
    assert done.stderr.count("next: ") == 2


def test_an_address_that_is_not_here_ends_it_at_once(portguard: Run, answer: Answer, busy: int) -> None:
    """With --free it can never come true: no timeout is waited for, and none is claimed for the others."""
    done = portguard("wait", "--free", f"192.0.2.1:{busy}", f"127.0.0.1:{busy}", "--timeout", "0")
    document = answer("wait", "--free", f"192.0.2.1:{busy}", "--timeout", "0")

    assert done.returncode == 1
    assert "this host has no address 192.0.2.1" in done.stderr
    assert f"127.0.0.1:{busy}/tcp is not free: " in done.stderr
    assert document["errors"][0]["code"] == "address-not-local"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["web"],
        ["0"],
        ["65536"],
        ["example.org:80"],
        ["80/sctp"],
        ["80", "db/tcp"],
        ["80", "--timeout", "-1"],
        ["80", "--timeout", "nan"],
        ["80", "--timeout=inf"],
        ["80", "--timeout", "soon"],
        ["80", "--free=1"],
    ],
    ids=" ".join,
)
def test_asked_wrongly(portguard: Run, answer: Answer, words: list[str]) -> None:
    """What is no port or no timeout exits 2 before anything is waited for, with a document where one is asked for."""
    assert portguard("wait", *words).returncode == 2
    document = answer("wait", *words)
    assert (document["exit_code"], document["command"], document["data"]) == (2, "wait", {"ports": [], "notes": []})


@pytest.mark.parametrize("as_json", [False, True])
def test_sigint_ends_a_wait_without_end(tmp_path: Path, idle: int, as_json: bool) -> None:
    """SIGINT ends a wait without end: 130, one word, no traceback; with --json there is a document."""
    words = ["wait", f"127.0.0.1:{idle}", "--timeout", "0", *(["--json"] if as_json else [])]
    child = subprocess.Popen([*PORTGUARD, *words], stdout=-1, stderr=-1, text=True, cwd=tmp_path)
    eventually(lambda: is_waiting(child.pid, *words), "it does not wait")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=LONG)

    assert (child.returncode, err) == (130, "portguard: interrupted\n")
    assert (json.loads(out)["errors"][0]["code"] == "interrupted") if as_json else (out == "")


@pytest.mark.parametrize(("words", "code"), [(["--timeout", "1"], 3), (["--free", "--json", "--timeout", "0.01"], 1)])
def test_a_reader_that_goes_away(busy: int, words: list[str], code: int) -> None:
    """No one reads the answer: no traceback, 3, and a no stays a no."""
    read, write = os.pipe()
    os.close(read)
    try:
        command = [*PORTGUARD, "wait", f"127.0.0.1:{busy}", *words]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=LONG, check=False)
    finally:
        os.close(write)

    assert done.returncode == code
    assert b"could not write the answer" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_standard_output_is_closed(tmp_path: Path, busy: int) -> None:
    """Without a standard output there is no traceback either."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *PORTGUARD, "wait", f"127.0.0.1:{busy}"]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=LONG, check=False, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (3, b"portguard: standard output is closed\n")


def test_a_directory_that_is_gone(tmp_path: Path, busy: int) -> None:
    """What is in the way is told from a directory that was removed, too."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'rmdir "{gone}" && exec "$@"'
    command = ["sh", "-c", script, "sh", *PORTGUARD, "wait", "--free", f"127.0.0.1:{busy}", "--timeout", str(SHORT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False, cwd=gone)

    assert done.returncode == 1
    assert f"(pid {os.getpid()}" in done.stderr


# --- partial sight --------------------------------------------------------------------------------


@pytest.mark.needs("netns", "users", "ipv6")
def test_ports_this_user_may_not_bind() -> None:
    """The table tells whether a privileged port is free, and a client's view of it needs no rights at all."""
    low, other = random.sample(range(200, 1000), 2)
    with netns.private_netns() as ns:
        with (
            users.holding([("tcp", "0.0.0.0", low, "listen")], 0, ns),
            users.holding([("tcp", "127.0.0.1", other, "bound")], 0, ns),
        ):
            served = wait_as_nobody(ns, f"127.0.0.1:{low}")
            busy = wait_as_nobody(ns, f"{low}", "--free")
            bound_only = wait_as_nobody(ns, f"{other}", "--free")
        free = wait_as_nobody(ns, f"{low}", "--free")

    assert (served.returncode, free.returncode) == (0, 0)
    assert free.stdout == f"*:{low}/tcp is free already\n"
    assert busy.returncode == 1
    assert f"listens on 0.0.0.0:{low}/tcp" in busy.stderr
    assert bound_only.returncode == 1
    assert f"has bound 127.0.0.1:{other}/tcp and does not listen" in bound_only.stderr


def wait_as_nobody(ns: netns.PrivateNetns, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as an ordinary user in a namespace."""
    return users.as_user(["-m", "portguard", "wait", "--timeout", str(SHORT), *words], NOBODY, ns, **options)


@pytest.mark.needs("netns", "users")
@pytest.mark.skipif(not users.can_deny_netlink, reason="cannot refuse netlink on this machine")
def test_without_any_table_the_bind_decides() -> None:
    """Without netlink and /proc a busy bind counts as someone; where binding is forbidden, too, it exits 3."""
    low = random.randrange(200, 1000)
    blind: dict[str, Any] = {"inside": users.WITHOUT["proc"], "preexec_fn": users.deny_netlink}
    with netns.private_netns() as ns:
        with users.holding([("tcp", "127.0.0.1", 0, "listen")], 0, ns) as held:
            (port,) = held.ports
            served = wait_as_nobody(ns, f"127.0.0.1:{port}", **blind)
            elsewhere = wait_as_nobody(ns, f"127.0.0.2:{port}", **blind)
            busy = wait_as_nobody(ns, f"127.0.0.1:{port}", "--free", **blind)
        gone = wait_as_nobody(ns, f"127.0.0.1:{port}", **blind)
        free = wait_as_nobody(ns, f"127.0.0.1:{port}", "--free", **blind)
        forbidden = [wait_as_nobody(ns, f"127.0.0.1:{low}", *words, **blind) for words in ([], ["--free"])]

    assert [done.returncode for done in (served, elsewhere, busy, gone, free)] == [0, 1, 1, 1, 0]
    assert [done.returncode for done in forbidden] == [3, 3]
    assert all("netlink" in done.stderr and "Traceback" not in done.stderr for done in forbidden)


# --- the library ----------------------------------------------------------------------------------


def test_the_library(tmp_path: Path, idle: int) -> None:
    """`portguard.wait` returns frozen records with the fields of the document; owners only where they are asked for."""
    with plain_server(tmp_path) as port:
        quick = library.wait(port, f"127.0.0.1:{port}")
        known = library.wait(port, owners=True)
        in_vain = library.wait(port, free=True, timeout=0.001)
    again = library.wait(port, free=True)

    assert isinstance(quick, library.WaitReport)
    assert (quick.exit_code, [entry.target for entry in quick.ports]) == (0, [str(port), f"127.0.0.1:{port}"])
    assert quick.ports[0].holders == ()
    assert known.ports[0].holders[0].processes[0].cwd == str(tmp_path)
    assert in_vain.exit_code == 1
    assert in_vain.ports[0].failure is not None
    assert in_vain.ports[0].failure.code == "timeout"
    assert (again.exit_code, again.ports[0].failure) == (0, None)
    with pytest.raises(AttributeError):
        quick.exit_code = 3  # type: ignore[misc]


@pytest.mark.parametrize("arguments", [(), ("web",), (0,), (70_000,)])
def test_the_library_refuses_what_is_no_port(arguments: tuple[str | int, ...]) -> None:
    """A UsageError, before anything is waited for."""
    with pytest.raises(UsageError):
        library.wait(*arguments, timeout=0)


@pytest.mark.parametrize("timeout", [-0.001, float("nan"), float("inf"), float("-inf")])
def test_the_library_refuses_what_is_no_timeout(timeout: float, idle: int) -> None:
    """A UsageError that names the number and the way to wait without end."""
    with pytest.raises(UsageError, match=r"invalid timeout"):
        library.wait(idle, timeout=timeout)
