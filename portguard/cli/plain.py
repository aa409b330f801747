"""The small front door's grammar: it understands the plain spellings of the hot commands, and declines all others.

Typer (in `portguard.cli.app`) is the one definition of the command line, and costs 13 times the interpreter's start.
What is understood here calls the same function with the same arguments; a property test holds the two together.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# By command: options that are flags, options with a value (and how it is read), and what positional arguments are.
_FLAGS = {
    "check": {
        "--json": "as_json",
        "--quiet": "is_quiet",
        "-q": "is_quiet",
        "--strict": "is_strict",
        "--compose-config": "is_by_compose",
    },
    "free": {
        "--tcp": "is_tcp",
        "--udp": "is_udp",
        "--both": "is_both",
        "--no-lease": "is_unleased",
        "--json": "as_json",
    },
    "env": {"--isolated": "is_isolated", "--move": "is_moving", "--json": "as_json"},
    "info": {"--json": "as_json"},
    "lint": {"--strict": "is_strict", "--json": "as_json"},
    "leases": {"--all": "is_all", "--dry-run": "is_dry", "--json": "as_json"},
    "run": {
        "--isolated": "is_isolated",
        "--move": "is_moving",
        "--no-hold": "is_unheld",
        "--pass-fd": "is_passing",
        "--json": "as_json",
    },
    "wait": {"--free": "is_free", "--json": "as_json"},
    "who": {"--all-holders": "all_holders", "--json": "as_json"},
    "list": {
        "--all": "is_all",
        "--tcp": "is_tcp",
        "--udp": "is_udp",
        "-4": "is_v4",
        "-6": "is_v6",
        "--mine": "is_mine",
        "--by-project": "is_by_project",
        "--json": "as_json",
    },
}
_VALUES: dict[str, dict[str, tuple[str, type]]] = {
    "check": {"--config": ("config", str), "--format": ("output_format", str)},
    "free": {
        "--count": ("count", int),
        "-n": ("count", int),
        "--range": ("within", str),
        "--ttl": ("ttl", int),
        "--hold": ("hold", int),
    },
    "env": {"--config": ("config", str), "--format": ("output_format", str), "--write": ("write", str)},
    "info": {},
    "leases": {},
    "lint": {"--config": ("config", str), "--format": ("output_format", str)},
    "list": {},
    "run": {"--config": ("config", str)},
    "wait": {"--timeout": ("timeout", float)},
    "who": {},
}
_POSITIONAL = {
    "check": "targets",
    "env": "names",
    "info": "ports",
    "leases": "words",
    "lint": "paths",
    "run": "names",
    "wait": "ports",
    "who": "ports",
}
_NEEDS_POSITIONAL = {"info", "wait", "who"}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "check": {"config": None, "output_format": "text"},
    "free": {"count": 1, "within": None, "ttl": 60, "hold": None},
    "env": {"config": None, "output_format": "dotenv", "write": None},
    "info": {},
    "leases": {},
    "lint": {"config": None, "output_format": "text"},
    "list": {},
    "run": {"config": None},
    "wait": {"timeout": 60.0},
    "who": {},
}
_LONGEST_NUMBER = 9  # digits


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """Return the command's name and its keyword arguments, or None for anything that is not plainly spelled."""
    if not arguments or arguments[0] not in _FLAGS:
        return None
    command = arguments[0]
    if command == "run":
        return _parse_run(arguments)
    return _parse(command, arguments[1:])


def _parse_run(arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """Return what `parse` does; the first two dashes end what is ours, and begin the command."""
    if "--" not in arguments:
        return None
    end = arguments.index("--")
    understood = _parse("run", arguments[1:end])
    if understood is None:
        return None
    return "run", understood[1] | {"command": list(arguments[end + 1 :])}


def _parse(command: str, arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    flags, values = _FLAGS[command], _VALUES[command]
    found: dict[str, Any] = {}
    positional: list[str] = []
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option in flags and not equals and flags[option] not in found:
            found[flags[option]] = True
        elif option in values and values[option][0] not in found:
            if equals and not option.startswith("--"):
                return None
            name, kind = values[option]
            text = value if equals else next(words, "")
            if not text or text.startswith("-") or not _is_plain(text, kind):
                return None
            found[name] = kind(text)
        elif not word or word.startswith("-") or command not in _POSITIONAL:
            return None
        else:
            positional.append(word)
    if command in _NEEDS_POSITIONAL and not positional:
        return None
    arguments_by_name = dict.fromkeys(flags.values(), False) | _DEFAULTS[command] | found
    if command in _POSITIONAL:
        arguments_by_name[_POSITIONAL[command]] = positional
    return command, arguments_by_name


def _is_plain(text: str, kind: type) -> bool:
    """Whether a value of this kind is digits and no more, for a float with a point among them; texts all are."""
    if kind is float:
        whole, point, part = text.partition(".")
        return _is_number(whole) and (not point or _is_number(part))
    return kind is not int or _is_number(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER
