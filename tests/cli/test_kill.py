"""`kill`, of real servers: what it reports is what a bind then finds, and no one else comes to harm.

Every situation has bystanders (killing.py): a client of the server, and one with the same number on another address.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PORTGUARD
from tests.worlds import capabilities, servers
from tests.worlds.holders import fresh_port
from tests.worlds.killing import TIMEOUT, Endpoint, Victim, Watched, bystanders, everywhere, kill, run, started, victim
from tests.worlds.processes import eventually
from tests.worlds.repositories import git

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by pidfds")

_GRACE = 5.0  # seconds that a server is given to end after SIGTERM


@pytest.fixture
def here() -> Endpoint:
    """Return an endpoint that no one has, on a number that no one has."""
    return Endpoint("127.0.0.1", fresh_port())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return an empty git checkout."""
    path = tmp_path / "shop"
    git("init", "--quiet", path)
    return path


def pids_of(entry: dict[str, Any]) -> list[int]:
    """Return who is signalled, in all actions."""
    return sorted(pid for action in entry["actions"] for pid in action["pids"])


def successors_of(entry: dict[str, Any]) -> list[int]:
    """Return who has the port afterwards."""
    return [process["pid"] for holder in entry["successors"] for process in holder["processes"]]


def named_in(entry: dict[str, Any]) -> set[str]:
    """Return the words of the command that the hint names."""
    return set(shlex.split(entry["hint"].rpartition(": ")[2]))


# ---------------------------------------------------------------- servers as they are


def test_a_server_that_forked_four_workers_which_share_the_listener(tmp_path: Path, here: Endpoint) -> None:
    """A server that forked four workers which share the listener: all five are gone."""
    with victim(tmp_path, here, workers=4) as server:
        entry = kill(tmp_path, {here.target: [here]})[here.target]

        assert (entry["status"], pids_of(entry)) == ("freed", sorted(server.pids))
        assert (len(server.pids), server.running) == (5, [])


def test_two_workers_that_share_the_listener_whose_parent_has_died(tmp_path: Path, here: Endpoint) -> None:
    """Two workers that share the listener, whose parent has died: both are gone."""
    with victim(tmp_path, here, workers=2, is_orphan=True) as server:
        entry = kill(tmp_path, {here.target: [here]})[here.target]

        assert (entry["status"], pids_of(entry)) == ("freed", sorted(server.pids))
        assert (len(server.pids), server.running) == (2, [])


def test_two_servers_share_a_port(tmp_path: Path, here: Endpoint) -> None:
    """SO_REUSEPORT: two independent servers on one port are both ended."""
    with victim(tmp_path, here, is_reusing=True) as one, victim(tmp_path, here, is_reusing=True) as other:
        entry = kill(tmp_path, {here.target: [here]})[here.target]

        assert (entry["status"], pids_of(entry)) == ("freed", sorted(one.pids + other.pids))
        assert one.running + other.running == []


def test_both_families(tmp_path: Path, here: Endpoint) -> None:
    """One process with an IPv4 and an IPv6 socket is asked to end once, and both are free."""
    both = [here, Endpoint("::1", here.port)]
    target = str(here.port)
    with victim(tmp_path, *both, on_term="slowly") as server:
        entry = kill(tmp_path, {target: [*both, *everywhere(here.port)]}, clients=both)[target]

        assert (entry["status"], server.running, len(entry["holders"])) == ("freed", [], 2)
        assert (pids_of(entry), server.signals()) == (server.pids, 1)


def test_only_what_is_meant(tmp_path: Path, here: Endpoint) -> None:
    """[::1]:PORT leaves the server on 127.0.0.1:PORT alone."""
    there = Endpoint("::1", here.port)
    with victim(tmp_path, there) as meant, victim(tmp_path, here) as other, bystanders([here]):
        entry = kill(tmp_path, {there.target: [there]}, clients=[there])[there.target]

        assert (entry["status"], meant.running, other.running) == ("freed", [], other.pids)
        assert pids_of(entry) == meant.pids
        assert not here.can_bind()


