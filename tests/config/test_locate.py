"""Claims about portguard.config.locate: every path tomli yields is located, at the right place."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

import portguard.config.locate as locate_module
from portguard.config.locate import locate
from tests.amount import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portguard.config.locate import Path, Place

# --- what tomli says -----------------------------------------------------------------------------


def paths_of(value: object, path: Path = ()) -> Iterator[Path]:
    """Yield the path of everything inside a parsed value (a loop: 400 levels, 1,000-part keys)."""
    todo: list[tuple[Path, object]] = [(path, value)]
    while todo:
        parent, inner = todo.pop()
        items: list[tuple[Any, object]] = []
        if isinstance(inner, dict):
            items = list(inner.items())
        elif isinstance(inner, list):
            items = list(enumerate(inner))
        for part, child in items:
            yield (*parent, part)
            todo.append(((*parent, part), child))


def assert_tomli_points_there(text: str, line: int, column: int) -> None:
    """Put a character no key or value begins with at the place: tomli must stumble right there."""
    lines = text.replace("\r\n", "\n").split("\n")
    row = lines[line - 1]
    lines[line - 1] = row[: column - 1] + "@" + row[column - 1 :]
    with pytest.raises(tomli.TOMLDecodeError) as caught:
        tomli.loads("\n".join(lines))
    assert (caught.value.lineno, caught.value.colno) == (line, column), text


def assert_locates(text: str, expected: dict[Path, Place]) -> None:
    """Check that `expected` names all paths of a valid text and that `locate` finds just those places."""
    assert set(paths_of(tomli.loads(text))) == set(expected), text
    assert locate(text) == expected, text


# --- one feature at a time -----------------------------------------------------------------------


def same(line: int, column: int) -> Place:
    """Return the place of what has one point for both key and value."""
    return (line, column, line, column)


CASES: dict[str, tuple[str, dict[Path, Place]]] = {
    "empty document": ("", {}),
    "only blanks and comments": (" \n\t# a = 1\n\n#", {}),
    "key and value": ("a = 1", {("a",): (1, 1, 1, 5)}),
    "no space around the equals sign": ("a=1\nb=2\n", {("a",): (1, 1, 1, 3), ("b",): (2, 1, 2, 3)}),
    "indented by spaces and tabs": (" \t a \t=\t 1", {("a",): (1, 4, 1, 10)}),
    "bare key of digits, dashes, underscores": ("0-_9 = 1", {("0-_9",): (1, 1, 1, 8)}),
    "table": ("[a]\nb = 1\n", {("a",): same(1, 2), ("a", "b"): (2, 1, 2, 5)}),
    "table with space inside the brackets": (
        "  [ a . b ]  # c\nc = 1",
        {("a",): same(1, 5), ("a", "b"): same(1, 9), ("a", "b", "c"): (2, 1, 2, 5)},
    ),
    "implicit super-tables at their first mention": (
        "[a.b.c]\n[a.b.d]\n[a.e]",
        {
            ("a",): same(1, 2),
            ("a", "b"): same(1, 4),
            ("a", "b", "c"): same(1, 6),
            ("a", "b", "d"): same(2, 6),
            ("a", "e"): same(3, 4),
        },
    ),
    "super-table defined after its sub-table is at its own header": (
        "[a.b]\n\n [a]\nc = 1",
        {("a",): same(3, 3), ("a", "b"): same(1, 4), ("a", "c"): (4, 1, 4, 5)},
    ),
    "super-table defined before stays at its own header": ("[a]\n[a.b]", {("a",): same(1, 2), ("a", "b"): same(2, 4)}),
    "dotted keys": (
        "a.b = 1\na.c . d = 2",
        {
            ("a",): same(1, 1),
            ("a", "b"): (1, 3, 1, 7),
            ("a", "c"): same(2, 3),
            ("a", "c", "d"): (2, 7, 2, 11),
        },
    ),
    "dotted keys inside a table": (
        "[t]\na.b = 1",
        {("t",): same(1, 2), ("t", "a"): same(2, 1), ("t", "a", "b"): (2, 3, 2, 7)},
    ),
    "dotted key of digits is two keys": ("3.14 = 1", {("3",): same(1, 1), ("3", "14"): (1, 3, 1, 8)}),
    "table below a dotted key's table": (
        "[f]\na.b = 1\n[f.a.t]\nc = 1",
        {
            ("f",): same(1, 2),
            ("f", "a"): same(2, 1),
            ("f", "a", "b"): (2, 3, 2, 7),
            ("f", "a", "t"): same(3, 6),
            ("f", "a", "t", "c"): (4, 1, 4, 5),
        },
    ),
    "quoted keys": (
        "\"a b\" = 1\n'c\\n' = 2\n\"\" = 3\n'.=#' = 4",
        {
            ("a b",): (1, 1, 1, 9),
            ("c\\n",): (2, 1, 2, 9),
            ("",): (3, 1, 3, 6),
            (".=#",): (4, 1, 4, 9),
        },
    ),
    "quoted parts of dotted keys and headers": (
        "a.\"b.c\".'d]' = 1\n[\"x]\".'']",
        {
            ("a",): same(1, 1),
            ("a", "b.c"): same(1, 3),
            ("a", "b.c", "d]"): (1, 9, 1, 16),
            ("x]",): same(2, 2),
            ("x]", ""): same(2, 7),
        },
    ),
    "escapes in keys": (
        r'"\b\t\n\f\r\e\"\\" = 1' + "\n" + r'"\x41\u00e9\U0001F600z" = 2',
        {('\b\t\n\f\r\x1b"\\',): (1, 1, 1, 22), ("A\u00e9\U0001f600z",): (2, 1, 2, 27)},
    ),
    "key that ends in an escaped backslash": (r'"a\\" = "\\"', {("a\\",): (1, 1, 1, 9)}),
    "same key quoted and bare": (
        'a.b = 1\n"a".c = 2\n\'a\'."d" = 3',
        {("a",): same(1, 1), ("a", "b"): (1, 3, 1, 7), ("a", "c"): (2, 5, 2, 9), ("a", "d"): (3, 5, 3, 11)},
    ),
    "columns count characters": (
        '"\u00e9\U0001f600" = "\U0001f600" # \U0001f600',
        {("\u00e9\U0001f600",): (1, 1, 1, 8)},
    ),
    "combining characters count too": (
        "[\"e\u0301\"]\n'e\u0301'=1",
        {("e\u0301",): same(1, 2), ("e\u0301", "e\u0301"): (2, 1, 2, 6)},
    ),
    "arrays of tables": (
        "[[x]]\ny = 1\n[[x]]\n[[ x ]]\ny = 2",
        {
            ("x",): same(1, 3),
            ("x", 0): same(1, 3),
            ("x", 0, "y"): (2, 1, 2, 5),
            ("x", 1): same(3, 3),
            ("x", 2): same(4, 4),
            ("x", 2, "y"): (5, 1, 5, 5),
        },
    ),
    "header below an array of tables is in its last element": (
        "[[x]]\n[x.y]\na = 1\n[[x]]\n[x.y]\na = 1\n[x.z.w]",
        {
            ("x",): same(1, 3),
            ("x", 0): same(1, 3),
            ("x", 0, "y"): same(2, 4),
            ("x", 0, "y", "a"): (3, 1, 3, 5),
            ("x", 1): same(4, 3),
            ("x", 1, "y"): same(5, 4),
            ("x", 1, "y", "a"): (6, 1, 6, 5),
            ("x", 1, "z"): same(7, 4),
            ("x", 1, "z", "w"): same(7, 6),
        },
    ),
    "array of tables in arrays of tables starts anew": (
        "[[x]]\n[[x.y]]\n[[x.y]]\n[[x]]\n[[x.y]]\na.b = 1",
        {
            ("x",): same(1, 3),
            ("x", 0): same(1, 3),
            ("x", 0, "y"): same(2, 5),
            ("x", 0, "y", 0): same(2, 5),
            ("x", 0, "y", 1): same(3, 5),
            ("x", 1): same(4, 3),
            ("x", 1, "y"): same(5, 5),
            ("x", 1, "y", 0): same(5, 5),
            ("x", 1, "y", 0, "a"): same(6, 1),
            ("x", 1, "y", 0, "a", "b"): (6, 3, 6, 7),
        },
    ),
    "array of tables below an implicit table": (
        "[[a.b]]\n[a]\nc = 1",
        {("a",): same(2, 2), ("a", "b"): same(1, 5), ("a", "b", 0): same(1, 5), ("a", "c"): (3, 1, 3, 5)},
    ),
    "array": (
        "a = [1, 'x',\t[ ], [2]]",
        {
            ("a",): (1, 1, 1, 5),
            ("a", 0): same(1, 6),
            ("a", 1): same(1, 9),
            ("a", 2): same(1, 14),
            ("a", 3): same(1, 19),
            ("a", 3, 0): same(1, 20),
        },
    ),
    "array over lines with comments and a comma at the end": (
        'a = [ # [1]\n  1 # ,2\n  , # 3]\n\n  "]",\n] # ]\nb = []',
        {("a",): (1, 1, 1, 5), ("a", 0): same(2, 3), ("a", 1): same(5, 3), ("b",): (7, 1, 7, 5)},
    ),
    "inline table": (
        "a = { b = 1, c.d = '}' , \"e\" = {} }\nf = {}",
        {
            ("a",): (1, 1, 1, 5),
            ("a", "b"): (1, 7, 1, 11),
            ("a", "c"): same(1, 14),
            ("a", "c", "d"): (1, 16, 1, 20),
            ("a", "e"): (1, 26, 1, 32),
            ("f",): (2, 1, 2, 5),
        },
    ),
    "inline table over lines (TOML 1.1)": (
        "a = { # {\n  b = 1, # }\n  c = [\n    2 ],\n}\nd = 3",
        {
            ("a",): (1, 1, 1, 5),
            ("a", "b"): (2, 3, 2, 7),
            ("a", "c"): (3, 3, 3, 7),
            ("a", "c", 0): same(4, 5),
            ("d",): (6, 1, 6, 5),
        },
    ),
    "inline tables in an array": (
        "p = [{x=1},\n     {x=2, y=[{}]}]",
        {
            ("p",): (1, 1, 1, 5),
            ("p", 0): same(1, 6),
            ("p", 0, "x"): (1, 7, 1, 9),
            ("p", 1): same(2, 6),
            ("p", 1, "x"): (2, 7, 2, 9),
            ("p", 1, "y"): (2, 12, 2, 14),
            ("p", 1, "y", 0): same(2, 15),
        },
    ),
    "comments": ("# [x]\na = 1 # b = 2\n[t] # [u]\n#c = 3", {("a",): (2, 1, 2, 5), ("t",): same(3, 2)}),
    "hash, brackets and equals signs in strings": (
        "a = \"# [x] = 'y'\"\nb = '# \"'\nc = 1",
        {("a",): (1, 1, 1, 5), ("b",): (2, 1, 2, 5), ("c",): (3, 1, 3, 5)},
    ),
    "escaped quotes": (r'a = "\"\\\"" # "' + "\nb = 1", {("a",): (1, 1, 1, 5), ("b",): (2, 1, 2, 5)}),
    "no escapes in literal strings": ("a = '\\'\nb = '\\\\'", {("a",): (1, 1, 1, 5), ("b",): (2, 1, 2, 5)}),
    "multi-line basic string": (
        'a = """\nb = 1\n[x]\n""\\""" \\\n  "\\\\"""\nc = 1',
        {("a",): (1, 1, 1, 5), ("c",): (6, 1, 6, 5)},
    ),
    "multi-line literal string": (
        "a = '''\nb = 1 \"\"\"\n''\\'''\nc = 1",
        {("a",): (1, 1, 1, 5), ("c",): (4, 1, 4, 5)},
    ),
    "one or two quotes before the closing three": (
        'a = [""""x"""", """x""""", ' + "'''x'''', '''x''''']" + '\nb = """""""" # 2\nc = 1',
        {
            ("a",): (1, 1, 1, 5),
            ("a", 0): same(1, 6),
            ("a", 1): same(1, 17),
            ("a", 2): same(1, 28),
            ("a", 3): same(1, 38),
            ("b",): (2, 1, 2, 5),
            ("c",): (3, 1, 3, 5),
        },
    ),
    "empty strings": (
        "a = [\"\", '', \"\"\"\"\"\", '''''']\nb = \"\"\nc = ''",
        {
            ("a",): (1, 1, 1, 5),
            ("a", 0): same(1, 6),
            ("a", 1): same(1, 10),
            ("a", 2): same(1, 14),
            ("a", 3): same(1, 22),
            ("b",): (2, 1, 2, 5),
            ("c",): (3, 1, 3, 5),
        },
    ),
    "CRLF": (
        'a = 1\r\n\r\n[t] # c\r\nb = [\r\n  1,\r\n]\r\nc = """\r\n\\\r\n  x"""\r\nd = 2\r\n',
        {
            ("a",): (1, 1, 1, 5),
            ("t",): same(3, 2),
            ("t", "b"): (4, 1, 4, 5),
            ("t", "b", 0): same(5, 3),
            ("t", "c"): (7, 1, 7, 5),
            ("t", "d"): (10, 1, 10, 5),
        },
    ),
    "dates and times": (
        """a = 1979-05-27 07:32:00Z
b = [1979-05-27 07:32:00.5-07:00 , 07:32:00, 1979-05-27]
c = {d = 1979-05-27 07:32:00 , e = 1979-05-27T07:32}""",
        {
            ("a",): (1, 1, 1, 5),
            ("b",): (2, 1, 2, 5),
            ("b", 0): same(2, 6),
            ("b", 1): same(2, 36),
            ("b", 2): same(2, 46),
            ("c",): (3, 1, 3, 5),
            ("c", "d"): (3, 6, 3, 10),
            ("c", "e"): (3, 32, 3, 36),
        },
    ),
    "numbers and booleans": (
        "a=[+1_0,0xDEAD,0o7,0b1,-1.5e+3,inf,-nan,true,false]",
        {("a",): (1, 1, 1, 3)}
        | {("a", i): same(1, column) for i, column in enumerate((4, 9, 16, 20, 24, 32, 36, 41, 46))},
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_each_feature_of_toml_gives_exactly_these_places(text: str, expected: dict[Path, Place]) -> None:
    """Each feature of TOML gives exactly these places, and tomli counts lines and columns alike."""
    assert_locates(text, expected)
    for key_line, key_column, value_line, value_column in expected.values():
        assert_tomli_points_there(text, key_line, key_column)
        assert_tomli_points_there(text, value_line, value_column)


@pytest.mark.parametrize("opening", ["[", "{a="])
def test_as_deep_as_tomli_goes(opening: str) -> None:
    """400 levels of arrays or inline tables are located to the innermost value."""
    closing = {"[": "]", "{a=": "}"}[opening]
    text = "v = " + opening * 400 + "1" + closing * 400
    places = locate(text)
    assert set(places) == set(paths_of(tomli.loads(text)))
    column = 5 + 400 * len(opening)
    assert max(places.items(), key=lambda item: len(item[0]))[1][2:] == (1, column)


def test_as_many_parts_as_tomli_allows() -> None:
    """A key of 1,000 parts, the most tomli takes by default, is located part by part."""
    text = ".".join("a" * 1000) + " = 1"
    assert locate(text) == {("a",) * n: same(1, 2 * n - 1) for n in range(1, 1000)} | {
        ("a",) * 1000: (1, 1999, 1, 2003),
    }


def test_100_000_elements_deep_in_tables_are_all_located() -> None:
    """100,000 elements deep in tables are all located: the allowance for paths grows with the text."""
    names = ["t"] * 20
    text = f"[{'.'.join(names)}]\nports = [\n" + "1,\n" * 100_000 + "]\n"
    places = locate(text)
    assert len(places) == 20 + 1 + 100_000
    assert sum(map(len, places)) > locate_module.PARTS_ALLOWED
    assert places[(*names, "ports", 99_999)] == same(100_002, 1)


# --- generated documents -------------------------------------------------------------------------


def words(text: str) -> tuple[str, ...]:
    """Return what is between blanks: one line holds many."""
    return tuple(text.split())


NAMES = ("", "a b", "\t", "\n", *words(r"""a b c port host-1 x_y 0 42 a.b # ] = ' " \ { "" true 1979-05-27 é 😀"""))
IN_COMMENTS = (" ", "é😀", *words(r"""a = [ ] # { " ' \ 1"""))
IN_BASIC_STRINGS = ("# [x]\n", "k = 1\n", "\\\n  ", "\n", "\t", *words(r"""a " "" \" \\ \u0041 \t ''' 😀"""))
IN_LITERAL_STRINGS = ("# [x]\n", "k = 1\n", '"""', "\n", "\t", *words(r"""a ' '' \ " "" \u 😀"""))
SCALARS = (
    *words("0 -17 +1_000 0xdead_BEEF 0o755 0b1 1.5 -1e10 6.26e-3 inf -inf nan true false"),
    *words("1979-05-27 07:32:00 07:32:00.999 1979-05-27T07:32:00Z"),
    *("1979-05-27 07:32:00", "1979-05-27 07:32:00-07:00", "1979-05-27 07:32:00.5Z"),
    *words(r""" "" "a" "\"" "\\" "#\"=[x]" "\u00E9\U0001F600\t" "}],{[" "'''" "é😀" """),
    *words(r""" '' 'a' '\' '"' '#=[x]' '""' '}],{[' '😀' """),
    *('"# a = 1"', "'# a = 1'", '\'"""\''),
)


class Document:
    """A random valid document, written left to right, that knows where it put what.

    It shares nothing with the scanner: places are those the text was written at.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.newlines = rng.choice((["\n"], ["\r\n"], ["\n", "\r\n"]))
        self.pieces: list[str] = []
        self.line = 1
        self.column = 1
        self.expected: dict[Path, Place] = {}
        # What made each path, which decides what may still be added below it:
        # "implicit", "header", "array", "dotted" or "value".
        self.kinds: dict[Path, str] = {}
        self.elements: dict[Path, int] = {}
        self.headers: list[list[str]] = []
        self.pairs(())
        for _ in range(rng.randrange(6)):
            self.section()
        if rng.random() < 0.2:
            self.write("# " + self.anything())

    @property
    def text(self) -> str:
        """Return what was written."""
        return "".join(self.pieces)

    # -- writing

    def write(self, text: str) -> tuple[int, int]:
        """Append text without newlines; return where it begins."""
        begin = (self.line, self.column)
        self.pieces.append(text)
        self.column += len(text)
        return begin

    def newline(self) -> None:
        """Write one of this document's newlines."""
        self.pieces.append(self.rng.choice(self.newlines))
        self.line += 1
        self.column = 1

    def lines(self, text: str) -> tuple[int, int]:
        """Append text, each LF of it as one of this document's newlines; return where it begins."""
        begin = (self.line, self.column)
        for number, line in enumerate(text.split("\n")):
            if number:
                self.newline()
            self.write(line)
        return begin

    def space(self) -> None:
        """Write a space, a tab, some, or nothing."""
        self.write(self.rng.choice(("", "", " ", "  ", "\t", " \t ")))

    def anything(self) -> str:
        """Return text for comments, full of what must not be taken for TOML there."""
        return "".join(self.rng.choices(IN_COMMENTS, k=5))

    def end_of_line(self) -> None:
        """Write a newline, maybe after a comment, maybe with blank and comment lines after it."""
        self.space()
        if self.rng.random() < 0.2:
            self.write("#" + self.anything())
        self.newline()
        while self.rng.random() < 0.2:
            self.space()
            if self.rng.random() < 0.5:
                self.write("#" + self.anything())
            self.newline()

    def break_(self) -> None:
        """Write what may stand between the items of an array or an inline table."""
        self.space()
        if self.rng.random() < 0.15:
            self.end_of_line()
            self.space()

    # -- keys

    def name(self) -> str:
        """Return a name, mostly one that needs no quotes, from so few that they meet again."""
        return self.rng.choice(NAMES)

    def part(self, name: str) -> tuple[int, int]:
        """Write one part of a key, bare or quoted; return where it begins."""
        styles = [self.basic_key(name)]
        if name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
            styles += [name] * 4
        if "'" not in name and "\n" not in name:
            styles.append(f"'{name}'")
        return self.write(self.rng.choice(styles))

    def basic_key(self, name: str) -> str:
        """Return a name in double quotes, some of its characters escaped."""
        out = ""
        for c in name:
            short = {"\t": "\\t", "\n": "\\n", '"': '\\"', "\\": "\\\\"}.get(c)
            long = (
                [f"\\U{ord(c):08x}"] + [f"\\u{ord(c):04X}"] * (ord(c) < 0x10000) + [f"\\x{ord(c):02x}"] * (ord(c) < 256)
            )
            out += self.rng.choice(long) if self.rng.random() < 0.2 else short or c
        return f'"{out}"'

    def dot(self) -> None:
        """Write the dot between two parts of a key."""
        self.space()
        self.write(".")
        self.space()

    # -- statements

    def section(self) -> None:
        """Write a header and the lines below it, or nothing if the header is not allowed."""
        rng = self.rng
        names = [self.name() for _ in range(rng.choice((1, 1, 2, 3)))]
        if self.headers and rng.random() < 0.6:
            known = rng.choice(self.headers)
            names = rng.choice((known, known[:-1] or known, known + names[:1]))
        array = rng.random() < 0.4
        path = self.header_path(names, array=array)
        if path is None:
            return
        self.headers.append(names)
        self.space()
        self.write("[[" if array else "[")
        self.space()
        current: Path = ()
        for number, name in enumerate(names):
            if number:
                self.dot()
            at = self.part(name)
            current = (*current, name)
            if number == len(names) - 1:
                break
            if current not in self.kinds:
                self.kinds[current] = "implicit"
                self.expected[current] = (*at, *at)
            if self.kinds[current] == "array":
                current = (*current, self.elements[current])
        if array:
            if current not in self.kinds:
                self.kinds[current] = "array"
                self.expected[current] = (*at, *at)
            self.elements[current] = self.elements.get(current, -1) + 1
            current = (*current, self.elements[current])
        assert current == path
        self.kinds[current] = "header"
        self.expected[current] = (*at, *at)
        self.space()
        self.write("]]" if array else "]")
        self.end_of_line()
        self.pairs(current)

    def header_path(self, names: list[str], *, array: bool) -> Path | None:
        """Return the path a header of these names would define; None if TOML does not allow it."""
        current: Path = ()
        for name in names[:-1]:
            current = (*current, name)
            kind = self.kinds.get(current)
            if kind == "value":
                return None
            if kind == "array":
                current = (*current, self.elements[current])
        current = (*current, names[-1])
        kind = self.kinds.get(current)
        if array:
            return (*current, self.elements.get(current, -1) + 1) if kind in (None, "array") else None
        return current if kind in (None, "implicit") else None

    def pairs(self, table: Path) -> None:
        """Write the lines of one section."""
        dotted: list[Path] = []
        for _ in range(self.rng.choice((0, 1, 2, 3, 5))):
            names = self.pair_names(table, dotted)
            if names is not None:
                self.space()
                self.pair(table, names, depth=0)
                self.end_of_line()

    def pair_names(self, table: Path, dotted: list[Path]) -> list[str] | None:
        """Return a key for a new value below `table`; None if the one that came up is not allowed.

        `dotted` has the tables that dotted keys of this section or inline table have made: only
        through these, or new ones, may a dotted key lead.
        """
        names = [self.name() for _ in range(self.rng.choice((1, 1, 1, 2, 3)))]
        ours = [path for path in dotted if self.rng.random() < 0.3]
        if ours:
            names = [str(part) for part in ours[0][len(table) :]] + names[:1]
        for number in range(1, len(names)):
            path = (*table, *names[:number])
            if path in self.kinds and path not in dotted:
                return None
        if (*table, *names) in self.kinds:
            return None
        dotted += [(*table, *names[:number]) for number in range(1, len(names))]
        return names

    def pair(self, table: Path, names: list[str], depth: int) -> None:
        """Write `key = value`."""
        path = table
        for number, name in enumerate(names):
            if number:
                self.dot()
            at = self.part(name)
            path = (*path, name)
            if number < len(names) - 1 and path not in self.kinds:
                self.kinds[path] = "dotted"
                self.expected[path] = (*at, *at)
        self.kinds[path] = "value"
        self.space()
        self.write("=")
        self.space()
        self.expected[path] = (*at, *self.value(path, depth))

    # -- values

    def value(self, path: Path, depth: int) -> tuple[int, int]:
        """Write a value; return where it begins."""
        kind = self.rng.random() + depth * 0.1
        if kind < 0.15:
            return self.array(path, depth)
        if kind < 0.3:
            return self.inline_table(path, depth)
        if kind < 0.4:
            return self.lines(self.multi_line_string())
        return self.write(self.rng.choice(SCALARS))

    def array(self, path: Path, depth: int) -> tuple[int, int]:
        """Write an array; return where it begins."""
        begin = self.write("[")
        self.break_()
        count = self.rng.choice((0, 1, 2, 3))
        for index in range(count):
            at = self.value((*path, index), depth + 1)
            self.expected[(*path, index)] = (*at, *at)
            self.after_item(last=index == count - 1)
        self.write("]")
        return begin

    def inline_table(self, path: Path, depth: int) -> tuple[int, int]:
        """Write an inline table; return where it begins."""
        begin = self.write("{")
        self.break_()
        dotted: list[Path] = []
        first = True
        for _ in range(self.rng.choice((0, 1, 2, 3))):
            names = self.pair_names(path, dotted)
            if names is None:
                continue
            if not first:
                self.after_item(last=False)
            first = False
            self.pair(path, names, depth + 1)
        if not first:
            self.after_item(last=True)
        self.write("}")
        return begin

    def after_item(self, *, last: bool) -> None:
        """Write what follows an item: a comma, which may stay away after the last."""
        self.break_()
        if not last or self.rng.random() < 0.2:
            self.write(",")
            self.break_()

    def multi_line_string(self) -> str:
        """Return a multi-line string, basic or literal."""
        rng = self.rng
        if rng.random() < 0.5:
            inside = IN_BASIC_STRINGS
            quote = '"'
        else:
            inside = IN_LITERAL_STRINGS
            quote = "'"
        # Never three quotes in a row inside: a letter keeps the pieces apart.
        pieces = [piece + ("." if piece.endswith(quote) else "") for piece in rng.choices(inside, k=rng.randrange(6))]
        return quote * 3 + "".join(pieces) + quote * rng.randrange(3) + quote * 3


DOCUMENTS = 5_000
BATCHES = 50


@pytest.mark.parametrize("batch", range(BATCHES))
def test_generated_documents(batch: int) -> None:
    """Whatever mix of features, each path tomli yields is where it was written, and no other is found.

    For one path of each document tomli is asked too: it stumbles at just these two points.
    """
    for seed in range(batch, DOCUMENTS, BATCHES):
        rng = random.Random(seed)
        document = Document(rng)
        assert_locates(document.text, document.expected)
        if document.expected:
            key_line, key_column, value_line, value_column = rng.choice(sorted(document.expected.values()))
            assert_tomli_points_there(document.text, key_line, key_column)
            assert_tomli_points_there(document.text, value_line, value_column)


def test_generated_documents_have_every_feature() -> None:
    """The generator does emit what it promises, each in at least 2% of the documents."""
    seen: dict[str, int] = {}
    features: dict[str, Callable[[Document], bool]] = {
        "[header]": lambda document: "header" in document.kinds.values(),
        "implicit super-table": lambda document: "implicit" in document.kinds.values(),
        "dotted key": lambda document: "dotted" in document.kinds.values(),
        "[[array]] with more elements": lambda document: any(document.elements.values()),
        "array in array of tables": lambda document: any(
            isinstance(part, int) for path in document.elements for part in path
        ),
        "literal key or string": lambda document: "'" in document.text,
        "escape": lambda document: "\\u" in document.text,
        "inline table": lambda document: "{" in document.text,
        "multi-line basic string": lambda document: '= """' in document.text,
        "multi-line literal string": lambda document: "= '''" in document.text,
        "comment": lambda document: "#" in document.text,
        "CRLF": lambda document: "\r\n" in document.text,
        "both newlines": lambda document: "\n" in document.text.replace("\r\n", "") and "\r\n" in document.text,
        "date with space": lambda document: "27 07" in document.text,
    }
    for seed in range(1_000):
        document = Document(random.Random(seed))
        for name, has in features.items():
            seen[name] = seen.get(name, 0) + has(document)
    assert min(seen.values()) >= 20, seen


# --- text that is not TOML -----------------------------------------------------------------------

TOKENS = (
    *("\n", "\r\n", "\r", " ", "\t", "\0", "\ufeff", "\ud800", "\x7f", "a = ", "[a]\n", "[[a]]\n", '"""'),
    *words(r"""a b 1 . = , # [ ] [[ ]] { } \ \u \UFFFFFFFF " ' '''  😀"""),
)


def assert_sane(text: str) -> None:
    """`locate` returns, and every place is inside the text."""
    lines = text.replace("\r\n", "\n").split("\n")
    for key_line, key_column, value_line, value_column in locate(text).values():
        assert (key_line, key_column) <= (value_line, value_column)
        assert 1 <= key_column <= len(lines[key_line - 1]) + 1
        assert 1 <= value_column <= len(lines[value_line - 1]) + 1


@settings(max_examples=1_000, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_random_text(text: str) -> None:
    """Any text at all, lone surrogates included, gives places inside it and no exception."""
    assert_sane(text)


@pytest.mark.scaled
@settings(max_examples=examples(2_000), deadline=None, database=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=60).map("".join))
def test_any_string_of_tomls_tokens_gives_places_inside_it(text: str) -> None:
    """Any string of TOML's tokens gives places inside it; if it is TOML, just those of tomli's paths."""
    assert_sane(text)
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    assert set(locate(text)) == set(paths_of(document))


def test_broken_documents() -> None:
    """A valid document cut short or with one character changed gives no exception.

    What comes before the first thing that is not TOML is located all the same.
    """
    for seed in range(1_000):
        rng = random.Random(seed)
        text = Document(rng).text
        at = rng.randrange(len(text) + 1)
        assert_sane(text[:at])
        assert_sane(text[:at] + rng.choice(TOKENS) + text[at + rng.randrange(2) :])
        assert locate(text + "\n] = [") == locate(text)


SIZE = 65_536
LONG_KEY = ".".join("a" * 511)
HOSTILE = {
    "100,000 open arrays": "a = " + "[" * 100_000,
    "100,000 nested arrays": "a = " + "[" * 100_000 + "]" * 100_000,
    "100,000 open inline tables": "a = " + "{a=" * 100_000,
    "100,000 closing brackets": "a = [" + "]" * 100_000,
    "100,000 header brackets": "[" * 100_000,
    "dots": "." * SIZE,
    "dotted key": "a." * (SIZE // 2),
    "dotted header": "[" + "a." * (SIZE // 2),
    "many long headers": "".join(f"[b{i}.{LONG_KEY}]\n" for i in range(SIZE // 1024)),
    "many elements of a deep array of tables": f"[[{LONG_KEY}]]\n" * (SIZE // 1024),
    "many keys in a deep table": f"[{LONG_KEY}]\n" + "".join(f"{i}=1\n" for i in range(SIZE // 8)),
    "many elements at depth 510": "a = " + "[" * 510 + "1," * (SIZE // 2),
    "NULs": "\0" * SIZE,
    "NULs in values": "a = \0\n" * (SIZE // 6),
    "NULs in comments": "#\0\n" * (SIZE // 3),
    "unterminated basic string": 'a = "' + "x" * SIZE,
    "unterminated literal string": "a = '" + "x" * SIZE,
    "unterminated multi-line basic string": 'a = """' + '""\\"' * (SIZE // 4),
    "unterminated multi-line literal string": "a = '''" + "''x" * (SIZE // 3),
    "unterminated quoted key": '"' + "\\a" * (SIZE // 2),
    "escapes only": 'a = "' + "\\\\" * (SIZE // 2) + '"',
    "escapes in a key": '"' + "\\u0041" * (SIZE // 6) + '" = 1',
    "escaped quotes": 'a = "' + '\\"' * (SIZE // 2) + '"',
    "text that ends in a backslash": 'a = "\\',
    "code point too large": r'"\UFFFFFFFF" = 1',
    "not a hexadecimal number": r'"\u00zz" = 1',
    "quotes": '"' * SIZE,
    "apostrophes": "'" * SIZE,
    "commas": "a = [" + "," * SIZE,
    "one long line": "a = [" + "'x'," * (SIZE // 4) + "]",
    "one long line of pairs": "a = {" + ",".join(f"k{i}=1" for i in range(SIZE // 8)) + "}",
    "one long number": "a = " + "1" * SIZE,
    "one long key": "a" * SIZE,
    "comments": "#\n" * (SIZE // 2),
    "newlines": "\n" * SIZE,
    "carriage returns": "\r" * SIZE,
    "spaces": " " * SIZE,
    "equals signs": "a = " * (SIZE // 4),
    "headers on one line": "[a]" * (SIZE // 3),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text(text: str) -> None:
    """Text made to be slow or deep is done with in under a second of the processor, without an exception."""
    begin = time.process_time()
    places = locate(text)
    assert time.process_time() - begin < 1
    allowed = locate_module.PARTS_ALLOWED + locate_module.PARTS_ALLOWED_PER_CHARACTER * len(text)
    assert sum(map(len, places)) <= allowed


def test_too_long_paths_do_not_hide_the_rest() -> None:
    """Past the allowance for long paths, shorter ones are still located and rightly so."""
    text = "a = " + "[" * 5_000 + "]" * 5_000 + "\nb = 1\n"
    places = locate(text)
    assert len(places) < 5_000
    assert places[("a",)] == (1, 1, 1, 5)
    assert places[("b",)] == (2, 1, 2, 5)


# --- start-up ------------------------------------------------------------------------------------


def test_imports_nothing_heavy() -> None:
    """The module alone brings in none of the modules that make start-up slow."""
    program = f"""
        import sys
        path = {locate_module.__file__!r}
        with open(path, encoding="utf-8") as file:
            source = file.read()
        before = set(sys.modules)
        exec(compile(source, path, "exec"), {{"__name__": "locate"}})
        print(*set(sys.modules) - before)
    """
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", textwrap.dedent(program)], capture_output=True, check=True, text=True
    )
    assert set(run.stdout.split()).isdisjoint({"typing", "dataclasses", "re", "enum", "contextlib", "collections"})
