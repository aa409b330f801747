"""Claims about faults of the state directory: for every fault and command the right exit code, and a sentence.

Whatever is the matter, nothing that was stored is changed, no number is printed that is not stored, no one sees a
traceback, and `check` answers all the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from portguard.leases import assignments, table
from portguard.system import kernel
from tests.conftest import PORTGUARD
from tests.worlds.capabilities import NOBODY
from tests.worlds.file_systems import fill, make_read_only
from tests.worlds.netns import CLONE_NEWNET, CLONE_NEWNS, PrivateNetns, mount, parked
from tests.worlds.processes import stopped_inside
from tests.worlds.repositories import declare_two, git
from tests.worlds.store import Files
from tests.worlds.users import as_user

pytestmark = pytest.mark.needs("git")

Done = subprocess.CompletedProcess[str]
Runner = Callable[[Path, tuple[str, ...]], Done]

_TIMEOUT = 60.0
_AT_ONCE = 9
_UNKNOWN_USER = 2_000_000_011  # in no one's user database


class World(NamedTuple):
    """A repository whose worktree `old` has its numbers, and `new` has none yet; the store they are in."""

    main: Path
    old: Path
    new: Path
    state: Path
    ports: tuple[int, int]
    numbers: str

    @property
    def files(self) -> Files:
        """The files of the store."""
        return Files(self.state)


@pytest.fixture
def world(everybodys: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a repository with three checkouts and a store in which one of them has its numbers."""
    monkeypatch.setenv("PORTGUARD_STATE_DIR", str(everybodys / "home" / "state"))
    (everybodys / "home").mkdir()
    main, old, new = (everybodys / name for name in ("main", "old", "new"))
    git("init", "--quiet", main)
    ports = declare_two(main)
    git("-C", main, "add", "--all")
    git("-C", main, "commit", "--quiet", "--message", "all")
    for path in (old, new):
        git("-C", main, "worktree", "add", "--quiet", "--detach", path)
    done = directly(old, ("env",))
    assert (done.returncode, done.stderr) == (0, "")
    return World(main, old, new, everybodys / "home" / "state", ports, done.stdout)


def directly(cwd: Path, words: tuple[str, ...]) -> Done:
    """Run portguard as this user."""
    return subprocess.run([*PORTGUARD, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=_TIMEOUT)


# --- what is asked, and what comes of it ----------------------------------------------------------

# By name: where it is run, and the words.
_COMMANDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "env, has numbers": ("old", ("env",)),
    "env, has none": ("new", ("env",)),
    "env, main": ("main", ("env",)),
    "run, main": ("main", ("run", "--no-hold", "--", "sh", "-c", "echo $WEB_PORT")),
    "run, linked": ("new", ("run", "--no-hold", "--", "sh", "-c", "echo $WEB_PORT")),
    "leases": ("main", ("leases",)),
    "free": ("main", ("free", "--hold", "1")),
    "check, main": ("main", ("check",)),
    "check, linked": ("new", ("check",)),
}
_EVERYTHING_WORKS = dict.fromkeys(_COMMANDS, 0)
# Nothing can be read: only what needs no store is left.
_NOTHING_KNOWN = {**_EVERYTHING_WORKS, "env, has numbers": 3, "env, has none": 3, "run, linked": 125, "leases": 3}
# Everything can be read, nothing changed.
_NOTHING_NEW = {**_EVERYTHING_WORKS, "env, has none": 3, "run, linked": 125}
_NOTED = ("env, main", "run, main", "free", "check, linked")  # those that go on say why they do less


def run_all(world: World, run: Runner) -> dict[str, Done]:
    """Run all commands, many at a time; `run` after the others, for it has numbers that they would find taken."""

    def ask(name: str) -> Done:
        place, words = _COMMANDS[name]
        return run(Path(getattr(world, place)), words)

    runs = [name for name in _COMMANDS if name.startswith("run")]
    found: dict[str, Done] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for names in ([name for name in _COMMANDS if name not in runs], runs):
            found |= dict(zip(names, pool.map(ask, names), strict=True))
    return found


