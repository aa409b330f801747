"""Files of the project that are there and cannot be read: named where they decide, else passed over."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portguard.api.init import init
from tests.conftest import Run
from tests.worlds.capabilities import NOBODY
from tests.worlds.users import as_user

Answer = Callable[..., dict[str, Any]]

CONFIG = '[ports.web]\nport = 8080\nenv = "WEB_PORT"\nservice = "web"\n'
COMPOSE = "services: {web: {image: x, ports: ['8080:80']}}\n"
OTHER = "services: {web: {image: x, ports: ['9090:80']}}\n"
CLOSED = {
    ".env": "WEB_PORT=8081\n",
    "package.json": '{"scripts": {"dev": "vite --port 5173"}}',
    ".devcontainer/devcontainer.json": '{"forwardPorts": [3000]}',
}


def project(directory: Path, files: dict[str, str], *, closed: dict[str, str]) -> Path:
    """Write files that everyone may read, and others that no one may; the directory is everyone's."""
    for name, text in {**files, **closed}.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o777)
        path.write_text(text)
        path.chmod(0 if name in closed else 0o644)
    return directory


def as_nobody(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command there as a user without rights."""
    return as_user(["-m", "portguard", *words], NOBODY, cwd=directory)


@pytest.mark.needs("users")
def test_a_dotenv_that_moves_ports_is_not_taken_for_an_empty_one(everybodys: Path) -> None:
    """It may say another number: nothing is checked, and what to look at is said."""
    done = as_nobody(project(everybodys, {"portguard.toml": CONFIG}, closed={".env": CLOSED[".env"]}), "check")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "portguard: .env: cannot be read: Permission denied\n"
        "  next: make it readable, or set the variables in the environment instead\n"
    )


@pytest.mark.needs("users")
def test_a_compose_file_that_is_closed(everybodys: Path) -> None:
    """`check` cannot tell what it publishes; `init` writes the rest, and says so in the config, too."""
    directory = project(everybodys, {"Procfile": "web: x --port 8080\n"}, closed={"compose.yaml": COMPOSE})

    check, init = as_nobody(directory, "check"), as_nobody(directory, "init")

    assert check.returncode == 2
    assert "compose.yaml: cannot be read: Permission denied" in check.stderr
    assert init.returncode == 0, init
    assert init.stderr == "note: compose.yaml: cannot be read: Permission denied\n"
    text = (directory / "portguard.toml").read_text()
    assert "[ports.web]\nport = 8080\n" in text
    assert '# files = ["compose.yaml"]' in text


@pytest.mark.needs("users")
def test_init_names_what_it_could_not_read(everybodys: Path) -> None:
    """Each closed file costs a note; what the others say is written."""
    done = as_nobody(project(everybodys, {"Procfile": "web: x --port 8080\n"}, closed=CLOSED), "init")

    assert done.returncode == 0, done
    assert sorted(done.stderr.splitlines()) == [
        f"note: {name}: cannot be read: Permission denied" for name in sorted(CLOSED)
    ]
    assert "[ports.web]\nport = 8080\n" in (everybodys / "portguard.toml").read_text()


@pytest.mark.needs("users")
def test_lint_judges_what_it_can_read(everybodys: Path) -> None:
    """A closed `.env` or dev container configuration does not stop a commit; what is in step stays so."""
    closed = {name: text for name, text in CLOSED.items() if name != "package.json"}
    files = {"portguard.toml": '[ports]\nweb = 8080\n[compose]\nfiles = ["compose.yaml"]\n', "compose.yaml": OTHER}

    done = as_nobody(project(everybodys, files, closed=closed), "lint")

    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == "no findings (portguard.toml and 1 more)\n"


@pytest.mark.needs("users")
def test_init_passes_over_what_another_user_may_have_planted(everybodys: Path) -> None:
    """In a directory that everyone may write to, files of strangers are named and not believed."""
    project(everybodys, {"Procfile": "web: x --port 8080\n", "compose.yaml": COMPOSE}, closed={})
    os.chown(everybodys / "compose.yaml", NOBODY, NOBODY)

    report = init(cwd=str(everybodys))

    assert [note.message.partition(" and belongs")[0] for note in report.notes] == [
        "compose.yaml: skipped: it lies in a directory that anyone can write to"
    ]
    assert report.sources == (str(everybodys / "Procfile"),)


def test_init_tells_a_number_that_stands_in_the_dotenv_alone(tmp_path: Path) -> None:
    """Where compose cannot do without the variable, the number in force is the declared one."""
    project(tmp_path, {".env": "SPEC=8080:80\n", "compose.yaml": COMPOSE.replace("8080:80", "$SPEC")}, closed={})

    text = init(cwd=str(tmp_path)).text

    assert "#   web  8080/tcp: compose.yaml:1\n" in text


@pytest.mark.parametrize("kind", ["directory", "fifo", "loop", "dangling"])
def test_lint_passes_over_what_is_no_file(kind: str, tmp_path: Path, portguard: Run) -> None:
    """Anything may be called `.env`: a directory, a pipe, a link to itself or to nothing."""
    (tmp_path / "portguard.toml").write_text("[ports]\nweb = 8080\n")
    path = tmp_path / ".env"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "loop" else tmp_path / "nothing")

    done = portguard("lint")

    assert (done.returncode, done.stdout, done.stderr) == (0, "no findings (portguard.toml)\n", "")
    assert stat.S_ISREG(path.lstat().st_mode) is False


@pytest.mark.parametrize("name", [".env", "compose.yaml"])
def test_what_is_larger_than_sane_is_refused(name: str, tmp_path: Path, portguard: Run) -> None:
    """Not read to its end: a megabyte is more than any such file has."""
    files = {"portguard.toml": CONFIG} if name == ".env" else {}
    project(tmp_path, {**files, name: "#" * (1024 * 1024 + 1)}, closed={})

    done = portguard("check")

    assert done.returncode == 2
    assert f"{name}: " in done.stderr
    assert "larger than 1024 KiB" in done.stderr


def test_a_compose_file_that_is_no_file(tmp_path: Path, answer: Answer) -> None:
    """A directory or a pipe of that name is not waited for."""
    for make in (os.mkdir, os.mkfifo):
        make(tmp_path / "compose.yaml")
        (error,) = answer("check")["errors"]
        assert error["message"] == "compose.yaml: is not a regular file"
        (os.rmdir if make is os.mkdir else os.unlink)(tmp_path / "compose.yaml")
