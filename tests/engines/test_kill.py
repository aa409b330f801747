"""`portguard kill` and containers: stopped through their engine, a stranger's by name alone, a forwarder never."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PORTGUARD
from tests.engines.test_ours import Stack
from tests.worlds.engine import IMAGE, Engine

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]

_SERVE = ("httpd", "-f", "-p", "80", "-h", "/www")


@pytest.fixture(autouse=True)
def _without_containers(engine: Engine) -> Iterator[None]:
    """Leave nothing behind."""
    yield
    found = engine.docker("ps", "--all", "--quiet").stdout.split()
    if found:
        engine.docker("rm", "--force", *found)


def run(engine: Engine, name: str, *options: str, command: Sequence[str] = _SERVE) -> str:
    """Start a container, which ends as soon as it is asked to; return its identifier."""
    base = ["run", "--detach", "--name", name, "--stop-signal", "KILL", *options, IMAGE, *command]
    return engine.docker(*base, check=True).stdout.strip()


def kill(engine: Engine, *arguments: object, cwd: Path | str = "/", **changed: str) -> dict[str, Any]:
    """Run `portguard kill --yes` beside the engine; return its one entry, exit code and all."""
    done = engine.ns.run(
        [*PORTGUARD, "kill", "--yes", "--json", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=engine.environ() | changed,
    )
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode, done
    (entry,) = document["data"]["ports"]
    found: dict[str, Any] = entry | {"exit_code": done.returncode}
    return found


def is_running(engine: Engine, name: str) -> bool:
    """Whether the container runs."""
    return engine.docker("inspect", "--format", "{{.State.Running}}", name, check=True).stdout.strip() == "true"


def is_free(engine: Engine, port: int) -> bool:
    """Whether a server gets the port beside the engine, by a real bind."""
    code = (
        "import socket; server = socket.socket(); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); "
        f"server.bind(('0.0.0.0', {port}))"
    )
    return engine.ns.run(["python3", "-c", code], capture_output=True).returncode == 0


_CLIENT = """
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def client(engine: Engine) -> Any:
    """Return a maker of clients that are connected to a port."""

    def connect(port: int) -> subprocess.Popen[str]:
        process = engine.ns.popen(
            ["python3", "-c", _CLIENT, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        return process

    return connect


def leave(client: subprocess.Popen[str]) -> None:
    """See that the client still lives, and was not signalled."""
    assert client.poll() is None
    client.communicate("")
    assert client.returncode == 0


def test_a_strangers_container_has_to_be_named(engine: Engine, port: int, client: Any) -> None:
    """--yes alone does not stop it, nor does another name; its full name, or its identifier, does. Its client lives."""
    run(engine, "neighbour-db", "--publish", f"{port}:80", "--restart", "always")
    connected = client(port)
    for names in ([], ["--confirm", "neighbour"], ["--confirm", "neighbour-db2"]):
        entry = kill(engine, *names, port)
        assert (entry["status"], entry["exit_code"]) == ("refused", 1)
        assert f"--confirm neighbour-db {port}" in entry["hint"]
        assert is_running(engine, "neighbour-db")
    assert not is_free(engine, port)

    entry = kill(engine, "--confirm", "neighbour-db", port)
    assert (entry["status"], entry["exit_code"]) == ("freed", 0)
    assert entry["actions"][0] | {"id": None, "text": None} == {
        "kind": "container", "name": "neighbour-db", "text": None, "pids": [], "id": None, "needs_name": True,
    }  # fmt: skip
    assert not is_running(engine, "neighbour-db")
    assert is_free(engine, port)
    leave(connected)


def test_our_own_service(engine: Engine, port: int, client: Any, tmp_path: Path) -> None:
    """--yes stops this project's own service from its directory, and leaves the project's other service running."""
    stack = Stack(engine, tmp_path / "shop").write({"web": [f"{port}:80"], "db": [f"{port + 1}:80"]})
    assert stack.up() == 0
    connected = client(port)
    (tmp_path / "elsewhere").mkdir()

    assert kill(engine, port, cwd=tmp_path / "elsewhere")["status"] == "refused"
    assert not is_free(engine, port)
    plan = kill(engine, "--dry-run", port, cwd=stack.directory)
    assert (plan["status"], plan["actions"][0]["needs_name"], plan["exit_code"]) == ("planned", False, 0)
    assert kill(engine, port, cwd=stack.directory)["status"] == "freed"
    assert is_free(engine, port)
    assert not is_free(engine, port + 1)
    leave(connected)


def test_without_the_engine_its_forwarder_is_left_alone(engine: Engine, port: int) -> None:
    """Where the engine cannot be asked, docker-proxy is refused with the command that finds the container."""
    run(engine, "shy", "--publish", f"{port}:80")
    for arguments in ([], ["--force", "--tree", "--confirm", "shy"]):
        entry = kill(engine, *arguments, port, DOCKER_HOST="unix:///nonexistent.sock")
        assert (entry["status"], entry["actions"]) == ("refused", [])
        assert f"docker ps --filter publish={port}" in entry["hint"]
    assert is_running(engine, "shy")
    assert not is_free(engine, port)


def test_a_server_in_a_container_without_a_network_of_its_own(engine: Engine, port: int) -> None:
    """On the host's network the server itself listens: its container is stopped, and without the engine no one is."""
    identifier = run(engine, "bare", "--network", "host", command=("httpd", "-f", "-p", str(port)))
    while is_free(engine, port):
        pass
    entry = kill(engine, port, DOCKER_HOST="unix:///nonexistent.sock")
    assert (entry["status"], entry["actions"]) == ("refused", [])
    assert f"docker stop {identifier[:12]}" in entry["hint"]
    assert is_running(engine, "bare")

    assert kill(engine, "--confirm", "bare", port)["status"] == "freed"
    assert not is_running(engine, "bare")
    assert is_free(engine, port)


def test_an_engine_that_does_not_stop_it(engine: Engine, port: int, tmp_path: Path) -> None:
    """What the engine says no to is still held, and the engine's answer is told; nothing else is tried."""
    run(engine, "stubborn", "--publish", f"{port}:80")
    listed = engine.docker("ps", "--no-trunc", "--quiet", check=True).stdout.strip()
    socket_path = tmp_path / "no.sock"
    code = f"""
import http.client, socket, sys
server = socket.socket(socket.AF_UNIX); server.bind({str(socket_path)!r}); server.listen(); print("up", flush=True)
while True:
    client, _ = server.accept()
    request = client.recv(65536)
    if request.startswith(b"POST"):
        client.sendall(b"HTTP/1.0 500 No\\r\\n\\r\\n{{}}")
    else:
        engine = socket.socket(socket.AF_UNIX); engine.connect({str(engine.socket)!r}); engine.sendall(request)
        while part := engine.recv(65536):
            client.sendall(part)
    client.close()
"""
    with subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE, text=True) as gate:
        assert gate.stdout is not None
        assert gate.stdout.readline() == "up\n"
        entry = kill(engine, "--confirm", listed, port, DOCKER_HOST=f"unix://{socket_path}")
        gate.kill()

    assert (entry["status"], entry["exit_code"]) == ("still-held", 1)
    assert "the engine answered 500" in entry["message"]
    assert "docker stop stubborn" in entry["hint"]
    assert is_running(engine, "stubborn")


def test_nothing_dies_for_a_container_that_a_process_shares_a_number_with(engine: Engine, port: int) -> None:
    """A container on one address and a stranger's server on another: the address that is typed decides."""
    run(engine, "one", "--publish", f"127.0.0.2:{port}:80")
    code = (
        f"import socket, sys; server = socket.create_server(('127.0.0.1', {port})); print('up', flush=True); "
        "sys.stdin.read()"
    )
    with engine.ns.popen(
        ["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        assert kill(engine, f"127.0.0.1:{port}")["status"] == "freed"
        assert server.wait(10) == -15
    assert is_running(engine, "one")
    assert kill(engine, "--confirm", "one", f"127.0.0.2:{port}")["status"] == "freed"
    assert not is_running(engine, "one")