@pytest.mark.parametrize("is_udp", [True, False], ids=["udp", "bare"])
def test_only_the_protocol_that_is_meant(tmp_path: Path, here: Endpoint, is_udp: bool) -> None:
    """PORT/udp leaves the TCP server of this number alone, and a bare PORT, which is TCP, the UDP one."""
    there = here._replace(protocol="udp")
    with victim(tmp_path, here) as tcp, victim(tmp_path, there) as udp:
        meant, other, end, rest = (udp, tcp, there, here) if is_udp else (tcp, udp, here, there)
        target = f"{here.port}/udp" if is_udp else f"{here.port}"
        with bystanders([rest]):
            entry = kill(tmp_path, {target: [end, *everywhere(here.port, end.protocol)]}, clients=[end])[target]

        assert (entry["status"], entry["protocol"]) == ("freed", end.protocol)
        assert (meant.running, other.running) == ([], other.pids)
        assert not rest.can_bind()


def test_those_that_can_be_are_freed(tmp_path: Path) -> None:
    """Those that can be are freed; no one on one of them is exit code 1 all the same."""
    one, nobody, other = (Endpoint("127.0.0.1", fresh_port()) for _ in range(3))
    with victim(tmp_path, one) as first, victim(tmp_path, other) as second:
        found = kill(tmp_path, {end.target: [end] for end in (one, nobody, other)}, clients=[one, other])

        assert [entry["status"] for entry in found.values()] == ["freed", "nobody", "freed"]
        assert first.running + second.running == []


def test_one_process_on_two_ports(tmp_path: Path) -> None:
    """Asked for both of its ports, a process gets one SIGTERM, also if it takes its time; both are free."""
    one, other = (Endpoint("127.0.0.1", fresh_port()) for _ in range(2))
    with victim(tmp_path, one, other, on_term="slowly") as server:
        found = kill(tmp_path, {end.target: [end] for end in (one, other)})

        assert [entry["status"] for entry in found.values()] == ["freed", "freed"]
        assert (server.running, server.signals()) == ([], 1)


