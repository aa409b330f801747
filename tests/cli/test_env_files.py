"""Claims about files beside `env`: compose files whose variables move ports, and a `.env` that gets copied."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from tests.conftest import Run
from tests.worlds.repositories import git

pytestmark = pytest.mark.needs("git")

Answer = Callable[..., dict[str, Any]]


def worktrees(directory: Path, files: dict[str, str]) -> tuple[Path, Path, Path]:
    """Make a repository of these files; return its main checkout and two linked worktrees."""
    main = directory / "main"
    git("init", "--quiet", main)
    for name, text in files.items():
        (main / name).write_text(text)
    git("-C", main, "add", ".")
    git("-C", main, "commit", "--quiet", "--message", "first")
    for name in ("one", "two"):
        git("-C", main, "worktree", "add", "--quiet", directory / name)
    return main, directory / "one", directory / "two"


@pytest.fixture
def ports() -> tuple[int, int]:
    """Return two numbers that no one else is given in the meantime."""
    web, db = library.free_ports(2, ttl=600)
    return web, db


def compose(web: int, db: int) -> str:
    """Return a compose file with a port that a variable moves, in the short and the long form, and one it cannot."""
    return f"""services:
  web:
    image: x
    ports: ["127.0.0.1:${{WEB_PORT:-{web}}}:80"]
  db:
    image: x
    ports:
      - target: 5432
        published: ${{DB_PORT-{db}}}
  metrics:
    image: x
    ports: ["${{LOW:-1}}${{HIGH:-2}}00:9090"]
"""


def config(web: int, db: int) -> str:
    """Return a config with two ports that variables move."""
    return f'[ports.web]\nport = {web}\nenv = "WEB_PORT"\n[ports.db]\nport = {db}\nenv = "DB_PORT"\n'


def variables(portguard: Run, cwd: Path, **environ: str) -> dict[str, str]:
    """Return what `env` prints."""
    done = portguard("env", cwd=cwd, env={**os.environ, **environ})
    assert done.returncode == 0, done
    return dict(line.split("=") for line in done.stdout.splitlines())


def checked(answer: Answer, cwd: Path) -> dict[str, tuple[int, int, str | None]]:
    """Return what `check` looks at, by name: the number, the declared one, the variable."""
    ports = answer("check", cwd=cwd)["data"]["ports"]
    return {port["name"]: (port["port"], port["declared_port"], port["env"]) for port in ports}


def test_a_compose_file_alone_is_enough(tmp_path: Path, portguard: Run, answer: Answer, ports: tuple[int, int]) -> None:
    """Published ports that one variable decides get numbers in a worktree; `check` looks at them from then on.

    Before `env` or `run` was used there, compose would publish its default, and that is what `check` looks at.
    """
    web, db = ports
    main, linked, _ = worktrees(tmp_path, {"compose.yaml": compose(web, db)})
    before = checked(answer, linked)

    here, there = variables(portguard, main), variables(portguard, linked)
    after = checked(answer, linked)

    assert before == checked(answer, main)
    assert before["web:80/tcp"] == (web, web, "WEB_PORT")
    assert before["metrics:9090/tcp"][1:] == (1200, None)
    assert here == {"WEB_PORT": str(web), "DB_PORT": str(db)}
    assert sorted(there) == ["COMPOSE_PROJECT_NAME", "DB_PORT", "WEB_PORT"]
    assert {int(there["WEB_PORT"]), int(there["DB_PORT"])}.isdisjoint(ports)
    assert after["web:80/tcp"] == (int(there["WEB_PORT"]), web, "WEB_PORT")
    assert after["db:5432/tcp"] == (int(there["DB_PORT"]), db, "DB_PORT")
    assert variables(portguard, linked, WEB_PORT="4711")["WEB_PORT"] == "4711"


def test_run_shows_compose_files_the_numbers_it_exports(tmp_path: Path, portguard: Run, ports: tuple[int, int]) -> None:
    """A config's number wins over the compose file's default, because `run` exports it: that is the one in the way."""
    web, other = ports
    files = {
        "compose.yaml": f"services:\n  web:\n    image: x\n    ports: ['${{WEB_PORT:-{other}}}:80']\n",
        "portguard.toml": f'[ports.web]\nport = {web}\nenv = "WEB_PORT"\nservice = "web"\n'
        '[compose]\nfiles = ["compose.yaml"]\n',
    }
    main, _, _ = worktrees(tmp_path, files)

    done = portguard("run", "--", "sh", "-c", "echo $WEB_PORT", cwd=main)
    with socket.create_server(("127.0.0.1", other)):
        beside = portguard("run", "--", "true", cwd=main)

    assert (done.returncode, done.stdout) == (0, f"{web}\n")
    assert beside.returncode == 0


def test_a_copied_block_is_seen_and_rewritten(
    tmp_path: Path, portguard: Run, answer: Answer, ports: tuple[int, int]
) -> None:
    """A `.env` copied from one worktree to the next: `check` calls it a conflict, `--write` puts its own numbers in."""
    _, one, two = worktrees(tmp_path, {"portguard.toml": config(*ports)})
    assert portguard("env", "--write", ".env", cwd=one).returncode == 0
    theirs = variables(portguard, one)
    shutil.copy(one / ".env", two / ".env")

    copied = portguard("check", cwd=two)
    found = answer("check", cwd=two)["data"]["ports"]
    written = portguard("env", "--write", ".env", cwd=two)
    ours = variables(portguard, two)

    assert copied.returncode == 1
    assert {(port["verdict"], port["cause"]) for port in found} == {("conflict", "lease")}
    assert f"belongs to the checkout {one}" in copied.stdout
    assert f"written for {one}: portguard env --write .env" in copied.stderr
    assert written.returncode == 0
    assert set(ours.values()).isdisjoint(theirs.values())
    assert portguard("check", cwd=two).returncode == 0


@pytest.mark.parametrize("kind", ["config", "compose"])
def test_numbers_come_back_from_the_block(
    tmp_path: Path, portguard: Run, answer: Answer, ports: tuple[int, int], kind: str
) -> None:
    """When the whole store is lost, a checkout's own `.env` gives it its numbers again, and no one else gets them."""
    files = {"portguard.toml": config(*ports)} if kind == "config" else {"compose.yaml": compose(*ports)}
    _, one, _ = worktrees(tmp_path, files)
    assert portguard("env", "--write", ".env", cwd=one).returncode == 0
    before = variables(portguard, one)
    shutil.rmtree(os.environ["PORTGUARD_STATE_DIR"])

    assert variables(portguard, one) == before
    assigned = {str(item["port"]) for item in answer("leases")["data"]["leases"]}
    assert assigned == {before["WEB_PORT"], before["DB_PORT"]}


