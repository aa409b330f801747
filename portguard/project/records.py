"""What a project is, once loaded: plain records and how they are shown. Reads nothing."""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple

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
