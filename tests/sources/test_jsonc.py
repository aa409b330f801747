"""Claims about portguard.sources.jsonc: comments change nothing, lines are right, and no text costs much."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.sources import jsonc
from portguard.sources.regular import SIZE_LIMIT
from portguard.sources.text import SourceError
from tests.amount import examples

TEXTS = st.text(st.sampled_from('ab"\\/*,:{}[]\n\té\U0001f600 '), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
FILLERS = [
    "",
    " ",
    "\n",
    "\t\r\n",
    '// a comment: "[{,\n',
    "/* one */",
    '/*\n * two, ]} "\n **/',
    "//\r\n",
    "/**/ /***/",
]


def written(value: object, draw: st.DrawFn) -> str:
    """Return the value as JSON, with comments between all tokens and some trailing commas."""
    gap = st.sampled_from(FILLERS)

    def gapped(text: str) -> str:
        return draw(gap) + text + draw(gap)

    if isinstance(value, dict):
        items = [gapped(json.dumps(key)) + ":" + written(item, draw) for key, item in value.items()]
        opening, closing = "{}"
    elif isinstance(value, list):
        items = [written(item, draw) for item in value]
        opening, closing = "[]"
    else:
        return gapped(json.dumps(value, ensure_ascii=draw(st.booleans())))
    has_trailing = draw(st.booleans()) and bool(items)
    trailing = gapped(",") if has_trailing else ""
    return gapped(opening + ",".join(items) + trailing + draw(gap) + closing)


@st.composite
def documents(draw: st.DrawFn) -> tuple[object, str]:
    """Return a value and a text of it."""
    value = draw(VALUES)
    return value, written(value, draw)


@pytest.mark.scaled
@settings(max_examples=examples(800), deadline=None)
@given(documents())
def test_comments_and_trailing_commas_change_nothing(document: tuple[object, str]) -> None:
    """A value whose text has comments anywhere between its tokens, and trailing commas, is the same value."""
    value, text = document

    assert jsonc.parse(text).value == value


@st.composite
def placed(draw: st.DrawFn) -> tuple[str, dict[tuple[str | int, ...], int]]:
    """Return an object's text and the lines of its keys, and of the keys and items below them, by construction."""
    fillers, values = st.sampled_from(FILLERS), st.sampled_from(["1", '"// no"', "[1,\n[2]]", '{"a":\n{"b": [3]}}'])
    lines: dict[tuple[str | int, ...], int] = {}
    text = draw(fillers) + "{"
    for key in draw(st.lists(TEXTS, unique=True, max_size=4)):
        text += draw(fillers)
        lines[(key,)] = text.count("\n") + 1
        is_list = draw(st.booleans())
        text += json.dumps(key) + draw(fillers) + ":" + draw(fillers) + ("[" if is_list else "{")
        inner: list[str] | range = (
            range(draw(st.integers(0, 3))) if is_list else draw(st.lists(TEXTS, unique=True, max_size=3))
        )
        for name in inner:
            text += draw(fillers)
            lines[key, name] = text.count("\n") + 1
            text += ("" if is_list else json.dumps(name) + ":") + draw(values) + draw(fillers) + ","
        text += draw(fillers) + ("]" if is_list else "}") + ","
    return text + "}", lines


@pytest.mark.scaled
@settings(max_examples=examples(2_000), deadline=None)
@given(placed())
def test_lines(document: tuple[str, dict[tuple[str | int, ...], int]]) -> None:
    """In 2,000 generated documents every key and item of the first two levels has the line it was written in."""
    text, lines = document

    assert dict(jsonc.parse(text).lines) == lines


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "expecting value"),
        ("// only\n", 2, "expecting value"),
        ('{\n"a": 1\n"b": 2}', 3, "expecting ','"),
        ("{\n[,]}", 2, "property name"),
        ("[,]", 1, "expecting value"),
        ("[1,,]", 1, "expecting value"),
        ("{,}", 1, "property name"),
        ('{"a":,}', 1, "expecting value"),
        ("[1\n/* open", 2, "never ends"),
        ('[\n"open\n"]', 2, "does not end"),
        ("[1 / 2]", 1, "unexpected '/'"),
        ("[1]\n]", 2, "extra data"),
        ("\n}", 2, "expecting value"),
        ("[NaN]", None, "NaN"),
        ("[-Infinity]", None, "Infinity"),
        ("[" + "9" * 5000 + "]", None, "not usable"),
        ("\n" + "[" * 65, 2, "more than 64 levels"),
        ('{"a":' * 65, 1, "more than 64 levels"),
        ("[1\x00]", 1, "expecting ','"),
        ("[1,\u00a01]", 1, "expecting value"),
    ],
)
def test_what_is_no_json_is_refused(text: str, line: int | None, what: str) -> None:
    """What is no JSON is refused, with the line and the reason."""
    with pytest.raises(SourceError) as caught:
        jsonc.parse(text)

    assert caught.value.line == line
    assert what in caught.value.what


def test_the_deepest_that_is_taken() -> None:
    """64 levels are read."""
    value = jsonc.parse("[" * 64 + "]" * 64).value

    assert json.dumps(value) == "[" * 64 + "]" * 64


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None)
@given(st.text(st.sampled_from('{}[],:"/*\\\n 1a'), max_size=40))
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    """Any sequence of marks ends in a value with lines of the text, or in SourceError; plain JSON is always taken."""
    lines = range(1, text.count("\n") + 2)
    try:
        document = jsonc.parse(text)
    except SourceError as error:
        refused = error
        with pytest.raises(ValueError, match=r"."):
            json.loads(text)
        assert refused.line in (None, *lines)
        return
    assert set(document.lines.values()) <= set(lines)
    with contextlib.suppress(ValueError):
        assert document.value == json.loads(text)


def repeated(text: str) -> str:
    """Return as many of the text as a file may hold."""
    return (text * (SIZE_LIMIT // len(text) + 1))[:SIZE_LIMIT]


@pytest.mark.parametrize(
    "text",
    [
        repeated("["),
        repeated('{"a":'),
        repeated("[],"),
        repeated('"'),
        repeated('"\\'),
        repeated("/"),
        repeated("/*"),
        repeated("/**"),
        "/*" + repeated("*"),
        repeated("//\n"),
        repeated("/* */"),
        '["' + repeated("\\\\"),
        repeated("1" * 100 + ","),
        "[" + repeated("\n,"),
        "[" + repeated(" "),
        "[" + repeated('"a",'),
    ],
    ids=lambda text: repr(text[:8]),
)
def test_bombs(text: str) -> None:
    """A mebibyte of the worst is refused or read within a second of processor time."""
    began = time.process_time()
    with contextlib.suppress(SourceError):
        jsonc.parse(text)
    spent = time.process_time() - began

    assert spent < 1


def test_the_widest_that_is_taken() -> None:
    """As many tokens as the limit are read, with the lines of the first; one more is refused."""
    count = jsonc.TOKENS_LIMIT // 2 - 1
    text = "[" + "1,\n" * count + "]"

    document = jsonc.parse(text)

    assert len(document.value) == count
    assert document.lines == {(index,): index + 1 for index in range(jsonc.PLACES_LIMIT)}
    with pytest.raises(SourceError, match=f"line {count + 2}: more than {jsonc.TOKENS_LIMIT} values"):
        jsonc.parse(text + "\n//")
