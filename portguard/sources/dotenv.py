"""A `.env` file as compose reads it: the grammar of compose-go's `dotenv/parser.go` (v2).

`KEY=value`, `KEY: value`, `export`, a bare `KEY` (taken from the environment), comments after " #", single quotes
(literal, may span lines), double quotes (escapes, may span lines). Unquoted and double-quoted values are templates over
the environment and the lines before. Nothing is executed.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.sources import regular
from portguard.sources.interpolation import TemplateError, substitute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EXPANDED_LIMIT = 4 * regular.SIZE_LIMIT  # characters of all values together

_SPACES = "\t\v\f\r \x85\xa0"  # on one line
# Go's unicode.IsSpace, which is not Python's.
_ALL_SPACES = (
    _SPACES + "\n\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
_OCTAL = "01234567"


class Assignment(NamedTuple):
    """A line's `value` and its `line` number, counted from 1."""

    value: str
    line: int


class DotenvError(ValueError):
    """A `.env` that compose refuses: `what` is wrong in `line`. As text: "line 3: what"."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


def assignments(
    text: str, environ: Mapping[str, str] | None = None, *, keep_unresolved: bool = True
) -> dict[str, Assignment]:
    """Return the variables a `.env` sets, as the file says; the last assignment of a name wins.

    References are looked up in `environ`, then among the lines before. One that is set nowhere becomes nothing, as in
    compose; with `keep_unresolved` the value stays as it is written instead, so that no one takes it for an answer.
    Raises DotenvError.
    """
    return _Parser(text, environ or {}, keep_unresolved=keep_unresolved).parse()


def read(
    path: str,
    environ: Mapping[str, str] | None = None,
    *,
    keep_unresolved: bool = True,
    prepare: Callable[[str], str] | None = None,
) -> dict[str, Assignment] | None:
    """Return the assignments of the file at `path`; None if there is no regular file (a folder may be called .env).

    `prepare` is given the text before it is understood. Raises OSError if it cannot be read, ValueError when it is
    larger than the limit or (DotenvError) malformed.
    """
    text = regular.read(path)
    if text is None:
        return None
    return assignments(text if prepare is None else prepare(text), environ, keep_unresolved=keep_unresolved)


class _Parser:
    """One pass over the text: `position` is the next character, `line` its number."""

    def __init__(self, text: str, environ: Mapping[str, str], *, keep_unresolved: bool) -> None:
        self._text = text
        self._environ = environ
        self._keep_unresolved = keep_unresolved
        self._position = 0
        self._line = 1
        self._size = 0
        self._found: dict[str, Assignment] = {}

    def parse(self) -> dict[str, Assignment]:
        while self._to_statement():
            line = self._line
            key, ending = self._key()
            if ending in ("\n", ""):
                # A bare name is inherited; at the very end, without a newline, compose passes it over.
                if ending and key in self._environ:
                    self._found[key] = Assignment(self._environ[key], line)
                continue
            value = self._value(line)
            self._size += len(value)
            if self._size > _EXPANDED_LIMIT:
                raise DotenvError(line, f"the values expand to more than {_EXPANDED_LIMIT // 1024} KiB")
            self._found[key] = Assignment(value, line)
        return self._found

    def _to_statement(self) -> bool:
        """Go to the next character that is neither space nor comment; False at the end."""
        text = self._text
        while self._position < len(text):
            char = text[self._position]
            if char == "#":
                newline = text.find("\n", self._position)
                self._position = len(text) if newline < 0 else newline
                continue
            if char not in _ALL_SPACES:
                return True
            self._line += char == "\n"
            self._position += 1
        return False

    def _key(self) -> tuple[str, str]:
        """Return the name, and the character that ended it ("" at the end of the text)."""
        text = self._text
        behind = self._position + len("export")
        if text.startswith("export", self._position) and text[behind : behind + 1] in (*_SPACES, "\n"):
            self._position = behind
            self._skip_spaces()
        start = self._position
        while self._position < len(text):
            char = text[self._position]
            if char in "=:\n":
                break
            if not (char in "_.-[]" or char in _SPACES or char.isalpha() or char.isnumeric()):
                raise DotenvError(self._line, f"unexpected character {char!r} in the name of a variable")
            self._position += 1
        key, ending = text[start : self._position].rstrip(_ALL_SPACES), text[self._position : self._position + 1]
        if " " in key:
            raise DotenvError(self._line, f"{key[:80]!r} cannot be the name of a variable: it has a space in it")
        if ending != "\n":  # the newline is counted where spaces are skipped
            self._position += 1
        return key, ending

    def _skip_spaces(self) -> None:
        while self._position < len(self._text) and self._text[self._position] in _SPACES:
            self._position += 1

    def _value(self, line: int) -> str:
        text = self._text
        self._skip_spaces()
        quote = text[self._position : self._position + 1]
        if quote == "'":
            return self._quoted(quote, line)
        if quote == '"':
            written = self._quoted(quote, line)
            return self._expanded(_unescape(written), written, line)
        newline = text.find("\n", self._position)
        end = len(text) if newline < 0 else newline
        written = text[self._position : end].partition(" #")[0].rstrip(_ALL_SPACES)
        self._position = end
        return self._expanded(written, written, line)

    def _quoted(self, quote: str, line: int) -> str:
        """Return what stands between the quotes. A backslash before the quote goes, any other stays."""
        text, chars = self._text, []
        position = self._position + 1
        while position < len(text):
            char = text[position]
            self._line += char == "\n"
            if char == "\\" and position + 1 < len(text):
                following = text[position + 1]
                self._line += following == "\n"
                chars.append(following if following == quote else char + following)
                position += 2
                continue
            if char == quote:
                self._position = position + 1
                return "".join(chars)
            chars.append(char)
            position += 1
        raise DotenvError(line, f"the quote {quote} is never closed")

    def _expanded(self, template: str, written: str, line: int) -> str:
        missing: list[str] = []
        try:
            value = substitute(template, self._lookup, missing)
        except TemplateError as error:
            raise DotenvError(line, str(error)) from error
        if self._keep_unresolved and any(self._lookup(name) is None for name in missing):
            return written
        return value

    def _lookup(self, name: str) -> str | None:
        if name in self._environ:
            return self._environ[name]
        earlier = self._found.get(name)
        return None if earlier is None else earlier.value


def _unescape(written: str) -> str:
    """Return a double-quoted text with its escapes resolved; a backslash before a dollar sign makes that literal."""
    if "\\" not in written:
        return written
    parts: list[str] = []
    position = 0
    while position < len(written):
        char, following = written[position], written[position + 1 : position + 2]
        if char != "\\" or not following:
            parts.append(char)
            position += 1
        elif following == "$":
            parts.append("$$")
            position += 2
        elif following in _ESCAPES:
            parts.append(_ESCAPES[following])
            position += 2
        elif following == "0":
            octal, position = _octal(written, position)
            parts.append(octal)
        else:
            parts.append(char)
            position += 1
    return "".join(parts)


def _octal(written: str, position: int) -> tuple[str, int]:
    """Return what a backslash, 0 and digits stand for, and where the text goes on. Three digits, up to 377, count."""
    end = position + 2
    while end < min(len(written), position + 5) and written[end] in "0123456789":
        end += 1
    digits = written[position + 2 : end]
    if len(digits) == 3 and not digits.strip(_OCTAL) and int(digits, 8) <= 0o377:
        return chr(int(digits, 8)), end
    return "\\" + digits, end  # the zero is lost: so it is in compose-go
