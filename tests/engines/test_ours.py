"""Ours or a stranger's, with real compose projects: what `check` says, and what `up` then does."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PORTGUARD
from tests.engines.conftest import Check
from tests.worlds.capabilities import NOBODY
from tests.worlds.engine import IMAGE, Engine

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]

SERVE = "httpd -f -p 80 -h /www"


class Stack:
    """A compose project in a directory; its services are a mapping of names to lists of published ports."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self._engine = engine
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def write(self, services: dict[str, list[str]], *, scale: int = 1, label: str = "one") -> Stack:
        """Write the compose file."""
        text = "version: '2.4'\nservices:\n"
        for name, ports in services.items():
            text += f"  {name}:\n    image: {IMAGE}\n    command: {SERVE}\n    stop_signal: SIGKILL\n"
            text += f"    scale: {scale}\n    labels: [own={label}]\n    ports:\n"
            text += "".join(f"      - '{published}'\n" for published in ports)
        (self.directory / "docker-compose.yml").write_text(text)
        return self

    def compose(self, *arguments: str) -> int:
        """Run docker-compose here and return its exit code."""
        return self._engine.compose(self.directory, *arguments).returncode

    def up(self) -> int:
        """Start the stack."""
        return self.compose("up", "-d")


@pytest.fixture
def stack(engine: Engine, tmp_path: Path) -> Iterator[Any]:
    """Return a maker of stacks; all their containers are gone afterwards."""
    yield lambda name: Stack(engine, tmp_path / name)
    found = engine.docker("ps", "--all", "--quiet").stdout.split()
    if found:
        engine.docker("rm", "--force", *found)


def entry(document: dict[str, Any]) -> tuple[str, str, int]:
    """Return verdict, cause and exit code of a document with one entry."""
    (port,) = document["data"]["ports"]
    return port["verdict"], port["cause"], document["exit_code"]


def test_own_stack_is_up(stack: Any, check: Check, port: int) -> None:
    """Without any config: free before `up`, ours during, and ours after a change that recreates; `up` succeeds."""
    own = stack("shop").write({"web": [f"{port}:80"]})

    before = check(own.directory)
    first = own.up()
    during = check(own.directory)
    again = own.up()
    changed = check(own.write({"web": [f"{port}:80"]}, label="two").directory)
    recreated = own.up()

    assert entry(before) == ("free", "none", 0)
    assert before["data"]["sources"] == [str(own.directory / "docker-compose.yml")]
    assert entry(during) == ("ours", "listener", 0)
    assert entry(changed) == ("ours", "listener", 0)
    assert (first, again, recreated) == (0, 0, 0)
    holder = during["data"]["ports"][0]["holders"][0]
    assert holder["container"]["compose"] == {
        "project": "shop",
        "service": "web",
        "working_dir": str(own.directory),
    }
    assert entry(check(own.directory, "--strict"))[2] == 1


def test_a_renamed_service_leaves_an_orphan(stack: Any, check: Check, port: int, engine: Engine) -> None:
    """The old service's container still holds the port: `up` fails, and the printed command frees it."""
    own = stack("shop").write({"old": [f"{port}:80"]})
    assert own.up() == 0
    own.write({"new": [f"{port}:80"]})

    document = check(own.directory)
    failed = own.up()
    own.compose("rm", "--stop", "--force", "new")
    freed = run_printed(engine, document)
    after = check(own.directory)

    assert entry(document) == ("conflict", "listener", 1)
    assert "a service that this project no longer has" in document["data"]["ports"][0]["message"]
    assert failed != 0
    assert freed == 0
    assert entry(after) == ("free", "none", 0)
    assert own.up() == 0


def run_printed(engine: Engine, document: dict[str, Any]) -> int:
    """Run the command that the hint prints, as printed, beside the engine; return its exit code."""
    (port,) = document["data"]["ports"]
    command = port["hint"].removeprefix("stop it: ").partition(",")[0]
    return engine.ns.run(shlex.split(command), env=engine.environ(), capture_output=True).returncode


def test_a_port_that_moved_between_services(stack: Any, check: Check, port: int) -> None:
    """Another service of this very project holds it: compose creates before it recreates, and fails."""
    own = stack("shop").write({"zzz": [f"{port}:80"]})
    assert own.up() == 0
    own.write({"aaa": [f"{port}:80"], "zzz": [f"{port + 1}:80"]})

    document = check(own.directory, "aaa:80/tcp")
    failed = own.compose("up", "-d", "aaa")  # all of it at once is a race: it may recreate the other in time

    assert entry(document) == ("conflict", "listener", 1)
    assert "another service of this project" in document["data"]["ports"][0]["message"]
    assert failed != 0


def test_replicas_that_want_one_port(stack: Any, check: Check, port: int) -> None:
    """Two replicas cannot share one published port, anyone who else is there."""
    own = stack("shop").write({"web": [f"{port}:80"]}, scale=2)

    document = check(own.directory)

    assert entry(document) == ("conflict", "duplicate", 1)
    assert "2 replicas of web cannot share" in document["data"]["ports"][0]["message"]
    assert own.up() != 0


def test_replicas_with_a_range(stack: Any, check: Check, port: int) -> None:
    """A range needs one free port per replica, and is ours when they run."""
    own = stack("shop").write({"web": [f"{port}-{port + 2}:80"]}, scale=2)

    before = check(own.directory)
    started = own.up()
    during = check(own.directory)

    assert entry(before) == ("free", "none", 0)
    assert before["data"]["ports"][0]["range"] == [port, port + 2]
    assert started == 0
    assert entry(during) == ("ours", "listener", 0)


