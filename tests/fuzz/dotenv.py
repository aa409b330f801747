"""`.env` files: assignments with their lines, and portguard's block, beside which no byte may change."""

from __future__ import annotations

import re
from collections.abc import Mapping

from portguard.rules import env_block
from portguard.rules.env_block import BlockError
from portguard.sources import dotenv
from portguard.sources.dotenv import Assignment, DotenvError
from tests.fuzz.oracles import assert_line, assert_printable

_ENVIRON = {"B": "2", "WEB_PORT": "8081"}
_VARIABLES = {"WEB_PORT": "49200", "COMPOSE_PROJECT_NAME": "shop-feature-3f2a1c"}
_OWNER = "/home/a b/\\caf\u00e9\n\x1b"
_LIMIT = 64 * 1024  # bytes


def fuzz(data: bytes) -> None:
    """Read a `.env`, and write the block into it."""
    data = data[:_LIMIT]
    text = data.decode("utf-8-sig", "replace")
    for keep_unresolved in (True, False):
        found = _assignments(text, keep_unresolved=keep_unresolved)
        assert found == _assignments(text, keep_unresolved=keep_unresolved)
    blanked = env_block.blanked(text)
    assert blanked.count("\n") == text.count("\n")
    env_block.owner_of(text)
    _block(data)


def _assignments(text: str, *, keep_unresolved: bool) -> Mapping[str, Assignment] | str:
    try:
        found = dotenv.assignments(text, _ENVIRON, keep_unresolved=keep_unresolved)
    except DotenvError as error:
        assert_line(error.line, text)
        return str(error)
    for item in found.values():
        assert_line(item.line, text)
    return found


def _block(data: bytes) -> None:
    try:
        written = env_block.replaced(data, _VARIABLES, _OWNER)
    except BlockError as error:
        assert_line(error.line, data)
        assert_printable(str(error))
        return
    assert env_block.replaced(written, _VARIABLES, _OWNER) == written
    text = written.decode("utf-8-sig", "replace")
    assert env_block.owner_of(text) == _OWNER
    without = env_block.replaced(written, {}, _OWNER)
    before = env_block.replaced(data, {}, _OWNER)
    # A new block stands on a line of its own, which a file without a last line end has to get first.
    assert without in (before, before + b"\n", before + b"\r\n")
    assert _kept_beside(data, before)
    if before == data:
        _read_back(data, text)


def _kept_beside(data: bytes, without: bytes) -> bool:
    """Whether taking the block out took one piece alone, which begins with the block's mark."""
    size = len(data) - len(without)
    starts = [match.start() for match in re.finditer(b"# >>> portguard env:", data)]
    return not size or any(data[:at] + data[at + size :] == without for at in starts)


def _read_back(data: bytes, written: str) -> None:
    """Demand that a new block at the end of a file that can be read says what it was given."""
    if isinstance(_assignments(data.decode("utf-8-sig", "replace"), keep_unresolved=True), str):
        return
    found = dotenv.assignments(written, {})
    assert {name: found[name].value for name in _VARIABLES} == _VARIABLES