def assert_said(
    world: World, found: Mapping[str, Done], expected: Mapping[str, int], *reasons: str, noted: tuple[str, ...] = ()
) -> None:
    """Check codes, answers and sentences of all commands.

    Those that fail, and those of `noted`, must give all `reasons`; the others may not fail for anything.
    """
    assert {name: done.returncode for name, done in found.items()} == dict(expected), found
    for name, done in found.items():
        assert "Traceback" not in done.stderr, name
        assert "bug" not in done.stderr, name
        if expected[name] in (3, 125):
            assert done.stdout == "", name
            assert done.stderr.count("portguard: ") == 1, done.stderr
        if expected[name] in (3, 125) or name in noted:
            assert [reason for reason in reasons if reason not in done.stderr] == [], (name, done.stderr)
    web, db = world.ports
    assert found["env, main"].stdout == f"WEB_PORT={web}\nDB_PORT={db}\n"
    assert found["run, main"].stdout in (f"{web}\n", "")
    if expected["env, has numbers"] == 0:
        assert found["env, has numbers"].stdout == world.numbers
    if expected["free"] == 0:
        assert 49_152 <= int(found["free"].stdout) <= 65_535
        if "free" in noted:
            assert "not leased" in found["free"].stderr or "could not leave out" in found["free"].stderr
    for name in ("check, main", "check, linked"):
        assert found[name].stdout == "2 ports: 2 free (portguard.toml)\n", found[name]


def contents(*paths: Path) -> list[tuple[object, ...]]:
    """Return what is there: kind, mode, owner, identity, content or target."""
    found: list[tuple[object, ...]] = []
    for path in paths:
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISDIR(status.st_mode):
            content = sorted(os.listdir(path))
        found.append((status.st_mode, status.st_uid, status.st_ino, status.st_nlink, content))
    return found


# --- the directory --------------------------------------------------------------------------------


def open_to_all(world: World) -> None:
    """Let everyone write to the directory."""
    world.state.chmod(0o777)


def of_another_user(world: World) -> None:
    """Give the directory away."""
    os.chown(world.state, NOBODY, NOBODY)


def planted_link(world: World) -> None:
    """Put a link where the directory was."""
    world.state.rename(world.state.with_name("good"))
    world.state.symlink_to("good")


def planted_file(world: World) -> None:
    """Put a file where the directory was."""
    world.state.rename(world.state.with_name("good"))
    world.state.touch()


def planted_fifo(world: World) -> None:
    """Put a FIFO where the directory was."""
    world.state.rename(world.state.with_name("good"))
    os.mkfifo(world.state, 0o600)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (open_to_all, "other users may write to the lease directory"),
        pytest.param(of_another_user, f"belongs to another user (uid {NOBODY})", marks=pytest.mark.needs("users")),
        (planted_link, "it is a symbolic link"),
        (planted_file, "Not a directory"),
        (planted_fifo, "Not a directory"),
    ],
)
def test_a_directory_that_cannot_be_trusted(world: World, spoil: Callable[[World], None], reason: str) -> None:
    """Nothing in it is believed or changed; numbers that need it are refused, the rest goes on and says so."""
    spoil(world)
    there = [path for path in (world.state, world.state.with_name("good"), *world.state.parent.glob("*/*"))
             if os.path.lexists(path)]  # fmt: skip
    before = contents(*there)
    assert_said(world, run_all(world, directly), _NOTHING_KNOWN, reason, str(world.state), noted=_NOTED)
    assert contents(*there) == before


def test_no_home(world: World) -> None:
    """HOME names nothing, and no other variable a place: the same as for a place that cannot be used."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PORTGUARD_", "XDG_"))}
    environ["HOME"] = "/nonexistent"

    def run(cwd: Path, words: tuple[str, ...]) -> Done:
        return subprocess.run(
            [*PORTGUARD, *words],
            cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=_TIMEOUT,
        )  # fmt: skip

    assert_said(
        world, run_all(world, run), _NOTHING_KNOWN,
        "no home directory to keep leases in", noted=_NOTED,
    )  # fmt: skip
    assert not os.path.lexists("/nonexistent")
    assert "set PORTGUARD_STATE_DIR to a directory of your own" in run(world.new, ("env",)).stderr


@pytest.mark.needs("users")
def test_no_passwd_entry(world: World) -> None:
    """A user whom the system does not know, without HOME: as without a home."""
    program = """
import os, sys
for name in ("PORTGUARD_STATE_DIR", "XDG_STATE_HOME", "HOME"):
    os.environ.pop(name, None)
