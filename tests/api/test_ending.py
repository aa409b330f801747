"""Ending what was decided on: those that hold the socket, in their order, with the patience that was given."""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path

import pytest

from portguard.errors import LookupFailedError
from portguard.holders import ending
from portguard.holders.ending import Member
from portguard.holders.stop_plan import rows_of
from portguard.model import Socket
from portguard.rules.targets import parse_port
from portguard.system import signals, sockets
from portguard.system.signals import Handle
from tests.worlds.families import Family, server

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="processes are watched by pidfds here")


def row_of(family: Family) -> Socket:
    """Return the row of its socket."""
    (row,) = rows_of(parse_port(family.target))
    return row


def member(family: Family, sock: Socket | None) -> Member:
    """Return the server as one to end, as long as it has this socket."""
    handle = signals.take(family.pid)
    assert handle is not None
    return Member(handle, family.parent, sock)


def never() -> bool:
    """Have everything still to do."""
    return False


def test_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a process holds a socket is asked of the kernel; elsewhere of the table that names processes itself."""
    with server(tmp_path) as mine, server(tmp_path) as other:
        row = row_of(mine)
        assert ending.is_held(mine.pid, row)
        assert not ending.is_held(other.pid, row)
        assert not ending.is_held(mine.pid, row._replace(inode=row.inode + 10_000_000))
        named = row._replace(pids=(mine.pid,), inode=0)
        monkeypatch.setattr(
            sockets, "find_sockets", lambda protocol, port: [named] if (protocol, port) == ("tcp", mine.port) else []
        )
        assert ending.is_held(mine.pid, named)
        assert not ending.is_held(other.pid, named)
        assert not ending.is_held(mine.pid, named._replace(address="127.0.0.2"))
        monkeypatch.setattr(sockets, "find_sockets", lambda *_: [named._replace(pids=None)])
        assert ending.is_held(mine.pid, named) is False

        def fail(*_: object) -> list[Socket]:
            raise LookupFailedError("no table")

        monkeypatch.setattr(sockets, "find_sockets", fail)
        assert ending.is_held(mine.pid, named) is False


def test_asked_once_and_then_killed(tmp_path: Path) -> None:
    """What ignores SIGTERM lives on after the given time; by force it is killed then, and not before."""
    with server(tmp_path, on_term="ignore") as mine:
        one = member(mine, row_of(mine))
        started = time.monotonic()
        assert ending.end([one], never, force=False, grace=0.2) == []
        assert time.monotonic() - started >= 0.2
        assert mine.is_running()
        started = time.monotonic()
        assert ending.end([one], never, force=True, grace=0.2) == []
        assert time.monotonic() - started >= 0.2
        assert not mine.is_running()
        signals.close([one.handle])


def test_who_ends_is_not_waited_for(tmp_path: Path) -> None:
    """What ends when it is asked is not waited for any longer."""
    with server(tmp_path) as mine:
        one = member(mine, row_of(mine))
        started = time.monotonic()
        assert ending.end([one], never, force=False, grace=30) == []
        assert time.monotonic() - started < 20
        assert not mine.is_running()
        assert ending.end([one], never, force=True, grace=30) == []
        signals.close([one.handle])


def test_nothing_more_than_needed(tmp_path: Path) -> None:
    """Where nothing needs to be done no one is asked, and no one is killed."""
    with server(tmp_path) as mine, server(tmp_path, on_term="close") as closing:
        one = member(mine, row_of(mine))
        assert ending.end([one], lambda: True, force=True, grace=30) == []
        row = row_of(closing)
        other = member(closing, row)
        assert ending.end([other], lambda: not ending.is_held(closing.pid, row), force=True, grace=30) == []
        assert mine.is_running()
        assert closing.is_running()
        signals.close([one.handle, other.handle])


def test_who_has_let_go_is_left_alone(tmp_path: Path) -> None:
    """A process that no longer has the socket is not signalled; one of a tree, which needs none, is."""
    with server(tmp_path) as mine:
        row = row_of(mine)
        other = member(mine, row._replace(inode=row.inode + 10_000_000))
        assert ending.end([other], never, force=True, grace=0.1) == []
        assert mine.is_running()
        assert ending.end([other._replace(socket=None)], never, force=False, grace=30) == []
        assert not mine.is_running()
        signals.close([other.handle])


def test_what_cannot_be_signalled_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that is not permitted is a sentence each time, and ends nothing else."""

    def refuse(handle: Handle, number: int) -> bool:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with server(tmp_path) as mine:
        one = member(mine, None)
        monkeypatch.setattr(signals, "send", refuse)
        said = f"process {mine.pid} cannot be signalled: Operation not permitted"
        assert ending.end([one], never, force=False, grace=0.1) == [said]
        assert ending.end([one], never, force=True, grace=0.0) == [said]
        signals.close([one.handle])


