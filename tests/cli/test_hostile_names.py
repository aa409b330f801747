"""Real processes with hostile names, in hostile directories: the terminal shows them and never obeys them."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names are set with prctl")

_TIMEOUT = 30.0
_PORTGUARD = [sys.executable, "-m", "portguard"]

# A server that first takes the name it was given: PR_SET_NAME, prctl(2). At most 15 bytes are kept.
_SERVE = """
import ctypes, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
if ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]), 0, 0, 0) != 0:
    sys.exit("prctl")
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""

NAMES: dict[str, bytes] = {
    "harmless": b"harmless",
    "colour": b"\x1b[31mred\x1b[0m",
    "clear": b"\x1b[2J\x1b[H",
    "title": b"\x1b]0;owned\x07",
    "clipboard": b"\x1b]52;c;aGk=\x07",
    "newline": b"a\nconflict  b",
    "many-newlines": b"\n\n\n\n\n",
    "carriage-return": b"evil\rnginx",
    "backspace": b"evil\x08\x08\x08\x08ok",
    "tab-bell": b"a\tb\x07\x0b\x0c",
    "delete": b"\x7f\x7f\x7f",
    "bidi-override": "a\u202eexe.b".encode(),
    "bidi-isolate": "\u2066a\u2069b".encode(),
    "zero-width": "a\u200bb\u200dc\ufeff".encode(),
    "separators": "a\u2028b\u2029c".encode(),
    "c1-utf8": "\u009b31mred".encode(),
    "c1-raw": b"\x9b31mred\x9d0;x\x9c",
    "invalid-utf8": b"\xff\xfe\xc3(\xa0\xa1",
    "surrogate-utf8": b"\xed\xb2\x9b\xed\xa0\x80",
    "markup": b"[red]x[/red]",
    "workflow": b"::error::x",
    "workflow-line": b"\n::error::x",
    "percent": b"%0A%0D%1b",
    "backslash": b"\\x1b[31m\\\\\\",
    "quotes": b"\"'`'\"",
    "shell": b"$(id);`id`|&>x",
    "format": b"%s{0}{x!r}%n",
    "parenthesis": b"x) S 1 1 1 (y",
    "option": b"--help",
    "blank": b"   ",
    "tags": "\U000e0041\U000e0042".encode(),
}

DIRECTORIES: dict[str, bytes] = {
    "harmless": b"harmless",
    "newline": b"a\n  next: rm -rf .\nb",
    "escape": b"\x1b[2J\x1b]52;c;aGk=\x07",
    "invalid-utf8": b"caf\xe9\xff",
    "c1-raw": b"\x9b31m",
    "bidi": "\u202egnp.exe\u2066".encode(),
    "deleted": b"x (deleted)",
    "backslash": b"\\n\\x1b",
    "long": b"\x1b" * 200,
}


class Server(NamedTuple):
    """A process with a name and a working directory, and where it listens."""

    process: subprocess.Popen[str]
    name: bytes
    directory: bytes
    port: int


