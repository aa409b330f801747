"""A config's text to declarations, or every mistake in it at once: `file:line:column: what - did you mean ...`.

Hand-written because no library gives all errors with their places and a suggestion. No file is opened here.
"""

from __future__ import annotations

import tomli

from portguard._namedtuple import NamedTuple
from portguard.config.locate import locate
from portguard.errors import ConfigError
from portguard.model import PROTOCOLS, Config, Declaration, Source
from portguard.rules.addresses import canonical, expand, overlaps
from portguard.rules.ranges import LAST_PORT
from portguard.rules.targets import changes_programs, is_name, is_variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from portguard.config.find import ConfigText
    from portguard.config.locate import Path, Place

DECLARATION_LIMIT = 512
KEYS = ("port", "host", "protocol", "env", "service", "owner", "optional", "hold", "description")
_ROOT_KEYS = ("ports", "compose", "lint")
_COMPOSE_KEYS = ("files",)
_LINT_KEYS = ("ignore",)
_TEXT_LIMIT = 1000
_NAME_LIMIT = 63
_DEEPEST = 64

# tomli's words for what people do most, in words that say what to do.
_SYNTAX = {"Cannot overwrite a value": "not valid TOML: duplicate key"}

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"


class Problem(NamedTuple):
    """A mistake: where it is, what is wrong, and what was probably meant (or None)."""

    line: int
    column: int
    what: str
    meant: str | None


def parse(config: ConfigText, shown: str) -> Config:
    """Return what the config says, with declared numbers; `shown` is the path used in messages.

    Raises ConfigError with all problems.
    """
    document, places = _load(config.data, shown)
    check = _Checker(places)
    found = check.document(document, config)
    if check.problems:
        raise ConfigError(tuple(sentence(shown, problem) for problem in sorted(check.problems)))
    return found


def at_compose_file(config: ConfigText, shown: str, index: int, what: str) -> str:
    """Return what is wrong with one of the compose files that the config names, as one line with its place."""
    places = locate(config.data.decode("utf-8-sig", "replace").replace("\r\n", "\n"))
    _, _, line, column = places.get((*config.prefix, "compose", "files", index), (1, 1, 1, 1))
    return sentence(shown, Problem(line, column, what, None))


def sentence(shown: str, problem: Problem) -> str:
    """Return the problem as one line."""
    meant = "" if problem.meant is None else f" — did you mean {problem.meant}?"
    return f"{shown}:{problem.line}:{problem.column}: {problem.what}{meant}"


def _load(data: bytes, shown: str) -> tuple[dict[str, Any], dict[Path, Place]]:
    try:
        # A byte order mark is what some editors write; line ends are one character to tomli.
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        problem = Problem(before.count(b"\n") + 1, column, "not UTF-8, as TOML must be", None)
        raise ConfigError((sentence(shown, problem),)) from error
    # Before tomli, which pays 1 KiB and more for each level of each key.
    places = locate(text)
    deepest = max(places, key=len, default=())
    if len(deepest) > _DEEPEST:
        line, column = places[deepest][:2]
        problem = Problem(line, column, f"nested more than {_DEEPEST} levels deep", None)
        raise ConfigError((sentence(shown, problem),))
    try:
        return tomli.loads(text), places
    except tomli.TOMLDecodeError as error:
        what = _SYNTAX.get(error.msg, f"not valid TOML: {error.msg[:1].lower()}{error.msg[1:]}")
        raise ConfigError((sentence(shown, Problem(error.lineno, error.colno, what, None)),)) from error
    except (RecursionError, ValueError) as error:
        # Nesting or numbers beyond what tomli and Python take; they do not say where.
        raise ConfigError((sentence(shown, Problem(1, 1, f"not usable TOML: {error}", None)),)) from error


def closest(word: str, known: tuple[str, ...]) -> str | None:
    """Return the known word most like `word`, quoted, or None."""
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(word.lower(), known, n=1)
    return f'"{close[0]}"' if close else None


