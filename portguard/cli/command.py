"""What a command takes: one table per command, from which the plain grammar and Typer's are both made.

Each `cli/x.py` has a `COMMAND`, and a function `run` that it describes; `plain` and `app` read it. No Typer here.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMANDS = ("check", "env", "free", "info", "init", "kill", "leases", "lint", "list", "run", "schema", "wait", "who")
GROUPS = {
    "look": "Look",
    "act": "Act",
    "declare": "Declare",
    "share": "Share",
}  # as `portguard --help` lists the commands


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
