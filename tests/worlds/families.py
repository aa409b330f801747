"""Servers to be ended, made by `fork` alone: a family of processes in a few milliseconds, each known by a pidfd."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_LIFE = 60  # seconds, after which a server that no one ended ends by itself
_PR_SET_NAME = 15  # prctl(2)
_REPORT = struct.Struct("=II")
# By names of their own, for the tests that take the system's away.
_open_watch: Any = getattr(os, "pidfd_open", None)
_send: Any = getattr(signal, "pidfd_send_signal", None)


class Family(NamedTuple):
    """A server's `port`, its pid, that of its `parent`, and pidfds of the two."""

    port: int
    pid: int
    parent: int
    watch: int
    parent_watch: int

    @property
    def target(self) -> str:
        """Return how its port is typed."""
        return f"127.0.0.1:{self.port}"

    def is_running(self) -> bool:
        """Whether the server has not ended."""
        return not select.select([self.watch], [], [], 0)[0]


def rename(name: str) -> None:
    """Give this process a name, as the kernel keeps it."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


@contextlib.contextmanager
def server(
    cwd: Path,
    *,
    name: str = "server",
    parent: str = "sh",
    on_term: str = "end",
    protocol: str = "tcp",
    is_listening: bool = True,
    job: str = "own",
) -> Iterator[Family]:
    """Have a server on a port of 127.0.0.1, started by a process that is called `parent`; end both afterwards.

    `on_term`: "end", "ignore", or "close" (the socket, and live on). `job`: whether the server is the leader of a
    process group of its "own", as a shell makes it, or one with its parent ("shared").
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _be_parent(writer, cwd, name, parent, on_term, protocol, job, is_listening=is_listening)
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as told:
        number, port = _REPORT.unpack(told.read(_REPORT.size))
    family = Family(port, number, pid, _open_watch(number), _open_watch(pid))
    try:
        yield family
    finally:
        for watch in (family.parent_watch, family.watch):
            with contextlib.suppress(ProcessLookupError):
                _send(watch, signal.SIGKILL)
            os.close(watch)
        os.waitpid(pid, 0)


def _be_parent(  # noqa: PLR0917 - handed on as it came
    writer: int, cwd: Path, name: str, parent: str, on_term: str, protocol: str, job: str, *, is_listening: bool
) -> None:
    os.chdir(cwd)
    rename(parent)
    signal.alarm(_LIFE)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    os.setpgid(0, 0)
    if os.fork() == 0:
        try:
            if job == "own":
                os.setpgid(0, 0)
            rename(name)
            signal.alarm(_LIFE)
            _serve(writer, on_term, protocol, is_listening=is_listening)
        finally:
            os._exit(1)
    os.close(writer)
    while True:
        signal.pause()


def _serve(writer: int, on_term: str, protocol: str, *, is_listening: bool) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    if protocol == "tcp" and is_listening:
        sock.listen()
    if on_term == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if on_term == "close":  # and wait for it below: a handler that is due right before a `pause` runs after it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.write(writer, _REPORT.pack(os.getpid(), sock.getsockname()[1]))
    os.close(writer)
    if on_term == "close":
        signal.sigwait({signal.SIGTERM})
        sock.close()
    while True:
        signal.pause()
