"""The `.env` grammar of compose-go, row by row."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portguard.sources import dotenv
from portguard.sources.dotenv import DotenvError, assignments
from portguard.sources.regular import SIZE_LIMIT

# Each row after `A=1`, with X=env in the environment; None: not set.
ROWS: dict[str, str | None] = {
    # The measured table.
    "K=1": "1",
    "export K=2": "2",
    'K="x${A}y"': "x1y",
    "K='${A}'": "${A}",
    "K=8080 # comment": "8080",
    "K=8080#x": "8080#x",
    "K=${U:-8080}": "8080",
    "K=${A:+yes}": "yes",
    "K=$A": "1",
    "K: 9": "9",
    # Names and separators.
    "K = spaced": "spaced",
    "  K=indented": "indented",
    "\texport\tK=tabs": "tabs",
    "exportK=1\nK=2": "2",
    "K:9": "9",
    "K: a=b": "a=b",
    "K=a:b=c": "a:b=c",
    "K=": "",
    "K=\nB=2": "",
    'K=""': "",
    "K='' # c": "",
    "K=a b c": "a b c",
    "K=trailing   ": "trailing",
    "K=windows\r\nB=2\r": "windows",
    "K=1\nK=2": "2",
    "# K=1": None,
    "\n\n  # c\nK=1": "1",
    "k=lower": None,
    # A bare name is inherited.
    "K": None,
    "K\n": None,
    "X\nK=$X": "env",
    # Comments begin after a space.
    "K=#1": "#1",
    "K=a #b #c": "a",
    "K=a\t#b": "a\t#b",
    'K="a # b" # c': "a # b",
    "K='a # b'": "a # b",
    # References.
    "K=${X}": "env",
    "K=$U": "",
    "K=${U-d}": "d",
    "K=$$A": "$A",
    "K=${A}${A}": "11",
    'K="${U:-a b}"': "a b",
    "B=$A\nK=$B": "1",
    # Escapes are for double quotes.
    r'K="a\nb"': "a\nb",
    r"K='a\nb'": r"a\nb",
    r"K=a\nb": r"a\nb",
    r'K="say \"hi\""': 'say "hi"',
    r"K='it\'s'": "it's",
    r'K="\$A"': "$A",
    r'K="\${A}"': "${A}",
    r'K="\\n"': r"\n",
    r'K="\t\a\b\f\r\v"': "\t\a\b\f\r\v",
    r'K="\0101"': "A",
    r'K="\0999"': r"\999",
    r'K="\012"': r"\12",
    r'K="\q\c"': r"\q\c",
    # Quotes may span lines.
    'K="a\nb"\nB=2': "a\nb",
    "K='a\nb'\nB=2": "a\nb",
    'K="a" rest\nB=2': "a",
    'K=a"b"': 'a"b"',
}
REFUSED = {
    "\ufeffK=1": (2, "unexpected character"),  # a byte order mark is one only at the very beginning
    "K=${Q:?}": (2, "required variable Q is missing a value"),
    "K=${": (2, "invalid template"),
    "lol$wut": (2, "unexpected character '$'"),
    "a b=1": (2, "has a space"),
    "\n\nK!=1": (4, "unexpected character '!'"),
    'K="open\nB=2': (2, "never closed"),
    "K='a\nb\nc'\nB='": (5, "never closed"),
    'K="${"': (2, "invalid template"),
}


@pytest.mark.parametrize("text", ROWS)
def test_a_line_gives_the_value_that_compose_go_gives(text: str) -> None:
    """A line gives the value that compose-go gives."""
    value = assignments(f"A=1\n{text}", {"X": "env"}, keep_unresolved=False).get("K")

    assert (None if value is None else value.value) == ROWS[text]


@pytest.mark.parametrize("text", REFUSED)
def test_a_line_that_compose_refuses_is_refused(text: str) -> None:
    """A line that compose refuses is refused, with its number and the reason."""
    line, what = REFUSED[text]
    with pytest.raises(DotenvError) as caught:
        assignments(f"A=1\n{text}")

    assert caught.value.line == line
    assert what in caught.value.what
    assert str(caught.value).startswith(f"line {line}: ")


def test_lines_are_counted_through_quotes_and_comments() -> None:
    """Each assignment knows the line it begins in."""
    text = "# c\nA=1\n\nB=\"x\ny\n\" # d\nexport C='1\n2'\nX\nD=4"

    found = assignments(text, {"X": "0"})

    assert {name: found[name].line for name in found} == {"A": 2, "B": 4, "C": 7, "X": 9, "D": 10}


def test_the_environment_wins_in_references_and_the_file_keeps_its_own_value() -> None:
    """A reference prefers the environment, as in compose; what the file itself assigns is told as it stands."""
    found = assignments("A=file\nB=$A\n", {"A": "env"})

    assert (found["A"].value, found["B"].value) == ("file", "env")


@pytest.mark.parametrize(
    ("written", "empty"), [("${OTHER}", ""), ("$OTHER", ""), ("1$OTHER", "1"), ("${OTHER:+9}", ""), ("${OTHER-}", "")]
)
def test_what_cannot_be_resolved_stays_as_written(written: str, empty: str) -> None:
    """Where no one gives a variable, the value stays a reference: it must not pass for an answer."""
    assert assignments(f"A={written}")["A"].value == written
    assert assignments(f"A={written}", {"OTHER": ""})["A"].value == empty
    assert assignments(f"A={written}", keep_unresolved=False)["A"].value == empty


def test_files(tmp_path: Path) -> None:
    """A byte order mark is skipped, a folder, a FIFO or nothing is no file, too large is an error."""
    path = tmp_path / ".env"
    assert dotenv.read(str(path)) is None
    path.write_bytes(b"\xef\xbb\xbfA=1\nB=\xff\n")
    assert dotenv.read(str(path)) == {"A": ("1", 1), "B": ("\ufffd", 2)}
    path.write_bytes(b"#" * (SIZE_LIMIT + 1))
    with pytest.raises(ValueError, match="larger than 1024 KiB"):
        dotenv.read(str(path))
    path.unlink()
    os.mkfifo(path)
    assert dotenv.read(str(path)) is None
    path.unlink()
    path.mkdir()
    assert dotenv.read(str(path)) is None


def test_growth_is_bounded() -> None:
    """Variables that double each other are refused long before they fill the memory."""
    lines = ["A0=" + "x" * 1000, *(f"A{number}=$A{number - 1}$A{number - 1}" for number in range(1, 60))]
    wide = ["A=" + "x" * 200_000, *(f"B{number}=$A" for number in range(1000))]

    for text in ("\n".join(lines), "\n".join(wide)):
        with pytest.raises(DotenvError, match=r"expands? to more than"):
            assignments(text)
