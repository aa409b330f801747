"""The small front door's grammar: it understands the plain spellings of the commands and declines all others.

Typer costs 13 times the interpreter's start. What is understood here calls the same function with the same arguments:
both read the command's own table, and a property test holds the two grammars together.
"""

from __future__ import annotations

from portguard.cli.command import COMMANDS, module_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from portguard.cli.command import Command

_LONGEST_NUMBER = 9  # digits


def parse(words: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """Return the command's name and its keyword arguments, or None for anything that is not plainly spelled."""
    if not words or words[0] not in COMMANDS:
        return None
    name, *arguments = words
    command: Command = module_of(name).COMMAND
    if not command.takes_command:
        values = _parse(command, arguments)
    elif "--" not in arguments:
        return None
    else:
        end = arguments.index("--")  # the first one ends our own words and begins the other program's
        values = _parse(command, arguments[:end])
        if values is not None:
            values["command"] = arguments[end + 1 :]
    return None if values is None else (name, values)


def _parse(command: Command, arguments: Sequence[str]) -> dict[str, Any] | None:
    options = {flag: option for option in command.options for flag in option.flags}
    found: dict[str, Any] = {}
    positional: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, text = word.partition("=")
        option = options.get(flag)
        if option is None:
            if not word or word.startswith("-") or command.arguments is None:
                return None
            positional.append(word)
        elif option.name in found or option.kind is list:
            return None
        elif option.kind is bool:
            if equals:
                return None
            found[option.name] = True
        else:
            if equals and not flag.startswith("--"):
                return None
            value = text if equals else next(words, "")
            if not value or value.startswith("-") or not _is_plain(value, option.kind):
                return None
            found[option.name] = option.kind(value)
    values = {
        option.name: list(option.default) if option.kind is list else option.default for option in command.options
    } | found
    if command.arguments is not None:
        if command.arguments.is_required and not positional:
            return None
        values[command.arguments.name] = positional
    return values


def _is_plain(text: str, kind: type) -> bool:
    """Whether a value is digits only, for a float with a decimal point; every string is plain."""
    if kind is float:
        whole, point, part = text.partition(".")
        return _is_number(whole) and (not point or _is_number(part))
    return kind is not int or _is_number(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER
