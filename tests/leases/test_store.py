"""Claims about the store of leases: what it refuses, what it survives, and what `free` answers without it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import portguard
from portguard.errors import LockTimeoutError, StateError
from portguard.leases import directory, take
from portguard.leases.files import lock_holder
from portguard.leases.table import FOR_LIFE, MAX_TTL, Lease, Table, locked, now, readable
from portguard.system import kernel
from tests.conftest import PORTGUARD, Run
from tests.worlds.capabilities import NOBODY
from tests.worlds.file_systems import fill, make_read_only
from tests.worlds.netns import CLONE_NEWNET, CLONE_NEWNS, PrivateNetns, mount, parked
from tests.worlds.processes import stopped_inside
from tests.worlds.store import leases, state_directory
from tests.worlds.users import as_user

_TIMEOUT = 60.0
_HEADER = struct.Struct("<8sII")  # magic, version, reserved
_TABLE_SIZE = 4_096 + 65_536 * (8 + 512)
_ASIDE_SIZE = 2**20
_UNKNOWN_USER = 2_000_000_011  # in no one's user database

needs = pytest.mark.needs


def table_name() -> str:
    """Return the file name of the table for where this runs."""
    return f"leases-{kernel.host_key()}.table"


def table_path() -> Path:
    """Return where the running test's table is."""
    return state_directory() / table_name()


def table_locked() -> contextlib.AbstractContextManager[Table]:
    """Return the section in which the running test's table is locked."""
    return locked(str(state_directory()), kernel.host_key())


