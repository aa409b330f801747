"""Inputs made of other inputs by luck alone: for the daily suite, and where there is no guidance by coverage."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence

_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{2,40}|[0-9]{2,6}")
_LONGEST = 16 * 1024  # bytes
_ODD = (b"\0", b"\n", b"\r\n", b"\xff", b"-1", b"0", b"65536", b"9" * 40, b"\x1b[31m", "\u202e".encode(), b"\\", b'"')


def words(inputs: Sequence[bytes]) -> list[bytes]:
    """Return the words that the inputs are made of, each once."""
    return sorted({word for data in inputs for word in _WORD.findall(data)})


def run(fuzz: Callable[[bytes], None], inputs: Sequence[bytes], seconds: float, seed: str) -> None:
    """Try mutations of the inputs for so long. What goes wrong is told with the input and the seed."""
    dice = random.Random(seed)
    pieces = [*words(inputs), *_ODD]
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        data = mutated(dice, inputs, pieces)
        try:
            fuzz(data)
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {number}: {data!r}") from error


def mutated(dice: random.Random, inputs: Sequence[bytes], pieces: Sequence[bytes]) -> bytes:
    """Return one of the inputs, changed in up to eight places."""
    data = bytearray(dice.choice(inputs))
    for _ in range(dice.randint(1, 8)):
        at = dice.randint(0, len(data))
        until = min(len(data), at + dice.choice((0, 0, 1, 2, 8, 64)))
        other = dice.choice(inputs)
        start = dice.randint(0, len(other))
        data[at:until] = dice.choice(
            (b"", dice.randbytes(dice.randint(1, 4)), dice.choice(pieces), other[start : start + dice.randint(1, 64)])
        )
    return bytes(data[:_LONGEST])
