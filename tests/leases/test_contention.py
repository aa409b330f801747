"""Claims about many callers of one store, and about callers that are interrupted."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import multiprocessing
import os
import random
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

import portguard
from portguard.errors import LockTimeoutError
from portguard.leases import files
from portguard.leases.quick_look import name_of
from portguard.leases.table import locked, readable
from portguard.system import kernel
from tests.amount import examples
from tests.conftest import PORTGUARD
from tests.worlds.netns import descendants, run_in_netns
from tests.worlds.processes import fork, is_of_main
from tests.worlds.store import state_directory

_TTL = 3_600  # seconds; longer than any test
_PROCESSES = 64


def leased() -> dict[int, int]:
    """Return the pid that has each unexpired lease of the running test's store."""
    with readable(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()) as table:
        return {} if table is None else {port: lease.pid for port, lease in table.leases().items()}


# --- 64 processes ---------------------------------------------------------------------------------


def take(count: int) -> list[tuple[int, int]]:
    """Lease so many ports one by one; return each with the pid that has it."""
    return [(portguard.free_port(ttl=_TTL), os.getpid()) for _ in range(count)]


def take_all(each: int) -> tuple[list[tuple[int, int]], dict[int, int]]:
    """Let 64 processes lease `each` ports; return what they were given and what the table says."""
    with multiprocessing.get_context("fork").Pool(_PROCESSES, maxtasksperchild=1) as pool:
        given = pool.map(take, [each] * _PROCESSES, chunksize=1)
    return [item for items in given for item in items], leased()


def assert_each_has_its_own(each: int) -> None:
    """Check that 64 processes got so many each, none twice, and that the table knows whose each is."""
    given, table = run_in_netns(take_all, each, timeout=300)
    assert len({pid for _, pid in given}) == _PROCESSES
    assert len(given) == _PROCESSES * each
    assert {port: count for port, count in Counter(port for port, _ in given).items() if count > 1} == {}
    assert table == dict(given)


@pytest.mark.needs("netns")
@pytest.mark.slow
@pytest.mark.timeout(330)
def test_64_processes_lease_12800_ports_and_share_none() -> None:
    """64 x 200 at once, most of the 16,384 there are: 0 duplicates of 12,800, and all of them in the table."""
    assert_each_has_its_own(200)


# --- a lock that many want ------------------------------------------------------------------------

_TURN, _TURNS = 0.1, 50  # seconds that one process has it; processes
_KEPT = 4.0  # seconds that one may keep it: a busy machine may take long over a turn


def take_turns(fd: int, turns: int) -> None:
    """Have the lock for a moment, and hand it to a child, which does the same; in between no one gets it."""
    # The one open file is everyone's; anyone who asks anew is whom the kernel names.
    fcntl.flock(fd, fcntl.LOCK_SH if turns % 2 else fcntl.LOCK_EX)
    select.select([], [], [], _TURN)
    if turns > 1:
        os.waitpid(fork(functools.partial(take_turns, fd, turns - 1)), 0)


@contextlib.contextmanager
def handed_on() -> Iterator[None]:
    """Have the lock of the table go from process to process in the meantime."""
    with locked(str(state_directory()), kernel.host_key()):
        pass  # there is one now
    fd = os.open(state_directory() / name_of(kernel.host_key()), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    pid = fork(functools.partial(take_turns, fd, _TURNS))
    os.close(fd)
    try:
        yield
    finally:
        for below in (pid, *descendants(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(below, signal.SIGKILL)
        os.waitpid(pid, 0)


def locked_in_time() -> contextlib.AbstractContextManager[object]:
    """Return the lock of the table, to be entered in time."""
    return locked(str(state_directory()), kernel.host_key(), deadline=_KEPT)


def test_whoever_only_has_to_queue_gets_the_lock_in_the_end() -> None:
    """The deadline is for one process that keeps the lock; others that have it in turn for longer are waited for."""
    began = time.monotonic()
    with handed_on(), locked_in_time():
        assert time.monotonic() - began > (_TURNS - 1) * _TURN > _KEPT


def test_nobody_queues_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to waiting for others who have it in turn as well."""
    monkeypatch.setattr(files, "_LONGEST_WAIT", _KEPT)
    with handed_on(), pytest.raises(LockTimeoutError, match="is locked by process"), locked_in_time():
        pytest.fail("it could be had")


# --- interrupted callers --------------------------------------------------------------------------

_FREE = [*PORTGUARD, "free", "--ttl", str(_TTL)]


def median_life() -> float:
    """Return how many seconds one `portguard free` takes here and now."""
    lives = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(_FREE, stdout=subprocess.DEVNULL, check=True, timeout=60)
        lives.append(time.perf_counter() - began)
    return sorted(lives)[len(lives) // 2]


def interrupt(after: float) -> tuple[int, str, str]:
    """Start `portguard free`, send SIGINT so many seconds later; return its exit code and what it said."""
    end = time.perf_counter() + after
    with subprocess.Popen(_FREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while time.perf_counter() < end:
            pass
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        return child.returncode, out, err


@pytest.mark.scaled
def test_200_interrupts_leak_no_lease() -> None:
    """SIGINT at 200 random moments of `portguard free`: no lease without its port being told, no traceback of ours.

    It exits with 130 or 0; before `main`, and after it, Python dies by the signal and in its own words.
    """
    life = median_life()
    known = set(leased())
    codes: Counter[int] = Counter()
    for _ in range(examples(200)):
        code, out, err = interrupt(random.triangular(0, life, life))
        new = set(leased()) - known
        known |= new
        assert not is_of_main(err), err
        assert new <= {int(line) for line in out.split()}, f"exit {code}: {new} was leased, and told was {out!r}; {err}"
        if code == 0:
            assert len(new) == 1
        elif code == 130:
            assert (err, new) == ("portguard: interrupted\n", set())
        else:
            assert code in (-signal.SIGINT, 1), err
        codes[code] += 1
    assert codes[130], "none was interrupted while it worked"


@pytest.mark.parametrize(("number", "is_left"), [(signal.SIGINT, False), (signal.SIGKILL, True)])
def test_a_lease_that_cannot_be_told_any_more_is_taken_back(number: signal.Signals, is_left: bool) -> None:
    """A caller that has its lease and hangs on printing it: after SIGINT it is gone, after SIGKILL it is there."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"." * 4_096)
    os.set_blocking(write, True)
    with subprocess.Popen(_FREE, stdout=write, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while not leased():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        child.send_signal(number)
        assert child.wait(60) == (130 if number == signal.SIGINT else -number)
    os.close(read)
    os.close(write)
    assert len(leased()) == is_left
