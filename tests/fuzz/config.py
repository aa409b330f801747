"""Configs: what is accepted is whole, and every path in it is located where tomli finds it."""

from __future__ import annotations

import zlib

import tomli

from portguard.config import find
from portguard.config.find import SIZE_LIMIT, ConfigText
from portguard.config.locate import locate
from portguard.config.parse import parse
from portguard.errors import ConfigError
from portguard.model import Config
from portguard.render import text as render
from portguard.rules import lint
from portguard.rules.addresses import canonical
from tests.config.test_locate import assert_tomli_points_there, paths_of
from tests.fuzz.oracles import assert_line, assert_port, assert_printable, assert_told, assert_unique

_DEEPEST = 64  # levels; tomli takes a kilobyte and more for each


def fuzz(data: bytes) -> None:
    """Read a config, as pyproject.toml where it speaks of portguard."""
    data = data[:SIZE_LIMIT]
    prefix = ("tool", "portguard") if b"portguard" in data else ()
    name = "pyproject.toml" if prefix else "portguard.toml"
    found = ConfigText(f"/p/{name}", data, prefix)
    first = _outcome(found, name)
    assert first == _outcome(found, name)
    if isinstance(first, Config):
        assert not prefix or find._has_table(data)
        _judge(first, data)
    _locate(data)


def _outcome(found: ConfigText, name: str) -> Config | tuple[str, ...]:
    try:
        return parse(found, name)
    except ConfigError as error:
        assert_told(error, 2, (f"{name}:",))
        for message in error.messages:
            line, column = map(int, message.removeprefix(f"{name}:").split(":")[:2])
            assert_line(line, found.data)
            assert column >= 1, message
        return error.messages


def _judge(config: Config, data: bytes) -> None:
    assert_unique(item.name for item in config.declarations)
    for item in config.declarations:
        assert_port(item.port)
        assert item.hosts
        assert all(canonical(host) == host for host in item.hosts)
        assert item.protocols
        assert set(item.protocols) <= {"tcp", "udp"}
        assert item.source.line is not None
        assert_line(item.source.line, data)
    found = lint.findings(lint.Facts(declared=config.declarations))
    for finding in found:
        assert finding.id in lint.RULES
        assert_printable("\n".join(render._finding(finding, "/p", colour=False)))


def _locate(data: bytes) -> None:
    """Demand the same paths from tomli and from `locate`, and, of one of them, the same place."""
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        places = locate(text)
        if len(max(places, key=len, default=())) > _DEEPEST:
            return
        document = tomli.loads(text)
    except (ValueError, RecursionError):
        return
    assert set(places) == set(paths_of(document))
    if places:
        chosen = sorted(places.items(), key=repr)[zlib.crc32(data) % len(places)][1]
        assert_tomli_points_there(text, *chosen[:2])
        assert_tomli_points_there(text, *chosen[2:])