def test_one_port_twice_in_a_file(stack: Any, check: Check, port: int) -> None:
    """Two services that publish overlapping addresses of one port are a duplicate, which compose does not notice."""
    own = stack("shop").write({"a": [f"127.0.0.1:{port}:80"], "b": [f"{port}:80"]})

    document = check(own.directory)

    assert {(port["verdict"], port["cause"]) for port in document["data"]["ports"]} == {("conflict", "duplicate")}
    assert document["exit_code"] == 1
    assert own.up() != 0


def test_another_checkout_of_the_same_name(stack: Any, check: Check, port: int) -> None:
    """Two checkouts whose folders are called alike share a project name: `up` would take the other's container over."""
    first, second = stack("x/app"), stack("y/app")
    assert first.write({"web": [f"{port}:80"]}).up() == 0
    second.write({"web": [f"{port}:80"]})

    document = check(second.directory)

    assert entry(document) == ("conflict", "listener", 1)
    message = document["data"]["ports"][0]["message"]
    assert str(first.directory) in message
    assert "would take it over" in message
    assert entry(check(first.directory)) == ("ours", "listener", 0)


def test_another_projects_container_is_named_with_project_service_and_directory(
    stack: Any, check: Check, port: int, engine: Engine
) -> None:
    """Another project's container is named with project, service and directory; its command frees the port."""
    other, own = stack("blog"), stack("shop")
    assert other.write({"front": [f"{port}:80"]}).up() == 0
    own.write({"web": [f"{port}:80"]})

    document = check(own.directory)
    failed = own.up()
    own.compose("rm", "--stop", "--force", "web")
    freed = run_printed(engine, document)

    assert entry(document) == ("conflict", "listener", 1)
    message = document["data"]["ports"][0]["message"]
    assert "service front of compose project blog" in message
    assert str(other.directory) in message
    assert failed != 0
    assert freed == 0
    assert own.up() == 0


def test_a_leftover_of_compose_run(stack: Any, check: Check, port: int) -> None:
    """A container of `compose run --service-ports` is not the service's: `up` fails on it."""
    own = stack("shop").write({"web": [f"{port}:80"]})
    assert own.compose("run", "--detach", "--service-ports", "web") == 0

    document = check(own.directory)

    assert entry(document) == ("conflict", "listener", 1)
    assert "left over from a `compose run`" in document["data"]["ports"][0]["message"]
    assert own.up() != 0


def test_a_plain_container(stack: Any, check: Check, port: int, engine: Engine) -> None:
    """A container no one composed is named, and its command frees the port."""
    engine.docker(
        "run", "--detach", "--stop-timeout", "1", "--name", "lonely", "--publish", f"{port}:80", IMAGE, *SERVE.split()
    )
    own = stack("shop").write({"web": [f"{port}:80"]})

    document = check(own.directory)
    freed = run_printed(engine, document)

    assert entry(document) == ("conflict", "listener", 1)
    assert document["data"]["ports"][0]["holders"][0]["container"]["name"] == "lonely"
    assert freed == 0
    assert entry(check(own.directory)) == ("free", "none", 0)


def test_declared_beside_compose(stack: Any, check: Check, port: int) -> None:
    """A declaration with `service`, and one without any, are ours when this project's own container holds the port."""
    own = stack("shop").write({"web": [f"{port}:80"]})
    assert own.up() == 0

    found = {}
    for name, more in {"service": 'service = "web"', "other": 'service = "db"', "plain": ""}.items():
        (own.directory / "portguard.toml").write_text(f"[ports.x]\nport = {port}\n{more}\n")
        found[name] = entry(check(own.directory))

    assert found == {
        "service": ("ours", "listener", 0),
        "other": ("conflict", "listener", 1),
        "plain": ("ours", "listener", 0),
    }


def test_config_names_compose_files(stack: Any, check: Check, port: int) -> None:
    """[compose] adds what the files publish; a declaration with `service` stands for that service's equal port."""
    own = stack("shop").write({"web": [f"{port}:80"], "db": [f"{port + 1}:80"]})
    (own.directory / "portguard.toml").write_text(
        f'[compose]\nfiles = ["docker-compose.yml"]\n[ports.front]\nport = {port}\nservice = "web"\n'
    )

    document = check(own.directory)

    assert [(found["name"], found["port"]) for found in document["data"]["ports"]] == [
        ("front", port),
        ("db:80/tcp", port + 1),
    ]
    assert document["exit_code"] == 0


def test_port_that_only_the_engine_may_bind(engine: Engine, stack: Any) -> None:
    """Below the unprivileged ports a user's compose file is free where the engine is root's, as `up` then shows."""
    own = stack("shop").write({"web": ["81:80"]})
    program = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service", "--"]

    def check() -> tuple[str, str, int]:
        command = [*program, *PORTGUARD, "check", "--json"]
        done = engine.ns.run(command, capture_output=True, text=True, cwd=own.directory, env=engine.environ())
        return entry(json.loads(done.stdout))

    before = check()
    os.chown(engine.socket, NOBODY, -1)
    try:
        rootless = check()
    finally:
        os.chown(engine.socket, 0, -1)
    (own.directory / "portguard.toml").write_text("[ports]\nplain = 81\n")
    plain = check()
    (own.directory / "portguard.toml").write_text('[ports.front]\nport = 81\nservice = "web"\n')
    by_service = check()
    up = own.up()
    during = check()

    assert (before, by_service, up) == (("free", "none", 0), ("free", "none", 0), 0)
    assert rootless == plain == ("unavailable", "permission", 1)
    assert during == ("ours", "listener", 0)