def test_a_client_on_the_same_number_is_in_the_way(tmp_path: Path, here: Endpoint) -> None:
    """A connection from this number on another address keeps a wildcard bind away: reported so, and left alone.

    The server, which has ended, is not said to hold the port.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as sink,
        socket.socket() as client,
        victim(tmp_path, here) as server,
    ):
        client.bind(("127.0.0.2", here.port))
        client.connect(sink.getsockname())
        target = str(here.port)
        entry = kill(tmp_path, {target: everywhere(here.port)[:1]}, clients=[])[target]

        assert entry["status"] == "still-held"
        assert server.running == []
        assert here.can_bind()
        assert client.getpeername() == sink.getsockname()
        assert "kill" not in (entry["hint"] or "")


def test_without_its_first_thread(tmp_path: Path, here: Endpoint) -> None:
    """A server whose first thread has ended, and looks like a zombie, is found and ended like any other."""
    with victim(tmp_path, here, is_headless=True) as server:
        (pid,) = server.pids
        eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z", "it goes on")
        entry = kill(tmp_path, {here.target: [here]})[here.target]

        assert (entry["status"], server.running) == ("freed", [])


# ---------------------------------------------------------------- servers that do not end


def test_listener_closed(tmp_path: Path) -> None:
    """A server that closes its listener and lives on for its connections is left to that, with --force too."""
    ends = [Endpoint("127.0.0.1", fresh_port()) for _ in range(2)]
    for end, options in zip(ends, ([], ["--force"]), strict=True):
        with victim(tmp_path, end, on_term="close") as server:
            command = [*PORTGUARD, "kill", "--yes", *options, end.target]
            with bystanders([end]), started(command, tmp_path) as process:
                eventually(lambda: server.signals() == 1, "it was not asked to end")
                began = time.monotonic()
                code = process.wait(TIMEOUT)
                took = time.monotonic() - began

            assert (code, server.running, server.signals()) == (0, server.pids, 0), options
            assert end.can_bind()
            assert took < _GRACE


# ---------------------------------------------------------------- what takes long, side by side


class Ended:
    """A server, what `kill` said of it, how long that took, and what is left of it."""

    def __init__(self, cwd: Path, kind: str, options: str) -> None:
        if kind in _REAL:
            with _REAL[kind]("127.0.0.1", 0) as real:
                self.end = Endpoint("127.0.0.1", real.port)
                self._look(cwd, Watched([real.pid]), str(real.port), everywhere(real.port), options)
            return
        self.end = Endpoint("127.0.0.1", fresh_port())
        on_term = "end" if kind == "stopped" else "ignore"
        with victim(cwd, self.end, on_term=on_term, supervises=kind == "supervised") as server:
            if kind == "stopped":
                server.send(signal.SIGSTOP)
            self._look(cwd, server, self.end.target, [], options)

    def _look(self, cwd: Path, server: Watched, target: str, more: list[Endpoint], options: str) -> None:
        began = time.monotonic()
        self.entry = kill(cwd, {target: [self.end, *more]}, *options.split(), clients=[self.end])[target]
        self.took = time.monotonic() - began
        self.pids, self.running = server.pids, server.running


_REAL: dict[str, Callable[[str, int], servers.Server]] = {
    "python": servers.python_http, "node": servers.node_http, "java": servers.java_server,
}  # fmt: skip
_STUBBORN = [
    ("ignores", ""), ("ignores", "--force"), ("stopped", ""), ("stopped", "--force"), ("supervised", "--tree"),
    ("supervised", "--tree --force"),
]  # fmt: skip

SideBySide = dict[tuple[str, str], Callable[[], Ended]]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    """Run them all at once: what ignores SIGTERM takes as long as it is given, what might come back is watched."""
    cwd = tmp_path_factory.mktemp("ended")
    real = [kind for kind in _REAL if kind == "python" or capabilities.CAPABILITIES[kind]() is None]
    wanted = [*_STUBBORN, *((kind, "") for kind in real)]
    with ThreadPoolExecutor(len(wanted)) as pool:
        yield {item: pool.submit(Ended, cwd, *item).result for item in wanted}


@pytest.mark.xdist_group("kill")
@pytest.mark.parametrize(
    "kind",
    ["python", *(pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("node", "java"))],
)
def test_real_servers(ended: SideBySide, kind: str) -> None:
    """A python, node or java server is ended by its bare port."""
    found = ended[kind, ""]()

    assert (found.entry["status"], found.entry["hint"], found.entry["successors"]) == ("freed", None, [])
    assert (pids_of(found.entry), found.running) == (found.pids, [])


@pytest.mark.xdist_group("kill")
@pytest.mark.parametrize(("kind", "options"), _STUBBORN, ids=[" ".join(item).strip() for item in _STUBBORN])
def test_it_does_not_end(ended: SideBySide, kind: str, options: str) -> None:
    """A server that ignores SIGTERM, or is stopped, still holds the port after five seconds; --force kills it then.

    The command that is named forces what was asked for: with the same options.
    """
    found = ended[kind, options]()

    assert found.took > _GRACE
    if "--force" in options:
        assert (found.entry["status"], found.running) == ("freed", [])
        return
    assert (found.entry["status"], found.running) == ("still-held", found.pids)
    assert successors_of(found.entry) == found.pids[-1:]
    assert "did not end within 5 s" in found.entry["hint"]
    assert named_in(found.entry) == {"portguard", "kill", "--force", *options.split(), found.end.target}


# ---------------------------------------------------------------- servers that come back


def parent_of(pid: int) -> int:
    """Return a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def assert_came_back(entry: dict[str, Any], server: Victim) -> None:
    """Assert that the report tells of a new child of the supervisor, which is there."""
    supervisor, child = server.pids
    assert (entry["status"], server.running) == ("respawned", [supervisor])
    (successor,) = successors_of(entry)
    assert successor != child
    assert parent_of(successor) == supervisor


@pytest.mark.parametrize("options", [[], ["--force"]], ids=["plain", "force"])
def test_what_a_supervisor_in_the_checkout_starts_again_is_told(
    checkout: Path, here: Endpoint, options: list[str]
) -> None:
    """What a supervisor in the checkout starts again is told, with its pid, and the command that ends both.

    That command has the options that were asked for.
    """
    with victim(checkout, here, supervises=True) as server:
        entry = kill(checkout, {here.target: [here]}, *options)[here.target]

        assert_came_back(entry, server)
        assert pids_of(entry) == server.pids[1:]
        assert f"(pid {server.pids[0]}) starts it again" in entry["hint"]
        assert named_in(entry) == {"portguard", "kill", "--tree", *options, here.target}


