"""What every test gets: an environment without the user's settings, a state directory of its own, real capabilities."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import amount
from tests.worlds import capabilities, netns

# The installed command, as users run it.
PORTGUARD = [str(Path(sys.executable).with_name("portguard"))]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests' children be interrupted: a runner in the background or under nohup hands down ignored signals."""
    if "slow" in (config.option.markexpr or ""):
        os.environ[amount.WHOLE] = "1"
    settings.register_profile("beside others", suppress_health_check=[HealthCheck.too_slow])  # who is slow has no fault
    settings.load_profile("beside others")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # thousands of commands would each compile the package anew
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run one more than there are processors: every day, engines, servers and deadlines are waited for."""
    return (os.cpu_count() or 1) + ("slow" not in (config.option.markexpr or ""))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, by name, what this machine cannot do; PORTGUARD_TEST_REQUIRE_ALL=1 makes that a failure."""
    capabilities.require_marked(item)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests to those who ask for them with `-m slow`, and the scaled ones whole."""
    for item in items:
        if "engines" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group("engine"))  # one engine for all of them
    if "slow" in (config.option.markexpr or ""):
        for item in items:
            if item.get_closest_marker("scaled") is not None:
                item.add_marker("slow")
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("slow") is not None])
    items[:] = [item for item in items if item.get_closest_marker("slow") is None]


@pytest.fixture(autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's state directory, colours and variables out of every test."""
    for name in list(os.environ):
        if name.startswith(("PORTGUARD_", "SUDO_", "GIT_", "COMPOSE_", "DOCKER_")) and "_TEST_" not in name:
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "PYTHONUNBUFFERED"):
        monkeypatch.delenv(name, raising=False)
    own = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("PORTGUARD_STATE_DIR", str(own / "portguard"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(own / "cache"))


@pytest.fixture(scope="module", autouse=True)
def _own_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give each file of tests a network of its own, so that no one else's sockets are on the ports it was given.

    Where that is not possible, and for files that reach package registries or an engine, it is the machine's.
    """
    module = request.node
    if module.get_closest_marker("registries") or "engines" in module.path.parts or not netns.can_move():
        yield
        return
    with netns.moved():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for all examples of a property: the one pytest has lies above those of all other tests."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """Return a directory that every user can reach: pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="portguard-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def busy() -> Iterator[int]:
    """Return a TCP port of 127.0.0.1 this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def idle() -> int:
    """Return a TCP port of 127.0.0.1 that no one listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def portguard(tmp_path: Path) -> Run:
    """Run the command in an empty directory; keyword arguments go to `subprocess.run`."""

    def run(*arguments: str | Path | int, **options: Any) -> subprocess.CompletedProcess[str]:
        options.setdefault("cwd", tmp_path)
        return subprocess.run(
            [*PORTGUARD, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )

    return run


@pytest.fixture
def answer(portguard: Run) -> Callable[..., dict[str, Any]]:
    """Run the command with --json and return its document."""

    def run(*arguments: str | Path | int, **options: Any) -> dict[str, Any]:
        done = portguard(*arguments, "--json", **options)
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["exit_code"] == done.returncode, done
        return document

    return run
