"""Running one cell: a world is built, a call refused, the command asked; what came of it is written down.

Judges nothing, and knows no rows.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.conftest import PORTGUARD
from tests.engines.test_faults import FORWARDER, Daemon, ok, saying, script
from tests.faults import world as worlds
from tests.faults.table import COMMANDS, PLACEHOLDERS, Row
from tests.faults.world import Stored, World
from tests.worlds import strace
from tests.worlds.processes import eventually

ROOT = Path(__file__).parents[2]
_TIMEOUT = 100.0
_UNITS = {"--nofile": 1, "--as": 1 << 20}
_SERVER = """
import socket, sys
sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""
_SANDBOXED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from tests.worlds import sandbox
sandbox.forbid(int(sys.argv[2]), int(sys.argv[3]))
os.execv(sys.argv[4], sys.argv[4:])
"""


class Cell(NamedTuple):
    """One command against one error at one boundary."""

    row: Row
    error: str
    command: str

    def __str__(self) -> str:
        return f"{self.row.boundary} | {self.error} | {self.command}"

    @property
    def reason(self) -> str:
        """What the sentence about it has in it."""
        words = os.strerror(getattr(errno, self.error)) if self.error.isalnum() and self.error[0] == "E" else ""
        return self.row.reason.format(errno=self.error) or words


class Outcome(NamedTuple):
    """What came of a cell. `during` is what was kept while a command that `run` became was running, None for others.

    `hits` counts the calls that were refused. `is_alive` tells whether the server, where it was a process of its own,
    still runs.
    """

    world: World
    code: int
    stdout: str
    stderr: str
    hits: int
    before: Stored
    during: Stored | None
    after: Stored
    is_alive: bool


# --- the world before -----------------------------------------------------------------------------


def _no_store(world: World) -> None:
    for path in sorted(world.state.iterdir()):
        path.unlink()
    world.state.rmdir()


def _no_table(world: World) -> None:
    world.files.table.unlink()


def _damaged_table(world: World) -> None:
    world.files.table.write_bytes(b"garbage " * 1000)


def _damaged_book(world: World) -> None:
    world.files.book.write_bytes(world.files.book.read_bytes() + b"half a li")


def _left_over(world: World) -> None:
    left = world.files.book.with_name(f"{world.files.book.name}.new")
    left.write_bytes(b"half of it")
    left.chmod(0o600)


def _pyproject(world: World) -> None:
    config = world.root / "main" / "portguard.toml"
    text = config.read_text().replace("[ports", "[tool.portguard.ports")
    config.with_name("pyproject.toml").write_text(text)
    config.unlink()


_WORLDS: Mapping[str, Callable[[World], None]] = {
    "": lambda _: None,
    "no store": _no_store,
    "no table": _no_table,
    "damaged table": _damaged_table,
    "damaged book": _damaged_book,
    "left over": _left_over,
    "pyproject": _pyproject,
    "unbuffered": lambda _: None,
}


class Server(NamedTuple):
    """What listens on the busy port: a process, and its number."""

    port: int
    pid: int
    process: subprocess.Popen[str] | None = None


@contextlib.contextmanager
def _started(program: str) -> Iterator[Server]:
    """Start a server in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), process.pid, process)
        finally:
            process.kill()


# --- running --------------------------------------------------------------------------------------


def run(cell: Cell, made: Path, root: Path, shared: socket.socket) -> Outcome:
    """Run a cell in a world of its own at `root`; `shared` listens for those that do it no harm."""
    command = COMMANDS[cell.command]
    is_forwarded = "engine" in cell.command
    with contextlib.ExitStack() as stack:
        if is_forwarded or cell.command == "kill":
            server = stack.enter_context(_started(FORWARDER if is_forwarded else _SERVER))
        else:
            server = Server(shared.getsockname()[1], os.getpid())
        world = worlds.build(made, root, server.port)
        _WORLDS[cell.row.world](world)
        environ = world.environ() | ({"PYTHONUNBUFFERED": "1"} if cell.row.world == "unbuffered" else {})
        if cell.command == "check, remote engine":
            environ |= script(root / "bin", "docker", "exit 0") | {"HOME": str(root)}
        elif is_forwarded:
            daemon = Daemon(root / "docker.sock", saying(ok([])))
            stack.callback(daemon.stop)
            environ["DOCKER_HOST"] = f"unix://{root}/docker.sock"
        before = worlds.look(world)
        log = root / "strace"
        values = {name: str(getattr(world, name.strip("{}"))) for name in PLACEHOLDERS}
        words = [word.format(**{name.strip("{}"): value for name, value in values.items()}) for word in command.words]
        argv = [*_refusing(cell, world, server, log), *PORTGUARD, words[0], "--json", *words[1:]]
        code, stderr, during = _ask(argv, world, root / command.place, environ, is_run=words[0] == "run")
        hits = strace.count([log]) if cell.row.how == "strace" else 1
        is_alive = server.process is None or server.process.poll() is None
        return Outcome(world, code, world.out.read_text(), stderr, hits, before, during, worlds.look(world), is_alive)


def _refusing(cell: Cell, world: World, server: Server, log: Path) -> list[str]:
    """Return what is put before the command, so that it is refused."""
    row = cell.row
    if row.how == "seccomp":
        return [sys.executable, "-c", _SANDBOXED, str(ROOT), row.calls, str(getattr(errno, cell.error))]
    if row.how == "limit":
        return _limited(row.calls, int(cell.error))
    places = [path for word in row.places for path in world.place(word.replace("{holder}", str(server.pid)))]
    return strace.under(strace.Injection(row.calls, cell.error, tuple(places), row.when), log)


def _limited(option: str, more: int) -> list[str]:
    least, unit = (_least(option), _UNITS[option]) if option in _UNITS else (0, 1)
    return ["prlimit", f"{option}={(least + more) * unit}"]


@functools.cache
def _least(option: str) -> int:
    """Return the least of a resource that the command starts with at all."""
    for number in range(4, 256):
        command = ["prlimit", f"{option}={number * _UNITS[option]}", *PORTGUARD, "info", "1"]
        if subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT, cwd="/").returncode == 0:
            return number
    raise AssertionError(f"{option}: it does not start at all")


def _ask(
    argv: list[str], world: World, cwd: Path, environ: Mapping[str, str], *, is_run: bool
) -> tuple[int, str, Stored | None]:
    """Run the command; return its code, its messages, and what was kept while it was another one."""
    during = None
    with world.out.open("wb") as out:
        process = subprocess.Popen(
            argv, cwd=cwd, env=dict(environ), stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            if is_run:
                eventually(lambda: process.poll() is not None or world.out.stat().st_size > 0, "it does not begin")
                during = worlds.look(world)
            process.stdin.close()
            process.stdin = None
            _, err = process.communicate(timeout=_TIMEOUT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    lines = [line for line in err.splitlines(keepends=True) if not line.startswith("strace: Requested path")]
    return process.returncode, "".join(lines), during
