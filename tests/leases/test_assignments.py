"""Claims about the store of checkouts' own numbers: what it keeps, what it survives, and who is given whose number."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portguard.api.env import env
from portguard.errors import NoFreePortError, StateError
from portguard.leases import assignments, directory
from portguard.leases.assignments import Assignment
from portguard.leases.table import locked
from portguard.system import kernel
from tests.amount import examples
from tests.conftest import PORTGUARD
from tests.worlds.netns import run_in_netns
from tests.worlds.processes import eventually, fork, is_at_the_table, reports_of
from tests.worlds.store import state_directory

_HOST = "host"
_TIMEOUT = 60.0
_NAMES = ("web", "db", "api")
_RECORD = struct.Struct("=IIH")  # pid, number of the directory, port


def stored() -> tuple[Assignment, ...]:
    """Return the assignments of the running test's store."""
    return assignments.read(str(state_directory()), kernel.machine_key())


def path_of_store(host: str | None = None) -> Path:
    """Return where the running test's assignments are."""
    return state_directory() / directory.assignments_name(kernel.machine_key() if host is None else host)


def example(port: int, name: str = "web", place: str = "/one") -> Assignment:
    """Return an assignment."""
    return Assignment(port, 1, "isolated", name, place, place, "")


def write(path: Path, content: bytes) -> None:
    """Put a private file into a private directory."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)


def save(place: Path, *items: Assignment, host: str = _HOST) -> bytes:
    """Store exactly these, and return the file's bytes."""
    with assignments.locked(str(place), host) as book:
        book.save(items)
    return (place / directory.assignments_name(host)).read_bytes()


# --- the file -------------------------------------------------------------------------------------

# File names are bytes: anything but NUL, decoded as Python decodes what the system says.
_BYTES = st.binary(max_size=60).map(lambda data: data.replace(b"\0", b""))
_NASTY = st.lists(st.sampled_from([b"\\", b"\t", b"\n", b"\r", b"t", b"n", b"\\\\t", b"\xff", b" ", "é".encode()]))
_TEXTS = st.one_of(_BYTES, _NASTY.map(b"".join)).map(os.fsdecode)
_ASSIGNMENTS = st.builds(
    Assignment,
    st.integers(1, 65_535),
    st.integers(0, 10**12 - 1),
    st.sampled_from(assignments.KINDS),
    _TEXTS.filter(bool),
    _TEXTS.filter(bool),
    _TEXTS.filter(bool),
    _TEXTS,
)


@pytest.mark.scaled
@settings(max_examples=examples(800), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_ASSIGNMENTS, max_size=8, unique_by=(lambda item: item.port, lambda item: (item.name, *item[4:]))))
def test_every_path_comes_back_as_it_was(tmp_path: Path, items: list[Assignment]) -> None:
    """Tabs, line ends, backslashes, bytes that are no UTF-8: what is saved is read, and nothing was damage."""
    state = tmp_path / "state"
    save(state, *items)
    assert assignments.read(str(state), _HOST) == tuple(sorted(items))
    with assignments.locked(str(state), _HOST) as book:
        assert book.all == tuple(sorted(items))
    assert not list(state.glob("*.corrupt*"))


def test_the_files_are_this_user_s_alone(tmp_path: Path) -> None:
    """0700 for the directory, 0600 for the file and its lock, whatever the umask."""
    umask = os.umask(0)
    try:
        save(tmp_path / "state", example(50_000))
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert modes == {f"assignments-{_HOST}.tsv": 0o600, f"assignments-{_HOST}.lock": 0o600}


