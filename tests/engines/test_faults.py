"""Engines that fail in every way: an answer within its time, at worst a sentence, never anything else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from portguard.engines import command, endpoint, http, query, stop
from portguard.errors import LookupFailedError
from portguard.holders.containers import Engines, relation_of
from portguard.model import Compose, Container
from portguard.rules.attribution import Running
from portguard.rules.engines import ENGINES
from portguard.rules.ownership import OwnStack
from tests.worlds.capabilities import NOBODY
from tests.worlds.netns import run_in_netns

LIMIT = 1.2  # seconds more than without an engine
ID = "0123456789abcdef" * 4
CONTAINER: dict[str, Any] = {
    "Id": ID,
    "Names": ["/web"],
    "Image": "busybox",
    "Labels": {},
    "State": "running",
    "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
    "HostConfig": {"NetworkMode": "default"},
    "NetworkSettings": {"Networks": {}},
}

Serve = Callable[[socket.socket, threading.Event], None]


class Daemon:
    """A server on a Unix socket that lets `serve` talk to each client in a thread of its own."""

    def __init__(self, path: Path, serve: Serve) -> None:
        self._over = threading.Event()
        self._serve = serve
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._clients.append(client)
            self._threads.append(threading.Thread(target=self._talk, args=(client,)))
            self._threads[-1].start()

    def _talk(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            self._serve(client, self._over)

    def stop(self) -> None:
        """End the server, its conversations and their threads."""
        self._over.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join(10)
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(10)


Start = Callable[[Serve], dict[str, str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a fake daemon, and return the environment that leads to it."""
    daemons: list[Daemon] = []

    def run(serve: Serve) -> dict[str, str]:
        path = tmp_path / f"{len(daemons)}.sock"
        daemons.append(Daemon(path, serve))
        return {"DOCKER_HOST": f"unix://{path}", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}

    yield run
    for daemon in daemons:
        daemon.stop()


def saying(data: bytes) -> Serve:
    """Answer with these bytes, whatever is asked."""

    def serve(client: socket.socket, over: threading.Event) -> None:
        client.recv(65536)
        client.sendall(data)

    return serve


def ok(document: Any, *, headers: str = "") -> bytes:
    """Return a whole answer with this document."""
    return (
        f"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n{headers}\r\n".encode() + json.dumps(document).encode()
    )


def silent(client: socket.socket, over: threading.Event) -> None:
    """Accept, read, and never answer: a paused Docker Desktop."""
    client.recv(65536)
    over.wait(30)


def deaf(client: socket.socket, over: threading.Event) -> None:
    """Accept and not even read."""
    over.wait(30)


def slow(client: socket.socket, over: threading.Event) -> None:
    """Give one byte a second of an answer that would be right."""
    client.recv(65536)
    for byte in ok([CONTAINER]):
        client.sendall(bytes([byte]))
        if over.wait(1):
            return


def half(client: socket.socket, over: threading.Event) -> None:
    """Give half the answer and keep the connection."""
    client.recv(65536)
    client.sendall(ok([CONTAINER])[:200])
    over.wait(30)


def endless(client: socket.socket, over: threading.Event) -> None:
    """Never stop talking."""
    client.recv(65536)
    client.sendall(b"HTTP/1.0 200 OK\r\n\r\n[")
    while not over.is_set():
        client.sendall(b"0," * 50_000)


def trickling_fast(client: socket.socket, over: threading.Event) -> None:
    """Send byte by byte, as fast as it goes, and never come to an end."""
    client.recv(65536)
    while not over.is_set():
        client.sendall(b"[")


def hanging_up(client: socket.socket, over: threading.Event) -> None:
    """Hang up without a word."""


def ask(environ: dict[str, str]) -> tuple[query.Answer, float]:
    """Ask the engines; return the answer and the seconds it took."""
    begin = time.monotonic()
    answer = query.ask(environ)
    return answer, time.monotonic() - begin


