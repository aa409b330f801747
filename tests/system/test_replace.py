"""Claims about replacing a file: wholly or not at all, only one that is plainly ours, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portguard.errors import OutputError, PortguardError, UsageError
from portguard.rules import env_block
from portguard.system.replace import SIZE_LIMIT, replace
from tests.amount import examples
from tests.worlds import netns
from tests.worlds.capabilities import NOBODY
from tests.worlds.file_systems import make_read_only
from tests.worlds.processes import fork

_TIMEOUT = 60.0

needs = pytest.mark.needs
OLD, NEW = b"A=1\n", b"A=1\nB=2\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout with a `.git` directory."""
    path = tmp_path / "checkout"
    (path / ".git" / "hooks").mkdir(parents=True)
    return path


def to_new(content: bytes) -> bytes:
    """Change any content to NEW."""
    del content
    return NEW


def never(content: bytes) -> bytes:
    """Fail: a refused file must not even be read for a change."""
    raise AssertionError(content)


def state(path: Path) -> dict[str, tuple[object, ...]]:
    """Return what is below a directory: kind, mode, owner, identity, time of change, content."""
    found: dict[str, tuple[object, ...]] = {}
    for there in sorted(path.rglob("*")):
        status = there.lstat()
        content = there.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[str(there)] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_nlink, status.st_mtime_ns, content,
        )  # fmt: skip
    return found


@contextlib.contextmanager
def untouched(path: Path, kind: type[PortguardError], *words: str) -> Iterator[None]:
    """Check that the block raises such an error with a hint and these words, and that nothing below `path` changes."""
    before = state(path)
    with pytest.raises(kind) as caught:
        yield
    assert type(caught.value) is kind
    assert caught.value.hint
    for word in words:
        assert word in caught.value.message
    assert state(path) == before


# --- what is written --------------------------------------------------------------------------------


def test_a_missing_file_is_made(checkout: Path) -> None:
    """It gets what `change` makes of nothing, and the mode that the umask leaves."""
    for number, (umask, mode) in enumerate([(0o022, 0o644), (0o077, 0o600), (0, 0o666)]):
        path = checkout / f"{number}.env"
        before = os.umask(umask)
        try:
            assert replace(str(path), str(checkout), lambda content: content + NEW)
        finally:
            os.umask(before)
        assert path.read_bytes() == NEW
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert sorted(os.listdir(checkout)) == [".git", "0.env", "1.env", "2.env"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o664, 0o755, 0o777, 0o200 | 0o400])
def test_a_file_is_replaced_and_keeps_its_mode(mode: int, checkout: Path) -> None:
    """A new file in its place, whatever the umask; what was opened before still reads the old content."""
    path = checkout / ".env"
    path.write_bytes(OLD)
    path.chmod(mode)
    before = os.umask(0o077)
    try:
        with path.open("rb") as opened:
            assert replace(str(path), str(checkout), lambda content: content + b"B=2\n")
            assert opened.read() == OLD
    finally:
        os.umask(before)
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert sorted(os.listdir(checkout)) == [".env", ".git"]


def test_an_unchanged_file_is_not_written(checkout: Path) -> None:
    """The same content: same file, same time of change; and nothing out of nothing makes no file."""
    (checkout / ".env").write_bytes(OLD)
    (checkout / ".env").chmod(0o444)
    before = state(checkout)
    assert not replace(str(checkout / ".env"), str(checkout), lambda content: content)
    assert not replace(str(checkout / "missing"), str(checkout), lambda content: content)
    assert state(checkout) == before


def test_any_bytes_up_to_the_limit(checkout: Path) -> None:
    """A file as large as is allowed, with every byte there is, is read and written as it is."""
    path = checkout / ".env"
    content = random.Random(1).randbytes(SIZE_LIMIT)
    path.write_bytes(content)
    assert replace(str(path), str(checkout), lambda old: old[::-1])
    assert path.read_bytes() == content[::-1]


def test_a_relative_path_and_links_on_the_way(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories may be reached through links: what counts is where they really are."""
    (checkout / "app").mkdir()
    (checkout / "link").symlink_to("app")
    (checkout.parent / "alias").symlink_to("checkout")
    monkeypatch.chdir(checkout / "app")
    for number, (path, inside) in enumerate(
        [(".env", ".."), ("../link/.env", str(checkout)), (str(checkout / "app/.env"), str(checkout.parent / "alias"))]
    ):
        content = b"%d\n" % number
        assert replace(path, inside, lambda _, content=content: content)  # type: ignore[misc]
        assert (checkout / "app" / ".env").read_bytes() == content
    monkeypatch.chdir(checkout)
    assert replace(".env", ".", to_new)
    assert (checkout / ".env").read_bytes() == NEW


@needs("users")
def test_root_leaves_a_file_to_its_owner(everybodys: Path) -> None:
    """Owner, group and mode of another user's file are kept when root replaces it."""
    path = everybodys / ".env"
    path.write_bytes(OLD)
    os.chown(path, NOBODY, 12_345)
    path.chmod(0o640)
    assert replace(str(path), str(everybodys), to_new)
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (NOBODY, 12_345, 0o640)


@needs("users", "netns")
def test_a_group_that_cannot_be_kept_lets_no_other_group_in(everybodys: Path) -> None:
    """Where the owner may not give the file to its group, the new group gets no more than everyone had."""
    os.chown(everybodys, NOBODY, NOBODY)
    for mode, expected in ((0o660, 0o600), (0o664, 0o644), (0o750, 0o700)):
        path = everybodys / f"{mode:o}.env"
        path.write_bytes(OLD)
        os.chown(path, NOBODY, 12_345)
        path.chmod(mode)
        assert netns.run_in_netns(replace, str(path), str(everybodys), to_new, uid=NOBODY)
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (NOBODY, NOBODY, expected)


# --- what is refused --------------------------------------------------------------------------------


def link(path: Path) -> None:
    """Plant a link to a file of the checkout."""
    (path.parent / "target").write_bytes(OLD)
    path.symlink_to("target")


def link_out(path: Path) -> None:
    """Plant a link to a file elsewhere."""
    (path.parent.parent / "target").write_bytes(OLD)
    path.symlink_to("../target")


def dangling_link(path: Path) -> None:
    """Plant a link to nothing."""
    path.symlink_to("nothing")


def link_to_itself(path: Path) -> None:
    """Plant a loop."""
    path.symlink_to(path.name)


def fifo(path: Path) -> None:
    """Plant a FIFO no one writes to."""
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    """Plant a socket."""
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def folder(path: Path) -> None:
    """Plant a directory."""
    path.mkdir()


def hard_link(path: Path) -> None:
    """Plant a second name of another file."""
    (path.parent / "other").write_bytes(OLD)
    path.hardlink_to(path.parent / "other")


def too_large(path: Path) -> None:
    """Plant a file of one byte too many."""
    path.write_bytes(b"x" * (SIZE_LIMIT + 1))


def enormous(path: Path) -> None:
    """Plant a file that claims a terabyte."""
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (link, "is a symbolic link"),
        (link_out, "is a symbolic link"),
        (dangling_link, "is a symbolic link"),
        (link_to_itself, "is a symbolic link"),
        (fifo, "is not a regular file"),
        (unix_socket, "is not a regular file"),
        (folder, "is not a regular file"),
        (hard_link, "has 2 hard links"),
        (too_large, "is larger than 1024 KiB"),
    ],
)
def test_what_is_no_plain_file_is_refused(plant: Callable[[Path], None], reason: str, checkout: Path) -> None:
    """Whatever a hostile checkout plants there: a sentence with the path, at once, and nothing is written."""
    path = checkout / ".env"
    plant(path)
    with untouched(checkout.parent, UsageError, str(path), reason):
        replace(str(path), str(checkout), never)


