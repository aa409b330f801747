"""A small corpus out of a large one: the smallest inputs that together go wherever all of them go in portguard."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import portguard

_PACKAGE = str(Path(portguard.__file__).parent)
BUDGET = 50 * 1024  # bytes for each target

Arc = tuple[str, int, int]
TraceFunction = Callable[[FrameType, str, Any], Any]


def minimized(fuzz: Callable[[bytes], None], inputs: Iterable[bytes]) -> list[bytes]:
    """Return those of the inputs, the smallest first, that take a step in portguard which no smaller one did.

    Or one more often, as a power of two tells it.
    """
    known: set[tuple[Arc, int]] = set()
    kept: list[bytes] = []
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        new = {(arc, count.bit_length()) for arc, count in arcs(fuzz, data).items()} - known
        if new and sum(map(len, kept)) + len(data) <= BUDGET:
            known |= new
            kept.append(data)
    return kept


def arcs(fuzz: Callable[[bytes], None], data: bytes) -> Counter[Arc]:
    """Return how often one input makes portguard step from which line to which."""
    found: Counter[Arc] = Counter()
    last: dict[FrameType, int] = {}

    def step(frame: FrameType, event: str, _argument: object) -> TraceFunction | None:
        if event == "call" and not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        found[frame.f_code.co_filename, last.get(frame, 0), frame.f_lineno] += 1
        last[frame] = frame.f_lineno
        if event == "return":
            last.pop(frame, None)
        return step

    sys.settrace(step)
    try:
        fuzz(data)
    finally:
        sys.settrace(None)
    return found


def store(directory: Path, inputs: Iterable[bytes]) -> None:
    """Make the directory hold exactly these inputs, each under the hash of its content."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    for data in inputs:
        (directory / name_of(data)).write_bytes(data)


def name_of(data: bytes) -> str:
    """Return the name an input is stored under: what libFuzzer calls it, too."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
