"""Claims about the marked block in a `.env` file: only the block changes, and its readers read what was written."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.rules.env_block import BlockError, blanked, owner_of, replaced
from portguard.sources.dotenv import assignments
from tests.amount import examples

BEGIN, END = "# >>> portguard env: /repo >>>", "# <<< portguard env <<<"
BOM = b"\xef\xbb\xbf"
PORTS = {"WEB_PORT": "49200", "DB_PORT": "49201", "COMPOSE_PROJECT_NAME": "shop-2_a"}
OTHERS = {"API_PORT": "50000"}


def block(*lines: str, owner: str = "/repo", newline: str = "\n") -> bytes:
    """Return a block with these lines between its marks, without the last line's end."""
    return newline.join([f"# >>> portguard env: {owner} >>>", *lines, END]).encode()


NOTE = "# Kept by `portguard env --write`: changes between these two marks are lost."
WRITTEN = block(NOTE, *(f"{name}={value}" for name, value in PORTS.items()))
WRITTEN_CRLF = WRITTEN.replace(b"\n", b"\r\n")


# --- where it goes, and what stays ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", WRITTEN + b"\n"),
        (b"A=1\n", b"A=1\n" + WRITTEN + b"\n"),
        (b"A=1", b"A=1\n" + WRITTEN + b"\n"),
        (b"A=1\n\n\n", b"A=1\n\n\n" + WRITTEN + b"\n"),
        (b"A=1\r\nB=2\n", b"A=1\r\nB=2\n" + WRITTEN_CRLF + b"\r\n"),
        (b"A=1\r\nB=2", b"A=1\r\nB=2\r\n" + WRITTEN_CRLF + b"\r\n"),
        (b"A=1\nB=2\r\n", b"A=1\nB=2\r\n" + WRITTEN + b"\n"),
        (b"A=1\r", b"A=1\r\r\n" + WRITTEN_CRLF + b"\r\n"),
        (BOM, BOM + WRITTEN + b"\n"),
        (BOM + b"A=\xff\0\n", BOM + b"A=\xff\0\n" + WRITTEN + b"\n"),
        (b"A=\x85\xe2\x80\xa8\x0b\x0c\x1c", b"A=\x85\xe2\x80\xa8\x0b\x0c\x1c\n" + WRITTEN + b"\n"),
        (block(), WRITTEN),
        (block() + b"\n", WRITTEN + b"\n"),
        (BOM + block("X=1") + b"\n\xffB", BOM + WRITTEN + b"\n\xffB"),
        (b"\xfe=\n" + block("# mine", "") + b"\r\nB=2", b"\xfe=\n" + WRITTEN + b"\r\nB=2"),
        (b"A\r\n" + block("X=1") + b"\n\n", b"A\r\n" + WRITTEN_CRLF + b"\n\n"),
        (block("X=1", newline="\r\n") + b"\r\nB=2", WRITTEN_CRLF + b"\r\nB=2"),
        (block("X=1", owner="/other") + b"\n", WRITTEN + b"\n"),
        (b"A='# >>> portguard env: '\n", b"A='# >>> portguard env: '\n" + WRITTEN + b"\n"),
    ],
)
def test_the_block_is_replaced_where_it_is_or_added_at_the_end(content: bytes, expected: bytes) -> None:
    """Everything else is kept: line ends, BOM, NUL, invalid UTF-8, a missing last newline. Twice is once."""
    assert replaced(content, PORTS, "/repo") == expected
    assert replaced(expected, PORTS, "/repo") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", b""),
        (b"A=\xff\0\r\nB", b"A=\xff\0\r\nB"),
        (b"A=1\n" + block("X=1") + b"\nB=2", b"A=1\nB=2"),
        (b"A=1\n" + block("X=1") + b"\r\nB=2", b"A=1\nB=2"),
        (b"A=1\n" + block("X=1") + b"\n\nB=2", b"A=1\n\nB=2"),
        (b"A=1\n" + block("X=1"), b"A=1\n"),
        (BOM + block("X=1", newline="\r\n") + b"\r\n", BOM),
        (block() + b"\n", b""),
    ],
)
def test_without_variables_there_is_no_block(content: bytes, expected: bytes) -> None:
    """The block's lines go, last line end included, and nothing else; without one nothing changes."""
    assert replaced(content, {}, "/repo") == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"": "1"}, {"1A": "1"}, {"A-B": "1"}, {"A B": "1"}, {"A=B": "1"}, {"A\nB": "1"}, {"Ä": "1"}, {"A": ""},
        {"A": "a b"}, {"A": "1\nB=2"}, {"A": "$B"}, {"A": "Big"}, {"A": "'1'"}, {"A": "a#b"}, {"A": "²"}, {"A": "\r"},
        {"GOOD": "1", "A": "`id`"},
    ],
)  # fmt: skip
def test_what_would_need_quotes_is_refused(variables: dict[str, str]) -> None:
    """Names that a shell does not know as such, and values that are more than a lower-case word."""
    with pytest.raises(ValueError, match=r"cannot be the name|needs quoting") as caught:
        replaced(b"", variables, "/repo")
    assert not isinstance(caught.value, BlockError)


