"""Claims about `free`: no one is given a port that someone else has an unexpired lease on, whatever is killed."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import portguard
from portguard.api.free import free
from portguard.errors import NoFreePortError
from portguard.leases import take
from portguard.system import kernel
from tests.amount import examples
from tests.conftest import PORTGUARD
from tests.worlds.netns import run_in_netns
from tests.worlds.processes import fork, reports_of
from tests.worlds.store import leases, state_directory

_TTL = 3_600  # seconds; longer than any test
_DEADLINE = 60.0  # seconds
_RECORD = struct.Struct("=II")  # pid, port; far below PIPE_BUF, so that it is written at once or not at all


def repeated(ports: list[int]) -> dict[int, int]:
    """Return what occurs more than once, and how often."""
    return {port: count for port, count in Counter(ports).items() if count > 1}


def random_range(size: int) -> tuple[int, int]:
    """Return a range of so many ports that the kernel does not assign by itself."""
    first = random.randrange(61_000, 65_536 - size)
    return first, first + size - 1


# --- many callers at once -------------------------------------------------------------------------

_PROCESSES, _CALLS = 64, 50
_PROCESSES_BY_COMMAND = 4
_TWO_AT_ONCE_EVERY = 10  # calls


def wanted(call: int) -> int:
    """Return how many ports the call with this number asks for."""
    return 2 if call % _TWO_AT_ONCE_EVERY == 0 else 1


def call_library(give: Callable[[int], None]) -> None:
    """Ask as often as agreed through the library; an unleased answer is a warning, and so an error."""
    for call in range(_CALLS):
        for port in portguard.free_ports(2, ttl=_TTL) if wanted(call) == 2 else [portguard.free_port(ttl=_TTL)]:
            give(port)


def call_command(give: Callable[[int], None]) -> None:
    """Ask as often as agreed through the command."""
    for call in range(_CALLS):
        command = [*PORTGUARD, "free", "-n", str(wanted(call)), "--ttl", str(_TTL)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_DEADLINE, cwd="/")
        assert done.stderr == ""
        for line in done.stdout.splitlines():
            give(int(line))


@pytest.mark.slow
def test_64_processes_that_ask_50_times_each_are_never_given_a_port_twice() -> None:
    """3,200 calls at the same time, 200 of them by the command, on a store no one has made yet: 0 duplicates."""

    def work(call: Callable[[Callable[[int], None]], None], report: Callable[[bytes], None]) -> None:
        call(lambda port: report(_RECORD.pack(os.getpid(), port)))

    calls = [call_command if number < _PROCESSES_BY_COMMAND else call_library for number in range(_PROCESSES)]
    told = reports_of([functools.partial(work, call) for call in calls])
    given = [port for _, port in _RECORD.iter_unpack(told)]
    assert len(given) == _PROCESSES * sum(map(wanted, range(_CALLS)))
    assert repeated(given) == {}
    assert set(leases()) == set(given)


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Let threads interrupt each other at every opportunity."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_16_threads_that_ask_50_times_each_are_never_given_a_port_twice(impatient_threads: None) -> None:
    """800 calls of 16 threads in one process: 0 duplicates; the lock parts threads as it parts processes."""
    given: list[int] = []
    failures: list[BaseException] = []
    start = threading.Barrier(16)
    pool = random_range(800)  # not one more than they ask for: in the end they all want the same few

    def work() -> None:
        try:
            start.wait(_DEADLINE)
            for _ in range(50):
                given.append(portguard.free_port(within=pool, ttl=_TTL))  # noqa: PERF401 - each as soon as it is known
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_DEADLINE)
    assert failures == []
    assert len(given) == 800
    assert repeated(given) == {}


# --- killed callers -------------------------------------------------------------------------------


def lease_for_ever(ready: int, reports: int) -> NoReturn:
    """Lease port after port, and report each one once it has been handed out."""
    record = _RECORD.pack(os.getpid(), 0)
    os.write(ready, record)
    while True:
        os.write(reports, _RECORD.pack(os.getpid(), portguard.free_port(ttl=_TTL)))


def kill_at_random_moments(kills: int, reports: int, longest: float) -> None:
    """Start processes that lease in a loop, two at a time, and kill each at its own random moment."""
    for _ in range(kills // 2):
        ready_read, ready_write = os.pipe()
        children = [fork(functools.partial(lease_for_ever, ready_write, reports)) for _ in range(2)]
        os.close(ready_write)
        for _ in children:
            assert len(os.read(ready_read, _RECORD.size)) == _RECORD.size
        os.close(ready_read)
        for child in children:
            end = time.perf_counter() + random.uniform(0, longest)
            while time.perf_counter() < end:
                pass
            os.kill(child, signal.SIGKILL)
        for child in children:
            status = os.waitpid(child, 0)[1]
            assert os.WIFSIGNALED(status), "it ended before it was killed"


def assert_kills_do_no_harm(kills: int, report: Path, longest: float = 0.005) -> None:
    """Kill so many, then compare what they were given with what the table says."""
    portguard.free_port(ttl=_TTL)  # what is loaded here need not be loaded by every child
    own = leases()
    with report.open("wb") as file:
        kill_at_random_moments(kills, file.fileno(), longest)
    given = list(_RECORD.iter_unpack(report.read_bytes()))
    table = leases()
    assert repeated([port for _, port in given]) == {}
    kept = {port: lease.pid for port, lease in table.items()}
    lost = [(pid, port) for pid, port in given if kept.get(port) != pid]
    assert lost == []
    # Some were killed between the lease and the report, so the moments were not all harmless ones.
    orphans = set(table) - {port for _, port in given} - set(own)
    assert orphans or kills < 1_000
    started = time.monotonic()
    again = portguard.free_port(ttl=_TTL)
    assert time.monotonic() - started < 1, "the dead still keep the lock"
    assert again not in table
    assert os.listdir(state_directory()) == [f"leases-{kernel.host_key()}.table"]


@pytest.mark.scaled
def test_1000_kills_lose_no_lease_and_repeat_none(tmp_path: Path) -> None:
    """1,000 processes killed at random moments: the store works, 0 duplicates, no port that was given is forgotten."""
    assert_kills_do_no_harm(examples(1_000), tmp_path / "report")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_after_longer_lives_lose_no_lease_and_repeat_none(tmp_path: Path) -> None:
    """The same with 300 processes that live up to 20 ms, on a table that fills up."""
    assert_kills_do_no_harm(300, tmp_path / "report", longest=0.02)


# --- a pool that ends -----------------------------------------------------------------------------


def command_free(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `portguard free` where nothing is declared."""
    command = [*PORTGUARD, "free", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DEADLINE, cwd="/")


