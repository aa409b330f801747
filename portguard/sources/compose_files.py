"""Which files make a compose project, and the environment they are read in; opens files, understands none.

After compose-go `cli/options.go` and docker/compose `cmd/compose/compose.go`: the process's environment wins over the
`.env` of the working directory, which wins over the one of the project's directory.
"""

from __future__ import annotations

import os
import stat

from portguard._namedtuple import NamedTuple
from portguard.errors import ConfigError
from portguard.model import Note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_NAMES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
SIZE_LIMIT = 1024 * 1024  # bytes
_TRUE = ("1", "t", "T", "TRUE", "true", "True")  # Go's strconv.ParseBool
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class ComposeFiles(NamedTuple):
    """The files of a project, in the order they are merged, all paths absolute.

    `directory` is the project's. `cwd` is where the question was asked: its `.env` counts, and messages show paths
    relative to it.
    """

    paths: tuple[str, ...]
    directory: str
    cwd: str
    notes: tuple[Note, ...] = ()


class Environment(NamedTuple):
    """The variables a file is read with, and the `.env` files they came from."""

    values: Mapping[str, str]
    files: tuple[str, ...] = ()


def find_files(cwd: str, environ: Mapping[str, str]) -> ComposeFiles | None:
    """Return the files that `docker compose` would use in `cwd`, or None if there are none up to the root.

    `cwd` keeps the name the user knows it by (a symbolic link's): the project is named after it. Nothing is decided
    about trust; the caller knows who may write where. Raises ConfigError for a broken `.env` or a missing file.
    """
    cwd = os.path.abspath(cwd)
    values = environment(environ, (cwd,), cwd).values
    if "COMPOSE_FILE" in values:
        separator = values.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        return named(values["COMPOSE_FILE"].split(separator), cwd, "COMPOSE_FILE names it")
    directory = cwd
    while True:
        candidates = _existing(directory, FILE_NAMES)
        if candidates:
            overrides = _existing(directory, OVERRIDE_NAMES)
            notes = [_several(names) for names in (candidates, overrides) if len(names) > 1]
            paths = (*candidates[:1], *overrides[:1])
            return ComposeFiles(tuple(os.path.join(directory, name) for name in paths), directory, cwd, tuple(notes))
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def named(paths: Sequence[str], cwd: str, origin: str = "") -> ComposeFiles:
    """Return the project of files that were named, as with `-f`; relative paths begin at `cwd`.

    `origin` says in an error who named them. Raises ConfigError for one that is missing, remote or standard input.
    """
    reason = f" ({origin})" if origin else ""
    found: list[str] = []
    for path in paths:
        if path == "-" or is_remote(path):
            raise ConfigError((f"{path or '-'}: only local files can be read{reason}",), "name a file")
        absolute = os.path.normpath(os.path.join(cwd, path))
        if not path or not os.path.exists(absolute):
            raise ConfigError((f"{path or repr(path)}: no such compose file{reason}",))
        found.append(absolute)
    if not found:
        raise ConfigError(("no compose file is named",))
    return ComposeFiles(tuple(found), os.path.dirname(found[0]), cwd)


def _existing(directory: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if os.path.exists(os.path.join(directory, name))]


def _several(names: Sequence[str]) -> Note:
    return Note("compose-files", f"several compose files: {', '.join(names)}; compose uses {names[0]}")


def is_remote(path: str) -> bool:
    """Whether compose would fetch `path` from elsewhere: a URL, oci:// or a git repository."""
    scheme, separator, _ = path.partition("://")
    return (bool(separator) and scheme.replace("+", "").isalnum()) or path.startswith(("git@", "github.com/"))


def environment(environ: Mapping[str, str], directories: Sequence[str], cwd: str) -> Environment:
    """Return `environ`, completed by the `.env` of each directory, or by what COMPOSE_ENV_FILES names instead.

    Raises ConfigError for a broken or missing file.
    """
    named_files = environ.get("COMPOSE_ENV_FILES", "")
    if named_files:
        paths = [os.path.normpath(os.path.join(cwd, path)) for path in named_files.split(",")]
        return extended(environ, paths, cwd, "COMPOSE_ENV_FILES names it")
    if "COMPOSE_DISABLE_ENV_FILE" in environ:
        text = environ["COMPOSE_DISABLE_ENV_FILE"]
        if text not in _TRUE + _FALSE:
            raise ConfigError((f"environment: COMPOSE_DISABLE_ENV_FILE is {text[:40]!r}; compose takes true or false",))
        if text in _TRUE:
            return Environment(environ)
    result = Environment(environ)
    for directory in dict.fromkeys(directories):
        path = os.path.join(directory, ".env")
        if os.path.isfile(path):
            more = extended(result.values, [path], cwd)
            result = Environment(more.values, result.files + more.files)
    return result


def extended(values: Mapping[str, str], paths: Sequence[str], cwd: str, origin: str = "") -> Environment:
    """Return `values`, completed by these `.env` files: a later file wins over an earlier one, `values` over both.

    Raises ConfigError with file and line.
    """
    from portguard.sources import dotenv  # most directories have none

    added: dict[str, str] = {}
    for path in paths:
        where = shown(path, cwd)
        reason = f" ({origin})" if origin else ""
        try:
            found = dotenv.read(path, {**added, **values}, keep_unresolved=False)
        except dotenv.DotenvError as error:
            told = (f"{where}:{error.line}: {error.what}{reason}",)
            raise ConfigError(told, env_files=tuple(paths)) from error
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise ConfigError((f"{where}: cannot be read: {cause}{reason}",)) from error
        if found is None:
            raise ConfigError((f"{where}: no such file{reason}",))
        added.update({name: assignment.value for name, assignment in found.items()})
    return Environment({**added, **values}, tuple(paths))


def content(path: str, cwd: str) -> bytes:
    """Return the bytes of a regular file, at most SIZE_LIMIT. Raises ConfigError."""
    where = shown(path, cwd)
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name has a NUL in it"
        raise ConfigError((f"{where}: cannot be read: {reason}",)) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigError((f"{where}: is not a regular file",))
        with open(fd, "rb", closefd=False) as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError((f"{where}: cannot be read: {error.strerror}",)) from error
    finally:
        os.close(fd)
    if len(data) > SIZE_LIMIT:
        raise ConfigError((f"{where}: is larger than {SIZE_LIMIT // 1024} KiB",))
    return data


def shown(path: str, cwd: str) -> str:
    """Return the path as messages show it: relative where it lies below `cwd`."""
    return path.removeprefix(cwd.rstrip(os.sep) + os.sep)
