"""A checkout that no one has read yet: nothing in it is executed or fetched, and nothing outside of it is told.

What can be planted as the file that is written (`env --write`, `init`) is in tests/system/test_replace.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from portguard.cli.main import main
from tests.conftest import PORTGUARD, Run
from tests.worlds.repositories import declared_numbers

SECRET = "hunter2-of-the-one-who-asks"
TIMEOUT = 60.0
PATIENCE = 30.0  # seconds; what takes longer waits for someone who never comes
MEGABYTES = 100
SECONDS = 1.0  # of the processor
# Every command that looks at where it is asked; none of them is told to run anything.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("check",),
    ("check", "--json"),
    ("check", "--format", "github"),
    ("check", "--format", "sarif"),
    ("lint",),
    ("lint", "--json"),
    ("env",),
    ("env", "--json"),
    ("free",),
    ("init", "--dry-run"),
)


def ask(checkout: Path, words: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Ask in the checkout."""
    return subprocess.run(
        [*PORTGUARD, *words],
        cwd=checkout,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


# --- nothing is executed --------------------------------------------------------------------------

# What would leave a mark if a shell, a template engine or a library that is too helpful had a look at it.
_MARKS = ("$(touch sprung)", "`touch sprung`", "${X:-$(touch sprung)}", "{{ touch sprung }}", "!touch sprung")
_PROGRAMS = (
    "bash", "cat", "compose", "docker", "docker-compose", "env", "git", "hg", "make", "node", "npm", "npx", "podman",
    "podman-compose", "python", "python3", "sh", "ss", "lsof", "sudo", "systemctl", "yarn",
)  # fmt: skip
_MODULES = ("json", "portguard", "psutil", "re", "sitecustomize", "socket", "tomli", "typer", "typing", "yaml")
_GIT_CONFIG = """
[core]
    fsmonitor = "touch {checkout}/sprung; false"
    pager = "touch {checkout}/sprung"
    sshCommand = "touch {checkout}/sprung"
    hooksPath = {checkout}
[alias]
    status = "!touch {checkout}/sprung"
[include]
    path = {checkout}/more
[filter "x"]
    clean = "touch {checkout}/sprung"
    process = "touch {checkout}/sprung"
"""
_COMPOSE = """
name: {name}
services:
  web:
    image: "$$(touch sprung)"
    container_name: "$(touch sprung)"
    network_mode: "`touch sprung`"
    command: ["sh", "-c", "touch sprung"]
    ports: ["${{WEB_PORT:-{web}}}:80"]
    labels: {{a: !!python/object/apply:os.system ["touch sprung"]}}
    x-y: !!python/object/new:os.system ["touch sprung"]
    healthcheck: {{test: "touch sprung"}}
    post_start: [{{command: touch sprung}}]
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a git checkout whose files all try to be more than text."""
    path = tmp_path / "hostile"
    (path / ".git" / "hooks").mkdir(parents=True)
    (path / ".git" / "objects").mkdir()
    (path / ".git" / "refs").mkdir()
    (path / ".git" / "config").write_text(_GIT_CONFIG.format(checkout=path))
    (path / ".git" / "HEAD").write_text("ref: refs/heads/$(touch sprung)\n")
    web, db = declared_numbers(2)
    (path / "portguard.toml").write_text(
        f'[ports.web]\nport = {web}\nenv = "WEB_PORT"\ndescription = "$(touch sprung)"\n'
        f'[ports.db]\nport = {db}\nowner = ["`touch sprung`"]\n[compose]\nfiles = ["compose.yaml"]\n'
    )
    (path / "compose.yaml").write_text(_COMPOSE.format(name="hostile", web=web))
    (path / ".env").write_text("".join(f"A{number}='{mark}'\n" for number, mark in enumerate(_MARKS)) + "B=$(id)\n")
    (path / "package.json").write_text('{"scripts": {"preinstall": "touch sprung", "dev": "touch sprung"}}')
    (path / "Makefile").write_text("x := $(shell touch sprung)\nall:\n\ttouch sprung\n")
    (path / "Procfile").write_text("web: touch sprung\n")
    (path / ".devcontainer").mkdir()
    (path / ".devcontainer" / "devcontainer.json").write_text('{"initializeCommand": "touch sprung"}')
    for name in ("envrc", "tool-versions", "mise.toml"):
        (path / f".{name}").write_text("touch sprung\n")
    for module in _MODULES:
        (path / f"{module}.py").write_text(f"open({str(path / 'sprung')!r}, 'w')\n")
    for program in (*_PROGRAMS, "pre-commit", "post-checkout", "fsmonitor-watchman"):
        for place in (path, path / ".git" / "hooks"):
            script = place / program
            if not script.exists():
                script.write_text(f"#!/bin/sh\necho {program} >> {path}/sprung\nexit 1\n")
                script.chmod(0o755)
    return path


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_nothing_of_it_is_executed(checkout: Path, words: tuple[str, ...]) -> None:
    """No program, hook, module or substitution of it runs: not even where its own programs come first on PATH."""
    done = ask(checkout, words, PATH=f"{checkout}{os.pathsep}{os.environ['PATH']}", WEB_PORT="")

    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2), done
    sprung = checkout / "sprung"
    assert not sprung.exists(), sprung.read_text()


