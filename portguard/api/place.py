"""Where a question is asked. Apart, because `free` asks it and wants no more of a project."""

from __future__ import annotations

import os

from portguard.errors import UsageError


def working_directory(cwd: str | None) -> str:
    """Return `cwd`, by default the process's own, as an absolute path. Raises UsageError when it is gone."""
    try:
        return os.path.abspath(cwd) if cwd else os.getcwd()
    except OSError as error:
        raise UsageError(f"the working directory cannot be used: {error.strerror}", "cd to one that exists") from error