def free(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `portguard free --json` where nothing is declared."""
    options = {"capture_output": True, "cwd": "/", **options}
    command = [*PORTGUARD, "free", "--json", *arguments]
    return subprocess.run(command, text=True, check=False, timeout=_TIMEOUT, **options)


def assert_leased(done: subprocess.CompletedProcess[str]) -> None:
    """Check that a port was given and leased, and that there was nothing to say about it."""
    assert (done.returncode, done.stderr) == (0, "")
    assert [port["leased"] for port in json.loads(done.stdout)["data"]["ports"]] == [True]


def assert_unleased(done: subprocess.CompletedProcess[str], *reasons: str) -> None:
    """Check that a port was given all the same, and that one line says that it is unleased, and why."""
    assert done.returncode == 0, done
    (port,) = json.loads(done.stdout)["data"]["ports"]
    assert 1 <= port["port"] <= 65_535
    assert (port["leased"], port["expires_at"]) == (False, None)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("note: not leased, another caller may get the same port: ")
    for reason in reasons:
        assert reason in done.stderr


def everything_below(path: Path) -> dict[str, tuple[object, ...]]:
    """Return what is at and below a path: kind, mode, owner, identity, times of change, content."""
    found: dict[str, tuple[object, ...]] = {}
    todo = [path]
    while todo:
        there = todo.pop()
        status = there.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = there.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(there)
        elif stat.S_ISDIR(status.st_mode):
            content = sorted(os.listdir(there))
            todo += there.iterdir()
        found[str(there)] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_ino, status.st_mtime_ns, content,
        )  # fmt: skip
    return found


# --- the directory --------------------------------------------------------------------------------


def test_a_missing_directory_is_made_for_this_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its parents missing too: 0700 for the directory, 0600 for the table, and the port is leased."""
    monkeypatch.setenv("PORTGUARD_STATE_DIR", str(state_directory() / "not" / "yet" / "there"))
    assert_leased(free(umask=0))
    assert stat.S_IMODE(state_directory().stat().st_mode) == 0o700
    assert stat.S_IMODE(table_path().stat().st_mode) == 0o600
    assert len(leases()) == 1


def test_many_first_callers_make_the_directory_together() -> None:
    """16 processes that all find no directory are all leased a port: it does not matter who makes it."""
    for attempt in range(5):
        state = str(state_directory() / str(attempt))
        state_directory().mkdir(mode=0o700, exist_ok=True)
        start = time.monotonic() + 0.02
        children = []
        for _ in range(16):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    while time.monotonic() < start:
                        pass
                    os.close(directory.open_directory(state, create=True))
                    code = 0
                finally:
                    os._exit(code)
            children.append(pid)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 16


def directory_open_to_all(path: Path) -> None:
    """Make it 0777."""
    path.mkdir()
    path.chmod(0o777)


def directory_open_to_the_group(path: Path) -> None:
    """Make it 0770."""
    path.mkdir()
    path.chmod(0o770)


def directory_of_another_user(path: Path) -> None:
    """Make it and give it away."""
    path.mkdir(mode=0o700)
    os.chown(path, NOBODY, NOBODY)


def directory_is_a_link(path: Path) -> None:
    """Put a link to a good one there."""
    (path.parent / "good").mkdir(mode=0o700)
    path.symlink_to("good")


def directory_is_a_dangling_link(path: Path) -> None:
    """Put a link to nothing there."""
    path.symlink_to("nothing")


def directory_is_a_file(path: Path) -> None:
    """Put a file there."""
    path.write_text("mine\n")


def directory_below_a_file(path: Path) -> None:
    """Put a file where its parent should be."""
    path.parent.rmdir()
    path.parent.write_text("mine\n")


def directory_is_a_fifo(path: Path) -> None:
    """Put a FIFO there."""
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (directory_open_to_all, "other users may write to"),
        (directory_open_to_the_group, "other users may write to"),
        pytest.param(directory_of_another_user, f"belongs to another user (uid {NOBODY})", marks=needs("users")),
        (directory_is_a_link, "it is a symbolic link"),
        (directory_is_a_dangling_link, "it is a symbolic link"),
        (directory_is_a_file, "Not a directory"),
        (directory_below_a_file, "cannot be used"),
        (directory_is_a_fifo, "Not a directory"),
    ],
)
def test_a_directory_that_cannot_be_trusted_is_left_alone(
    spoil: Callable[[Path], None], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`free` answers unleased, says which directory and why, and changes nothing there."""
    state = tmp_path / "parent" / "state"
    state.parent.mkdir()
    spoil(state)
    monkeypatch.setenv("PORTGUARD_STATE_DIR", str(state))
    before = everything_below(tmp_path)
    assert_unleased(free(), reason, str(state))
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PORTGUARD_STATE_DIR": "/a", "XDG_STATE_HOME": "/b", "HOME": "/"}, "/a"),
        ({"XDG_STATE_HOME": "/b", "HOME": "/"}, "/b/portguard"),
        ({"XDG_STATE_HOME": "b", "HOME": "/"}, "/.local/state/portguard"),
        ({"PORTGUARD_STATE_DIR": "", "XDG_STATE_HOME": "", "HOME": "/"}, "/.local/state/portguard"),
    ],
)
def test_the_first_variable_that_names_a_place_decides(environ: Mapping[str, str], expected: str) -> None:
    """The project's own, XDG's when absolute, the home directory; in this order, empty counts as unset."""
    assert directory.path_of(environ) == expected


def test_a_home_that_is_not_there_is_not_made() -> None:
    """HOME may name nothing, as it does for service accounts; then there is no place for leases."""
    with pytest.raises(StateError, match="no home directory"):
        directory.path_of({"HOME": "/nonexistent"})


def test_an_empty_home_is_no_root_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME="" means what no HOME means, what the system knows; never a place below /."""
    import pwd

    home = pwd.getpwuid(os.geteuid()).pw_dir
    for value in ("", "/somebody/elses"):
        monkeypatch.setenv("HOME", value)
        assert directory.path_of({"HOME": ""}) == directory.path_of({}) == f"{home}/.local/state/portguard"
    with pytest.raises(StateError, match="no home"):
        directory.path_of({"HOME": "relative"})


@pytest.mark.needs("users")
@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "relative", "XDG_STATE_HOME": "relative"}])
def test_without_any_place_for_leases_free_answers_unleased(environ: Mapping[str, str]) -> None:
    """A user whom the system does not know, without HOME, still gets a port, and one sentence."""
    program = f"""
import os, sys
for name in ("PORTGUARD_STATE_DIR", "XDG_STATE_HOME", "HOME"):
    os.environ.pop(name, None)
os.environ.update({environ})
from portguard.cli.main import main
sys.exit(main(["free", "--json"]))
"""
    assert_unleased(as_user(["-c", program], _UNKNOWN_USER), "no home directory")


# --- the table ------------------------------------------------------------------------------------


def good_table() -> bytes:
    """Return the bytes of a table with one lease."""
    portguard.free_port(ttl=600)
    data = table_path().read_bytes()
    table_path().unlink()
    return data


def newer_version() -> bytes:
    """Return the bytes of a table with one lease, by a portguard to come."""
    data = good_table()
    magic, version, reserved = _HEADER.unpack(data[: _HEADER.size])
    return _HEADER.pack(magic, version + 1, reserved) + data[_HEADER.size :]


def table_is_a_link(path: Path) -> None:
    """Put a link to a file of this user's there."""
    (path.parent / "precious").write_bytes(b"")
    path.symlink_to("precious")


def table_is_a_dangling_link(path: Path) -> None:
    """Put a link to nothing there."""
    path.symlink_to("nothing")


def table_is_a_fifo(path: Path) -> None:
    """Put a FIFO there that no one reads or writes."""
    os.mkfifo(path, 0o600)


def table_is_a_directory(path: Path) -> None:
    """Put a directory there."""
    path.mkdir(mode=0o700)


def table_has_two_names(path: Path) -> None:
    """Link a file of this user's there."""
    (path.parent / "precious").write_bytes(b"")
    (path.parent / "precious").chmod(0o600)
    path.hardlink_to(path.parent / "precious")


def table_of_another_user(path: Path) -> None:
    """Put an empty one there and give it away."""
    path.touch(mode=0o600)
    os.chown(path, NOBODY, NOBODY)


def table_open_to_all(path: Path) -> None:
    """Put an empty one there with mode 0666."""
    path.touch()
    path.chmod(0o666)


def table_of_a_newer_version(path: Path) -> None:
    """Put one of the next version there."""
    path.write_bytes(newer_version())
    path.chmod(0o600)


def table_of_a_newer_version_that_is_larger(path: Path) -> None:
    """Put one of the next version there that is larger than ours ever are."""
    path.write_bytes(newer_version().ljust(_TABLE_SIZE * 2, b"\1"))
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (table_is_a_link, "symbolic link"),
        (table_is_a_dangling_link, "symbolic link"),
        (table_is_a_fifo, "is not a private file of this user"),
        (table_is_a_directory, "Is a directory"),
        (table_has_two_names, "is not a private file of this user"),
        pytest.param(table_of_another_user, "is not a private file of this user", marks=needs("users")),
        (table_open_to_all, "is not a private file of this user"),
        (table_of_a_newer_version, "was written by a newer portguard"),
        (table_of_a_newer_version_that_is_larger, "was written by a newer portguard"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_left_alone(spoil: Callable[[Path], None], reason: str) -> None:
    """`free` answers unleased at once, says which file and why, and changes nothing there."""
    state_directory().mkdir(mode=0o700)
    spoil(table_path())
    before = everything_below(state_directory())
    started = time.monotonic()
    assert_unleased(free(), reason, str(table_path()))
    assert time.monotonic() - started < 4, "it waited for something"
    assert everything_below(state_directory()) == before


def oversize() -> bytes:
    """Return a table of ours with something behind it."""
    return good_table().ljust(_TABLE_SIZE, b"\0") + b"x"


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"x",
        lambda: b'{"leases": []}\n',
        lambda: b"\xff" * _TABLE_SIZE,
        lambda: good_table()[: _HEADER.size // 2],
        lambda: b"\xff" + good_table()[1:],
        oversize,
    ],
    ids=["one-byte", "json", "ones", "half-a-header", "another-magic", "oversize"],
)
def test_a_damaged_table_is_set_aside_and_a_new_one_works(content: Callable[[], bytes]) -> None:
    """What was there is kept as .corrupt-N, every time under another N, and leases are made as ever."""
    state_directory().mkdir(mode=0o700)
    damaged = content()
    for number in (1, 2):
        table_path().write_bytes(damaged)
        table_path().chmod(0o600)
        assert_leased(free())
        assert len(leases()) == 1
        aside = table_path().with_name(f"{table_name()}.corrupt-{number}")
        assert aside.read_bytes() == damaged[:_ASIDE_SIZE]
        assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert len(os.listdir(state_directory())) == 3