class _Checker:
    """Walks the parsed document, collecting `problems`; a value with a problem yields its default."""

    def __init__(self, places: dict[Path, Place]) -> None:
        self.problems: list[Problem] = []
        self._places = places

    def _add(self, path: Path, what: str, meant: str | None = None, *, at_key: bool = False) -> None:
        place = self._places.get(path) or self._places.get(path[:-1]) or (1, 1, 1, 1)
        line, column = place[:2] if at_key else place[2:]
        self.problems.append(Problem(line, column, what, meant))

    def document(self, document: dict[str, Any], config: ConfigText) -> Config:
        """Return what the whole file says."""
        table: Any = document
        for key in config.prefix:
            table = table.get(key) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            self._add(config.prefix, f"unknown table [{'.'.join(config.prefix)}]")
            return Config((), ())
        for key in table:
            if key not in _ROOT_KEYS:
                self._add((*config.prefix, key), f'unknown key "{key}"', closest(key, _ROOT_KEYS), at_key=True)
        files = self._compose((*config.prefix, "compose"), table["compose"]) if "compose" in table else ()
        ignored = self._lint((*config.prefix, "lint"), table["lint"]) if "lint" in table else {}
        if "compose" in table and "ports" not in table:
            return Config((), files, ignored)
        return Config(tuple(self._ports(table, config)), files, ignored)

    def _compose(self, path: Path, value: Any) -> tuple[str, ...]:
        if not isinstance(value, dict):
            self._add(path, f'"compose" must be a table with "files", not {_kind(value)}')
            return ()
        for key in value:
            if key not in _COMPOSE_KEYS:
                self._add((*path, key), f'unknown key "{key}" in "compose"', closest(key, _COMPOSE_KEYS), at_key=True)
        files = value.get("files")
        if not isinstance(files, list) or not files:
            what = '"compose" has no "files"' if files is None else f"files is a list of paths, not {_kind(files)}"
            self._add((*path, "files") if "files" in value else path, what)
            return ()
        for index, item in enumerate(files):
            if not isinstance(item, str) or not item or "\0" in item:
                self._add((*path, "files", index), "a compose file is named by its path")
        return tuple(item for item in files if isinstance(item, str))

    def _lint(self, path: Path, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            self._add(path, f'"lint" must be a table with "ignore", not {_kind(value)}')
            return {}
        for key in value:
            if key not in _LINT_KEYS:
                self._add((*path, key), f'unknown key "{key}" in "lint"', closest(key, _LINT_KEYS), at_key=True)
        path, ignore = (*path, "ignore"), value.get("ignore", {})
        if not isinstance(ignore, dict):
            self._add(path, f'"ignore" must be a table of findings and reasons, not {_kind(ignore)}')
            return {}
        for key, reason in ignore.items():
            if not _is_finding(key):
                self._add((*path, key), f'"{key}" cannot be a finding: an id is of a-z 0-9 -', at_key=True)
            if not isinstance(reason, str):
                self._add((*path, key), f"the reason is a string, not {_kind(reason)}")
            elif not reason:
                self._add((*path, key), f'"{key}" is ignored without a reason: say why')
        return ignore

    def _ports(self, table: dict[str, Any], config: ConfigText) -> list[Declaration]:
        dotted = ".".join((*config.prefix, "ports"))
        ports = table.get("ports")
        if not isinstance(ports, dict):
            missing = "ports" not in table
            what = f"unknown table [{dotted}]" if missing else f'"ports" must be a table, as [{dotted}] is'
            self._add((*config.prefix, *(() if missing else ("ports",))), what)
            return []
        if len(ports) > DECLARATION_LIMIT:
            self._add((*config.prefix, "ports"), f"{len(ports)} declarations; the limit is {DECLARATION_LIMIT}")
            return []
        found = (
            self._declaration((*config.prefix, "ports", name), name, value, config.path)
            for name, value in ports.items()
        )
        return [declaration for declaration in found if declaration is not None]

    def _declaration(self, path: Path, name: str, value: Any, file: str) -> Declaration | None:
        if not is_name(name) or len(name) > _NAME_LIMIT:
            rule = f"use up to {_NAME_LIMIT} of a-z 0-9 . _ -, not only digits"
            likely = name.lower().replace(" ", "-")[:_NAME_LIMIT]
            meant = f'"{likely}"' if is_name(likely) else None
            self._add(path, f'"{name}" cannot be a name: {rule}', meant, at_key=True)
        source = Source(file, self._places.get(path, (1,))[0])
        if not isinstance(value, dict):
            port = self._port(path, value)
            return None if port is None else Declaration(name, port, port, source)
        for key in value:
            if key not in KEYS:
                self._add((*path, key), f'unknown key "{key}" in "{name}"', closest(key, KEYS), at_key=True)
        if "port" not in value:
            self._add(path, f'"{name}" has no "port"', at_key=True)
        port = self._port((*path, "port"), value["port"]) if "port" in value else None
        declaration = Declaration(
            name=name,
            port=port or 0,
            declared_port=port or 0,
            source=source,
            protocols=self._protocols((*path, "protocol"), value.get("protocol", "tcp")),
            hosts=self._hosts((*path, "host"), value.get("host", "*")),
            env=self._env((*path, "env"), value.get("env")),
            service=self._service((*path, "service"), value.get("service")),
            owner=self._owner((*path, "owner"), value.get("owner", [])),
            optional=self._flag((*path, "optional"), value.get("optional", False)),
            is_held=self._flag((*path, "hold"), value.get("hold", True)),
            description=self._text((*path, "description"), value.get("description")),
        )
        return declaration if port is not None else None

    def _port(self, path: Path, value: Any) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int):
            text = value if isinstance(value, str) and len(value) <= len("65535") else ""
            meant = text if text.isascii() and text.isdigit() else None
            self._add(path, f"a port is an integer, not {_kind(value)}", meant)
            return None
        if value == 0:
            self._add(path, "port 0 means any free port and cannot be checked; ask for one with: portguard free")
            return None
        if not 0 < value <= LAST_PORT:
            self._add(path, f"{value if abs(value) < 10**9 else 'this'} is not a port: ports are 1 to {LAST_PORT}")
            return None
        return value

    def _words(self, path: Path, value: Any, what: str) -> list[tuple[Path, str]]:
        """Return the strings of a string or a non-empty list of them, each with its path."""
        if isinstance(value, str):
            return [(path, value)]
        if not isinstance(value, list) or not value:
            self._add(path, f"{what} is a string or a list of strings, not {_kind(value)}")
            return []
        words = []
        for index, item in enumerate(value):
            if isinstance(item, str):
                words.append(((*path, index), item))
            else:
                self._add((*path, index), f"{what} is a string, not {_kind(item)}")
        return words

    def _protocols(self, path: Path, value: Any) -> Any:
        protocols: list[str] = []
        for place, word in self._words(path, value, "a protocol"):
            if word not in PROTOCOLS:
                self._add(place, f'unknown protocol "{word}": tcp and udp can be checked', closest(word, PROTOCOLS))
            elif word in protocols:
                self._add(place, f'"{word}" is listed twice')
            else:
                protocols.append(word)
        return tuple(protocols) or ("tcp",)

    def _hosts(self, path: Path, value: Any) -> tuple[str, ...]:
        hosts: list[str] = []
        for place, word in self._words(path, value, "a host"):
            host = canonical(word)
            if host is None:
                bare = word.strip("[]")
                meant = bare if canonical(bare) else "localhost" if word.lower() == "localhost" else None
                what = f'"{word}" is not an address: write "*", "localhost" or an IP address (names are not looked up)'
                self._add(place, what, f'"{meant}"' if meant else None)
                continue
            rival = next((known for known in hosts if _meet(known, host)), None)
            if rival is not None:
                self._add(place, f'"{word}" overlaps "{rival}": one server cannot bind both')
            else:
                hosts.append(host)
        return tuple(hosts) or ("*",)

    def _env(self, path: Path, value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            self._add(path, f"env is the name of a variable, not {_kind(value)}")
        elif not is_variable(value):
            rule = "a variable's name is up to 64 of A-Z 0-9 _ and starts with a letter"
            upper = value.upper().replace("-", "_").lstrip("$")
            self._add(path, f'"{value}": {rule}', f'"{upper}"' if is_variable(upper) else None)
        elif changes_programs(value):
            self._add(path, f'"{value}" changes how programs run and cannot carry a port')
        else:
            return value
        return None

    def _service(self, path: Path, value: Any) -> str | None:
        if value is None:
            return None
        allowed = _UPPER + _UPPER.lower() + _DIGITS
        if not isinstance(value, str):
            self._add(path, f"service is the name of a compose service, not {_kind(value)}")
        elif not value or value[0] not in allowed or value.strip(allowed + "._-") or len(value) > _NAME_LIMIT:
            self._add(path, f'"{value[:80]}" cannot be the name of a compose service')
        else:
            return value
        return None

    def _owner(self, path: Path, value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            self._add(path, "owner is a list of process names", f'["{value}"]' if len(value) <= _NAME_LIMIT else None)
            return ()
        if not isinstance(value, list):
            self._add(path, f"owner is a list of process names, not {_kind(value)}")
            return ()
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item or len(item) > _NAME_LIMIT:
                self._add((*path, index), f"a process name is a string of 1 to {_NAME_LIMIT} characters")
        return tuple(item for item in value if isinstance(item, str))

    def _flag(self, path: Path, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        meant = str(value).lower() if str(value).lower() in ("true", "false") else None
        self._add(path, f"{path[-1]} is true or false, not {_kind(value)}", meant)
        return False

    def _text(self, path: Path, value: Any) -> str | None:
        if value is None or (isinstance(value, str) and len(value) <= _TEXT_LIMIT):
            return value
        self._add(path, f"description is a string of at most {_TEXT_LIMIT} characters")
        return None


def _is_finding(key: str) -> bool:
    letters = _UPPER.lower()
    return bool(key) and key[0] in letters and not key.strip(letters + _DIGITS + "-")


def _meet(first: str, second: str) -> bool:
    return any(overlaps(one, other) for one in expand((first,)) for other in expand((second,)))


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f'the string "{value}"' if len(value) <= 40 else "a string"
    names = {bool: "a boolean", int: "an integer", float: "a float", list: "an array", dict: "a table"}
    if isinstance(value, list) and not value:
        return "an empty array"
    return names.get(type(value), "a date or time")
