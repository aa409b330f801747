"""What the tests of `kill` share: victims, bystanders that must come to no harm, and what a bind finds afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import PORTGUARD

TIMEOUT = 30.0
NAME = "victim"
_SCRIPT = Path(__file__).with_name("victims.py")
# A shell starts nothing again by itself, so `kill` watches what was started from one for a short time only.
_FROM_SHELL = 'exec 3<&0; "$@" <&3 3<&- & exec 3<&-; wait'
# Every signal stays pending, and can be seen: who has one was signalled. A client of a server; or one of something else
# whose own end is on the same TCP number, on another address and, as it has SO_REUSEADDR, in no one's way.
_BYSTANDER = """
import json, signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
kind, address, port, is_client = json.loads(sys.argv[1])
kind = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
family = socket.AF_INET6 if is_client and ":" in address else socket.AF_INET
sock = socket.socket(family, kind)
if is_client:
    sock.connect((address, port))
else:
    sink = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.2", port))
    sock.connect(sink.getsockname())
print("connected", flush=True)
sys.stdin.read()
"""


class Endpoint(NamedTuple):
    """Where a server is."""

    address: str
    port: int
    protocol: str = "tcp"

    @property
    def target(self) -> str:
        """Return it as it is typed, with its address."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}" + ("/udp" if self.protocol == "udp" else "")

    def can_bind(self) -> bool:
        """Whether a server could start there: with SO_REUSEADDR, as servers have it, and as a listener."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(self.protocol == "tcp"))
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((self.address, self.port))
                if self.protocol == "tcp":
                    sock.listen()
            except OSError:
                return False
            return True


def everywhere(port: int, protocol: str = "tcp") -> list[Endpoint]:
    """Return what a bare port stands for."""
    return [Endpoint("0.0.0.0", port, protocol), Endpoint("::", port, protocol)]


def line_of(process: subprocess.Popen[bytes]) -> str:
    """Wait for a line of its output, and return it."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], TIMEOUT)[0], "it says nothing"
    return process.stdout.readline().decode()


class Watched:
    """Processes of a test, held by pidfds: whether they run, and their end, is theirs and no one else's."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._fds = {pid: os.pidfd_open(pid) for pid in pids}

    @property
    def pids(self) -> list[int]:
        """Return who they are."""
        return list(self._fds)

    @property
    def running(self) -> list[int]:
        """Return those that have not ended."""
        return [pid for pid, fd in self._fds.items() if not select.select([fd], [], [], 0)[0]]

    def send(self, number: int) -> None:
        """Signal all of them that run."""
        for fd in self._fds.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)

    def close(self) -> None:
        """End all of them, and let go."""
        self.send(signal.SIGKILL)
        for fd in self._fds.values():
            os.close(fd)


class Victim(Watched):
    """A server that is listening."""

    def __init__(self, process: subprocess.Popen[bytes], sockets: Sequence[Endpoint]) -> None:
        self._process = process
        self.sockets = list(sockets)
        super().__init__(json.loads(line_of(process)))

    def signals(self) -> int:
        """Return how often it was asked to end, of those times that it handled."""
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        return (self._process.stdout.read() or b"").count(b"SIGTERM\n")


@contextlib.contextmanager
def victim(cwd: Path, *sockets: Endpoint, on_term: str = "end", **spec: Any) -> Iterator[Victim]:
    """Run a server from a shell in `cwd`; what it can be is told in victims.py."""
    spec = {"name": NAME.encode().hex(), **spec}
    described = json.dumps({"sockets": [(end.protocol, *end[:2]) for end in sockets], "on_term": on_term, **spec})
    command = ["sh", "-c", _FROM_SHELL, "sh", sys.executable, "-S", "-E", str(_SCRIPT), described]
    with started(command, cwd) as process:
        found = Victim(process, sockets)
        try:
            if spec.get("is_orphan"):
                process.wait(TIMEOUT)  # the shell sees its child's end
            yield found
        finally:
            found.close()


@contextlib.contextmanager
def started(command: Sequence[str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own; its input ends with the block, and it with that."""
    process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def bystanders(endpoints: Sequence[Endpoint]) -> Iterator[None]:
    """Have clients on the numbers of these servers; find that none was signalled, stopped or ended, and end them."""
    with contextlib.ExitStack() as stack:
        wanted = [[end.protocol, end.address, end.port, True] for end in endpoints]
        wanted += [["tcp", "", port, False] for port in {end.port for end in endpoints}]
        found = [
            stack.enter_context(started([sys.executable, "-S", "-E", "-c", _BYSTANDER, json.dumps(item)], Path("/")))
            for item in wanted
        ]
        assert [line_of(process) for process in found] == ["connected\n"] * len(wanted)
        yield
        assert [(item, unharmed(process)) for item, process in zip(wanted, found, strict=True)] == [
            (item, True) for item in wanted
        ]


def unharmed(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process that blocks every signal runs, and got none."""
    if process.poll() is not None:
        return False
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    is_asked = any(int(fields[name], 16) for name in ("SigPnd", "ShdPnd"))
    return not is_asked and fields["State"].split()[0] in "SRD"


def run(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run `portguard kill` without a terminal."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [*PORTGUARD, "kill", *arguments], cwd=cwd, capture_output=True, timeout=TIMEOUT, check=False, **options
    )


def kill(
    cwd: Path, targets: Mapping[str, Sequence[Endpoint]], *options: str, clients: Sequence[Endpoint] | None = None
) -> dict[str, dict[str, Any]]:
    """Kill what is at these targets, in front of bystanders; return what is reported of each.

    The endpoints of a target are what is bound afterwards: that works if and only if it is reported so. Bystanders are
    on all of them that a client can reach, or on `clients`.
    """
    ends = [end for found in targets.values() for end in found]
    if clients is None:
        clients = [end for end in ends if end.address not in ("0.0.0.0", "::")]
    with bystanders(clients):
        done = run("--yes", "--json", *options, *targets, cwd=cwd)
        binds = {target: [end.can_bind() for end in found] for target, found in targets.items()}
    document = json.loads(done.stdout)
    assert (document["exit_code"], done.stderr) == (done.returncode, b""), document
    reported = {entry["target"]: entry for entry in document["data"]["ports"]}
    assert list(reported) == list(targets)
    for target, entry in reported.items():
        is_free = entry["status"] in ("freed", "nobody")
        assert all(binds[target]) == is_free, (entry, binds[target])
    assert done.returncode == (0 if all(entry["status"] == "freed" for entry in reported.values()) else 1)
    return reported
