"""The project a question is about: its declarations with the numbers in force, and the directory tree that is "us"."""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import ConfigError, UsageError
from portguard.rules.verdicts import Checkout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from portguard.config.find import ConfigText
    from portguard.model import Declaration


class Project(NamedTuple):
    """`config` and `sources` are absolute paths of what was read; without a config there are no declarations."""

    cwd: str
    config: str | None = None
    sources: tuple[str, ...] = ()
    declarations: tuple[Declaration, ...] = ()


def working_directory(cwd: str | None) -> str:
    """Return `cwd`, by default the process's own, as an absolute path. Raises UsageError when it is gone."""
    try:
        return os.path.abspath(cwd) if cwd else os.getcwd()
    except OSError as error:
        raise UsageError(f"the working directory cannot be used: {error.strerror}", "cd to one that exists") from error


def shown(path: str | None, cwd: str) -> str:
    """Return the path as messages show it: relative where it lies below the working directory."""
    return (path or "").removeprefix(cwd.rstrip(os.sep) + os.sep)


def load(cwd: str, config: str | None, environ: Mapping[str, str], *, is_required: bool) -> Project:
    """Read the config named, or the nearest one, and the `.env` beside it where a variable may move a port.

    Raises ConfigError for anything wrong in them, UsageError when none is found and `is_required`.
    """
    from portguard.config import find  # ports given by argument need no config

    found = find.find(cwd, environ) if config is None else find.read(os.path.join(cwd, config))
    if found is None:
        if not is_required:
            return Project(cwd)
        places = find.directories(cwd, find.checkout_root(cwd), find.home_of(environ))
        span = places[0] if len(places) == 1 else f"{places[0]} up to {places[-1]}"
        raise UsageError(
            f"no {find.FILE_NAME}, and no [tool.portguard] in a {find.PYPROJECT}: looked in {span}",
            "write one, name one with --config, or name ports: portguard check 3000 53/udp",
        )
    from portguard.config import parse  # and no tomli where there is no config

    declared = parse.parse(found, shown(found.path, cwd))
    if not any(item.env for item in declared):
        return Project(cwd, found.path, (found.path,), declared)
    return _resolved(cwd, found, declared, environ)


def _resolved(cwd: str, found: ConfigText, declared: Sequence[Declaration], environ: Mapping[str, str]) -> Project:
    from portguard.rules import numbers  # only where a variable can move a port

    path = os.path.join(os.path.dirname(found.path), ".env")
    dotenv = _dotenv(path, cwd)
    answers = [numbers.resolve(item, environ, dotenv or {}, shown(path, cwd)) for item in declared]
    problems = tuple(answer for answer in answers if isinstance(answer, str))
    if problems:
        raise ConfigError(problems, "give the variable a number, or unset it")
    sources = (found.path,) if dotenv is None else (found.path, path)
    return Project(cwd, found.path, sources, tuple(item for item in answers if not isinstance(item, str)))


def _dotenv(path: str, cwd: str) -> dict[str, tuple[str, int]] | None:
    from portguard.config import find
    from portguard.sources import dotenv

    try:
        found = dotenv.read(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError((f"{shown(path, cwd)}: cannot be read: {reason}",)) from error
    if found is None:
        return None
    distrusted = find.distrust(path, cwd=cwd, root=find.checkout_root(cwd))
    if distrusted is not None:
        raise ConfigError((f"{path}: refused: {distrusted}",), "set the variables in the environment instead")
    return {name: (assignment.value, assignment.line) for name, assignment in found.items()}


def find_checkout(project: Project, environ: Mapping[str, str]) -> Checkout | None:
    """Return the tree whose processes are this project's own; None where it would be everything or a whole home.

    Its user is the directory's owner; under sudo the one who called it.
    """
    from portguard.config import find  # only when a port is busy

    directory = os.path.dirname(project.config) if project.config else project.cwd
    root = os.path.realpath(find.checkout_root(directory) or directory)
    if os.path.dirname(root) == root or root in {os.path.realpath(home) for home in _homes(environ)}:
        return None
    uid = _sudo_uid(environ)
    if uid is None:
        try:
            uid = os.stat(root).st_uid
        except OSError:
            return None
    return Checkout(root, uid)


def _sudo_uid(environ: Mapping[str, str]) -> int | None:
    text = environ.get("SUDO_UID", "")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return int(text) if is_root and text.isascii() and text.isdigit() and len(text) <= 10 else None


def _homes(environ: Mapping[str, str]) -> Iterator[str]:
    if os.path.isabs(environ.get("HOME", "")):
        yield environ["HOME"]
    if not hasattr(os, "geteuid"):
        yield os.path.expanduser("~")
        return
    import pwd  # POSIX only, and only when a port is busy

    for uid in {os.geteuid(), _sudo_uid(environ) or 0}:
        try:
            yield pwd.getpwuid(uid).pw_dir
        except (KeyError, OverflowError):
            continue
