"""What a command takes, as a table, and the small front door: it reads plain spellings and declines all others.

Each `cli/x.py` has a `COMMAND`, and a function `run` that it describes. Typer, which `app` makes from the same tables,
costs 13 times the interpreter's start; what is understood here calls the same function with the same arguments, and a
property test holds the two grammars together. One module, because each one that every command loads costs 0.4 %.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules.ranges import decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# By command: the record of `model` that `--json` prints.
COMMANDS = {
    "check": "CheckReport",
    "env": "EnvReport",
    "free": "FreeReport",
    "info": "InfoReport",
    "init": "InitReport",
    "kill": "KillReport",
    "leases": "LeasesReport",
    "lint": "LintReport",
    "list": "Listing",
    "run": "CheckReport",
    "schema": "SchemaReport",
    "wait": "WaitReport",
    "who": "WhoReport",
}
GROUPS = {
    "look": "Look",
    "act": "Act",
    "declare": "Declare",
    "share": "Share",
}  # as `portguard --help` lists the commands

_LONGEST_NUMBER = 9  # digits


class Option(NamedTuple):
    """An option, or the positional arguments if `flags` is empty.

    `name` is the parameter of the command's `run`: the flag's own word, unless that is a name of Python's. `kind` is
    bool for a flag, the type of the value otherwise, and list for one that may be repeated. `metavar` names the value.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    kind: type = bool
    default: Any = False
    metavar: str | None = None
    is_required: bool = False


class Command(NamedTuple):
    """A command. `help` is shown by `--help`; `examples` are shown below it, each a line to type and what it does.

    `group` is a key of GROUPS. `takes_command`: the words after `--` are another program's.
    """

    group: str
    help: str
    options: tuple[Option, ...]
    arguments: Option | None = None
    examples: tuple[tuple[str, str], ...] = ()
    takes_command: bool = False


def module_of(name: str) -> Any:
    """Return the module of a command."""
    return __import__(f"portguard.cli.{name}", fromlist=["run"])  # importlib's own function loads warnings


def arguments(name: str, metavar: str, help: str, *, is_required: bool = False) -> Option:  # noqa: A002 - its name in Option
    """Return the positional arguments of a command."""
    return Option(name, (), help, list, (), metavar, is_required)


JSON = Option("as_json", ("--json",), "Print one JSON document.")
CONFIG = Option("config", ("--config",), "Use this config instead of searching for one.", str, None, "FILE")
ISOLATED = Option("isolated", ("--isolated",), "Give this checkout its own ports even if it is not a linked worktree.")
MOVE = Option("move", ("--move",), "Move ports someone else holds to a new number, and remember it.")


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
    return decimal(text, _LONGEST_NUMBER) is not None
