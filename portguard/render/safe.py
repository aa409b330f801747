"""`safe()`: the one place where foreign strings become printable.

A process may be called anything: escape sequences, newlines, bidirectional overrides, bytes that are no text. What is
printed shows them and cannot obey them. Escapes are unambiguous, because the backslash itself is escaped.
"""

from __future__ import annotations

_ELLIPSIS = "..."


def safe(text: str, limit: int | None = None) -> str:
    r"""Return `text` without control, format, surrogate or line-separating characters, at most `limit` long.

    Those become \xNN (below U+0080), \uNNNN or \UNNNNNNNN, a backslash becomes two; lone surrogates, which is how
    Python spells undecodable bytes (PEP 383), become those bytes' \xNN. A cut never splits an escape; "..." ends it.
    """
    if text.isascii() and text.isprintable() and "\\" not in text:
        pieces = None
        length = len(text)
    else:
        pieces = [_piece(character) for character in text]
        length = sum(map(len, pieces))
    if limit is None or length <= limit:
        return text if pieces is None else "".join(pieces)
    shown = text if pieces is None else pieces
    kept, room = 0, limit - len(_ELLIPSIS)
    while (room := room - len(shown[kept])) >= 0:  # there is more of it than room
        kept += 1
    return "".join(shown[:kept]) + _ELLIPSIS


def _piece(character: str) -> str:
    if character == "\\":
        return "\\\\"
    # str.isprintable() is false for Cc, Cf, Cs, Co, Cn, Zl, Zp and every Zs but the space.
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
