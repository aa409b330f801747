"""What the readers of suggestions share: a bounded reader, the error of a broken file, and ports in command lines.

A command line is read as words, never as a program: nothing is expanded, looked up or executed.
"""

from __future__ import annotations

import re

from portguard._namedtuple import NamedTuple
from portguard.rules.addresses import canonical
from portguard.rules.ranges import LAST_PORT
from portguard.sources import regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMMAND_LIMIT = 4096  # characters of a command line that are read
_DEEPEST = 3  # commands in the quotes of commands

# Simple commands end at an operator; a word is any mix of plain and quoted pieces (POSIX shell, 2.3 and 2.9).
# Groups that repeat are atomic, not possessive, for the reason given in jsonc.
_TOKEN = re.compile(r"""([;&|()\n]++)|((?>(?:[^\s;&|()'"\\]++|\\.|'[^']*+'|"(?>(?:[^"\\]++|\\.)*)")+))""", re.DOTALL)
_QUOTED = re.compile(r"""'([^']*+)'|"((?>(?:[^"\\]++|\\.)*))"|\\(.)""", re.DOTALL)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*+)=(.*)", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,5}")
_REFERENCE = re.compile(r"\$(?:([A-Z][A-Z0-9_]*+)|\{([A-Z][A-Z0-9_]*+)(?::?[-=]([0-9]{1,5})?)?\})")
_SHORT = re.compile(r"-p=?([0-9]{1,5})")

_SETTERS = frozenset(("cross-env", "cross-env-shell", "env", "export", "set"))
_PORT_OPTIONS = ("--port",)
_HOST_OPTIONS = ("--host", "--hostname", "-H")
_BIND_OPTIONS = ("--bind", "-b")
# Programs whose port is that of someone else's server, or none at all.
_CLIENTS = frozenset((
    "curl", "echo", "kill-port", "mkdir", "mongo", "mongosh", "mysql", "mysqldump", "pg_dump", "pg_restore", "printf",
    "psql", "redis-cli", "scp", "ssh", "wget",
))  # fmt: skip


class SourceError(ValueError):
    """A file that cannot be understood: `what` is wrong in `line`, None if it is the whole file."""

    def __init__(self, line: int | None, what: str) -> None:
        super().__init__(what if line is None else f"line {line}: {what}")
        self.line = line
        self.what = what


class CommandPort(NamedTuple):
    """What a command line says about a port: a number, a variable that carries it, or both; and for which address."""

    port: int | None
    env: str | None = None
    host: str | None = None


def read(path: str) -> str | None:
    """Do as `regular.read`, with SourceError for a file that is too large."""
    try:
        return regular.read(path)
    except ValueError as error:
        raise SourceError(None, str(error)) from error


def port_number(value: object) -> int | None:
    """Return a number from 1 to 65535, also one that is written as text; None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LAST_PORT:
        return None
    return value


def command_ports(command: str, *, short_for: frozenset[str] | None = None) -> tuple[CommandPort, ...]:
    """Return the ports that a command line names, at most one for each simple command in it, in their order.

    These are `--port N`, `--port=N`, `--bind ADDRESS:N`, `-p N` (only of the programs `short_for`, of any if that is
    None), and `PORT=N` before a program, also through env, export, set and cross-env. N may be `$NAME` or
    `${NAME:-N}`.
    """
    return tuple(_ports(command[:_COMMAND_LIMIT], short_for, _DEEPEST))


def _ports(command: str, short_for: frozenset[str] | None, depth: int) -> Iterator[CommandPort]:
    for words in _commands(command):
        found = _port(words, short_for)
        if found is not None:
            yield found
        # concurrently "vite --port 5173" "node api.js": an argument can be a command line itself.
        for word in words if depth > 0 and _program(words[0]) not in _CLIENTS else ():
            if " " in word:
                yield from _ports(word, short_for, depth - 1)


def _commands(command: str) -> Iterator[list[str]]:
    """Yield the words of each simple command, without their quotes."""
    words: list[str] = []
    for match in _TOKEN.finditer(command):
        if match[2] is not None:
            words.append(_QUOTED.sub(lambda quoted: quoted[1] or quoted[2] or quoted[3] or "", match[2]))
        elif words:
            yield words
            words = []
    if words:
        yield words


def _port(words: Sequence[str], short_for: frozenset[str] | None) -> CommandPort | None:
    assigned, rest = _assigned(words)
    programs = [_program(word) for word in rest]
    if not rest or not _CLIENTS.isdisjoint(programs[:1]):
        return assigned if not rest else None
    is_short = short_for is None or not short_for.isdisjoint(programs)
    found = assigned
    host = None
    for index, word in enumerate(rest):
        option, equals, value = word.partition("=")
        following = value if equals else rest[index + 1] if index + 1 < len(rest) else ""
        glued = _SHORT.fullmatch(word) if is_short else None
        if option in _PORT_OPTIONS or (option == "-p" and is_short):
            found = _value(following) or found
        elif glued is not None:
            found = _value(glued[1]) or found
        elif option in _BIND_OPTIONS:
            address, _, number = following.rpartition(":")
            bound = _value(number)
            found, host = (found, host) if bound is None else (bound, _host(address) or host)
        elif option in _HOST_OPTIONS:
            host = _host(following) or host
    return None if found is None else found._replace(host=host)


def _assigned(words: Sequence[str]) -> tuple[CommandPort | None, Sequence[str]]:
    """Return what PORT is set to before the program, and the words from the program on."""
    found = None
    for index, word in enumerate(words):
        assignment = _ASSIGNMENT.fullmatch(word)
        if assignment is not None:
            found = _value(assignment[2]) if assignment[1] == "PORT" else found
        elif _program(word) not in _SETTERS:
            return found, words[index:]
    return found, ()


def _value(text: str) -> CommandPort | None:
    """Return what stands for a port: a number, a variable, or a variable with a number as its default."""
    if _NUMBER.fullmatch(text):
        port = port_number(text)
        return None if port is None else CommandPort(port)
    reference = _REFERENCE.fullmatch(text)
    if reference is None:
        return None
    return CommandPort(port_number(reference[3] or ""), reference[1] or reference[2])


def _host(text: str) -> str | None:
    return canonical(text.strip("[]")) if text else None


def _program(word: str) -> str:
    return word.replace("\\", "/").rpartition("/")[2].removesuffix(".cmd").removesuffix(".exe")