BIG = [{**CONTAINER, "Id": f"{index:064x}", "Labels": {"filler": "x" * 1000}} for index in range(8_000)]

FAULTS: dict[str, tuple[Serve, str]] = {
    "silent": (silent, "no answer in time"),
    "deaf": (deaf, "no answer in time"),
    "a byte a second": (slow, "no answer in time"),
    "half an answer": (half, "no answer in time"),
    "endless": (endless, "too large"),
    "endless small pieces": (trickling_fast, "no answer in time"),
    "hangs up": (hanging_up, ""),
    "empty": (saying(b""), "nothing that is HTTP"),
    "500": (saying(b'HTTP/1.0 500 Internal Server Error\r\n\r\n{"message": "boom"}'), "answered 500"),
    "wrong version": (saying(b'HTTP/1.0 400 Bad Request\r\n\r\n{"message": "client version 1.24 is too old"}'), "400"),
    "302": (saying(b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n"), "answered 302"),
    "truncated": (saying(ok([CONTAINER])[:-20]), "not JSON"),
    "not JSON": (saying(b"HTTP/1.0 200 OK\r\n\r\n<html>"), "not JSON"),
    "no body": (saying(b"HTTP/1.0 200 OK\r\n\r\n"), "not JSON"),
    "no HTTP": (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "nothing that is HTTP"),
    "HTTP without a number": (saying(b"HTTP/1.0 \xff\x1b[2J\r\n\r\n[]"), "nothing that is HTTP"),
    "an object": (saying(ok({"message": "x"})), "not a list"),
    "a number": (saying(ok(7)), "not a list"),
    "deep nesting": (saying(b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 500_000), "not JSON"),
    "deeper nesting": (saying(b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 10_000_000), "too large"),
    "a huge number": (saying(b"HTTP/1.0 200 OK\r\n\r\n[" + b"1" * 1_000_000 + b"]"), "not JSON"),
    "not UTF-8": (saying(b'HTTP/1.0 200 OK\r\n\r\n["\xff\xfe\x80"]'), "not JSON"),
    "10 MB of nonsense": (saying(b"HTTP/1.0 200 OK\r\n\r\n" + os.urandom(10_000_000)), "not JSON"),
    "64 MB": (saying(b"HTTP/1.0 200 OK\r\n\r\n" + b" " * 64_000_000), "too large"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_a_sentence(start: Start, name: str) -> None:
    """Each fault gives no container and one sentence that says what is wrong, within the time."""
    serve, sentence = FAULTS[name]
    environ = start(serve)

    answer, seconds = ask(environ)

    assert answer.containers == ()
    assert not answer.has_answered
    assert len([failure for failure in answer.failures if "0.sock" in failure and sentence in failure]) == 1
    assert all(failure.isprintable() for failure in answer.failures)
    assert seconds <= LIMIT


FORWARDER = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, b"docker-proxy", 0, 0, 0)
sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "name",
    [
        "no daemon", "silent", "a byte a second", "500", "wrong version", "truncated", "10 MB of nonsense", "hangs up",
        "deep nesting",
    ],
)  # fmt: skip
def test_a_check_goes_on(start: Start, name: str, tmp_path: Path) -> None:
    """With a holder that could be an engine's and a broken engine, the verdict stands, the exit code, and the time."""
    environ = {"HOME": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    if name in FAULTS:
        environ = start(FAULTS[name][0])
    with subprocess.Popen(
        [sys.executable, "-c", FORWARDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as forwarder:
        assert forwarder.stdin is not None
        assert forwarder.stdout is not None
        port = int(forwarder.stdout.readline())
        begun = time.monotonic()
        try:
            report = library.check(f"127.0.0.1:{port}", environ=environ)
        except Exception as error:  # noqa: BLE001 - whatever it is, the check has ended with it
            pytest.fail(f"the check ended with {error!r}")
        finally:
            seconds = time.monotonic() - begun
            forwarder.stdin.close()

    (entry,) = report.ports
    assert (entry.verdict, entry.cause, report.exit_code) == ("conflict", "listener", 1)
    assert "kill" not in (entry.hint or "")
    assert ("engine" in [note.id for note in entry.notes]) == (name in FAULTS)
    assert seconds <= LIMIT


def test_ten_megabytes_are_read(start: Start) -> None:
    """A right answer of 10 MB is still read, and in time."""
    data = ok(BIG)
    assert len(data) > 10_000_000

    answer, seconds = ask(start(saying(data)))

    assert (len(answer.containers), answer.has_answered) == (8_000, True)
    assert seconds <= LIMIT


def test_the_costliest_answer(start: Start) -> None:
    """Megabytes of the smallest objects are refused, and as many as are not refused take no longer than there is."""
    for count in (5_000_000, 349_000):
        answer, seconds = ask(start(saying(b"HTTP/1.0 200 OK\r\n\r\n[" + b"{}," * count + b"{}]")))

        assert answer.containers == ()
        assert answer.has_answered is (count == 349_000)
        assert seconds <= LIMIT


def test_a_silent_engine_takes_nothing_from_the_others(start: Start, tmp_path: Path) -> None:
    """Two engines that never answer leave a third its containers, and all of it takes one deadline."""
    environ = start(silent)
    (tmp_path / "podman").mkdir()
    others = [
        Daemon(tmp_path / "docker.sock", slow),
        Daemon(tmp_path / "podman" / "podman.sock", saying(ok([CONTAINER]))),
    ]
    try:
        answer, seconds = ask(environ)
    finally:
        for other in others:
            other.stop()

    assert [running.identity.name for running in answer.containers] == ["web"]
    assert [running.identity.engine for running in answer.containers] == ["podman"]
    assert answer.endpoints[ID].host == f"unix://{tmp_path}/podman/podman.sock"
    assert not answer.has_answered
    assert len([failure for failure in answer.failures if str(tmp_path) in failure]) == 2
    assert seconds <= LIMIT


def test_relation_does_not_depend_on_what_was_asked_before(start: Start, tmp_path: Path) -> None:
    """A leftover of `compose run` is one, whether or not the engines were asked about anything else first."""
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.project.working_dir": str(tmp_path),
        "com.docker.compose.oneoff": "True",
    }
    leftover = Container("docker", ID, "web", None, Compose("shop", "web", str(tmp_path)))
    stack = OwnStack("shop", os.path.realpath(tmp_path), ("web",))
    environ = start(saying(ok([CONTAINER | {"Labels": labels}])))
    asked = Engines(environ)
    asked.answer()

    found = [relation_of(leftover, "web", stack, engines) for engines in (Engines(environ), asked)]
    assert found == ["oneoff", "oneoff"]


@pytest.mark.parametrize("header", ["Libpod-API-Version: 4.3.1\r\n", "Server: Libpod/4.3.1 (linux)\r\n"])
def test_podman_behind_docker_s_variable(start: Start, header: str) -> None:
    """Podman that answers where docker was expected is still Podman."""
    answer, _ = ask(start(saying(ok([CONTAINER], headers=header))))

    assert [running.identity.engine for running in answer.containers] == ["podman"]
    assert answer.has_answered


def test_no_daemon(tmp_path: Path) -> None:
    """A socket without a server, a plain file and a path of any length cost a sentence; a missing socket nothing."""
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(left))
    plain = tmp_path / "plain"
    plain.touch()
    deep = tmp_path / ("d" * 100) / "x.sock"
    deep.parent.mkdir()
    deep.touch()

    for path in (left, plain, deep):
        answer, seconds = ask({**environ, "DOCKER_HOST": f"unix://{path}"})
        assert [failure for failure in answer.failures if str(path) in failure]
        assert seconds <= LIMIT
    answer, _ = ask({**environ, "DOCKER_HOST": f"unix://{tmp_path}/missing"})
    assert not [failure for failure in answer.failures if "missing" in failure]
    assert not answer.has_answered


def test_a_queue_that_is_full(tmp_path: Path) -> None:
    """A server whose queue is full is not waited for."""
    path = tmp_path / "full.sock"
    with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as stack:
        server.bind(str(path))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(path))

        answer, seconds = ask({"DOCKER_HOST": f"unix://{path}", "HOME": str(tmp_path)})

    assert not answer.has_answered
    assert [failure for failure in answer.failures if "full.sock" in failure]
    assert seconds <= LIMIT


@pytest.mark.needs("netns", "users")
def test_no_permission() -> None:
    """A socket that this user may not use costs a sentence that says so; nothing is asked, nothing raised."""
    with tempfile.TemporaryDirectory() as directory:  # pytest's own are closed to other users altogether
        path = Path(directory) / "closed.sock"
        daemon = Daemon(path, saying(ok([CONTAINER])))
        path.chmod(0o600)
        path.parent.chmod(0o755)
        try:
            answer = run_in_netns(lambda: query.ask({"DOCKER_HOST": f"unix://{path}"}), uid=NOBODY)
        finally:
            daemon.stop()

    assert answer.containers == ()
    assert not answer.has_answered
    assert [failure for failure in answer.failures if "closed.sock: Permission denied" in failure]


def test_a_context_that_does_not_exist_costs_a_sentence(tmp_path: Path) -> None:
    """A context that does not exist costs a sentence, and engines with a socket are still asked."""
    (tmp_path / "run").mkdir()
    daemon = Daemon(tmp_path / "run" / "docker.sock", saying(ok([CONTAINER])))
    environ = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "\x1b[31mnope", "XDG_RUNTIME_DIR": f"{tmp_path}/run"}
    try:
        answer, _ = ask(environ)
    finally:
        daemon.stop()

    assert answer.primary is None
    assert not answer.has_answered
    assert ID in answer.endpoints
    assert all(failure.isprintable() for failure in answer.failures)
    assert any("nope" in failure for failure in answer.failures)


GARBAGE: list[Any] = [
    None, True, False, 0, -1, 1.5, 65536, 10**30, "", "x", "80", "\x1b[2J", "\ud800", [], [[]], [None], {}, {"": {}},
    {"80/tcp": None}, {"80/tcp": [None, {"HostPort": 7}, {"HostPort": "9" * 5000, "HostIp": []}]}, [{"IP": 5}],
    [{"IP": "::", "PrivatePort": True, "PublicPort": "80", "Type": {}}], {"x": {"IPAddress": 7}}, [{"range": "x"}],
    [{"host_port": 65535, "container_port": 65535, "range": 10**12, "protocol": "tcp"}],
]  # fmt: skip
INSPECTED: dict[str, Any] = {
    "Id": ID,
    "Name": "/web",
    "State": {"Running": True, "Status": "running"},
    "Config": {"Image": "busybox", "Labels": {}},
    "HostConfig": {"NetworkMode": "default", "PortBindings": {}, "RestartPolicy": {"Name": "always"}},
    "NetworkSettings": {"Ports": {}, "Networks": {}},
}
PODMAN: dict[str, Any] = {"Id": ID, "Names": ["web"], "Image": "busybox", "Labels": {}, "Ports": [], "State": "running"}
SERVICE: dict[str, Any] = {"ID": "abc", "Spec": {"Name": "web", "TaskTemplate": {}}, "Endpoint": {"Ports": []}}


def variants(document: dict[str, Any]) -> Iterator[Any]:
    """Yield the document with garbage in place of every value, at every depth, and garbage in its own place."""
    yield from GARBAGE
    for key, value in document.items():
        for replacement in variants(value) if isinstance(value, dict) else GARBAGE:
            yield {**document, key: replacement}


def test_garbage_in_every_field() -> None:
    """Values of every wrong type in every field give well-formed records or none, in all four sources."""
    from portguard.engines import containers

    found: list[Running] = []
    count = 0
    sources: list[tuple[dict[str, Any], Callable[[Any], tuple[Running, ...]]]] = [
        (CONTAINER, lambda answer: containers.from_list(answer, "docker")),
        (INSPECTED, lambda answer: containers.from_inspect(answer, "docker")),
        (PODMAN, lambda answer: containers.from_ps(answer, "podman")),
        (SERVICE, containers.from_services),
    ]
    for document, read in sources:
        for variant in variants(document):
            for answer in (variant, [variant]):
                count += 1
                found += read(answer)

    assert count > 1000
    for running in found:
        assert isinstance(running.identity.id, str)
        assert isinstance(running.identity.name, str)
        assert isinstance(running.state, str)
        for published in (*running.ports, *running.asked):
            assert type(published.port) is int
            assert 0 <= published.port <= 65535
            assert published.protocol in ("tcp", "udp")
            assert isinstance(published.address, str)
        assert all(published.port for published in running.ports)


# ---------------------------------------------------------------- engines behind a command


def script(directory: Path, name: str, body: str) -> dict[str, str]:
    """Write a program of this name, and return an environment in which it is the one that is found."""
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin", "HOME": str(directory), "DOCKER_HOST": "ssh://box.invalid"}


COMMANDS = {
    "fails": ("exit 1", "exit code 1"),
    "hangs": ("exec sleep 60", "in time"),
    "leaves a child that hangs": ("sleep 60", "in time"),
    "closes its output and hangs": ("exec sleep 60 >&-", "in time"),
    "endless": ("exec cat /dev/zero", "too much"),
    "not JSON": ("echo 0123", "not JSON"),
    "killed": ("kill -9 $$", "exit code"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_fails(tmp_path: Path, name: str) -> None:
    """A docker or podman command that fails, hangs or babbles ends with a sentence and by its deadline."""
    body, sentence = COMMANDS[name]

    for program, engine in ENGINES.items():
        environ = script(tmp_path / program, program, body)
        begin = time.monotonic()
        with pytest.raises(LookupFailedError, match=sentence):
            command.running(engine, environ, deadline=0.5)
        assert time.monotonic() - begin <= LIMIT


def test_without_the_docker_command_a_remote_engine_costs_a_sentence(tmp_path: Path) -> None:
    """Without the docker command a remote engine costs a sentence; without podman there is nothing to ask."""
    environ = {"PATH": str(tmp_path), "HOME": str(tmp_path), "DOCKER_HOST": "ssh://box.invalid"}

    answer, _ = ask(environ)

    assert answer.failures == ("DOCKER_HOST: docker could not be run",)
    assert answer.primary == endpoint.EngineEndpoint("ssh://box.invalid", "DOCKER_HOST")
    assert query.ask_command(ENGINES["podman"], environ) == ()


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    """A helper that outlives the docker command, as ssh does, is ended with it."""
    environ = script(tmp_path / "bin", "docker", f"sleep 60 & echo $! > {tmp_path}/pid; wait")

    with pytest.raises(LookupFailedError, match="in time"):
        command.running(ENGINES["docker"], environ, deadline=0.5)

    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        threading.Event().wait(0.01)
    pytest.fail("the helper still runs")


def test_a_command_s_containers(tmp_path: Path) -> None:
    """What `docker inspect` prints for a remote engine is read; one that went away in the meantime costs nothing."""
    (tmp_path / "answer").write_text(
        json.dumps([{**INSPECTED, "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}}])
    )
    body = f'if [ "$1" = ps ]; then printf "{ID}\\n{ID[::-1]}\\n"; else cat {tmp_path}/answer; exit 1; fi'

    answer, _ = ask(script(tmp_path / "bin", "docker", body))

    assert answer.has_answered
    assert [(running.identity.name, running.ports[0].port) for running in answer.containers] == [("web", 8080)]
    assert answer.containers[0].restart_policy == "always"


# ---------------------------------------------------------------- further questions


def by_path(table: dict[str, bytes]) -> Serve:
    """Answer each path with its own bytes, 404 for others."""

    def serve(client: socket.socket, over: threading.Event) -> None:
        path = client.recv(65536).split(b" ")[1].decode()
        client.sendall(table.get(path, b'HTTP/1.0 404 Not Found\r\n\r\n{"message": "No such container"}'))

    return serve


def test_containers_that_publish_nothing(start: Start) -> None:
    """Of a project's containers without ports, the one whose bindings asked for some is found (moby#51758)."""
    project = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    wanted = {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}
    restarting = {"Running": True, "Restarting": True, "Status": "restarting"}
    names = {"a" * 64: ("broken", wanted, INSPECTED["State"]), "b" * 64: ("plain", {}, INSPECTED["State"])}
    names["c" * 64] = ("looping", wanted, restarting)
    names["d" * 64] = ("gone", wanted, {"Running": False, "Status": "exited"})
    listed = [{**CONTAINER, "Id": key, "Labels": project, "Ports": []} for key in (*names, "e" * 64)]
    table = {"/containers/json": ok([*listed, {**CONTAINER, "Labels": project}])}
    for key, (name, host, state) in names.items():
        table[f"/containers/{key}/json"] = ok(
            {**INSPECTED, "Id": key, "Name": name, "HostConfig": host, "State": state}
        )
    answer, _ = ask(start(by_path(table)))

    assert [running.identity.name for running in query.publishing_nothing(answer, "shop")] == ["broken"]
    assert query.publishing_nothing(answer, "other") == ()


def test_one_container_is_told_in_full(start: Start) -> None:
    """One container is told in full; an unknown one, and what cannot be an identifier, is None."""
    environ = start(by_path({f"/containers/{ID}/json": ok(INSPECTED)}))
    engine = endpoint.find_endpoint(environ)

    found = query.inspect(engine, ID)

    assert found is not None
    assert found.restart_policy == "always"
    assert query.inspect(engine, "f" * 64) is None
    assert query.inspect(engine, "../images") is None
    assert query.inspect(engine, "²") is None


@pytest.mark.parametrize("identifier", ["../images", "a b", "--all", "x\r\nX-Evil: 1", "", "²", "$(id)"])
def test_stop_takes_identifiers_alone(start: Start, identifier: str, tmp_path: Path) -> None:
    """What an engine calls an identifier, and is none, reaches neither an engine's socket nor a command line."""
    asked: list[bytes] = []
    environ = start(lambda client, _: asked.append(client.recv(65536)))
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    docker.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    for where in (endpoint.find_endpoint(environ), None):
        assert stop.stop("docker", identifier, where, environ | path) == "its identifier is invalid"

    assert asked == []
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "reply",
    [
        b'HTTP/1.0 503 Service Unavailable\r\n\r\n{"message": "This node is not a swarm manager."}',
        ok({}), ok([7]), b"",
        ok([{"ID": 7, "Spec": {"Name": "x"}, "Endpoint": {"Ports": [{"PublishedPort": 1, "TargetPort": 1}]}}]),
    ],
)  # fmt: skip
def test_an_engine_outside_a_swarm(start: Start, reply: bytes) -> None:
    """An engine outside a swarm, and one that answers nonsense, has no services."""
    assert query.services(endpoint.find_endpoint(start(saying(reply)))) == ()


def test_get_needs_a_socket(tmp_path: Path) -> None:
    """The one question form for callers raises a sentence where there is nothing."""
    with pytest.raises(LookupFailedError, match="No such file"):
        http.get(str(tmp_path / "none"), "/info")
    with pytest.raises(LookupFailedError, match="no path"):
        http.get("\ud800", "/info")