def test_respawned_a_while_later(checkout: Path, here: Endpoint) -> None:
    """A supervisor that takes a second before it starts its server again is seen all the same."""
    with victim(checkout, here, supervises=True, restarts_after=1.0) as server:
        entry = kill(checkout, {here.target: [here]})[here.target]

        assert_came_back(entry, server)


def test_with_tree_the_supervisor_goes_as_well(checkout: Path, here: Endpoint) -> None:
    """With --tree the supervisor goes as well, with all below it; the port stays free."""
    with victim(checkout, here, supervises=True) as server:
        entry = kill(checkout, {here.target: [here]}, "--tree")[here.target]

        assert (entry["status"], server.running, pids_of(entry)) == ("freed", [], sorted(server.pids))
        assert here.can_bind()


def test_tree_of_a_stranger(checkout: Path, tmp_path: Path, here: Endpoint) -> None:
    """A supervisor that works elsewhere is not of the tree: it lives, and its server comes back."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with victim(elsewhere, here, supervises=True, child_cwd=str(checkout)) as server:
        entry = kill(checkout, {here.target: [here]}, "--tree")[here.target]

        assert_came_back(entry, server)
        assert pids_of(entry) == server.pids[1:]
        assert f"kill {server.pids[0]}" in entry["hint"]


def test_tree_of_a_script(checkout: Path, here: Endpoint) -> None:
    """A server that a script started through `sh -c`: with --tree the shells go too."""
    serve = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(1, flush=True)"
    serve += "; sys.stdin.read()"
    (checkout / "server.py").write_text(serve)
    (checkout / "dev.sh").write_text(
        f"exec 3<&0\nsh -c 'echo $$; {sys.executable} server.py {here.port} <&3; echo ended'\necho over\n"
    )
    with started(["sh", "dev.sh"], checkout) as script:
        assert script.stdout is not None
        inner = int(script.stdout.readline())
        script.stdout.readline()
        shells = Watched([script.pid, inner])
        entry = kill(checkout, {here.target: [here]}, "--tree")[here.target]

        assert (entry["status"], shells.running) == ("freed", [])
        assert {script.pid, inner} < set(pids_of(entry))
        assert len(pids_of(entry)) == 3
        shells.close()


# ---------------------------------------------------------------- exit codes


def test_exit_codes(tmp_path: Path, here: Endpoint) -> None:
    """0 freed; 1 no one listens; 2 what is not a port, and none at all."""
    with victim(tmp_path, here):
        assert run("--yes", here.target, cwd=tmp_path).returncode == 0
    nobody = run("--yes", here.target, cwd=tmp_path)
    assert (nobody.returncode, nobody.stderr) == (1, b"")
    assert b"not in use" in nobody.stdout
    wrong = [["web"], ["65536"], []]
    with ThreadPoolExecutor(2) as pool:
        for words, done in zip(wrong, pool.map(lambda words: run("--yes", *words, cwd=tmp_path), wrong), strict=True):
            assert (done.returncode, done.stdout) == (2, b""), words
            assert done.stderr


def test_a_mistake_spares_everybody(tmp_path: Path, here: Endpoint) -> None:
    """A port that is none, after one that is: 2, and no one is ended."""
    with victim(tmp_path, here) as server:
        assert run("--yes", here.target, "65536", cwd=tmp_path).returncode == 2
        assert server.running == server.pids


def test_interrupted(tmp_path: Path, here: Endpoint) -> None:
    """Ctrl-C while it waits for a server that ignores SIGTERM: 130, at once, and the server lives; with --force too."""
    with victim(tmp_path, here, on_term="ignore") as server:
        for options in ([], ["--force"]):
            command = [*PORTGUARD, "kill", "--yes", *options, here.target]
            with started(command, tmp_path) as process:
                eventually(lambda: server.signals() > 0, "it was not asked to end")
                os.kill(process.pid, signal.SIGINT)
                began = time.monotonic()
                assert process.wait(_GRACE) == 130
                assert time.monotonic() - began < _GRACE / 2
            assert server.running == server.pids
