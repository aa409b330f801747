"""A handle stands for one process; what it says of it, and what reaches it, with pidfds and without."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from portguard.errors import LookupFailedError
from portguard.system import alive, proc_stat, signals
from portguard.system.signals import Handle
from tests.worlds.families import server
from tests.worlds.processes import eventually

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="processes are watched by pidfds here")


@contextmanager
def ended() -> Iterator[int]:
    """Have a process that has ended, and that no one has asked for its end: a zombie."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    yield pid
    os.waitpid(pid, 0)


@pytest.fixture(params=["pidfd", "no such call", "forbidden", "not known here"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take handles with pidfds, and in each way in which there are none."""
    if request.param == "not known here":
        monkeypatch.delattr(os, "pidfd_open")
    elif request.param != "pidfd":
        number = errno.ENOSYS if request.param == "no such call" else errno.EPERM

        def refuse(pid: int) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "pidfd_open", refuse)
    return str(request.param)


def test_a_handle(tmp_path: Path, way: str) -> None:
    """A handle has the pid and the start of its process, knows whether it runs, and ends it and no one else."""
    with server(tmp_path) as mine, server(tmp_path) as other:
        handle = signals.take(mine.pid)
        assert handle is not None
        assert (handle.pid, handle.started) == (mine.pid, alive.start_of(mine.pid))
        assert (handle.fd is not None) is (way == "pidfd")
        assert signals.is_running(handle)
        assert not signals.wait([handle], 0.0)
        assert signals.send(handle, signals.TERMINATE)
        assert signals.wait([handle], 10)
        assert not signals.is_running(handle)
        assert signals.send(handle, signals.TERMINATE) is False
        assert not mine.is_running()
        assert other.is_running()
        signals.close((handle,))
        if handle.fd is not None:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(handle.fd)


def test_who_cannot_be_looked_at_is_nobody_s_handle(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose start cannot be read might be anyone: that is said, no one is signalled, and nothing stays open."""

    def fail(pid: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with server(tmp_path) as mine:
        monkeypatch.setattr(proc_stat, "look", fail)
        before = len(os.listdir("/proc/self/fd"))
        if way == "pidfd":
            with pytest.raises(LookupFailedError, match="Input/output error"):
                signals.take(mine.pid)
            assert signals.terminate(mine.pid, 1) is False
        assert len(os.listdir("/proc/self/fd")) == before
        monkeypatch.undo()
        assert mine.is_running()


def test_pid_1_groups_what_has_ended(way: str) -> None:
    """PID 1, groups, what has ended, and numbers that no one has are no one's handle; and no descriptor stays open."""
    before = len(os.listdir("/proc/self/fd"))
    with ended() as zombie:
        for pid in (1, 0, -1, -os.getpgid(0), zombie, 2**22 + 1):
            assert signals.take(pid) is None, pid
    assert len(os.listdir("/proc/self/fd")) == before


def test_pid_2_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all numbers only 1 and what stands for groups are left out before the kernel is asked."""
    asked: list[int] = []

    def look(pid: int) -> int:
        asked.append(pid)
        raise ProcessLookupError(errno.ESRCH, "gone")

    monkeypatch.setattr(os, "pidfd_open", look)
    assert [signals.take(pid) for pid in (2, 1, 0, -1)] == [None] * 4
    assert asked == [2]


@pytest.mark.parametrize(("number", "is_gone"), [(errno.ESRCH, True), (errno.EINVAL, True), (errno.ENOENT, True)])
def test_gone(monkeypatch: pytest.MonkeyPatch, number: int, is_gone: bool) -> None:
    """What the kernel says of a number that is no one's makes no handle."""

    def refuse(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert signals.take(os.getpid()) is None


def test_without_resources_nothing_may_be_signalled() -> None:
    """Where no handle can be made for want of descriptors that is an error, and no way around is taken."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(LookupFailedError) as raised:
            signals.take(os.getppid() if os.getppid() > 1 else os.getpid())
        assert signals.terminate(os.getpid(), alive.start_of(os.getpid())) is False
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert raised.value.message.endswith("cannot be watched: Too many open files")
    assert raised.value.message.startswith("process ")


def test_a_number_that_was_given_away(tmp_path: Path, way: str) -> None:
    """A handle of anyone who had the number before reaches no one, where only the start tells them apart."""
    with server(tmp_path) as mine:
        old = Handle(mine.pid, alive.start_of(mine.pid) - 1, None)
        assert not signals.is_running(old)
        assert signals.wait([old], 0)
        assert signals.send(old, signals.TERMINATE) is False
        assert signals.terminate(mine.pid, old.started) is False
        assert mine.is_running()


def test_the_very_process_that_started_then_is_ended(tmp_path: Path, way: str) -> None:
    """The very process that started then is ended, and it is told whether that was so."""
    before = len(os.listdir("/proc/self/fd"))
    with server(tmp_path) as mine:
        started = alive.start_of(mine.pid)
        assert signals.terminate(mine.pid, started)
        handle = Handle(mine.pid, started, None)
        assert signals.wait([handle], 10)
        assert signals.terminate(mine.pid, started) is False
    assert signals.terminate(1, alive.start_of(1)) is False
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_not_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that is not permitted is an error of `send`, and for `terminate` the process is not ours."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with server(tmp_path) as mine:
        handle = signals.take(mine.pid)
        assert handle is not None
        monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
        with pytest.raises(PermissionError):
            signals.send(handle, signals.TERMINATE)
        before = len(os.listdir("/proc/self/fd"))
        assert signals.terminate(mine.pid, handle.started) is False
        assert len(os.listdir("/proc/self/fd")) == before
        signals.close((handle,))


def test_waiting_for_all(tmp_path: Path, way: str) -> None:
    """Waiting is over when all have ended, not before, and at once where there is no one to wait for."""
    with server(tmp_path) as first, server(tmp_path) as second:
        handles = [handle for pid in (first.pid, second.pid) if (handle := signals.take(pid)) is not None]
        assert len(handles) == 2
        assert signals.wait([], 0)
        started = time.monotonic()
        assert not signals.wait(handles, 0.06)
        assert time.monotonic() - started >= 0.06
        signals.send(handles[0], signals.KILL)
        assert signals.wait(handles[:1], 10)
        assert not signals.wait(handles, 0.03)
        signals.send(handles[1], signals.KILL)
        assert signals.wait(handles, 10)
        signals.close(handles)


def test_waiting_sleeps(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for one that does not end takes a few looks, and all the time that was given."""
    with server(tmp_path) as mine:
        handle = signals.take(mine.pid)
        assert handle is not None
        looks: list[float] = []
        poll = signals._poll

        def counted(fds: Sequence[int], seconds: float) -> bool:
            looks.append(seconds)
            return poll(fds, seconds)

        monkeypatch.setattr(signals, "_poll", counted)
        started = time.monotonic()
        assert signals.wait([handle], 0.3) is False
        assert time.monotonic() - started >= 0.3
        assert len(looks) < 20
        signals.close([handle])


def test_signals_are_what_they_are_called() -> None:
    """SIGTERM is asked with, and SIGKILL ends."""
    assert (signals.TERMINATE, signals.KILL) == (signal.SIGTERM, signal.SIGKILL)


def test_without_its_first_thread(tmp_path: Path) -> None:
    """A process whose first thread has ended looks like a zombie, and runs on: it has a handle."""
    pid = os.fork()
    if pid == 0:
        threading.Thread(target=threading.Event().wait, args=(60,)).start()
        ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)  # exit(2), of one thread
    try:
        eventually(lambda: alive.start_of(pid) == 0, "its first thread has not ended")
        handle = signals.take(pid)
        assert handle is not None
        assert handle.started != 0
        assert signals.is_running(handle)
        assert signals.send(handle, signals.KILL)
        assert signals.wait([handle], 10)
        signals.close([handle])
    finally:
        os.waitpid(pid, 0)
