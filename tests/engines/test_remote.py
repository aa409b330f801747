"""An engine whose ports are elsewhere: its own table answers, and what cannot be known is said to be unknown."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import portguard
from tests.conftest import PORTGUARD
from tests.worlds.capabilities import NOBODY
from tests.worlds.engine import IMAGE, Engine
from tests.worlds.users import interpreter

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]

SERVE = ["httpd", "-f", "-p", "80", "-h", "/www"]


def compose_file(directory: Path, port: int) -> Path:
    """Write a compose project that publishes `port`."""
    directory.mkdir(exist_ok=True)
    (directory / "docker-compose.yml").write_text(
        f"version: '2.4'\nservices:\n  web:\n    image: {IMAGE}\n    command: {' '.join(SERVE)}\n"
        f"    stop_signal: SIGKILL\n    ports: ['{port}:80']\n"
    )
    return directory


def check(engine: Engine, directory: Path, host: str, *arguments: str) -> dict[str, Any]:
    """Run `portguard check --json` in the directory with this DOCKER_HOST."""
    done = engine.ns.run(
        [*PORTGUARD, "check", "--json", *arguments],
        capture_output=True,
        text=True,
        cwd=directory,
        env={**engine.environ(), "DOCKER_HOST": host},
    )
    assert "Traceback" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@contextmanager
def relay(engine: Engine, address: str) -> Iterator[str]:
    """Make the engine's socket reachable under a TCP address that is not the loopback's; yield the DOCKER_HOST."""
    code = (
        "import socket, sys, threading\n"
        "server = socket.create_server((sys.argv[1], 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "def pump(one, other):\n"
        "    try:\n"
        "        while data := one.recv(65536):\n"
        "            other.sendall(data)\n"
        "        other.shutdown(socket.SHUT_WR)\n"
        "    except OSError:\n"
        "        pass\n"
        "while True:\n"
        "    client, _ = server.accept()\n"
        "    engine = socket.socket(socket.AF_UNIX)\n"
        "    engine.connect(sys.argv[2])\n"
        "    for pair in ((client, engine), (engine, client)):\n"
        "        threading.Thread(target=pump, args=pair, daemon=True).start()\n"
    )
    process = engine.ns.popen([sys.executable, "-c", code, address, str(engine.socket)], stdout=-1, text=True)
    assert process.stdout is not None
    try:
        yield f"tcp://{address}:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.stdout.close()
        process.wait(10)


def test_unreachable_is_unknown(engine: Engine, port: int, tmp_path: Path) -> None:
    """An engine elsewhere that does not answer: unknown, a note, exit 0; --strict exits 3. Local ports say nothing."""
    project = compose_file(tmp_path / "shop", port)
    host = "tcp://192.0.2.1:2375"

    document = check(engine, project, host)
    strict = check(engine, project, host, "--strict")

    (entry,) = document["data"]["ports"]
    assert (entry["verdict"], document["exit_code"], strict["exit_code"]) == ("unknown", 0, 3)
    assert any("192.0.2.1" in note["message"] for note in entry["notes"])


def test_the_engine_s_own_table_answers(engine: Engine, port: int, tmp_path: Path) -> None:
    """A port the engine publishes for someone else is a conflict, for this project's service ours, else unknown."""
    # An address that is not the loopback's, and so by its looks another machine's.
    assert engine.ns.run(["ip", "address", "add", "198.51.100.7/32", "dev", "lo"]).returncode == 0
    own, other = compose_file(tmp_path / "shop", port), compose_file(tmp_path / "blog", port)
    with relay(engine, "198.51.100.7") as host:
        before = check(engine, own, host)
        assert engine.compose(own, "up", "-d").returncode == 0
        try:
            mine, theirs = check(engine, own, host), check(engine, other, host)
            strict = check(engine, own, host, "--strict")
        finally:
            engine.compose(own, "down", "-t", "0")

    verdicts = [(found["data"]["ports"][0]["verdict"], found["exit_code"]) for found in (before, mine, theirs)]
    assert verdicts == [("unknown", 0), ("ours", 0), ("conflict", 1)]
    assert (strict["data"]["ports"][0]["verdict"], strict["exit_code"]) == ("conflict", 1)
    assert "compose project shop" in theirs["data"]["ports"][0]["message"]


def test_a_socket_lent_to_a_container(engine: Engine, port: int, tmp_path: Path) -> None:
    """Inside a container with the engine's socket mounted, the ports are the host's: the bind in there is not asked."""
    program = os.path.realpath(interpreter(NOBODY).program)  # not an environment's, which is a link
    project = compose_file(tmp_path / "shop", port)
    # One and the same where portguard is installed.
    places = dict.fromkeys((sysconfig.get_path("purelib"), str(Path(portguard.__file__).parents[1])))
    engine.docker("run", "--detach", "--name", "stranger", "--publish", f"{port}:80", IMAGE, *SERVE)
    paths = dict.fromkeys(("/usr", "/lib", "/lib64", "/etc/ld.so.cache", sys.base_prefix, *places))
    mounts = [f"{path}:{path}:ro" for path in paths if os.path.exists(path)]
    try:
        done = engine.docker(
            "run",
            "--rm",
            *(word for mount in mounts for word in ("--volume", mount)),
            *("--volume", f"{engine.socket}:/var/run/docker.sock", "--volume", f"{project}:{project}"),
            *("--workdir", str(project), "--env", f"PYTHONPATH={':'.join(places)}", "--env", "HOME=/"),
            IMAGE,
            *(program, "-m", "portguard", "check", "--json"),
        )
    finally:
        engine.docker("rm", "--force", "stranger")

    assert done.stdout, done.stderr
    (entry,) = json.loads(done.stdout)["data"]["ports"]
    assert entry["verdict"] == "conflict"
    assert entry["holders"][0]["container"]["name"] == "stranger"
    assert "remote-engine" in [note["id"] for note in entry["notes"]]