@pytest.mark.parametrize("size", [0, 1, 16, _TABLE_SIZE])
def test_an_unwritten_table_is_a_new_one(size: int) -> None:
    """Anyone who was to write the first header may have been killed before: nothing but zeros is a fresh start."""
    state_directory().mkdir(mode=0o700)
    table_path().write_bytes(bytes(size))
    table_path().chmod(0o600)
    assert_leased(free())
    assert len(leases()) == 1
    assert os.listdir(state_directory()) == [table_name()]


def test_reading_believes_no_table_of_another_format() -> None:
    """What is not this version's table says nothing about any port, not even by accident."""
    port = portguard.free_port(ttl=600)
    assert set(leases()) == {port}
    data = table_path().read_bytes()
    for header in (b"\xff" * _HEADER.size, _HEADER.pack(data[:8], 3, 0)):
        table_path().write_bytes(header + data[_HEADER.size :])
        assert leases() == {}


# --- the file system ------------------------------------------------------------------------------

Prepared = Callable[[Path], None]


@contextlib.contextmanager
def file_system_of_ones_own(place: Path, options: str, prepare: Prepared) -> Iterator[PrivateNetns]:
    """Keep a world of its own in which a small file system is mounted at `place` and prepared by that function."""

    def begin() -> tuple[None, Callable[[], None]]:
        mount("tmpfs", str(place), "tmpfs", 0, options)
        prepare(place)
        return None, lambda: None

    with parked(CLONE_NEWNET | CLONE_NEWNS, init=begin) as (pid, _):
        yield PrivateNetns(pid, mounts=True)


def state_with_one_lease(place: Path) -> None:
    """Lease a port in a state directory there."""
    os.environ["PORTGUARD_STATE_DIR"] = str(place / "state")
    portguard.free_port(ttl=600)


def read_only_and_empty(place: Path) -> None:
    """Leave nothing there."""
    make_read_only(place)


def read_only_with_a_table(place: Path) -> None:
    """Leave a good state directory there."""
    state_with_one_lease(place)
    make_read_only(place)


def full_and_empty(place: Path) -> None:
    """Leave no space for a table."""
    (place / "state").mkdir(mode=0o700)
    fill(place)


def full_with_a_table(place: Path) -> None:
    """Leave no space for a table to grow: all leases of a new page fail."""
    state_with_one_lease(place)
    fill(place)


FREE_INSIDE = [*PORTGUARD, "free", "--json", "--range"]


@pytest.mark.needs("netns")
@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (read_only_and_empty, os.strerror(errno.EROFS)),
        (read_only_with_a_table, os.strerror(errno.EROFS)),
        (full_and_empty, os.strerror(errno.ENOSPC)),
        (full_with_a_table, os.strerror(errno.ENOSPC)),
    ],
)
def test_on_a_file_system_that_takes_nothing_free_answers_unleased(
    prepare: Prepared, reason: str, tmp_path: Path
) -> None:
    """Read-only or full, with or without a table there: a port, and one line that says what is the matter."""
    environ = {**os.environ, "PORTGUARD_STATE_DIR": str(tmp_path / "state")}
    with file_system_of_ones_own(tmp_path, "size=64k", prepare) as world:
        # A range whose slots lie in no page that the table has already.
        done = world.run([*FREE_INSIDE, "20000-20255"], env=environ, capture_output=True, text=True)
        assert_unleased(done, reason, str(tmp_path / "state"))


