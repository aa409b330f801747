"""Servers to be ended, in one shape or another: a script that killing.py runs as a child process, described by JSON.

Says in one line of JSON who it is: the pids that it consists of. Then a line of text for each SIGTERM that it handles.
Every process of it ends when standard input does, so none outlives the test that started it.

    sockets     [[protocol, address, port], …]; port 0 is one number for all of them
    on_term     "end" (nothing is handled), "ignore", "close" (the listeners, and live on), "slowly" (end after a while)
    workers     so many forked children that share the sockets
    is_orphan   the first process ends when the workers run
    supervises  the first process opens nothing: a child does, and another one when that has ended; both ignore SIGTERM
                or none does
    restarts_after  so many seconds after that one's end
    child_cwd   where that child works
    is_reusing  with SO_REUSEPORT
    is_headless its first thread ends
    name        what the processes call themselves, in hexadecimal
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import platform
import select
import signal
import socket
import sys
import threading
from typing import Any, NoReturn

_SLOW = 0.7  # seconds
_LOOK = 0.1  # seconds
_PR_SET_NAME = 15  # prctl(2)
_SYS_EXIT = {"x86_64": 60, "aarch64": 93}  # ends one thread, syscalls(2)


def open_all(wanted: list[tuple[str, str, int]], *, is_reusing: bool) -> list[socket.socket]:
    """Return the sockets, bound, those for TCP listening."""
    found: list[socket.socket] = []
    shared = 0
    for protocol, address, port in wanted:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(protocol == "tcp"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(is_reusing))
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port or shared))
        shared = sock.getsockname()[1]
        if protocol == "tcp":
            sock.listen()
        sock.setblocking(False)
        found.append(sock)
    return found


def serve(sockets: list[socket.socket]) -> NoReturn:
    """Take connections, and keep them, until standard input ends."""
    kept = []
    while True:
        with contextlib.suppress(OSError):  # closed by the handler in the meantime, or taken by another worker
            # Again and again: a handler that is due right before a call runs after it.
            ready = select.select([0, *(sock.fileno() for sock in sockets)], [], [], _LOOK)[0]
            if 0 in ready and not os.read(0, 1):
                os._exit(0)
            for sock in [sock for sock in sockets if sock.fileno() in ready]:
                if sock.type == socket.SOCK_STREAM:
                    kept.append(sock.accept()[0])
                else:
                    sock.recv(100)


def handle(on_term: str, sockets: list[socket.socket]) -> None:
    """Answer SIGTERM in this way."""

    def answer(*_: object) -> None:
        os.write(1, b"SIGTERM\n")
        if on_term == "close":
            for sock in sockets:
                sock.close()
            sockets.clear()
        elif on_term == "slowly":
            signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
            signal.setitimer(signal.ITIMER_REAL, _SLOW)

    if on_term != "end":
        signal.signal(signal.SIGTERM, answer)


def fork(run: Any) -> int:
    """Call `run` in a child; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        run()
    finally:
        os._exit(1)


def supervise(start: Any, pause: float) -> NoReturn:
    """Start it again whenever it has ended, after a pause, until standard input ends."""
    pid = start()
    say([os.getpid(), pid])
    while True:
        os.waitpid(pid, 0)
        if select.select([0], [], [], pause)[0]:
            os._exit(0)
        pid = start()


def say(pids: list[int]) -> None:
    """Tell who it is."""
    os.write(1, json.dumps(pids).encode() + b"\n")


def take_name(name: str) -> None:
    """Have another name."""
    if ctypes.CDLL(None).prctl(_PR_SET_NAME, bytes.fromhex(name), 0, 0, 0) != 0:
        sys.exit("prctl")


def main(spec: dict[str, Any]) -> None:
    """Be what is described."""
    os.setsid()
    if spec.get("name"):
        take_name(spec["name"])
    wanted = [(protocol, address, port) for protocol, address, port in spec["sockets"]]
    is_reusing = bool(spec.get("is_reusing"))
    if spec.get("supervises"):
        ready, is_up = os.pipe()

        def child() -> None:
            if spec.get("child_cwd"):
                os.chdir(spec["child_cwd"])
            sockets = open_all(wanted, is_reusing=is_reusing)
            handle(spec["on_term"], sockets)
            os.write(is_up, b"x")
            serve(sockets)

        def start() -> int:
            pid = fork(child)
            os.read(ready, 1)
            return pid

        if spec["on_term"] == "ignore":
            handle("ignore", [])
        supervise(start, spec.get("restarts_after", 0))
    sockets = open_all(wanted, is_reusing=is_reusing)
    handle(spec["on_term"], sockets)
    workers = [fork(functools.partial(serve, sockets)) for _ in range(spec.get("workers", 0))]
    if spec.get("is_orphan"):
        say(workers)
        os._exit(0)
    say([os.getpid(), *workers])
    if spec.get("is_headless"):
        threading.Thread(target=serve, args=(sockets,)).start()
        ctypes.CDLL(None).syscall(_SYS_EXIT[platform.machine()], 0)
    serve(sockets)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