# --- marks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (f"A=1\n{BEGIN}\nX=1\n", 2, "that does not end"),
        (f"A=1\n\n{END}\n", 3, "that does not begin"),
        (f"{BEGIN}\n{END}\n{END}\n", 3, "that does not begin"),
        (f"{END}\n{BEGIN}\n", 1, "that does not begin"),
        (f"{BEGIN}\n{END}\nA=1\n{BEGIN}\n{END}\n", 4, "the one of line 1 is there already"),
        (f"\n{BEGIN}\n{BEGIN}\n{END}\n{END}\n", 3, "the one of line 2 has not ended"),
        (f"{BEGIN} \n{END}\n", 1, "edited"),
        (f"  {BEGIN}\n{END}\n", 1, "edited"),
        (f"{BEGIN}\n\t{END}\n", 2, "edited"),
        (f"{BEGIN}\n{END}<\n", 2, "edited"),
        (f"{BEGIN}\r\r\n{END}\n", 1, "edited"),
        (f"# >>> portguard env:/repo >>>\n{END}", 1, "edited"),
        (f"# >>> portguard env: >>>\n{END}", 1, "edited"),
        (f"# >>> portguard env: /repo\n{END}", 1, "edited"),
        (f"# >>> portguard env: /r\\epo >>>\n{END}", 1, "edited"),
        (f"# >>> portguard env: /r\\u{{zz}} >>>\n{END}", 1, "edited"),
        (f"# >>> portguard env: /r\\u{{a >>>\n{END}", 1, "edited"),
        (f"# >>> portguard env: /r\\u{{0a}} >>>\n{END}", 1, "edited"),
        (f"# >>> portguard env: /r\\u{{110000}} >>>\n{END}", 1, "edited"),
        (f"# >>> portguard env: /r\\u{{{'f' * 500}}} >>>\n{END}", 1, "edited"),
        (f"# >>> portguard env: /ré >>>\n{END}", 1, "edited"),
    ],
)
def test_a_broken_block_is_an_error_with_its_line(text: str, line: int, what: str) -> None:
    """Doubled, nested, torn and edited marks: nothing is replaced, blanked or owned."""
    for variables in (PORTS, {}):
        with pytest.raises(BlockError, match=f"^line {line}: .*{what}") as caught:
            replaced(text.encode(), variables, "/repo")
        assert (caught.value.line, f"line {line}: {caught.value.what}") == (line, str(caught.value))
    assert blanked(text) == text
    assert owner_of(text) is None


@pytest.mark.parametrize(
    ("owner", "written"),
    [
        ("/home/me/a b", "/home/me/a b"),
        ("C:\\Users\\me", "C:\\\\Users\\\\me"),
        ("/a\nb\r\t\0", "/a\\u{a}b\\u{d}\\u{9}\\u{0}"),
        ("/jürgen/\U0001f600", "/j\\u{fc}rgen/\\u{1f600}"),
        (os.fsdecode(b"/\xff\x80"), "/\\u{dcff}\\u{dc80}"),
        ("/x >>>\n# <<< portguard env <<<", "/x >>>\\u{a}# <<< portguard env <<<"),
        ("/x >>>", "/x >>>"),
        ("\\u{a}\\\\", "\\\\u{a}\\\\\\\\"),
        ("", ""),
    ],
)
def test_the_first_mark_names_the_owner_in_one_ascii_line(owner: str, written: str) -> None:
    """What a path may hold is escaped and read back."""
    content = replaced(b"A=1\n", PORTS, owner)
    assert content.split(b"\n")[1] == f"# >>> portguard env: {written} >>>".encode()
    assert owner_of(content.decode()) == owner
    assert owner_of("\ufeff" + content.decode().replace("\n", "\r\n")) == owner


@given(st.text(st.characters(), max_size=30) | st.binary(max_size=30).map(os.fsdecode))
def test_every_owner_makes_the_round_trip(owner: str) -> None:
    """Any string, surrogates included: one line of printable ASCII, from which it is read back."""
    content = replaced(b"", PORTS, owner)
    assert content.isascii()
    assert content.count(b"\n") == len(PORTS) + 3
    assert content.decode().replace("\n", "").isprintable()
    assert owner_of(content.decode()) == owner


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_blanked_keeps_the_numbers_of_the_lines(newline: str, bom: str) -> None:
    """The block's lines are empty, all others as they were; also where the block is first, last or all there is."""
    for before in ("", f"A=1{newline}# c{newline}"):
        for after in ("", newline, f"{newline}B=2", f"{newline}B=2{newline}"):
            written = WRITTEN.decode().replace("\n", newline)
            text = blanked(f"{bom}{before}{written}{after}")
            empty = "\n" * WRITTEN.count(b"\n")
            assert text == f"{bom}{before}{empty}{after}"
            assert not set(PORTS) & set(assignments(text.removeprefix(bom)))