@contextlib.contextmanager
def listening(*ports: int) -> Iterator[None]:
    """Listen on these ports in the meantime."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            server = stack.enter_context(socket.create_server(("127.0.0.1", port)))
            assert server.getsockname()[1] == port
        yield


def draw_64_and_fail() -> tuple[set[int], list[int], subprocess.CompletedProcess[str], float]:
    """Ask for all of a pool of 64 in several ways, and then for one more."""
    first, last = random_range(64)
    text = f"{first}-{last}"
    given = [int(line) for line in command_free("-n", "30", "--range", text).stdout.split()]
    for _ in range(4):
        given += [int(line) for line in command_free("--range", text).stdout.split()]
    given += [portguard.free_port(within=(first, last)) for _ in range(30)]
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        done = command_free("--range", text)
        seconds.append(time.monotonic() - started)
    return set(range(first, last + 1)), given, done, min(seconds)


@pytest.mark.needs("netns")
def test_a_pool_of_64_gives_64_different_ports_and_then_says_why_not() -> None:
    """Exactly all 64, each once; the next caller gets exit 1 and the counts per reason, within a second."""
    pool, given, done, seconds = run_in_netns(draw_64_and_fail)
    assert len(given) == 64
    assert set(given) == pool
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no free port in {min(pool)}-{max(pool)}: 64 leased\n" in done.stderr
    assert seconds < 1


def count_reasons() -> tuple[str, list[dict[str, str]]]:
    """Ask for more than there is where some ports are leased and some are listened on."""
    first, last = random_range(64)
    portguard.free_ports(10, within=(first, first + 9))
    with listening(first + 20, last):
        done = command_free("-n", "53", "--range", f"{first}-{last}", "--json")
        assert done.returncode == 1
        assert len(portguard.free_ports(52, within=(first, last))) == 52
    return f"{first}-{last}", json.loads(done.stdout)["errors"]


@pytest.mark.needs("netns")
def test_a_pool_that_is_too_small_gives_nothing_and_counts_every_reason() -> None:
    """53 of 64 where 12 are not to be had: none is given nor leased, and both reasons are counted."""
    text, errors = run_in_netns(count_reasons)
    assert [(error["code"], error["message"]) for error in errors] == [
        ("no-free-port", f"only 52 of 53 ports are free in {text}: 2 busy, 10 leased")
    ]


def outlive_the_leases() -> tuple[set[int], set[int], set[int], dict[str, int]]:
    """Lease a whole pool for a second, listen on some of it, and ask again until the leases have ended."""
    first, last = random_range(64)
    started = time.monotonic()
    given = portguard.free_ports(64, within=(first, last), ttl=1)
    used = set(given[:3])
    with listening(*used):
        refusals = 0
        again: list[int] = []
        while not again:
            try:
                again = portguard.free_ports(61, within=(first, last))
            except NoFreePortError:
                refusals += 1
                if time.monotonic() - started > _DEADLINE:
                    raise
        seconds = time.monotonic() - started
        with pytest.raises(NoFreePortError, match="3 busy"):
            portguard.free_ports(1, within=(first, last))
    return set(given), used, set(again), {"refusals": refusals, "milliseconds": int(seconds * 1000)}


@pytest.mark.needs("netns")
def test_after_its_time_a_port_can_be_had_again_unless_somebody_listens_on_it() -> None:
    """With ttl=1: refused for that second, given to others after it, except the ports in use."""
    given, used, again, took = run_in_netns(outlive_the_leases)
    assert again == given - used
    assert took["refusals"] >= 1
    assert took["milliseconds"] >= 1_000


# --- what ports belong to -------------------------------------------------------------------------


def take_all_four() -> list[int]:
    """Take a whole range of four, the same numbers wherever this runs; return none if they are not all to be had."""
    try:
        ports = portguard.free_ports(4, within=(61_001, 61_004))
    except NoFreePortError:
        return []
    with pytest.raises(NoFreePortError, match="4 leased"):
        portguard.free_port(within=(61_001, 61_004))
    return sorted(ports)


def take_all_four_twice() -> tuple[list[int], list[int]]:
    """Take them here, and in another namespace while this one is there: its number would be used again after it."""
    return take_all_four(), run_in_netns(take_all_four)


@pytest.mark.needs("netns")
def test_two_network_namespaces_share_a_state_directory_but_no_leases() -> None:
    """The same four numbers can be had in each of two namespaces, and in neither a second time."""
    everything = [61_001, 61_002, 61_003, 61_004]
    assert run_in_netns(take_all_four_twice) == (everything, everything)
    assert len(os.listdir(state_directory())) == 2


def test_leases_end_with_the_boot_they_were_made_in(tmp_path: Path) -> None:
    """Another boot id gives another table: what was leased before the reboot is not leased after it."""
    keys = []
    for number in ("1", "2"):
        proc = tmp_path / number
        (proc / "sys/kernel/random").mkdir(parents=True)
        (proc / "sys/kernel/random/boot_id").write_text(f"{number * 8}-0000-4000-8000-000000000000\n")
        (proc / "self/ns").mkdir(parents=True)
        (proc / "self/ns/net").symlink_to("net:[4026531840]")
        keys.append(kernel.host_key(str(proc), "linux"))

    def take_one(key: str) -> tuple[int, ...]:
        return take.take(
            str(tmp_path / "state"), key, 1, range(61_000, 61_002), lambda _: None, ttl=60, protocols=3
        ).ports

    assert [take_one(key) for key in keys] == [(61_000,), (61_000,)]
    assert [take_one(key) for key in keys] == [(61_001,), (61_001,)]
    assert [take_one(key) for key in keys] == [(), ()]


def test_unleased_answers_keep_clear_of_what_others_have_leased() -> None:
    """`--no-lease` promises nothing about later callers, but does not give away what someone has already."""
    leased = set(portguard.free_ports(200, ttl=_TTL))
    unleased = {port.port for port in itertools.chain(*(free(20, lease=False).ports for _ in range(20)))}
    assert unleased
    assert not leased & unleased
    assert set(leases()) == leased