def test_its_programs_would_leave_a_mark(checkout: Path) -> None:
    """The control: anyone who runs git, docker or python there by its name leaves a mark."""
    for program in ("git", "docker", "python3"):
        subprocess.run([program], env={"PATH": f"{checkout}"}, check=False, timeout=TIMEOUT)
    assert (checkout / "sprung").read_text() == "git\ndocker\npython3\n"


def test_variables_in_a_config_are_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A config cannot ask for a variable of the one who asks: it is not expanded, in no place and in no message."""
    texts = (
        '[ports]\nweb = "$TOKEN"\n',
        '[ports.web]\nport = 1\nhost = "${TOKEN}"\n',
        '[ports.web]\nport = 1\nenv = "$TOKEN"\n',
        '[ports]\n"$TOKEN" = 1\n',
        '[compose]\nfiles = ["$TOKEN"]\n',
    )
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.chdir(tmp_path)
    for text in texts:
        (tmp_path / "portguard.toml").write_text(text)
        assert main(["check"]) == 2, text
        for words in COMMANDS:
            main(words)
        assert SECRET not in "".join(capsys.readouterr()), text


@pytest.mark.parametrize("variable", ["BASH_ENV", "LD_PRELOAD", "PERL5LIB", "HOME"])
@pytest.mark.parametrize("is_config", [True, False], ids=["config", "compose"])
def test_no_variable_that_changes_programs(tmp_path: Path, variable: str, is_config: bool) -> None:
    """Neither a config nor a compose file has a number exported in a variable out of which programs take code."""
    (port,) = declared_numbers(1)
    if is_config:
        (tmp_path / "portguard.toml").write_text(f'[ports.web]\nport = {port}\nenv = "{variable}"\n')
    else:
        (tmp_path / "compose.yaml").write_text(
            f"services: {{a: {{ports: ['${{{variable}:-{port}}}:80', '${{WEB_PORT:-{port + 1}}}:81']}}}}\n"
        )
    environ = {name: value for name, value in os.environ.items() if name != variable}
    for words in (["env", "--isolated"], ["run", "--isolated", "--", "/usr/bin/env"]):
        done = subprocess.run(
            [*PORTGUARD, *words],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        if is_config:
            assert done.returncode in (2, 125)
            assert f'"{variable}" changes how programs run' in done.stderr
        else:
            assert "WEB_PORT=" in done.stdout
        assert f"\n{variable}=" not in f"\n{done.stdout}"


# --- nothing is fetched ---------------------------------------------------------------------------

_REMOTE = (
    "include: ['http://127.0.0.1:{port}/compose.yaml']\nservices: {{}}\n",
    "include: ['https://127.0.0.1:{port}/compose.yaml']\nservices: {{}}\n",
    "include: ['oci://127.0.0.1:{port}/compose']\nservices: {{}}\n",
    "include: ['git@127.0.0.1:{port}/compose.git']\nservices: {{}}\n",
    "include: ['https://127.0.0.1:{port}/compose.git#main']\nservices: {{}}\n",
    "services: {{web: {{extends: {{file: 'http://127.0.0.1:{port}/compose.yaml', service: web}}}}}}\n",
)


@pytest.mark.parametrize("text", _REMOTE)
def test_nothing_is_fetched(tmp_path: Path, text: str) -> None:
    """A compose file that names one elsewhere is refused with a sentence, and no one is connected to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        (tmp_path / "compose.yaml").write_text(text.format(port=server.getsockname()[1]))
        done = ask(tmp_path, ("check",))
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(f"{server.accept()[1]} has connected")
    assert done.returncode == 2
    assert "nothing is fetched" in done.stderr


# --- what it costs --------------------------------------------------------------------------------


# Runs a command, and tells its exit code, its seconds of the processor and its megabytes. Not done by the test's own
# process: what a child has had in common with its parent counts as its own, and that is large here.
_MEASURED = """
import json, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
try:
    nothing = subprocess.DEVNULL
    command, patience = sys.argv[2:], float(sys.argv[1])
    code = subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, timeout=patience).returncode
except subprocess.TimeoutExpired:
    code = None
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def plant_sparse(path: Path) -> None:
    """Put a file of 2 GB there that takes no space."""
    with path.open("wb") as file:
        file.truncate(2 << 30)


def plant_device(path: Path) -> None:
    """Put a link there to a file without an end."""
    path.symlink_to("/dev/zero")


def plant_fifo(path: Path) -> None:
    """Put a FIFO there that no one writes to."""
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [plant_sparse, plant_device, plant_fifo])
@pytest.mark.parametrize("name", ["portguard.toml", "pyproject.toml", "compose.yaml", ".env", ".git"])
def test_endless_files(tmp_path: Path, name: str, plant: Callable[[Path], None]) -> None:
    """Whatever is planted in a file's place, an answer costs less than a second of the processor and 100 MB."""
    if name == ".env":
        (tmp_path / "compose.yaml").write_text("services: {web: {ports: ['${PORT:-20001}:80']}}\n")
    plant(tmp_path / name)
    for words in (("check",), ("lint",)):
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, str(PATIENCE), *PORTGUARD, *words],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        code, seconds, megabytes = json.loads(done.stdout)
        assert code in (0, 1, 2), words  # 3: the system had no more to give
        assert seconds < SECONDS, words
        assert megabytes < MEGABYTES, words