def test_parents_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tree the parent is asked first, its child when it has ended without the child; each once."""
    asked: list[tuple[int, int]] = []
    send = signals.send

    def noted(handle: Handle, number: int) -> bool:
        asked.append((handle.pid, number))
        return send(handle, number)

    monkeypatch.setattr(signals, "send", noted)
    monkeypatch.setattr(ending, "_FOLLOW", 0.05)
    with server(tmp_path) as mine:
        above = signals.take(mine.parent)
        assert above is not None
        child = member(mine, None)
        started = time.monotonic()
        assert ending.end([child, Member(above, 0, None)], never, force=False, grace=30) == []
        assert time.monotonic() - started < 20
        assert not mine.is_running()
        assert asked == [(mine.parent, signals.TERMINATE), (mine.pid, signals.TERMINATE)]
        signals.close([above, child.handle])


def test_only_those_that_are_left_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By force, those that have not ended get SIGKILL, once, and the others nothing more."""
    asked: list[tuple[int, int]] = []
    send = signals.send

    def noted(handle: Handle, number: int) -> bool:
        asked.append((handle.pid, number))
        return send(handle, number)

    monkeypatch.setattr(signals, "send", noted)
    with server(tmp_path) as good, server(tmp_path, on_term="ignore") as bad:
        members = [member(good, None), member(bad, None)]
        assert ending.end(members, never, force=True, grace=0.3) == []
        assert asked == [
            (good.pid, signals.TERMINATE),
            (bad.pid, signals.TERMINATE),
            (bad.pid, signals.KILL),
        ]
        assert not bad.is_running()
        signals.close([one.handle for one in members])


def test_the_usual_patience() -> None:
    """Five seconds lie between asking and giving up, unless it is said otherwise."""
    assert ending.GRACE == 5.0
    assert ending.end.__kwdefaults__ == {"grace": 5.0}


def test_waiting_for_the_port_looks_often(tmp_path: Path) -> None:
    """What is done is noticed soon after, though the process lives on."""
    with server(tmp_path, on_term="ignore") as mine, socket.socket():
        one = member(mine, None)
        end = time.monotonic() + 0.1
        started = time.monotonic()
        assert ending.end([one], lambda: time.monotonic() >= end, force=True, grace=60) == []
        assert time.monotonic() - started < 30
        assert mine.is_running()
        signals.close([one.handle])


def test_a_port_that_is_free_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the port is taken again by those that were asked, they are not asked a second time."""
    asked: list[int] = []
    looks: list[int] = []
    send = signals.send

    def noted(handle: Handle, number: int) -> bool:
        asked.append(number)
        return send(handle, number)

    def free_at_the_second_look() -> bool:
        looks.append(1)
        return len(looks) == 2

    monkeypatch.setattr(signals, "send", noted)
    monkeypatch.setattr(ending, "_FOLLOW", 0.02)
    with server(tmp_path, on_term="ignore") as mine:
        one = member(mine, None)
        assert ending.end([one], free_at_the_second_look, force=False, grace=0.3) == []
        assert asked == [signals.TERMINATE]
        signals.close([one.handle])
