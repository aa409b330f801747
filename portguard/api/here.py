"""Where a question is asked from: the checkout around a directory, and paths as messages show them."""

from __future__ import annotations

from portguard.errors import LookupFailedError
from portguard.project.checkout import checkout_of
from portguard.project.records import shown, working_directory

__all__ = ["checkout_root", "shown", "working_directory"]


def checkout_root(directory: str) -> str:
    """Return the root of the checkout that `directory` lies in; `directory` itself without one."""
    try:
        return checkout_of(directory).root
    except LookupFailedError:
        return directory
