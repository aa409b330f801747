"""Which checkout a directory belongs to, and what lies inside it."""

from __future__ import annotations

import os

from portguard.errors import LookupFailedError
from portguard.model import Checkout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.leases.assignments import Assignment


_LONGEST_RECORDED = 380  # bytes of a path that every lease has room for


def checkout_of(path: str) -> Checkout:
    """Return the checkout that the project in the directory `path` belongs to; without git the directory itself.

    Raises LookupFailedError if git's files cannot be read.
    """
    from portguard.system import git  # only where something can be moved

    real = os.path.realpath(path)
    worktree = git.worktree_of(real, is_strict=True)
    if worktree is None:
        return Checkout(real, "", real, False)
    return Checkout(worktree.root, worktree.common, real, worktree.is_linked)


def is_own(item: Assignment, checkout: Checkout) -> bool:
    """Whether an assignment belongs to the project of this checkout."""
    return (item.root, item.common, item.directory) == (checkout.root, checkout.common, checkout.directory)


def is_in(directory: str, root: str) -> bool:
    """Whether `directory` lies in the checkout at `root`, and not in another one that lies inside it."""
    below = root.rstrip(os.sep) + os.sep
    if not f"{directory}{os.sep}".startswith(below):
        # What is written down may be cut.
        return len(os.fsencode(directory)) >= _LONGEST_RECORDED and below.startswith(directory)
    try:
        place = checkout_of(directory)
    except LookupFailedError:
        return False
    return place.root == root or not place.common


def hash_of(checkout: Checkout, name: str) -> int:
    """Return a number that is the same for this checkout and name on every host and in every release."""
    from binascii import crc32  # not for those that have their numbers

    return crc32(os.fsencode(f"{checkout.common}\0{checkout.root}\0{checkout.directory}\0{name}"))