from portguard.cli.main import main
sys.exit(main(sys.argv[1:]))
"""

    def run(cwd: Path, words: tuple[str, ...]) -> Done:
        return as_user(["-c", program, *words], _UNKNOWN_USER, cwd=cwd)

    assert_said(world, run_all(world, run), _NOTHING_KNOWN, "no home directory to keep leases in", noted=_NOTED)


# --- the file system ------------------------------------------------------------------------------


@contextlib.contextmanager
def small_file_system(world: World, prepare: Callable[[Path], None]) -> Iterator[Runner]:
    """Keep a world in which the home is a small file system of its own with the store, prepared by that function."""
    home = world.state.parent
    saved = {path.name: path.read_bytes() for path in world.state.iterdir()}

    def begin() -> tuple[None, Callable[[], None]]:
        mount("tmpfs", str(home), "tmpfs", 0, "size=64k,mode=755")
        world.state.mkdir(mode=0o700)
        for name, content in saved.items():
            (world.state / name).write_bytes(content)
            (world.state / name).chmod(0o600)
        prepare(home)
        return None, lambda: None

    with parked(CLONE_NEWNET | CLONE_NEWNS, init=begin) as (pid, _):
        inside = PrivateNetns(pid, mounts=True)

        def run(cwd: Path, words: tuple[str, ...]) -> Done:
            command = inside.argv([*PORTGUARD, *words])
            # The one that enters goes to its own working directory; the command must be where it is asked.
            command[command.index("--chdir") + 1] = str(cwd)
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT)

        yield run
        done = subprocess.run(inside.argv(["cat", world.files.book]), capture_output=True, check=True, timeout=_TIMEOUT)
        assert done.stdout == saved[world.files.book.name], "what was stored was changed"
        done = subprocess.run(inside.argv(["ls", world.state]), capture_output=True, check=True, timeout=_TIMEOUT)
        names = set(done.stdout.decode().split())
        assert set(saved) <= names
        assert not [name for name in names if name.endswith(".new") or ".corrupt" in name]


@pytest.mark.needs("netns")
@pytest.mark.parametrize(
    ("prepare", "reason"), [(fill, os.strerror(errno.ENOSPC)), (make_read_only, os.strerror(errno.EROFS))]
)
def test_a_file_system_that_takes_nothing(world: World, prepare: Callable[[Path], None], reason: str) -> None:
    """Full or read-only: who has numbers keeps them, no one gets new ones, the rest goes on."""
    with small_file_system(world, prepare) as run:
        found = run_all(world, run)
        assert_said(world, found, _NOTHING_NEW, reason, str(world.state), noted=("run, main", "free"))


# --- the files ------------------------------------------------------------------------------------


def a_link(path: Path) -> None:
    """Put a link to a good file there."""
    good = path.with_name("good")
    if path.exists():
        path.rename(good)
    else:
        good.touch(mode=0o600)
    path.symlink_to("good")


def a_fifo(path: Path) -> None:
    """Put a FIFO there that no one reads or writes."""
    path.unlink()
    os.mkfifo(path, 0o600)


def another_user_s(path: Path) -> None:
    """Give it away."""
    os.chown(path, NOBODY, NOBODY)


def readable_by_all(path: Path) -> None:
    """Let everyone write to it."""
    path.chmod(0o666)


def newer_book(path: Path) -> None:
    """Put one of a version to come there."""
    path.write_bytes(b"portguard-assignments 9\n" + path.read_bytes())


def newer_table(path: Path) -> None:
    """Make it one of a version to come."""
    with path.open("r+b") as file:
        file.write(struct.pack("<8sII", b"PORTGRD\0", 99, 0))


_FAULTS = [
    (a_link, "symbolic link"),
    (a_fifo, "is not a private file of this user"),
    pytest.param(another_user_s, "is not a private file of this user", marks=pytest.mark.needs("users")),
    (readable_by_all, "is not a private file of this user"),
]


@pytest.mark.parametrize(("spoil", "reason"), [*_FAULTS, (newer_book, "by a newer portguard")])
def test_assignments_that_cannot_be_trusted(world: World, spoil: Callable[[Path], None], reason: str) -> None:
    """As with a directory that cannot; they stay as they are, byte by byte."""
    spoil(world.files.book)
    before = contents(world.files.book)
    assert_said(world, run_all(world, directly), _NOTHING_KNOWN, reason, str(world.files.book), noted=_NOTED)
    assert contents(world.files.book) == before
    assert not list(world.state.glob("*.corrupt*"))


@pytest.mark.parametrize(("spoil", "reason"), [(a_link, "is a symbolic link"), _FAULTS[1]])
def test_a_lock_of_the_assignments_that_cannot_be_trusted(
    world: World, spoil: Callable[[Path], None], reason: str
) -> None:
    """Only changing needs it: who has numbers keeps them, no one gets new ones."""
    spoil(world.files.lock)
    before = contents(world.files.book, world.files.lock)
    assert_said(world, run_all(world, directly), _NOTHING_NEW, reason, str(world.state / "assignments-"))
    assert contents(world.files.book, world.files.lock) == before


@pytest.mark.parametrize(("spoil", "reason"), [*_FAULTS, (newer_table, "by a newer portguard")])
def test_a_table_that_cannot_be_trusted(world: World, spoil: Callable[[Path], None], reason: str) -> None:
    """Numbers are not assigned past it; `run` in the main checkout and `free` go on unleased; it stays as it is."""
    spoil(world.files.table)
    before = contents(world.files.book, world.files.table)
    found = run_all(world, directly)
    del found["leases"]
    expected = {name: code for name, code in _NOTHING_NEW.items() if name != "leases"}
    assert_said(world, found, expected, reason, str(world.files.table), noted=("run, main", "free"))
    assert contents(world.files.book, world.files.table) == before


@pytest.mark.parametrize(("spoil", "reason"), [*_FAULTS, (newer_table, "by a newer portguard")])
def test_leases_does_not_pass_over_a_table_it_cannot_read(
    world: World, spoil: Callable[[Path], None], reason: str
) -> None:
    """`leases` with a table that is there and cannot be used: exit 3 and why; not a list without what is in it."""
    spoil(world.files.table)
    done = directly(world.main, ("leases",))
    assert done.returncode == 3
    message, hint = done.stderr.splitlines()
    assert reason in message
    assert hint.startswith("  next: ")


@pytest.mark.parametrize("content", [b"garbage", b"\xff" * 5000, b'{"leases": []}\n'])
def test_a_corrupt_table_is_set_aside(world: World, content: bytes) -> None:
    """Everything works as ever, no number changes, and what was there is kept."""
    world.files.table.write_bytes(content)
    assert_said(world, run_all(world, directly), _EVERYTHING_WORKS)
    assert [path.read_bytes() for path in world.state.glob("*.corrupt-*")] == [content]


def test_corrupt_assignments_are_set_aside(world: World) -> None:
    """The lines that can be understood are kept, the file as it was as well; no one's number changes."""
    content = b"\xff\xfe\n" + world.files.book.read_bytes().partition(b"\n")[2] + b"half a li"
    world.files.book.write_bytes(content)
    assert_said(world, run_all(world, directly), _EVERYTHING_WORKS)
    asides = list(world.state.glob("assignments-*.corrupt-*"))
    assert asides
    assert {path.read_bytes() for path in asides} == {content}


