"""`safe()`: nothing that a terminal could obey gets through, and nothing is lost."""

from __future__ import annotations

import re
import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.render.safe import safe
from tests.amount import examples

FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "

# Every forbidden character there is, the escapes' own letters, and what looks like an escape already.
_NASTY = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in FORBIDDEN - {"Cs"}]
_NASTY += [*(chr(0xDC80 + byte) for byte in range(0x80)), "\ud800", "\udfff", *"\\\\\\xuU0f.\u00a0\u00e9\u0301"]

_PLAIN = PRINTABLE.replace("\\", "")


def _draw(data: bytes) -> tuple[str, int]:
    """Make a text of at most 80 characters and a limit of random bytes: any characters, nasty, plain, or raw bytes."""
    kind, limit, data = data[0] % 4, 8 + data[1] % 73, data[3 : 3 + 2 * (data[2] % 81)]
    if kind == 3:
        return data[:80].decode("utf-8", "surrogateescape"), limit
    numbers = [data[index] << 8 | data[index + 1] for index in range(0, len(data), 2)]
    if kind == 2:
        return "".join(_PLAIN[number % len(_PLAIN)] for number in numbers), limit
    if kind == 1:
        return "".join(_NASTY[number % len(_NASTY)] for number in numbers), limit
    # Spread over all 0x11 planes of 0x10000 characters; the first ones are met often.
    return "".join(chr(number * 0x11 if number & 1 else number % 0x3000) for number in numbers), limit


def unsafe(shown: str) -> str:
    """Read the documented escapes back: the inverse of `safe`, written without a look at it."""

    def one(match: re.Match[str]) -> str:
        if match.lastindex is None:
            return "\\"
        code = int(match[match.lastindex], 16)
        return chr(code + 0xDC00 if match[1] and code >= 0x80 else code)

    assert re.fullmatch(r"(?:[^\\]|\\\\|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})*", shown, re.DOTALL)
    return re.sub(r"\\(?:\\|x(..)|u(.{4})|U(.{8}))", one, shown)


def _assert_safe(text: str, limit: int) -> None:
    shown = safe(text)
    assert not {unicodedata.category(character) for character in shown} & FORBIDDEN
    assert unsafe(shown) == text
    if set(text) <= set(PRINTABLE) - {"\\"}:
        assert shown == text
    cut = safe(text, limit)
    assert len(cut) <= limit
    if len(shown) <= limit:
        assert cut == shown
    else:
        assert cut.endswith("...")
        kept = cut[:-3]
        assert shown.startswith(kept)
        assert text.startswith(unsafe(kept))
        assert len(kept) > limit - len("...") - len("\\U00000000")


@pytest.mark.scaled
@settings(max_examples=examples(20_000), deadline=None, database=None)
@given(st.binary(min_size=163, max_size=163).map(_draw))
def test_no_control_format_surrogate_or_separating_character(drawn: tuple[str, int]) -> None:
    """No control, format, surrogate or separating character; invertible, hence injective; never longer than asked for.

    What is printable ASCII without a backslash stays as it is. A cut keeps whole escapes of the beginning.
    """
    _assert_safe(*drawn)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("\x1b]52;c;aGk=\x07\x9b\u202e\u2066\u200b\u2028\udcff[red]\\", 8),
        ("\\" * 80, 79),
        ("\\" * 40, 80),
        ("\U000e0001" * 8, 80),
        ("x" * 80, 80),
        ("x" * 81, 80),
        ("\x1b" * 20, 80),
        ("\x1b" * 21, 80),
    ],
)
def test_the_same_at_the_edges(text: str, limit: int) -> None:
    """The same at the edges: exactly as long as allowed, one more, and nothing but escapes."""
    _assert_safe(text, limit)


@pytest.mark.parametrize("character", range(0x20), ids=hex)
def test_control_characters(character: int) -> None:
    r"""Each C0 control is shown as \xNN, alone and inside a name."""
    assert safe(f"a{chr(character)}b") == f"a\\x{character:02x}b"


def test_every_forbidden_character() -> None:
    """Not one character of the forbidden categories gets through, in all of Unicode, nor any lone surrogate."""
    characters = "".join(map(chr, range(0x110000)))
    shown = safe(characters)
    assert not {unicodedata.category(character) for character in set(shown)} & FORBIDDEN
    assert unsafe(shown) == characters


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("docker-proxy", "docker-proxy"),
        ("Müller 東京 🐳", "Müller 東京 🐳"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x7f\x80\x9b", "\\x7f\\u0080\\u009b"),
        ("\udc9b\udcff", "\\x9b\\xff"),
        ("\ud83d", "\\ud83d"),
        ("\u202eexe.txt", "\\u202eexe.txt"),
        ("\U000e0041", "\\U000e0041"),
        ("C:\\Users", "C:\\\\Users"),
        ("a\u00a0b\u3000c", "a\\u00a0b\\u3000c"),
        ("[red]::error::%0A$(x)`y`", "[red]::error::%0A$(x)`y`"),
    ],
)
def test_the_escapes_are_spelled_as_documented(text: str, shown: str) -> None:
    """The escapes are spelled as documented, and letters of all scripts are left alone."""
    assert safe(text) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "ab..."),
        ("a\\bcdef", 7, "a\\\\b..."),
        ("ab\\cdefg", 6, "ab..."),
        ("ab\\cdefg", 7, "ab\\\\..."),
        ("東京東京東京", 5, "東京..."),
        ("\udc7f\udc80\udcff\udd00", None, "\\udc7f\\x80\\xff\\udd00"),
        ("\uffff\U0001ffff", None, "\\uffff\\U0001ffff"),
        ("\ufffe\U000e0000", 9, "\\ufffe..."),
        ("\x7f\x80", None, "\\x7f\\u0080"),
    ],
)
def test_cuts(text: str, limit: int | None, shown: str) -> None:
    """A cut keeps as much as there is room for beside the three dots; each kind of escape ends where it should."""
    assert safe(text, limit) == shown
