"""A config's text to what it says, remembered: parsing TOML costs as much as the interpreter's whole start.

What is remembered is the text itself beside its meaning, so nothing can be stale: another text, another path, another
portguard or Python is parsed anew. It lies in this user's private cache, opened as carefully as the lease store, so
no one else can plant one. Only what is right is remembered; mistakes are found anew each time. Without a cache
directory of one's own everything is parsed, and no one is told.
"""

from __future__ import annotations

import marshal
import os
import sys

from portguard import __version__
from portguard._contexts import suppress
from portguard.errors import StateError
from portguard.leases.directory import close, open_directory
from portguard.leases.files import open_private, remove
from portguard.model import Config, Declaration, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from portguard.config.find import ConfigText

_SLOTS = 256  # files; configs whose numbers meet take turns
_LONGEST = 1024 * 1024  # bytes; a config has at most 64 KiB, and each of its declarations a few hundred
# What decides the meaning of a text. Where they cannot be looked at (inside an archive) nothing is remembered.
_RULES = (
    "config/parse.py",
    "config/locate.py",
    "rules/addresses.py",
    "rules/ranges.py",
    "rules/targets.py",
    "model.py",
)


def parsed(found: ConfigText, shown: str, environ: Mapping[str, str]) -> Config:
    """Return what a config says; `shown` is its path in messages. Raises ConfigError with every mistake."""
    key, place = _key(found), _place(environ)
    if key is None or place is None:
        return _parse(found, shown)
    name = f"config-{_slot_of(found.path)}"
    config = _recalled(place, name, key)
    if config is None:
        config = _parse(found, shown)
        _remember(place, name, key, config)
    return config


def _slot_of(path: str) -> int:
    number = 0
    for byte in os.fsencode(path):
        number = (number * 31 + byte) & 0xFFFFFF
    return number % _SLOTS


def _parse(found: ConfigText, shown: str) -> Config:
    from portguard.config import parse  # and tomli: 1.1 x the interpreter's start

    return parse.parse(found, shown)


def _key(found: ConfigText) -> tuple[str, str, tuple[int, ...], str, tuple[str, ...], bytes] | None:
    """Return everything that the meaning depends on."""
    root = os.path.dirname(os.path.dirname(__file__))
    try:
        rules = tuple(os.stat(f"{root}/{name}").st_mtime_ns for name in _RULES)
    except OSError:
        return None
    return (__version__, sys.version, rules, found.path, found.prefix, found.data)


def _place(environ: Mapping[str, str]) -> str | None:
    """Return the directory, as the XDG Base Directory Specification has it; None without a home."""
    base = environ.get("XDG_CACHE_HOME", "")
    home = environ.get("HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(home, ".cache") if os.path.isabs(home) else ""
    return os.path.join(base, "portguard") if base else None


def _recalled(place: str, name: str, key: tuple[Any, ...]) -> Config | None:
    try:
        directory = open_directory(place, create=False)
    except StateError:
        return None
    try:
        fd = open_private(place, directory, name, os.O_RDONLY)
    except (OSError, StateError):
        return None
    finally:
        close(directory)
    try:
        content = os.read(fd, _LONGEST)
    except OSError:
        return None
    finally:
        os.close(fd)
    answer = _answer_in(content, _written(key))
    if answer is None:
        return None
    try:
        rows, compose_files, ignored = marshal.loads(answer)  # noqa: S302 - our own file, whole
        items = tuple(_declaration(*row) for row in rows)
    except (EOFError, ValueError, TypeError):
        return None
    return Config(items, compose_files, ignored)


def _written(key: tuple[Any, ...]) -> bytes:
    """Return the key as it begins the file: in version 2, which writes equal things equally."""
    return marshal.dumps(key, 2)


def _answer_in(content: bytes, head: bytes) -> bytes | None:
    """Return the answer that stands twice behind `head`; None for another head, and for what a disk has damaged.

    Compared, and not loaded: marshal takes what it is given for whole, and gigabytes for a damaged length.
    """
    middle, is_odd = divmod(len(content) + len(head), 2)
    answer = content[len(head) : middle]
    is_whole = content.startswith(head) and not is_odd and answer == content[middle:]
    return answer if is_whole else None


def _declaration(name: str, port: int, declared: int, source: tuple[str, int], *rest: Any) -> Declaration:
    return Declaration(name, port, declared, Source(*source), *rest)


def _remember(place: str, name: str, key: tuple[Any, ...], config: Config) -> None:
    plain: Any = tuple
    rows = [plain(item._replace(source=plain(item.source))) for item in config.declarations]
    answer = marshal.dumps((rows, config.compose_files, config.ignored))
    content = _written(key) + answer + answer
    if len(content) >= _LONGEST:
        return
    directory = -1
    temporary = f"{name}.new"  # one name: anyone who is killed leaves one, which the next one removes
    try:
        _make(place)
        directory = open_directory(place, create=False)
        fd = open_private(place, directory, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
        if directory >= 0:
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            os.replace(os.path.join(place, temporary), os.path.join(place, name))
    except (OSError, StateError):
        if directory >= 0 or os.name == "nt":
            with suppress(OSError):
                remove(place, directory, temporary)
    finally:
        close(directory)


def _make(place: str) -> None:
    """Make the directory, but not in another user's home, where root may stand under sudo."""
    if os.path.lexists(place):
        return
    base = os.path.dirname(place)
    home = os.path.dirname(base)
    if hasattr(os, "geteuid") and os.stat(base if os.path.isdir(base) else home).st_uid != os.geteuid():
        raise StateError(f"{home} is another user's")
    if not os.path.isdir(base):
        os.mkdir(base, 0o700)
    os.mkdir(place, 0o700)
