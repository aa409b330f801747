"""Where answers go: a terminal is coloured unless someone objects, and odd streams change neither answer nor code."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PORTGUARD, Run
from tests.worlds.servers import plain_server

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

RED, BOLD = "\x1b[1;31m", "\x1b[1m"


def at_a_terminal(*arguments: str, cwd: Path, environ: dict[str, str]) -> str:
    """Run the command with a terminal as standard output; return what it showed."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        try:
            process = subprocess.Popen(
                [*PORTGUARD, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL,
                cwd=cwd, env={**os.environ, "TERM": "xterm", **environ},
            )  # fmt: skip
        finally:
            os.close(theirs)
        shown = bytearray()
        try:
            while part := screen.read(4096):
                shown += part
        except OSError:  # EIO: no one has the other end any more
            pass
        process.wait(30)
    return shown.decode()


@pytest.mark.parametrize(
    ("environ", "is_coloured"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_is_coloured_unless_somebody_objects(
    environ: dict[str, str], is_coloured: bool, tmp_path: Path, busy: int
) -> None:
    """NO_COLOR counts when it is not empty (no-color.org), and TERM=dumb; what is said is the same."""
    shown = at_a_terminal("check", f"127.0.0.1:{busy}", cwd=tmp_path, environ=environ)

    assert shown.startswith(f"{RED}conflict\x1b[0m" if is_coloured else "conflict")
    assert ("\x1b" in shown) == is_coloured
    assert f"pid {os.getpid()}" in shown


def test_every_command_that_colours_does_so_at_a_terminal(tmp_path: Path, busy: int) -> None:
    """Findings in red, and the heads of tables and paragraphs in bold."""
    (tmp_path / "portguard.toml").write_text(f"[ports]\na = {busy}\nb = {busy}\n")

    shown = {
        words: at_a_terminal(*words.split(), cwd=tmp_path, environ={})
        for words in ("lint", f"who 127.0.0.1:{busy}", "list", f"info {busy}", f"kill --dry-run 127.0.0.1:{busy}")
    }

    assert f"{RED}error\x1b[0m" in shown["lint"]
    assert f"{BOLD}PORT" in shown["list"]
    assert f"{BOLD}{busy}\x1b[0m" in shown[f"info {busy}"]
    assert shown[f"who 127.0.0.1:{busy}"].startswith(f"{BOLD}127.0.0.1:{busy}/tcp")
    assert shown[f"kill --dry-run 127.0.0.1:{busy}"].startswith(f"127.0.0.1:{busy}/tcp  {RED}refused\x1b[0m")


def test_what_cannot_be_said_changes_nothing_else(tmp_path: Path, busy: int) -> None:
    """Where standard error is full or closed, the answer and the exit code are as ever."""
    (tmp_path / "portguard.toml").write_text("[ports]\nweb = 0\n")
    for redirected in ("2>/dev/full", "2>&-"):
        wrong = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirected}', "sh", *PORTGUARD, "check", "--json"],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

        assert wrong.returncode == 2
        assert "port 0 means any free port" in wrong.stdout


def test_a_terminal_without_unicode_is_told_in_escapes(everybodys: Path, portguard: Run) -> None:
    """Standard output in ASCII: what it cannot show comes out escaped, and the answer whole."""
    shop = everybodys / "café"
    shop.mkdir()
    server = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", server],
        cwd=shop, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        done = portguard("check", f"127.0.0.1:{port}", env={**os.environ, "PYTHONIOENCODING": "ascii"})
        process.communicate("\n")

    assert done.returncode == 1
    assert done.stdout.isascii()
    assert f"in {everybodys}/caf\\xe9\n" in done.stdout
    assert done.stdout.endswith("1 port: 1 conflict\n")


def test_nobody_is_ended_where_nothing_can_be_asked(tmp_path: Path) -> None:
    """Without any standard input `kill` shows its plan, ends no one, and names the command that needs no question."""
    with plain_server(tmp_path) as port:
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" <&-', "sh", *PORTGUARD, "kill", f"127.0.0.1:{port}"],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

        assert done.returncode == 2, done
        assert "no terminal to ask on" in done.stderr
        assert f"portguard kill --yes 127.0.0.1:{port}" in done.stderr
        with socket.create_connection(("127.0.0.1", port), 10):
            pass


def test_a_free_port_needs_no_working_directory(tmp_path: Path) -> None:
    """Under a deleted one there is a port all the same, and a note that nothing declared could be left out."""
    gone = tmp_path / "gone"
    gone.mkdir()

    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *PORTGUARD, "free"],
        cwd=gone, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done
    assert done.stdout.strip().isdigit()
    assert done.stderr.startswith("note: could not leave out the declared ports: the working directory cannot be used")


@pytest.mark.parametrize("words", ["check --format github", "lint --format github", "leases release --all"])
def test_a_working_directory_that_is_gone(words: str, tmp_path: Path) -> None:
    """Someone deletes the checkout under an open shell: a sentence, not a traceback, and annotations all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()

    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *PORTGUARD, *words.split()],
        cwd=gone, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert done.returncode == 2, done
    assert "the working directory cannot be used: No such file or directory" in done.stderr
    assert "cd to one that exists" in done.stderr
    assert done.stdout.startswith("::error ") == ("github" in words)
