"""Where a question is asked, and whether anything is declared there; what is declared, others read.

Apart, because `free` asks it and mostly wants no more of a project.
"""

from __future__ import annotations

import os

from portguard.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


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
