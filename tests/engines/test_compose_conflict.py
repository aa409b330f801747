"""What the tool is for, end to end: two compose projects that want one port, on a real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PORTGUARD
from tests.worlds.engine import IMAGE, Engine, docker_engine

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return a dockerd of this test's own, in a network namespace of its own."""
    with docker_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


def project(directory: Path, port: int) -> Path:
    """Write a compose project that publishes `port`, and the config that declares it."""
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(
        "version: '3'\n"
        "services:\n"
        "  web:\n"
        f"    image: {IMAGE}\n"
        "    command: httpd -f -p 80 -h /www\n"
        "    ports:\n"
        f"      - '127.0.0.1:{port}:80'\n"
    )
    (directory / "portguard.toml").write_text(f'[ports.web]\nport = {port}\nhost = "127.0.0.1"\nservice = "web"\n')
    return directory


def free_port_in(engine: Engine) -> int:
    """Return a port that is free in the engine's namespace."""
    done = engine.ns.run([*PORTGUARD, "free", "--no-lease"], capture_output=True, text=True)
    return int(done.stdout)


def check(engine: Engine, directory: Path) -> dict[str, Any]:
    """Run `portguard check` in the project, where the engine's ports are."""
    done = engine.ns.run([*PORTGUARD, "check", "--json"], capture_output=True, text=True, cwd=directory)
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    return document


def test_check_says_what_up_will_do(engine: Engine, tmp_path: Path) -> None:
    """While stack A publishes the port, B's check exits 1 naming the holder and B's `up` fails; after A, both work."""
    port = free_port_in(engine)
    first, second = project(tmp_path / "first", port), project(tmp_path / "second", port)
    assert check(engine, second)["exit_code"] == 0

    assert engine.compose(first, "up", "-d").returncode == 0
    during = check(engine, second)
    up_during = engine.compose(second, "up", "-d")
    engine.compose(second, "down", "-t", "0")
    engine.compose(first, "down", "-t", "0")
    after = check(engine, second)
    up_after = engine.compose(second, "up", "-d")
    engine.compose(second, "down", "-t", "0")

    entry = during["data"]["ports"][0]
    assert (during["exit_code"], entry["verdict"], entry["cause"]) == (1, "conflict", "listener")
    assert [process["name"] for process in entry["holders"][0]["processes"]] == ["docker-proxy"]
    assert f"docker ps --filter publish={port}" in entry["hint"]
    assert "kill" not in entry["hint"]
    assert up_during.returncode != 0
    assert after["exit_code"] == 0
    assert up_after.returncode == 0
