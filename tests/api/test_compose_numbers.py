"""Claims about the numbers of compose files: each file is opened once, and `--move` loads the project once more."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import portguard
from portguard.api import run
from portguard.errors import ConflictError
from portguard.model import Declaration, Source
from portguard.project import compose, load
from portguard.sources import compose_files

STACK = """services:
  web:
    image: x
    ports: ["${WEB_PORT:-8080}:80", "127.0.0.1:${WEB_PORT:-8080}:81/udp", "9000-9003:90"]
"""


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Counter[str]:
    """Count the calls of a function by its first argument."""
    calls: Counter[str] = Counter()
    real: Callable[..., Any] = getattr(module, name)

    def count(first: str, *arguments: Any, **named: Any) -> Any:
        calls[Path(first).name] += 1
        return real(first, *arguments, **named)

    monkeypatch.setattr(module, name, count)
    return calls


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment with a state directory of its own."""
    return {"PORTGUARD_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}


def checkout(path: Path) -> Path:
    """Make a checkout with a compose file and one that overrides it."""
    (path / ".git").mkdir(parents=True)
    (path / "compose.yaml").write_text(STACK)
    (path / "compose.override.yaml").write_text("services:\n  web:\n    ports: ['${DB_PORT:-5432}:5432']\n")
    return path


def test_a_compose_file_is_opened_once(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its variables are replaced twice, without and with this checkout's own numbers; the file is read once."""
    here = checkout(tmp_path / "shop")
    calls = counted(monkeypatch, compose_files, "content")

    report = portguard.env(cwd=str(here), environ=environ, isolated=True)

    own = {port.env: port.port for port in report.ports}
    assert own["WEB_PORT"] not in (8080, own["DB_PORT"])
    assert {(port.env, port.declared_port) for port in report.ports} == {("WEB_PORT", 8080), ("DB_PORT", 5432)}
    assert calls == {"compose.yaml": 1, "compose.override.yaml": 1}
    found = portguard.check(cwd=str(here), environ=environ)
    assert {port.port for port in found.ports if port.env == "WEB_PORT"} == {own["WEB_PORT"]}
    assert {(port.port, port.last_port) for port in found.ports if port.last_port} == {(9000, 9003)}


def test_ports_that_a_variable_adds_have_the_new_numbers() -> None:
    """If the second reading has more ports than the first, all its numbers count, and origins go by name."""

    def item(name: str, port: int, **more: Any) -> Declaration:
        return Declaration(name, port, port, Source("compose.yaml", 1), **more)

    before = [item("web:80/tcp", 8080, origin="lease", moved_by="this checkout's lease")]
    after = [item("web:80/tcp", 50_000), item("web:81/tcp", 50_001)]

    found = compose._with_origins(after, before)

    assert [(each.name, each.port, each.declared_port, each.origin) for each in found] == [
        ("web:80/tcp", 50_000, 8080, "lease"),
        ("web:81/tcp", 50_001, 50_001, "declared"),
    ]


@pytest.mark.parametrize("is_run", [False, True])
def test_move_loads_the_project_once_more(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, is_run: bool
) -> None:
    """Once to see what is in the way, once with the new numbers; never a third time."""
    here = tmp_path / "shop"
    (here / ".git").mkdir(parents=True)
    calls = counted(monkeypatch, load, "load")
    with socket.create_server(("", 0)) as stranger:
        port = stranger.getsockname()[1]
        (here / "portguard.toml").write_text(f'[ports.web]\nport = {port}\nenv = "WEB_PORT"\n')
        with pytest.raises(ConflictError):
            portguard.env(cwd=str(here), environ=environ)
        calls.clear()
        if is_run:
            ready = run.prepare(cwd=str(here), environ=environ, move=True, no_hold=True)
            moved = int(ready.environ["WEB_PORT"])
            ready.release()
        else:
            moved = portguard.env(cwd=str(here), environ=environ, move=True).ports[0].port

    assert moved != port
    assert calls == {"shop": 2}