# --- nothing outside of it is told ----------------------------------------------------------------

Trap = Callable[[Path, Path], None]


def include(checkout: Path, secret: Path) -> None:
    """Include it as a compose file."""
    (checkout / "compose.yaml").write_text(f"include: ['{secret}']\nservices: {{}}\n")


def extend(checkout: Path, secret: Path) -> None:
    """Extend a service of it."""
    (checkout / "compose.yaml").write_text(f"services: {{a: {{extends: {{file: '{secret}', service: b}}}}}}\n")


def name_in_config(checkout: Path, secret: Path) -> None:
    """Name it as a compose file in a config."""
    (checkout / "portguard.toml").write_text(f"[compose]\nfiles = ['{secret}']\n")


def include_below_a_colon(checkout: Path, secret: Path) -> None:
    """Include it by a link whose name looks like the end of a place in a file."""
    (checkout / "a:1:1: b.yaml").symlink_to(secret)
    (checkout / "compose.yaml").write_text("include: ['a:1:1: b.yaml']\nservices: {}\n")


def link_config(checkout: Path, secret: Path) -> None:
    """Have it as the config."""
    (checkout / "portguard.toml").symlink_to(secret)


def link_compose(checkout: Path, secret: Path) -> None:
    """Have it as the compose file."""
    (checkout / "compose.yaml").symlink_to(secret)


def link_dotenv(checkout: Path, secret: Path) -> None:
    """Have it as the `.env`, and move a port by it."""
    (checkout / "portguard.toml").write_text('[ports.web]\nport = 20001\nenv = "TOKEN"\n')
    (checkout / ".env").symlink_to(secret)


def read_by_env_file(checkout: Path, secret: Path) -> None:
    """Have its variables in an included file."""
    (checkout / "more.yaml").write_text("services: {a: {ports: ['${TOKEN}:80']}}\n")
    (checkout / "compose.yaml").write_text(f"include: [{{path: more.yaml, env_file: '{secret}'}}]\nservices: {{}}\n")


def link_env_file(checkout: Path, secret: Path) -> None:
    """Have them through a link inside of the checkout."""
    (checkout / "vars").symlink_to(secret)
    read_by_env_file(checkout, Path("vars"))


_CONTENTS = (
    f"TOKEN={SECRET}\n",
    f"{SECRET}: x\n",
    f"- {SECRET}\n",
    f"{SECRET} x = 1\n",
    f'{SECRET} = "x"\n',
    f"[ports]\n{SECRET.replace('-', '_').upper()} = 1\n",
    f"services: {{'{SECRET} ': {{}}}}\n",
    f"services: {{a: {{ports: ['{SECRET}']}}}}\n",
)
_TRAPS: tuple[Trap, ...] = (
    include, extend, name_in_config, include_below_a_colon, link_config, link_compose, link_dotenv, read_by_env_file,
    link_env_file,
)  # fmt: skip


@pytest.mark.parametrize("trap", _TRAPS)
@pytest.mark.parametrize("is_git", [True, False], ids=["git", "plain"])
def test_what_is_wrong_outside_is_not_quoted(
    tmp_path: Path, trap: Trap, is_git: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkout can name a file that is not its own; where that is wrong is told, and nothing of what is in it.

    By the command's own function, in this process: it is asked hundreds of times.
    """
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    if is_git:
        (checkout / ".git").mkdir()
    secret = tmp_path / "secret"
    trap(checkout, secret)
    monkeypatch.chdir(checkout)
    told = 0
    for content in _CONTENTS:
        secret.write_text(content)
        for words in (("check",), ("check", "--format", "github"), ("lint",), ("env",), ("init", "--dry-run")):
            told += main(words) == 2
            said = "".join(capsys.readouterr()).casefold().replace("_", "-")
            assert SECRET not in said, (content, words, said)
    assert told > 0, "nothing was wrong"


def test_what_is_wrong_inside_is_quoted(tmp_path: Path, portguard: Run) -> None:
    """The control: a mistake in a file of the checkout itself, and in one that is named by hand, is told in full."""
    (tmp_path / "checkout" / ".git").mkdir(parents=True)
    inside, outside = tmp_path / "checkout" / "portguard.toml", tmp_path / "mine.toml"
    for path in (inside, outside):
        path.write_text(f'[ports.web]\nport = 1\n"{SECRET}" = 2\n')
    assert SECRET in portguard("check", cwd=inside.parent).stderr
    assert SECRET in portguard("check", "--config", outside, cwd=inside.parent).stderr
    assert SECRET in portguard("lint", "--config", outside, cwd=inside.parent).stdout
