"""JSON with comments and trailing commas, as editors write it: its value, and the lines its first levels stand in.

Comments and commas are blanked out in place, so that every position stays what it was, and `json` does the rest. Pure.
"""

from __future__ import annotations

import json
import re

from portguard._namedtuple import NamedTuple
from portguard.sources.text import SourceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Path = tuple[str | int, ...]

DEEPEST = 64  # levels
TOKENS_LIMIT = 200_000  # marks, values and comments
PLACES_LIMIT = 10_000  # keys and items whose line is kept
_LEVELS = 2  # down to which lines are kept

# Possessive throughout: no text makes it try again. A group that repeats stands in (?>…): `)*+` loses matches in Python
# before 3.11.5 (CPython issue 106052).
_TOKEN = re.compile(
    r"""\s*+(?:(?P<mark>[{}\[\],:])"""
    r"""|(?P<string>"(?>(?:[^"\\\n]++|\\.)*)")"""
    r"""|(?P<comment>//[^\n\r]*+|/\*(?>(?:[^*]++|\*(?!/))*)\*/)"""
    r"""|(?P<other>[^\s"/{}\[\],:]++)"""
    r"""|\Z)""",
    re.DOTALL,
)
_NO_NEWLINE = re.compile(r"[^\n]")


class Document(NamedTuple):
    """A `value`, and the `lines` (from 1) of its keys and items by their path: ("scripts", "dev"), ("ports", 0)."""

    value: Any
    lines: Mapping[Path, int]


def parse(text: str) -> Document:
    """Return what the text says; of a key that is given twice the last one counts. Raises SourceError."""
    scanner = _Scanner(text)
    plain = scanner.scan()
    try:
        value = json.loads(plain, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        what = f"not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise SourceError(text.count("\n", 0, error.pos) + 1, what) from error
    except ValueError as error:  # a number of thousands of digits, NaN: the position is not told
        raise SourceError(None, f"not usable JSON: {error}") from error
    return Document(value, scanner.lines)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not a JSON number")


class _Scanner:
    """One pass over the tokens. `_before` is the last one that counts: a mark, or "value"."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._position = 0  # where the token begins
        self._counted = (0, 1)  # a position and its line
        self._blanks: list[tuple[int, int]] = []
        self._before = ""
        self._comma = -1  # where a comma follows a value
        self._kinds: list[str] = []
        self._path: list[str | int] = []

    def scan(self) -> str:
        """Return the text without comments and trailing commas. Raises SourceError."""
        text, end, tokens = self._text, 0, 0
        while end < len(text):
            token = _TOKEN.match(text, end)
            if token is None:
                self._position = len(text) - len(text[end:].lstrip())
                raise SourceError(self._line(), self._unmatched(self._position))
            end = token.end()
            kind = token.lastgroup
            if kind is None:  # the end
                break
            self._position = token.start(kind)
            tokens += 1
            if tokens > TOKENS_LIMIT:
                raise SourceError(self._line(), f"more than {TOKENS_LIMIT} values, marks and comments")
            if kind == "mark":
                self._mark(text[self._position])
            elif kind == "comment":
                self._blanks.append((self._position, end))
            else:
                self._value(end)
        return self._blanked()

    def _blanked(self) -> str:
        pieces: list[str] = []
        end = 0
        for start, stop in sorted(self._blanks):
            pieces += (self._text[end:start], _NO_NEWLINE.sub(" ", self._text[start:stop]))
            end = stop
        return "".join((*pieces, self._text[end:]))

    def _line(self) -> int:
        """Return the token's line, counted on from the last one that was asked for."""
        position, line = self._counted
        line += self._text.count("\n", position, self._position)
        self._counted = (self._position, line)
        return line

    def _unmatched(self, position: int) -> str:
        if self._text.startswith("/*", position):
            return "this comment never ends"
        if self._text[position] == '"':
            return "this string does not end in its line"
        return f"not valid JSON: unexpected {self._text[position]!r}"

    def _mark(self, mark: str) -> None:
        if mark in "{[":
            self._place()
            self._kinds.append(mark)
            self._path.append(0 if mark == "[" else "")
            if len(self._kinds) > DEEPEST:
                raise SourceError(self._line(), f"nested more than {DEEPEST} levels deep")
        elif mark in "}]":
            if self._before == "," and self._comma >= 0:
                self._blanks.append((self._comma, self._comma + 1))
            if self._kinds:
                self._kinds.pop()
                self._path.pop()
            self._before = "value"
            return
        elif mark == ",":
            self._comma = self._position if self._before == "value" else -1
            if self._kinds and self._kinds[-1] == "[":
                self._path[-1] = int(self._path[-1]) + 1
        self._before = mark

    def _value(self, end: int) -> None:
        is_key = bool(self._kinds) and self._kinds[-1] == "{" and self._before in ("{", ",")
        if is_key and len(self._kinds) <= _LEVELS:
            self._path[-1] = _decoded(self._text[self._position : end])
            self._keep()
        elif not is_key:
            self._place()
        self._before = "value"

    def _place(self) -> None:
        """Keep the line of an item; that of a key's value is the key's."""
        if self._kinds and self._kinds[-1] == "[":
            self._keep()

    def _keep(self) -> None:
        if len(self._kinds) <= _LEVELS and len(self.lines) < PLACES_LIMIT:
            self.lines[tuple(self._path)] = self._line()


def _decoded(written: str) -> str:
    try:
        value = json.loads(written)
    except ValueError:
        return written
    return value if isinstance(value, str) else written
