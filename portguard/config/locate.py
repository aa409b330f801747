"""Positions of keys and values in TOML text tomli has accepted; no validation, no I/O.

The parser says what a file holds, `locate` says where. What may enter: finding where keys and
values begin. What may not: judging whether text is right (tomli did), reading files, turning
values into Python objects, and imports, for start-up waits on this module.

Two types, which exist for the type checker only:

- `Path`: keys and, inside arrays, indices from the root of the document: ("x", 0, "y").
- `Place`: (key_line, key_column, value_line, value_column), all counted from 1. Columns count
  Unicode characters, as TOMLDecodeError.colno does. What has no key of its own (an element of
  an array) or no value of its own (a table made by a header or by a dotted key) has one point,
  given twice.

"Spec" in the comments is https://toml.io/en/v1.0.0, "Spec 1.1" is https://toml.io/en/v1.1.0.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Path = tuple[str | int, ...]
    Place = tuple[int, int, int, int]
    Point = tuple[int, int]

# A path costs its length in time and memory, so n paths of length n would be quadratic. The sum
# of all lengths stays within this much: a thousand-part key or 400 brackets fit many times over.
PARTS_ALLOWED = 2_000_000
PARTS_ALLOWED_PER_CHARACTER = 16

# Ends the text, so that reading one character needs no bounds check. TOML allows NUL nowhere
# (Spec, "Comment" and "String"), and no set of characters to skip holds it.
_END = "\0"
_SPACE = " \t"
_SPACE_OR_NEWLINE = " \t\n"
_BARE_KEY = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
_AFTER_BARE_VALUE = ",]}#\n" + _END
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


def locate(text: str) -> dict[Path, Place]:
    """Return the place of every path in `text`: tables, arrays, their elements and all keys.

    A table that only longer keys mention is at the first mention; one with a header of its own
    is at its name in that header. An array of tables is at its first header, each element at its
    own. Text that is not TOML never raises: what was found before the scan got stuck is returned.
    """
    scan = _Scan(text)
    try:  # noqa: SIM105 (contextlib is an import)
        _document(scan)
    except (ValueError, OverflowError):  # not TOML: no closing quote, no key, a bad escape
        pass
    return scan.places


class _Scan:
    """The text, how far it is read, and what was found."""

    __slots__ = ("_counted", "_line", "_line_start", "_parts_left", "last_index", "places", "pos", "text")

    def __init__(self, text: str) -> None:
        # Spec, "Spec": a newline is LF or CRLF. As CR ends its line, no column changes.
        self.text = text.replace("\r\n", "\n") + _END
        self.pos = 0
        self.places: dict[Path, Place] = {}
        self.last_index: dict[Path, int] = {}  # of each array of tables
        self._parts_left = PARTS_ALLOWED + PARTS_ALLOWED_PER_CHARACTER * len(text)
        self._counted, self._line, self._line_start = 0, 1, 0

    def skip(self, characters: str) -> None:
        while self.text[self.pos] in characters:
            self.pos += 1

    def skip_blank(self) -> None:
        """Move past whitespace, newlines and comments."""
        self.skip(_SPACE_OR_NEWLINE)
        while self.text[self.pos] == "#":
            newline = self.text.find("\n", self.pos)
            self.pos = newline if newline >= 0 else len(self.text) - 1
            self.skip(_SPACE_OR_NEWLINE)

    def point(self) -> Point:
        """Return line and column of the current position."""
        # Looks only at what came since the last call: many points on one long line stay linear.
        newlines = self.text.count("\n", self._counted, self.pos)
        if newlines:
            self._line += newlines
            self._line_start = self.text.rindex("\n", self._counted, self.pos) + 1
        self._counted = self.pos
        return self._line, self.pos - self._line_start + 1

    def child(self, path: Path | None, part: str | int) -> Path | None:
        """Return the path of `part` in `path`, or None, which is never noted, if it is too long."""
        if path is None or len(path) >= self._parts_left:
            return None
        self._parts_left -= len(path) + 1
        return (*path, part)

    def note(self, path: Path | None, key: Point, value: Point) -> None:
        if path is not None:
            self.places[path] = (*key, *value)


def _document(scan: _Scan) -> None:
    table: Path | None = ()
    scan.skip_blank()
    while scan.text[scan.pos] != _END:
        if scan.text[scan.pos] == "[":
            table = _header(scan)
        else:
            _value(scan, _pair(scan, table))
        scan.skip_blank()


def _header(scan: _Scan) -> Path | None:
    """Read `[key]` or `[[key]]`; return the path of the table that the next lines fill."""
    closing = "]]" if scan.text.startswith("[[", scan.pos) else "]"
    scan.pos += len(closing)
    scan.skip(_SPACE)
    path, point = _key(scan, ())
    if not scan.text.startswith(closing, scan.pos):
        raise ValueError
    scan.pos += len(closing)
    if closing == "]]" and path is not None:
        # Spec, "Array of Tables": the first such header defines the array and its first element,
        # each later one makes one more element.
        scan.places.setdefault(path, (*point, *point))
        scan.last_index[path] = scan.last_index.get(path, -1) + 1
        path = scan.child(path, scan.last_index[path])
    scan.note(path, point, point)
    return path


def _pair(scan: _Scan, table: Path | None) -> Path | None:
    """Read `key =` up to the first character of the value; return the path of the value."""
    path, point = _key(scan, table)
    if scan.text[scan.pos] != "=":
        raise ValueError
    scan.pos += 1
    scan.skip(_SPACE)
    scan.note(path, point, scan.point())
    return path


def _key(scan: _Scan, path: Path | None) -> tuple[Path | None, Point]:
    """Read a key below `path` and the space after it; return its path and its last part's point.

    The tables that the parts before the last one name are noted, unless they are known.
    """
    while True:
        point = scan.point()
        path = scan.child(path, _key_part(scan))
        scan.skip(_SPACE)  # Spec, "Keys": whitespace around dot-separated parts is ignored
        if scan.text[scan.pos] != ".":
            return path, point
        scan.pos += 1
        scan.skip(_SPACE)
        if path is not None:
            scan.places.setdefault(path, (*point, *point))
            # Spec, "Array of Tables": a reference to the array points to its last element.
            if path in scan.last_index:
                path = scan.child(path, scan.last_index[path])


def _key_part(scan: _Scan) -> str:
    start = scan.pos
    quote = scan.text[start]
    if quote in "\"'":
        _skip_string(scan)
        content = scan.text[start + 1 : scan.pos - 1]
        return _unescape(content) if quote == '"' else content
    scan.skip(_BARE_KEY)
    if scan.pos == start:
        raise ValueError
    return scan.text[start : scan.pos]


def _value(scan: _Scan, path: Path | None) -> None:
    """Read the value that begins here, noting all that is inside it."""
    # The arrays and inline tables that are open, by path, with the index of an array's next
    # element or -1 for an inline table. A list and not recursion: depth is up to the text.
    open_values: list[tuple[Path | None, int]] = []
    while True:
        first = scan.text[scan.pos]
        if first in "[{":
            open_values.append((path, 0 if first == "[" else -1))
            scan.pos += 1
        elif first in "\"'":
            _skip_string(scan)
        else:
            _skip_bare_value(scan)
        if not _at_next_item(scan, open_values):
            return
        parent, index = open_values[-1]
        if index < 0:
            path = _pair(scan, parent)
        else:
            open_values[-1] = (parent, index + 1)
            path = scan.child(parent, index)
            point = scan.point()
            scan.note(path, point, point)


def _at_next_item(scan: _Scan, open_values: list[tuple[Path | None, int]]) -> bool:
    """Close what ends here and move to the next item of what is open; False if nothing is."""
    while open_values:
        # Spec, "Array", and Spec 1.1, "Inline Table": newlines, comments and a comma before the
        # closing bracket are allowed.
        scan.skip_blank()
        if scan.text[scan.pos] == ",":
            scan.pos += 1
            scan.skip_blank()
        if scan.text[scan.pos] not in "]}":
            return True
        scan.pos += 1
        open_values.pop()
    return False


def _skip_bare_value(scan: _Scan) -> None:
    # Numbers, booleans, dates. Up to what must follow a value and not up to a space, as there may
    # be one between date and time (Spec, "Offset Date-Time").
    start = scan.pos
    while scan.text[scan.pos] not in _AFTER_BARE_VALUE:
        scan.pos += 1
    if scan.pos == start:
        raise ValueError


def _skip_string(scan: _Scan) -> None:
    text, quote = scan.text, scan.text[scan.pos]
    closing = quote * 3 if text.startswith(quote * 3, scan.pos) else quote
    pos = scan.pos + len(closing)
    end = text.index(closing, pos)
    if quote == '"':  # Spec, "String": there is no escaping in literal strings
        while (escape := text.find("\\", pos, end)) >= 0:
            pos = escape + 2
            if pos > end:  # that quote was escaped
                end = text.index(closing, pos)
    scan.pos = end + len(closing)
    if closing != quote:
        # Spec, "String": one or two quotes may stand anywhere in a multi-line string, so also
        # right before the closing three.
        for _ in range(2):
            scan.pos += text[scan.pos] == quote


def _unescape(content: str) -> str:
    pieces: list[str] = []
    pos = 0
    while (escape := content.find("\\", pos)) >= 0:
        code = content[escape + 1 : escape + 2]
        digits = escape + 2
        end = digits + _HEX_DIGITS.get(code, 0)
        pieces += content[pos:escape], chr(int(content[digits:end], 16)) if end > digits else _ESCAPES.get(code, code)
        pos = end
    return "".join(pieces) + content[pos:]