def test_blanked_and_owner_of_without_a_block() -> None:
    """A text without marks is returned as it is, and no one's."""
    assert blanked("A=1\r\n\x85B") == "A=1\r\n\x85B"
    assert owner_of("A=1\n") is None


# --- properties -------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"A=1", b"# c", b"\n", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\x85", b"\xe2\x80\xa8", b"\x0c", BOM, b"'", b" "]
)
JUNK = st.lists(PIECES | st.binary(max_size=6), max_size=12).map(b"".join)
VALUES = st.integers(1, 65_535).map(str) | st.text("az09-_", min_size=1, max_size=5)
VARIABLES = st.dictionaries(st.text("AZaz_", min_size=1, max_size=3), VALUES, min_size=1, max_size=3)
OWNERS = st.text(max_size=8)
NEWLINES = st.sampled_from([b"\n", b"\r\n"])


def written_block(variables: dict[str, str], owner: str, newline: bytes) -> bytes:
    """Return the block as it is written at the end of a file with such line ends, without the last one."""
    start = b"A" + newline
    return replaced(start, variables, owner).removeprefix(start).removesuffix(newline)


def newline_of(content: bytes) -> bytes:
    """Return the line end of the first line."""
    return b"\r\n" if content.partition(b"\n")[0].endswith(b"\r") else b"\n"


@pytest.mark.scaled
@settings(max_examples=examples(2_000), deadline=None)
@given(JUNK, VARIABLES, VARIABLES, OWNERS, OWNERS)
def test_any_content_without_a_block_is_kept_before_it(
    content: bytes, first: dict[str, str], second: dict[str, str], owner: str, other: str
) -> None:
    """All bytes stay, the block follows, again changes nothing, twice with others is once, and taken out it is gone."""
    once = replaced(content, first, owner)
    gap = b"" if not content.removeprefix(BOM) or content.endswith(b"\n") else newline_of(content + b"\n")
    newline = newline_of(content.removeprefix(BOM) + gap + b"\n")
    assert once == content + gap + written_block(first, owner, newline) + newline
    assert replaced(once, first, owner) == once
    assert replaced(once, second, other) == replaced(content, second, other)
    assert replaced(once, {}, owner) == content + gap
    assert replaced(content, {}, owner) == content


@pytest.mark.scaled
@settings(max_examples=examples(2_000), deadline=None)
@given(st.tuples(JUNK, JUNK, JUNK), NEWLINES, st.sampled_from([b"", b"\n", b"\r\n"]), VARIABLES, VARIABLES)
def test_any_content_around_a_block_is_kept(
    junk: tuple[bytes, bytes, bytes], newline: bytes, end: bytes, first: dict[str, str], second: dict[str, str]
) -> None:
    """Whatever is before, after and in the block: outside of it every byte stays."""
    before, inner, after = junk
    if before.removeprefix(BOM) and not before.endswith(b"\n"):
        before += newline
    tail = end + after if end else b""
    content = before + BEGIN.encode() + newline + inner + b"\n" + END.encode() + tail
    once = replaced(content, first, "/repo")
    assert once == before + written_block(first, "/repo", newline_of(content.removeprefix(BOM))) + tail
    assert replaced(once, first, "/repo") == once
    assert replaced(once, second, "/other") == replaced(content, second, "/other")
    assert replaced(once, {}, "/repo") == before + (after if end else b"")
    text = once.decode("utf-8", "surrogateescape")
    assert owner_of(text) == "/repo"
    assert blanked(text).count("\n") == text.count("\n")
    emptied = before + b"\n" * (len(first) + 2) + tail
    assert blanked(text).encode("utf-8", "surrogateescape") == emptied


MARKS = [start + mark.encode() + end for mark in (BEGIN, END) for start in (b"", b"\n") for end in (b"", b"\n")]


def broken_line(content: bytes, variables: dict[str, str]) -> int | None:
    """Return the line for which the content is refused, None if it is not."""
    try:
        replaced(content, variables, "/new")
    except BlockError as error:
        return error.line
    return None