def test_an_enormous_file_is_refused_at_once(checkout: Path) -> None:
    """No more than the limit is read of it."""
    enormous(checkout / ".env")
    with pytest.raises(UsageError, match="is larger than 1024 KiB"):
        replace(str(checkout / ".env"), str(checkout), never)
    assert sorted(os.listdir(checkout)) == [".env", ".git"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../.env", "is outside of"),
        ("app/../../.env", "is outside of"),
        ("../checkout-2/.env", "is outside of"),
        ("out/.env", "is outside of"),
        ("/etc/portguard-test", "is outside of"),
        (".git/config", "is git's own"),
        (".git/hooks/post-checkout", "is git's own"),
        (".GIT/hooks/post-checkout", "is git's own"),
        ("app/.git/config", "is git's own"),
        ("hooks/post-checkout", "is git's own"),
        (".git", "is git's own"),
        ("missing/.env", "no directory"),
        ("file/.env", "no directory"),
        ("app/", "names a directory"),
        ("app/..", "names a directory"),
        (".", "names a directory"),
        ("", "names a directory"),
    ],
)
def test_a_file_elsewhere_is_refused(path: str, reason: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of the checkout, or in a repository's own directory, by its name or through links: nothing is written."""
    (checkout.parent / "checkout-2").mkdir()
    (checkout / "app" / ".git").mkdir(parents=True)
    (checkout / "file").write_bytes(OLD)
    (checkout / "out").symlink_to("..")
    (checkout / "hooks").symlink_to(".git/hooks")
    monkeypatch.chdir(checkout)
    with untouched(checkout.parent, UsageError, path, reason):
        replace(path, str(checkout), never)


@needs("users", "netns")
@pytest.mark.parametrize("mode", [0o666, 0o644, 0o600, 0])
def test_a_file_of_another_user_is_refused(mode: int, everybodys: Path) -> None:
    """Also one that may be read and written, and also where its directory may be."""
    path = everybodys / ".env"
    path.write_bytes(OLD)
    path.chmod(mode)
    everybodys.chmod(0o777)
    with untouched(everybodys, UsageError, str(path), "belongs to another user (uid 0)"):
        netns.run_in_netns(replace, str(path), str(everybodys), never, uid=NOBODY)


# --- what cannot be written -------------------------------------------------------------------------


@needs("users", "netns")
@pytest.mark.parametrize(
    ("directory_mode", "file_mode"),
    [(0o555, 0o644), (0o555, None), (0o755, 0o444), (0o755, 0o000), (0o000, 0o644), (0o333, 0o644)],
)
def test_without_permission_nothing_changes(directory_mode: int, file_mode: int | None, everybodys: Path) -> None:
    """A directory or a file that one's own modes protect: the reason, and the old content stays."""
    directory = everybodys / "app"
    directory.mkdir()
    path = directory / ".env"
    if file_mode is not None:
        path.write_bytes(OLD)
        os.chown(path, NOBODY, NOBODY)
        path.chmod(file_mode)
    os.chown(directory, NOBODY, NOBODY)
    directory.chmod(directory_mode)
    with untouched(everybodys, OutputError, str(path), "Permission denied"):
        netns.run_in_netns(replace, str(path), str(everybodys), to_new, uid=NOBODY)


def in_a_file_system_of_its_own(place: Path, prepare: Callable[[Path], None], large: bytes) -> tuple[str, str, bytes]:
    """Mount one, prepare it, try to write that much; return the error, the names there, and what is in the file."""
    netns.unshare(netns.CLONE_NEWNS)
    netns.mount("none", "/", None, netns.MS_REC | netns.MS_PRIVATE)
    netns.mount("tmpfs", str(place), "tmpfs", 0, "size=64k")
    (place / ".env").write_bytes(OLD)
    prepare(place)
    try:
        replace(str(place / ".env"), str(place), lambda _: large)
    except OutputError as error:
        return error.message, " ".join(sorted(os.listdir(place))), (place / ".env").read_bytes()
    return "", " ".join(sorted(os.listdir(place))), (place / ".env").read_bytes()


def roomy(place: Path) -> None:
    """Leave it."""


def mounted_file(place: Path) -> None:
    """Mount the file over itself, as containers are given single files: it cannot be renamed over."""
    netns.mount(str(place / ".env"), str(place / ".env"), None, netns.MS_BIND)


@needs("netns")
@pytest.mark.parametrize(
    ("prepare", "size", "reason"),
    [
        (roomy, 100_000, "No space left on device"),
        (make_read_only, 10, "Read-only file system"),
        (mounted_file, 10, "Device or resource busy"),
    ],
)
def test_a_file_system_that_takes_nothing(
    prepare: Callable[[Path], None], size: int, reason: str, tmp_path: Path
) -> None:
    """Full, read-only, busy: the path and the reason, the old content, and no other file."""
    message, names, content = netns.run_in_netns(in_a_file_system_of_its_own, tmp_path, prepare, b"x" * size)
    assert message == f"{tmp_path}/.env could not be written: {reason}"
    assert (names, content) == (".env", OLD)


@needs("netns")
def test_a_small_file_system_takes_what_fits(tmp_path: Path) -> None:
    """The failures above are the file system's: the same steps succeed where there is room."""
    assert netns.run_in_netns(in_a_file_system_of_its_own, tmp_path, roomy, NEW) == ("", ".env", NEW)


def test_a_write_that_stops_half_way_leaves_nothing(checkout: Path) -> None:
    """The kernel takes the first 4 KiB and refuses the rest (a limit on file sizes): the old content stays alone."""
    path = checkout / ".env"
    path.write_bytes(OLD)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with untouched(checkout, OutputError, str(path), "could not be written", "File too large"):
            replace(str(path), str(checkout), lambda _: b"x" * 10_000)

    assert in_children(limited) == [0]
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("error", [env_block.BlockError(1, "broken"), KeyboardInterrupt(), OSError(5, "of its own")])
def test_what_change_raises_is_passed_on(error: BaseException, checkout: Path) -> None:
    """Nothing is written then."""
    path = checkout / ".env"
    path.write_bytes(OLD)
    before = state(checkout)

    def fail(content: bytes) -> bytes:
        raise error

    with pytest.raises(type(error)) as caught:
        replace(str(path), str(checkout), fail)
    assert caught.value is error
    assert state(checkout) == before


def test_no_descriptor_stays_open(checkout: Path) -> None:
    """Neither after success nor after a refusal or a failing change."""
    path = checkout / ".env"
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        replace(str(path), str(checkout), lambda content: content + OLD)
        path.unlink()
        for plant in (fifo, link_out, too_large, folder):
            plant(path)
            with pytest.raises(UsageError):
                replace(str(path), str(checkout), to_new)
            (path.rmdir if plant is folder else path.unlink)()
        with pytest.raises(AssertionError):
            replace(str(path), str(checkout), never)
        (checkout.parent / "target").unlink()
    assert len(os.listdir("/proc/self/fd")) == before


# --- others at the same time ------------------------------------------------------------------------


def append(path: Path) -> None:
    """Write more into it."""
    with path.open("ab") as file:
        file.write(b"C=3\n")


def overwrite(path: Path) -> None:
    """Write as many other bytes into it."""
    with path.open("r+b") as file:
        file.write(b"Z=9\n")


def rename_over(path: Path) -> None:
    """Put another file with the same content in its place."""
    (path.parent / "other").write_bytes(OLD)
    (path.parent / "other").rename(path)


def remove(path: Path) -> None:
    """Take it away."""
    path.unlink()


def swap_for_a_link(path: Path) -> None:
    """Put a link in its place."""
    path.unlink()
    (path.parent / "target").write_bytes(OLD)
    path.symlink_to("target")


def change_its_mode(path: Path) -> None:
    """Close it to others."""
    path.chmod(0o600)


@pytest.mark.parametrize("act", [append, overwrite, rename_over, remove, swap_for_a_link, change_its_mode])
def test_a_file_changed_meanwhile_is_not_overwritten(act: Callable[[Path], None], checkout: Path) -> None:
    """Whatever someone else does between reading and renaming stays, and running it again is the hint."""
    path = checkout / ".env"
    path.write_bytes(OLD)
    after: dict[str, tuple[object, ...]] = {}

    def change(content: bytes) -> bytes:
        act(path)
        after.update(state(checkout))
        return content + b"B=2\n"

    with pytest.raises(OutputError, match=r"\.env was changed while it was being written$") as caught:
        replace(str(path), str(checkout), change)
    assert caught.value.hint == "run it again"
    assert state(checkout) == after


@pytest.mark.parametrize("act", [append, overwrite, rename_over, remove, swap_for_a_link, change_its_mode])
def test_a_file_changed_at_the_last_moment_is_not_overwritten(act: Callable[[Path], None], checkout: Path) -> None:
    """The same while the new file is being written: it goes away again."""
    path = checkout / ".env"
    path.write_bytes(OLD)

    def work() -> None:
        after: dict[str, tuple[object, ...]] = {}

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and ".portguard-" in str(arguments[0]) and not after:
                after["begun"] = ()
                act(path)
                after.update(state(checkout))

        sys.addaudithook(hook)  # for good: hence in a child
        with pytest.raises(OutputError, match="changed while"):
            replace(str(path), str(checkout), to_new)
        assert after.pop("begun") == ()
        assert state(checkout) == after

    assert in_children(work) == [0]


def test_a_file_made_meanwhile_is_not_overwritten(checkout: Path) -> None:
    """One that was missing when we looked."""
    path = checkout / ".env"

    def change(content: bytes) -> bytes:
        path.write_bytes(OLD)
        return content + NEW

    with pytest.raises(OutputError, match="changed while"):
        replace(str(path), str(checkout), change)
    assert path.read_bytes() == OLD
    assert sorted(os.listdir(checkout)) == [".env", ".git"]


def in_children(*works: Callable[[], None]) -> list[int]:
    """Run them at once, a child each; return their exit codes."""
    children = [fork(work) for work in works]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.scaled
def test_killed_at_any_moment_the_file_is_wholly_old_or_wholly_new(checkout: Path) -> None:
    """200 SIGKILLs: always one of the two contents; a kill leaves at most one file, as private as the old one."""
    path = checkout / ".env"
    one, other = b"A=1\n" * 20_000, b"B=2222\n" * 30_000
    path.write_bytes(one)
    path.chmod(0o600)
    seen, left = set(), 0
    moments = random.Random(2)

    def work() -> None:
        while True:
            replace(str(path), str(checkout), lambda content: other if content == one else one)

    for _ in range(examples(200)):
        inode = path.stat().st_ino
        child = fork(work)
        deadline = time.monotonic() + _TIMEOUT
        while path.stat().st_ino == inode:  # until it is at it
            assert time.monotonic() < deadline
        moment = time.monotonic() + moments.random() * 0.004
        while time.monotonic() < moment:
            pass
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        content = path.read_bytes()
        assert content in {one, other}
        seen.add(content)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        names = set(os.listdir(checkout)) - {".env", ".git"}
        assert len(names) <= 1
        for name in names:
            assert name.startswith(".env.portguard-")
            assert stat.S_IMODE((checkout / name).stat().st_mode) == 0o600
            left += 1
            (checkout / name).unlink()
    assert seen == {one, other}
    assert left  # else the kills all fell between two replacements
    assert replace(str(path), str(checkout), to_new)


def test_concurrent_writers_write_wholly_or_say_so(checkout: Path) -> None:
    """8 writers, 25 changes each: whole blocks and all bytes outside, at every moment; none fails in another way."""
    path = checkout / ".env"
    before, after = b"# mine\n" * 200, b"Z=\xff\r\n" * 200
    path.write_bytes(before + env_block.replaced(b"", {"N": "0"}, "/repo") + after)

    def writer(own: int) -> Callable[[], None]:
        def work() -> None:
            done = 0
            while done < 25:
                variables = {"N": f"{own}-{done}", **{f"V{number}": str(own) for number in range(own * 50)}}
                with contextlib.suppress(OutputError):
                    assert replace(
                        str(path),
                        str(checkout),
                        lambda content, variables=variables: env_block.replaced(content, variables, "/repo"),  # type: ignore[misc]
                    )
                    done += 1
                check()

        return work

    def check() -> None:
        content = path.read_bytes()
        assert content.startswith(before)
        assert content.endswith(after)
        block = content.removeprefix(before).removesuffix(after).decode().split("\n")
        assert block[2].startswith("N=")
        own = int(block[2].removeprefix("N=").partition("-")[0])
        assert block[3:-2] == [f"V{number}={own}" for number in range(own * 50)]

    assert in_children(*(writer(number) for number in range(8))) == [0] * 8
    check()
    assert sorted(os.listdir(checkout)) == [".env", ".git"]
