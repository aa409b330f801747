"""Sight from inside real containers: no capability, numbers of their own, this host's network or one of their own."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.sight_judge import wrongs
from tests.worlds import sights
from tests.worlds.capabilities import NOBODY
from tests.worlds.engine import IMAGE, Engine
from tests.worlds.sights import HIDDEN, NONE, ROOT, Profile, World

pytestmark = [pytest.mark.needs("docker", "users", "ipv6"), pytest.mark.slow]

# By name: options of `docker run`, the user, where the command finds itself, and what it learns of owners outside.
_CONTAINERS = {
    "on the host's network": (["--network=host"], ROOT, "here", NONE),
    "on the host's network, not root": (["--network=host"], NOBODY, "here", NONE),
    "among the host's processes": (["--network=host", "--pid=host"], ROOT, "here", HIDDEN),
    "on a network of its own": ([], ROOT, "elsewhere", NONE),
}


@pytest.fixture(scope="module")
def world(engine: Engine) -> Iterator[World]:
    """Hold sockets beside the engine."""
    low = random.sample(range(200, 1000), 2)
    with sights.place() as directory, sights.hold_sockets(engine.ns, low[0]) as sockets:
        with sights.hold_sockets(engine.ns, low[1]) as gone:
            pass
        networks = {"here": engine.ns, "elsewhere": engine.ns}
        yield World(networks, {"here": sockets, "elsewhere": ()}, (gone[0].port, low[1]), directory)


def container(engine: Engine, world: World, options: list[str], uid: int) -> tuple[str, ...]:
    """Return what runs a command in a container that has this Python, and no capability."""
    _, environ = sights.interpreter(uid, world)
    # The image is one static program: the system's libraries, the interpreters, this project and what it needs.
    shared = {"/usr": "/usr", "/usr/lib": "/lib", "/usr/lib64": "/lib64"}
    shared |= {path: path for path in (sys.prefix, sys.base_prefix, *environ["PYTHONPATH"].split(os.pathsep))}
    volumes = [f"--volume={path}:{place}:ro" for path, place in shared.items() if Path(path).is_dir()]
    kept = [f"--env={name}={environ[name]}" for name in ("HOME", "PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")]
    return (
        "docker", f"--host=unix://{engine.socket}", "run", "--rm", "--cap-drop=ALL", f"--user={uid}:{uid}",
        f"--volume={world.directory}:{world.directory}", f"--workdir={world.directory}",
        *volumes, *kept, *options, IMAGE,
    )  # fmt: skip


def test_the_container_is_one(engine: Engine, world: World) -> None:
    """It has no capability, processes and files of its own; else nothing below proves anything."""
    code = "import os; print(os.getpid(), os.path.exists('/.dockerenv'), open('/proc/self/status').read())"
    program, environ = sights.interpreter(ROOT, world)
    done = engine.ns.run(
        [*container(engine, world, [], ROOT), program, "-c", code], env=environ, capture_output=True, text=True
    )
    assert done.stdout.startswith("1 True "), done.stderr
    assert "CapEff:\t0000000000000000" in done.stdout


@pytest.mark.parametrize("name", _CONTAINERS)
def test_in_a_container_of_a_real_engine(name: str, engine: Engine, world: World) -> None:
    """In a container of a real engine, without any capability, each command says what can be seen from there."""
    options, uid, network, owners = _CONTAINERS[name]
    enter = container(engine, world, options, uid)
    profile = Profile(name, uid, enter, (owners,) * 3, network=network, is_whole=owners == NONE)
    assert wrongs(profile, world) == []
