"""What a project is once loaded, where it was asked for, and how its paths are shown. Loads and judges nothing.

One small module, because every question about ports needs most of it, and each module costs 0.4 % of a check.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from portguard.model import Checkout, Declaration, Note
    from portguard.sources.compose import ComposeProject

    Mode = Literal["look", "predict", "take"]


class NumberPolicy(NamedTuple):
    """How far to go for numbers: `look` at those there are, `predict` those there would be, or `take` them.

    `isolated`: the checkout should have its own although it is not a linked worktree. `moved` are declarations that
    should have another number than the one given here, which someone else holds. `is_exported`: compose files are read
    as a command sees them that all the numbers are exported to. `unread` is a `.env` (its path) whose block of ours is
    about to be written: what it says is not read back.
    """

    mode: Mode
    isolated: bool = False
    moved: Mapping[str, int] = {}
    is_exported: bool = False
    unread: str | None = None


LOOK = NumberPolicy("look")


class Project(NamedTuple):
    """`config` and `sources` are absolute paths of what was read; without them there are no declarations.

    `compose` is the project that was read from compose files, None if none were asked for. `checkout` is whose
    numbers were asked for, None if nothing can be moved; `isolated` tells that it has its own, and `overlay` are
    the variables that bring those about.
    """

    cwd: str
    config: str | None = None
    sources: tuple[str, ...] = ()
    declarations: tuple[Declaration, ...] = ()
    compose: ComposeProject | None = None
    notes: tuple[Note, ...] = ()
    checkout: Checkout | None = None
    isolated: bool = False
    overlay: Mapping[str, str] = {}


def directory_of(project: Project) -> str:
    """Return the directory of the project's config, or where it was asked for."""
    return os.path.dirname(project.config) if project.config else project.cwd


def shown(path: str | None, cwd: str) -> str:
    """Return the path as messages show it: relative where it lies below the working directory."""
    return (path or "").removeprefix(cwd.rstrip(os.sep) + os.sep)


def working_directory(cwd: str | None) -> str:
    """Return `cwd`, by default the process's own, as an absolute path. Raises UsageError if it is gone."""
    try:
        return os.path.abspath(cwd) if cwd else os.getcwd()
    except OSError as error:
        raise UsageError(f"the working directory cannot be used: {error.strerror}", "cd to one that exists") from error


def has_declarations(cwd: str, environ: Mapping[str, str]) -> bool:
    """Whether there is a config, or without one compose files, to be read here. Raises ConfigError as they do."""
    from portguard.config import find  # not where ports are given by argument
    from portguard.sources import compose_files

    return find.find_config(cwd, environ) is not None or compose_files.find_files(cwd, environ) is not None


def cwd_or_root(cwd: str | None) -> str:
    """Return what `working_directory` does, the root where it is gone: for what can be answered without a project."""
    try:
        return working_directory(cwd)
    except UsageError:
        return os.sep
