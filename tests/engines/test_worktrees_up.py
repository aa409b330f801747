"""Two worktrees of one compose project on a real engine, up at the same time through `portguard run`."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import PORTGUARD
from tests.worlds.engine import IMAGE, Engine
from tests.worlds.repositories import git

pytestmark = [pytest.mark.needs("docker", "git"), pytest.mark.timeout(300)]

_DEADLINE = 60.0  # seconds
SERVICE = f"image: {IMAGE}\n    command: httpd -f -p 80 -h /www\n    stop_signal: SIGKILL\n"
COMPOSE = f"version: '2.4'\nservices:\n  web:\n    {SERVICE}    ports:\n      - '${{WEB_PORT:-%d}}:80'\n"
CONFIG = '[ports.web]\nport = %d\nenv = "WEB_PORT"\nservice = "web"\n[compose]\nfiles = ["docker-compose.yml"]\n'


def worktrees(directory: Path, port: int, *, is_configured: bool) -> tuple[Path, Path]:
    """Make a repository whose compose project publishes `port`; return its main checkout and a linked worktree.

    Both are directories called `shop`, which compose would take for one project.
    """
    main, linked = directory / "main" / "shop", directory / "linked" / "shop"
    main.mkdir(parents=True)
    (main / "docker-compose.yml").write_text(COMPOSE % port)
    if is_configured:
        (main / "portguard.toml").write_text(CONFIG % port)
    git("init", "--quiet", main)
    git("-C", main, "add", ".")
    git("-C", main, "commit", "--quiet", "--message", "first")
    git("-C", main, "worktree", "add", "--quiet", linked)
    return main, linked


class Stacks:
    """Runs commands beside the engine, in its network."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def portguard(self, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a directory."""
        return self.engine.ns.run(
            [*PORTGUARD, *arguments], capture_output=True, text=True, cwd=cwd, env=self.engine.environ(), timeout=120
        )

    def variables(self, cwd: Path) -> Mapping[str, str]:
        """Return what `portguard env` prints in a directory."""
        done = self.portguard(cwd, "env")
        assert done.returncode == 0, done
        return dict(line.split("=") for line in done.stdout.splitlines())

    def up(self, cwd: Path) -> None:
        """Start the stack of a directory as the README says."""
        done = self.portguard(cwd, "run", "--", "docker-compose", "up", "-d")
        assert done.returncode == 0, done

    def containers(self) -> set[str]:
        """Return the running containers' full identifiers."""
        return set(self.engine.docker("ps", "--quiet", "--no-trunc").stdout.split())

    def page(self, port: str) -> str:
        """Return the page that is served on a port, once it is."""
        end = time.monotonic() + _DEADLINE
        while True:
            done = self.engine.ns.run(
                ["curl", "--silent", "--max-time", "5", f"http://127.0.0.1:{port}/"], capture_output=True, text=True
            )
            if done.stdout or time.monotonic() > end:
                return str(done.stdout)


@pytest.fixture
def stacks(engine: Engine) -> Iterator[Stacks]:
    """Return a runner; all containers are gone afterwards."""
    yield Stacks(engine)
    found = engine.docker("ps", "--all", "--quiet").stdout.split()
    if found:
        engine.docker("rm", "--force", *found)


@pytest.mark.parametrize("is_configured", [True, False], ids=["config", "compose-alone"])
def test_two_worktrees_are_up_at_once(stacks: Stacks, port: int, tmp_path: Path, is_configured: bool) -> None:
    """Both answer on their own numbers, and starting one, again too, recreates nothing of the other."""
    main, linked = worktrees(tmp_path, port, is_configured=is_configured)

    stacks.up(main)
    first = stacks.containers()
    stacks.up(linked)
    both = stacks.containers()

    here, there = stacks.variables(main), stacks.variables(linked)
    assert here == {"WEB_PORT": str(port)}
    assert there["WEB_PORT"] != str(port)
    assert there["COMPOSE_PROJECT_NAME"].startswith("shop-")
    assert len(first) == 1
    assert len(both) == 2
    assert first < both
    assert stacks.page(here["WEB_PORT"]) == stacks.page(there["WEB_PORT"]) == "portguard test image\n"
    for checkout in (main, linked):
        done = stacks.portguard(checkout, "check")
        assert (done.returncode, done.stdout.partition(" (")[0]) == (0, "1 port: 1 ours"), done
        again = stacks.portguard(checkout, "run", "--", "docker-compose", "up", "-d")
        assert again.returncode == 125  # its own stack has the port: right before a plain server that is a conflict
    assert stacks.containers() == both


def test_without_portguard_the_second_takes_the_first_over(stacks: Stacks, port: int, tmp_path: Path) -> None:
    """The control: plain `up` in both ends with one container, recreated."""
    main, linked = worktrees(tmp_path, port, is_configured=False)

    assert stacks.engine.compose(main, "up", "-d").returncode == 0
    first = stacks.containers()
    assert stacks.engine.compose(linked, "up", "-d").returncode == 0

    assert len(stacks.containers()) == 1
    assert stacks.containers() != first or stacks.engine.compose(main, "ps", "-q").stdout.split() == [*first]


def test_the_engine_starts_beside_a_hold(stacks: Stacks, port: int, tmp_path: Path) -> None:
    """`run` keeps the published port bound while `up` publishes it, for as long as the command lasts."""
    main, _ = worktrees(tmp_path, port, is_configured=True)
    bind = f"import socket\ntry:\n socket.socket().bind(('', {port}))\nexcept OSError as e: print(e.errno)"

    done = stacks.portguard(main, "run", "--", "sh", "-c", '"$0" -c "$1" && docker-compose up -d', sys.executable, bind)

    assert (done.returncode, done.stdout.strip()) == (0, str(errno.EADDRINUSE)), done
    assert stacks.page(str(port)) == "portguard test image\n"
