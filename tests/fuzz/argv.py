"""Command lines: words parted by NUL, as the kernel hands them over; both doors, and what only looks is run."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
from collections.abc import Callable, Mapping
from unittest import mock

import typer
import typer.main

from portguard.cli import app, command, main
from portguard.cli.command import COMMANDS, Command, module_of
from tests.cli.test_both_doors import call_typer
from tests.fuzz.oracles import assert_printable, emptied

# Of the commands that end nothing, start nothing and write nothing, with their own words.
_LOOKING = ("check", "free", "info", "leases", "lint", "schema", "who")
_NOT_RUN = ("--hold", "--compose-config", "--install-completion", "--show-completion")
_WORDS_LIMIT = 24
_LIMIT = 4096  # bytes


def fuzz(data: bytes) -> None:
    """Read a command line at both doors; run it where that changes nothing."""
    words = [os.fsdecode(word) for word in data[:_LIMIT].split(b"\0")[:_WORDS_LIMIT]]
    understood = command.parse(words)
    # Both definitions are made once: Typer takes a hundred times as long to make one as to read a command line.
    with mock.patch.object(typer.main, "get_command", _command), mock.patch.object(app, "build", _build):
        if understood is not None:
            assert understood == call_typer(words), words
        if _only_looks(words):
            _run(words)


_command = functools.cache(typer.main.get_command)
_make = app.build
_latest: list[Callable[..., int]] = []


def _build(commands: Mapping[str, Command], call: Callable[..., int]) -> typer.Typer:
    """Stand in for `app.build`: one definition, which makes the call that was last asked for."""
    _latest[:] = [call]
    return _made()


@functools.cache
def _made() -> typer.Typer:
    return _make({name: module_of(name).COMMAND for name in COMMANDS}, _call_latest)


def _call_latest(name: str, **values: object) -> int:
    return _latest[0](name, **values)


def _only_looks(words: list[str]) -> bool:
    if not words or words[0] not in _LOOKING or any(word.startswith(_NOT_RUN) for word in words):
        return False
    return words[0] != "free" or "--no-lease" in words


def _run(words: list[str]) -> None:
    here = emptied("argv")
    (here / ".git").mkdir()
    (here / "portguard.toml").write_text('[ports]\nweb = 8080\n[ports.db]\nport = 5432\nprotocol = "udp"\n')
    environ = {
        "HOME": str(here),
        "PATH": os.environ["PATH"],
        "PORTGUARD_STATE_DIR": str(here / "state"),
        "XDG_CACHE_HOME": str(here / "cache"),
        "XDG_RUNTIME_DIR": str(here),
        "DOCKER_HOST": f"unix://{here}/docker.sock",
    }
    written = io.BytesIO(), io.BytesIO()
    out, err = (  # as Python opens them (sys.stderr)
        io.TextIOWrapper(stream, encoding="utf-8", errors=errors, write_through=True)
        for stream, errors in zip(written, ("strict", "backslashreplace"), strict=True)
    )
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        contextlib.chdir(here),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main.main(words)
    answer, messages = (stream.getvalue().decode("utf-8") for stream in written)
    assert code in (0, 1, 2, 3), (words, code, messages)
    assert_printable(messages)
    if command.parse(words) is not None and "--json" in words:
        document = json.loads(answer)
        assert document["exit_code"] == code
    else:
        assert_printable(answer)
