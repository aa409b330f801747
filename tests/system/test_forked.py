"""A child answers with what its work came to, or not at all; it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest

from portguard.system import forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux alone")


def echo(text: bytes) -> bytes:
    """Answer with the text."""
    return text


def fail(_: bytes) -> bytes:
    """Answer with nothing."""
    raise ValueError


def leave(_: bytes) -> bytes:
    """Try to be more than an answer."""
    raise SystemExit(3)


def die(_: bytes) -> bytes:
    """End as a sandbox would end it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


@pytest.mark.parametrize("text", [b"", b".", b"a.", bytes(3_000_000)])
def test_an_answer_comes_whole(text: bytes) -> None:
    """Also an empty one, one that looks like an end, and one that no pipe holds."""
    child = forked.start(echo, text)
    assert child is not None
    assert forked.result(child) == text


@pytest.mark.parametrize("work", [fail, leave, die])
def test_work_that_fails_is_no_answer(work: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]) -> None:
    """An exception, an exit, a death: None, nothing printed, no process and no descriptor left."""
    before = os.listdir("/proc/self/fd")
    child = forked.start(work, b"")
    assert child is not None
    assert forked.result(child) is None
    assert os.listdir("/proc/self/fd") == before
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)


def test_whoever_ignores_the_end_of_children_gets_the_answer() -> None:
    """With SIGCHLD ignored (wait(2)) there is nothing to wait for."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = forked.start(echo, b"here")
        assert child is not None
        assert forked.result(child) == b"here"
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("what", ["pipe", "fork"])
def test_where_there_can_be_no_child_there_is_none(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """None, and no descriptor left."""

    def refuse() -> int:
        raise OSError

    monkeypatch.setattr(os, what, refuse)
    before = os.listdir("/proc/self/fd")
    assert forked.start(echo, b"") is None
    assert os.listdir("/proc/self/fd") == before
