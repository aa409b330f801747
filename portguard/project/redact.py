"""Mistakes in files that a checkout names and that are not its own: told by their place, never by what stands there.

A checkout can name every file that its user may read, by `include`, `extends`, `env_file` or a symbolic link, and
compose reads those as well. But a sentence that quotes such a file would carry it into a terminal or a public log.
"""

from __future__ import annotations

import os

from portguard.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_UNTOLD = "invalid (contents of files outside this checkout are not shown)"
_LONGEST_PATH = 4096  # characters, PATH_MAX


def own_directories(cwd: str, *own: str) -> tuple[str, ...]:
    """Return what is inside, real paths: the checkout that `cwd` lies in (without one, itself), and `own`."""
    from portguard.config import find  # it is loaded wherever there is a mistake in a config

    return tuple(dict.fromkeys(map(os.path.realpath, (find.checkout_root(cwd) or cwd, *own))))


def redacted(error: ConfigError, cwd: str, inside: Iterable[str]) -> ConfigError:
    """Return the error without what was read outside of the directories `inside`; paths in it are relative to `cwd`.

    A variable's value may be in any sentence: where variables come from outside, no sentence is more than its place.
    """
    is_tainted = any(is_outside(path, inside) for path in error.env_files)
    told = tuple(_redacted(message, cwd, inside, is_tainted=is_tainted) for message in error.messages)
    if told == error.messages:
        return error
    return ConfigError(tuple(dict.fromkeys(told)), "open the file named there")


def _redacted(message: str, cwd: str, inside: Iterable[str], *, is_tainted: bool) -> str:
    place = None
    end = message.find(":")
    # A path may have colons itself, so it ends at any of them: one that is outside is enough.
    while 0 <= end <= _LONGEST_PATH:
        path = os.path.join(cwd, message[:end])
        if "\0" not in path and os.path.lexists(path):
            place = end
            if is_outside(path, inside):
                return f"{_with_place(message, end)}: {_UNTOLD}"
        end = message.find(":", end + 1)
    if not is_tainted:
        return message
    return f"{'a file' if place is None else _with_place(message, place)}: {_UNTOLD}"


def is_outside(path: str, inside: Iterable[str]) -> bool:
    """Whether a file really lies in none of these directories, which are real paths."""
    real = os.path.realpath(path)
    return not any(real == top or real.startswith(top.rstrip(os.sep) + os.sep) for top in inside)


def _with_place(message: str, end: int) -> str:
    """Return the path that ends there, with the line and the column behind it."""
    head = message[:end]
    for word in message[end + 1 :].split(":", 2)[:2]:
        if not (word.isascii() and word.isdigit()):
            break
        head += f":{word}"
    return head
