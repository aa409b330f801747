"""Real servers as child processes, ready (or failed) by the time the call returns.

Every server ends when its standard input does, so none outlives the test process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.worlds import netns
from tests.worlds.users import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from tests.worlds.netns import PrivateNetns

_HERE = Path(__file__).resolve().parent
_READY_TIMEOUT = 30.0
_STOP_TIMEOUT = 5.0
# A small, quickly started virtual machine: the servers do next to nothing.
_JAVA = ("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m")

LANGUAGES = ("python", "node", "java")


@functools.cache
def _java_classes() -> Path:
    """Serve.java compiled once per session into a directory that any user can read."""
    directory = Path(tempfile.mkdtemp(prefix="portguard-java-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    subprocess.run(
        ["javac", "-d", str(directory), str(_HERE / "Serve.java")],
        check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
    )  # fmt: skip
    return directory


def prepare_java() -> None:
    """Compile Serve.java now; worth calling before forks that start Java servers."""
    if shutil.which("javac") is not None:
        _java_classes()


def _program(language: str, user: int | None) -> list[str]:
    if language == "python":
        return [sys.executable if user is None else interpreter(user).program, str(_HERE / "serve.py")]
    if language == "node":
        return ["node", str(_HERE / "serve.js")]
    if language != "java":
        raise ValueError(f"unknown language {language!r}; known: {', '.join(LANGUAGES)}")
    # A forked child has no atexit handler to remove what it compiles, so it uses what is there or nothing.
    compiled = _java_classes.cache_info().currsize > 0
    if shutil.which("javac") is not None and (compiled or not netns.in_child()):
        return [*_JAVA, "-cp", str(_java_classes()), "Serve"]
    return [*_JAVA, str(_HERE / "Serve.java")]


class _Child:
    """A child process that is talked to by lines; what it says on standard error is kept."""

    def __init__(self, argv: Sequence[str], ns: PrivateNetns | None, user: int | None) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        self._pending = b""
        kwargs: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        if ns is None and user is not None:
            argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *argv]
        try:
            self.process: subprocess.Popen[bytes] = (
                subprocess.Popen(argv, **kwargs) if ns is None else ns.popen(argv, user=user, **kwargs)
            )
        except OSError:
            self._errors.close()
            raise

    def read_line(self, timeout: float) -> str | None:
        """Read the next line without its end; None if the child closed its output."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError(f"no answer from {self.process.args!r} within {timeout:g} s: {self.errors()}")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                return None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode(errors="replace")

    def write_line(self, line: str) -> None:
        """Send the child a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def errors(self) -> str:
        """Return what the child wrote to standard error so far."""
        if self._errors.closed:
            return ""
        with contextlib.suppress(OSError):
            size = os.fstat(self._errors.fileno()).st_size
            # The offset is shared with the child: pread leaves it alone.
            return os.pread(self._errors.fileno(), size, 0).decode(errors="replace").strip()
        return ""

    def close(self, kill: bool) -> None:
        """End the child: its input ends, and unless that is enough in time it is killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if kill and self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._errors.close()


class Server:
    """A server process that is listening, or has ended with the reason why it could not."""

    def __init__(self, argv: Sequence[str], ns: PrivateNetns | None, user: int | None) -> None:
        self._child = _Child(argv, ns, user)
        self.pid: int = self._child.process.pid
        self.started = False
        self.error = ""
        self.port = 0
        try:
            line = self._child.read_line(_READY_TIMEOUT)
        except BaseException:
            self.stop()
            raise
        if line is not None and line.startswith("READY "):
            self.started = True
            self.port = int(line.split()[1])
        else:
            self._child.process.wait(_STOP_TIMEOUT)
            self.error = self._child.errors() or f"exited with {self._child.process.returncode}"
            self.stop()

    def stop(self) -> None:
        """End the server; its port is free when this returns.  Harmless when it has ended already."""
        self._child.close(kill=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def python_http(
    address: str, port: int, ns: PrivateNetns | None = None, *, ipv6_only: bool = False, user: int | None = None
) -> Server:
    """http.server.ThreadingHTTPServer.  :: is dual stack unless ipv6_only; * is two sockets, 0.0.0.0 and ::."""
    return Server([*_program("python", user), "one", address, str(port), str(int(ipv6_only))], ns, user)


def node_http(
    host: str | None,
    port: int,
    ns: PrivateNetns | None = None,
    ipv6_only: bool = False,
    *,
    user: int | None = None,
) -> Server:
    """Node's http.createServer().listen({host, port, ipv6Only}); None leaves the host out."""
    return Server([*_program("node", user), "one", host or "*", str(port), str(int(ipv6_only))], ns, user)


def java_server(host: str | None, port: int, ns: PrivateNetns | None = None, *, user: int | None = None) -> Server:
    """Java's ServerSocket; None is new ServerSocket(port)."""
    return Server([*_program("java", user), "one", host or "*", str(port)], ns, user)


class Batch:
    """One long-lived child that tries to start real servers, one after the other."""

    def __init__(self, language: str, ns: PrivateNetns | None = None, *, user: int | None = None) -> None:
        self.language = language
        self._child = _Child([*_program(language, user), "batch"], ns, user)
        self.pid: int = self._child.process.pid

    def try_listen(self, address: str | None, port: int, v6only: bool = False) -> tuple[bool, str]:
        """Whether a server can start there, and if not the errno name or message; it is closed again at once.

        None (or *) leaves the address out: node and Java choose for themselves, Python opens 0.0.0.0 and ::.
        """
        if v6only and self.language == "java":
            raise ValueError("Java has no way to ask for an IPv6-only socket")
        try:
            self._child.write_line(f"{address or '*'} {port} {int(v6only)}")
        except BrokenPipeError:
            line = None
        else:
            line = self._child.read_line(_READY_TIMEOUT)
        if line == "OK":
            return True, ""
        if line is not None and line.startswith("FAIL "):
            return False, line[len("FAIL ") :]
        raise RuntimeError(f"the {self.language} server process answered {line!r}: {self._child.errors()}")

    def close(self) -> None:
        """End the child."""
        self._child.close(kill=False)

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def batch_server(language: str, ns: PrivateNetns | None = None, *, user: int | None = None) -> Batch:
    """Start the batch child of a language: python, node or java."""
    return Batch(language, ns, user=user)


# ---------------------------------------------------------------- a process that only holds a port

_PLAIN = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
sock = socket.socket(socket.AF_INET, kind)
sock.bind(("127.0.0.1", 0))
if sys.argv[1] == "tcp":
    sock.listen()
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def plain_server(cwd: Path, protocol: str = "tcp") -> Iterator[int]:
    """Run a process in `cwd` that holds a port of 127.0.0.1; yield the port."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAIN, protocol], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=10)
