"""Compose projects: up to four files, parted by NUL, which no YAML has: the project, its override, another, `.env`."""

from __future__ import annotations

from collections.abc import Mapping

from portguard.errors import ConfigError
from portguard.sources import compose
from portguard.sources.compose import ComposeProject
from tests.fuzz.oracles import assert_port, assert_told, assert_unique, emptied

_NAMES = ("compose.yaml", "compose.override.yaml", "other.yaml", ".env")
_OTHER = "54321"
_LIMIT = 64 * 1024  # bytes; larger files have their own tests, and need no luck to be found


def fuzz(data: bytes) -> None:
    """Read a project; a variable that is said to decide a port decides it."""
    here = emptied("compose")
    for name, part in zip(_NAMES, data[:_LIMIT].split(b"\0", 3), strict=False):
        (here / name).write_bytes(part)
    first = _outcome(str(here), {"WEB_PORT": "8081"})
    assert first == _outcome(str(here), {"WEB_PORT": "8081"})
    assert not isinstance(first, tuple) or isinstance(first, ComposeProject) or len(first) <= compose.PROBLEMS_LIMIT + 1
    if not isinstance(first, ComposeProject):
        return
    _judge(first)
    for variable in sorted({port.env for port in first.ports if port.env})[:2]:
        again = _outcome(str(here), {"WEB_PORT": "8081", variable: _OTHER})
        if isinstance(again, ComposeProject):
            moved = [port for port in again.ports if port.env == variable]
            assert all(str(port.first) == _OTHER for port in moved), (variable, moved)


def _outcome(here: str, environ: Mapping[str, str]) -> ComposeProject | tuple[str, ...] | None:
    try:
        found = compose.find_files(here, environ)
        return None if found is None else compose.read(found, environ, profiles=("dev",))
    except ConfigError as error:
        assert_told(error, 2)
        return error.messages


def _judge(project: ComposeProject) -> None:
    assert project.name
    assert compose.normalize_name(project.name) == project.name
    assert_unique(project.services)
    for port in project.ports:
        assert port.service in project.services
        assert 0 <= port.target < 65536  # go-connections takes "8080:0", and so does the reader
        assert_port(port.first)
        assert_port(port.last)
        assert port.first <= port.last
        assert port.replicas >= 1
        assert port.line >= 1
        assert port.file in project.files
    assert not set(project.host_network) - set(project.services)
    for note in project.notes:
        assert note.message