@pytest.mark.scaled
@settings(max_examples=examples(2_000), deadline=None)
@given(
    st.lists(PIECES | st.sampled_from(MARKS), max_size=10).map(b"".join),
    VARIABLES,
)
def test_marks_anywhere_are_one_block_or_an_error(content: bytes, variables: dict[str, str]) -> None:
    """Scattered marks are refused in a line that has one, by all alike, or what comes out has one intact block."""
    text = content.decode("utf-8", "replace")
    broken = broken_line(content, variables)
    if broken is not None:
        assert b"portguard env" in content.split(b"\n")[broken - 1]
        assert broken_line(content, {}) == broken
        assert (blanked(text), owner_of(text)) == (text, None)
        return
    once = replaced(content, variables, "/new")
    assert owner_of(once.decode("utf-8", "replace")) == "/new"
    assert replaced(once, variables, "/new") == once
    assert (blanked(text) != text) == (owner_of(text) is not None)


# --- what reads it ----------------------------------------------------------------------------------

SECTION = """\
# --- section {n}
#OFF_{n}=1

PLAIN_{n}=value{n}
DOUBLE_{n}="two words # no comment"
SINGLE_{n}='$literal "{n}"'
export EXPORTED_{n}=yes # comment
DUPLICATE={n}
EMPTY_{n}=
  INDENTED_{n}=1
TRAILING_{n}=x  \t
UNICODE_{n}="grüß dich"
URL_{n}=http://localhost:3000/?a=b
\t
PATH_{n}=./a/b-c_d:/e
WEB_PORT=1
DB_PORT=2
quoted_{n}="it's"
LAST_{n}=a,b
# end of {n} — "unbalanced
"""


def fixture(newline: str) -> tuple[bytes, bytes]:
    """Return what stands before and after the block of a file with 200 lines outside of it, the last one unended."""
    lines = "".join(SECTION.format(n=number) for number in range(10)).splitlines()
    assert len(lines) == 200
    # After the block nothing assigns the block's names.
    tail = [line for line in lines[100:] if not line.startswith(("WEB_PORT", "DB_PORT"))]
    tail += ["# filler"] * (100 - len(tail))
    before, after = newline.join([*lines[:100], ""]), newline.join(["", *tail])
    return before.encode(), after.encode()


def updated(newline: str) -> bytes:
    """Return the fixture after a change of its block, having checked that nothing else changed."""
    before, after = fixture(newline)
    old = block("WEB_PORT=3", "GONE=4", owner="/old", newline=newline)
    content = replaced(before + old + after, PORTS, "/repo")
    assert content == before + WRITTEN.replace(b"\n", newline.encode()) + after
    return content


NEWLINE = pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])


@NEWLINE
def test_portguard_itself_reads_the_same_numbers(newline: str) -> None:
    """The reader of `.env` files understands the whole file, and the block's assignments count."""
    found = assignments(updated(newline).decode())
    assert {name: found[name].value for name in PORTS} == PORTS
    assert found["DUPLICATE"].value == "9"


def test_a_shell_reads_the_same_numbers(tmp_path: Path) -> None:
    """`set -a; . FILE` of the real sh exports them."""
    (tmp_path / "file.env").write_bytes(updated("\n"))
    script = 'set -aeu; . ./file.env; printf "%s\\n" "$WEB_PORT" "$DB_PORT" "$COMPOSE_PROJECT_NAME"; env'
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path, env={"PATH": os.defpath}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == list(PORTS.values())
    assert "WEB_PORT=49200" in done.stdout.split("\n")[3:]
    assert done.stderr == ""


@NEWLINE
def test_python_dotenv_reads_the_same_numbers(newline: str) -> None:
    """python-dotenv understands the whole file, and the block's assignments count."""
    dotenv = pytest.importorskip("dotenv")
    found = dotenv.dotenv_values(stream=io.StringIO(updated(newline).decode()), interpolate=False)
    assert {name: found[name] for name in PORTS} == PORTS
    assert found["DUPLICATE"] == "9"


@pytest.mark.needs("docker-compose")
@NEWLINE
def test_compose_reads_the_same_numbers(newline: str, tmp_path: Path) -> None:
    """The real `docker-compose config` puts them where the compose file names them."""
    (tmp_path / ".env").write_bytes(updated(newline))
    (tmp_path / "compose.yaml").write_text(
        'services:\n  web:\n    image: busybox\n    ports: ["${WEB_PORT}:80"]\n'
        '    environment: {DB: "${DB_PORT}", PROJECT: "${COMPOSE_PROJECT_NAME}"}\n'
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        ["docker-compose", "-f", "compose.yaml", "config"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    web = yaml.safe_load(done.stdout)["services"]["web"]
    assert web["environment"] == {"DB": "49201", "PROJECT": "shop-2_a"}
    (port,) = web["ports"]
    assert str(port["published"] if isinstance(port, dict) else port.partition(":")[0]) == "49200"
