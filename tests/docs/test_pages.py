"""Claims about docs/: every block is executed or used by a test, in the order of its page, as a newcomer would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomli
import yaml

from tests.conftest import PORTGUARD
from tests.worlds.capabilities import find_program
from tests.worlds.engine import docker_engine
from tests.worlds.servers import plain_server

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
BIN = str(Path(sys.executable).parent)


class Block(NamedTuple):
    """A fenced block of a page: its language, the file it is the content of ("" for none), its text, its line."""

    language: str
    file: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = (DOCS / page).read_text()
    fences = re.finditer(r"^```(\w+) ?(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = [Block(match[1], match[2], match[3], text.count("\n", 0, match.start()) + 1) for match in fences]
    assert text.count("\n```") == 2 * len(found), "a fence that is not understood"
    return found


def adapted(page: str, text: str, ports: dict[str, int]) -> str:
    """Return a block with the page's port numbers replaced by ones that are free here."""
    for written, port in ports.items():
        text = re.sub(rf"\b{written}\b", str(port), text)
    return text


def ports_of(page: str) -> dict[str, int]:
    """Return free numbers for those a page uses as examples."""
    numbers = sorted(set(re.findall(r"\b1[58][0-9]{3}\b", (DOCS / page).read_text())))
    command = [*PORTGUARD, "free", "--range", "20000-30000", "-n", str(len(numbers) or 1)]
    free = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    return dict(zip(numbers, map(int, free.stdout.split()), strict=False))


def environment(home: Path) -> dict[str, str]:
    """Return a newcomer's environment: a home, and the tools that the page assumes."""
    identity = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {"PATH": f"{home}/bin:{BIN}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8", **identity}


def follow(page: str, directory: Path, environ: dict[str, str], run: Callable[..., Any] = subprocess.run) -> list[str]:
    """Write the files of a page and run its shell blocks, all in one shell; return the languages met."""
    ports = ports_of(page)
    script = ["set -eu"]
    for number, block in enumerate(blocks(page)):
        text = adapted(page, block.text, ports)
        if block.file:
            source = directory / f".block-{number}"
            source.write_text(text)
            script.append(f"mkdir -p $(dirname {block.file}) && cp {source} {block.file}")
        elif block.language == "sh":
            script.append(f": line {block.line}\n{text}")
    done = run(
        ["bash", "-c", "\n".join(script)], cwd=directory, env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return [block.language for block in blocks(page)]


def shop(tmp_path: Path) -> Path:
    """Return an empty directory called shop, below a home."""
    directory = tmp_path / "shop"
    directory.mkdir()
    (tmp_path / "bin").mkdir()
    return directory


def test_every_page_is_followed() -> None:
    """A new page needs a test here."""
    # Of those without commands: the tables of the benchmarks are their output, guarantees name tests that exist, and
    # wording is a list.
    tried = {"architecture.md", "compose.md", "hooks.md", "library.md", "reference.md", "worktrees.md"}
    assert set(PAGES) == tried | {"benchmarks.md", "guarantees.md", "wording.md"}


def test_the_architecture_page_names_what_exists() -> None:
    """Every module and test that the page names is there, and its drawing has every room."""
    text = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"`([\w./]+\.py)`", text))
    drawn = set(re.findall(r"^    (\w+)\[\"|--> (\w+)(?:\[|$)", text, re.MULTILINE))
    rooms = {path.parent.name for path in (ROOT / "portguard").glob("*/__init__.py")}

    assert len(named) >= 10
    assert [name for name in sorted(named) if not any((ROOT / top / name).is_file() for top in ("", "portguard"))] == []
    assert rooms - {room for pair in drawn for room in pair} == set()


def test_the_project_has_one_address() -> None:
    """The links of the package and the repository on the hooks page are the same place."""
    urls = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    config = next(block for block in blocks("hooks.md") if block.file == ".pre-commit-config.yaml")
    (repository,) = yaml.safe_load(config.text)["repos"]

    assert urls["Homepage"] == repository["repo"]
    assert [url for url in urls.values() if not url.startswith(urls["Homepage"])] == []