@pytest.mark.parametrize(
    "damage",
    [
        b"garbage", b"\xff\xfe\x00", b"50000", b"0\t1\tisolated\tx\t/y\t/y\t", b"65536\t1\tisolated\tx\t/y\t/y\t",
        b"-1\t1\tisolated\tx\t/y\t/y\t", b"50009\tsoon\tisolated\tx\t/y\t/y\t", b"50009\t1\tother\tx\t/y\t/y\t",
        b"50009\t1\tisolated\t\t/y\t/y\t", b"50009\t1\tisolated\tx\t/y\t/y\t\tmore",
        b"9" * 5000 + b"\t1\tmoved\tx\t/\t/\t",
        b"50000\t1\tisolated\tother\t/two\t/two\t", b"50009\t1\tisolated\tweb\t/one\t/one\t",
        b"5000\xd9\xa1\t1\tmoved\tx\t/\t/\t",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["front", "middle", "end", "torn end"])
def test_a_damaged_line_costs_that_line(tmp_path: Path, damage: bytes, place: str) -> None:
    """The others stay, also when they are changed next; the file as it was is kept aside, and nothing is raised."""
    state = tmp_path / "state"
    good = (example(50_000), example(50_001, "db"))
    header, one, two, empty = save(state, *good).split(b"\n")
    assert empty == b""
    lines = {
        "front": [header, damage, one, two, b""], "middle": [header, one, damage, two, b""],
        "end": [header, one, two, damage, b""], "torn end": [header, one, two, damage],
    }[place]  # fmt: skip
    content = b"\n".join(lines)
    write(state / directory.assignments_name(_HOST), content)
    found = assignments.read(str(state), _HOST)
    if place != "front":
        assert found == good
    # Of two that exclude each other the first stays.
    assert len(found) == 2
    with assignments.locked(str(state), _HOST) as book:
        assert book.all == found
        book.save([*found, example(50_002, "api")])
    assert [path.read_bytes() for path in state.glob("*.corrupt-*")] == [content]
    assert assignments.read(str(state), _HOST) == tuple(sorted([*found, example(50_002, "api")]))
    with assignments.locked(str(state), _HOST):
        pass
    assert len(list(state.glob("*.corrupt-*"))) == 1, "what was mended is no damage any more"


@pytest.mark.parametrize(
    "header",
    [b"", b"portguard-assignments", b"portguard-assignments 0", b"portguard-assignments x", b"\xff" * 40, b"\0" * 40,
     b"portguard-assignments \xc2\xb2"],
)  # fmt: skip
def test_a_damaged_header_costs_no_number(tmp_path: Path, header: bytes) -> None:
    """Whatever stands in the first line, what can be understood below it stays assigned."""
    state = tmp_path / "state"
    good = (example(50_000), example(50_001, "db"))
    _, rest = save(state, *good).split(b"\n", 1)
    write(state / directory.assignments_name(_HOST), header + b"\n" + rest)
    assert assignments.read(str(state), _HOST) == good


@pytest.mark.parametrize("version", ["2", "10", "9" * 4000])
def test_a_newer_version_is_left_alone(version: str, tmp_path: Path) -> None:
    """Exit 3 with the file's path and what to do; not a byte of it is changed, and no copy is made."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "portguard.toml").write_text('[ports.web]\nport = 20000\nenv = "WEB_PORT"\n')
    content = f"portguard-assignments {version}\n50000 something else\n".encode()
    write(path_of_store(), content)
    for words in (("env", "--isolated"), ("leases",), ("leases", "prune"), ("leases", "release", "50000")):
        done = subprocess.run(
            [*PORTGUARD, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
        assert (done.returncode, done.stdout) == (3, ""), words
        assert f"{path_of_store()} were written by a newer portguard\n  next: update portguard\n" in done.stderr
    assert path_of_store().read_bytes() == content
    assert not list(state_directory().glob("*.corrupt*"))


def test_a_version_of_thousands_of_digits_is_no_bug(tmp_path: Path) -> None:
    """A header that only damage writes costs no more than any other damage, or is of a newer version."""
    state = tmp_path / "state"
    write(state / directory.assignments_name(_HOST), b"portguard-assignments " + b"9" * 5000 + b"\n")
    with contextlib.suppress(StateError):
        assignments.read(str(state), _HOST)


def test_what_cannot_be_saved_changes_nothing(tmp_path: Path) -> None:
    """An error in the midst of saving leaves what was stored, and no temporary file."""
    state = tmp_path / "state"
    before = save(state, example(50_000))
    with assignments.locked(str(state), _HOST) as book:
        os.mkdir(state / f"{directory.assignments_name(_HOST)}.new")
        with pytest.raises(StateError, match="directory"):
            book.save([])
        assert book.all == (example(50_000),)
    os.rmdir(state / f"{directory.assignments_name(_HOST)}.new")
    assert (state / directory.assignments_name(_HOST)).read_bytes() == before


# --- many at once ---------------------------------------------------------------------------------


def projects(path: Path, count: int, names: tuple[str, ...] = _NAMES) -> list[Path]:
    """Make so many checkouts that declare the same ports, all movable."""
    text = "\n".join(
        f'[ports.{name}]\nport = {20_000 + number}\nenv = "{name.upper()}_PORT"\n' for number, name in enumerate(names)
    )
    made = []
    for number in range(count):
        place = path / str(number)
        (place / ".git").mkdir(parents=True)
        (place / "portguard.toml").write_text(text)
        made.append(place)
    return made


def take(place: Path) -> list[int]:
    """Give that checkout numbers of its own, or return those it has."""
    return [port.port for port in env(isolated=True, cwd=str(place)).ports]


def test_64_processes_take_192_numbers_at_once_and_none_twice(tmp_path: Path) -> None:
    """On a store that no one has made yet, every checkout asked for by two processes: the same answer, 0 duplicates."""
    places = projects(tmp_path, 64)
    # What is loaded here need not be loaded by every child.
    env(isolated=True, cwd=str(places[0]), environ={**os.environ, "PORTGUARD_STATE_DIR": str(tmp_path / "other")})

    def work(number: int, report: Callable[[bytes], None]) -> None:
        for index in (number, (number + 1) % 64):
            for port in take(places[index]):
                report(_RECORD.pack(os.getpid(), index, port))

    told = list(_RECORD.iter_unpack(reports_of([functools.partial(work, number) for number in range(64)])))
    given: dict[int, set[int]] = {}
    for _, index, port in told:
        given.setdefault(index, set()).add(port)
    assert len(told) == 64 * 2 * 3
    assert {len(ports) for ports in given.values()} == {3}, "two processes were told differently"
    assert len(set().union(*given.values())) == 192
    assert {(item.port, item.root) for item in stored()} == {
        (port, str(places[index])) for index, ports in given.items() for port in ports
    }


def assert_whole(content: bytes) -> None:
    """Check that this is a file as it is written: a header, whole lines, a line end."""
    header, *lines, end = content.split(b"\n")
    assert (header, end) == (b"portguard-assignments 1", b"")
    assert all(line.count(b"\t") == 6 for line in lines)


def take_for_ever(places: list[Path], first: int, ready: int, reports: int) -> NoReturn:
    """Give one checkout after the other its numbers, and report each number."""
    os.write(ready, b".")
    number = first
    while True:
        for port in take(places[number % len(places)]):
            os.write(reports, _RECORD.pack(os.getpid(), number % len(places), port))
        number += 1


class Kills(NamedTuple):
    """What came of killing takers."""

    reported: int
    orphans: int
    interrupted: int


def kill_takers(kills: int, places: list[Path], report: Path, longest: float) -> Kills:
    """Kill so many processes at random moments while they take; check the store after each, and what was told."""
    take(places[0])  # what is loaded here need not be loaded by every child
    interrupted = 0
    with report.open("wb") as file:
        for number in range(kills):
            ready_read, ready_write = os.pipe()
            run = functools.partial(take_for_ever, places, number * 2, ready_write, file.fileno())
            child = fork(run)
            os.close(ready_write)
            assert os.read(ready_read, 1) == b"."
            os.close(ready_read)
            end = time.perf_counter() + random.uniform(0, longest)
            while time.perf_counter() < end:
                pass
            os.kill(child, signal.SIGKILL)
            assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it ended before it was killed"
            assert_whole(path_of_store().read_bytes())
            orphans = list(state_directory().glob("*.new"))
            assert len(orphans) <= 1
            interrupted += len(orphans)
    told = list(_RECORD.iter_unpack(report.read_bytes()))
    kept = {item.port: item.root for item in stored()}
    assert [record for record in told if kept.get(record[2]) != str(places[record[1]])] == []
    assert not list(state_directory().glob("*.corrupt*"))
    started = time.monotonic()
    again = take(places[0])
    assert time.monotonic() - started < 2, "the dead still keep the lock"
    assert set(again) <= set(kept)
    names = {path.name for path in state_directory().iterdir()}
    key = kernel.machine_key()
    assert names - {f"assignments-{key}.tsv.new"} == {
        f"assignments-{key}.tsv", f"assignments-{key}.lock", f"leases-{kernel.host_key()}.table",
    }  # fmt: skip
    return Kills(len(told), len(names) - 3, interrupted)


@pytest.mark.scaled
def test_300_kills_leave_the_file_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed at random moments while they take: wholly old or new, at most one orphan, nothing lost that was told."""
    done = kill_takers(examples(300), projects(tmp_path / "places", 700), tmp_path / "report", 0.02)
    assert done.reported > 0
    assert done.interrupted > 0, "no moment was a dangerous one"
    with capsys.disabled():
        print(f"\n300 kills: {done} ", end="")  # noqa: T201


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_1500_kills_leave_the_file_whole(tmp_path: Path) -> None:
    """The same for longer lives and a longer file; some are killed while their temporary file is there."""
    done = kill_takers(1_500, projects(tmp_path / "places", 3_100), tmp_path / "report", 0.03)
    assert done.interrupted > 0


def test_an_orphan_of_a_killed_process_is_in_nobody_s_way(tmp_path: Path) -> None:
    """A temporary file that was left behind, whatever is in it, is replaced by the next one to save."""
    state = tmp_path / "state"
    save(state, example(50_000))
    write(state / f"{directory.assignments_name(_HOST)}.new", b"half of")
    save(state, example(50_000), example(50_001, "db"))
    assert assignments.read(str(state), _HOST) == (example(50_000), example(50_001, "db"))
    assert not list(state.glob("*.new"))


# --- between two that ask -------------------------------------------------------------------------


def ask_while_it_is_assigned(before: Sequence[Assignment]) -> tuple[str, str]:
    """Assign a port while someone waits who asks for just that one; return what that one is told."""
    if before:
        save(state_directory(), *before, host=kernel.machine_key())
    with locked(str(state_directory()), kernel.host_key()):
        command = [*PORTGUARD, "free", "--range", "61000-61000"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
        eventually(lambda: is_at_the_table(child.pid), "it does not ask")
        save(state_directory(), *before, example(61_000), host=kernel.machine_key())
    return child.communicate(timeout=_TIMEOUT)


@pytest.mark.needs("netns")
@pytest.mark.parametrize("before", [(), (example(61_001, "db"),)], ids=["the first", "another one"])
def test_a_number_that_is_assigned_while_somebody_waits_is_not_given(before: Sequence[Assignment]) -> None:
    """Anyone who asks and has to wait for the lock is not given what became a checkout's own in the meantime."""
    told, why = run_in_netns(ask_while_it_is_assigned, before)
    assert (told, "1 assigned\n" in why) == ("", True), why


# --- a pool that ends -----------------------------------------------------------------------------

_SIX_LEFT: Mapping[str, str] = {
    "net.ipv4.ip_local_port_range": "32768 60999",
    "net.ipv4.ip_local_reserved_ports": "49152-65529",
}


def take_from_six(path: Path) -> tuple[dict[str, list[int]], str]:
    """Take numbers for one checkout after the other where six are left, removing some in between."""
    first, second, third, fourth = projects(path, 4)
    found: dict[str, list[int]] = {"first": take(first), "second": take(second)}
    shutil.rmtree(first)
    found["while there is enough"] = [item.port for item in stored()]
    found["third"] = take(third)
    found["second again"] = take(second)
    before = path_of_store().read_bytes()
    with pytest.raises(NoFreePortError) as error:
        take(fourth)
    assert path_of_store().read_bytes() == before
    done = subprocess.run(
        [*PORTGUARD, "env", "--isolated"], cwd=fourth, capture_output=True, text=True, check=False, timeout=_TIMEOUT
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "portguard leases prune" in done.stderr
    checked = subprocess.run([*PORTGUARD, "check"], cwd=fourth, capture_output=True, check=False, timeout=_TIMEOUT)
    assert checked.returncode == 0
    return found, error.value.message


@pytest.mark.needs("netns")
def test_numbers_of_what_is_gone_are_taken_back_only_when_none_are_left(tmp_path: Path) -> None:
    """Six numbers: two checkouts have all; one gone, it keeps its three until a third needs them; a fourth gets none.

    Anyone who is still there keeps its own, and the failure changes nothing.
    """
    found, message = run_in_netns(take_from_six, tmp_path, sysctls=_SIX_LEFT)
    pool = list(range(65_530, 65_536))
    assert sorted([*found["first"], *found["second"]]) == pool
    assert found["while there is enough"] == pool
    assert sorted(found["third"]) == sorted(found["first"])
    assert found["second again"] == found["second"]
    assert "no port in 49152-65535 is left for 'web'" in message
    assert "6 assigned" in message


def take_around_the_gone(path: Path) -> tuple[list[int], list[int], list[int]]:
    """Take for one, remove it, and take for another, where there is enough for both."""
    first, second = projects(path, 2)
    gone = take(first)
    shutil.rmtree(first)
    return gone, take(second), [item.port for item in stored()]


@pytest.mark.needs("netns")
def test_what_is_gone_keeps_its_numbers_while_there_are_others(tmp_path: Path) -> None:
    """A checkout on a disk that is not there now finds its numbers again: others are given as long as there are any."""
    gone, second, kept = run_in_netns(take_around_the_gone, tmp_path, sysctls=_SIX_LEFT)
    assert not set(gone) & set(second)
    assert kept == sorted([*gone, *second])
