"""What the tool is for, end to end: two compose projects that want one port, on a real engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.conftest import Check
from tests.worlds.engine import Engine, write_project

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]


def project(directory: Path, port: int) -> Path:
    """Write a compose project that publishes `port`, and the config that declares it."""
    write_project(directory, port)
    (directory / "portguard.toml").write_text(f'[ports.web]\nport = {port}\nhost = "127.0.0.1"\nservice = "web"\n')
    return directory


def test_check_says_what_up_will_do(engine: Engine, check: Check, port: int, tmp_path: Path) -> None:
    """While stack A publishes the port, B's check exits 1 naming the holder and B's `up` fails; after A, both work."""
    first, second = project(tmp_path / "first", port), project(tmp_path / "second", port)
    assert check(second)["exit_code"] == 0

    assert engine.compose(first, "up", "-d").returncode == 0
    during = check(second)
    up_during = engine.compose(second, "up", "-d")
    engine.compose(second, "down", "-t", "0")
    engine.compose(first, "down", "-t", "0")
    after = check(second)
    up_after = engine.compose(second, "up", "-d")
    engine.compose(second, "down", "-t", "0")

    entry = during["data"]["ports"][0]
    assert (during["exit_code"], entry["verdict"], entry["cause"]) == (1, "conflict", "listener")
    assert [process["name"] for process in entry["holders"][0]["processes"]] == ["docker-proxy"]
    assert entry["holders"][0]["container"]["name"] in entry["message"]
    assert "stop it: docker stop " in entry["hint"]
    assert "kill" not in entry["hint"]
    assert up_during.returncode != 0
    assert after["exit_code"] == 0
    assert up_after.returncode == 0
