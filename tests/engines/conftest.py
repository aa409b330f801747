"""One real dockerd for all tests of this folder, in a network namespace of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PORTGUARD
from tests.worlds.engine import Engine, docker_engine

Check = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return a running engine."""
    with docker_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture
def port(engine: Engine) -> int:
    """Return a port that is free in the engine's namespace, with free ones after it."""
    done = engine.ns.run([*PORTGUARD, "free", "--no-lease", "--range", "20000-30000"], capture_output=True, text=True)
    return int(done.stdout)


@pytest.fixture
def check(engine: Engine) -> Check:
    """Run `portguard check --json` in a directory, beside the engine, and return its document."""

    def run(directory: Path, *arguments: str) -> dict[str, Any]:
        done = engine.ns.run(
            [*PORTGUARD, "check", "--json", *arguments],
            capture_output=True,
            text=True,
            cwd=directory,
            env=engine.environ(),
        )
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["exit_code"] == done.returncode, done
        assert "Traceback" not in done.stderr
        return document

    return run
