"""What is never looked at, and never called: other processes' environments and arguments, and sudo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds.capabilities import NOBODY
from tests.worlds.netns import private_netns
from tests.worlds.users import as_user, holding

SECRET = "hunter2-of-a-server"
# A long name makes portguard look at argv[0].
_SERVER = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, b"a-server-with-a-long-name", 0, 0, 0)
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
# Runs commands in one process, and tells every file that was opened.
_WATCHED = """
import json, os, sys
opened = []
sys.addaudithook(lambda event, words: opened.append(os.fspath(words[0])) if event == "open"
                 and isinstance(words[0], (str, bytes)) else None)
from portguard.cli.main import main
for command in json.loads(sys.argv[1]):
    print(main(command))
with open(sys.argv[2], "w") as told:
    json.dump([os.fsdecode(path) for path in opened], told)
"""


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """Run a server with secrets in its arguments and its environment; return its pid and port."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, f"--password={SECRET}"],
        env={**os.environ, "PASSWORD": SECRET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are files on Linux")
def test_environments_are_never_opened(server: tuple[int, int], tmp_path: Path) -> None:
    """Whatever is asked about a server, no one's environment is opened, and neither it nor the arguments are told."""
    pid, port = server
    commands = [
        ["check", str(port)],
        ["check", "--json", str(port)],
        ["who", "--all-holders", str(port)],
        ["who", "--json", str(port)],
        ["list", "--all", "--json"],
        ["list", "--by-project"],
        ["wait", "--json", str(port)],
        ["kill", "--dry-run", "--tree", "--json", str(port)],
    ]
    told = tmp_path / "opened"
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, json.dumps(commands), told],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    opened = json.loads(told.read_text())
    assert f"/proc/{pid}/stat" in opened, "the server was not looked at"
    assert [path for path in opened if path.endswith("/environ")] == []
    assert done.stdout.count(f'"pid": {pid}') >= 4
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.needs("netns", "users")
def test_sudo_is_named_and_never_called(everybodys: Path) -> None:
    """Where only root sees who it is, the command to be typed is told; a `sudo` that asks for nothing is left alone."""
    called = everybodys / "called"
    called.touch()
    called.chmod(0o666)
    sudo = everybodys / "sudo"
    sudo.write_text(f'#!/bin/sh\necho "$@" >> {called}\n')
    sudo.chmod(0o755)
    path = f"{everybodys}{os.pathsep}{os.environ['PATH']}"
    with private_netns() as ns, holding([("tcp", "127.0.0.1", 0, "listen")], 0, ns) as held:
        port = str(held.ports[0])
        for words in (["check", port], ["who", port], ["list"], ["kill", "--yes", "--force", port]):
            done = as_user(["-m", "portguard", *words], NOBODY, ns, environ={"PATH": path})
            assert "Traceback" not in done.stderr
            if words[0] != "list":
                assert "sudo" in done.stdout + done.stderr, words
    assert called.read_text() == ""
