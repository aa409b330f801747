"""Counts what a table of cells was judged by, for the figures that are printed at its end (with -s)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Tally:
    """What was judged: which rows, how many cells of them, and how many of these were wrong."""

    def __init__(self) -> None:
        self.rows: set[str] = set()
        self.cells = self.wrong = 0


@contextmanager
def counted(what: str, rows: str) -> Iterator[Tally]:
    """Yield a tally, and print it at the end; `rows` is what the rows are called."""
    tally = Tally()
    yield tally
    print(f"\n{what}: {len(tally.rows)} {rows}, {tally.cells} cells, wrong: {tally.wrong}")  # noqa: T201 - the figures