def test_the_reference_is_current() -> None:
    """The page is what the code says now: `python docs/make_reference.py` would change nothing."""
    command = [sys.executable, "-c", "import make_reference; print(make_reference.page(), end='')"]
    made = subprocess.run(command, cwd=DOCS, capture_output=True, text=True, check=True)
    assert made.stdout == (DOCS / "reference.md").read_text()


@pytest.mark.needs("git")
def test_worktrees(tmp_path: Path) -> None:
    """The page from its first line to its last, in a fresh directory and home."""
    assert set(follow("worktrees.md", shop(tmp_path), environment(tmp_path))) == {"toml", "sh"}


@pytest.mark.needs("docker")
@pytest.mark.timeout(300)
def test_on_a_real_engine_of_its_own(tmp_path: Path) -> None:
    """On a real engine of its own; `docker compose` is the compose that is installed here, its image one that is."""
    directory = shop(tmp_path)
    wrapper = tmp_path / "bin" / "docker"
    docker = find_program("docker")
    compose = 'if [ "$1" = compose ]; then shift; exec docker-compose "$@"; fi'
    wrapper.write_text(f'#!/bin/sh\n{compose}\nexec {docker} "$@"\n')
    wrapper.chmod(0o755)
    with docker_engine(tmp_path / "engine") as engine:
        engine.docker("tag", "portguard-test/busybox", "busybox", check=True)
        environ = engine.environ(environment(tmp_path))
        assert set(follow("compose.md", directory, environ, engine.ns.run)) == {"yaml", "sh"}


@pytest.mark.needs("git")
def test_the_hooks_own_blocks(tmp_path: Path) -> None:
    """The hooks' own blocks; test_hooks.py runs pre-commit itself. The workflow's steps are run as written."""
    page = blocks("hooks.md")
    directory = shop(tmp_path)
    environ = environment(tmp_path)
    subprocess.run(["git", "init", "--quiet", str(directory)], check=True)
    config = next(block for block in page if block.file == "portguard.toml")
    (directory / "portguard.toml").write_text(config.text)
    workflow = yaml.safe_load(next(block.text for block in page if block.file.startswith(".github")))
    steps = [step["run"] for step in workflow["jobs"]["lint"]["steps"] if "run" in step]
    scripts = [block.text for block in page if block.language == "sh" and "pre-commit" not in block.text]

    assert steps[0] == "python -m pip install portguard"
    for script in [*steps[1:], *scripts]:
        done = subprocess.run(
            ["bash", "-ec", script], cwd=directory, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (script, done)
    assert (directory / "portguard.sarif").read_text().startswith("{")
    assert "portguard-lint" in next(block.text for block in page if block.file == ".pre-commit-config.yaml")
    assert tomli.loads(config.text)["lint"]["ignore"]


def test_library(tmp_path: Path) -> None:
    """All Python blocks of the page as one program, in order; the tests on it as a real pytest run."""
    page = blocks("library.md")
    ports = ports_of("library.md")
    directory = shop(tmp_path)
    program = "\n".join(
        adapted("library.md", block.text, ports) for block in page if block.language == "python" and not block.file
    )
    (directory / "portguard.toml").write_text("[ports]\nweb = 8080\n")
    environ = environment(tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    for block in page:
        if block.file:
            (directory / block.file).write_text(block.text)
    for block in page:
        if block.language == "sh":
            tests = subprocess.run(
                ["bash", "-ec", block.text], cwd=directory, env=environ, capture_output=True, text=True, check=False
            )
            assert tests.returncode == 0, tests
            assert "3 passed" in tests.stdout


def test_a_busy_port_stops_a_reader(tmp_path: Path) -> None:
    """The control: a page is not followed to its end where a port it wants is taken."""
    directory = shop(tmp_path)
    with plain_server(tmp_path) as port:
        (directory / "portguard.toml").write_text(f"[ports]\nweb = {port}\n")
        done = subprocess.run(
            ["bash", "-ec", "portguard check\necho on"],
            cwd=directory,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "on\n" not in done.stdout
