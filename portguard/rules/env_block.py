r"""The marked block that `portguard env --write` keeps in a `.env` file. Pure: text in, text out.

    # >>> portguard env: /home/me/project >>>
    # Kept by `portguard env --write`: changes between these two marks are lost.
    WEB_PORT=49200
    # <<< portguard env <<<

Only what is between the marks, and the marks themselves, are portguard's; every other byte is kept. The first mark
names the checkout whose numbers these are, in printable ASCII: a backslash is doubled, any other character is written
as \u{hex}. Marks that were edited, doubled or torn apart are an error: nothing is guessed about whose lines are whose.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_BEGIN, _BEGIN_END = "# >>> portguard env: ", " >>>"
_END = "# <<< portguard env <<<"
_STEMS = ("# >>> portguard env:", "# <<< portguard env")  # a line that begins so is a mark, or was one
_NOTE = "# Kept by `portguard env --write`: changes between these two marks are lost."
_BOM = "\ufeff"
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_DIGITS = frozenset("0123456789")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


class BlockError(ValueError):
    """Marks that enclose no single block: `what` is wrong in `line`, counted from 1. As text: "line 3: what"."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


class _Block(NamedTuple):
    """Where the block is: text[start:end] without the last line's end, the lines `first` to `last` from 1."""

    start: int
    end: int
    first: int
    last: int
    owner: str


def replaced(content: bytes, variables: Mapping[str, str], owner: str) -> bytes:
    """Return `content` with exactly these variables, in their order, in its block; without variables, without a block.

    The block stays where it is; a new one goes to the end. Its lines end as the file's first one does. Raises
    BlockError for a broken block, ValueError for names and values that a shell would not take as they are.
    """
    _check(variables)
    # Latin-1 is one character a byte, both ways, and the marks are ASCII.
    text = content.decode("latin-1")
    bom = _BOM.encode().decode("latin-1")
    head, text = (bom, text.removeprefix(bom)) if text.startswith(bom) else ("", text)
    block = _find(text)
    newline = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    lines = [f"{_BEGIN}{_escaped(owner)}{_BEGIN_END}", _NOTE]
    written = newline.join([*lines, *(f"{name}={value}" for name, value in variables.items()), _END])
    if block is None and variables:
        gap = newline if text and not text.endswith("\n") else ""
        text = f"{text}{gap}{written}{newline}"
    elif block is not None and variables:
        text = f"{text[: block.start]}{written}{text[block.end :]}"
    elif block is not None:
        rest = text[block.end :]
        text = text[: block.start] + rest[2 if rest.startswith("\r\n") else 1 if rest.startswith("\n") else 0 :]
    return (head + text).encode("latin-1")


def blanked(text: str) -> str:
    """Return the text with the block's lines emptied, so that line numbers stay; unchanged if the block is broken."""
    body = text.removeprefix(_BOM)
    try:
        block = _find(body)
    except BlockError:
        return text
    if block is None:
        return text
    empty = "\n" * (block.last - block.first)
    return text[: len(text) - len(body)] + body[: block.start] + empty + body[block.end :]


def owner_of(text: str) -> str | None:
    """Return the root of the checkout whose block this is; None without a block, and when it is broken."""
    try:
        block = _find(text.removeprefix(_BOM))
    except BlockError:
        return None
    return None if block is None else block.owner


def _check(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not name or name[0] in _DIGITS or not set(name) <= _LETTERS | _DIGITS:
            raise ValueError(f"{name!r} cannot be the name of a variable")
        if not value or not set(value) <= _WORD:
            raise ValueError(f"{name}: {value!r} needs quoting")


def _find(text: str) -> _Block | None:
    """Return the only block, None without any mark. Raises BlockError."""
    if not any(stem in text for stem in _STEMS):
        return None
    found: _Block | None = None
    is_open = False
    position = 0
    for number, line in enumerate(text.split("\n"), 1):
        written = line.removesuffix("\r")
        start, position = position, position + len(line) + 1
        if not written.strip(" \t\r\v\f").startswith(_STEMS):
            continue
        owner = _owner(written)
        if owner is None and written != _END:
            raise BlockError(number, "this mark of portguard's block was edited")
        if owner is None:
            if found is None or not is_open:
                raise BlockError(number, "a block of portguard ends here that does not begin")
            found = found._replace(end=start + len(written), last=number)
            is_open = False
            continue
        if found is not None:
            state = "has not ended" if is_open else "is there already"
            raise BlockError(number, f"a block of portguard begins here, and the one of line {found.first} {state}")
        found = _Block(start, start, number, number, owner)
        is_open = True
    if found is not None and is_open:
        raise BlockError(found.first, "a block of portguard begins here that does not end")
    return found


def _owner(line: str) -> str | None:
    """Return whom a first mark names, None for any other line."""
    if not (line.startswith(_BEGIN) and line.endswith(_BEGIN_END) and len(line) >= len(_BEGIN + _BEGIN_END)):
        return None
    return _unescaped(line[len(_BEGIN) : -len(_BEGIN_END)])


def _escaped(owner: str) -> str:
    return "".join(char if " " <= char <= "~" else f"\\u{{{ord(char):x}}}" for char in owner.replace("\\", "\\\\"))


def _unescaped(written: str) -> str | None:
    """Return what `_escaped` was given; None for what it would not have returned."""
    pieces = []
    for piece in written.split("\\\\"):  # a doubled backslash begins no other escape
        plain, *escapes = piece.split("\\")
        for escape in escapes:
            code, _, rest = escape.removeprefix("u{").partition("}")
            try:
                plain += chr(int(code, 16)) + rest
            except (ValueError, OverflowError):
                return None
        pieces.append(plain)
    owner = "\\".join(pieces)
    return owner if _escaped(owner) == written else None