def test_a_value_left_open_swallows_nothing(tmp_path: Path, portguard: Run, ports: tuple[int, int]) -> None:
    """Where the file's last value would swallow the block, nothing is written."""
    _, one, _ = worktrees(tmp_path, {"portguard.toml": config(*ports)})
    text = "A='never closed\n"
    (one / ".env").write_text(text)

    done = portguard("env", "--write", ".env", cwd=one)

    assert done.returncode == 2
    assert (one / ".env").read_text() == text


def test_numbers_of_a_compose_project_are_given_back_by_name(
    tmp_path: Path, portguard: Run, ports: tuple[int, int]
) -> None:
    """From a directory below the compose file too."""
    _, one, _ = worktrees(tmp_path, {"compose.yaml": compose(*ports)})
    (one / "src").mkdir()
    number = variables(portguard, one)["WEB_PORT"]

    done = portguard("leases", "release", "web:80/tcp", cwd=one / "src")

    assert (done.returncode, done.stdout.split()[:2]) == (0, [number, "web:80/tcp"])


def test_run_does_not_move_away_from_its_own_server(tmp_path: Path, portguard: Run, ports: tuple[int, int]) -> None:
    """`run --move` beside a server of this very checkout refuses; only a stranger is moved away from."""
    main, _, _ = worktrees(tmp_path, {"portguard.toml": config(*ports)})
    serve = f"import socket; s = socket.create_server(('127.0.0.1', {ports[0]})); print('up', flush=True); input()"
    command = [sys.executable, "-c", serve]
    with subprocess.Popen(command, cwd=main, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as own:
        assert own.stdout is not None
        assert own.stdout.readline() == "up\n"
        beside = portguard("run", "--move", "--", "true", cwd=main)
        own.communicate("\n")

    assert beside.returncode == 125
    assert variables(portguard, main)["WEB_PORT"] == str(ports[0])