def test_nonsense_in_the_place_of_the_assignments(world: World) -> None:
    """Nothing to be understood at all: kept aside, and numbers are given as in the beginning, the very same ones."""
    content = os.urandom(5_000).replace(b"\n", b" ")
    world.files.book.write_bytes(content)
    assert_said(world, run_all(world, directly), _EVERYTHING_WORKS)
    assert {path.read_bytes() for path in world.state.glob("assignments-*.corrupt-*")} == {content}


# --- the locks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [pytest.param("lock", marks=pytest.mark.slow), "table"])
def test_a_lock_that_nobody_lets_go_of(world: World, which: str) -> None:
    """After some five seconds who must change something gives up, naming the file and the holder; others do not wait.

    `free` says exit 3 where it is the leases' lock: unleased it would give away what someone is just taking.
    """
    path: Path = getattr(world.files, which)
    state = str(world.state)
    table_locked = table.locked(state, kernel.host_key())
    book_locked = assignments.locked(state, kernel.machine_key())
    with stopped_inside(table_locked if which == "table" else book_locked) as pid:
        before = contents(world.files.book, path)
        started = time.monotonic()
        found = run_all(world, directly)
        seconds = time.monotonic() - started
        expected = {**_NOTHING_NEW, "free": 3 if which == "table" else 0}
        noted = ("run, main",) if which == "table" else ()
        assert_said(world, found, expected, str(path), f"is locked by process {pid}", noted=noted)
        assert 4.9 < seconds < 30
        assert contents(world.files.book, path) == before
    done = directly(world.new, ("env",))
    assert (done.returncode, done.stderr) == (0, "")
