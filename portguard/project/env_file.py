"""The block that `env --write` keeps in a `.env`: whose it is and what it says. Writes nothing."""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.project.records import shown
from portguard.rules.ranges import decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from portguard.model import Checkout, Declaration, Note
    from portguard.project.records import NumberPolicy, Project


class Block(NamedTuple):
    """Our block in a `.env`: the root of the checkout it was written for, and what nothing else there sets."""

    owner: str
    values: dict[str, str]


def block_at(path: str) -> Block | None:
    """Return our block in the `.env` at `path`; None if there is none, or none that can be read."""
    from portguard.sources import regular

    try:
        text = regular.read(path)
    except (OSError, ValueError):
        return None
    return None if text is None else block_in(text)


def block_in(text: str) -> Block | None:
    """Return our block in the text of a `.env`; None if there is none, or none that can be understood."""
    if ">>> portguard env" not in text:
        return None
    from portguard.rules import env_block  # only where there is one
    from portguard.sources import dotenv

    owner = env_block.owner_of(text)
    if owner is None:
        return None
    try:
        found, others = dotenv.assignments(text), dotenv.assignments(env_block.blanked(text))
    except dotenv.DotenvError:
        return None
    return Block(owner, {name: item.value for name, item in found.items() if name not in others})


def is_same(one: str | None, other: str) -> bool:
    """Whether two paths mean one file, which need not be there."""
    return one is not None and os.path.realpath(one) == os.path.realpath(other)


def block_notes(
    block: Block | None, path: str, checkout: Checkout, project: Project, policy: NumberPolicy
) -> tuple[Note, ...]:
    """Return a note where the numbers in a `.env` were written for another checkout, from which it was copied."""
    if block is None or block.owner == checkout.root or is_same(policy.unread, path):
        return ()
    where = shown(path, project.cwd)
    from portguard.rules import notes  # only when there is something to note

    note = notes.foreign_block(where, block.owner)
    return () if note in project.notes else (note,)


def preferred_in(block: Block | None, items: Iterable[Declaration], checkout: Checkout) -> dict[str, int]:
    """Return the numbers, by declaration, that this checkout had when its block was written."""
    if block is None or block.owner != checkout.root:
        return {}
    values = {item.name: block.values.get(item.env or "", "") for item in items}
    return {name: number for name, value in values.items() if (number := decimal(value)) is not None}