@pytest.mark.needs("netns")
def test_a_full_file_system_takes_leases_again_once_there_is_space(tmp_path: Path) -> None:
    """The attempt that failed left nothing behind that keeps the next one from working."""
    environ = {**os.environ, "PORTGUARD_STATE_DIR": str(tmp_path / "state")}
    with file_system_of_ones_own(tmp_path, "size=64k", full_and_empty) as world:
        command = [*FREE_INSIDE, "20000-20255"]
        assert_unleased(world.run(command, env=environ, capture_output=True, text=True), os.strerror(errno.ENOSPC))
        world.run(["rm", str(tmp_path / "ballast")], check=True)
        assert_leased(world.run(command, env=environ, capture_output=True, text=True))


@pytest.mark.needs("netns")
def test_all_ports_of_a_call_are_leased_or_none(tmp_path: Path) -> None:
    """Where the space ends in the midst of a call, the leases already written are taken back."""
    environ = {**os.environ, "PORTGUARD_STATE_DIR": str(tmp_path / "state")}

    def leave_nine_pages(place: Path) -> None:
        state_with_one_lease(place)
        (place / "spare").write_bytes(b"x" * 4096 * 9)
        fill(place)
        (place / "spare").unlink()

    with file_system_of_ones_own(tmp_path, "size=64k", leave_nine_pages) as world:
        # 1,000 leases need 65 pages or 66.
        command = [*PORTGUARD, "free", "--range", "20000-20999", "-n", "1000"]
        done = world.run(command, env=environ, capture_output=True, text=True)
        assert (done.returncode, len(done.stdout.split())) == (0, 1000)
        assert os.strerror(errno.ENOSPC) in done.stderr
        found = world.run(
            ["sh", "-c", f"tail -c +{4097 + 160_000} {tmp_path}/state/leases-* | head -c 8000 | tr -d '\\0' | wc -c"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert (found.stdout.strip(), found.stderr) == ("0", "")


# --- the lock -------------------------------------------------------------------------------------


def test_a_lock_that_nobody_lets_go_of_ends_with_the_name_of_its_holder() -> None:
    """Exit 3 after some five seconds, with the pid and what to type; the kernel lets go with the holder's death."""
    with stopped_inside(table_locked()) as pid:
        started = time.monotonic()
        done = free()
        seconds = time.monotonic() - started
        assert done.returncode == 3
        assert 4.9 < seconds < 15
        assert done.stderr == (
            f"portguard: the lease table {table_path()} is locked by process {pid}\n"
            f"  next: see what it does, and stop it if it hangs: ps -fp {pid}\n"
        )
        document = json.loads(done.stdout)
        assert document["data"] == {"ports": [], "notes": []}
        assert [error["code"] for error in document["errors"]] == ["lock-timeout"]
    assert_leased(free())


def test_without_a_lease_nobody_waits_for_the_lock() -> None:
    """`--no-lease` answers while someone keeps the lock."""
    with stopped_inside(table_locked()):
        started = time.monotonic()
        done = free("--no-lease")
        assert time.monotonic() - started < 4
    assert (done.returncode, done.stderr) == (0, "")


def test_the_deadline_is_kept_and_is_no_unusable_store() -> None:
    """A library caller is told about the timeout and its holder; it is not served a port without a lease."""
    with stopped_inside(table_locked()) as pid:
        started = time.monotonic()
        with (
            pytest.raises(LockTimeoutError, match=f"process {pid}") as caught,
            locked(str(state_directory()), kernel.host_key(), deadline=0.1),
        ):
            pytest.fail("two have the lock")
        assert 0.1 <= time.monotonic() - started < 2
    assert caught.value.exit_code == 3


def test_a_holder_is_only_named_where_the_kernel_names_it(tmp_path: Path) -> None:
    """Lines of other files, of waiters and of other kinds of locks name no one; nor does a missing list."""
    with (tmp_path / "file").open("wb") as file:
        inode = os.fstat(file.fileno()).st_ino
        locks = tmp_path / "locks"
        others = (
            f"1: POSIX  ADVISORY  WRITE 101 fe:00:{inode} 0 EOF\n"
            f"2: FLOCK  ADVISORY  WRITE 102 fe:00:{inode}1 0 EOF\n"
            f"2: -> FLOCK  ADVISORY  WRITE 103 fe:00:{inode} 0 EOF\n"
            "3: FLOCK\n"
        )
        locks.write_text(others)
        assert lock_holder(file.fileno(), str(locks)) is None
        locks.write_text(f"{others}4: FLOCK  ADVISORY  WRITE 104 fe:00:{inode} 0 EOF\n")
        assert lock_holder(file.fileno(), str(locks)) == 104
        assert lock_holder(file.fileno(), str(tmp_path / "missing")) is None


def test_a_table_that_is_replaced_while_somebody_waits_is_not_used() -> None:
    """Who gets the lock of a file that lies there no longer opens the one that does: all agree on one table."""
    portguard.free_port()
    waiting_read, waiting_write = os.pipe()
    with locked(str(state_directory()), kernel.host_key()):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.write(waiting_write, b".")
                portguard.free_port(ttl=600)
                code = 0
            finally:
                os._exit(code)
        os.read(waiting_read, 1)
        # It waits once it has the file open.
        deadline = time.monotonic() + _TIMEOUT
        while not any(_opens(pid, table_path())):
            assert time.monotonic() < deadline
        table_path().rename(table_path().with_suffix(".gone"))
    assert os.waitpid(pid, 0)[1] == 0
    os.close(waiting_read)
    os.close(waiting_write)
    assert [lease.pid for lease in leases().values()] == [pid]


def _opens(pid: int, path: Path) -> Iterator[bool]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            # The one inherited from this process is not its own.
            yield os.readlink(link) == str(path) and not _is_open_here(link.name)


def _is_open_here(descriptor: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


# --- answers that no one gets ---------------------------------------------------------------------


class Unprinted(NamedTuple):
    """What came of a call whose standard output took nothing."""

    exit_code: int
    stderr: str


def print_to_full_device() -> Unprinted:
    """Write to a device that is full."""
    with open("/dev/full", "wb") as full:
        done = free(capture_output=False, stdout=full, stderr=subprocess.PIPE)
    return Unprinted(done.returncode, done.stderr)


def print_to_closed_output() -> Unprinted:
    """Start with standard output closed."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *PORTGUARD, "free"],
        capture_output=True, text=True, check=False, timeout=_TIMEOUT, cwd="/",
    )  # fmt: skip
    assert done.stdout == ""
    return Unprinted(done.returncode, done.stderr)


def print_to_nobody() -> Unprinted:
    """Write to a pipe whose reader is gone."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = free(capture_output=False, stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    return Unprinted(done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (print_to_full_device, os.strerror(errno.ENOSPC)),
        (print_to_closed_output, "standard output is closed"),
        (print_to_nobody, "the reader closed it"),
    ],
)
def test_what_cannot_be_printed_is_not_leased(attempt: Callable[[], Unprinted], reason: str) -> None:
    """Exit 3, one line, and the table has only what it had before: no one was told about the port."""
    kept = portguard.free_port(ttl=600)
    done = attempt()
    assert done.exit_code == 3
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert set(leases()) == {kept}


def test_who_interrupts_the_answer_leaves_no_lease() -> None:
    """Ctrl-C while the reader of a full pipe keeps it waiting: exit 130, and the lease is released."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write_end, b"x" * 65_536):
            pass
    os.set_blocking(write_end, True)
    with subprocess.Popen([*PORTGUARD, "free"], stdout=write_end, stderr=subprocess.PIPE, text=True, cwd="/") as asking:
        deadline = time.monotonic() + _TIMEOUT
        while not leases():
            assert time.monotonic() < deadline
            assert asking.poll() is None
        # Once it has the lease, there is nothing to sleep in but the write.
        while Path(f"/proc/{asking.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline
            assert asking.poll() is None
        asking.send_signal(signal.SIGINT)
        assert asking.communicate(timeout=_TIMEOUT)[1] == "portguard: interrupted\n"
        assert asking.returncode == 130
    os.close(read_end)
    os.close(write_end)
    assert leases() == {}


def test_what_is_printed_is_leased_even_where_messages_cannot_be() -> None:
    """Standard error closed or full does not cost the answer."""
    with open("/dev/full", "wb") as full:
        done = free(capture_output=False, stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == 0
    assert set(leases()) == {json.loads(done.stdout)["data"]["ports"][0]["port"]}


# --- time -----------------------------------------------------------------------------------------


def test_leases_are_timed_by_the_clock_nobody_can_set() -> None:
    """What the table says is milliseconds since boot; the wall clock is only in what people read."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    wall = time.time()
    done = free("--ttl", "77")
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    ((port, lease),) = leases().items()
    assert before + 77_000 <= lease.expires <= after + 77_000
    assert before <= now() <= after + 60_000
    (given,) = json.loads(done.stdout)["data"]["ports"]
    assert given["port"] == port
    from datetime import datetime

    assert 76 <= datetime.fromisoformat(given["expires_at"]).timestamp() - wall <= 77 + (after - before) / 1000 + 1


def test_a_lease_lasts_exactly_as_long_as_it_says(tmp_path: Path) -> None:
    """By the clock that is passed in: there one millisecond before its end, gone at its end."""
    time_is = 5_000
    with locked(str(tmp_path / "state"), "key", clock=lambda: time_is) as table:
        lease = Lease(time_is + 1_000, os.getpid(), 3)
        table.write(61_000, lease)
        time_is += 999
        assert table.lease(61_000) == lease
        time_is += 1
        assert table.lease(61_000) is None


def test_a_lease_longer_than_any_is_damage(tmp_path: Path) -> None:
    """A whole day is a lease; an end beyond that, as another clock would give, keeps no port for ever."""
    with locked(str(tmp_path / "state"), "key", clock=lambda: 5_000) as table:
        for expires, is_lease in (
            (5_000 + MAX_TTL * 1000, True),
            (5_001 + MAX_TTL * 1000, False),
            (FOR_LIFE - 1, False),
            (2**64 - 1, False),
        ):
            table.write(61_000, Lease(expires, 1, 3))
            assert (table.lease(61_000) is not None) == is_lease


def test_giving_back_touches_no_lease_of_somebody_else(tmp_path: Path) -> None:
    """A port that has another lease by now is left to its new holder."""
    state = str(tmp_path / "state")
    mine = take.take(state, "key", 2, range(61_000, 61_002), lambda _: None, ttl=60, protocols=3)
    with locked(state, "key") as table:
        theirs = Lease(table.clock() + 60_000, os.getpid() + 1, 3)
        table.write(61_000, theirs)
    take.release(state, "key", mine)
    with readable(state, "key") as found:
        assert found is not None
        assert [found.lease(port) for port in mine.ports] == [theirs, None]


def test_only_tables_of_dead_boots_are_removed(tmp_path: Path) -> None:
    """Making a new table clears away those of other boots that rested for a day, and nothing else."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    names = ["leases-old-1.table", "leases-new-1.table", "leases-this-1.table", "leases-old-1.table.corrupt-1", "notes"]
    long_ago = time.time() - MAX_TTL - 60
    for name in names:
        (state / name).write_bytes(b"")
        (state / name).chmod(0o600)
        if "new" not in name:
            os.utime(state / name, (long_ago, long_ago))
    with locked(str(state), "this-2"):
        pass
    assert sorted(os.listdir(state)) == sorted([*names[1:], "leases-this-2.table"])


def test_a_directory_others_may_only_read_is_used(answer: Any) -> None:
    """A state directory that a plain `mkdir` made (0755) is this user's own all the same; its table is closed."""
    state_directory().mkdir()
    state_directory().chmod(0o755)

    assert answer("free")["data"]["ports"][0]["leased"] is True
    assert {stat.S_IMODE(table.stat().st_mode) for table in state_directory().iterdir()} == {0o600}


def test_without_descriptors_it_is_could_not(portguard: Run) -> None:
    """When no socket can be made the answer is not "none free" but "could not": exit 3 and the reason."""
    import resource

    def exhaust() -> None:
        # Enough to start the interpreter and open the table; not enough for a socket beside it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))

    done = portguard("free", preexec_fn=exhaust)

    assert done.returncode == 3
    assert "EMFILE" in done.stderr
    assert "Traceback" not in done.stderr
