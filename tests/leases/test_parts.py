"""The store's parts by themselves: files, the table, taking, assignments, the holder. Quick, and in this process."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from portguard.errors import LockTimeoutError, StateError
from portguard.leases import assignments, directory, files, hold, table, take
from portguard.leases.assignments import Assignment
from portguard.leases.table import FOR_LIFE, MAX_TTL, Lease, Table
from portguard.leases.take import Taken
from portguard.model import Checkout

KEY = "boot-1"
NAME = f"leases-{KEY}.table"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Return the path of a store that is not there yet."""
    return str(tmp_path / "state")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Return a directory of the store, and its descriptor."""
    fd = directory.open_directory(str(tmp_path), create=False)
    yield str(tmp_path), fd
    os.close(fd)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let files grow to this size and no further: what a full disk does, at a place of our choice."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def descriptors() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


# ---------------------------------------------------------------- directory


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first variable that names a place decides, and a relative XDG_STATE_HOME counts as none."""
    home = {"HOME": str(tmp_path)}
    default = f"{tmp_path}/.local/state/portguard"
    monkeypatch.chdir(tmp_path)

    assert directory.path_of(home | {"PORTGUARD_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}) == "/a"
    assert directory.path_of(home | {"PORTGUARD_STATE_DIR": "a"}) == f"{tmp_path}/a"
    assert directory.path_of(home | {"PORTGUARD_STATE_DIR": "", "XDG_STATE_HOME": "/b"}) == "/b/portguard"
    assert directory.path_of(home | {"XDG_STATE_HOME": "b"}) == default
    assert directory.path_of(home | {"LOCALAPPDATA": "/c"}) == default
    assert directory.path_of(home) == default


def test_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without $HOME the user's entry in passwd says; where neither names a directory there is no store."""
    import pwd

    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(("u", "x", uid, 0, "", str(tmp_path), "")))
    assert directory.path_of({}) == f"{tmp_path}/.local/state/portguard"
    assert directory.path_of({"HOME": ""}) == f"{tmp_path}/.local/state/portguard"

    def nobody(uid: int) -> Any:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for environ in ({}, {"HOME": "."}, {"HOME": str(tmp_path / "none")}):
        with pytest.raises(StateError) as raised:
            directory.path_of(environ)
        assert raised.value.message == "no home directory to keep leases in"
        assert raised.value.hint == "set PORTGUARD_STATE_DIR to a directory of your own"


def test_where_the_store_is_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows LOCALAPPDATA counts, and the profile; a directory there has no descriptor."""
    made = tmp_path / "made"
    with monkeypatch.context() as patched:
        patched.setattr(os, "name", "nt")
        patched.setenv("HOME", str(tmp_path))
        found = [
            directory.path_of({"LOCALAPPDATA": str(tmp_path)}),
            directory.path_of({"LOCALAPPDATA": "relative"}),
            directory.path_of({}),
        ]
        descriptor = directory.open_directory(str(made), create=True)

    assert found == [f"{tmp_path}/portguard", *2 * [f"{tmp_path}/.local/state/portguard"]]
    assert descriptor == -1
    assert made.is_dir()


def test_a_directory_is_made_for_this_user_alone(tmp_path: Path) -> None:
    """The directory is made with those above it; no one else may look into it, whatever the umask."""
    before = os.umask(0)
    try:
        fd = directory.open_directory(str(tmp_path / "a" / "b"), create=True)
    finally:
        os.umask(before)
    assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / "a" / "b"))
    assert os.fstat(fd).st_mode & 0o777 == 0o700
    assert not os.get_inheritable(fd)
    os.close(fd)
    again = directory.open_directory(str(tmp_path / "a" / "b"), create=True)
    os.close(again)


def test_only_a_directory_of_our_own_is_used(tmp_path: Path) -> None:
    """Links, files, what is not there, what others own or may write to: each is refused by name, and left alone."""
    target = tmp_path / "real"
    target.mkdir()
    link = tmp_path / "link"
    link.symlink_to(target)
    plain = tmp_path / "plain"
    plain.touch()
    open_to = tmp_path / "open"
    open_to.mkdir()
    foreign = tmp_path / "foreign"
    foreign.mkdir(0o700)
    hint = "set PORTGUARD_STATE_DIR to a directory of your own"
    expected = [
        (link, f"the lease directory {link} cannot be used: it is a symbolic link", hint),
        (plain, f"the lease directory {plain} cannot be used: Not a directory", hint),
        (tmp_path / "none", f"the lease directory {tmp_path / 'none'} cannot be used: No such file or directory", hint),
    ]
    if os.geteuid() == 0:
        os.chown(foreign, 12345, -1)
        expected.append((foreign, f"the lease directory {foreign} belongs to another user (uid 12345)", hint))
    before = descriptors()
    for path, message, step in expected:
        with pytest.raises(StateError) as raised:
            directory.open_directory(str(path), create=False)
        assert (raised.value.message, raised.value.hint) == (message, step)
    for mode in (0o720, 0o702):
        open_to.chmod(mode)
        with pytest.raises(StateError) as raised:
            directory.open_directory(str(open_to), create=False)
        assert raised.value.message == f"other users may write to the lease directory {open_to}"
        assert raised.value.hint == f"chmod 700 it, or {hint}"
    open_to.chmod(0o755)
    os.close(directory.open_directory(str(open_to), create=False))
    assert descriptors() == before


# ---------------------------------------------------------------- files


def test_a_private_file(opened: tuple[str, int]) -> None:
    """Files are made for this user alone, are not inherited, and open at once whatever they are."""
    path, fd = opened
    before = os.umask(0)
    try:
        made = files.open_private(path, fd, "new", os.O_RDWR | os.O_CREAT)
    finally:
        os.umask(before)
    assert os.fstat(made).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(made)
    assert os.path.samestat(os.fstat(made), os.stat(f"{path}/new"))
    os.close(made)
    os.close(files.open_private(path, fd, "new", os.O_RDONLY))
    without = files.open_private(path, -1, "other", os.O_RDWR | os.O_CREAT)
    assert os.path.samestat(os.fstat(without), os.stat(f"{path}/other"))
    assert os.fstat(without).st_mode & 0o077 == 0
    os.close(without)


def test_what_is_no_private_file(opened: tuple[str, int]) -> None:
    """Links, FIFOs, hard links, others' files and readable ones are not opened, and no descriptor is left behind."""
    path, fd = opened
    os.symlink("/etc/passwd", f"{path}/link")
    os.mkfifo(f"{path}/fifo", 0o600)
    for name, mode in (("one", 0o600), ("group", 0o640), ("world", 0o604), ("other", 0o601), ("foreign", 0o600)):
        os.close(os.open(f"{path}/{name}", os.O_CREAT | os.O_WRONLY))
        os.chmod(f"{path}/{name}", mode)
    os.link(f"{path}/one", f"{path}/two")
    names = ["fifo", "one", "two", "group", "world", "other"]
    if os.geteuid() == 0:
        os.chown(f"{path}/foreign", 12345, -1)
        names.append("foreign")
    before = descriptors()
    for name in names:
        with pytest.raises(StateError) as raised:
            files.open_private(path, fd, name, os.O_RDONLY)
        assert raised.value.message == f"{path}/{name} is not a private file of this user"
        assert raised.value.hint == "move it away"
    with pytest.raises(OSError, match="link is a symbolic link") as link:
        files.open_private(path, fd, "link", os.O_RDONLY)
    assert link.value.errno == errno.ELOOP
    with pytest.raises(FileNotFoundError):
        files.open_private(path, fd, "none", os.O_RDONLY)
    assert descriptors() == before


def test_a_lock_excludes_and_ends(opened: tuple[str, int]) -> None:
    """Who waits for a lock in vain is told at the deadline who has it, and what to do; nothing stays open."""
    path, fd = opened
    mine = files.open_locked(path, fd, "x", 0.0)
    before = descriptors()
    started = time.monotonic()
    with pytest.raises(LockTimeoutError) as raised:
        files.open_locked(path, fd, "x", 0.05)
    assert time.monotonic() - started >= 0.05
    assert raised.value.message == f"the lease table {path}/x is locked by process {os.getpid()}"
    assert raised.value.hint == f"see what it does, and stop it if it hangs: ps -fp {os.getpid()}"
    assert descriptors() == before
    files.close_locked(mine)
    files.close_locked(files.open_locked(path, fd, "x", 0.0))


def test_closing_unlocks_for_those_who_inherited(opened: tuple[str, int]) -> None:
    """A copy of the descriptor, such as a forked child has, does not keep the lock."""
    path, fd = opened
    mine = files.open_locked(path, fd, "x", 0.0)
    copy = os.dup(mine)
    files.close_locked(mine)
    files.close_locked(files.open_locked(path, fd, "x", 0.0))
    os.close(copy)


def test_a_lock_without_a_known_holder(opened: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not tell whose a lock is, it is another process's."""
    path, fd = opened
    mine = files.open_locked(path, fd, "x", 0.0)
    monkeypatch.setattr(files, "lock_holder", lambda _: None)
    with pytest.raises(LockTimeoutError) as raised:
        files.open_locked(path, fd, "x", 0.0)
    assert raised.value.message == f"the lease table {path}/x is locked by another process"
    assert raised.value.hint == "see what it does, and stop it if it hangs"
    files.close_locked(mine)


def test_what_cannot_be_locked_is_said_at_once(opened: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is no lock of someone else's: the error comes out, and nothing stays open."""
    path, fd = opened
    for number in (errno.ENOLCK, errno.EIO, errno.EACCES):
        monkeypatch.setattr(files, "_try_lock", _raising(number))
        before = descriptors()
        with pytest.raises(OSError, match=os.strerror(number)):
            files.open_locked(path, fd, "x", 3.0)
        assert descriptors() == before
    monkeypatch.setattr(files, "_try_lock", _raising(errno.EWOULDBLOCK))
    with pytest.raises(LockTimeoutError):
        files.open_locked(path, fd, "x", 0.0)


def test_what_grows_while_it_is_read_is_read(opened: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that moves on is no fault of the disk; one that is not there is."""
    path, _ = opened
    real, written = files.read_at, [b"more", b"end"]
    with open(f"{path}/x", "w+b", buffering=0) as file:

        def growing(fd: int, size: int, offset: int) -> bytes:
            data = real(fd, size, offset)
            if not data and written:
                file.write(written.pop(0))
            return data

        monkeypatch.setattr(files, "read_at", growing)
        assert files.read_whole(file.fileno(), 100, 0) == b"moreend"
        monkeypatch.setattr(files, "read_at", lambda *_: b"")
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            files.read_whole(file.fileno(), 100, 0)
        assert files.read_whole(file.fileno(), 100, 7) == b""


def test_what_cannot_be_told_is_not_nothing(tmp_path: Path) -> None:
    """A place of the store is there, or is not there; where neither can be told, that is said."""
    assert directory.is_there(str(tmp_path)) is True
    assert directory.is_there(str(tmp_path / "x")) is False
    (tmp_path / "file").touch()
    assert directory.is_there(str(tmp_path / "file" / "x")) is False
    long = str(tmp_path / ("x" * 300))
    with pytest.raises(StateError, match=f"the lease store {long} cannot be used: File name too long"):
        directory.is_there(long)


def test_nothing_was_written_through_it_so_nothing_is_lost() -> None:
    """Nothing was written through it, so nothing is lost: not even when the kernel has something to say."""
    fd = os.open(os.devnull, os.O_RDONLY)
    directory.close(-1)
    directory.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    directory.close(fd)


def test_a_directory_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays open of a directory of which no one can tell whose it is."""

    def fail(_fd: int) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = descriptors()
    monkeypatch.setattr(os, "fstat", fail)
    with pytest.raises(StateError, match=f"the lease directory {tmp_path} cannot be used: Input/output error"):
        directory.open_directory(str(tmp_path), create=False)
    monkeypatch.undo()
    assert descriptors() == before


def test_two_that_make_the_directory(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second uses what the first has made."""
    real = os.mkdir

    def made_meanwhile(path: str, mode: int = 0o777) -> None:
        real(path, mode)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "mkdir", made_meanwhile)
    os.close(directory.open_directory(store, create=True))
    assert os.stat(store).st_mode & 0o777 == 0o700


def test_half_a_copy_is_none(opened: tuple[str, int]) -> None:
    """What cannot be kept whole is an error, and nothing is left of it; what was kept before still is."""
    path, fd = opened
    files.set_aside(path, fd, "x", b"first")
    for descriptor in (fd, -1):
        before = descriptors()
        with no_file_beyond(3), pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            files.set_aside(path, descriptor, "x", b"second")
        assert sorted(os.listdir(path)) == ["x.corrupt-1"]
        assert descriptors() == before


def test_what_cannot_be_read_is_said(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is no empty table: it is named, for each way of reading; who needs no lease goes without."""
    with table.locked(store, KEY) as leases:
        leases.write(5, Lease(FOR_LIFE, 1, 3, 1))

        def fail(_fd: int, _size: int, _offset: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(files, "read_at", fail)
        for read in (leases.leases, lambda: leases.lease(5), lambda: list(leases.unleased([5]))):
            with pytest.raises(StateError, match=f"lease table {store}/{NAME} cannot be used: Input/output error"):
                read()
        monkeypatch.undo()
    real = files.read_at
    asked: list[int] = []

    def fail_later(fd: int, size: int, offset: int) -> bytes:
        asked.append(offset)
        return real(fd, size, offset) if len(asked) == 1 else fail(fd, size, offset)

    monkeypatch.setattr(files, "read_at", fail_later)
    assert take.choose_unleased(store, KEY, 1, [5, 6], lambda _: None).ports == (5,)
    monkeypatch.setattr(files, "_try_lock", _raising(errno.EIO))
    with (
        pytest.raises(
            StateError, match=f"the assignments {store}/{directory.assignments_name('host')} cannot be used: Input"
        ),
        assignments.locked(store, "host"),
    ):
        pass


def _raising(number: int) -> Callable[[int], None]:
    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("has_descriptor", [True, False])
def test_a_file_that_was_moved_away_is_opened_anew(
    opened: tuple[str, int], monkeypatch: pytest.MonkeyPatch, has_descriptor: bool
) -> None:
    """Who got the lock of a file that is no longer there, or another by now, takes the one that is there."""
    path, fd = opened
    directory_fd = fd if has_descriptor else -1
    real = files._try_lock
    rounds: list[int] = []

    def replaced_meanwhile(file: int) -> None:
        real(file)
        rounds.append(file)
        if len(rounds) == 1:
            os.unlink(f"{path}/x")
        if len(rounds) == 2:
            os.rename(f"{path}/x", f"{path}/y")
            os.close(os.open(f"{path}/x", os.O_CREAT, 0o600))

    monkeypatch.setattr(files, "_try_lock", replaced_meanwhile)
    before = descriptors()
    mine = files.open_locked(path, directory_fd, "x", 0.0)
    assert len(rounds) == 3
    assert os.path.samestat(os.fstat(mine), os.stat(f"{path}/x"))
    files.close_locked(mine)
    assert descriptors() == before


def test_a_lock_that_goes_from_hand_to_hand(opened: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others have the lock in turn no one hangs: it is waited for longer than was said, and not for ever."""
    path, fd = opened
    mine = files.open_locked(path, fd, "x", 0.0)
    numbers = itertools.count(1000)
    monkeypatch.setattr(files, "lock_holder", lambda _: next(numbers))
    monkeypatch.setattr(files, "_LONGEST_WAIT", 0.4)
    started = time.monotonic()
    with pytest.raises(LockTimeoutError):
        files.open_locked(path, fd, "x", 0.1)
    assert time.monotonic() - started >= 0.4
    files.close_locked(mine)


def test_a_link_in_the_place_of_the_lock(opened: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that was put in its place while we waited is no lock, though it leads to the very file."""
    path, fd = opened
    real = files._try_lock

    def replaced_meanwhile(file: int) -> None:
        real(file)
        os.rename(f"{path}/x", f"{path}/y")
        os.symlink("y", f"{path}/x")

    monkeypatch.setattr(files, "_try_lock", replaced_meanwhile)
    before = descriptors()
    with pytest.raises(OSError, match="is a symbolic link"):
        files.open_locked(path, fd, "x", 0.0)
    assert descriptors() == before


def test_what_cannot_be_used_is_kept(opened: tuple[str, int]) -> None:
    """Copies have the first number that is not in use; none is written over."""
    path, fd = opened
    Path(path, "x.corrupt-2").write_bytes(b"old")
    before = descriptors()
    files.set_aside(path, fd, "x", b"one")
    assert descriptors() == before
    files.set_aside(path, -1, "x", b"three")
    found = {name: Path(path, name).read_bytes() for name in sorted(os.listdir(path))}
    assert found == {"x.corrupt-1": b"one", "x.corrupt-2": b"old", "x.corrupt-3": b"three"}
    assert os.stat(f"{path}/x.corrupt-1").st_mode & 0o777 == 0o600


def test_who_holds_a_lock(opened: tuple[str, int], tmp_path: Path) -> None:
    """The kernel's table is searched for the very file's flock; torn lines and other locks are passed over."""
    path, fd = opened
    mine = files.open_locked(path, fd, "x", 0.0)
    inode = os.fstat(mine).st_ino
    assert files.lock_holder(mine) == os.getpid()
    listing = tmp_path / "locks"
    lines = {
        f"1: FLOCK  ADVISORY  WRITE 77 08:01:{inode} 0 EOF": 77,
        f"1: POSIX  ADVISORY  WRITE 77 08:01:{inode} 0 EOF": None,
        f"1: FLOCK  ADVISORY  WRITE 77 08:01:{inode}1 0 EOF": None,
        f"1: FLOCK  ADVISORY  WRITE 77 {inode}": 77,
        "1: FLOCK  ADVISORY  WRITE 77": None,
        f"1: FLOCK  ADVISORY  WRITE x 08:01:{inode} 0 EOF": None,
        f"1: -> FLOCK ADVISORY WRITE 78 08:01:{inode} 0 EOF\n2: FLOCK ADVISORY WRITE 79 08:01:{inode} 0 EOF": 79,
        "": None,
    }
    for text, expected in lines.items():
        listing.write_text(f"{text}\n", encoding="ascii")
        assert files.lock_holder(mine, str(listing)) == expected, text
    assert files.lock_holder(mine, str(tmp_path / "none")) is None
    files.close_locked(mine)


# ---------------------------------------------------------------- the table


@contextmanager
def table_at(store: str, *, clock: int = 1000, alive: bool = True, **more: Any) -> Iterator[Table]:
    """Open a table whose clock stands still."""
    with table.locked(store, KEY, clock=lambda: clock, is_alive=lambda _pid, _started: alive, **more) as found:
        yield found


def anybody(_pid: int, _started: int) -> bool:
    """Have every process live."""
    return True


def nobody(_pid: int, _started: int) -> bool:
    """Have every process ended."""
    return False


def lease(expires: int = 2000, **more: Any) -> Lease:
    """Return a lease until then."""
    return Lease(expires, 7, 1, 5, 900)._replace(**more)


def test_a_lease_comes_back_as_it_was(store: str) -> None:
    """Everything about a lease is kept, on the first port and on the last, and on no other."""
    mine = lease(protocols=3, kind="run", name="web", hosts="127.0.0.1,::1", directory="/home/a/\udcff")
    with table_at(store) as found:
        found.write(1, mine)
        found.write(65535, lease(FOR_LIFE, kind="hold"))
        assert found.lease(1) == mine
        assert found.lease(65535) == lease(FOR_LIFE, kind="hold")
        assert found.lease(2) is None
        assert found.leases() == {1: mine, 65535: lease(FOR_LIFE, kind="hold")}
        found.clear(1)
        assert found.lease(1) is None
    assert os.stat(f"{store}/{NAME}").st_size == 4096 + 65536 * (8 + 512)


@pytest.mark.parametrize(
    ("expires", "is_leased"),
    [
        (999, False),
        (1000, False),
        (1001, True),
        (1000 + MAX_TTL * 1000, True),
        (1001 + MAX_TTL * 1000, False),
        (0, False),
        (FOR_LIFE, True),
        (FOR_LIFE - 1, False),
        (FOR_LIFE + 1, False),
    ],
)
def test_when_a_lease_ends(store: str, expires: int, is_leased: bool) -> None:
    """A lease lasts until its end and not beyond; an end further off than any lease lasts is damage."""
    with table_at(store) as found:
        found.write(9, lease(expires))
        assert (found.lease(9) is not None) is is_leased
        assert list(found.unleased([9])) == ([] if is_leased else [9])
        assert list(found.leases()) == ([9] if is_leased else [])


def test_a_lease_for_life_ends_with_its_process(store: str) -> None:
    """Whether the process lives is asked with its number and its start, and for no other kind of lease."""
    asked: list[tuple[int, int]] = []

    def is_alive(pid: int, started: int) -> bool:
        asked.append((pid, started))
        return pid == 8

    with table.locked(store, KEY, clock=lambda: 1000, is_alive=is_alive) as found:
        found.write(1, lease(FOR_LIFE, pid=7, started=70))
        found.write(2, lease(FOR_LIFE, pid=8, started=80))
        found.write(3, lease())
        assert [found.lease(port) is not None for port in (1, 2, 3)] == [False, True, True]
        assert asked == [(7, 70), (8, 80)]
        assert list(found.unleased([1, 2, 3])) == [1]
    with table.locked(store, KEY, clock=lambda: 1000) as found:
        assert found.lease(1) is not None


def test_unleased_keeps_the_order(store: str) -> None:
    """What has no lease comes in the order asked, where the table was written, where it was not, and beyond its end."""
    with table_at(store) as found:
        assert list(found.unleased([])) == []
        assert list(found.unleased([9, 3, 65535, 0])) == [9, 3, 65535, 0]
        found.write(3, lease())
        found.write(10, lease(500))
        assert list(found.unleased([9, 3, 10, 2])) == [9, 10, 2]
        assert list(found.unleased([3])) == []


def test_texts_that_are_too_long(store: str) -> None:
    """Names are cut, hosts that would say less are left out, and a directory has the rest of the record."""
    with table_at(store) as found:
        found.write(1, lease(name="n" * 50, hosts="h" * 48, directory="d" * 600))
        kept = found.lease(1)
        found.write(2, lease(name="n" * 48, hosts="h" * 47))
        other = found.lease(2)
        assert found.lease(3) is None
    assert kept == lease(name="n" * 48, hosts="", directory="d" * (511 - 24 - 48 - 1 - 1))
    assert other == lease(name="n" * 48, hosts="h" * 47)


def test_kinds_that_are_not_known(store: str) -> None:
    """A record of a kind from elsewhere counts as the plainest one."""
    with table_at(store) as found:
        found.write(1, lease(kind="run"))
        where = 4096 + 65536 * 8 + 512
        for number, kind in ((0, "free"), (1, "hold"), (2, "run"), (3, "free"), (65535, "free")):
            files.write_at(found._fd, struct.pack("<H", number), where + 22)
            assert found.lease(1) == lease(kind=kind)


def test_only_exactly_the_lease_that_was_taken_is_released(store: str) -> None:
    """Only exactly the lease that was taken is released; texts, which may be cut, do not count."""
    with table_at(store) as found:
        found.write(1, lease(name="x"))
        for other in (
            lease(2001),
            lease(pid=8),
            lease(protocols=2),
            lease(started=6),
            lease(since=901),
            lease(kind="run"),
        ):
            assert not found.carries(1, other)
            found.release(1, other)
        assert found.carries(1, lease(name="y"))
        assert not found.carries(2, lease())
        assert found.lease(1) is not None
        found.release(1, lease(name="y"))
        assert found.lease(1) is None


def test_what_does_not_fit_is_not_leased(store: str) -> None:
    """On a full disk the record comes first and the end last: a lease that is not whole is none, and is an error."""
    with table_at(store) as found:
        record = 4096 + 65536 * 8 + 512
        for size in (record, record + 100):
            with no_file_beyond(size), pytest.raises(OSError, match=r"No space left|File too large"):
                found.write(1, lease())
            assert found.lease(1) is None
        assert found.leases() == {}


def test_the_clock_runs_through_sleep() -> None:
    """Leases are timed in milliseconds since boot, sleep included."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    assert before <= table.now() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def test_elsewhere_the_wall_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such clock, all processes share the wall clock."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    monkeypatch.setattr(time, "time_ns", lambda: 1_234_567_890)
    assert table.now() == 1234


@pytest.mark.parametrize("has_descriptor", [True, False])
def test_tables_of_dead_boots(store: str, monkeypatch: pytest.MonkeyPatch, has_descriptor: bool) -> None:
    """A new table clears away those of other boots that a day has not touched, and nothing else."""
    os.mkdir(store, 0o700)
    old = time.time() - MAX_TTL - 60
    names = [
        "leases-dead-1.table",
        "leases-boot-2.table",
        "leases-dead.tab",
        "other-dead.table",
        "leases-young-1.table",
    ]
    for name in names:
        Path(store, name).touch(0o600)
        os.utime(Path(store, name), (old, old))
    os.utime(Path(store, names[-1]), (old + 120, old + 120))
    if not has_descriptor:
        monkeypatch.setattr(table, "open_directory", lambda *_, **__: -1)
    with table_at(store):
        pass
    gone = {names[0]} if has_descriptor else set()
    assert set(os.listdir(store)) == {*names, NAME} - gone


def test_a_table_that_is_none_is_set_aside(store: str) -> None:
    """Damage and older versions are copied aside, at most a mebibyte, and the same file is used afresh."""
    header = struct.Struct("<8sII")
    contents = [b"x", b"x" * (2 << 20), header.pack(b"PORTGRD\0", 1, 0), header.pack(b"PORTGRD\0", 0, 0) + b"x"]
    for number, content in enumerate(contents, 1):
        with table_at(store):
            inode = os.stat(f"{store}/{NAME}").st_ino
        Path(store, NAME).write_bytes(content)
        with table_at(store) as found:
            assert found.leases() == {}
            found.write(1, lease())
            assert found.lease(1) == lease()
        assert os.stat(f"{store}/{NAME}").st_ino == inode
        assert Path(store, f"{NAME}.corrupt-{number}").read_bytes() == content[: 1 << 20]
        assert Path(store, NAME).read_bytes()[:16] == header.pack(b"PORTGRD\0", 2, 0)
    os.truncate(f"{store}/{NAME}", 4096 + 65536 * 520 + 1)
    with table_at(store) as found:
        assert found.leases() == {}
    assert os.path.exists(f"{store}/{NAME}.corrupt-5")


def test_a_whole_table_is_used_as_it_is(store: str) -> None:
    """A table of exactly its greatest size, and one of nothing but zeros, are none the worse for it."""
    with table_at(store) as found:
        found.write(65535, lease())
    with table_at(store) as found:
        assert list(found.leases()) == [65535]
    Path(store, NAME).write_bytes(b"\0" * 5000)
    with table_at(store) as found:
        assert found.leases() == {}
    assert os.listdir(store) == [NAME]


def test_a_newer_table_is_left_alone(store: str) -> None:
    """A version from the future is neither read nor written, and says who is to be updated."""
    with table_at(store):
        pass
    content = struct.pack("<8sII", b"PORTGRD\0", 3, 0) + b"future"
    Path(store, NAME).write_bytes(content)
    before = descriptors()
    for section in (table_at(store), table.readable(store, KEY, is_required=True)):
        with pytest.raises(StateError) as raised, section:
            pass
        assert raised.value.message == f"the lease table {store}/{NAME} was written by a newer portguard"
        assert raised.value.hint == "update portguard"
    with table.readable(store, KEY) as found:
        assert found is None
    assert Path(store, NAME).read_bytes() == content
    assert descriptors() == before


def test_reading_makes_nothing(store: str) -> None:
    """Where there is no store, no table, or one of another format, there is nothing to read, and nothing is made."""
    with table.readable(store, KEY, is_required=True) as found:
        assert found is None
    assert not os.path.exists(store)
    os.mkdir(store, 0o700)
    before = descriptors()
    with table.readable(store, KEY, is_required=True) as found:
        assert found is None
    assert os.listdir(store) == []
    for content in (b"", b"garbage", struct.pack("<8sII", b"PORTGRD\0", 1, 0)):
        Path(store, NAME).write_bytes(content)
        os.chmod(Path(store, NAME), 0o600)
        with table.readable(store, KEY, is_required=True) as found:
            assert found is None
    assert descriptors() == before


def test_reading_what_cannot_be_used(store: str) -> None:
    """A store that cannot be used is an error where it was the question, and no table elsewhere."""
    with table_at(store) as found:
        found.write(1, lease())
    with table.readable(store, KEY, clock=lambda: 1000) as readable:
        assert readable is not None
        assert readable.leases() == {1: lease()}
    os.rename(f"{store}/{NAME}", f"{store}/x")
    os.symlink("x", f"{store}/{NAME}")
    before = descriptors()
    with pytest.raises(StateError) as raised, table.readable(store, KEY, is_required=True):
        pass
    assert raised.value.message == f"the lease table {store}/{NAME} cannot be used: {NAME} is a symbolic link"
    with table.readable(store, KEY) as readable:
        assert readable is None
    os.chmod(store, 0o777)
    with pytest.raises(StateError, match="other users may write"), table.readable(store, KEY, is_required=True):
        pass
    assert descriptors() == before


def test_reading_asks_who_lives(store: str) -> None:
    """A reader, too, passes over leases of processes that have ended."""
    with table_at(store) as found:
        found.write(1, lease(FOR_LIFE))
    for alive in (True, False):
        with table.readable(store, KEY, is_alive=anybody if alive else nobody) as readable:
            assert readable is not None
            assert bool(readable.leases()) is alive


def test_what_goes_wrong_inside_is_the_store_s(store: str) -> None:
    """An error of the system while the table is locked says which table, gives up the lock and leaves nothing open."""
    before = descriptors()
    with pytest.raises(StateError) as raised, table_at(store):
        raise OSError(errno.EIO, "Input/output error")
    assert raised.value.message == f"the lease table {store}/{NAME} cannot be used: Input/output error"
    assert raised.value.hint == "set PORTGUARD_STATE_DIR to a directory of your own"
    with pytest.raises(ZeroDivisionError), table_at(store):
        raise ZeroDivisionError
    with table_at(store, deadline=0.0), pytest.raises(LockTimeoutError), table_at(store, deadline=0.0):
        pass
    assert descriptors() == before


# ---------------------------------------------------------------- taking


def no_reason(port: int) -> None:
    """Have nothing against any port."""


def test_taking(store: str) -> None:
    """The first candidates that no one has and nothing is against are leased; all others are counted by reason."""
    told: list[Taken] = []

    def odd(port: int) -> str | None:
        return "odd" if port % 2 else None

    first = take.take(store, KEY, 2, range(10, 99), odd, ttl=60, protocols=3, keep=told.append)
    assert first.ports == (10, 12)
    assert first.refused == {"odd": 1}
    assert told == [first]
    second = take.take(store, KEY, 2, range(10, 99), odd, ttl=None, protocols=1)
    assert second.ports == (14, 16)
    assert second.refused == {"odd": 3}
    with table.locked(store, KEY) as found:
        assert list(found.leases()) == [10, 12, 14, 16]
        mine, life = found.lease(10), found.lease(14)
        assert mine == first.lease
        assert mine is not None
        assert mine.pid == os.getpid()
        assert mine.protocols == 3
        assert mine.expires == mine.since + 60_000
        assert life is not None
        assert life.expires == FOR_LIFE


def test_taking_for_another(store: str) -> None:
    """A lease may be another process's, with what it is for."""
    taker = Lease(0, 77, 0, 5, 0, "run", "web", "", "/a")
    taken = take.take(store, KEY, 1, [5], no_reason, ttl=None, protocols=2, taker=taker)
    assert taken.lease is not None
    assert taken.lease == taker._replace(expires=FOR_LIFE, protocols=2, since=taken.lease.since)
    assert 0 < taken.lease.since <= table.now()


def test_too_few_are_none(store: str) -> None:
    """Where fewer can be had than asked for nothing is leased, and no one is told."""
    taken = take.take(store, KEY, 3, [5, 6], no_reason, ttl=60, protocols=1, keep=lambda _: pytest.fail("told"))
    assert taken.ports == (5, 6)
    with table.locked(store, KEY) as found:
        assert found.leases() == {}


def test_choosing_past_leases(store: str) -> None:
    """Ports that are leased are passed over and counted, over many blocks; without a table or a store all are there."""
    with table_at(store) as found:
        for port in range(1000, 1100):
            found.write(port, lease())
        assert take.choose(found, 1, range(1000, 3000), no_reason) == Taken((1100,), None, {"leased": 64})
        everything = take.choose(found, 99, range(1000, 1101), no_reason)
        assert everything == Taken((1100,), None, {"leased": 100})
        assert take.choose(found, 2, [1000, 2000, 2001], no_reason) == Taken((2000, 2001), None, {})
        assert take.choose(found, 0, [2000], no_reason) == Taken((), None, {})
    assert take.choose(None, 2, [1000, 1001, 1002], no_reason) == Taken((1000, 1001), None, {})
    assert take.choose(None, 2, [1000], lambda _: "no") == Taken((), None, {"no": 1})
    assert take.choose(None, 9, range(70), lambda _: "no").refused == {"no": 70}
    assert take.choose_unleased(None, KEY, 1, [5], no_reason).ports == (5,)
    assert take.choose_unleased(store + "x", KEY, 1, [5], no_reason).ports == (5,)


def test_choosing_asks_the_store(store: str) -> None:
    """Without leasing, too, what others have is passed over, unless its process has ended."""
    take.take(store, KEY, 1, [5], no_reason, ttl=None, protocols=1)
    for alive, ports in ((True, (6,)), (False, (5,))):
        chosen = take.choose_unleased(store, KEY, 1, [5, 6], no_reason, is_alive=anybody if alive else nobody)
        assert chosen.ports == ports
    retaken = take.take(store, KEY, 1, [5, 6], no_reason, ttl=60, protocols=1, is_alive=lambda _pid, _started: False)
    assert retaken.ports == (5,)


def test_all_or_none_are_written(store: str) -> None:
    """When one of several ports cannot be stored, those before it are released, and the error comes out."""
    with table_at(store) as found:
        limit = 4096 + 65536 * 8 + 512 * 6
        with no_file_beyond(limit), pytest.raises(OSError, match=r"No space left|File too large"):
            take.write_all(found, [4, 5, 6, 7], lease())
        assert found.leases() == {}


def test_an_interrupt_while_writing_leaves_nothing(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone who is interrupted between two ports, or right after one, has neither."""
    real = Table.write

    def interrupted(self: Table, port: int, mine: Lease) -> None:
        real(self, port, mine)
        if port == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Table, "write", interrupted)
    with table_at(store) as found:
        with pytest.raises(KeyboardInterrupt):
            take.write_all(found, [1, 2, 3], lease())
        assert found.leases() == {}


def test_giving_back_what_was_taken(store: str) -> None:
    """Given back is what is still as it was taken; without a lease, or without a store, that is nothing."""
    taken = take.take(store, KEY, 2, [5, 6], no_reason, ttl=60, protocols=1)
    with table.locked(store, KEY) as found:
        other = lease(table.now() + 60_000)
        found.write(6, other)
    take.release(store, KEY, taken._replace(lease=None))
    take.release("/proc/nowhere", KEY, taken)
    with table.locked(store, KEY) as found:
        assert list(found.leases()) == [5, 6]
    take.release(store, KEY, taken)
    with table.locked(store, KEY) as found:
        assert found.leases() == {6: other}


def test_passing_on(store: str) -> None:
    """A lease is put in the place of what was taken, and of nothing else."""
    taken = take.take(store, KEY, 2, [5, 6], no_reason, ttl=60, protocols=1)
    new = lease(FOR_LIFE, kind="hold")
    with table.locked(store, KEY) as found:
        found.clear(6)
    take.pass_on(store, KEY, taken._replace(lease=None), new)
    take.pass_on(store, KEY, taken, new)
    with table.locked(store, KEY) as found:
        assert found.leases() == {5: new}


# ---------------------------------------------------------------- assignments

HOST = "h"
BOOK = "assignments-h.tsv"
ONE = Assignment(1, 1700000000, "isolated", "web", "/a", "/a", "/a/.git")


def save(store: str, *items: Assignment) -> None:
    """Keep exactly these."""
    with assignments.locked(store, HOST) as book:
        book.save(items)


def test_a_book_is_kept(store: str) -> None:
    """What is saved is what is read, sorted, in a private file of a known form, and nothing else stays behind."""
    before = descriptors()
    assert assignments.read(store, HOST) == ()
    other = ONE._replace(port=65535, kind="moved", name="d\t\\\n\r\\t", directory="/\udcff", common="")
    save(store, other, ONE)
    assert assignments.read(store, HOST) == (ONE, other)
    with assignments.locked(store, HOST) as book:
        before_and_after = [book.all]
        book.save([ONE])
        before_and_after.append(book.all)
    assert before_and_after == [(ONE, other), (ONE,)]
    assert Path(store, BOOK).read_bytes() == b"portguard-assignments 1\n1\t1700000000\tisolated\tweb\t/a\t/a\t/a/.git\n"
    assert os.stat(f"{store}/{BOOK}").st_mode & 0o777 == 0o600
    assert sorted(os.listdir(store)) == ["assignments-h.lock", BOOK]
    assert descriptors() == before
    made = assignments.new(7, "moved", "db", Checkout("/r", "/c", "/d", linked=True))
    assert made._replace(since=0) == Assignment(7, 0, "moved", "db", "/d", "/r", "/c")
    assert 0 <= time.time() - made.since < 60


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "1\t2\tisolated\tweb\t/a\t/a",
        "1\t2\tisolated\tweb\t/a\t/a\t\tx",
        "0\t2\tisolated\tweb\t/a\t/a\t",
        "65536\t2\tisolated\tweb\t/a\t/a\t",
        "-1\t2\tisolated\tweb\t/a\t/a\t",
        "x\t2\tisolated\tweb\t/a\t/a\t",
        "٣\t2\tisolated\tweb\t/a\t/a\t",
        "1\tx\tisolated\tweb\t/a\t/a\t",
        "1\t2222222222222\tisolated\tweb\t/a\t/a\t",
        "0000000000001\t2\tisolated\tweb\t/a\t/a\t",
        "1\t2\tother\tweb\t/a\t/a\t",
        "1\t2\tisolated\t\t/a\t/a\t",
        "1\t2\tisolated\tweb\t\t/a\t",
        "1\t2\tisolated\tweb\t/a\t\t",
        "1\t2\tisolated\twe\0b\t/a\t/a\t",
        "9\t2\tisolated\tother\t/a\t/a\t",
        "8\t2\tmoved\tmine\t/a\t/a\t",
    ],
)
def test_a_line_that_is_none(store: str, line: str) -> None:
    """A line that cannot be understood, or says something a second time, costs itself alone, and is kept aside."""
    good = "9\t2\tisolated\tmine\t/a\t/a\t"
    content = f"portguard-assignments 1\n{good}\n{line}\n".encode()
    save(store)
    Path(store, BOOK).write_bytes(content)
    mine = Assignment(9, 2, "isolated", "mine", "/a", "/a", "")
    assert assignments.read(store, HOST) == (mine,)
    with assignments.locked(store, HOST) as book:
        assert book.all == (mine,)
        book.save(book.all)
        book.save(book.all)
    assert Path(store, f"{BOOK}.corrupt-1").read_bytes() == content
    assert not os.path.exists(f"{store}/{BOOK}.corrupt-2")


@pytest.mark.parametrize(
    "line",
    [
        "1\t999999999999\tisolated\tweb\t/a\t/a\t",
        "65535\t0\tmoved\tweb\t/a\t/a\t",
        "000000000001\t2\tmoved\tweb\t/a\t/a\t",
        "8\t2\tisolated\tmine\t/b\t/a\t",
        "8\t2\tisolated\tmine\t/a\t/b\t",
        "8\t2\tisolated\tmine\t/a\t/a\t/c",
        "",
    ],
)
def test_a_line_that_is_one(store: str, line: str) -> None:
    """Numbers at their ends, another checkout's entry of the same name, and an empty line are no damage."""
    save(store)
    Path(store, BOOK).write_text(f"portguard-assignments 1\n9\t2\tisolated\tmine\t/a\t/a\t\n{line}\n", encoding="utf-8")
    assert len(assignments.read(store, HOST)) == 1 + bool(line)
    with assignments.locked(store, HOST) as book:
        book.save(book.all)
    assert sorted(os.listdir(store)) == ["assignments-h.lock", BOOK]


@pytest.mark.parametrize(
    ("header", "is_newer"),
    [
        ("portguard-assignments 2", True),
        ("portguard-assignments 1000000000", True),
        ("portguard-assignments " + "9" * 5000, True),
        ("portguard-assignments 0", False),
        ("portguard-assignments 01", False),
        ("portguard-assignments ²", False),
        ("portguard-assignments x", False),
        ("portguard-assignments", False),
        ("other 2", False),
        ("", False),
    ],
)
def test_a_newer_version_is_left_alone(store: str, header: str, is_newer: bool) -> None:
    """A newer version is left alone; any other header is damage that costs no number."""
    content = f"{header}\n1\t2\tisolated\tweb\t/a\t/a\t\n".encode()
    save(store)
    Path(store, BOOK).write_bytes(content)
    if is_newer:
        before = descriptors()
        for attempt in (lambda: assignments.read(store, HOST), lambda: save(store)):
            with pytest.raises(StateError) as raised:
                attempt()
            assert raised.value.message == f"the assignments {store}/{BOOK} were written by a newer portguard"
            assert raised.value.hint == "update portguard"
        assert Path(store, BOOK).read_bytes() == content
        assert descriptors() == before
        return
    assert [item.port for item in assignments.read(store, HOST)] == [1]
    with assignments.locked(store, HOST) as book:
        book.save(book.all)
    assert Path(store, f"{BOOK}.corrupt-1").read_bytes() == content


def test_what_cannot_be_saved_changes_nothing(store: str) -> None:
    """On a full disk the file stays wholly as it was, the new one is cleared away, and the error names the file."""
    save(store, ONE)
    Path(store, f"{BOOK}.new").write_bytes(b"of somebody who was killed")
    before = descriptors()
    with pytest.raises(StateError) as raised, assignments.locked(store, HOST) as book, no_file_beyond(40):
        book.save([ONE, ONE._replace(port=2, name="other")])
    assert raised.value.message == f"the assignments {store}/{BOOK} cannot be used: File too large"
    assert assignments.read(store, HOST) == (ONE,)
    assert sorted(os.listdir(store)) == ["assignments-h.lock", BOOK]
    assert descriptors() == before


def test_a_book_without_descriptors(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where directories have no descriptors the same is done by paths."""
    monkeypatch.setattr(assignments, "open_directory", lambda *_, **__: -1)
    Path(store).mkdir(0o700)
    Path(store, f"{BOOK}.new").write_bytes(b"old")
    save(store, ONE)
    assert assignments.read(store, HOST) == (ONE,)
    assert sorted(os.listdir(store)) == ["assignments-h.lock", BOOK]


def test_a_book_that_cannot_be_used(store: str) -> None:
    """A link in its place is not followed; a lock that someone keeps is waited for no longer than asked."""
    save(store, ONE)
    os.rename(f"{store}/{BOOK}", f"{store}/x")
    os.symlink("x", f"{store}/{BOOK}")
    before = descriptors()
    for attempt in (lambda: assignments.read(store, HOST), lambda: save(store)):
        with pytest.raises(StateError) as raised:
            attempt()
        assert raised.value.message == f"the assignments {store}/{BOOK} cannot be used: {BOOK} is a symbolic link"
    os.rename(f"{store}/x", f"{store}/{BOOK}")
    with assignments.locked(store, HOST), pytest.raises(LockTimeoutError), assignments.locked(store, HOST, deadline=0):
        pass
    assert descriptors() == before
    save(store, ONE)


# ---------------------------------------------------------------- the holder


def wait_for_end(pid: int, seconds: float = 10.0) -> bool:
    """Wait until a process that is not our child has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        select.select([], [], [], 0.005)
    return False


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """Return a bound socket."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.mark.skipif(not hold.IS_POSSIBLE, reason="portguard holds ports on Linux alone")
def test_a_holder_has_the_sockets_and_nothing_else(bound: socket.socket) -> None:
    """It is no child of ours, has its own session, name and directory, and no descriptor but what it needs."""
    port = bound.getsockname()[1]
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)
    before = descriptors()
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    born = children.read_text(encoding="ascii")
    usual = signal.signal(signal.SIGTERM, signal.SIG_IGN), signal.signal(signal.SIGINT, signal.SIG_IGN)
    pid = hold.detach([bound], pid=os.getpid())
    signal.signal(signal.SIGTERM, usual[0])
    signal.signal(signal.SIGINT, usual[1])
    try:
        assert descriptors() == before
        assert children.read_text(encoding="ascii") == born
        assert not wait_for_end(pid, 0.1)
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        assert Path(f"/proc/{pid}/comm").read_text(encoding="ascii") == "portguard-hold\n"
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert os.getsid(pid) != os.getsid(0)
        assert os.getsid(pid) != pid
        targets = {os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")}
        assert targets == {"socket", "anon_inode"}
        bound.close()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    finally:
        os.kill(pid, signal.SIGTERM)
        os.close(extra)
    assert wait_for_end(pid)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


@pytest.mark.skipif(not hold.IS_POSSIBLE, reason="portguard holds ports on Linux alone")
def test_a_holder_ends_with_whom_it_is_for(bound: socket.socket) -> None:
    """The holder ends when the process ends that it watches, and not before."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    pid = hold.detach([bound], pid=child, seconds=600)
    assert not wait_for_end(pid, 0.05)
    os.close(writer)
    os.waitpid(child, 0)
    assert wait_for_end(pid)


@pytest.mark.skipif(not hold.IS_POSSIBLE, reason="portguard holds ports on Linux alone")
def test_a_holder_ends_with_its_time(bound: socket.socket) -> None:
    """Without a process to watch the holder ends by the clock, neither at once nor never."""
    started = time.clock_gettime(time.CLOCK_BOOTTIME)
    pid = hold.detach([bound], seconds=0.3)
    assert wait_for_end(pid)
    assert 0.3 <= time.clock_gettime(time.CLOCK_BOOTTIME) - started < 25
    gone = hold.detach([bound], seconds=0)
    assert wait_for_end(gone)


@pytest.mark.skipif(not hold.IS_POSSIBLE, reason="portguard holds ports on Linux alone")
def test_a_holder_for_nobody_is_said(bound: socket.socket) -> None:
    """A holder that cannot watch whom it is for ends at once, which is an error, and leaves nothing open."""
    before = descriptors()
    with pytest.raises(StateError) as raised:
        hold.detach([bound], pid=0)
    assert raised.value.message == "the process that should hold the ports exited immediately"
    assert raised.value.hint == "try again, or use `run --no-hold`, or `free` without --hold"
    assert descriptors() == before


def test_flock_is_what_locks(opened: tuple[str, int]) -> None:
    """The lock is a flock, which closing another descriptor of the file does not end."""
    path, fd = opened
    mine = files.open_locked(path, fd, "x", 0.0)
    os.close(os.open(f"{path}/x", os.O_RDWR))
    other = os.open(f"{path}/x", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(other)
    files.close_locked(mine)


def test_holding_is_linux_s() -> None:
    """Elsewhere a hold would be in the way of the very server that it is for."""
    assert hold.IS_POSSIBLE is (sys.platform == "linux")


@pytest.mark.skipif(not hold.IS_POSSIBLE, reason="portguard holds ports on Linux alone")
def test_a_holder_of_descriptor_0(bound: socket.socket) -> None:
    """Who has no standard input may have a socket in its place: it is kept like any other."""
    port = bound.getsockname()[1]
    before = os.dup(0)
    try:
        os.dup2(bound.fileno(), 0)
        with socket.socket(fileno=0) as zero:
            pid = hold.detach([zero], seconds=60)
            zero.detach()
    finally:
        os.dup2(before, 0)
        os.close(before)
    bound.close()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    os.kill(pid, signal.SIGINT)
    assert wait_for_end(pid)


def test_what_a_record_says() -> None:
    """What is not said of a lease is nothing; the bits of protocols and the kinds are those of the files."""
    assert Lease(1, 2, 3) == (1, 2, 3, 0, 0, "free", "", "", "")
    assert table.PROTOCOL_BITS == {"tcp": 1, "udp": 2}
    assert table.KINDS == ("free", "hold", "run")


def test_a_lease_is_told_from_others_by_all_but_its_texts() -> None:
    """A change of any number or of the kind makes it another lease; the texts, which may be cut off, do not count."""
    lease = table.Lease(1, 2, 3, 4, 5, "run", "name", "hosts", "/directory")
    texts = ("name", "hosts", "directory")

    for field, value in zip(lease._fields, tuple(lease), strict=True):
        other: Any = "other" if isinstance(value, str) else 99
        changed = lease._replace(**{field: other})
        assert (table.identity(changed) == table.identity(lease)) is (field in texts), field