class World(NamedTuple):
    """All of them at once: by name, and by working directory."""

    named: dict[str, Server]
    placed: dict[str, Server]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start every server, together, and end them."""
    top = os.fsencode(tmp_path_factory.mktemp("x"))
    started: list[tuple[str, subprocess.Popen[str], bytes, bytes]] = []
    try:
        for kind, name in NAMES.items():
            started.append((kind, _start(name, top), name, top))
        for kind, directory in DIRECTORIES.items():
            path = os.path.join(top, directory)
            os.mkdir(path)
            started.append((kind, _start(b"server", path), b"server", path))
        servers = [(kind, Server(process, name, path, _port_of(process))) for kind, process, name, path in started]
        yield World(dict(servers[: len(NAMES)]), dict(servers[len(NAMES) :]))
    finally:
        for _, process, _, _ in started:
            with process:
                assert process.stdin is not None
                process.stdin.close()


def _start(name: bytes, directory: bytes) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SERVE, name.hex()],
        cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], _TIMEOUT)[0], "the server says nothing"
    return int(process.stdout.readline())


def _check(*arguments: str, cwd: str | bytes | Path = "/", **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*_PORTGUARD, "check", *arguments],
        cwd=cwd, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, capture_output=True, check=False,
        timeout=_TIMEOUT,
    )  # fmt: skip


def _assert_tame(output: bytes) -> None:
    """Nothing but text and the ends of lines: no control byte, and after decoding no format character either."""
    text = output.decode("utf-8")
    assert "\x1b" not in text
    found = {character for character in text if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert found <= {"\n"}


def _shape(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """Return how each line of both outputs begins, numbers made alike."""
    lines = [*done.stdout.decode().split("\n"), "---", *done.stderr.decode().split("\n")]
    return [re.sub(r"\d+", "N", line)[:6] for line in lines]


# ---------------------------------------------------------------- text


@pytest.mark.parametrize("kind", NAMES)
def test_names_cannot_touch_the_terminal(world: World, kind: str) -> None:
    """The text has no escape, no control and no format character, and not one line more than for a harmless name."""
    server = world.named[kind]
    assert Path(f"/proc/{server.process.pid}/comm").read_bytes() == server.name[:15] + b"\n"
    done = _check(f"127.0.0.1:{server.port}")
    assert done.returncode == 1
    _assert_tame(done.stdout + done.stderr)
    harmless = _check(f"127.0.0.1:{world.named['harmless'].port}")
    told = _shape(done)
    assert len(told) == len(_shape(harmless))
    # The line that begins with the name is the only one that may begin otherwise.
    assert [line for line in told if line not in _shape(harmless)] == told[1:2] or kind == "harmless"
    assert str(server.process.pid).encode() in done.stdout


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_directories_cannot_touch_the_terminal(world: World, kind: str) -> None:
    """The same for the working directory; the holder's own, and the one that portguard runs in."""
    server = world.placed[kind]
    done = _check(f"127.0.0.1:{server.port}")
    assert done.returncode == 1
    _assert_tame(done.stdout + done.stderr)
    assert _shape(done) == _shape(_check(f"127.0.0.1:{world.placed['harmless'].port}"))
    inside = _check(f"127.0.0.1:{server.port}", cwd=server.directory)
    assert inside.returncode == 1
    _assert_tame(inside.stdout + inside.stderr)
    assert _shape(inside) == _shape(done)


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_config_in_hostile_directory(world: World, kind: str) -> None:
    """A config that lies in such a directory is named in one tame line, on success and on error."""
    server = world.placed[kind]
    config = os.path.join(server.directory, b"portguard.toml")
    try:
        for content, exit_code in ((f"[ports]\nweb = {server.port}\n", 0), ("[ports]\nweb = 'x'\n", 2)):
            Path(os.fsdecode(config)).write_text(content)
            done = _check(cwd=server.directory)
            assert done.returncode == exit_code, done
            _assert_tame(done.stdout + done.stderr)
            assert len(done.stdout.splitlines()) <= 4
            document = json.loads(_check("--json", cwd=server.directory).stdout)
            if exit_code == 0:
                assert os.fsencode(document["data"]["config"]) == config
    finally:
        os.unlink(config)


def test_an_ascii_terminal_is_no_trouble(world: World) -> None:
    """In a locale without UTF-8 the output is still tame, and there is no traceback."""
    ports = [f"127.0.0.1:{server.port}" for server in (*world.named.values(), *world.placed.values())]
    done = _check(*ports, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 1
    assert done.stdout.isascii()
    assert b"Traceback" not in done.stderr
    _assert_tame(done.stdout + done.stderr)


def test_colour_is_ours_alone(world: World) -> None:
    """Off a terminal nothing is coloured, whatever the environment asks for."""
    done = _check(f"127.0.0.1:{world.named['colour'].port}", FORCE_COLOR="1", GITHUB_ACTIONS="true", TERM="xterm")
    _assert_tame(done.stdout + done.stderr)


# ---------------------------------------------------------------- JSON


def test_json_is_ascii_and_gives_names_back(world: World) -> None:
    """The JSON document is pure ASCII, one line, and holds the very bytes of every name and working directory."""
    servers = [*world.named.values(), *world.placed.values()]
    done = _check("--json", *(f"127.0.0.1:{server.port}" for server in servers))
    assert done.returncode == 1
    assert done.stdout.isascii()
    assert done.stdout.count(b"\n") == 1
    assert done.stdout.isascii()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)
    ports: list[dict[str, Any]] = json.loads(done.stdout)["data"]["ports"]
    assert len(ports) == len(servers) >= 20
    for server, report in zip(servers, ports, strict=True):
        (process,) = report["holders"][0]["processes"]
        assert process["pid"] == server.process.pid
        assert os.fsencode(process["name"]) == server.name[:15]
        assert os.fsencode(process["cwd"]) == server.directory
        assert (report["verdict"], report["cause"]) == ("conflict", "listener")


@pytest.mark.parametrize("kind", ["clear", "bidi-override", "invalid-utf8"])
def test_a_usage_error_repeats_nothing_raw(kind: str) -> None:
    """An option that a script made of a foreign name is refused, with that name made printable."""
    words: list[str | bytes] = [*_PORTGUARD, "free", b"--" + NAMES[kind]]
    done = subprocess.run(words, capture_output=True, timeout=_TIMEOUT, check=False)
    assert done.returncode == 2
    assert done.stdout == b""
    _assert_tame(done.stderr)
