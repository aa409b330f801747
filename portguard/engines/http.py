"""Requests over Unix sockets, with one deadline for all that are asked. HTTP/1.0, so that nothing comes in chunks.

All engines are asked at the same time: one that accepts and never answers takes nothing from the others' second.
"""

from __future__ import annotations

import _socket
import select
import time

from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from portguard.rules.engines import Engine

DEADLINE = 1.0  # seconds
_SIZE_LIMIT = 16 * 1024 * 1024  # bytes; ten thousand containers say less
_VALUES_LIMIT = 700_000  # objects, lists and members; 50 to 100 a container
_PART = 1 << 18  # bytes


class Reply(NamedTuple):
    """What a server said: `head` is the status line and the headers, `body` the rest."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """The status code; 0 if this is not HTTP."""
        number = self.head[8:].strip()[:3] if self.head.startswith(b"HTTP/1.") else b""
        return int(number) if number.isdigit() else 0

    def is_from(self, engine: Engine) -> bool:
        """Whether this engine answered, by its own headers: an engine may serve Docker's interface as well."""
        head = self.head.lower()
        return any(b"\r\n" + header in head for header in engine.headers)


def get(path: str, resource: str, *, deadline: float = DEADLINE) -> Any:
    """Return the JSON at `resource` of the server behind the Unix socket `path`.

    Raises LookupFailedError if there is no server, no permission, no answer in time, or no JSON in it.
    """
    return parse(ask_all([(path, resource)], deadline=deadline)[0], path)


def parse(reply: Reply | LookupFailedError, path: str) -> Any:
    """Return the JSON of a reply. Raises LookupFailedError for any answer but 200 with JSON in it."""
    import json  # only where an engine may hold a port

    if isinstance(reply, LookupFailedError):
        raise reply
    if reply.status != 200:
        raise LookupFailedError(f"{path}: the engine answered {reply.status or 'nothing that is HTTP'}")
    # Sixteen megabytes of "{}," would take four seconds: values cost more than bytes.
    if sum(map(reply.body.count, (b"{", b"[", b","))) > _VALUES_LIMIT:
        raise LookupFailedError(f"{path}: the engine's answer is too large")
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        raise LookupFailedError(f"{path}: the engine's answer is not JSON") from error


def ask_all(
    questions: Sequence[tuple[str, str]], *, method: str = "GET", deadline: float = DEADLINE
) -> list[Reply | LookupFailedError]:
    """Ask each (socket path, resource) at once; return the replies in that order, an error in place of each failure.

    `method` is GET, or POST without a body.
    """
    if not hasattr(_socket, "AF_UNIX") or not hasattr(select, "poll"):
        return [LookupFailedError(f"{path}: no Unix sockets here") for path, _ in questions]
    end = time.monotonic() + deadline
    replies: list[Reply | LookupFailedError | None] = [None] * len(questions)
    waiting: dict[int, tuple[int, _socket.socket, bytearray]] = {}
    poll = select.poll()
    try:
        for index, (path, resource) in enumerate(questions):
            try:
                sock = _send(path, method, resource)
            except (OSError, ValueError) as error:
                replies[index] = _failure(path, error)
            else:
                waiting[sock.fileno()] = (index, sock, bytearray())
                poll.register(sock.fileno(), select.POLLIN)
        while waiting and (left := end - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                index, sock, received = waiting[fd]
                reply = _receive(questions[index][0], sock, received)
                if reply is not None:
                    replies[index] = reply
                    poll.unregister(fd)
                    del waiting[fd]
                    sock.close()
    finally:
        for _, sock, _ in waiting.values():
            sock.close()
    return [
        _failure(path, TimeoutError()) if reply is None else reply
        for (path, _), reply in zip(questions, replies, strict=True)
    ]


def _send(path: str, method: str, resource: str) -> _socket.socket:
    """Connect and ask, without waiting: a Unix socket takes both at once, or its server is overrun."""
    body = "" if method == "GET" else "Content-Length: 0\r\n"
    head = f"{method} {resource} HTTP/1.0\r\nHost: portguard\r\nAccept: application/json\r\n{body}\r\n"
    request = head.encode("ascii")
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(path)
        sock.send(request)  # some hundred bytes into an empty buffer
    except BaseException:
        sock.close()
        raise
    return sock


def _receive(path: str, sock: _socket.socket, received: bytearray) -> Reply | LookupFailedError | None:
    """Take what is there; None while more is to come."""
    try:
        part = sock.recv(_PART)
    except BlockingIOError:
        return None
    except OSError as error:
        return _failure(path, error)
    received += part
    if len(received) > _SIZE_LIMIT:
        return LookupFailedError(f"{path}: the engine's answer is too large")
    if part:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    return Reply(bytes(head), bytes(body))


def _failure(path: str, error: Exception) -> LookupFailedError:
    if isinstance(error, TimeoutError):
        reason = "no answer in time"
    else:
        reason = (getattr(error, "strerror", None) or str(error)) if isinstance(error, OSError) else "no path"
    failure = LookupFailedError(f"{path}: {reason}")
    failure.__cause__ = error
    return failure
