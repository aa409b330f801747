"""Held ports without a command: `free --hold` and `portguard.hold()`. What keeps them, for how long, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from portguard.errors import ConflictError, UsageError
from portguard.leases.table import locked
from portguard.system import kernel
from tests.conftest import PORTGUARD, Run
from tests.worlds.processes import eventually, is_at_the_table

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ports can be held on Linux only")

Answer = Callable[..., dict[str, Any]]
Hold = Callable[..., list[int]]

TIMEOUT = 20.0
LONG = 600  # seconds; nothing waits for that


def holders() -> list[int]:
    """Return the holders of this test: its state directory stands in their environment."""
    mark = os.fsencode(f"PORTGUARD_STATE_DIR={os.environ['PORTGUARD_STATE_DIR']}")
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark not in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                continue  # no one's, or of one who ended and waits to be reaped: that is empty
            if Path(f"/proc/{entry}/comm").read_text() == "portguard-hold\n":
                found.append(int(entry))
    return found


def can_bind(port: int, *, reuse: bool = False, is_listening: bool = False) -> bool:
    """Whether the port can be bound on every address."""
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            sock.bind(("::", port))
            if is_listening:
                sock.listen()
        except OSError:
            return False
        return True


def is_held(port: int) -> bool:
    """Whether a server can have the port, and no one else."""
    return not can_bind(port) and can_bind(port, reuse=True, is_listening=True)


def leased(answer: Answer) -> dict[int, dict[str, Any]]:
    """Return what is handed out, by port."""
    return {lease["port"]: lease for lease in answer("leases")["data"]["leases"]}


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """End what a test leaves held."""
    yield
    for pid in holders():
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not holders(), "a holder does not end at SIGTERM")


@pytest.fixture
def hold(portguard: Run) -> Hold:
    """Run `free --hold`, and return the ports."""

    def run(seconds: int, *arguments: str) -> list[int]:
        done = portguard("free", "--hold", seconds, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return [int(line) for line in done.stdout.splitlines()]

    return run


# ---------------------------------------------------------------- free --hold


def test_pipes_close_at_once(hold: Hold) -> None:
    """`$(portguard free --hold 600)` does not wait: no one keeps the output's pipes, and the port is held."""
    (port,) = hold(LONG)  # reads both pipes to their ends

    assert is_held(port)
    assert len(holders()) == 1


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_standard_streams_that_are_closed(closed: str) -> None:
    """Where the sockets to keep get the numbers of standard streams, as in some services, they are kept as well."""
    command = ["sh", "-c", f'"$0" free --hold {LONG} {closed}', *PORTGUARD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert is_held(int(done.stdout))


def test_detached(hold: Hold, tmp_path: Path) -> None:
    """The holder is in a session of its own, in /, with no descriptor but its socket, and no one's child here."""
    hold(LONG)
    (holder,) = holders()

    fds = {int(fd): os.readlink(f"/proc/{holder}/fd/{fd}") for fd in os.listdir(f"/proc/{holder}/fd")}
    stat = Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()
    assert [link.partition(":")[0] for link in fds.values()] == ["socket"]
    assert not {0, 1, 2} & set(fds)
    assert os.readlink(f"/proc/{holder}/cwd") == "/"
    assert os.getsid(holder) not in (os.getsid(0), 0)
    assert stat[4] == "0"  # no terminal
    assert int(stat[1]) != os.getpid()


def test_ends_by_itself(hold: Hold, answer: Answer) -> None:
    """The hold lasts as long as was said, not much longer; lease, process and binding end together."""
    before = time.monotonic()
    (port,) = hold(2)
    was = is_held(port), leased(answer)[port]["kind"]
    eventually(lambda: can_bind(port), "the port stays held")
    lasted = time.monotonic() - before

    assert was == (True, "hold")
    assert 2 <= lasted < 2 + TIMEOUT / 2
    assert (leased(answer), holders()) == ({}, [])


def test_the_lease_is_the_holders(hold: Hold, answer: Answer, tmp_path: Path) -> None:
    """The lease names the holder, where it was taken, and when it ends."""
    (port,) = hold(LONG)

    lease = leased(answer)[port]
    assert (lease["kind"], lease["process"]["pid"], lease["directory"]) == ("hold", holders()[0], str(tmp_path))
    assert lease["expires_at"] is not None
    assert lease["protocols"] == ["tcp", "udp"]


def test_leases_release_port_ends_that_hold_at_once(hold: Hold, portguard: Run, answer: Answer) -> None:
    """`leases release PORT` ends that hold at once, and no other."""
    first, second = hold(LONG)[0], hold(LONG)[0]

    done = portguard("leases", "release", first)

    assert done.returncode == 0
    eventually(lambda: can_bind(first), "the port stays held")
    assert is_held(second)
    assert list(leased(answer)) == [second]


def test_a_killed_holder(hold: Hold) -> None:
    """With its holder the port is anyone's again."""
    (port,) = hold(LONG)
    os.kill(holders()[0], signal.SIGKILL)

    eventually(lambda: can_bind(port), "the port stays held")


def test_three_ports_have_one_holder_and_a_lease_each(hold: Hold, portguard: Run, answer: Answer) -> None:
    """Three ports have one holder and a lease each; releasing one leaves none of the three bound without a lease."""
    ports = hold(LONG, "-n", "3")

    assert len(set(ports)) == 3
    assert all(map(is_held, ports))
    assert len(holders()) == 1
    assert sorted(leased(answer)) == sorted(ports)


def test_a_server_comes_and_goes(hold: Hold) -> None:
    """Servers with SO_REUSEADDR have the port one after the other; between them it stays held."""
    (port,) = hold(LONG)
    for _ in range(3):
        with (
            socket.create_server(("127.0.0.1", port)) as server,
            socket.create_connection(server.getsockname(), timeout=TIMEOUT) as client,
            server.accept()[0] as accepted,
        ):
            accepted.sendall(b"hello")
            assert client.recv(10) == b"hello"
        assert not can_bind(port)


def test_sigint_while_it_waits_for_the_stores_lock(tmp_path: Path, answer: Answer) -> None:
    """SIGINT while it waits for the store's lock: 130, no port is printed, held or leased."""
    with locked(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()):
        child = subprocess.Popen(
            [*PORTGUARD, "free", "--hold", str(LONG)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip
        try:
            eventually(lambda: is_at_the_table(child.pid), "it does not wait for the lock")
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=TIMEOUT)
        finally:
            child.kill()
            child.wait()

    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert (holders(), leased(answer)) == ([], {})


def test_interrupted_while_the_holder_starts(tmp_path: Path, portguard: Run, answer: Answer) -> None:
    """SIGINT when the holder is ready and its starter has not heard of it: what was not printed is not held.

    The starter is stopped for that moment; where it was quicker, it is tried again.
    """
    for _ in range(20):
        code, out = _interrupted(tmp_path)
        if code != 0:
            break
        portguard("leases", "release", out.strip())
    assert (code, out, leased(answer)) == (130, "", {})
    deadline = time.monotonic() + 2
    while holders() and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    assert holders() == []


def _interrupted(tmp_path: Path) -> tuple[int, str]:
    """Interrupt `free --hold` while its holder starts; return its exit code and what it printed."""
    with subprocess.Popen(
        [*PORTGUARD, "free", "--hold", str(LONG)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path,
    ) as child:  # fmt: skip
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        deadline = time.monotonic() + TIMEOUT
        while not children.read_text() and child.poll() is None:
            assert time.monotonic() < deadline, "it does not fork"
        child.send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: any(map(_has_only_sockets, holders())), "the holder is not ready")
        finally:
            child.send_signal(signal.SIGINT)
            child.send_signal(signal.SIGCONT)
        out, _ = child.communicate(timeout=TIMEOUT)
    return child.returncode, out


def _has_only_sockets(pid: int) -> bool:
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return all(link.startswith("socket:") for link in links)


def test_a_store_that_fails_late(tmp_path: Path, portguard: Run) -> None:
    """When the lease cannot be put in the holder's name, exit 3 with no port printed leaves no holder either."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import portguard.leases.take\n"
        "from portguard.errors import StateError\n"
        "def pass_on(*args):\n"
        "    raise StateError('on purpose', None)\n"
        "portguard.leases.take.pass_on = pass_on\n"
    )
    path = os.pathsep.join(filter(None, (str(broken), os.environ.get("PYTHONPATH"))))

    done = portguard("free", "--hold", LONG, env={**os.environ, "PYTHONPATH": path})

    assert (done.returncode, done.stdout) == (3, "")
    assert "on purpose" in done.stderr
    deadline = time.monotonic() + 2
    while holders() and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    assert holders() == []


@pytest.mark.parametrize("output", [">&-", ">/dev/full"])
def test_what_cannot_be_printed_is_not_held(tmp_path: Path, answer: Answer, output: str) -> None:
    """With no output to print to, or a full one: exit 3, no holder, no lease."""
    command = ["sh", "-c", f'"$@" {output}', "sh", *PORTGUARD, "free", "--hold", str(LONG), "-n", "3"]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)

    eventually(lambda: not holders(), "a holder is left")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert leased(answer) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--udp", "--hold", "5"], "UDP"),
        (["--hold", "0"], "0 seconds"),
        (["--hold", "86401"], "86401 seconds"),
        (["--hold", "x"], "--hold"),
    ],
)
def test_udp_cannot_be_held(portguard: Run, answer: Answer, arguments: list[str], said: str) -> None:
    """UDP cannot be held, nothing for no time or for longer than a day: exit 2, nothing is taken."""
    done = portguard("free", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert (holders(), leased(answer)) == ([], {})


def test_without_a_lease(hold: Hold, answer: Answer) -> None:
    """--no-lease holds all the same: the binding needs no store."""
    (port,) = hold(LONG, "--no-lease")

    assert is_held(port)
    assert leased(answer) == {}


def test_as_json(answer: Answer, hold: Hold) -> None:
    """The document tells the ports, that they are leased and until when."""
    document = answer("free", "--hold", str(LONG), "-n", "2")

    assert document["ok"]
    assert [set(port) >= {"port", "leased", "expires_at"} for port in document["data"]["ports"]] == [True, True]
    assert all(is_held(port["port"]) and port["leased"] for port in document["data"]["ports"])


def test_not_given_twice(hold: Hold, portguard: Run) -> None:
    """While it is held the port is given to no one else, even to one that has lost the store."""
    (port,) = hold(LONG)
    environ = os.environ | {"PORTGUARD_STATE_DIR": os.environ["PORTGUARD_STATE_DIR"] + "-other"}

    here = portguard("free", "--range", f"{port}-{port}")
    elsewhere = portguard("free", "--range", f"{port}-{port}", env=environ)

    assert (here.returncode, elsewhere.returncode) == (1, 1)
    assert (here.stdout, elsewhere.stdout) == ("", "")


# ---------------------------------------------------------------- the library


def test_library(answer: Answer) -> None:
    """Inside the block the port is held and leased for this process; after it, it is anyone's again."""
    with library.hold() as held:
        port = held.port
        inside = is_held(port), held.is_held, held.ports == (port,)
        lease = leased(answer)[port]
        with socket.create_server(("127.0.0.1", port)):
            pass

    assert inside == (True, True, True)
    assert (lease["kind"], lease["process"]["pid"], lease["expires_at"]) == ("hold", os.getpid(), None)
    assert can_bind(port)
    assert leased(answer) == {}
    assert not held.is_held
    with pytest.raises(ConflictError, match="inside of the `with` block"):
        _ = held.port


def test_several_ports_in_one_block_are_all_different_all_held() -> None:
    """Several ports in one block are all different, all held, and all released."""
    with library.hold(3) as held:
        ports = held.ports
        assert len(set(ports)) == 3
        assert all(map(is_held, ports))

    assert all(map(can_bind, ports))


def test_library_raised_through(answer: Answer) -> None:
    """An exception in the block passes through, and the port is released."""
    ports = []

    def fail() -> None:
        with library.hold() as held:
            ports.append(held.port)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert list(map(can_bind, ports)) == [True]
    assert leased(answer) == {}


def test_the_same_object_can_be_entered_again_for_other_ports() -> None:
    """The same object can be entered again, for other ports."""
    found = library.hold()
    with found as held:
        first = held.port
    with found as held:
        assert is_held(held.port)

    assert can_bind(first)


def test_bound_false_only_leases(answer: Answer) -> None:
    """bound=False only leases: a server without SO_REUSEADDR can have the port, no other caller is given it."""
    with library.hold(bound=False) as held:
        port = held.port
        assert (held.is_held, can_bind(port)) == (False, True)
        assert leased(answer)[port]["process"]["pid"] == os.getpid()
        with pytest.raises(library.NoFreePortError):
            library.free_port(within=(port, port))

    assert leased(answer) == {}


def test_a_hold_for_udp_alone_is_a_lease() -> None:
    """A hold for UDP alone is a lease: nothing is bound."""
    with library.hold(protocols=("udp",)) as held:
        assert (held.is_held, can_bind(held.port)) == (False, True)


def test_async_with_is_the_same(answer: Answer) -> None:
    """`async with` is the same, and holds up no one else in the loop."""

    async def hold() -> int:
        async with library.hold() as held:
            assert held.is_held
            assert is_held(held.port)
            return held.port

    async def many() -> list[int]:
        async with contextlib.AsyncExitStack() as stack:
            found = await asyncio.gather(*(stack.enter_async_context(library.hold()) for _ in range(8)))
            assert all(is_held(held.port) for held in found)
            return [held.port for held in found]

    port, ports = asyncio.run(hold()), asyncio.run(many())

    assert all(map(can_bind, (port, *ports)))
    assert len(set(ports)) == 8
    assert leased(answer) == {}


def test_library_in_threads(answer: Answer) -> None:
    """Threads get different ports; all at once and again and again, and nothing is left."""

    def hold(_: int) -> set[int]:
        seen = set()
        for _ in range(5):
            with library.hold(2) as held:
                assert all(map(is_held, held.ports))
                now.extend(held.ports)
                assert len(set(now)) == len(now)
                seen |= set(held.ports)
                for port in held.ports:
                    now.remove(port)
        return seen

    now: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(hold, range(8)))

    assert len(found) == 8
    assert all(can_bind(port) for ports in found for port in ports)
    assert leased(answer) == {}


def test_a_killed_process_keeps_neither_port_nor_lease(tmp_path: Path, answer: Answer) -> None:
    """A killed process keeps neither port nor lease, and leaves no one who does."""
    script = "import portguard, sys\nwith portguard.hold() as held: print(held.port, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        was = is_held(port), list(leased(answer)) == [port]
        process.kill()

    assert was == (True, True)
    assert can_bind(port)
    assert (leased(answer), holders()) == ({}, [])


def test_library_asked_wrongly() -> None:
    """No ports cannot be held."""
    with pytest.raises(UsageError), library.hold(0):
        pass
