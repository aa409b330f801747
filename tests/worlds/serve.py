"""A real http.server, run as a child process by servers.py.

serve.py one ADDRESS PORT V6ONLY   serve until standard input ends
serve.py batch                     one "ADDRESS PORT V6ONLY" per line: start, answer OK or FAIL, close
"""

from __future__ import annotations

import errno
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with a short text."""

    def do_GET(self) -> None:
        """Answer with the same text whatever the path."""
        body = b"portguard test server\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the overridden name
        """Keep quiet: standard error is for the reason of a failure."""


def start(address: str, port: int, v6only: bool) -> ThreadingHTTPServer:
    """Bind and listen as `python -m http.server --bind ADDRESS` does: :: is dual stack unless v6only."""
    found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, sockaddr = found[0]

    class Server(ThreadingHTTPServer):
        address_family = family

        def server_bind(self) -> None:
            if family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
            # HTTPServer.server_bind would also look its host name up, which takes long without a name server.
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    return Server(sockaddr, Handler)  # type: ignore[arg-type]  # IPv6 addresses have four parts


def start_all(address: str, port: int, v6only: bool) -> list[ThreadingHTTPServer]:
    """Like start(); * means two sockets, 0.0.0.0 and an IPv6-only ::, as asyncio opens for no host."""
    if address != "*":
        return [start(address, port, v6only)]
    first = start("0.0.0.0", port, False)
    try:
        return [first, start("::", first.server_port, True)]
    except OSError:
        first.server_close()
        raise


def say(text: str) -> None:
    """Answer anyone who started this process, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def describe(error: OSError | OverflowError) -> str:
    """Give the errno name where there is one; resolver errors have other numbers."""
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    if number is not None and number in errno.errorcode:
        return errno.errorcode[number]
    return f"{type(error).__name__}: {error}"


def batch() -> None:
    """Try each line's address, and release it before answering."""
    for line in sys.stdin:
        address, port, v6only = line.split()
        try:
            for server in start_all(address, int(port), v6only == "1"):
                server.server_close()
        except (OSError, OverflowError) as error:
            say(f"FAIL {describe(error)}")
        else:
            say("OK")


def one(address: str, port: str, v6only: str) -> int:
    """Serve until standard input ends, so that the server never outlives anyone who started it."""
    try:
        servers = start_all(address, int(port), v6only == "1")
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"{describe(error)}: {error}\n")
        return 1
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    say(f"READY {servers[0].server_port}")
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "batch":
        batch()
    else:
        sys.exit(one(*sys.argv[2:5]))
